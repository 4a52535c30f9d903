//! A broker that asks who we are: TLS, SASL and ACLs, and what is said when it turns us away.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use e2e::{
    processes::{PATIENCE, wait_until},
    programs::{REFUSED, Site, program, recording_listener},
    replays::{Replay, all_committed},
    servers::{Kafka, Mysql},
};
use serde_json::Value;

const SCHEMA: &str = "locked";

/// A kind of resource and a name, as `AclCommand` takes them, and what is allowed there. Together
/// these are the tables of `docs/kafka.md`.
struct Right {
    resource: &'static [&'static str],
    operations: &'static [&'static str],
}

const PREFIXED: &str = "--resource-pattern-type=prefixed";

const CHECKPOINT: Right = Right {
    resource: &["--topic", "e2e.dts-checkpoint.e2e"],
    operations: &["Create", "Read", "Write"],
};
const LEAD: Right = Right { resource: &["--group", "e2e.dts.e2e"], operations: &["Read"] };
const TRANSACTIONS: Right =
    Right { resource: &["--transactional-id", "e2e.dts.e2e"], operations: &["Write"] };
const TABLES: Right =
    Right { resource: &[PREFIXED, "--topic", "e2e.locked."], operations: &["Create", "Write"] };

const CONTROL: Right =
    Right { resource: &["--topic", "e2e.control"], operations: &["Create", "Read", "Write"] };
const CONTROL_GROUP: Right = Right { resource: &["--group", "e2e.control"], operations: &["Read"] };
const LISTENERS: Right =
    Right { resource: &[PREFIXED, "--group", "e2e.listener."], operations: &["Read"] };
const READ_TABLES: Right =
    Right { resource: &[PREFIXED, "--topic", "e2e.locked."], operations: &["Read"] };

struct Secure {
    site: Site,
    mysql: Mysql,
    kafka: Kafka,
}

/// How a client logs in.
struct Login<'a> {
    user: &'a str,
    password: &'a str,
    authority: &'a Path,
}

impl Secure {
    async fn start(test: &str) -> Result<Self> {
        let site = Site::new(test)?;
        let mysql = site.start_mysql().await?;
        let kafka = Kafka::start_secure(&site.path("kafka")).await?;
        let tables = [
            "CREATE DATABASE locked",
            "CREATE TABLE locked.t (id INT PRIMARY KEY, a INT)",
            "INSERT INTO locked.t VALUES (1, 1), (2, 2)",
        ];
        mysql.execute(&tables).await?;
        Ok(Self { site, mysql, kafka })
    }

    fn log_in(&mut self, login: &Login<'_>) {
        let Login { user, password, authority } = login;
        let more = format!(
            "properties = {{ security.protocol = \"SASL_SSL\", sasl.mechanism = \"SCRAM-SHA-512\", \
             sasl.username = {user:?}, sasl.password = {password:?}, \
             ssl.ca.location = {authority:?} }}\n"
        );
        self.site.use_kafka(&self.kafka.address(), &more);
    }

    /// Writes both configs for users who show the right things.
    fn configure(&mut self) -> Result<()> {
        let authority = self.kafka.authority();
        let login = |user, password| Login { user, password, authority: &authority };
        self.log_in(&login("dts", "dts-secret"));
        self.configure_dts()?;
        self.log_in(&login("worker", "worker-secret"));
        self.configure_worker()
    }

    fn configure_dts(&self) -> Result<()> {
        self.site.configure_dts(&self.mysql.address(), SCHEMA)
    }

    fn configure_worker(&self) -> Result<()> {
        let listener = recording_listener("all", &self.site.path("recorded"), &[])?;
        self.site.configure_worker(&format!("{listener}subscribe = {{ locked = [\"t\"] }}\n"))
    }

    async fn grant(&self, user: &str, right: &Right) -> Result<()> {
        let operations = right.operations.iter().flat_map(|one| ["--operation", one]);
        let rights: Vec<&str> = operations.chain(right.resource.iter().copied()).collect();
        self.kafka.grant(user, &rights).await
    }

    /// Runs a program until it ends by itself: that it was turned away, and these words.
    async fn refused(
        &self,
        case: &str,
        (name, arguments): Command<'_>,
        said: &[&str],
    ) -> Result<()> {
        let path = program(name)?.display().to_string();
        let command = [&[path.as_str()], arguments].concat();
        let told = self.site.run("refused", &command)?.told().await;
        let (status, output) = told.with_context(|| case.to_owned())?;
        println!("--- {case}: {} {}\n{output}", name, arguments[0]);
        ensure!(status.code() == Some(REFUSED), "{case}: {status}\n{output}");
        for part in said {
            ensure!(output.contains(part), "{case}: {part:?} is not in\n{output}");
        }
        ensure!(!output.contains("-secret"), "{case}: a password is shown\n{output}");
        Ok(())
    }

    /// A replay and a rehearsal need no more rights.
    async fn past_and_rehearsal(&self) -> Result<()> {
        all_committed(&self.site).await?;
        let replay = Replay::start(&self.site, &["--from", "earliest"]).await?;
        replay.wait_for(&self.site, "done").await?;
        let words = ["rehearse", "-t", "all", "--with", "print"];
        let until = ["--from", "earliest", "--events", "1"];
        let (code, output) = self.site.run_worker(&[&words[..], &until].concat()).await?;
        ensure!(code == Some(0), "{output}");
        Ok(())
    }

    async fn end(self) -> Result<()> {
        let Self { site, mysql, kafka } = self;
        drop((mysql, kafka));
        site.wait_until_empty().await?;
        site.remove()
    }
}

