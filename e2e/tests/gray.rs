//! Gray release: nodes of two environments share a listener, and never run it at the same time.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use anyhow::{Context as _, Result, ensure};
use e2e::{
    mysqlbinlog,
    processes::{PATIENCE, Process, children, free_port, send, wait_until},
    programs::{Site, program, seed, size},
    proxy::Proxy,
    recording::{Call, Outcome, Recording},
    running::Source,
    servers::Kafka,
    workload::{self, Workload},
};

const SCHEMA: &str = "shop";

/// Short, so that the test is.
const LEASE: Duration = Duration::from_secs(3);

/// One after the other, for the log; a listener on Kafka has its share of them at once.
const NODES: [(&str, &str); 4] =
    [("p1", "production"), ("p2", "production"), ("g1", "gray"), ("g2", "gray")];

/// An `event-worker` of an environment.
struct Node {
    name: &'static str,
    environment: &'static str,
    process: Process,
}

/// Four nodes on one bus, under a load that goes on.
struct Release {
    source: Source,
    dts: Process,
    nodes: Vec<Node>,
    /// Between the nodes of gray and the bus.
    proxy: Proxy,
}

impl Release {
    async fn start(source: Source, proxy: Proxy) -> Result<Self> {
        workload::create_tables(&mut source.mysql.connect().await?, SCHEMA).await?;
        let dts = source.site.start_dts()?;
        let mut release = Self { source, dts, nodes: Vec::new(), proxy };
        for (name, environment) in NODES {
            release.configure(name, environment, 1)?;
            release.run(name, environment)?;
        }
        Ok(release)
    }

    fn site(&self) -> &Site {
        &self.source.site
    }

    /// Writes the config of a node.
    fn configure(&self, name: &str, environment: &str, version: u64) -> Result<()> {
        let file = self.site().path(&format!("{name}.toml"));
        let text = std::fs::read_to_string(self.site().path("dts.toml"))?;
        let bus = text.split("[bus]\n").nth(1).and_then(|rest| rest.split("[listen]").next());
        let mut bus = bus.context("no bus")?.to_owned();
        if environment == "gray" {
            let address = bus.lines().find(|line| line.starts_with("address"));
            let behind_proxy = format!("address = \"{}\"", self.proxy.address());
            bus = bus.replace(address.context("no address")?, &behind_proxy);
        }
        let port = match std::fs::read_to_string(&file) {
            Ok(text) => text.split('"').nth(1).context("no port")?.to_owned(),
            Err(_) => format!("127.0.0.1:{}", free_port()?),
        };
        let (recorded, handler) = (self.site().path(environment), program("record-handler")?);
        let text = format!(
            "[listen]\naddress = \"{port}\"\n[supervisor]\ndirectory = \"data/{name}\"\n\
             [environment]\nname = \"{environment}\"\nlease = \"{LEASE:?}\"\n[bus]\n{bus}\
             [listeners.all]\nworkers = 2\nstart = \"earliest\"\nversion = {version}\n\
             batchSize = 20\nhandler = {{ exec = [{handler:?}, {recorded:?}, \"--work-ms=20\"] }}\n"
        );
        Ok(std::fs::write(file, text)?)
    }

    fn run(&mut self, name: &'static str, environment: &'static str) -> Result<()> {
        let path = program("event-worker")?;
        let path = path.to_str().context("the path is not UTF-8")?;
        let process = self.site().run(name, &[path, "run", "--config", &format!("{name}.toml")])?;
        self.nodes.retain(|node| node.name != name);
        self.nodes.push(Node { name, environment, process });
        Ok(())
    }

    fn of<'a>(&'a mut self, environment: &'a str) -> impl Iterator<Item = &'a mut Node> {
        self.nodes.iter_mut().filter(move |node| node.environment == environment)
    }

    /// Gives the nodes of an environment another version.
    async fn set_version(&mut self, environment: &str, version: u64) -> Result<()> {
        for (name, of) in NODES.iter().filter(|(_, of)| *of == environment) {
            self.configure(name, of, version)?;
        }
        for node in self.of(environment) {
            node.process.signal("HUP").await?;
        }
        Ok(())
    }

