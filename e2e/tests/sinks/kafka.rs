//! The sink `kafka`: the records of a topic make the tables, and no change is there twice.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use e2e::{
    processes::{PATIENCE, wait_until},
    programs::{seed, size},
    rebuilt::{check_rows, texts_of},
    running::{Running, Source, Victim},
    servers::Kafka,
    topics::read_records,
    workload::{TABLES, Workload, shuffled},
};
use rand::{SeedableRng as _, rngs::SmallRng};

use super::{Change, SCHEMA, begin, filled, shown};

#[derive(Clone, Copy, Debug)]
enum Killed {
    Program(Victim),
    Target,
}

const ALL_VICTIMS: [Killed; 4] = [
    Killed::Program(Victim::Listener),
    Killed::Program(Victim::Supervisor),
    Killed::Program(Victim::Dts),
    Killed::Target,
];

/// A listener that writes events, and one that writes rows.
fn listeners(brokers: &str) -> String {
    let listener = |id: &str, content: &str| {
        format!(
            "[listeners.{id}]\nsubscribe = {{ {SCHEMA} = [] }}\nstart = \"full-sync\"\n\
             workers = 3\nbatchSize = 100\nretry = {{ min = \"20ms\", max = \"1s\" }}\n\
             [listeners.{id}.handler.kafka]\nbrokers = {brokers:?}\n\
             topic = \"{id}.{{table}}\"\ncontent = {content:?}\ncreate = true\npartitions = 3\n\
             timeout = \"5s\"\n"
        )
    };
    listener("events", "event") + &listener("rows", "row")
}

/// The rows of tables by their name.
type Tables = BTreeMap<String, BTreeSet<Vec<String>>>;

/// What the topics of the events make. No change may be there twice, and none after a later one of
/// its row.
fn of_events(address: &str) -> Result<(Tables, BTreeSet<String>)> {
    let (mut ids, mut rows) = (BTreeSet::new(), HashMap::<_, (u64, Option<String>)>::new());
    read_records(address, "events.", |record| {
        let text = std::str::from_utf8(record.value())?;
        let change: Change = serde_json::from_str(text).with_context(|| text.to_owned())?;
        ensure!(record.key() == change.key.get().as_bytes(), "another key: {text}");
        ensure!(ids.insert(change.ev_id), "twice: {text}");
        let row = rows.entry((change.table_name, change.key.get().to_owned())).or_default();
        ensure!(change.seq > row.0, "{} is there before: {text}", row.0);
        let is_there = change.action != "delete";
        *row = (change.seq, is_there.then(|| change.data.get().to_owned()));
        Ok(())
    })?;
    let mut tables = Tables::new();
    for ((table, _), (_, row)) in rows {
        if let Some(row) = row {
            tables.entry(table).or_default().insert(texts_of(&row)?);
        }
    }
    Ok((tables, ids))
}

/// What the topics of the rows make.
fn of_rows(address: &str) -> Result<Tables> {
    let mut rows = HashMap::new();
    read_records(address, "rows.", |record| {
        let at = (record.topic().to_owned(), record.key().to_vec());
        match std::str::from_utf8(record.value())? {
            "" => rows.remove(&at),
            row => rows.insert(at, row.to_owned()),
        };
        Ok(())
    })?;
    let mut tables = Tables::new();
    for ((topic, _), row) in rows {
        let table = topic.trim_start_matches("rows.").to_owned();
        tables.entry(table).or_default().insert(texts_of(&row)?);
    }
    Ok(tables)
}

/// Waits until the topics have all changes; gives how many events there are.
async fn become_equal(running: &Running, address: &str) -> Result<usize> {
    let mut mysql = running.mysql.connect().await?;
    let (mut difference, mut count) = (String::new(), 0);
    let equal = wait_until("the topics make the tables", PATIENCE * 2, async || {
        let compared = async {
            let of = address.to_owned();
            let read = move || Ok::<_, anyhow::Error>((of_events(&of)?, of_rows(&of)?));
            let ((events, ids), rows) = tokio::task::spawn_blocking(read).await??;
            for (kind, tables) in [("events", &events), ("rows", &rows)] {
                for table in TABLES {
                    let rows = tables.get(table).context("no record")?;
                    let checked = check_rows(rows, &mut mysql, (SCHEMA, table, "TRUE")).await;
                    checked.context(kind)?;
                }
            }
            count = ids.len();
            anyhow::Ok(())
        };
        let outcome = compared.await;
        difference = outcome.err().map_or_else(String::new, |error| format!("{error:#}"));
        // What is there twice stays there.
        difference.is_empty() || difference.contains("twice") || difference.contains("before")
    });
    let equal = equal.await;
    if equal.is_err() {
        for listener in ["events", "rows"] {
            difference += &format!("\n{:#}", shown(&running.site, listener).await);
        }
    }
    equal.with_context(|| format!("{difference}\n{}", running.worker.output()))?;
    if !difference.is_empty() {
        bail!("{difference}\n{}", running.worker.output());
    }
    Ok(count)
}

