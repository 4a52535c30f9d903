//! The corridor between the rooms: from the checkpoint through MySQL, decoder and publisher into
//! the bus, and back to the checkpoint after any error. It only connects them.

mod append;
mod collision;
mod damage;
mod held;
mod read;
mod savepoints;
mod spool;
mod standby;
mod types;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use event_bus::{Book, Bus, Checkpoint, Producer};
use service::{Backoff, BackoffConfig};
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use self::{
    append::{AppendPace, Appender},
    collision::Collisions,
    damage::Damage,
    read::StreamReader,
    types::SeenTypes,
};
use crate::{
    books::Books,
    bus::LastBus,
    check::{self, Severity},
    checkpoint::{Saved, saved_in, seq_in},
    config::Config,
    error::{Error, Result},
    full_sync::{
        CatalogEntries, FeedContext, FullSyncs, Live, TableCatalog, TableSource, Tasks, Throttle,
    },
    replica::{self, AtEnd, Hosts, Managed, Resumed, Server},
    status::{Phase, Status},
    watch::watch,
};

/// How long to wait between two starts from the checkpoint.
const BACKOFF: BackoffConfig =
    BackoffConfig { min: Duration::from_millis(200), max: Duration::from_secs(15), factor: 2.0 };

/// The least wait after a log-in that was refused.
const LOGIN_PAUSE: Duration = Duration::from_secs(5);

/// Runs until it is stopped; errors that can pass by themselves do not end it. When the config
/// changes, it begins again from the checkpoint, between two transactions.
///
/// # Errors
///
/// An error that needs a human.
pub async fn run(
    mut configs: watch::Receiver<Arc<Config>>,
    bus: &Arc<dyn Bus>,
    status: &Status,
    stop: &CancellationToken,
) -> Result<()> {
    let mut backoff = Backoff::new(BACKOFF);
    let mut hosts = Hosts::new(&configs.borrow().source);
    let mut damage = Damage::default();
    let mut collisions = Collisions::default();
    loop {
        let config = Arc::clone(&configs.borrow_and_update());
        let ends = Ends { config: &config, bus, status };
        let before = status.finished();
        let between = CancellationToken::new();
        let stops = Stops { now: stop, between: &between };
        let ended = {
            let mut life = Box::pin(run_once(&ends, &mut hosts, stops));
            tokio::select! {
                ended = &mut life => ended,
                Ok(()) = configs.changed() => {
                    between.cancel();
                    life.await
                }
            }
        };
        if between.is_cancelled() {
            hosts.look_again();
        }
        match ended.map_err(|error| damage.judge(error)) {
            Ok(()) if between.is_cancelled() && !stop.is_cancelled() => {
                info!("the changed config is in force");
            }
            Ok(()) => return Ok(()),
            Err(error) if !error.is_transient() => return Err(error),
            Err(_) if stop.is_cancelled() => return Ok(()),
            Err(error @ Error::IdTaken { .. }) if collisions.go_on(Instant::now()) => {
                return Err(error);
            }
            Err(error) => {
                if status.finished() > before {
                    backoff.reset();
                }
                let wait = backoff.next_wait().max(min_wait(&error));
                log_failure(&error, backoff.failures(), wait);
                status.failed(&error);
                if matches!(error, Error::SourceSilent { .. }) {
                    hosts.is_silent(error.to_string());
                }
                let is_away = matches!(error, Error::SourceAway { .. });
                stop.run_until_cancelled(pause(wait, is_away.then_some(&hosts))).await;
            }
        }
    }
}

fn min_wait(error: &Error) -> Duration {
    match error {
        Error::IdTaken { .. } => collision::MIN_WAIT,
        // A server may lock a user that comes too often with a wrong password.
        Error::NotLetIn { .. } => LOGIN_PAUSE,
        _ => Duration::ZERO,
    }
}

/// Waits, but not longer than until a server that is down is up again.
async fn pause(wait: Duration, down: Option<&Hosts>) {
    let is_up = async {
        match down {
            Some(hosts) => hosts.opened().await,
            None => std::future::pending().await,
        }
    };
    // The server was up already, or is not up yet: we try in both cases.
    let _ = tokio::time::timeout(wait, is_up).await;
}