    fn recording(&self, environment: &str) -> Recording {
        Recording::read(&self.site().path(environment)).unwrap_or_default()
    }

    /// Waits until an environment handles changes.
    async fn takes_over(&self, environment: &str) -> Result<()> {
        let (before, other) = (self.recording(environment).calls.len(), other_than(environment));
        let mut first = None;
        let outcome = wait_until(environment, PATIENCE, async || {
            first = self.recording(environment).calls.get(before).map(|call| call.began);
            first.is_some()
        });
        outcome.await.with_context(|| self.told())?;
        let last = self.recording(other).calls.iter().map(|call| call.at).max();
        let gap = first.unwrap_or_default().saturating_sub(last.unwrap_or_default());
        println!("{environment} handles {gap} ms after the last call of {other}");
        Ok(())
    }

    fn told(&self) -> String {
        let told = self.nodes.iter().map(|node| {
            let output = node.process.output();
            let from = output.len().saturating_sub(3000);
            format!("--- {}\n{}\n", node.name, output.get(from..).unwrap_or(&output))
        });
        told.collect()
    }

    /// Everything was handled, and never by two environments at once.
    async fn check(&self) -> Result<()> {
        let expected = mysqlbinlog::event_ids(&self.source.mysql, SCHEMA).await?;
        let done = || -> BTreeSet<String> {
            let both = [self.recording("production"), self.recording("gray")];
            let ids = both.iter().flat_map(Recording::done_ids);
            ids.map(|id| mysqlbinlog::without_split_mark(id).to_owned()).collect()
        };
        let outcome = wait_until("every change is handled", PATIENCE * 4, async || {
            done().is_superset(&expected)
        });
        outcome.await.with_context(|| self.told())?;
        ensure!(done().len() == expected.len(), "something was invented");
        let calls = [self.recording("production").calls, self.recording("gray").calls];
        ensure!(calls.iter().all(|calls| calls.len() > 2), "an environment did nothing");
        let overlap = overlap(&calls[0], &calls[1]);
        ensure!(overlap.is_none(), "both at once: {overlap:?}\n{}", self.told());
        let all = calls.into_iter().flatten().collect();
        Recording { calls: all, torn: 0 }.check_ids()
    }

    fn end(self) -> Result<()> {
        drop((self.nodes, self.dts));
        self.source.remove()
    }
}

fn other_than(environment: &str) -> &'static str {
    if environment == "gray" { "production" } else { "gray" }
}

/// Two calls that ran at the same time, one of each; those that ended without an answer do not
/// count.
fn overlap<'a>(ours: &'a [Call], theirs: &'a [Call]) -> Option<(&'a Call, &'a Call)> {
    let is_done = |call: &&Call| call.outcome == Outcome::Done;
    let mut theirs: Vec<&Call> = theirs.iter().filter(is_done).collect();
    theirs.sort_unstable_by_key(|call| call.began);
    ours.iter().filter(is_done).find_map(|one| {
        let first = theirs.partition_point(|other| other.began + 60_000 < one.began);
        let near = theirs.get(first..)?.iter().take_while(|other| other.began < one.at);
        near.copied().find(|other| other.at > one.began).map(|other| (one, other))
    })
}

async fn source(test: &str) -> Result<Source> {
    Source::start(test).await
}

async fn configured(source: Source) -> Result<Source> {
    source.execute(&["CREATE DATABASE shop"]).await?;
    source.site.configure_dts(&source.mysql.address(), SCHEMA)?;
    Ok(source)
}

/// Some hundred changes a second.
async fn go_on(load: Arc<Workload>) {
    let mut tick = tokio::time::interval(Duration::from_millis(100));
    loop {
        tick.tick().await;
        load.allow(40);
    }
}