/// `target` is `None` where the bus is the target, too. In its short form the test kills only some.
async fn survive(source: Source, mut target: Option<Kafka>, short: &[Killed]) -> Result<()> {
    let address = match (&target, &source.kafka) {
        (Some(target), _) | (None, Some(target)) => target.address(),
        (None, None) => bail!("there is no target"),
    };
    let (seed, total) = (seed(), size(4_000, 100_000));
    let mut running = begin(source, &listeners(&address))?;
    let load = Workload::start(&running.mysql.url(), SCHEMA, total, seed);
    load.allow(total / 4);
    wait_until("events are written", PATIENCE, async || {
        shown(&running.site, "events").await["sink"]["rows"].as_u64() > Some(100)
    })
    .await
    .with_context(|| running.worker.output())?;
    let mut random = SmallRng::seed_from_u64(seed);
    let victims = match size(0, 1) {
        0 => short.to_vec(),
        _ => shuffled(&ALL_VICTIMS, 5, &mut random),
    };
    let kills = (&victims[..], Duration::from_secs(2));
    let killed =
        load.finish_during_kills(kills, &mut random, async |victim| match (victim, &mut target) {
            (Killed::Program(victim), _) => running.kill(victim).await,
            (Killed::Target, Some(target)) => {
                target.kill().await?;
                target.restart().await
            }
            (Killed::Target, None) => running.kill(Victim::Kafka).await,
        });
    killed.await?;
    let events = become_equal(&running, &address).await?;
    ensure!(events > 1000, "{events} events prove nothing");
    drop(target);
    running.end().await
}

/// Starts the programs; `dts` begins with all that there is.
fn begin_early(source: Source, listener: &str) -> Result<Running> {
    source.site.configure_dts(&source.mysql.address(), SCHEMA)?;
    source.site.configure_worker(listener)?;
    source.run()
}

async fn rows_before(test: &str) -> Result<Source> {
    filled(test, &[], (size(400, 10_000), seed())).await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "as on Kafka: scripts/test.sh --all"]
