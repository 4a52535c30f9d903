//! Parking: keys that the handler refuses wait aside, in order, while all others go on.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use e2e::{
    processes::{PATIENCE, Process, children, free_port, send, wait_until},
    programs::{Site, program, recording_listener, seed, size},
    rebuilt::Rebuilt,
    recording::Recording,
    running::Source,
};
use mysql_async::{Conn, prelude::Queryable as _};
use rand::{RngExt as _, SeedableRng as _, rngs::SmallRng};
use serde_json::Value;

const SCHEMA: &str = "shop";
const IDS: i64 = 5_000;
/// One key in so many is refused.
const REFUSED: i64 = 500;

/// Two nodes with the same listener, which parks.
struct Nodes {
    source: Source,
    dts: Process,
    nodes: Vec<(&'static str, Process)>,
}

impl Nodes {
    async fn start(source: Source) -> Result<Self> {
        let items = "CREATE TABLE shop.item (id BIGINT PRIMARY KEY, v BIGINT NOT NULL)";
        source.execute(&["CREATE DATABASE shop", items]).await?;
        let site = &source.site;
        site.configure_dts(&source.mysql.address(), SCHEMA)?;
        let (switch, by) = (site.path("switch").display().to_string(), REFUSED.to_string());
        let options = [&*format!("--fail-while={switch}"), &*format!("--refused-ids={by}")];
        let listener = recording_listener("all", &site.recorded(), &options)?;
        site.configure_worker(&format!("{listener}park = {{ after = 3 }}\n"))?;
        std::fs::write(site.path("switch"), "")?;
        let text = std::fs::read_to_string(site.path("db_event_listener.toml"))?;
        let (_, rest) = text.split_once("[bus]").context("no bus")?;
        let other = format!(
            "[listen]\naddress = \"127.0.0.1:{}\"\n[supervisor]\ndirectory = \"data/other\"\n\
             [bus]{rest}",
            free_port()?
        );
        std::fs::write(site.path("other.toml"), other)?;
        let dts = site.start_dts()?;
        let mut nodes = Self { source, dts, nodes: Vec::new() };
        nodes.run("db_event_listener.toml")?;
        nodes.run("other.toml")?;
        Ok(nodes)
    }

    fn site(&self) -> &Site {
        &self.source.site
    }

    fn run(&mut self, config: &'static str) -> Result<()> {
        let path = program("event-worker")?.display().to_string();
        let process = self.site().run(config, &[&path, "run", "--config", config])?;
        self.nodes.push((config, process));
        Ok(())
    }

    /// Kills a node with its listener, or the listener alone, and lets it come again.
    async fn kill_one(&mut self, random: &mut SmallRng) -> Result<()> {
        let at = random.random_range(0..self.nodes.len());
        let (config, mut node) = self.nodes.swap_remove(at);
        let pid = node.pid().context("the node has ended")?;
        for child in children(pid)? {
            send(child, "KILL").await?;
        }
        if random.random() {
            self.nodes.push((config, node));
            return Ok(());
        }
        node.kill().await?;
        self.run(config)
    }

    /// What the listener has parked, as the command shows it.
    async fn parked(&self) -> Result<Vec<Value>> {
        let words = ["parked", "list", "-t", "all", "--json"];
        let (code, text) = self.site().run_worker(&words).await?;
        ensure!(code == Some(0), "{text}");
        let shown: Value =
            serde_json::from_str(text.get(text.find('{').unwrap_or(0)..).unwrap_or(""))
                .with_context(|| text.clone())?;
        Ok(shown["parked"].as_array().cloned().unwrap_or_default())
    }

    /// Waits until nothing is left on the bus for the listener.
    async fn catch_up(&self) -> Result<()> {
        let mut shown = Value::Null;
        let outcome = wait_until("all is done or parked", PATIENCE * 4, async || {
            shown = self.site().ask_worker("/api/v1/listeners/all").await.unwrap_or_default();
            shown["lag"]["records"] == 0
        });
        outcome.await.with_context(|| shown.to_string())
    }

    fn recording(&self) -> Recording {
        Recording::read(&self.site().recorded()).unwrap_or_default()
    }