/// Versions raised and lowered, nodes killed, stopped and continued. When it is short,
/// no node sleeps, and the bus is never silent.
async fn release(mut release: Release, is_short: bool) -> Result<()> {
    let seed = seed();
    let load = Workload::start(&release.source.mysql.url(), SCHEMA, u64::MAX / 4, seed);
    let load = Arc::new(load);
    let pace = tokio::spawn(go_on(Arc::clone(&load)));
    release.takes_over("production").await?;
    ensure!(release.recording("gray").calls.is_empty(), "both have version 1");

    release.set_version("gray", 2).await?;
    release.takes_over("gray").await?;
    release.set_version("gray", 1).await?;
    release.takes_over("production").await?;
    release.set_version("gray", 3).await?;
    release.takes_over("gray").await?;

    // Gray is gone without a word.
    for node in release.of("gray") {
        node.process.kill().await?;
    }
    release.takes_over("production").await?;
    for (name, environment) in [NODES[2], NODES[3]] {
        release.run(name, environment)?;
    }
    release.takes_over("gray").await?;

    if !is_short {
        sleep_and_silence(&mut release).await?;
    }

    // Gray is stopped, as planned.
    for node in release.of("gray") {
        node.process.signal("TERM").await?;
    }
    release.takes_over("production").await?;
    pace.abort();
    // Cancelled, as asked.
    let _ = pace.await;
    Arc::into_inner(load).context("somebody goes on")?.stop().await?;
    release.check().await?;
    release.end()
}

/// Gray is gone, and comes back.
async fn sleep_and_silence(release: &mut Release) -> Result<()> {
    // Gray sleeps: the supervisors alone, and then with their listeners.
    for with_listeners in [false, true] {
        let mut asleep = Vec::new();
        for node in release.of("gray") {
            let pid = node.process.pid().context("the node has ended")?;
            asleep.push(pid);
            if with_listeners {
                asleep.extend(children(pid)?);
            }
        }
        for pid in &asleep {
            send(*pid, "STOP").await?;
        }
        release.takes_over("production").await?;
        for pid in &asleep {
            send(*pid, "CONT").await?;
        }
        release.takes_over("gray").await?;
    }

    // The bus does not answer gray.
    release.proxy.silence_after(0);
    release.takes_over("production").await?;
    release.proxy.silence_after(u64::MAX);
    release.takes_over("gray").await
}

#[tokio::test(flavor = "multi_thread")]
async fn two_environments_never_run_a_listener_at_once_on_the_log() -> Result<()> {
    let source = configured(source("gray-log").await?).await?;
    let text = std::fs::read_to_string(source.site.path("dts.toml"))?;
    let bus = text.split("[bus]\n").nth(1).and_then(|rest| rest.split('"').nth(3));
    let proxy = Proxy::start(bus.context("no address")?.to_owned()).await?;
    release(Release::start(source, proxy).await?, false).await
}

#[tokio::test(flavor = "multi_thread")]
async fn two_environments_never_run_a_listener_at_once_on_kafka() -> Result<()> {
    let mut source = source("gray-kafka").await?;
    let outside = free_port()?;
    let proxy = Proxy::start(format!("127.0.0.1:{outside}")).await?;
    let folder = source.site.path("kafka");
    let kafka = Kafka::start_behind(&folder, outside, &proxy.address()).await?;
    source.site.use_kafka(&kafka.address(), "");
    source.kafka = Some(kafka);
    // To go from one to the other takes ten times as long as on the log.
    let is_short = size(0, 1) == 0;
    release(Release::start(configured(source).await?, proxy).await?, is_short).await
}

#[test]
fn calls_that_run_at_once_are_found() {
    let call = |began, at| Call { began, at, outcome: Outcome::Done, events: Vec::new(), count: 0 };
    let ours = [call(10, 20), call(30, 40)];
    assert!(overlap(&ours, &[call(20, 30), call(40, 50)]).is_none());
    assert!(overlap(&ours, &[call(1, 5), call(39, 41)]).is_some());
    assert!(overlap(&ours, &[call(1, 100)]).is_some());
}
