//! Binlog files of a real server (MySQL 9.7.4), one per thing that a server can write: how each
//! is decoded, and what stops the stream.
//!
//! The statements beside a test made its `recorded/NAME.binlog`.

use anyhow::{Context as _, Result, bail, ensure};
use binlog::{
    Action, Decoder, Error, EventHeader, Gtid, RawEvent, Step, TRANSACTION_PAYLOAD, Unpacker,
};

/// An event's header and body.
pub(crate) type Event = (EventHeader, Vec<u8>);

/// A decoded file: steps and rows in order, as text.
type Decoded = Result<Vec<String>, Error>;

fn decoded(name: &str) -> Result<Decoded> {
    decode(&events(name)?)
}

fn decode(events: &[Event]) -> Result<Decoded> {
    let mut texts = Vec::new();
    let mut decoder = Decoder::new(|schema, _| schema == "fx");
    decoder.restart("binlog.000001", 4);
    for (header, body) in events {
        let event = RawEvent { header: *header, body };
        let before = decoder.position().pos;
        let mut rows = Vec::new();
        let step = decoder.decode(&event, &mut |row| {
            let action = match row.action {
                Action::Insert => "insert",
                Action::Update => "update",
                Action::Delete => "delete",
            };
            rows.push(format!("{action} {} #{}", row.table.table, row.row));
            Ok::<(), Error>(())
        });
        texts.append(&mut rows);
        match step {
            Err(error) => return Ok(Err(error)),
            Ok(Step::Ended(end)) => {
                ensure!(end.end == *decoder.position(), "ends at {:?}", end.end);
                let number =
                    |gtid: Gtid| gtid.to_string().rsplit(':').next().unwrap_or_default().to_owned();
                let gtid = end.gtid.map_or("-".to_owned(), number);
                texts.push(format!("end {} rows", end.rows));
                ensure!(end.commit_micros > 1_700_000_000_000_000, "{gtid} has no commit time");
            }
            Ok(Step::Xa(outcome, end)) => texts.push(format!("{outcome:?} {} rows", end.rows)),
            Ok(Step::Statement(statement, _)) => texts.push(format!("{statement:?}")),
            Ok(Step::RolledBack(_)) => texts.push("rolled back".to_owned()),
            Ok(Step::TornOff) => {
                texts.push("torn off".to_owned());
                continue;
            }
            Ok(Step::Savepoint(name)) => texts.push(format!("savepoint {name}")),
            Ok(Step::Rotated) => continue,
            Ok(_) => {}
        }
        let moved = decoder.position().pos - before;
        let is_inside = header.log_pos == 0;
        ensure!(
            is_inside || moved == u64::from(header.size),
            "an event of {} moved {moved}",
            header.size
        );
    }
    Ok(Ok(texts))
}

/// The events of a file, without their checksums. A compressed transaction is followed by the
/// events in it.
pub(crate) fn events(name: &str) -> Result<Vec<Event>> {
    let mut events = Vec::new();
    for (header, body) in packed_events(name)? {
        let packed = (header.kind == TRANSACTION_PAYLOAD).then(|| body.clone());
        events.push((header, body));
        if let Some(packed) = packed {
            let mut unpacker = Unpacker::default();
            unpacker.begin(&packed)?;
            while let Some(event) = unpacker.next(&packed)? {
                events.push(event);
            }
        }
    }
    Ok(events)
}

/// The events as the file has them.
pub(crate) fn packed_events(name: &str) -> Result<Vec<Event>> {
    let path = format!("{}/tests/recorded/{name}.binlog", env!("CARGO_MANIFEST_DIR"));
    let file = std::fs::read(&path).context(path)?;
    let mut rest = file.get(4..).context("too short")?;
    let mut events = Vec::new();
    while !rest.is_empty() {
        let header = EventHeader::read(rest)?;
        let (event, next) = rest.split_at_checked(header.size as usize).context("cut short")?;
        let (event, checksum) = event.split_last_chunk().context("no checksum")?;
        ensure!(crc32fast::hash(event) == u32::from_le_bytes(*checksum), "wrong checksum");
        ensure!(header.write() == event[..EventHeader::LEN], "the header is written differently");
        events.push((header, event[EventHeader::LEN..].to_vec()));
        rest = next;
    }
    Ok(events)
}

/// The message that a file stops with.
fn stop(name: &str) -> Result<String> {
    let error = decoded(name)?.err().with_context(|| format!("{name} does not stop the stream"))?;
    Ok(error.to_string())
}