async fn each_change_is_there_once_after_kills_on_the_log() -> Result<()> {
    let source = rows_before("sink-kafka-log").await?;
    let target = Kafka::start(&source.site.path("target")).await?;
    survive(source, Some(target), &[Killed::Program(Victim::Listener), Killed::Target]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn each_change_is_there_once_after_kills_on_kafka() -> Result<()> {
    let source = rows_before("sink-kafka-kafka").await?.over_kafka("").await?;
    let short = [Victim::Listener, Victim::Supervisor].map(Killed::Program);
    survive(source, None, &short).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_is_said_and_a_row_that_is_too_large_fails_alone() -> Result<()> {
    let source = Source::start("sink-kafka-trouble").await?;
    let mut target = Kafka::start(&source.site.path("target")).await?;
    let table = ["CREATE DATABASE shop", "CREATE TABLE shop.item (id INT PRIMARY KEY, t LONGTEXT)"];
    source.execute(&table).await?;
    let brokers = target.address();
    let listener = format!(
        "[listeners.out]\nsubscribe = {{ {SCHEMA} = [] }}\nstart = \"earliest\"\n\
             retry = {{ min = \"20ms\", max = \"200ms\" }}\npark = {{ after = 3 }}\n[listeners.out.handler.kafka]\nbrokers = {brokers:?}\ntimeout = \"2s\"\n\
             compression = \"none\"\n"
    );
    let running = begin_early(source, &listener)?;
    let said = async |part: &str| {
        let mut last = serde_json::Value::Null;
        let found = wait_until("the status says why", PATIENCE, async || {
            last = shown(&running.site, "out").await;
            last.to_string().contains(part)
        });
        found.await.with_context(|| format!("{part}: {last:#}\n{}", running.worker.output()))
    };
    let rows = async |count: u64| {
        wait_until("the rows are written", PATIENCE, async || {
            shown(&running.site, "out").await["sink"]["rows"].as_u64() == Some(count)
        })
        .await
        .with_context(|| running.worker.output())
    };
    running.execute(&["INSERT INTO shop.item VALUES (1, 'a')"]).await?;
    said("kafka-topics.sh --bootstrap-server").await?;
    let (_, checked) = running.site.run_worker(&["check"]).await?;
    ensure!(checked.contains("the topic shop.item is not there"), "{checked}");
    e2e::servers::kafka_tool(
        "org.apache.kafka.tools.TopicCommand",
        &["--bootstrap-server", &brokers, "--create", "--topic", "shop.item"],
    )
    .await?;
    rows(1).await?;
    // The topic takes 1 MiB.
    running
        .execute(&[
            "INSERT INTO shop.item VALUES (2, 'b'), (3, REPEAT('x', 2000000)), (4, 'c')",
            "UPDATE shop.item SET t = 'd' WHERE id = 4",
        ])
        .await?;
    rows(4).await?;
    let is_parked = wait_until("the row is parked", PATIENCE, async || {
        let listed = running.site.run_worker(&["parked", "list", "-t", "out"]).await;
        listed.is_ok_and(|(_, listed)| listed.contains("takes no record of 20"))
    });
    is_parked.await.with_context(|| running.worker.output())?;
    // A later change of the row waits behind the one that fails.
    running.execute(&["UPDATE shop.item SET t = 'e' WHERE id = 3"]).await?;
    target.kill().await?;
    running.execute(&["INSERT INTO shop.item VALUES (5, 'f')"]).await?;
    said("Connection refused").await?;
    target.restart().await?;
    rows(5).await?;
    let mut ids = BTreeSet::new();
    read_records(&brokers, "shop.item", |record| {
        ensure!(ids.insert(serde_json::from_slice::<Change>(record.value())?.ev_id), "twice");
        ensure!(record.key() != br#"{"id":3}"#, "a later change overtook the one that failed");
        Ok(())
    })?;
    ensure!(ids.len() == 5, "{ids:?}");
    drop(target);
    running.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn with_tls_sasl_and_the_rights_of_the_page_it_writes() -> Result<()> {
    let source = Source::start("sink-kafka-secure").await?;
    let target = Kafka::start_secure(&source.site.path("target")).await?;
    let table = ["CREATE DATABASE shop", "CREATE TABLE shop.item (id INT PRIMARY KEY)"];
    source.execute(&table).await?;
    let (brokers, authority) = (target.address(), target.authority());
    let listener = format!(
        "[listeners.out]\nsubscribe = {{ {SCHEMA} = [] }}\nstart = \"earliest\"\n\
         retry = {{ min = \"20ms\", max = \"200ms\" }}\n\
         [listeners.out.handler.kafka]\nbrokers = {brokers:?}\ncreate = true\ntimeout = \"2s\"\n\
         [listeners.out.handler.kafka.properties]\nsecurity.protocol = \"SASL_SSL\"\n\
         sasl.mechanism = \"SCRAM-SHA-512\"\nsasl.username = \"worker\"\n\
         sasl.password = \"worker-secret\"\nssl.ca.location = {authority:?}\n"
    );
    let running = begin_early(source, &listener)?;
    running.execute(&["INSERT INTO shop.item VALUES (1)"]).await?;
    let why = wait_until("the status says why", PATIENCE, async || {
        let shown = shown(&running.site, "out").await.to_string();
        shown.contains("grant the user WRITE on the transactional id")
    });
    why.await.with_context(|| running.worker.output())?;
    let checked = async |part: &str| {
        let (_, checked) = running.site.run_worker(&["check"]).await?;
        ensure!(checked.contains(part), "{part}: {checked}");
        anyhow::Ok(())
    };
    checked("--operation Write --transactional-id dbevent-sink.out. ").await?;
    let prefixed = "--resource-pattern-type=prefixed";
    target
        .grant("worker", &["--operation=Write", prefixed, "--transactional-id=dbevent-sink.out."])
        .await?;
    target.grant("worker", &["--operation=Read", "--group=dbevent-sink.out"]).await?;
    let marks = ["--operation=Create", "--operation=Read", "--topic=dbevent-sink.out"];
    target.grant("worker", &marks).await?;
    target.grant("worker", &["--operation=Create", "--topic=shop.item"]).await?;
    let why = wait_until("the status names the topic", PATIENCE, async || {
        shown(&running.site, "out").await.to_string().contains("cannot write to the topic")
    });
    why.await.with_context(|| running.worker.output())?;
    checked("the user may not write to the topic shop.item").await?;
    checked("--operation Write --topic dbevent-sink.out").await?;
    target.grant("worker", &["--operation=Write", "--topic=dbevent-sink.out"]).await?;
    target.grant("worker", &["--operation=Write", "--topic=shop.item"]).await?;
    wait_until("the row is written", PATIENCE, async || {
        shown(&running.site, "out").await["sink"]["rows"] == 1
    })
    .await
    .with_context(|| running.worker.output())?;
    drop(target);
    running.end().await
}
