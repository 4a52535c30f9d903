//! Elasticsearch and OpenSearch, on real servers.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use e2e::{
    processes::{PATIENCE, wait_until},
    programs::{Site, seed, size},
    rebuilt::texts_of,
    running::{Running, Source, Victim},
    servers::{Search, Searched, SecureSearch, search_port},
    workload::{TABLES, Workload},
};
use rand::{SeedableRng, rngs::SmallRng, seq::SliceRandom};
use serde_json::Value;

use super::{Copied, Killed, SCHEMA, Sampler, begin, filled, shown};

/// A listener of the tables, with more keys of its sink.
fn listener(id: &str, tables: &str, (urls, more): (&[&str], &str)) -> String {
    format!(
        "[listeners.{id}]\nsubscribe = {{ {SCHEMA} = [\"{tables}\"] }}\nstart = \"full-sync\"\n\
         retry = {{ min = \"20ms\", max = \"1s\" }}\nbatchSize = 500\n\
         handler = {{ elasticsearch = {{ url = {urls:?}, index = \"{id}-{{table}}\"{more} }} }}\n"
    )
}

/// The rows of an index, once all that was written can be found.
async fn rows(searched: Searched, index: &str) -> Result<BTreeSet<Vec<String>>> {
    searched.refresh().await?;
    let documents = searched.documents(index).await?;
    documents.values().map(|document| texts_of(&document.source.to_string())).collect()
}

/// The versions of all documents of some indexes.
async fn versions(searched: Searched, indexes: &[String]) -> Result<BTreeMap<String, u64>> {
    let mut versions = BTreeMap::new();
    for index in indexes {
        for (id, document) in searched.documents(index).await? {
            versions.insert(format!("{index}/{id}"), document.version);
        }
    }
    Ok(versions)
}

/// Two listeners: one of all tables, and one with `where`. Everything is killed while random
/// changes are made, the search server too.
async fn survive(test: &str, flavor: &str) -> Result<()> {
    let (seed, changes) = (seed(), size(6_000, 100_000));
    let mut random = SmallRng::seed_from_u64(seed);
    let source = filled(test, &[], (changes / 3, seed)).await?;
    // Less than a batch has, so that requests must be halved.
    let limits = ["http.max_content_length=40kb"];
    let mut search = Search::start(flavor, &source.site.path("search"), &limits).await?;
    let (searched, url) = (search.searched(), search.searched().url());
    let condition = ", where = \"Data.note != null && double(Data.amount) > 0.0\", gzip = true";
    let listeners = [
        listener("all", "*", (&["http://127.0.0.1:1", &url], ", mappings = true")),
        listener("some", "account", (&[&url], condition)),
    ];
    let mut running = begin(source, &listeners.concat())?;
    let indexes: Vec<String> = TABLES.iter().map(|table| format!("all-{table}")).collect();
    let sampler = Sampler::start(move || {
        let indexes = indexes.clone();
        async move { versions(searched, &indexes).await }
    });
    let load = Workload::start(&running.mysql.url(), SCHEMA, changes, seed);
    let mut victims = [
        Killed::Program(Victim::Dts),
        Killed::Program(Victim::Listener),
        Killed::Program(Victim::Supervisor),
        Killed::Target,
    ];
    victims.shuffle(&mut random);
    let killed = (&victims[..], Duration::from_millis(1500));
    let made = load.finish_during_kills(killed, &mut random, async |victim| match victim {
        Killed::Program(victim) => running.kill(victim).await,
        Killed::Target => {
            search.kill().await?;
            said_down(&running.site).await?;
            search.restart().await
        }
    });
    let made = made.await?;
    equal(&running, searched).await?;
    let samples = sampler.stop().await?;
    let sink = shown(&running.site, "all").await["sink"].clone();
    println!("{flavor}: {made} changes, {samples} versions read, {sink}");
    let log = running.worker.output();
    ensure!(log.contains("does not take a request of this size"), "nothing was halved");
    drop(search);
    running.end().await
}