/// Events that are not handled yet or are impossible, each with a part of its message.
#[test]
fn what_is_not_understood_stops_the_stream_and_says_why() -> Result<()> {
    let cases = [
        // SET GLOBAL binlog_row_metadata = MINIMAL; INSERT …
        (
            "minimal_metadata",
            "table fx.t: the binlog does not name the columns of this table; set \
             binlog_row_metadata = FULL on the server",
        ),
    ];
    for (name, expected) in cases {
        let message = stop(name)?;
        ensure!(message.starts_with("binlog binlog.000001 position "), "{message}");
        ensure!(message.contains(expected), "{name}: {message}");
    }
    Ok(())
}

/// A setting is for the operator, in the server's own words; damage is not.
#[test]
fn the_message_says_how_to_change_the_server() -> Result<()> {
    let set = |name: &str, value: &str| format!("SET GLOBAL {name} = {value}");
    let error = decoded("minimal_metadata")?.err().context("it does not stop the stream")?;
    let (problem, remedy) = error.advice(set).context("no advice")?;
    ensure!(problem.ends_with("does not name the columns of this table"), "{problem}");
    ensure!(remedy.starts_with("SET GLOBAL binlog_row_metadata = FULL, and "), "{remedy}");
    ensure!(error.is_for_operator(), "{error}");
    let mut events = events("groups")?;
    let (_, body) = events.iter_mut().find(|(header, _)| header.kind == 19).context("no map")?;
    body.truncate(12);
    let error = decode(&events)?.err().context("it does not stop the stream")?;
    ensure!(error.advice(set).is_none() && !error.is_for_operator(), "{error}");
    Ok(())
}

/// CREATE TABLE gb (id INT PRIMARY KEY, name VARCHAR(10) CHARSET gbk); INSERT …, as if a later
/// server had a collation that we do not know.
#[test]
fn an_unknown_collation_stops_the_stream_and_names_the_column() -> Result<()> {
    const TABLE_MAP: u8 = 19;
    // The optional metadata's field 2, of one byte: gbk_chinese_ci.
    const GBK: &[u8] = &[2, 1, 28];
    let mut events = events("gbk")?;
    ensure!(decode(&events)?.is_ok(), "gbk is not read");
    let map = events.iter_mut().find(|(header, _)| header.kind == TABLE_MAP).context("no map")?;
    let at = map.1.windows(GBK.len()).position(|bytes| bytes == GBK).context("not gbk")?;
    map.1[at + 2] = 100;
    let message = decode(&events)?.err().context("it does not stop the stream")?.to_string();
    let expected = "table fx.gb, column name: its collation 100 (SELECT COLLATION_NAME FROM \
                    information_schema.COLLATIONS WHERE ID = 100) is not handled yet";
    ensure!(message.contains(expected), "{message}");
    Ok(())
}

/// A decoded file, with the values of its changes.
fn values(name: &str) -> Result<Vec<String>> {
    let mut texts = Vec::new();
    let mut decoder = Decoder::new(|schema, _| schema == "fx");
    decoder.restart("binlog.000001", 4);
    for (header, body) in events(name)? {
        decoder.decode(&RawEvent { header, body: &body }, &mut |row| {
            let mut text = String::new();
            for (side, image) in [("before", &row.before), ("after", &row.after)] {
                let Some(image) = image else { continue };
                text.push_str(side);
                for (at, column) in row.table.columns.iter().enumerate() {
                    let mut value = Vec::new();
                    if image.is_present(at) {
                        image.write_value(at, &mut value)?;
                    } else {
                        value.extend_from_slice(b"-");
                    }
                    text.push_str(&format!(" {}={}", column.name, String::from_utf8_lossy(&value)));
                }
                text.push(' ');
            }
            texts.push(text.trim_end().to_owned());
            Ok::<(), Error>(())
        })?;
    }
    Ok(texts)
}

/// INSERT INTO g VALUES (1, POINT(1, 2))
#[test]
fn a_geometry_has_its_coordinates() -> Result<()> {
    let expected = r#"after id=1 p={"type":"Point","coordinates":[1.0,2.0],"srid":0}"#;
    assert_eq!(values("geometry")?, [expected]);
    Ok(())
}

/// INSERT INTO ve VALUES (1, TO_VECTOR('[1,2]'))
#[test]
fn a_vector_has_its_numbers() -> Result<()> {
    assert_eq!(values("vector")?, ["after id=1 p=[1.0,2.0]"]);
    Ok(())
}

/// SET binlog_transaction_compression = ON; INSERT …
#[test]
fn a_compressed_transaction_is_decoded_as_any_other() -> Result<()> {
    assert_eq!(decoded("compressed")??, ["insert t #0", "end 1 rows"]);
    Ok(())
}

