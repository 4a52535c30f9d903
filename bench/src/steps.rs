//! The steps of the benchmark. Each runs in processes of its own.

use std::{
    path::Path,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result};
use e2e::{
    processes::{PATIENCE, Process, read_growing, wait_until},
    programs::{Site, recording_listener},
    recording::Recording,
    servers::{Mysql, connect, repository},
};
use futures_util::StreamExt;
use mysql_async::{BinlogStreamRequest, prelude::Queryable};
use tokio::task::JoinSet;

use crate::{
    Part, Sizes, debezium,
    load::{self, Load, Loaded, SCHEMA},
    measure::{Cost, until, until_ended},
    ratios::{DECODE, DECODE_TLS, LOG, LOG_TLS, OURS_IN_TURNS},
    report::{Latency, Step},
};

/// All steps of catching up with a loaded binlog.
pub(crate) async fn catch_up(server: &Loaded, sizes: &Sizes) -> Result<Vec<Step>> {
    let mut steps = Vec::new();
    for step in MeasuredStep::of(server.load, sizes) {
        let mut costs = Vec::new();
        for run in 1..=sizes.runs {
            let cost = step.measure(server).await.with_context(|| step.name())?;
            eprintln!("{}, {}, run {run}: {:.2} s", server.load.name(), step.name(), cost.seconds);
            costs.push(cost);
        }
        steps.push(Step::new(server, step.name(), costs));
    }
    Ok(steps)
}

/// A step of catching up, by what does it and to where.
#[derive(Clone, Copy)]
enum MeasuredStep {
    Raw,
    Bare,
    Decode,
    DecodeTls,
    Log,
    LogTls,
    Listener,
    Debezium,
}

impl MeasuredStep {
    /// What is measured on a load.
    fn of(load: Load, sizes: &Sizes) -> Vec<Self> {
        let (log, source) = (sizes.includes(Part::Log), sizes.includes(Part::Source));
        let mut all = Vec::new();
        if matches!(load, Load::Wide(_) | Load::Compressed(_)) {
            return vec![Self::Decode, Self::Log];
        }
        if log {
            all.extend([Self::Raw, Self::Bare]);
        }
        all.extend([Self::Decode, Self::Log]);
        if source && matches!(load, Load::Bulk(_)) {
            all.extend([Self::DecodeTls, Self::LogTls]);
        }
        if log {
            all.extend([Self::Listener, Self::Debezium]);
        }
        all
    }

    fn name(self) -> &'static str {
        match self {
            Self::Raw => "mysqlbinlog --raw to disk",
            Self::Bare => "mysql_async, bare events",
            Self::Decode => DECODE,
            Self::DecodeTls => DECODE_TLS,
            Self::Log => LOG,
            Self::LogTls => LOG_TLS,
            Self::Listener => "dts and event-worker, counting handler",
            Self::Debezium => "Debezium, to Kafka",
        }
    }

    async fn measure(self, server: &Loaded) -> Result<Cost> {
        let site = Site::new("bench-run")?;
        let more = match self {
            Self::DecodeTls | Self::LogTls => "tls = \"require\"\n",
            _ => "",
        };
        site.configure_hosts(&[&server.mysql.address()], SCHEMA, more)?;
        let cost = match self {
            Self::Raw => raw(&site, &server.mysql).await,
            Self::Bare => bare(&site, &server.mysql).await,
            Self::Decode | Self::DecodeTls => decode(&site, &me()?).await,
            Self::Log | Self::LogTls => to_log(&site, server.load.rows()).await,
            Self::Listener => to_handler(&site, server.load.rows()).await,
            Self::Debezium => debezium::catch_up(&site, server).await,
        }?;
        site.remove()?;
        Ok(cost)
    }
}

/// Measures this decoder and that of another commit in turns, so that other load of the machine
/// affects both.
pub(crate) async fn in_turns(server: &Loaded, runs: usize, other: &Path) -> Result<Vec<Step>> {
    let name = other.file_stem().unwrap_or_default().to_string_lossy().replace("bench-", "");
    let other = other.canonicalize()?.display().to_string();
    let programs = [(OURS_IN_TURNS.to_owned(), me()?), (format!("dts of {name}, in turns"), other)];
    let mut costs = [const { Vec::new() }; 2];
    for run in 1..=runs {
        // The first one alternates, because a server that was just read has more in its caches.
        for at in [run % 2, 1 - run % 2] {
            let (name, program) = &programs[at];
            let site = Site::new("bench-run")?;
            site.configure_dts(&server.mysql.address(), SCHEMA)?;
            let cost = decode(&site, program).await.with_context(|| name.clone())?;
            site.remove()?;
            eprintln!("{}, {name}, run {run}: {:.2} s", server.load.name(), cost.seconds);
            costs[at].push(cost);
        }
    }
    let steps = programs.iter().zip(costs);
    Ok(steps.map(|((name, _), costs)| Step::new(server, name, costs)).collect())
}

/// This program.
fn me() -> Result<String> {
    Ok(std::env::current_exe()?.display().to_string())
}

