//! The saved position: set, forgotten, and taken over from other tools.

use std::{
    os::unix::fs::PermissionsExt as _,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use e2e::{
    mysqlbinlog::{self, BinlogEvent},
    processes::{PATIENCE, wait_until},
    programs::{REFUSED, Site, program},
    recording::Event,
    replication::gtids,
    running::{Source, run_listener_to_the_end},
};
use serde_json::{Value, json};

/// A server whose schema `shop` is captured and `other` is not.
async fn start(test: &str, flavor: &str) -> Result<Source> {
    let statements = [
        "CREATE DATABASE shop",
        "CREATE DATABASE other",
        "CREATE TABLE shop.a (id INT PRIMARY KEY, text VARCHAR(20))",
        "CREATE TABLE shop.b (id INT PRIMARY KEY)",
        "CREATE TABLE other.x (id INT PRIMARY KEY)",
        "INSERT INTO shop.a VALUES (1000, 'before')",
    ];
    Source::start_on(test, (flavor, &[])).await?.capture("shop", &statements).await
}

/// The events of the last transaction or statement, from its GTID event on.
async fn last_group(source: &Source) -> Result<Vec<BinlogEvent>> {
    let (file, _) = source.mysql.binlog_end().await?;
    let events = mysqlbinlog::events(&source.mysql, &file).await?;
    let is_start =
        |event: &BinlogEvent| event.kind.contains("Gtid") && event.kind != "Previous_gtids";
    let start = events.iter().rposition(is_start).context("no transaction")?;
    Ok(events[start..].to_vec())
}

/// Runs `dts position …` to its end: exit code, and all that it said.
async fn position(source: &Source, words: &[&str]) -> Result<(Option<i32>, String)> {
    source.site.run_dts(&[&["position"], words].concat()).await
}

/// What a verb printed, which must succeed.
async fn done(source: &Source, words: &[&str]) -> Result<Value> {
    let (code, output) = position(source, words).await?;
    ensure!(code == Some(0), "{words:?}: {code:?}\n{output}");
    let printed = output.lines().rfind(|line| line.starts_with(['{', 'n']));
    Ok(serde_json::from_str(printed.context("nothing was printed")?)?)
}

async fn refused(source: &Source, words: &[&str], part: &str) -> Result<()> {
    let (code, output) = position(source, words).await?;
    ensure!(code == Some(REFUSED) && output.contains(part), "{words:?}: {code:?}\n{output}");
    Ok(())
}

/// Runs `dts` and a listener until so many events were handled, and gives these.
async fn events(source: &Source, count: usize) -> Result<Vec<(String, String, String)>> {
    let (mut dts, mut worker) = (source.site.start_dts()?, source.site.start_worker()?);
    let mut seen = Vec::new();
    wait_until("the events are handled", PATIENCE, async || {
        let recording = source.site.recording();
        let events = recording.calls.iter().flat_map(|call| &call.events);
        let mut found: Vec<_> = events.map(|event| (event.bus.offset, brief(event))).collect();
        found.sort();
        found.dedup();
        seen = found.into_iter().map(|(_, event)| event).collect();
        seen.len() >= count
    })
    .await
    .with_context(|| format!("{count} expected: {seen:?}"))?;
    // Their ports are free before the next ones start.
    dts.kill().await?;
    worker.kill().await?;
    Ok(seen)
}

fn brief(event: &Event) -> (String, String, String) {
    (event.table_name.clone(), event.action.clone(), event.pk.get().to_owned())
}

/// Where a printed position is.
fn place(printed: &Value) -> (Option<&str>, Option<u64>) {
    (printed["file"].as_str(), printed["pos"].as_u64())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_position_is_set_to_any_place_that_the_server_has_and_forgotten() -> Result<()> {
    let source = start("position-set", "9.7").await?;
    ensure!(done(&source, &["show"]).await? == Value::Null, "there is a position");
    let (file, pos) = source.mysql.binlog_end().await?;
    let gtids = gtids(&source.mysql).await?;
    source.execute(&["INSERT INTO shop.a VALUES (1, 'one')"]).await?;
    let group = last_group(&source).await?;

    let text = pos.to_string();
    for words in [vec!["--gtid", &gtids], vec!["--file", &file, "--pos", &text]] {
        let dry = done(&source, &[&["set"], words.as_slice(), &["--dry-run"]].concat()).await?;
        ensure!(dry["saved"] == false && dry["before"] == Value::Null, "{dry}");
        ensure!(dry["after"]["gtidSet"] == gtids.as_str(), "{dry}");
        ensure!(done(&source, &["show"]).await? == Value::Null, "a dry run saved");
    }
    let inside = group[1].pos.to_string();
    let at = ["set", "--file", &file, "--pos", &inside];
    refused(&source, &at, "is not a boundary between transactions").await?;
    refused(&source, &["set", "--file", "binlog.000099", "--pos", "4"], "SHOW BINARY LOGS").await?;
    let foreign = "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5";
    refused(&source, &["set", "--gtid", foreign], "does not have").await?;
    let (code, output) = position(&source, &["set", "--gtid", "rubbish"]).await?;
    ensure!(code == Some(64), "{code:?} {output}");
    let (code, output) = position(&source, &["set"]).await?;
    ensure!(code == Some(64), "{code:?} {output}");

    let latest = done(&source, &["set", "latest"]).await?;
    let end = group.last().context("an empty group")?.end;
    ensure!(place(&latest["after"]) == (Some(&file), Some(end)), "{latest}");
    let set = done(&source, &["set", "--file", &file, "--pos", &text]).await?;
    ensure!(set["before"] == latest["after"] && set["saved"] == true, "{set}");
    ensure!(done(&source, &["show"]).await? == set["after"], "{set}");
    let one = ("a".to_owned(), "insert".to_owned(), r#"{"id":1}"#.to_owned());
    ensure!(events(&source, 1).await? == [one], "it did not go on from there");

    let forgotten = done(&source, &["reset"]).await?;
    ensure!(forgotten["before"]["accounting"]["published"] == 1, "{forgotten}");
    ensure!(done(&source, &["show"]).await? == Value::Null, "it was not forgotten");
    let early = done(&source, &["set", "--time", "2001-01-01T00:00:00Z", "--dry-run"]).await?;
    ensure!(place(&early["after"]).0 == Some("binlog.000001"), "{early}");
    source.remove()
}

#[tokio::test(flavor = "multi_thread")]
async fn another_bus_is_noticed_and_the_position_is_taken_over() -> Result<()> {
    let source = start("position-take-over", "9.7").await?;
    ensure!(events(&source, 1).await?.len() == 1, "more than one event");
    source.execute(&["INSERT INTO shop.b VALUES (7)"]).await?;
    source.run_up_to(2).await?;
    source.execute(&["INSERT INTO shop.a VALUES (1, 'between')"]).await?;
    let site = &source.site;
    site.amend("dts.toml", "kind = \"log\"", "kind = \"log\"\ndirectory = \"data/other\"")?;
    let mode = std::fs::metadata(site.path("data/dts/e2e.bus.json"))?.permissions().mode();
    ensure!(mode & 0o777 == 0o600, "{mode:o}");
    let parts = ["data/event-log", "`dts position take-over`", "`dts position set latest`"];
    site.expect_refusal("another bus", &parts).await?;
    refused(&source, &["take-over", "--dry-run"], "the earlier bus: all (").await?;
    let dry = done(&source, &["take-over", "--dry-run", "--leave-unread"]).await?;
    ensure!(dry["saved"] == false && dry["after"]["accounting"]["published"] == 2, "{dry}");
    refused(&source, &["take-over"], "the earlier bus: all (").await?;
    finish_log(site, "data/event-log").await?;
    // Other offsets on the new bus.
    std::fs::remove_file(site.recorded())?;
    let taken = done(&source, &["take-over"]).await?;
    ensure!(taken["before"].is_null() && taken["after"] == dry["after"], "{taken}");
    ensure!(taken["after"]["seq"].as_u64() > Some(0), "events are not numbered on: {taken}");
    refused(&source, &["take-over"], "has a position already").await?;
    let between = ("a".to_owned(), "insert".to_owned(), r#"{"id":1}"#.to_owned());
    ensure!(events(&source, 1).await? == [between], "it did not go on from there");
    source.remove()
}

/// Serves a log without `dts`, until the listener has handled all that is in it.
async fn finish_log(site: &Site, directory: &str) -> Result<()> {
    let text = std::fs::read_to_string(site.path("db_event_listener.toml"))?;
    let address = text.lines().rfind(|line| line.starts_with("address")).context("no address")?;
    let config = format!(
        "[storage]\ndirectory = \"{directory}\"\n[listen]\n{address}\n[http]\naddress = \"127.0.0.1:0\"\n"
    );
    std::fs::write(site.path("event-log.toml"), config)?;
    let path = program("event-log")?.display().to_string();
    let mut log = site.run("event-log", &[&path, "serve", "--config", "event-log.toml"])?;
    run_listener_to_the_end(site).await?;
    log.signal("TERM").await?;
    log.ended().await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_position_is_not_changed_under_a_running_dts() -> Result<()> {
    let source = start("position-fenced", "9.7").await?;
    let mut dts = source.site.start_dts()?;
    wait_until("dts publishes", PATIENCE, async || {
        let status = source.site.status().await;
        status["accounting"]["published"] == 1
    })
    .await?;
    let begun = Instant::now();
    for words in [vec!["set", "latest"], vec!["reset"]] {
        refused(&source, &words, "a dts named e2e is running; stop it first").await?;
    }
    ensure!(begun.elapsed() < Duration::from_secs(45), "it waited {:?}", begun.elapsed());
    let dry = done(&source, &["reset", "--dry-run"]).await?;
    ensure!(dry["saved"] == false && dry["before"] != Value::Null, "{dry}");
    ensure!(dts.is_running()?, "dts was fenced: {}", dts.output());
    dts.signal("TERM").await?;
    ensure!(dts.ended().await?.success(), "{}", dts.output());
    done(&source, &["reset"]).await?;
    source.remove()
}

/// A transaction of 10 events from BEGIN on: rows of a table that is not captured, 5 inserts, 2
/// updates that change the key, 3 inserts.
const TRANSACTION: [&str; 6] = [
    "BEGIN",
    "INSERT INTO other.x VALUES (1), (2), (3)",
    "INSERT INTO shop.a VALUES (1, ''), (2, ''), (3, ''), (4, ''), (5, '')",
    "UPDATE shop.a SET id = id + 100 WHERE id IN (1, 2)",
    "INSERT INTO shop.b VALUES (1), (2), (3)",
    "COMMIT",
];

/// Debezium's event and row, and how many of our records that is; `None`: all of it.
const SENT: [(u64, u64, Option<u64>); 9] = [
    (0, 0, Some(0)),
    (2, 0, Some(0)),
    (4, 2, Some(2)),
    (4, 5, Some(5)),
    (5, 0, Some(5)),
    (6, 1, Some(7)),
    (8, 0, Some(12)),
    (8, 3, Some(12)),
    (9, 0, None),
];

/// Writes what the topic `connect-offsets` would have.
fn write_offset(source: &Source, offset: &Value) -> Result<()> {
    let line = format!("[\"connector\",{{\"server\":\"shop\"}}]\t{offset}\n");
    Ok(std::fs::write(source.site.path("offsets"), line)?)
}

/// Debezium stopped at each place of [`SENT`] in the last transaction.
async fn stop_debezium_everywhere(source: &Source, gtids: Option<&str>) -> Result<()> {
    const DRY: [&str; 7] =
        ["import", "--from", "debezium", "--offsets", "offsets", "--dry-run", "--replace"];
    let group = last_group(source).await?;
    let (start, begin) = (&group[0], &group[1]);
    for (events, rows, records) in SENT {
        let mut offset = json!({"file": begin.file, "pos": begin.pos, "ts_sec": 1});
        let members = [("event", events), ("row", rows)];
        for (name, count) in members.into_iter().filter(|(_, count)| *count > 0) {
            offset[name] = count.into();
        }
        if let Some(gtids) = gtids {
            offset["gtids"] = gtids.into();
        }
        write_offset(source, &offset)?;
        let after = done(source, &DRY).await?["after"].take();
        let end = group.last().map(|event| event.end);
        let expected = records.map_or(end, |_| Some(start.pos));
        ensure!(place(&after).1 == expected, "{offset} became {after}");
        let skip = after["skip"]["records"].as_u64().unwrap_or(0);
        ensure!(skip == records.unwrap_or(0), "{offset} became {after}");
    }
    for (members, part) in [
        (json!({"event": 20}), "that transaction has 10 events"),
        (json!({"event": 4, "row": 9}), "that event has 5 rows"),
        (json!({"snapshot": "INITIAL"}), "snapshot was not finished"),
        (json!({"pos": begin.pos + 1}), "is inside a transaction"),
        (json!({"file": "binlog.000099"}), "purged, or another server"),
    ] {
        let mut offset = json!({"file": begin.file, "pos": begin.pos});
        for (name, value) in members.as_object().into_iter().flatten() {
            offset[name] = value.clone();
        }
        write_offset(source, &offset)?;
        refused(source, &DRY, part).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn debezium_is_followed_from_the_middle_of_a_transaction() -> Result<()> {
    for flavor in ["9.7", "8.0"] {
        let source = start(&format!("position-debezium-{flavor}"), flavor).await?;
        let gtids = gtids(&source.mysql).await?;
        source.execute(&TRANSACTION).await?;
        stop_debezium_everywhere(&source, Some(&gtids)).await?;
        stop_debezium_everywhere(&source, None).await?;

        let group = last_group(&source).await?;
        let mut offset = json!({"file": group[1].file, "pos": group[1].pos, "event": 6, "row": 1});
        offset["gtids"] = gtids.clone().into();
        write_offset(&source, &offset)?;
        let import = ["import", "--from", "debezium", "--offsets", "offsets"];
        done(&source, &import).await?;
        refused(&source, &import, "give --replace").await?;
        source.execute(&["INSERT INTO shop.b VALUES (4)"]).await?;
        let rest = events(&source, 6).await?;
        let line =
            |(table, action, key): &(String, String, String)| format!("{table} {action} {key}");
        let keys: Vec<String> = rest.iter().map(line).collect();
        ensure!(
            keys == [
                r#"a delete {"id":2}"#,
                r#"a insert {"id":102}"#,
                r#"b insert {"id":1}"#,
                r#"b insert {"id":2}"#,
                r#"b insert {"id":3}"#,
                r#"b insert {"id":4}"#,
            ],
            "{keys:?}"
        );
        let (uuid, _) = gtids.split_once(':').context("no GTID set")?;
        offset["gtids"] = format!("{uuid}:1-2").into();
        write_offset(&source, &offset)?;
        let again = [&import[..], &["--replace"]].concat();
        refused(&source, &again, "are two different places on this server").await?;
        source.remove()?;
    }
    Ok(())
}

/// Debezium takes a compressed transaction for one event, and stores where that stands.
#[tokio::test(flavor = "multi_thread")]
async fn debezium_is_followed_from_a_compressed_transaction() -> Result<()> {
    let source = start("position-debezium-packed", "9.7").await?;
    let gtids = gtids(&source.mysql).await?;
    let compression = "SET SESSION binlog_transaction_compression = ON";
    source.execute(&[&[compression], &TRANSACTION[..]].concat()).await?;
    let group = last_group(&source).await?;
    let (start, payload) = (&group[0], &group[1]);
    ensure!(payload.kind == "Transaction_payload", "{group:?}");
    let import = ["import", "--from", "debezium", "--offsets", "offsets"];
    let offset = |rows: u64| json!({"file": payload.file, "pos": payload.pos, "gtids": gtids, "row": rows, "ts_sec": 1});
    // 3 of the 13 rows are not captured, and 2 became two records each.
    for (rows, records) in [(13, None), (3, Some(0)), (5, Some(2)), (9, Some(7))] {
        write_offset(&source, &offset(rows))?;
        let after = done(&source, &[&import[..], &["--dry-run"]].concat()).await?["after"].take();
        let expected = if records.is_none() { payload.end } else { start.pos };
        let skip = after["skip"]["records"].as_u64();
        ensure!(place(&after).1 == Some(expected), "{rows} rows became {after}");
        ensure!(skip == records.filter(|records| *records > 0), "{rows} rows became {after}");
    }
    write_offset(&source, &offset(14))?;
    refused(&source, &import, "that event has 13 rows").await?;
    write_offset(&source, &offset(13))?;
    done(&source, &import).await?;
    source.execute(&["INSERT INTO shop.b VALUES (4)"]).await?;
    let four = ("b".to_owned(), "insert".to_owned(), r#"{"id":4}"#.to_owned());
    ensure!(events(&source, 1).await? == [four], "it did not go on from there");
    source.remove()
}

#[tokio::test(flavor = "multi_thread")]
async fn debezium_is_followed_where_the_server_has_no_gtids() -> Result<()> {
    let source = start("position-no-gtids", "9.7").await?;
    for mode in ["ON_PERMISSIVE", "OFF_PERMISSIVE", "OFF"] {
        source.execute(&[&format!("SET GLOBAL gtid_mode = {mode}")]).await?;
    }
    source.execute(&TRANSACTION).await?;
    stop_debezium_everywhere(&source, None).await?;
    source.remove()
}

/// Maxwell's own table, and the position in it.
const MAXWELL: [&str; 2] = [
    "CREATE DATABASE maxwell",
    "CREATE TABLE maxwell.positions (server_id INT UNSIGNED NOT NULL, binlog_file VARCHAR(255), \
     binlog_position INT UNSIGNED, gtid_set VARCHAR(4096), vgtid TEXT CHARSET latin1, \
     client_id VARCHAR(255) CHARSET latin1 NOT NULL DEFAULT 'maxwell', \
     heartbeat_at BIGINT NULL DEFAULT NULL, last_heartbeat_read BIGINT NULL DEFAULT NULL, \
     PRIMARY KEY (server_id, client_id))",
];

#[tokio::test(flavor = "multi_thread")]
async fn maxwell_is_followed_from_the_row_in_its_table() -> Result<()> {
    for flavor in ["9.7", "8.0"] {
        let source = start(&format!("position-maxwell-{flavor}"), flavor).await?;
        let import = ["import", "--from", "maxwell"];
        refused(&source, &import, "name its schema with --schema").await?;
        source.execute(&MAXWELL).await?;
        refused(&source, &import, "no row of client maxwell").await?;
        let gtids = gtids(&source.mysql).await?;
        source.execute(&TRANSACTION).await?;
        let group = last_group(&source).await?;
        let after = group.last().map(|event| event.end);
        let save = async |server: &str, event: &BinlogEvent, gtids: &str| {
            let (file, pos) = (&event.file, event.pos);
            source
                .execute(&[
                    "DELETE FROM maxwell.positions",
                    &format!(
                        "INSERT INTO maxwell.positions (server_id, binlog_file, binlog_position, \
                         gtid_set) VALUES ({server}, '{file}', {pos}, {gtids})"
                    ),
                ])
                .await
        };
        let gtids = format!("'{gtids}'");
        // Before the commit; before rows that Maxwell filters; and by GTIDs, without the last one.
        for (server, event, gtids) in
            [("@@server_id", 10, "NULL"), ("@@server_id", 8, "NULL"), ("0", 10, gtids.as_str())]
        {
            save(server, &group[event], gtids).await?;
            let printed = done(&source, &[&import[..], &["--dry-run"]].concat()).await?;
            ensure!(place(&printed["after"]).1 == after, "{printed}");
        }
        save("4711", &group[10], "NULL").await?;
        refused(&source, &import, "but for server_id 4711").await?;
        save("@@server_id", &group[10], "NULL").await?;
        source.execute(&["INSERT INTO shop.b VALUES (4)"]).await?;
        done(&source, &import).await?;
        let four = ("b".to_owned(), "insert".to_owned(), r#"{"id":4}"#.to_owned());
        ensure!(events(&source, 1).await? == [four], "it did not go on from there");
        source.remove()?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn canal_is_followed_from_its_cursor() -> Result<()> {
    for flavor in ["9.7", "8.0"] {
        let source = start(&format!("position-canal-{flavor}"), flavor).await?;
        source.execute(&["CREATE TABLE shop.c (id INT PRIMARY KEY)"]).await?;
        let ddl = last_group(&source).await?;
        source.execute(&TRANSACTION).await?;
        let group = last_group(&source).await?;
        let gtids = gtids(&source.mysql).await?;
        let (begin, commit) = (&group[1], &group[10]);
        let import = ["import", "--from", "canal", "--meta", "meta.dat"];
        for (event, gtid, expected) in [
            (begin, "", group[0].pos),
            (commit, "", commit.end),
            (commit, gtids.as_str(), commit.end),
            (&ddl[1], "", ddl[1].end),
        ] {
            write_cursor(&source, event, gtid)?;
            let printed = done(&source, &[&import[..], &["--dry-run"]].concat()).await?;
            ensure!(place(&printed["after"]).1 == Some(expected), "{event:?}: {printed}");
        }
        write_cursor(&source, &group[5], "")?;
        refused(&source, &import, "is inside a transaction").await?;
        write_cursor(&source, commit, "")?;
        source.execute(&["INSERT INTO shop.b VALUES (4)"]).await?;
        let other = [&import[..], &["--destination", "other"]].concat();
        refused(&source, &other, "there is no destination other").await?;
        done(&source, &import).await?;
        let four = ("b".to_owned(), "insert".to_owned(), r#"{"id":4}"#.to_owned());
        ensure!(events(&source, 1).await? == [four], "it did not go on from there");
        source.remove()?;
    }
    Ok(())
}

/// `meta.dat` as FileMixedMetaManager writes it.
fn write_cursor(source: &Source, event: &BinlogEvent, gtid: &str) -> Result<()> {
    let identity = json!({"slaveId": -1, "sourceAddress": {"address": "127.0.0.1", "port": 3306}});
    let position = json!({"gtid": gtid, "included": false, "journalName": event.file,
        "position": event.pos, "serverId": 1, "timestamp": 1_627_268_042_000_u64});
    let client = json!({"clientId": 1001, "destination": "example", "filter": ".*\\..*"});
    let cursor = json!({"identity": identity, "postion": position});
    let meta = json!({"clientDatas": [{"clientIdentity": client, "cursor": cursor}],
        "destination": "example"});
    Ok(std::fs::write(source.site.path("meta.dat"), meta.to_string())?)
}