/// XA START 'x'; INSERT …; XA END 'x'; XA PREPARE 'x'; XA COMMIT 'x'
#[test]
fn an_xa_transaction_is_prepared_and_then_committed() -> Result<()> {
    let found = decoded("xa")??;
    let [row, prepared, committed] = found.as_slice() else { anyhow::bail!("{found:?}") };
    assert_eq!(row, "insert t #0");
    ensure!(prepared.starts_with("Prepared(Xid") && prepared.ends_with("1 rows"), "{prepared}");
    ensure!(committed.starts_with("Committed(Xid") && committed.ends_with("0 rows"), "{committed}");
    Ok(())
}

/// SET gtid_next = 'AUTOMATIC:blue'; INSERT …
#[test]
fn a_tagged_gtid_has_its_tag() -> Result<()> {
    let mut tags = Vec::new();
    let mut decoder = Decoder::new(|_, _| true);
    decoder.restart("binlog.000001", 4);
    for (header, body) in events("tagged")? {
        let step =
            decoder.decode(&RawEvent { header, body: &body }, &mut |_| Ok::<_, Error>(()))?;
        if let Step::Ended(end) = step {
            let gtid = end.gtid.context("no GTID")?;
            let Gtid::Mysql { tag, gno, .. } = gtid else { bail!("{gtid} is no GTID of MySQL") };
            ensure!(end.commit_micros > 1_700_000_000_000_000 && gno == 1, "{tag:?}:{gno}");
            tags.push(tag.map(String::from));
        }
    }
    assert_eq!(tags, [Some("blue".to_owned())]);
    Ok(())
}

/// SET binlog_format = STATEMENT; INSERT …
#[test]
fn a_change_that_was_logged_as_a_statement_has_its_table() -> Result<()> {
    let found = decoded("statement")??;
    let expected = r#"LoggedStatement { schemas: Some(["fx"]), table: Some(("fx", "t")) }"#;
    assert_eq!(found, [expected, "end 0 rows"]);
    Ok(())
}

/// The same without its BEGIN and its commit, as a server logs a statement outside of a
/// transaction.
#[test]
fn a_statement_that_is_a_group_by_itself_is_given_and_ends_the_group() -> Result<()> {
    const QUERY: u8 = 2;
    const XID: u8 = 16;
    let mut events = events("statement")?;
    events.retain(|(header, body)| {
        header.kind != XID && (header.kind != QUERY || !body.ends_with(b"BEGIN"))
    });
    let mut decoder = Decoder::new(|_, _| true);
    decoder.restart("binlog.000001", 4);
    let mut texts = Vec::new();
    for (header, body) in &events {
        let event = RawEvent { header: *header, body };
        if let Step::Statement(statement, end) =
            decoder.decode(&event, &mut |_| Ok::<_, Error>(()))?
        {
            let end = end.context("it does not end the group")?;
            ensure!(end.gtid.is_some() && end.end == *decoder.position(), "{end:?}");
            texts.extend(statement.table);
        }
    }
    assert_eq!(texts, [("fx".to_owned(), "t".to_owned())]);
    ensure!(!decoder.is_in_group(), "the group is open");
    Ok(())
}

/// SET binlog_row_image = MINIMAL; UPDATE …
#[test]
fn columns_that_were_not_logged_are_absent() -> Result<()> {
    let inserted = r#"after id=5 v="a" j={}"#;
    let updated = r#"before id=5 v=- j=- after id=- v="b" j=-"#;
    assert_eq!(values("minimal_image")?, [inserted, updated]);
    Ok(())
}