fn log_failure(error: &Error, failures: u32, wait: Duration) {
    let wait = format!("{wait:.1?}");
    match failures {
        1 => error!(%error, wait, "interrupted, starting again from the checkpoint"),
        _ => warn!(%error, wait, failures, "still interrupted"),
    }
}

/// Two ways to stop a run of the pipeline.
#[derive(Clone, Copy)]
struct Stops<'a> {
    /// At once.
    now: &'a CancellationToken,
    /// As soon as no transaction is published in part: then the captured tables may change.
    between: &'a CancellationToken,
}

impl Stops<'_> {
    /// Does work that both ways may interrupt; `None` when it was interrupted.
    async fn unless_stopped<T>(self, work: impl Future<Output = T>) -> Option<T> {
        self.now.run_until_cancelled(self.between.run_until_cancelled(work)).await.flatten()
    }
}

/// The parts at both ends of the corridor.
struct Ends<'a> {
    config: &'a Config,
    bus: &'a Arc<dyn Bus>,
    status: &'a Status,
}

/// One run of the pipeline: ends with the first error, or when it is stopped.
async fn run_once(ends: &Ends<'_>, hosts: &mut Hosts, stops: Stops<'_>) -> Result<()> {
    let Ends { config, status, .. } = ends;
    let prepared = stops.unless_stopped(Box::pin(prepare(ends, hosts))).await;
    let Some(prepared) = prepared else { return Ok(()) };
    let Prepared { producer, resumed, stream, source, kept, seen, books } = prepared?;
    let Resumed { saved, from, .. } = resumed;
    status.streams(stream.pulse());
    info!(
        file = saved.position.file,
        pos = saved.position.pos,
        gtids = saved.position.gtids.as_ref().map(tracing::field::display),
        skip = saved.skip.records,
        "streaming"
    );
    let appender = Appender::start(producer);
    let host = source.config.clone();
    let hides_types = source.server.hides_types();
    let managed = Managed::of(&source.server);
    let full_syncs = start_full_syncs(ends, source, kept);
    let mut reader =
        StreamReader::new((config, &host), (stream, full_syncs), (saved, &from, books));
    if hides_types {
        reader = reader.asking_for_types(seen);
    }
    let reading = stops.now.child_token();
    let stops = Stops { now: &reading, ..stops };
    let mut run = std::pin::pin!(reader.run(appender, status, stops));
    let ended = tokio::select! {
        biased;
        ended = &mut run => ended,
        silent = watch(&host, status) => {
            reading.cancel();
            run.await.and(Err(silent))
        }
    };
    ended.map_err(|error| advise(error, managed))
}

/// Says what to do about an event, in words that fit the server.
fn advise(error: Error, managed: Managed) -> Error {
    let Error::Event(event) = &error else { return error };
    match event.advice(|name, value| managed.set(name, value)) {
        Some((problem, remedy)) => Error::refused(problem, remedy),
        None => error,
    }
}

fn start_full_syncs(
    ends: &Ends<'_>,
    source: TableSource,
    kept: (Tasks, CatalogEntries),
) -> FullSyncs {
    let Ends { config, bus, .. } = ends;
    let common = FeedContext {
        source,
        bus: Arc::clone(bus),
        topics: config.bus.topics(),
        capture: Arc::clone(&config.capture),
        config: config.full_sync.clone(),
        throttle: Throttle::new(config.full_sync.max_rate),
        turns: Semaphore::new(config.full_sync.parallel),
        live: Live::new(),
    };
    FullSyncs::start(&config.name, common, kept)
}

struct Prepared {
    producer: Box<dyn Producer>,
    resumed: Resumed,
    stream: replica::Stream,
    /// Where the stream comes from.
    source: TableSource,
    /// What the checkpoint has about full syncs and tables.
    kept: (Tasks, CatalogEntries),
    /// What was seen of columns with something that the binlog does not show.
    seen: SeenTypes,
    books: Books,
}

