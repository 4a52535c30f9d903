//! Index templates of Elasticsearch and OpenSearch, by the programs and real servers.

use anyhow::{Context, Result, ensure};
use e2e::{
    processes::{PATIENCE, wait_until},
    running::{Running, Source},
    servers::{Search, Searched, SecureSearch, search_port},
};
use serde_json::{Value, json};

use super::{SCHEMA, begin, shown};

const DAILY: &str = "/_index_template/dbevent-daily-any";

/// What is made at the server, besides documents.
const MADE: [&str; 9] = [
    DAILY,
    "/_index_template/dbevent-rolled",
    "/daily-2026-01-01",
    "/daily-2026-01-02",
    "/daily-2026-01-03",
    "/daily-2026-01-04",
    "/daily-others",
    "/rolled-000001",
    "/rolled-000002",
];

/// A listener with an index for each day, and one with an alias that is rolled over.
fn listeners(url: &str) -> String {
    let listener = |id: &str, index: &str, template: &str| {
        format!(
            "[listeners.{id}]\nsubscribe = {{ {SCHEMA} = [\"log\"] }}\nstart = \"full-sync\"\n\
             retry = {{ min = \"20ms\", max = \"1s\" }}\n\n\
             [listeners.{id}.handler.elasticsearch]\nurl = \"{url}\"\nindex = \"{index}\"\n\
             mappings = true\ntemplate = {template}\n\n"
        )
    };
    let aliases = "{ settings = { number_of_shards = 2 }, aliases = [\"daily-all\"] }";
    let daily = listener("daily", "daily-{{ Data.made[:10] }}", aliases);
    daily + &listener("rolled", "rolled", "{ rollover = true }")
}

/// A row of a day, as a document of an index.
fn insert(id: u32, day: &str, more: &str) -> String {
    format!("INSERT INTO shop.log VALUES ({id}, '{day} 10:11:12', 1.50, POINT(1, 2), '[1]'{more})")
}

async fn forget(searched: Searched) -> Result<()> {
    for path in MADE {
        searched.ask("DELETE", path, "").await?;
    }
    Ok(())
}

async fn is_there(searched: Searched, index: &str, id: u32) -> bool {
    let answer = searched.ask("GET", &format!("/{index}/_doc/{id}"), "").await;
    answer.is_ok_and(|(_, document)| document["found"] == true)
}

/// The fields of an index.
async fn fields(searched: Searched, index: &str) -> Result<Value> {
    let (_, mapping) = searched.ask("GET", &format!("/{index}/_mapping"), "").await?;
    Ok(mapping[index]["mappings"]["properties"].clone())
}

/// Sees that an index has the types of the table's columns.
async fn has_types(searched: Searched, index: &str) -> Result<()> {
    let fields = fields(searched, index).await?;
    let kinds = [&fields["made"]["type"], &fields["amount"]["type"], &fields["note"]["enabled"]];
    ensure!(kinds == [&json!("date"), &json!("double"), &json!(false)], "{index}: {fields}");
    Ok(())
}

async fn templated(test: &str, searched: Searched) -> Result<()> {
    let source = Source::start(test).await?;
    let table = "CREATE TABLE shop.log (id INT PRIMARY KEY, made DATETIME, amount DECIMAL(9, 2), \
                 place POINT, note JSON)";
    let rows = [insert(1, "2026-01-01", ""), insert(2, "2026-01-02", "")];
    source.execute(&["CREATE DATABASE shop", table, &rows[0], &rows[1]]).await?;
    forget(searched).await?;
    let running = begin(source, &listeners(&searched.url()))?;
    let places = [("daily-2026-01-01", 1), ("daily-2026-01-02", 2), ("rolled", 1), ("rolled", 2)];
    wait_until("the documents are there", PATIENCE, async || {
        let mut are_there = true;
        for (index, id) in places {
            are_there &= is_there(searched, index, id).await;
        }
        are_there
    })
    .await
    .with_context(|| running.worker.output())?;
    searched.ask("PUT", "/daily-others", "").await?;
    for index in ["daily-2026-01-01", "daily-2026-01-02", "daily-others"] {
        has_types(searched, index).await?;
        let (_, found) = searched.ask("GET", &format!("/{index}"), "").await?;
        let shards = &found[index]["settings"]["index"]["number_of_shards"];
        let has_alias = found[index]["aliases"]["daily-all"].is_object();
        ensure!(shards == "2" && has_alias, "{found}");
    }
    rolled_over(&running, searched).await?;
    altered(&running, searched).await?;
    let (code, output) = running.site.run_worker(&["check"]).await?;
    let is_told =
        output.contains("the index template dbevent-daily-any is for daily-* (priority 506)");
    ensure!(code == Some(0) && is_told, "{output}");
    let output = running.worker.output();
    for told in ["is made anew", "has made it anew", "an index template is changed"] {
        let count = output.matches(told).count();
        // Each template gained a column once.
        ensure!(count == if told.ends_with("changed") { 2 } else { 0 }, "{told}: {output}");
    }
    forget(searched).await?;
    running.end().await
}