/// SET binlog_row_value_options = PARTIAL_JSON; UPDATE t SET j = JSON_SET(j, '$.a', 2)
#[test]
fn a_partial_json_update_gives_the_whole_document() -> Result<()> {
    let found = values("partial_json")?;
    let updated = found.iter().find(|row| row.starts_with("before")).context("no update")?;
    ensure!(updated.contains(r#""a":2"#), "{found:?}");
    Ok(())
}

/// Tables that are not captured do not stop the stream, whatever columns they have.
#[test]
fn tables_that_are_not_captured_need_no_metadata_and_no_full_image() -> Result<()> {
    for name in ["minimal_image", "minimal_metadata", "geometry", "vector"] {
        let mut decoder = Decoder::new(|_, _| false);
        decoder.restart("binlog.000001", 4);
        let mut rows = 0;
        for (header, body) in events(name)? {
            let step = decoder.decode(&RawEvent { header, body: &body }, &mut |_| {
                Err(anyhow::anyhow!("a row of a table that is not captured"))
            })?;
            if let Step::Ended(end) = step {
                rows += end.rows;
            }
        }
        ensure!(rows > 0, "{name}: no row was counted");
    }
    Ok(())
}

#[test]
fn transactions_and_statements_around_them_are_separated() -> Result<()> {
    let expected = [
        // CREATE TABLE c AS SELECT id, v FROM t
        "insert c #0",
        "insert c #1",
        "insert c #2",
        "insert c #3",
        "insert c #4",
        "insert c #5",
        "insert c #6",
        "end 7 rows",
        // INSERT INTO t VALUES (20, …), (21, …)
        "insert t #0",
        "insert t #1",
        "end 2 rows",
        // BEGIN; INSERT 22; SAVEPOINT a; INSERT 23; ROLLBACK TO a; INSERT 24; COMMIT
        "insert t #0",
        "savepoint a",
        "insert t #1",
        "end 2 rows",
        // ALTER, TRUNCATE, RENAME, DROP, CREATE USER, DROP USER
        "end 0 rows",
        "end 0 rows",
        "end 0 rows",
        "end 0 rows",
        "end 0 rows",
        "end 0 rows",
        // INSERT INTO my VALUES (1), (2), in MyISAM
        "insert my #0",
        "insert my #1",
        "end 2 rows",
        // CREATE TABLE e; INSERT INTO e; UPDATE t, e SET …
        "end 0 rows",
        "insert e #0",
        "end 1 rows",
        "update t #0",
        "update e #1",
        "end 2 rows",
        // DELETE FROM t WHERE id IN (20, 21)
        "delete t #0",
        "delete t #1",
        "end 2 rows",
        // CREATE TABLE p; CREATE TABLE ch with a foreign key; INSERT each; DELETE FROM p cascades
        "end 0 rows",
        "end 0 rows",
        "insert p #0",
        "end 1 rows",
        "insert ch #0",
        "end 1 rows",
        "delete ch #0",
        "delete p #1",
        "end 2 rows",
        // CREATE TRIGGER; INSERT INTO p fires it
        "end 0 rows",
        "insert p #0",
        "insert e #1",
        "end 2 rows",
    ];
    assert_eq!(decoded("groups")??, expected);
    Ok(())
}

/// DELETE FROM t; INSERT …; CREATE TABLE …, with gtid_mode = OFF
#[test]
fn transactions_without_a_gtid_are_separated_too() -> Result<()> {
    let found = decoded("anonymous")??;
    assert_eq!(found[found.len() - 3..], ["insert t #0", "end 1 rows", "end 0 rows"]);
    Ok(())
}

/// A MariaDB logs such groups where a transaction changed a temporary table too. Here a commit is
/// replaced by a ROLLBACK, and then the end is cut off.
#[test]
fn a_rollback_or_a_missing_end_comes_after_the_rows() -> Result<()> {
    const QUERY: u8 = 2;
    const XID: u8 = 16;
    const FORMAT_DESCRIPTION: u8 = 15;
    let mut events = events("anonymous")?;
    let begin = events.iter().find(|(header, _)| header.kind == QUERY).context("no BEGIN")?;
    let mut rollback = begin.1.strip_suffix(b"BEGIN").context("not BEGIN")?.to_vec();
    rollback.extend_from_slice(b"ROLLBACK");
    let at = events.iter().position(|(header, _)| header.kind == XID).context("no commit")?;
    (events[at].0.kind, events[at].1) = (QUERY, rollback);
    let found = decode(&events[..=at])??;
    ensure!(found.last().is_some_and(|last| last == "rolled back"), "{found:?}");
    let is_description = |event: &&Event| event.0.kind == FORMAT_DESCRIPTION;
    let description = events.iter().find(is_description).context("no description")?.clone();
    events.truncate(at);
    events.push(description);
    let found = decode(&events)??;
    ensure!(found.last().is_some_and(|last| last == "torn off"), "{found:?}");
    Ok(())
}

/// Events that no server writes: each stands for a fault of a server or of this decoder.
#[test]
fn events_that_do_not_fit_together_name_the_place() -> Result<()> {
    const TABLE_MAP: u8 = 19;
    const WRITE_ROWS: u8 = 30;
    let changed = |kind: u8, change: fn(&mut Vec<u8>)| -> Result<String> {
        let mut events = events("groups")?;
        let event = events.iter_mut().find(|(header, _)| header.kind == kind);
        change(&mut event.context("no such event")?.1);
        Ok(decode(&events)?.err().context("it does not stop the stream")?.to_string())
    };
    let cases = [
        (changed(TABLE_MAP, |body| body[0] ^= 1)?, "without a table map before them"),
        (changed(TABLE_MAP, |body| body.truncate(12))?, "it is cut short"),
        (changed(WRITE_ROWS, |body| body[10] += 1)?, "as many columns"),
        (changed(WRITE_ROWS, |body| body.truncate(body.len() - 1))?, "table fx.c: "),
        (changed(WRITE_ROWS, |body| body.push(0))?, "it is cut short"),
    ];
    for (message, expected) in cases {
        ensure!(message.starts_with("binlog binlog.000001 position "), "{message}");
        ensure!(message.contains(expected), "{message} instead of {expected}");
    }
    Ok(())
}
