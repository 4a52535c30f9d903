//! What a listener receives equals what the server answers to a SELECT, for every type.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};
use change_event::Columns;
use e2e::{
    oracle::{
        ABSENT, Change, History, MARIADB_SESSION, SESSION, Sample, Table, Writer, mariadb_samples,
        quoted, samples,
    },
    processes::{PATIENCE, wait_until},
    programs::{seed, size},
    recording::{Event, Recording},
    running::Source,
    servers::{Mysql, execute},
};
use rand::{SeedableRng, rngs::StdRng};

const SCHEMA: &str = "every type";

/// Tables with types that `mysqlbinlog` does not know, so that it does not show their rows.
const UNTOLD: [&str; 2] = ["places", "vectors"];

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_receives_what_a_select_answers_on_mysql_97() -> Result<()> {
    compare_all("9.7").await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "as on MySQL 9.7: scripts/test.sh --all"]
async fn a_listener_receives_what_a_select_answers_on_mysql_80() -> Result<()> {
    compare_all("8.0").await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "as on MariaDB 11.8: scripts/test.sh --all"]
async fn a_listener_receives_what_a_select_answers_on_mariadb_1011() -> Result<()> {
    compare_all("mariadb-10.11").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_receives_what_a_select_answers_on_mariadb_118() -> Result<()> {
    compare_all("mariadb-11.8").await
}

async fn compare_all(flavor: &str) -> Result<()> {
    let source = Source::start_on(&format!("values-{flavor}"), (flavor, &[])).await?;
    let running = source.capture(SCHEMA, &[]).await?.run()?;
    let (site, mysql) = (&running.site, &running.mysql);

    let histories = write_all(mysql, seed()).await?;
    let server = (mysql, SCHEMA);
    let mut recording = site.wait_for_all_but(&site.recorded(), server, &UNTOLD).await?;
    for (table, history) in histories.iter().filter(|(table, _)| UNTOLD.contains(&&*table.name)) {
        let complete = async || {
            recording = site.recording();
            let received = Received::of(table, &recording);
            received.is_ok_and(|received| history.check(table, &received.changes).is_ok())
        };
        // The check below says what is wrong.
        let _ = wait_until("every change of it is handled", PATIENCE, complete).await;
    }
    recording.check_ids()?;
    let mut split = 0;
    for (table, history) in &histories {
        let received = Received::of(table, &recording).with_context(|| table.name.clone())?;
        history.check(table, &received.changes).with_context(|| table.name.clone())?;
        split += received.split;
    }
    ensure!(split > 0, "no update changed a primary key");
    println!("{} events, {split} changes of a key", recording.done_ids().len());
    running.end().await
}

async fn write_all(mysql: &Mysql, seed: u64) -> Result<Vec<(Table, History)>> {
    let rows = usize::try_from(size(10_000, 100_000))?;
    let mut conn = mysql.connect().await?;
    let session = if mysql.is_mariadb() { MARIADB_SESSION } else { SESSION };
    execute(&mut conn, &[session, &format!("CREATE DATABASE {}", quoted(SCHEMA))]).await?;
    let samples = if mysql.is_mariadb() {
        mariadb_samples(&mut conn).await
    } else {
        samples(&mut conn).await
    };
    let mut rng = StdRng::seed_from_u64(seed);
    let mut histories = Vec::new();
    for sample in samples? {
        let rows = sample.rows(rows);
        let Sample { table, .. } = sample;
        execute(&mut conn, &[&table.create(SCHEMA)]).await?;
        let mut writer = Writer { conn: &mut conn, schema: SCHEMA, rng: &mut rng };
        let history = writer.write(&table, rows).await;
        histories.push((table.clone(), history.with_context(|| table.name)?));
    }
    Ok(histories)
}

/// What the listener received of one table.
#[derive(Debug, Default)]
struct Received {
    changes: Vec<Change>,
    /// How many of them came as a delete and an insert, since the primary key changed.
    split: usize,
}

impl Received {
    fn of(table: &Table, recording: &Recording) -> Result<Self> {
        let events = recording.done().filter(|event| event.table_name == table.name);
        // In the order of the bus, and without repeats.
        let events: BTreeMap<u64, &Event> = events.map(|event| (event.bus.offset, event)).collect();
        let mut received = Self::default();
        let mut old_row = None;
        for event in events.into_values() {
            received.add(table, event, &mut old_row).with_context(|| format!("{event:.1000?}"))?;
        }
        ensure!(old_row.is_none(), "a delete of an old key without the insert of the new one");
        Ok(received)
    }

    /// `old_row` is the id and the row of a delete that was one half of a change of a key.
    fn add(
        &mut self,
        table: &Table,
        event: &Event,
        old_row: &mut Option<(String, Vec<String>)>,
    ) -> Result<()> {
        let change = change_of(table, event)?;
        let (id, part) = event.ev_id.split_at(event.ev_id.len() - 1);
        match (part, old_row.take(), change) {
            ("d", None, Change { before: Some(row), after: None }) => {
                *old_row = Some((id.to_owned(), row));
            }
            ("i", Some((old_id, row)), Change { before: None, after }) => {
                ensure!(old_id == id, "the other half of {old_id} does not follow it");
                self.changes.push(Change { before: Some(row), after });
                self.split += 1;
            }
            (_, None, change) if !["d", "i"].contains(&part) => self.changes.push(change),
            (_, old_row, _) => bail!("the id does not fit the action, after {old_row:?}"),
        }
        Ok(())
    }
}

/// The change that an event describes: `Old` and `Data` together are the row before an update.
fn change_of(table: &Table, event: &Event) -> Result<Change> {
    let data = Columns::read(event.data.get())?;
    let names: Vec<&str> = data.iter().map(|(name, _)| name).collect();
    let is_absent = |name: &str| event.absent.iter().any(|absent| absent == name);
    let logged: Vec<&str> =
        table.column_names().into_iter().filter(|name| !is_absent(name)).collect();
    ensure!(names == logged, "Data has the columns {names:?}, absent are {:?}", event.absent);
    check_key(table, event, &data)?;
    let row = row_of(table, &data);
    match (event.action.as_str(), &event.old) {
        ("insert", None) => Ok(Change { before: None, after: Some(row) }),
        ("delete", None) => Ok(Change { before: Some(row), after: None }),
        ("update", Some(old)) => {
            let before = row_before(table, &data, &Columns::read(old.get())?)?;
            Ok(Change { before: Some(before), after: Some(row) })
        }
        (action, old) => bail!("{action} with Old {old:?}"),
    }
}

fn check_key(table: &Table, event: &Event, data: &Columns<'_>) -> Result<()> {
    let key = Columns::read(event.pk.get())?;
    let names: Vec<&str> = key.iter().map(|(name, _)| name).collect();
    ensure!(names == table.key, "the primary key is {names:?}");
    let mut columns = key.iter();
    let differs = columns.find(|(name, value)| data.get(name) != Some(*value));
    ensure!(differs.is_none(), "PK and Data differ: {differs:?}");
    Ok(())
}

/// The values of a row, in the order of its table.
fn row_of(table: &Table, data: &Columns<'_>) -> Vec<String> {
    let value = |name: &str| data.get(name).unwrap_or(ABSENT).to_owned();
    table.column_names().into_iter().map(value).collect()
}

fn row_before(table: &Table, data: &Columns<'_>, old: &Columns<'_>) -> Result<Vec<String>> {
    ensure!(old.iter().len() > 0, "Old is empty");
    for (name, value) in old.iter() {
        let now = data.get(name).with_context(|| format!("Old has {name}, Data has not"))?;
        // From NULL to the document `null`, or back, is a change too.
        let changed = now != value || now == "null";
        ensure!(changed, "Old has {name}, which did not change");
    }
    let names = table.column_names().into_iter();
    let before = |name: &str| old.get(name).or(data.get(name)).unwrap_or(ABSENT).to_owned();
    Ok(names.map(before).collect())
}

#[test]
fn what_is_wrong_with_one_event_is_found() {
    let table = Table::new("t", [("n".to_owned(), e2e::oracle::Domain::Int(32))]);
    let changed = |from: &str, to: &str| {
        let right = r#"{"EvId":"e:1#0","Schema":"s","TableName":"t","Action":"update",
            "Origin":"binlog","Ts":1,
            "PK":{"id":2},"Data":{"id":2,"n":21},"Old":{"n":20},
            "Bus":{"topic":"s.t","partition":0,"offset":0}}"#;
        assert!(right.contains(from), "{from}");
        let event: Event = serde_json::from_str(&right.replace(from, to)).expect("an event");
        change_of(&table, &event)
    };
    let change = changed("", "").expect("it is right");
    assert_eq!(change.before, Some(vec!["2".to_owned(), "20".to_owned()]));
    assert_eq!(change.after, Some(vec!["2".to_owned(), "21".to_owned()]));
    for (from, to) in [
        (r#""PK":{"id":2}"#, r#""PK":{"id":3}"#),
        (r#""PK":{"id":2}"#, r#""PK":{"n":21}"#),
        (r#","n":21"#, ""),
        (r#""Old":"#, r#""Absent":["n"],"Old":"#),
        (r#""id":2,"n":21"#, r#""n":21,"id":2"#),
        (r#""Old":{"n":20}"#, r#""Old":{"n":21}"#),
        (r#""Old":{"n":20}"#, r#""Old":{}"#),
        (r#""Old":{"n":20},"#, ""),
        ("update", "insert"),
    ] {
        assert!(changed(from, to).is_err(), "{to} instead of {from}");
    }
}
