//! Two `dts` of one name: one leads, the other takes over.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use e2e::{
    binlog,
    processes::{PATIENCE, Process, wait_until},
    programs::Site,
    servers::{Kafka, Mysql},
    topics::Topics,
};

const SCHEMA: &str = "pair";

struct Pair {
    site: Site,
    mysql: Mysql,
    kafka: Kafka,
    first: Process,
    second: Process,
}

impl Pair {
    /// The first leads, and has published something.
    async fn start(test: &str) -> Result<Self> {
        let mut site = Site::new(test)?;
        let mysql = site.start_mysql().await?;
        let kafka = Kafka::start(&site.path("kafka")).await?;
        let tables = [
            "CREATE DATABASE pair",
            "CREATE TABLE pair.t (id INT PRIMARY KEY AUTO_INCREMENT, a VARCHAR(40))",
        ];
        mysql.execute(&tables).await?;
        site.use_kafka(&kafka.address(), "");
        site.configure_dts(&mysql.address(), SCHEMA)?;
        let first = site.start_dts()?;
        wait_until("the first leads", PATIENCE, async || {
            role(&site, Which::First).await == "leader"
        })
        .await?;
        let second = site.start_standby()?;
        wait_until("the second stands by", PATIENCE, async || {
            role(&site, Which::Second).await == "standby"
        })
        .await?;
        let pair = Self { site, mysql, kafka, first, second };
        pair.insert("before").await?;
        pair.published(Which::First, 1).await?;
        Ok(pair)
    }

    async fn insert(&self, text: &str) -> Result<()> {
        let statement = format!("INSERT INTO pair.t (a) VALUES ('{text}')");
        self.mysql.execute(&[&statement]).await
    }

    /// Waits until one of them has published so many records, by the accounting of the name.
    async fn published(&self, which: Which, records: u64) -> Result<()> {
        wait_until("it is published", PATIENCE, async || {
            let status = which.ask(&self.site).await;
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
        let expected = binlog::event_ids(&self.mysql, SCHEMA).await?;
        let address = self.kafka.address();
        let topics = tokio::task::spawn_blocking(move || Topics::read(&address, "e2e.pair."));
        topics.await??.check_once(&expected)
    }

    async fn end(self) -> Result<()> {
        let Self { site, mysql, kafka, first, second } = self;
        drop((mysql, kafka, first, second));
        site.wait_until_empty().await?;
        site.remove()
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
    let mut pair = Pair::start("standby-stop").await?;
    pair.first.signal("TERM").await?;
    let took = pair.hand_over().await?;
    println!("after a clean stop the stand-by had published {took:.2?} later");
    ensure!(pair.first.ended().await?.success(), "{}", pair.first.output());
    pair.check_topics().await?;
    pair.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_killed_is_replaced_when_its_session_has_ended() -> Result<()> {
    let mut pair = Pair::start("standby-kill").await?;
    pair.first.kill().await?;
    let took = pair.hand_over().await?;
    println!("after kill -9 the stand-by had published {took:.2?} later");
    pair.check_topics().await?;
    pair.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_was_asleep_writes_nothing_and_says_that_it_was_fenced() -> Result<()> {
    let pair = Pair::start("standby-sleep").await?;
    pair.first.signal("STOP").await?;
    let took = pair.hand_over().await?;
    println!("after SIGSTOP the stand-by had published {took:.2?} later");
    // Longer than the brokers keep a transaction or a session of a client that is silent.
    tokio::time::sleep(Duration::from_secs(e2e::programs::size(15, 60))).await;
    pair.insert("while asleep").await?;
    pair.first.signal("CONT").await?;
    wait_until("it says that it was fenced", PATIENCE, async || {
        pair.first.output().contains("fenced: e2e is no longer ours")
    })
    .await?;
    wait_until("it stands by", PATIENCE, async || {
        role(&pair.site, Which::First).await == "standby"
    })
    .await?;
    pair.insert("at last").await?;
    pair.published(Which::Second, 4).await?;
    pair.check_topics().await.context("the topics")?;
    pair.end().await
}