/// The server makes the next index of the alias; the first one is deleted later.
async fn rolled_over(running: &Running, searched: Searched) -> Result<()> {
    let (_, answer) = searched.ask("POST", "/rolled/_rollover", "").await?;
    ensure!(answer["new_index"] == "rolled-000002", "{answer}");
    running.execute(&[&insert(3, "2026-01-03", "")]).await?;
    wait_until("the document is in the next index", PATIENCE, async || {
        is_there(searched, "rolled-000002", 3).await
    })
    .await
    .with_context(|| running.worker.output())?;
    for index in ["rolled-000001", "rolled-000002"] {
        has_types(searched, index).await?;
    }
    searched.ask("DELETE", "/rolled-000001", "").await?;
    Ok(())
}

/// The table gains a column: the next day's index has its type.
async fn altered(running: &Running, searched: Searched) -> Result<()> {
    running.execute(&["ALTER TABLE shop.log ADD COLUMN state ENUM('new', 'old')"]).await?;
    let mut id = 3;
    // Sooner than a definition is asked for again that may be out of date.
    wait_until("the templates have the column", PATIENCE / 2, async || {
        id += 1;
        let inserted = running.execute(&[&insert(id, "2026-01-03", ", 'new'")]).await.is_ok();
        let mut have_it = inserted;
        for path in [DAILY, "/_index_template/dbevent-rolled"] {
            let answer = searched.ask("GET", path, "").await;
            let pointer =
                "/index_templates/0/index_template/template/mappings/properties/state/type";
            have_it &=
                answer.is_ok_and(|(_, found)| found.pointer(pointer) == Some(&json!("keyword")));
        }
        have_it
    })
    .await
    .with_context(|| running.worker.output())?;
    id += 1;
    running.execute(&[&insert(id, "2026-01-04", ", 'old'")]).await?;
    wait_until("the next day has an index", PATIENCE, async || {
        is_there(searched, "daily-2026-01-04", id).await
    })
    .await
    .with_context(|| running.worker.output())?;
    let fields = fields(searched, "daily-2026-01-04").await?;
    ensure!(fields["state"]["type"] == "keyword", "{fields}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn index_templates_give_the_types_of_the_table_to_every_index() -> Result<()> {
    templated("sink-templates", Searched::at(search_port())).await
}

async fn templated_on(flavor: &str) -> Result<()> {
    let test = format!("sink-templates-{flavor}");
    let folder = e2e::programs::Site::new(&format!("{test}-server"))?;
    let search = Search::start(flavor, &folder.path("search"), &[]).await?;
    templated(&test, search.searched()).await?;
    drop(search);
    folder.remove()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "another server, which is large: scripts/test.sh --all"]
async fn index_templates_of_elasticsearch_8() -> Result<()> {
    templated_on("elasticsearch-8").await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "another server, which is large: scripts/test.sh --all"]
async fn index_templates_of_elasticsearch_7() -> Result<()> {
    templated_on("elasticsearch-7").await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "another server, which is large: scripts/test.sh --all"]
async fn index_templates_of_opensearch_3() -> Result<()> {
    templated_on("opensearch-3").await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "another server, which is large: scripts/test.sh --all"]
async fn a_privilege_for_templates_that_is_missing_is_told_and_what_check_says_is_enough()
-> Result<()> {
    let source = Source::start("sink-templates-secure").await?;
    let statements = [
        "CREATE DATABASE shop",
        "CREATE TABLE shop.item (id INT PRIMARY KEY, made DATE)",
        "INSERT INTO shop.item VALUES (1, '2026-01-01')",
    ];
    source.execute(&statements).await?;
    let search = SecureSearch::start(&source.site.path("search")).await?;
    let authority = search.authority();
    let listeners = format!(
        "[listeners.shop]\nsubscribe = {{ {SCHEMA} = [\"item\"] }}\nstart = \"full-sync\"\n\
         retry = {{ min = \"20ms\", max = \"1s\" }}\n\n[listeners.shop.handler.elasticsearch]\n\
         url = \"{}\"\nindex = \"shop-item\"\nuser = \"writer\"\npassword = \"writer-secret\"\n\
         caFile = {authority:?}\nmappings = true\ntemplate = {{ rollover = true }}\n",
        search.url()
    );
    let running = begin(source, &listeners)?;
    let mut status = Value::Null;
    wait_until("the status says what is missing", PATIENCE, async || {
        status = shown(&running.site, "shop").await;
        let message = status["error"]["message"].as_str().unwrap_or_default();
        let remedy = status["error"]["remedy"].as_str().unwrap_or_default();
        message.contains("may not make index templates")
            && remedy.contains("manage_index_templates")
    })
    .await
    .with_context(|| status.to_string())?;
    let (code, output) = running.site.run_worker(&["check"]).await?;
    ensure!(code != Some(0), "{output}");
    let role = output.rsplit("PUT /_security/role/dbevent ").next().unwrap_or_default();
    let (role, _) = role.split_once(", and give").with_context(|| output.clone())?;
    search.set_role(role)?;
    wait_until("the row is there", PATIENCE, async || {
        let found = search.ask("GET", "/shop-item-000001/_doc/1?filter_path=found").await;
        found.is_ok_and(|found| found.contains("true"))
    })
    .await
    .with_context(|| running.worker.output())?;
    let (code, output) = running.site.run_worker(&["check"]).await?;
    ensure!(code == Some(0), "{output}");
    drop(search);
    running.end().await
}