    fn end(self) -> Result<()> {
        drop((self.nodes, self.dts));
        self.source.remove()
    }
}

/// Inserts all rows, and then changes rows by chance: so many times, and until it is told to end.
async fn change(
    server: &mut Conn,
    (changes, end): (u64, Arc<AtomicBool>),
    random: &mut SmallRng,
) -> Result<()> {
    for first in (1..=IDS).step_by(1000) {
        let rows: Vec<String> = (first..first + 1000).map(|id| format!("({id}, 0)")).collect();
        server.query_drop(format!("INSERT INTO shop.item VALUES {}", rows.join(","))).await?;
    }
    let mut made = IDS.unsigned_abs();
    while made < changes || !end.load(Relaxed) {
        made += 50;
        let ids: BTreeSet<String> =
            (0..50).map(|_| random.random_range(1..=IDS).to_string()).collect();
        let ids = Vec::from_iter(ids).join(",");
        server.query_drop(format!("UPDATE shop.item SET v = v + 1 WHERE id IN ({ids})")).await?;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

fn refused() -> BTreeSet<String> {
    (1..=IDS / REFUSED).map(|n| format!("{{\"id\":{}}}", n * REFUSED)).collect()
}

async fn park(source: Source) -> Result<()> {
    let seed = seed();
    let mut random = SmallRng::seed_from_u64(seed);
    let mut nodes = Nodes::start(source).await?;
    let mut server = nodes.source.mysql.connect().await?;
    let end = Arc::new(AtomicBool::new(false));
    let until = Arc::clone(&end);
    let load = tokio::spawn(async move {
        let mut random = SmallRng::seed_from_u64(seed);
        change(&mut server, (size(20_000, 100_000), until), &mut random).await?;
        anyhow::Ok(server)
    });
    let kills = size(4, 20);
    for _ in 0..kills {
        nodes.kill_one(&mut random).await?;
        let before = nodes.recording().calls.len();
        wait_until("it goes on", PATIENCE, async || nodes.recording().calls.len() > before + 5)
            .await?;
        tokio::time::sleep(Duration::from_millis(random.random_range(0..1500))).await;
    }
    end.store(true, Relaxed);
    let mut server = load.await??;
    nodes.catch_up().await?;
    let mut parked = Vec::new();
    let outcome = wait_until("what is refused is parked", PATIENCE, async || {
        parked = nodes.parked().await.unwrap_or_default();
        parked.len() == refused().len() && parked.iter().all(|queue| queue["state"] == "parked")
    });
    outcome.await.with_context(|| format!("{parked:?}"))?;
    let keys: BTreeSet<String> =
        parked.iter().filter_map(|queue| queue["keys"][0].as_str().map(str::to_owned)).collect();
    ensure!(keys == refused(), "{keys:?}");
    let recording = nodes.recording();
    let done = recording.done().filter(|event| refused().contains(event.pk.get())).count();
    ensure!(done == 0, "{done} events of refused keys are done");
    let (calls, waiting) = (recording.calls.len(), parked.iter());
    let waiting: u64 = waiting.filter_map(|queue| queue["events"].as_u64()).sum();
    println!("{kills} kills, {calls} calls; {waiting} events wait aside");

    // A handler that is fixed gets them in order.
    std::fs::remove_file(nodes.site().path("switch"))?;
    let (code, text) = nodes.site().run_worker(&["parked", "replay", "-t", "all"]).await?;
    ensure!(code == Some(0), "{text}");
    wait_until("nothing waits aside", PATIENCE, async || {
        nodes.parked().await.is_ok_and(|parked| parked.is_empty())
    })
    .await?;
    let recording = nodes.recording();
    recording.check_ids()?;
    recording.check_order()?;
    let rows =
        Rebuilt::from_recording(&recording)?.check_table(&mut server, SCHEMA, "item").await?;
    ensure!(rows == usize::try_from(IDS)?, "{rows} rows");
    nodes.end()
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_keys_wait_aside_in_order_whatever_is_killed_on_the_log() -> Result<()> {
    park(Source::start("parking-log").await?).await
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_keys_wait_aside_in_order_whatever_is_killed_on_kafka() -> Result<()> {
    park(Source::start("parking-kafka").await?.over_kafka("").await?).await
}
