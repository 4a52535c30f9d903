//! Rows that were too large for their events come from the source, of which a real MySQL and a real
//! MariaDB stand here; the target is a file.

use std::{fs, path::Path, sync::Arc};

use full_sync::Table;
use handler::{Event, Outcome};
use mysql_async::{Conn, prelude::Queryable as _};
use sinks::Sink;
use tempfile::TempDir;

use crate::{
    changes::{change, give, sink},
    mysql_servers,
};

/// A source with a schema and a user of its own, and the directory of the target.
struct Site {
    conn: Conn,
    address: String,
    schema: String,
    user: String,
    directory: TempDir,
}

impl Site {
    async fn all() -> Vec<Self> {
        let mut all = Vec::new();
        for (url, mut conn) in mysql_servers::all().await {
            let number = rand::random::<u64>();
            let (schema, user) = (format!("test_{number:016x}"), format!("u{number:016x}"));
            conn.query_drop(format!("CREATE DATABASE {schema}")).await.unwrap();
            conn.query_drop(format!("CREATE USER {user}")).await.unwrap();
            let address = url.split_once('@').unwrap().1.to_owned();
            let directory = tempfile::tempdir().unwrap();
            all.push(Self { conn, address, schema, user, directory });
        }
        all
    }

    /// Runs a statement, where `S.` stands for the schema, and `@U` for the user.
    async fn run(&mut self, sql: &str) {
        let sql = sql.replace("S.", &format!("{}.", self.schema)).replace("@U", &self.user);
        self.conn.query_drop(&sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    fn sink(&self, more: &str) -> Sink {
        let (address, user) = (&self.address, &self.user);
        let directory = self.directory.path().display();
        let toml = format!(
            "directory = '{directory}'\ncontent = 'row'\n\
             oversized.fetch = {{ hosts = ['{address}'], user = '{user}' }}\n{more}"
        );
        sink("file", &toml)
    }

    /// The change of a row that is too large, with its key alone.
    fn short(&self, seq: u64, action: &str, key: &str) -> Event {
        let event = change(seq, action, 0, "", None);
        let json = event.json.replace(r#"{"id":0}"#, key);
        let json = json.replace(r#","Seq""#, r#","Oversized":2000,"Seq""#);
        Event { json: json.replace(r#""shop""#, &format!(r#""{}""#, self.schema)), ..event }
    }

    fn lines(&self) -> Vec<String> {
        lines(self.directory.path())
    }

    async fn end(mut self) {
        let (schema, user) = (&self.schema, &self.user);
        let sql = [format!("DROP DATABASE {schema}"), format!("DROP USER {user}")];
        for statement in sql {
            self.conn.query_drop(statement).await.unwrap();
        }
    }
}

/// What files hold, without what is the same in all lines.
fn lines(directory: &Path) -> Vec<String> {
    let files = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let texts = files.filter(|path| path.is_file()).map(|path| fs::read_to_string(path).unwrap());
    let mut lines: Vec<String> = texts
        .flat_map(|text| {
            text.lines().map(|line| line.replace(r#""Ts":1700000000123,"#, "")).collect::<Vec<_>>()
        })
        .collect();
    lines.sort();
    lines
}

#[tokio::test]
async fn a_row_comes_as_it_is_now_and_one_that_is_gone_is_counted() {
    for mut site in Site::all().await {
        site.run("CREATE TABLE S.item (id INT PRIMARY KEY, d DECIMAL(9,2), t TEXT)").await;
        site.run("INSERT INTO S.item VALUES (1, 1.50, 'a'), (2, 2, 'b'), (4, NULL, 'd')").await;
        site.run("GRANT SELECT ON S.* TO @U").await;
        let sink = site.sink("where = \"double(Data.d) > 1.7\"");
        let events = [
            // It may have matched before.
            site.short(1, "update", r#"{"id":1}"#),
            site.short(2, "insert", r#"{"id":2}"#),
            site.short(3, "update", r#"{"id":3}"#),
            change(4, "insert", 9, r#""d":"9.00","t":"whole""#, None),
            site.short(5, "update", r#"{"id":2}"#),
            site.short(6, "insert", r#"{"id":1}"#),
            site.short(7, "delete", r#"{"id":3}"#),
        ];
        assert_eq!(give(&sink, &events).await, Outcome::Done);
        let row = |seq, action, row| {
            format!(r#"{{"EvId":"g:{seq}#0","Seq":{seq},"Action":"{action}",{row}}}"#)
        };
        let two = r#""id":2,"d":"2.00","t":"b""#;
        let expected = [
            row(1, "delete", r#""id":1,"d":"1.50","t":"a""#),
            row(2, "insert", two),
            row(4, "insert", r#""id":9,"d":"9.00","t":"whole""#),
            row(5, "update", two),
            row(7, "delete", r#""id":3"#),
        ];
        assert_eq!(site.lines(), expected);
        let figures = sink.figures();
        assert_eq!((figures.fetched, figures.gone, figures.refused), (4, 1, 0));
        site.end().await;
    }
}

#[tokio::test]
async fn a_privilege_that_is_lacking_is_named_with_its_grant_and_nothing_is_skipped() {
    for mut site in Site::all().await {
        site.run("CREATE TABLE S.item (id INT PRIMARY KEY, secret TEXT)").await;
        site.run("INSERT INTO S.item VALUES (1, 'a')").await;
        let sink = site.sink("");
        let table =
            Table { schema: site.schema.clone(), table: "item".to_owned(), ..Table::default() };
        let table = Arc::new(table);
        let events = [site.short(1, "insert", r#"{"id":1}"#)];
        // A column that may not be read is lacking in what the server tells of the table, too.
        for privilege in ["", "GRANT SELECT (id) ON S.item TO @U"] {
            if !privilege.is_empty() {
                site.run(privilege).await;
            }
            let found = sink.check(std::slice::from_ref(&table)).await;
            let wrong = found.iter().find(|found| found.is_wrong).expect("nothing is wrong");
            assert!(wrong.remedy.contains("GRANT SELECT ON `test_"), "{wrong:?}");
            let Outcome::Failed(failure) = give(&sink, &events).await else { panic!("it writes") };
            assert!(failure.is_away && failure.reason.contains(&site.address), "{failure:?}");
            assert!(failure.reason.contains(" denied to user "), "{failure:?}");
        }
        let grant = sink.check(std::slice::from_ref(&table)).await;
        let grant = grant.into_iter().find(|found| found.is_wrong).unwrap().remedy;
        site.run(grant.split_once("run there: ").unwrap().1).await;
        let found = sink.check(std::slice::from_ref(&table)).await;
        assert!(found.iter().all(|found| !found.is_wrong), "{found:?}");
        assert_eq!(give(&sink, &events).await, Outcome::Done);
        assert_eq!(site.lines().len(), 1);
        site.end().await;
    }
}

#[tokio::test]
async fn a_server_that_does_not_have_the_change_yet_is_not_asked_for_the_row() {
    for mut site in Site::all().await {
        site.run("CREATE TABLE S.item (id INT PRIMARY KEY)").await;
        site.run("INSERT INTO S.item VALUES (1)").await;
        site.run("GRANT SELECT ON S.* TO @U").await;
        let query = match site.address.ends_with("23318") {
            true => "SELECT @@GLOBAL.gtid_binlog_pos",
            false => "SELECT CONCAT(@@server_uuid, ':1')",
        };
        let there: String = site.conn.query_first(query).await.unwrap().unwrap();
        let there = there.split(',').next().unwrap();
        let later = format!("{there}000000000");
        let of = |gtid: &str| {
            let event = site.short(1, "insert", r#"{"id":1}"#);
            let source = format!(r#"{{"serverId":1,"gtid":"{gtid}","#);
            Event { json: event.json.replace(r#"{"serverId":1,"#, &source), ..event }
        };
        let sink = site.sink("");
        let Outcome::Failed(failure) = give(&sink, &[of(&later)]).await else { panic!("{later}") };
        assert!(
            failure.is_away && failure.reason.contains("a replica that is behind"),
            "{failure:?}"
        );
        assert_eq!(give(&sink, &[of(there)]).await, Outcome::Done);
        site.end().await;
    }
}

#[tokio::test]
async fn a_change_that_is_not_committed_yet_is_waited_for() {
    for mut site in Site::all().await {
        site.run("CREATE TABLE S.item (id INT PRIMARY KEY, n INT)").await;
        site.run("INSERT INTO S.item VALUES (1, 1)").await;
        site.run("GRANT SELECT ON S.* TO @U").await;
        // Its binlog may have been sent before it is committed in the engine.
        site.run("BEGIN").await;
        site.run("UPDATE S.item SET n = 2 WHERE id = 1").await;
        let sink = site.sink("");
        let events = [site.short(1, "update", r#"{"id":1}"#)];
        let given = give(&sink, &events);
        let waits = "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE USER = 'NAME' AND \
                     INFO LIKE '%LOCK IN SHARE MODE'";
        let waits = waits.replace("NAME", &site.user);
        let commits = async {
            while site.conn.query_first(&waits).await.unwrap() != Some(1_u64) {
                tokio::task::yield_now().await;
            }
            site.conn.query_drop("COMMIT").await.unwrap();
        };
        let (outcome, ()) = tokio::join!(given, commits);
        assert_eq!(outcome, Outcome::Done);
        assert!(site.lines()[0].contains(r#""n":2"#), "{:?}", site.lines());
        site.end().await;
    }
}

#[tokio::test]
async fn what_cannot_be_found_fails_alone_and_is_named() {
    for mut site in Site::all().await {
        site.run("CREATE TABLE S.item (id INT, n INT)").await;
        site.run("INSERT INTO S.item VALUES (1, 1), (1, 2), (2, 1)").await;
        site.run("GRANT SELECT ON S.* TO @U").await;
        let sink = site.sink("");
        let gone = site.short(5, "insert", r#"{"id":2}"#);
        let gone = Event { json: gone.json.replace(r#""item""#, r#""gone""#), ..gone };
        let events = [
            site.short(1, "insert", r#"{"id":1}"#),
            site.short(2, "insert", r#"{"id":2}"#),
            site.short(3, "insert", r#"{"old":2}"#),
            site.short(4, "insert", r#"{"id":"x"}"#),
            gone,
        ];
        let Outcome::Partly { mut failed, failure } = give(&sink, &events).await else {
            panic!("all or nothing")
        };
        failed.sort();
        assert_eq!(failed, ["g:1#0", "g:3#0", "g:4#0", "g:5#0"]);
        let said = failure.said.unwrap();
        for part in [
            "several rows of the source have the key",
            "has no column old any more",
            "does not read the key of the event as exactly this key",
            "has no table test_",
        ] {
            assert!(said.contains(part), "{part}: {said}");
        }
        assert_eq!(site.lines().len(), 1);
        site.end().await;
    }
}
