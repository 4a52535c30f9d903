//! The books: what was read, published and handled agrees, and what does not is named.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context as _, Result, ensure};
use e2e::{
    processes::{PATIENCE, wait_until},
    programs::Site,
    running::{Running, Source, Victim},
    servers::kafka_tool,
    topics::read_records,
};
use rdkafka::{
    ClientConfig,
    message::{Header, OwnedHeaders},
    producer::{BaseRecord, DefaultProducerContext, Producer as _, ThreadedProducer},
};
use serde_json::Value;

/// A cleaner of Kafka looks so often.
const CLEANER: &str = "log.cleaner.backoff.ms=200";

const PATIENCE_OF_BROKERS: Duration = Duration::from_secs(20);

const STATEMENTS: [&str; 8] = [
    "CREATE DATABASE shop",
    "CREATE DATABASE other",
    "CREATE TABLE shop.item (id INT PRIMARY KEY, n INT)",
    "CREATE TABLE shop.part (id INT PRIMARY KEY)",
    "CREATE TABLE other.t (id INT PRIMARY KEY)",
    "INSERT INTO other.t VALUES (1), (2), (3)",
    "INSERT INTO shop.item VALUES (1, 1), (2, 2)",
    "INSERT INTO shop.part VALUES (1)",
];

/// A listener that does not want deletes.
async fn start(test: &str, kafka: bool) -> Result<Running> {
    let mut source = Source::start(test).await?;
    if kafka {
        source = source.over_kafka("partitions = 3\n").await?;
    }
    let source = source.capture("shop", &STATEMENTS).await?;
    let wanted = "[listeners.all]\nactions = [\"insert\", \"update\"]\n";
    source.site.amend("db_event_listener.toml", "[listeners.all]\n", wanted)?;
    source.run()
}

/// What a number of each table of `dts` or of a listener is.
type Counts = BTreeMap<String, u64>;

async fn published(site: &Site) -> Counts {
    let tables = site.status().await["books"]["tables"].take();
    let tables = tables.as_object().into_iter().flatten();
    tables.map(|(name, of)| (name.clone(), of["published"].as_u64().unwrap_or(0))).collect()
}

async fn listener(site: &Site) -> Value {
    site.ask_worker("/api/v1/listeners/all").await.unwrap_or_default()
}

/// Of each table: how many events came, of which nothing waits.
async fn received(site: &Site) -> Counts {
    let shown = listener(site).await;
    let tables = shown["tables"].as_array().into_iter().flatten();
    let of = |table: &Value| {
        let count = |key: &str| table[key].as_u64().unwrap_or(0);
        let passed = count("done") + count("filtered");
        (count("received") == passed + count("returned") && count("waiting") == 0).then_some(())?;
        Some((table["table"].as_str()?.to_owned(), passed))
    };
    tables.filter_map(of).collect()
}

/// What `dts` has published of each table is what the listener has passed.
async fn agree(site: &Site, tables: &[(&str, u64)]) -> Result<()> {
    let expected: Counts = tables.iter().map(|(name, n)| ((*name).to_owned(), *n)).collect();
    let (mut made, mut passed) = (Counts::new(), Counts::new());
    wait_until("the books of both agree", PATIENCE, async || {
        (made, passed) = (published(site).await, received(site).await);
        made == expected && passed == expected
    })
    .await
    .with_context(|| format!("expected {expected:?}, published {made:?}, passed {passed:?}"))
}

async fn balanced(site: &Site) -> Result<()> {
    let status = site.status().await;
    let count = |name: &str| status["accounting"][name].as_u64().unwrap_or(u64::MAX);
    ensure!(status["books"]["balanced"] == true, "{status}");
    let due = count("read") - count("filtered") + count("split");
    ensure!(count("published") == due && count("filtered") == 3, "{status}");
    let shown = listener(site).await;
    ensure!(shown["books"]["balanced"] == true, "{shown}");
    let (code, text) = site.run_dts(&["status"]).await?;
    ensure!(code == Some(0) && text.contains("books       balanced"), "{text}");
    Ok(())
}

