//! The corridor between the rooms: from the checkpoint through MySQL, decoder and publisher into
//! the bus, and back to the checkpoint after any error. It only wires.

mod append;
mod held;
mod read;
mod spool;

use std::time::Duration;

use event_bus::{Bus, Checkpoint, Producer};
use mysql_async::Conn;
use service::{Backoff, BackoffConfig};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use self::{
    append::{Appender, Pace},
    read::Reader,
};
use crate::{
    binlog::{self, AtEnd, Server, Severity},
    config::Config,
    error::{Error, Result},
    position::{POSITION_KEY, Saved},
    status::{Phase, Status},
};

/// Waits between two starts from the checkpoint.
const BACKOFF: BackoffConfig =
    BackoffConfig { min: Duration::from_millis(200), max: Duration::from_secs(15), factor: 2.0 };

/// Runs until it is stopped, through every error that can pass by itself.
///
/// # Errors
///
/// What needs a human.
pub async fn run(
    config: &Config,
    bus: &dyn Bus,
    status: &Status,
    stop: &CancellationToken,
) -> Result<()> {
    let mut backoff = Backoff::new(BACKOFF);
    loop {
        let before = status.appends();
        match run_once(config, bus, status, stop).await {
            Ok(()) => return Ok(()),
            Err(error) if !error.is_transient() => return Err(error),
            Err(_) if stop.is_cancelled() => return Ok(()),
            Err(error) => {
                if status.appends() > before {
                    backoff.reset();
                }
                let wait = backoff.next_wait();
                log_failure(&error, backoff.failures(), wait);
                status.failed(&error.to_string());
                stop.run_until_cancelled(tokio::time::sleep(wait)).await;
            }
        }
    }
}

fn log_failure(error: &Error, failures: u32, wait: Duration) {
    let wait = format!("{wait:.1?}");
    match failures {
        1 => error!(%error, wait, "interrupted, starting again from the checkpoint"),
        _ => warn!(%error, wait, failures, "still interrupted"),
    }
}

/// One life of the pipeline: ends with the first error, or when it is stopped.
async fn run_once(
    config: &Config,
    bus: &dyn Bus,
    status: &Status,
    stop: &CancellationToken,
) -> Result<()> {
    let prepared = stop.run_until_cancelled(prepare(config, bus, status)).await;
    let Some(prepared) = prepared else { return Ok(()) };
    let Prepared { producer, saved, stream } = prepared?;
    status.enter(Phase::Streaming);
    info!(
        file = saved.position.file,
        pos = saved.position.pos,
        gtids = saved.position.gtids.as_ref().map(tracing::field::display),
        skip = saved.skip.records,
        "streaming"
    );
    let appender = Appender::start(producer);
    let reader = Reader::new(config, stream, saved);
    reader.run(appender, status, stop).await
}

struct Prepared {
    producer: Box<dyn Producer>,
    saved: Saved,
    stream: binlog::Stream,
}

/// Takes the lead, then connects: in this order, so that nobody else writes behind our position.
async fn prepare(config: &Config, bus: &dyn Bus, status: &Status) -> Result<Prepared> {
    status.enter(Phase::Standby);
    let (mut producer, checkpoint) = bus.producer(&config.name).await?;
    status.enter(Phase::Connecting);
    let mut conn = binlog::connect(&config.source).await?;
    let server = Server::ask(&mut conn, &config.source).await?;
    judge(&server)?;
    status.connected(&server);
    let saved = match load(&checkpoint)? {
        Some(saved) => {
            binlog::check_position(&mut conn, &config.source, &server, &saved).await?;
            saved
        }
        None => {
            refuse_shared_prefix(config, bus, &server).await?;
            begin(config, &server, &mut conn, &mut *producer).await?
        }
    };
    status.at(&saved);
    let from = saved.read_from();
    let stream = binlog::Stream::open(conn, &config.source, &from, AtEnd::Wait).await?;
    Ok(Prepared { producer, saved, stream })
}

/// Stops on what we cannot work with, all of it at once.
///
/// # Errors
///
/// Refused, with all that has to be mended.
pub(crate) fn judge(server: &Server) -> Result<()> {
    let (stops, warns): (Vec<_>, Vec<_>) =
        server.findings().into_iter().partition(|finding| finding.severity == Severity::Stop);
    for finding in warns {
        warn!(remedy = finding.remedy, "{}", finding.problem);
    }
    if stops.is_empty() {
        return Ok(());
    }
    let join =
        |part: fn(&binlog::Finding) -> &str| stops.iter().map(part).collect::<Vec<_>>().join("; ");
    Err(Error::refused(join(|finding| &finding.problem), join(|finding| &finding.remedy)))
}

pub(crate) fn load(checkpoint: &Checkpoint) -> Result<Option<Saved>> {
    Ok(checkpoint.get(POSITION_KEY).map(|bytes| Saved::from_bytes(bytes)).transpose()?)
}

/// Two sources under one prefix would mix the tables that they have names of in common.
async fn refuse_shared_prefix(config: &Config, bus: &dyn Bus, server: &Server) -> Result<()> {
    for name in bus.producers().await?.into_iter().filter(|name| *name != config.name) {
        let Some(other) = load(&bus.checkpoint(&name).await?)? else { continue };
        if other.server_uuid != server.uuid {
            let prefix = &config.bus.topic_prefix;
            return Err(Error::refused(
                format!(
                    "the topics of {prefix} are those of dts {name}, which reads another MySQL"
                ),
                "set another bus.topicPrefix; or, if that is the MySQL of before, the name of before",
            ));
        }
    }
    Ok(())
}

/// The first start: resolves the configured place once, and saves it before anything is read.
async fn begin(
    config: &Config,
    server: &Server,
    conn: &mut Conn,
    producer: &mut dyn Producer,
) -> Result<Saved> {
    let position = binlog::resolve_start(conn, &config.source, server, &config.start).await?;
    let saved = Saved::new(server.uuid.clone(), position);
    append::append(producer, &event_bus::Batch::default(), (&saved, Pace::Settle)).await?;
    info!(start = ?config.start, file = saved.position.file, pos = saved.position.pos, "first start");
    Ok(saved)
}
