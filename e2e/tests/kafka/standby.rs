//! Two `dts` of one name: one leads, the other takes over.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use e2e::{
    mysqlbinlog,
    processes::{PATIENCE, Process, wait_until},
    programs::Site,
    running::Source,
    topics::Topics,
};

const SCHEMA: &str = "pair";

/// Two `dts` that read one server.
struct Twins {
    source: Source,
    first: Process,
    second: Process,
}

impl Twins {
    /// The first leads, and has published something.
    async fn start(test: &str) -> Result<Self> {
        let tables = [
            "CREATE DATABASE pair",
            "CREATE TABLE pair.t (id INT PRIMARY KEY AUTO_INCREMENT, a VARCHAR(40))",
        ];
        let source = Source::start(test).await?.over_kafka("").await?;
        let source = source.capture(SCHEMA, &tables).await?;
        let first = source.site.start_dts()?;
        wait_until("the first leads", PATIENCE, async || {
            role(&source.site, Which::First).await == "leader"
        })
        .await?;
        let second = source.site.start_standby()?;
        wait_until("the second stands by", PATIENCE, async || {
            role(&source.site, Which::Second).await == "standby"
        })
        .await?;
        let twins = Self { source, first, second };
        twins.insert("before").await?;
        twins.published(Which::First, 1).await?;
        Ok(twins)
    }

    async fn insert(&self, text: &str) -> Result<()> {
        let statement = format!("INSERT INTO pair.t (a) VALUES ('{text}')");
        self.source.execute(&[&statement]).await
    }

    /// Waits until one of them has published so many records, by the accounting of the name.
    async fn published(&self, which: Which, records: u64) -> Result<()> {
        wait_until("it is published", PATIENCE, async || {
            let status = which.ask(&self.source.site).await;
            status.pointer("/accounting/published").and_then(|n| n.as_u64()) == Some(records)
        })
        .await
    }

    /// How long it takes until the second has published what is committed from now on.
    async fn hand_over(&self) -> Result<Duration> {
        let began = Instant::now();
        self.insert("after").await?;
        self.published(Which::Second, 2).await?;
        Ok(began.elapsed())
    }

    async fn check_topics(&self) -> Result<()> {
        let expected = mysqlbinlog::event_ids(&self.source.mysql, SCHEMA).await?;
        let address = self.source.kafka()?.address();
        Topics::read_aside(address, "e2e.pair.").await?.check_once(&expected)
    }

    async fn end(self) -> Result<()> {
        drop((self.first, self.second));
        self.source.end().await
    }
}

#[derive(Clone, Copy)]
enum Which {
    First,
    Second,
}

impl Which {
    async fn ask(self, site: &Site) -> serde_json::Value {
        let answer = match self {
            Self::First => site.ask_dts("/api/v1/status").await,
            Self::Second => site.ask_standby("/api/v1/status").await,
        };
        answer.unwrap_or_default()
    }
}

async fn role(site: &Site, which: Which) -> String {
    let status = which.ask(site).await;
    let is_streaming = status["state"] == "streaming" || status["state"] == "standby";
    status["role"].as_str().filter(|_| is_streaming).unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_stops_hands_over_at_once() -> Result<()> {
    let mut twins = Twins::start("standby-stop").await?;
    twins.first.signal("TERM").await?;
    let took = twins.hand_over().await?;
    println!("after a clean stop the stand-by had published {took:.2?} later");
    ensure!(twins.first.ended().await?.success(), "{}", twins.first.output());
    twins.check_topics().await?;
    twins.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_killed_is_replaced_when_its_session_has_ended() -> Result<()> {
    let mut twins = Twins::start("standby-kill").await?;
    twins.first.kill().await?;
    let took = twins.hand_over().await?;
    println!("after kill -9 the stand-by had published {took:.2?} later");
    twins.check_topics().await?;
    twins.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_was_asleep_writes_nothing_and_says_that_it_was_fenced() -> Result<()> {
    let twins = Twins::start("standby-sleep").await?;
    twins.first.signal("STOP").await?;
    let took = twins.hand_over().await?;
    println!("after SIGSTOP the stand-by had published {took:.2?} later");
    // Longer than the brokers keep a transaction or a session of a client that is silent.
    tokio::time::sleep(Duration::from_secs(e2e::programs::size(15, 60))).await;
    twins.insert("while asleep").await?;
    twins.first.signal("CONT").await?;
    wait_until("it says that it was fenced", PATIENCE, async || {
        twins.first.output().contains("fenced: e2e is no longer ours")
    })
    .await?;
    wait_until("it stands by", PATIENCE, async || {
        role(&twins.source.site, Which::First).await == "standby"
    })
    .await?;
    twins.insert("at last").await?;
    twins.published(Which::Second, 4).await?;
    twins.check_topics().await.context("the topics")?;
    twins.end().await
}