type Command<'a> = (&'a str, &'a [&'a str]);

const DTS: Command<'_> = ("dts", &["run", "--config", "dts.toml"]);
const DTS_CHECK: Command<'_> = ("dts", &["check", "--config", "dts.toml"]);
const LISTENER: Command<'_> =
    ("event-worker", &["listener", "-t", "all", "--config", "db_event_listener.toml"]);
const WORKER_CHECK: Command<'_> =
    ("event-worker", &["check", "--config", "db_event_listener.toml"]);

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_and_a_wrong_authority_end_the_programs_and_are_named() -> Result<()> {
    let mut secure = Secure::start("secure-login").await?;
    let (authority, other) = (secure.kafka.authority(), secure.kafka.other_authority());
    let cases = [
        ("password", "wrong", &authority, ["sasl.password", "invalid credentials"]),
        ("authority", "dts-secret", &other, ["ssl.ca.location", "certificate"]),
    ];
    for (case, password, authority, said) in cases {
        secure.log_in(&Login { user: "dts", password, authority });
        secure.configure_dts()?;
        secure.configure_worker()?;
        let address = secure.kafka.address();
        let said = [said[0], said[1], &address, "bus.properties"];
        for command in [DTS, DTS_CHECK, LISTENER, WORKER_CHECK] {
            secure.refused(case, command, &said).await?;
        }
    }
    secure.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dts_names_each_right_that_it_lacks_and_runs_with_no_more_than_these() -> Result<()> {
    let mut secure = Secure::start("secure-dts").await?;
    secure.configure()?;
    let checkpoint = "e2e.dts-checkpoint.e2e";
    secure.refused("no right", DTS, &[checkpoint, "TopicAuthorizationFailed", "grant"]).await?;
    secure.refused("no right", DTS_CHECK, &[checkpoint, "grant"]).await?;

    let half = Right { operations: &["Create", "Write"], ..CHECKPOINT };
    secure.grant("dts", &half).await?;
    secure.refused("no group", DTS, &["e2e.dts.e2e", "GroupAuthorizationFailed", "READ"]).await?;

    secure.grant("dts", &LEAD).await?;
    let said = ["e2e.dts.e2e", "TransactionalIdAuthorizationFailed", "transactional id"];
    secure.refused("no transactions", DTS, &said).await?;

    secure.grant("dts", &TRANSACTIONS).await?;
    secure.refused("checkpoint unread", DTS, &[checkpoint, "READ"]).await?;
    secure.refused("checkpoint unread", DTS_CHECK, &[checkpoint, "READ"]).await?;

    secure.grant("dts", &CHECKPOINT).await?;
    secure.refused("no topic", DTS, &["e2e.locked.t", "CREATE"]).await?;
    let unwritten = Right { operations: &["Create", "Describe"], ..TABLES };
    secure.grant("dts", &unwritten).await?;
    secure.refused("topic unwritten", DTS, &["e2e.locked.t", "WRITE"]).await?;

    for right in [&TABLES, &CONTROL, &CONTROL_GROUP] {
        secure.grant("dts", right).await?;
    }
    let mut dts = secure.site.start_dts()?;
    wait_until("dts publishes", PATIENCE, async || {
        let status = secure.site.status().await;
        status.pointer("/accounting/published").and_then(Value::as_u64) == Some(2)
    })
    .await?;
    dts.signal("TERM").await?;
    ensure!(dts.ended().await?.success(), "{}", dts.output());
    secure.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_names_each_right_that_it_lacks_and_runs_with_no_more_than_these() -> Result<()>
{
    let mut secure = Secure::start("secure-worker").await?;
    secure.configure()?;
    for right in [&CHECKPOINT, &LEAD, &TRANSACTIONS, &TABLES, &CONTROL, &CONTROL_GROUP] {
        secure.grant("dts", right).await?;
    }
    let dts = secure.site.start_dts()?;
    secure.refused("no right", LISTENER, &["e2e.control", "TopicAuthorizationFailed"]).await?;

    secure.grant("worker", &CONTROL).await?;
    let said = ["e2e.control", "GroupAuthorizationFailed", "READ"];
    secure.refused("no group of the control table", LISTENER, &said).await?;

    secure.grant("worker", &CONTROL_GROUP).await?;
    let said = ["e2e.listener.all", "GroupAuthorizationFailed", "READ"];
    secure.refused("no group", LISTENER, &said).await?;

    secure.grant("worker", &LISTENERS).await?;
    secure.refused("no topic", LISTENER, &["e2e.locked.t", "READ"]).await?;
    secure.refused("no topic", WORKER_CHECK, &["e2e.locked.t", "READ"]).await?;

    let seen = Right { operations: &["Describe"], ..READ_TABLES };
    secure.grant("worker", &seen).await?;
    let worker = secure.site.start_worker()?;
    let mut error = String::new();
    let outcome = wait_until("the listener stops for want of a right", PATIENCE, async || {
        let listener = secure.site.ask_worker("/api/v1/listeners/all").await.unwrap_or_default();
        error = listener["error"].to_string();
        listener["state"] == "stopped" && error.contains("READ") && error.contains("e2e.locked.t")
    });
    outcome.await.map_err(|late| late.context(error.clone()))?;
    println!("{error}");

    secure.grant("worker", &READ_TABLES).await?;
    let recorded = secure.site.path("recorded");
    secure.site.wait_for_all(&recorded, &secure.mysql, SCHEMA).await?;
    secure.past_and_rehearsal().await?;
    drop((dts, worker));
    secure.end().await
}