/// Waits until the status says that the server does not answer, with its address.
async fn said_down(site: &Site) -> Result<()> {
    let mut shown = Value::Null;
    wait_until("the status says that the server is down", PATIENCE, async || {
        shown = super::shown(site, "all").await;
        let message = shown["error"]["message"].as_str().unwrap_or_default();
        message.contains("127.0.0.1:") && message.contains("Connection refused")
    })
    .await
    .with_context(|| shown.to_string())
}

/// At the end: the indexes are the tables, and the query.
async fn equal(running: &Running, searched: Searched) -> Result<()> {
    for table in TABLES {
        let index = format!("all-{table}");
        let rows = async || rows(searched, &index).await;
        Copied::whole(table).settles(&running.mysql, rows).await?;
    }
    let some = Copied { table: "account", condition: "note IS NOT NULL AND amount > 0" };
    some.settles(&running.mysql, async || rows(searched, "some-account").await).await?;
    let (_, mapping) = searched.ask("GET", "/all-account/_mapping", "").await?;
    let amount = &mapping["all-account"]["mappings"]["properties"]["amount"]["type"];
    ensure!(amount == "double", "{mapping}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_index_equals_the_table_and_the_query_whatever_is_killed() -> Result<()> {
    survive("sink-opensearch", "opensearch-2").await
}

/// Deletes the index and changes rows until the log says this. Who finds first that it is gone is a
/// matter of chance, so it is deleted again as often as the log tells of it in `other` words.
async fn until_told(
    (running, searched): (&Running, Searched),
    (told, other): (&str, &str),
    made: &mut u32,
) -> Result<()> {
    let (mut next, mut deleted) = (*made, 0);
    let before = running.worker.output().len();
    let outcome = wait_until(told, PATIENCE, async || {
        let output = running.worker.output().split_off(before);
        if deleted <= output.matches(other).count() {
            deleted += 1;
            let _gone_or_not = searched.ask("DELETE", "/deleted-price", "").await;
        }
        next += 1;
        let insert = format!("INSERT INTO shop.price VALUES ({next}, 1.5)");
        running.execute(&[&insert]).await.is_ok() && output.contains(told)
    });
    let outcome = outcome.await;
    *made = next;
    outcome.with_context(|| running.worker.output())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_that_is_deleted_is_made_anew_with_its_mappings_and_that_is_told() -> Result<()> {
    let searched = Searched::at(search_port());
    let source = Source::start("sink-deleted-index").await?;
    let table = "CREATE TABLE shop.price (id INT PRIMARY KEY, n DECIMAL(9, 2))";
    source.execute(&["CREATE DATABASE shop", table]).await?;
    searched.ask("DELETE", "/deleted-price", "").await?;
    let url = searched.url();
    let keys = (&[&*url][..], ", mappings = true");
    let running = begin(source, &listener("deleted", "price", keys))?;
    let is_double = async || {
        let answer = searched.ask("GET", "/deleted-price/_mapping", "").await;
        let kind = "/deleted-price/mappings/properties/n/type";
        answer.is_ok_and(|(_, mapping)| mapping.pointer(kind) == Some(&"double".into()))
    };
    let mut next = 0;
    wait_until("a document is there", PATIENCE, async || {
        next += 1;
        let insert = format!("INSERT INTO shop.price VALUES ({next}, 1.5)");
        let documents = searched.documents("deleted-price").await;
        let has_some = documents.is_ok_and(|documents| !documents.is_empty());
        running.execute(&[&insert]).await.is_ok() && has_some && is_double().await
    })
    .await
    .with_context(|| running.worker.output())?;

    let by_server = "the server has made it anew: its types are guessed";
    let by_worker = "was gone and is made anew: it has only";
    // The server makes it with the first document that comes.
    until_told((&running, searched), (by_server, by_worker), &mut next).await?;
    // Here it may not.
    let setting =
        |value: &str| format!(r#"{{"transient":{{"action.auto_create_index":{value}}}}}"#);
    let settings = "/_cluster/settings";
    searched.ask("PUT", settings, &setting(r#""-deleted-*,+*""#)).await?;
    let told = until_told((&running, searched), (by_worker, by_server), &mut next).await;
    searched.ask("PUT", settings, &setting("null")).await?;
    told?;
    ensure!(is_double().await, "its mappings are not those of the table");
    searched.ask("DELETE", "/deleted-price", "").await?;
    running.end().await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "another server, which is large: scripts/test.sh --all"]
async fn elasticsearch_is_written_to_as_opensearch_is() -> Result<()> {
    survive("sink-elasticsearch", "elasticsearch-8").await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "another server, which is large: scripts/test.sh --all"]
async fn elasticsearch_7_is_written_to_as_opensearch_is() -> Result<()> {
    survive("sink-elasticsearch-7", "elasticsearch-7").await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "another server, which is large: scripts/test.sh --all"]
async fn opensearch_3_is_written_to_as_opensearch_2_is() -> Result<()> {
    survive("sink-opensearch-3", "opensearch-3").await
}

#[tokio::test(flavor = "multi_thread")]
async fn absent_columns_stay_as_they_are_in_the_index() -> Result<()> {
    let (seed, changes) = (seed(), size(4_000, 50_000));
    let mut random = SmallRng::seed_from_u64(seed);
    let minimal = ["--binlog-row-image=MINIMAL"];
    let source = filled("sink-minimal", &minimal, (changes / 3, seed)).await?;
    let searched = Searched::at(search_port());
    searched.ask("DELETE", "/minimal-*", "").await?;
    let listener = listener("minimal", "*", (&[&searched.url()], ""));
    // Both halves of a moved key come in one batch.
    let listener = listener.replace("batchSize = 500", "workers = 1");
    let mut running = begin(source, &listener)?;
    // The full sync has whole rows: what comes after it does not.
    minimal_equals(&running, searched).await?;
    let load = Workload::start(&running.mysql.url(), SCHEMA, changes, seed);
    let killed = (&[Victim::Listener, Victim::Dts][..], Duration::from_secs(1));
    load.finish_during_kills(killed, &mut random, async |victim| running.kill(victim).await)
        .await?;
    minimal_equals(&running, searched).await?;
    searched.ask("DELETE", "/minimal-*", "").await?;
    running.end().await
}

async fn minimal_equals(running: &Running, searched: Searched) -> Result<()> {
    for table in TABLES {
        let index = format!("minimal-{table}");
        let rows = async || rows(searched, &index).await;
        let settled = Copied::whole(table).settles(&running.mysql, rows).await;
        settled.with_context(|| running.worker.output())?;
    }
    Ok(())
}

/// A table whose column `n` the index takes as a number.
async fn numbers(searched: Searched) -> Result<Running> {
    let source = Source::start("sink-refused").await?;
    let statements = [
        "CREATE DATABASE shop",
        "CREATE TABLE shop.number (id INT PRIMARY KEY, n VARCHAR(20))",
        "INSERT INTO shop.number VALUES (1, '1'), (2, 'words'), (3, '3')",
    ];
    source.execute(&statements).await?;
    searched.ask("DELETE", "/refused-*", "").await?;
    let mapping = r#"{"mappings":{"properties":{"n":{"type":"long"}}}}"#;
    searched.ask("PUT", "/refused-number", mapping).await?;
    begin(source, &listener("refused", "*", (&[&searched.url()], "")))
}

/// Waits until the index has these documents.
async fn has(searched: Searched, expected: &[(&str, &str)]) -> Result<()> {
    let expected: Vec<(String, String)> =
        expected.iter().map(|(id, n)| ((*id).to_owned(), (*n).to_owned())).collect();
    let mut found = Vec::new();
    let outcome = wait_until("the documents are there", PATIENCE, async || {
        let refreshed = searched.refresh().await.is_ok();
        let documents = searched.documents("refused-number").await.unwrap_or_default();
        let n = |source: &Value| source["n"].as_str().unwrap_or_default().to_owned();
        found = documents.into_iter().map(|(id, of)| (id, n(&of.source))).collect();
        refreshed && found == expected
    });
    outcome.await.with_context(|| format!("{found:?}"))
}

/// Waits until the listener says this of itself.
async fn says(site: &Site, pointer: &str, part: &str) -> Result<Value> {
    let mut shown = Value::Null;
    let outcome = wait_until("the status says so", PATIENCE, async || {
        shown = super::shown(site, "refused").await;
        let text = shown.pointer(pointer).and_then(Value::as_str);
        text.is_some_and(|text| text.contains(part))
    });
    outcome.await.with_context(|| format!("{part:?} is not in {shown}"))?;
    Ok(shown)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_does_not_fit_is_named_and_a_full_disk_waits() -> Result<()> {
    let searched = Searched::at(search_port());
    let running = numbers(searched).await?;
    let site = &running.site;
    // The others went on.
    has(searched, &[("1", "1"), ("3", "3")]).await?;
    let shown = says(site, "/failing/0/said", "field [n] of type [long]").await?;
    let failing = &shown["failing"][0];
    let event = failing["firstEvId"].as_str().context("no event is named")?;
    ensure!(event.contains(r#"{"id":2}"#), "{event}");
    let (partition, offset) = (failing["partition"].to_string(), failing["offset"].to_string());
    let topic = failing["topic"].as_str().context("no topic")?;
    let place = ["--topic", topic, "--partition", &partition, "--offset", &offset];
    let skip = [&["listener", "skip", "-t", "refused"][..], &place].concat();
    let (code, output) = site.run_worker(&skip).await?;
    ensure!(code == Some(0), "{output}");
    running.execute(&["UPDATE shop.number SET n = '2' WHERE id = 2"]).await?;
    has(searched, &[("1", "1"), ("2", "2"), ("3", "3")]).await?;
    // What the server does when a disk is nearly full.
    let block = r#"{"index.blocks.read_only_allow_delete":true}"#;
    searched.ask("PUT", "/refused-number/_settings", block).await?;
    running.execute(&["INSERT INTO shop.number VALUES (4, '4')"]).await?;
    says(site, "/error/message", "nearly full").await?;
    let (code, output) = site.run_worker(&["check"]).await?;
    ensure!(code != Some(0) && output.contains("read_only_allow_delete"), "{output}");
    let room = r#"{"index.blocks.read_only_allow_delete":null}"#;
    searched.ask("PUT", "/refused-number/_settings", room).await?;
    has(searched, &[("1", "1"), ("2", "2"), ("3", "3"), ("4", "4")]).await?;
    searched.ask("DELETE", "/refused-*", "").await?;
    running.end().await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "another server, which is large: scripts/test.sh --all"]
async fn a_secure_server_is_written_to_and_what_is_missing_is_said() -> Result<()> {
    let source = Source::start("sink-secure").await?;
    source
        .execute(&[
            "CREATE DATABASE shop",
            "CREATE TABLE shop.item (id INT PRIMARY KEY)",
            "INSERT INTO shop.item VALUES (1)",
        ])
        .await?;
    let search = SecureSearch::start(&source.site.path("search")).await?;
    search.ask("PUT", "/shop-item").await?;
    let (authority, other) = (search.authority(), search.other_authority());
    let access =
        format!(", user = \"writer\", password = \"writer-secret\", caFile = {authority:?}");
    let url = search.url();
    let running = begin(source, &listener("shop", "*", (&[&url], &access)))?;
    let site = &running.site;
    wait_until("the row is there", PATIENCE, async || {
        let found = search.ask("GET", "/shop-item/_doc/1?filter_path=found").await;
        found.is_ok_and(|found| found.contains("true"))
    })
    .await
    .with_context(|| running.worker.output())?;
    let (code, output) = site.run_worker(&["check"]).await?;
    ensure!(code == Some(0) && output.contains("127.0.0.1:"), "{output}");
    let other = other.display().to_string();
    for (from, to, part) in [
        ("shop-{table}", "other-{table}", "PUT /_security/role/dbevent"),
        ("other-{table}", "shop-x{table}", "may not"),
        ("writer-secret", "wrong", "does not know who we are"),
        (&authority.display().to_string(), &other, "certificate"),
    ] {
        site.amend("db_event_listener.toml", from, to)?;
        let (code, output) = site.run_worker(&["check"]).await?;
        ensure!(code != Some(0) && output.contains(part), "{part:?} is not in {output}");
    }
    drop(search);
    running.end().await
}