async fn the_books_agree(test: &str, kafka: bool) -> Result<()> {
    let mut running = start(test, kafka).await?;
    agree(&running.site, &[("shop.item", 2), ("shop.part", 1)]).await?;
    let more = [
        "UPDATE shop.item SET n = 7",
        // One row change, and two events.
        "UPDATE shop.item SET id = 3 WHERE id = 1",
        "DELETE FROM shop.part",
    ];
    running.execute(&more).await?;
    agree(&running.site, &[("shop.item", 6), ("shop.part", 2)]).await?;
    balanced(&running.site).await?;
    let item = running.site.status().await["books"]["tables"]["shop.item"].take();
    ensure!(item["read"] == 5 && item["split"] == 1, "{item}");

    // The counts of dts go on in another life, and a listener that gets records again counts them
    // again: nobody is alarmed.
    for victim in [Victim::Dts, Victim::Listener, Victim::Supervisor, Victim::Dts] {
        running.kill(victim).await?;
        running.execute(&["UPDATE shop.item SET n = n + 1 WHERE id = 2"]).await?;
    }
    wait_until("all is handled", PATIENCE, async || {
        let shown = listener(&running.site).await;
        let made = published(&running.site).await;
        made.get("shop.item") == Some(&10) && shown["lag"]["records"] == 0
    })
    .await?;
    balanced(&running.site).await?;
    running.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_books_of_dts_and_of_a_listener_agree_on_the_log() -> Result<()> {
    the_books_agree("books-log", false).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_books_of_dts_and_of_a_listener_agree_on_kafka() -> Result<()> {
    the_books_agree("books-kafka", true).await
}

/// Waits until the listener says what does not agree, and checks that it says this everywhere.
async fn names(running: &Running, missing: i64, parts: &[&str]) -> Result<()> {
    let site = &running.site;
    let mut shown = Value::Null;
    wait_until("the difference is named", PATIENCE, async || {
        shown = listener(site).await;
        shown["books"]["differences"][0]["missing"] == missing
    })
    .await
    .with_context(|| shown.to_string())?;
    let found = &shown["books"]["differences"];
    ensure!(found.as_array().is_some_and(|all| all.len() == 1), "{found}");
    ensure!(found[0]["between"] == "bus" && found[0]["table"] == "shop.item", "{found}");
    let metrics = site.ask_worker_text("/metrics").await?;
    let gauge = format!(
        "dbevent_listener_book_difference{{listener=\"all\",between=\"bus\"}} {}\n",
        missing.unsigned_abs()
    );
    ensure!(metrics.contains(&gauge), "{gauge} is not in\n{metrics}");
    let (code, text) = site.run_worker(&["status"]).await?;
    ensure!(code == Some(0) && text.contains("BOOKS DO NOT BALANCE"), "{text}");
    for part in parts {
        ensure!(text.contains(part), "{part:?} is not in\n{text}");
    }
    let told = running.worker.output().matches("the books do not balance").count();
    ensure!(told == 1, "it was logged {told} times");
    ensure!(site.status().await["books"]["balanced"] == true, "the books of dts are right");
    Ok(())
}

/// The last record of a topic with one partition, once more, from somebody else.
fn forge(address: &str, topic: &str) -> Result<()> {
    let mut last = None;
    read_records(address, topic, |record| {
        last = Some((record.key().to_vec(), record.value().to_vec()));
        Ok(())
    })?;
    let (key, value) = last.context("the topic is empty")?;
    let client: ThreadedProducer<DefaultProducerContext> =
        ClientConfig::new().set("bootstrap.servers", address).create()?;
    let record = BaseRecord::to(topic)
        .key(&key)
        .payload(&value)
        .headers(OwnedHeaders::new().insert(Header { key: "from", value: Some("a human") }));
    client.send(record).map_err(|(error, _)| error)?;
    Ok(client.flush(PATIENCE_OF_BROKERS)?)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_somebody_else_wrote_to_a_topic_is_named() -> Result<()> {
    let source = Source::start("books-forged").await?.over_kafka("partitions = 1\n").await?;
    let mut running = source.capture("shop", &STATEMENTS).await?.run()?;
    running.worker.may_find_an_imbalance();
    running.site.wait_for_handled(3).await?;
    let address = running.kafka.as_ref().context("no Kafka")?.address();
    tokio::task::spawn_blocking(move || forge(&address, "e2e.shop.item")).await??;
    running.execute(&["INSERT INTO shop.item VALUES (9, 9)"]).await?;
    let seam = "1 record is too many in the bus, between dts and the listener: of shop.item";
    names(&running, -1, &[seam, "see who else writes to the topic"]).await?;
    running.end().await
}

/// How many records a topic has.
async fn records(address: &str, topic: &'static str) -> Result<usize> {
    let address = address.to_owned();
    let counted = tokio::task::spawn_blocking(move || {
        let mut count = 0;
        read_records(&address, topic, |_| {
            count += 1;
            Ok(())
        })?;
        anyhow::Ok(count)
    });
    counted.await?
}

#[tokio::test(flavor = "multi_thread")]
async fn records_that_a_compacted_topic_lost_are_named() -> Result<()> {
    const TOPIC: &str = "e2e.shop.item";
    let mut source = Source::start("books-compacted").await?;
    let kafka = e2e::servers::Kafka::start_with(&source.site.path("kafka"), &[CLEANER]).await?;
    source.site.use_kafka(&kafka.address(), "partitions = 1\n");
    source.kafka = Some(kafka);
    let mut running = source.capture("shop", &STATEMENTS).await?.run()?;
    running.worker.may_find_an_imbalance();
    running.site.wait_for_handled(3).await?;
    let (code, _) = running.site.call_worker("POST", "/api/v1/listeners/all/pause").await?;
    ensure!(code == 200, "it is not paused");
    // Its process has to hear of it first: until then it takes in what comes.
    wait_until("it rests", PATIENCE, async || listener(&running.site).await["state"] == "paused")
        .await?;
    for n in 10..16 {
        running.execute(&[&format!("UPDATE shop.item SET n = {n} WHERE id = 1")]).await?;
    }
    running.site.wait_for_published(9).await?;
    let address = running.kafka.as_ref().context("no Kafka")?.address();
    ensure!(records(&address, TOPIC).await? == 8, "two rows, and six updates");
    let settings = "cleanup.policy=compact,segment.ms=1,min.cleanable.dirty.ratio=0.01";
    let words = ["--bootstrap-server", &address, "--alter", "--entity-type", "topics"];
    let words = [&words[..], &["--entity-name", TOPIC, "--add-config", settings]].concat();
    kafka_tool("kafka.admin.ConfigCommand", &words).await?;
    // Each record closes the segment before; a cleaner takes closed ones only.
    let (mut left, mut added) = (0, 0);
    wait_until("Kafka removes the older changes of the row", PATIENCE * 2, async || {
        added += 1;
        let row = format!("INSERT INTO shop.item VALUES ({}, 0)", 100 + added);
        let is_in = running.execute(&[&row]).await.is_ok();
        left = records(&address, TOPIC).await.unwrap_or_default();
        is_in && left <= 3 + added
    })
    .await
    .with_context(|| format!("{left} records are left"))?;
    let (code, _) = running.site.call_worker("POST", "/api/v1/listeners/all/resume").await?;
    ensure!(code == 200, "it is not resumed");
    let mut shown = Value::Null;
    let named = wait_until("the difference is named", PATIENCE * 2, async || {
        shown = listener(&running.site).await;
        shown["books"]["differences"][0]["missing"].as_i64() >= Some(1)
    });
    named.await.with_context(|| shown.to_string())?;
    let lost = listener(&running.site).await["books"]["differences"][0]["missing"].as_i64();
    let lost = lost.context("nothing is named")?;
    let seam = "missing in the bus, between dts and the listener: of shop.item";
    names(&running, lost, &[seam, "send the table again with a full sync"]).await?;
    running.end().await
}