async fn raw(site: &Site, mysql: &Mysql) -> Result<Cost> {
    let files: Vec<mysql_async::Row> = mysql.connect().await?.query("SHOW BINARY LOGS").await?;
    let first: String = files.first().and_then(|row| row.get(0)).context("no binlog file")?;
    let script = repository().join("scripts/servers.sh").display().to_string();
    let target = format!("--result-file={}/", site.path("").display());
    let port = format!("--port={}", mysql.address().rsplit(':').next().unwrap_or_default());
    let process = site.run(
        "mysqlbinlog",
        &[
            &script,
            "tool",
            "mysqlbinlog",
            "--read-from-remote-server",
            "--raw",
            "--to-last-log",
            "--user=root",
            "--host=127.0.0.1",
            &port,
            &target,
            &first,
        ],
    )?;
    until_ended(process).await
}

async fn bare(site: &Site, mysql: &Mysql) -> Result<Cost> {
    until_ended(site.run("bare", &[&me()?, "bare-events", &mysql.url()])?).await
}

/// What `bare` measures: reads every event that is there now, and ignores its content.
pub(crate) async fn bare_events(url: &str) -> Result<()> {
    const SERVER_ID: u32 = 4_000_000_001;
    let connection = connect(url).await?;
    let request = BinlogStreamRequest::new(SERVER_ID).with_non_blocking();
    let mut stream = connection.get_binlog_stream(request).await?;
    let (mut events, mut bytes) = (0_u64, 0_u64);
    while let Some(event) = stream.next().await {
        events += 1;
        bytes += u64::from(event?.header().event_size());
    }
    eprintln!("{events} events, {bytes} bytes");
    Ok(())
}

async fn decode(site: &Site, program: &str) -> Result<Cost> {
    until_ended(site.run("decode", &[program, "decode", "dts.toml"])?).await
}

async fn to_log(site: &Site, rows: u64) -> Result<Cost> {
    let began = Instant::now();
    let dts = site.start_dts()?;
    until(began, &[&dts], async || {
        let status = site.ask_dts("/api/v1/status").await.unwrap_or_default();
        Ok(status.pointer("/accounting/published").and_then(serde_json::Value::as_u64)
            == Some(rows))
    })
    .await
}

async fn to_handler(site: &Site, rows: u64) -> Result<Cost> {
    let counted = site.path("counted");
    site.configure_worker(&recording_listener("count", &counted, &["--count"])?)?;
    let worker = site.start_worker()?;
    let began = Instant::now();
    let dts = site.start_dts()?;
    until(began, &[&dts, &worker], async || Ok(count(&read_growing(&counted)?) >= rows)).await
}

/// Adds up the counts of a recording without parsing every line of it again.
fn count(text: &str) -> u64 {
    let counts = text.split("\"count\":").skip(1);
    counts.filter_map(|rest| rest.split('}').next()?.parse::<u64>().ok()).sum()
}

/// Latency from commit to handler, at 1,000 one-row transactions a second.
pub(crate) async fn latency(seconds: u64) -> Result<Latency> {
    let site = Site::new("bench-latency")?;
    let mysql = site.start_mysql().await?;
    load::create_table(&mut mysql.connect().await?).await?;
    let latency = handler_latency(&site, &mysql, seconds).await?;
    site.remove()?;
    Ok(Latency::new("a handler, over the event log", latency.0, &latency.1))
}

/// The number of transactions a second, and the lags at the handler, sorted.
pub(crate) async fn handler_latency(
    site: &Site,
    mysql: &Mysql,
    seconds: u64,
) -> Result<(f64, Vec<u64>)> {
    const WARM_UP_MS: u64 = 3_000;
    site.configure_dts(&mysql.address(), SCHEMA)?;
    let recorded = site.path("recorded");
    site.configure_worker(&recording_listener("all", &recorded, &[])?)?;
    let (dts, worker) = (site.start_dts()?, site.start_worker()?);
    // The start is not measured.
    mysql.connect().await?.query_drop("CALL bench.fill(-1, 1, 1)").await?;
    wait_for_handled(&recorded, 1).await?;
    let (began, since) = (Instant::now(), SystemTime::now().duration_since(UNIX_EPOCH)?);
    let transactions = write_steadily(mysql, (0, Duration::from_secs(seconds))).await?;
    let rate = transactions as f64 / began.elapsed().as_secs_f64();
    let mut recording = wait_for_handled(&recorded, transactions + 1).await?;
    let warm = since.as_millis() as u64 + WARM_UP_MS;
    recording.calls.retain(|call| call.at > warm);
    drop::<(Process, Process)>((dts, worker));
    Ok((rate, recording.lags()))
}

async fn wait_for_handled(recorded: &Path, events: u64) -> Result<Recording> {
    let mut recording = Recording { calls: vec![], torn: 0 };
    wait_until("all is handled", PATIENCE, async || {
        recording = Recording::read(recorded).unwrap_or(Recording { calls: vec![], torn: 0 });
        recording.done().count() as u64 >= events
    })
    .await?;
    Ok(recording)
}

/// Four connections, each with a transaction every 4 ms, whose rows have ids from `first` on.
pub(crate) async fn write_steadily(
    mysql: &Mysql,
    (first, duration): (u64, Duration),
) -> Result<u64> {
    const WRITERS: u64 = 4;
    let each = duration.as_millis() as u64 / WRITERS;
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let mut server = mysql.connect().await?;
        writers.spawn(async move {
            let mut ticks = tokio::time::interval(Duration::from_millis(WRITERS));
            for number in 0..each {
                ticks.tick().await;
                let id = first + number * WRITERS + writer;
                server.query_drop(format!("CALL bench.fill({id}, 1, 1)")).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(outcome) = writers.join_next().await {
        outcome??;
    }
    Ok(each * WRITERS)
}
