//! Brings load (a) from the event log to each target: by a sink, by a bare client, and by what a
//! user would take instead, in turns.

mod jdbc_sink;
mod job;
mod target;
mod way;

use std::time::Instant;

use anyhow::{Context, Result, bail};
use e2e::{processes::Process, programs::Site, servers::repository};

use self::{
    jdbc_sink::Topic,
    job::Job,
    target::Target,
    way::{Way, bare_command},
};
use crate::{
    bare::Bare,
    dts,
    load::{Loaded, SCHEMA},
    measure::{Cost, until, until_ended},
    report::Step,
};

/// All jobs.
pub(crate) async fn catch_up(server: &Loaded, runs: usize) -> Result<Vec<Step>> {
    let source = Source::start(server).await?;
    let mut steps = Vec::new();
    for job in Job::ALL {
        steps.extend(source.measure(job, runs).await.with_context(|| job.name())?);
    }
    source.end().await?;
    Ok(steps)
}

/// All rows on the event log, which `dts` hosts.
struct Source<'a> {
    server: &'a Loaded,
    site: Site,
    dts: Process,
}

impl<'a> Source<'a> {
    async fn start(server: &'a Loaded) -> Result<Self> {
        let site = Site::new("bench-sinks")?;
        site.configure_dts(&server.mysql.address(), SCHEMA)?;
        let dts = dts::start(&site).await?;
        site.wait_for_exactly(server.load.rows()).await?;
        Ok(Self { server, site, dts })
    }

    async fn end(self) -> Result<()> {
        drop(self.dts);
        self.site.wait_until_empty().await?;
        self.site.remove()
    }

    /// All ways to do one job, in turns.
    async fn measure(&self, job: Job, runs: usize) -> Result<Vec<Step>> {
        let site = Site::new("bench-target")?;
        let target = Target::start(job, &site).await?;
        let ways = Way::of(job);
        let topic = match job {
            Job::Mysql => Some(Topic::fill(&site, self.server).await?),
            _ => None,
        };
        let turn = Turn { source: self, site: &site, job, target: &target, topic: topic.as_ref() };
        turn.warm().await?;
        let mut costs = vec![Vec::new(); ways.len()];
        for run in 1..=runs {
            for ((number, way), costs) in ways.iter().enumerate().zip(&mut costs) {
                // A listener of its own for each run begins at the beginning.
                let listener = format!("{job:?}-{number}-{run}");
                let cost = turn.measure(*way, &listener).await;
                let cost = cost.with_context(|| way.name(job))?;
                let Cost { seconds, cpu_seconds, .. } = cost;
                eprintln!("{}, run {run}: {seconds:.2} s, CPU {cpu_seconds:.2} s", way.name(job));
                costs.push(cost);
            }
        }
        drop((topic, target));
        site.wait_until_empty().await?;
        site.remove()?;
        let steps = ways.iter().zip(costs);
        Ok(steps.map(|(way, costs)| Step::new(self.server, &way.name(job), costs)).collect())
    }
}

/// What one run needs.
struct Turn<'a> {
    source: &'a Source<'a>,
    site: &'a Site,
    job: Job,
    target: &'a Target,
    topic: Option<&'a Topic>,
}

impl Turn<'_> {
    /// Warms the target: a bare client writes to it once, which does not count.
    async fn warm(&self) -> Result<()> {
        for way in Way::of(self.job).into_iter().filter(|way| matches!(way, Way::Bare(_))).take(1) {
            self.measure(way, "").await.with_context(|| way.name(self.job))?;
        }
        Ok(())
    }

    async fn measure(&self, way: Way, listener: &str) -> Result<Cost> {
        let (load, url) = (self.source.server.load, self.source.server.mysql.url());
        let fill = (self.job == Job::RedisDelete).then_some((self.site, &*url));
        self.target.reset(way, fill).await?;
        let cost = match way {
            Way::Sink { .. } => self.sink(way, listener).await,
            Way::Bare(bare) => self.bare(bare, &url).await,
            Way::JdbcSink => {
                let (Some(topic), Target::Mysql(target)) = (self.topic, self.target) else {
                    bail!("there is no topic for it");
                };
                let done = async || self.target.seems_done(load, way).await;
                topic.copy((self.site, target), done).await
            }
            Way::Script => self.script().await,
        }?;
        self.target.check(load, way).await?;
        Ok(cost)
    }

    /// From the start of `event-worker` until all is at the target, with the costs of it alone.
    async fn sink(&self, way: Way, listener: &str) -> Result<Cost> {
        let Source { server, site, .. } = self.source;
        let listener = way.listener(self.job, listener, &self.target.address());
        site.configure_worker(&listener)?;
        let began = Instant::now();
        let mut worker = site.start_worker()?;
        let done = async || self.target.seems_done(server.load, way).await;
        let cost = until(began, &[&worker], done).await;
        let cost = cost.with_context(|| worker.output())?;
        worker.signal("TERM").await?;
        worker.ended().await?;
        Ok(cost)
    }

    async fn bare(&self, bare: Bare, source: &str) -> Result<Cost> {
        let command = bare_command(bare, source, &self.target.address())?;
        until_ended(self.site.run("bare", &command.each_ref().map(|word| &**word))?).await?;
        let told = std::fs::read_to_string(self.site.path("bare.log"))?;
        let told = told.lines().last().context("the bare client said nothing")?;
        serde_json::from_str(told).with_context(|| told.to_owned())
    }

    async fn script(&self) -> Result<Cost> {
        let script = repository().join("bench/to_search.sh").display().to_string();
        until_ended(self.site.run("fetch", &[&script, "fetch"])?).await?;
        let source = self.source.server.mysql.address();
        until_ended(self.site.run("script", &[&script, &source, &self.target.address()])?).await
    }
}
