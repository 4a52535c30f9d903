//! How far we are from the end of the server's binlog and from its beginning: the bytes that are
//! still to be read, and the time until the server deletes the file that we need. And whether the
//! server still has our place: after its binlogs are reset, it sends nothing, and says nothing.
//!
//! A few questions from time to time, over a connection of its own, beside the stream.

mod shown;

use std::time::{Duration, Instant, SystemTime};

use tracing::{debug, info, warn};

use self::shown::bytes_behind;
pub(crate) use self::shown::{DurablePlace, Purge, Sight};
use crate::{
    config::SourceConfig,
    error::{Error, Result},
    replica::{self, Conn, Server, file_created},
    status::Status,
};

/// How often the server is asked.
const INTERVAL: Duration = Duration::from_secs(10);

/// How long an answer may take.
const MAX_WAIT: Duration = Duration::from_secs(30);

/// After this many errors in a row, the log says so; after one if the server lets us wait.
const SAID_AFTER: u32 = 2;

/// Asks the server until the future is dropped. It returns when the server does not have our place
/// any more: then the check at the next connection says why. If there are other hosts, it also
/// returns when the server does not answer: such a server has more trouble than with our questions.
pub async fn watch(config: &SourceConfig, status: &Status) -> Error {
    let mut watcher = Watcher::new(config);
    loop {
        match tokio::time::timeout(MAX_WAIT, watcher.look(status.place())).await {
            Ok(Ok(sight)) => {
                if let Some(reason) = watcher.lost_place.take() {
                    return replica::away(config, reason);
                }
                watcher.answered(status);
                watcher.warn_of(&sight);
                status.saw(sight);
            }
            Ok(Err(Error::SourceSilent { .. })) | Err(_) if config.hosts.len() > 1 => {
                let address = format!("{}:{}", config.host, config.port);
                let reason = "it sends its binlog, but answers no questions".to_owned();
                return Error::SourceSilent { address, reason };
            }
            Ok(Err(error @ Error::SourceSilent { .. })) => {
                watcher.waited_in_vain(&error.to_string(), status);
            }
            Ok(Err(error)) => watcher.failed(&error.to_string(), status),
            Err(_) => watcher.waited_in_vain("no answer in time", status),
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

struct Watcher<'a> {
    config: &'a SourceConfig,
    conn: Option<Conn>,
    /// A binlog file, and when it ended.
    ended: Option<(String, SystemTime)>,
    is_warned: bool,
    /// How many questions in a row were not answered.
    failures: u32,
    /// Whether the server had our place when it was asked earlier over this connection.
    had_place: bool,
    /// Why the server does not have it any more.
    lost_place: Option<String>,
}

/// Asks the server once; `place` is the position to compare with.
///
/// # Errors
///
/// As [`replica::connect`].
pub(crate) async fn look_once(config: &SourceConfig, place: Option<DurablePlace>) -> Result<Sight> {
    Watcher::new(config).look(place).await
}

impl<'a> Watcher<'a> {
    fn new(config: &'a SourceConfig) -> Self {
        Self {
            config,
            conn: None,
            ended: None,
            is_warned: false,
            failures: 0,
            had_place: false,
            lost_place: None,
        }
    }

    async fn look(&mut self, place: Option<DurablePlace>) -> Result<Sight> {
        let config = self.config;
        let mut conn = match self.conn.take() {
            Some(conn) => conn,
            None => {
                // An address may stand for several servers.
                self.had_place = false;
                replica::connect(config).await?
            }
        };
        let files = Server::binlog_files(&mut conn, config).await?;
        let (now, expires_after) = ask(&mut conn, config).await?;
        self.conn = Some(conn);
        let oldest_file = place.as_ref().map(|place| place.oldest_file.clone()).unwrap_or_default();
        let purge = self.purge(&files, &oldest_file, (now, expires_after)).await;
        let behind = |place: &DurablePlace| bytes_behind(&files, &place.file, place.pos);
        let bytes_behind = place.as_ref().and_then(behind);
        self.compare(&files, place.as_ref());
        let sight = Sight {
            at: Instant::now(),
            server_time: now,
            files,
            bytes_behind,
            seconds_behind: None,
            purge,
            oldest_file,
            expires_after,
        };
        Ok(sight.seen_from(place.as_ref()))
    }

    /// Notes whether the server has our place. A server that goes on by GTIDs may never have had
    /// it.
    fn compare(&mut self, files: &[(String, u64)], place: Option<&DurablePlace>) {
        let Some(DurablePlace { file, pos, .. }) = place else { return };
        self.lost_place = replica::beyond_end(files, file, *pos).filter(|_| self.had_place);
        self.had_place |= bytes_behind(files, file, *pos).is_some();
    }

    async fn purge(
        &mut self,
        files: &[(String, u64)],
        file: &str,
        (now, expires_after): (SystemTime, Option<Duration>),
    ) -> Purge {
        let Some(after) = expires_after else { return Purge::Never };
        let Some(at) = files.iter().position(|(name, _)| name == file) else {
            return Purge::Unknown;
        };
        // The server does not delete a file while it writes to that file.
        let Some((next, _)) = files.get(at + 1) else { return Purge::In(after) };
        match self.end_of(file, next).await {
            Some(ended) => Purge::In(left(ended, after, now)),
            None => Purge::Unknown,
        }
    }

    /// When a file ended: this is when the next one was begun.
    async fn end_of(&mut self, file: &str, next: &str) -> Option<SystemTime> {
        if let Some((known, ended)) = &self.ended
            && known == file
        {
            return Some(*ended);
        }
        let ended = file_created(self.config, next).await;
        let ended = ended.inspect_err(|error| debug!(%error, next, "cannot be read")).ok()??;
        self.ended = Some((file.to_owned(), ended));
        Some(ended)
    }

    /// A server that is away would have closed the connection: this one lets us wait.
    fn waited_in_vain(&mut self, reason: &str, status: &Status) {
        self.failures = self.failures.max(SAID_AFTER - 1);
        self.failed(reason, status);
    }

    fn failed(&mut self, reason: &str, status: &Status) {
        self.conn = None;
        self.failures += 1;
        // When the server is away, the stream says so itself, and soon.
        if self.failures < SAID_AFTER {
            debug!(reason, "the server was not asked for its binlogs");
            return;
        }
        status.unanswered(Some(reason));
        if self.failures == SAID_AFTER {
            warn!(
                reason,
                "the server sends its binlog, but answers no questions: how far we are \
                 behind is not known, and full syncs wait"
            );
        }
    }

    fn answered(&mut self, status: &Status) {
        if self.failures >= SAID_AFTER {
            info!("the server answers questions again");
            status.unanswered(None);
        }
        self.failures = 0;
    }

    fn warn_of(&mut self, sight: &Sight) {
        let near = sight.purge_is_near();
        if let (Some(left), false) = (near, self.is_warned) {
            let left = humantime::format_duration(Duration::from_secs(left.as_secs())).to_string();
            warn!(
                left,
                "the server will delete the binlog file that we still need: raise \
                 binlog_expire_logs_seconds there, or let dts catch up"
            );
        }
        self.is_warned = near.is_some();
    }
}

/// The server's time, and the time after which it deletes a file; `None` for never.
async fn ask(conn: &mut Conn, config: &SourceConfig) -> Result<(SystemTime, Option<Duration>)> {
    const VARIABLES: &str = "SHOW GLOBAL VARIABLES WHERE Variable_name IN \
        ('binlog_expire_logs_seconds', 'binlog_expire_logs_auto_purge', 'expire_logs_days')";
    let classify = |error| replica::classify(config, error);
    let now: Option<f64> =
        conn.query_first("SELECT UNIX_TIMESTAMP(NOW(6)) + 0E0").await.map_err(classify)?;
    let variables: Vec<(String, String)> = conn.query(VARIABLES).await.map_err(classify)?;
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs_f64(now.unwrap_or_default().max(0.0));
    Ok((now, expires_after(&variables)))
}

fn expires_after(variables: &[(String, String)]) -> Option<Duration> {
    let value = |wanted: &str| {
        let found = variables.iter().find(|(name, _)| name == wanted);
        found.map(|(_, value)| value.as_str())
    };
    if value("binlog_expire_logs_auto_purge").is_some_and(|value| value == "OFF") {
        return None;
    }
    let number = |name: &str| value(name)?.parse::<f64>().ok().filter(|number| *number > 0.0);
    let days = number("expire_logs_days").map(|days| days * 86_400.0);
    let seconds = number("binlog_expire_logs_seconds").or(days)?;
    Duration::try_from_secs_f64(seconds).ok()
}

fn left(ended: SystemTime, after: Duration, now: SystemTime) -> Duration {
    (ended + after).duration_since(now).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(variables: &[(&str, &str)]) -> Option<Duration> {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        expires_after(&variables.iter().map(owned).collect::<Vec<_>>())
    }

    #[test]
    fn the_time_after_which_files_are_deleted_is_read_as_the_server_means_it() {
        let seconds = Duration::from_secs;
        assert_eq!(set(&[("binlog_expire_logs_seconds", "3600")]), Some(seconds(3600)));
        assert_eq!(set(&[("binlog_expire_logs_seconds", "0")]), None);
        let off = ("binlog_expire_logs_auto_purge", "OFF");
        assert_eq!(set(&[("binlog_expire_logs_seconds", "3600"), off]), None);
        let days = ("expire_logs_days", "2");
        assert_eq!(set(&[("binlog_expire_logs_seconds", "0"), days]), Some(seconds(172_800)));
        assert_eq!(set(&[("expire_logs_days", "0")]), None);
    }

    #[test]
    fn the_time_left_is_never_below_zero() {
        let ended = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000);
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let after = Duration::from_secs(100);
        assert_eq!(left(ended, after, at(1_030)), Duration::from_secs(70));
        assert_eq!(left(ended, after, at(1_130)), Duration::ZERO);
    }
}