/// Takes the lead, then connects: in this order, so that nobody else writes after our position.
async fn prepare(ends: &Ends<'_>, hosts: &mut Hosts) -> Result<Prepared> {
    let Ends { config, bus, status } = ends;
    let (mut producer, checkpoint) = standby::lead(&***bus, &config.name, status).await?;
    status.enter(Phase::Connecting);
    let (saved, tasks) =
        (saved_in(&checkpoint)?, Tasks::load(&checkpoint, config.capture.captured())?);
    let (seen, books) = (SeenTypes::load(&checkpoint)?, Books::open(&checkpoint)?);
    producer.keep_book(Book::open(&checkpoint)?);
    let mut source = hosts.find(saved.as_ref()).await?;
    status.connected(&source.config, &source.server);
    if hosts.is_new(&source.server) {
        look(config, &mut source).await?;
        hosts.looked_at(&source.server);
    }
    let resumed = match source.resumed.take() {
        Some(resumed) => resumed,
        None => {
            LastBus::refuse_other(config).await?;
            refuse_shared_prefix(config, &***bus, &source.server).await?;
            begin(config, &mut source, (&mut *producer, &checkpoint)).await?
        }
    };
    if resumed.has_lost {
        accept_loss(&resumed.saved, &mut *producer).await?;
    }
    LastBus::note(config).await;
    status.at(&resumed.saved);
    status.open_books(books.clone());
    let replica::OpenSource { config: host, conn, server, .. } = source;
    let stream = replica::Stream::open(conn, &host, &resumed.from, AtEnd::Wait).await?;
    let source = TableSource { config: host, server };
    let kept = (tasks, TableCatalog::kept(&checkpoint));
    Ok(Prepared { producer, resumed, stream, source, kept, seen, books })
}

/// Checks a server as `dts check` does, logs surprises, and stops if it cannot work.
async fn look(config: &Config, source: &mut replica::OpenSource) -> Result<()> {
    let replica::OpenSource { config: host, conn, server, .. } = source;
    let mut findings = server.findings();
    findings.extend(check::of_source(conn, (host, config), server).await);
    for finding in &findings {
        let (problem, remedy) = (finding.problem(), &finding.remedy);
        match finding.severity {
            Severity::Stop => {}
            Severity::Warn => warn!(remedy, "{problem}"),
            Severity::Note => info!(remedy, "{problem}"),
        }
    }
    replica::refuse_stops(&findings)?;
    // Some of these questions may have got no answer.
    conn.ping().await.map_err(|error| replica::classify(host, error))
}

/// Two sources with one prefix would mix the tables whose names both have.
async fn refuse_shared_prefix(config: &Config, bus: &dyn Bus, server: &Server) -> Result<()> {
    for name in bus.producers().await?.into_iter().filter(|name| *name != config.name) {
        let Some(other) = saved_in(&bus.checkpoint(&name).await?)? else { continue };
        if other.server_uuid != server.uuid {
            let prefix = &config.bus.topic_prefix;
            return Err(Error::refused(
                format!("the topics of {prefix} belong to dts {name}, which reads another MySQL"),
                "set another bus.topicPrefix; or, if it is the earlier MySQL, the earlier name",
            ));
        }
    }
    Ok(())
}

/// The first start: finds the configured place once, and saves it before anything is read.
async fn begin(
    config: &Config,
    source: &mut replica::OpenSource,
    (producer, checkpoint): (&mut dyn Producer, &Checkpoint),
) -> Result<Resumed> {
    let replica::OpenSource { config: host, conn, server, .. } = source;
    let position = replica::resolve_start(conn, host, server, &config.start).await?;
    let mut saved = Saved::new(server.uuid.clone(), position);
    saved.seq = seq_in(checkpoint)?;
    append::append(
        producer,
        &event_bus::Batch::default(),
        (&saved, Vec::new(), AppendPace::Settle),
    )
    .await?;
    info!(start = ?config.start, file = saved.position.file, pos = saved.position.pos, "first start");
    Ok(Resumed::at(saved))
}

/// Logs the loss once, and saves the position without the lost transactions before anything is
/// read.
async fn accept_loss(saved: &Saved, producer: &mut dyn Producer) -> Result<()> {
    append::append(producer, &event_bus::Batch::default(), (saved, Vec::new(), AppendPace::Settle))
        .await?;
    if let Some(loss) = &saved.loss {
        error!(
            gtids = loss.gtid_set,
            tables = loss.tables.join(", "),
            all_tables_known = loss.all_tables_known,
            full_syncs = loss.full_syncs().join("; "),
            "transactions that were published are lost in MySQL, and the loss is accepted: run \
             these full syncs for each listener of the tables, to correct their rows (docs/full-sync.md)"
        );
    }
    Ok(())
}
