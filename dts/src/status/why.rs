//! One line that says whether `dts` moves, and if not, why and what to do.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use service::{
    clock::now_ms,
    why::{Why, WhyLog},
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{Phase, Status, StatusFacts, millis};
use crate::{error::Error, watch::Sight};

/// An append that takes longer keeps everything else waiting.
const MAX_APPEND: Duration = Duration::from_secs(5);

const STANDS_BY: &str =
    "stands by: another dts of this name publishes, or the bus has not yet said who may";

/// So long the bus may take to give the lead back.
const MAX_RETURN: Duration = Duration::from_secs(30);

const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Why nothing moves: the first error since something was finished, and the last.
#[derive(Debug)]
pub(super) struct Trouble {
    since: SystemTime,
    what_for: &'static str,
    because: String,
    remedy: String,
}

impl Trouble {
    /// Another error comes after an earlier trouble.
    pub(super) fn after(before: Option<Self>, error: &Error) -> Self {
        // A bus that comes back may first say that we lost the lead while it was away.
        let before = match before {
            Some(before) if matches!(error, Error::Bus(event_bus::Error::Fenced(_))) => {
                return before;
            }
            before => before,
        };
        let (what_for, remedy) = error.waits_for();
        let now = SystemTime::now();
        let since = before.filter(|before| before.what_for == what_for).map(|it| it.since);
        let since = since.unwrap_or(now);
        Self { since, what_for, because: error.to_string(), remedy: remedy.to_owned() }
    }

    fn why(&self, facts: &StatusFacts) -> Why {
        // Where the log itself is full, it names the group; where its disk is full, we do.
        let is_full = self.what_for == Error::ROOM;
        let is_new = |group: &str| is_full && !self.because.contains(group);
        let fullest = facts.room.fullest().filter(|(group, _)| is_new(group));
        let because = match fullest {
            Some((group, held)) => {
                format!("{}; most is kept for {group}, which has not finished {held}", self.because)
            }
            None => self.because.clone(),
        };
        Why::waiting((self.what_for, millis(self.since)), because, self.remedy.as_str())
    }
}

/// How `dts` is.
pub(super) fn why(facts: &StatusFacts) -> Why {
    let since = millis(facts.since);
    let trouble = || facts.trouble.as_ref().map(|trouble| trouble.why(facts));
    match facts.phase {
        // After an error the lead is asked for again: this takes a moment, and says nothing.
        Phase::Standby => match trouble().filter(|_| is_short(facts.since)) {
            Some(trouble) => trouble,
            None => Why::Idle(STANDS_BY.to_owned()),
        },
        Phase::Reaching => trouble().unwrap_or_else(|| {
            let because = match &facts.last_error {
                Some((_, error)) => error.clone(),
                None => "it has not answered yet".to_owned(),
            };
            Why::waiting(("the bus", since), because, "start it; dts goes on by itself")
        }),
        Phase::Connecting => trouble().unwrap_or_else(|| {
            let remedy = "if this lasts, see whether MySQL is up and source.hosts is right";
            Why::waiting(("MySQL", since), "it has not answered yet", remedy)
        }),
        Phase::Waiting => trouble().unwrap_or_else(|| {
            Why::waiting(("the next attempt", since), "something failed", "see the log")
        }),
        Phase::Streaming => streaming(facts).noting(note(facts)),
    }
}

fn is_short(since: SystemTime) -> bool {
    SystemTime::now().duration_since(since).unwrap_or_default() < MAX_RETURN
}

fn streaming(facts: &StatusFacts) -> Why {
    let appending = facts
        .append_since
        .filter(|since| SystemTime::now().duration_since(*since).unwrap_or_default() > MAX_APPEND);
    if let Some(since) = appending {
        let because = "it has not taken the last records yet";
        let remedy = "see whether the bus is up, and how busy its disks are; dts waits for it";
        return Why::waiting(("the bus", millis(since)), because, remedy);
    }
    if !facts.source.is_moving() {
        if let Some(trouble) = &facts.trouble {
            return trouble.why(facts);
        }
        let because = "it sends nothing, not even a heartbeat";
        let remedy =
            "see whether the server and the network are well; dts connects again by itself";
        return Why::waiting(("MySQL", millis(facts.since)), because, remedy);
    }
    match facts.sight().map(|sight| (sight.bytes_behind(), sight.seconds_behind())) {
        Some((Some(0), _)) => Why::Idle("all that MySQL has logged is published".to_owned()),
        Some((Some(bytes), Some(seconds))) => {
            Why::Moving(format!("{bytes} bytes of binlog, {seconds:.0} s, are left to publish"))
        }
        Some((Some(bytes), None)) => {
            Why::Moving(format!("{bytes} bytes of binlog are left to publish"))
        }
        Some((None, _)) | None => Why::Moving("reads the binlog".to_owned()),
    }
}

/// What else to know while it moves.
fn note(facts: &StatusFacts) -> Option<String> {
    if let Some((_, reason)) = &facts.source.unanswered {
        return Some(format!(
            "MySQL sends its binlog but answers no questions ({reason}), so full syncs wait: see \
             what the server is doing"
        ));
    }
    if let Some(left) = facts.sight.as_ref().and_then(Sight::purge_is_near) {
        let left = humantime::format_duration(Duration::from_secs(left.as_secs()));
        return Some(format!(
            "MySQL deletes a binlog file that is still needed in {left}: let dts catch up, or raise \
             binlog_expire_logs_seconds"
        ));
    }
    let troubled = facts.full_syncs.iter().find_map(|task| {
        let (id, error) = (&task.id, task.trouble()?);
        Some(format!("the full sync {id} waits because {error}"))
    });
    troubled.or_else(|| facts.removals.note(now_ms()))
}

impl Status {
    /// One line that says whether `dts` moves, and if not, why and what to do.
    pub fn why(&self) -> Why {
        why(&self.lock())
    }
}

/// Logs when that line changes, until `stop`.
pub async fn watch_why(status: Arc<Status>, stop: CancellationToken) {
    let look = async {
        let mut log = WhyLog::default();
        loop {
            let why = status.why();
            if log.look(&why, now_ms()) {
                match why {
                    Why::Waiting(_) => warn!("{why}"),
                    Why::Moving(_) | Why::Idle(_) => info!("{why}"),
                }
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    stop.run_until_cancelled(look).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(status: &Status) -> String {
        status.why().to_string()
    }

    fn away(reason: &str) -> Error {
        Error::SourceAway { address: "db:3306".to_owned(), reason: reason.to_owned() }
    }

    #[test]
    fn each_state_has_its_line() {
        let status = Status::new("a");
        assert!(line(&status).starts_with("waiting for the bus since "), "{}", line(&status));
        status.enter(Phase::Standby);
        assert_eq!(line(&status), format!("idle: {STANDS_BY}"));
        status.enter(Phase::Connecting);
        assert!(line(&status).starts_with("waiting for MySQL since "));
        status.failed(&away("refused"));
        let told = line(&status);
        assert!(told.contains("because MySQL at db:3306: refused: start it"), "{told}");
        status.enter(Phase::Reaching);
        assert_eq!(line(&status), told, "the next attempt");
        status.enter(Phase::Streaming);
        status.streams(crate::replica::Pulse::new(tokio::time::Instant::now()));
        status.caught_up();
        assert_eq!(line(&status), "moving: reads the binlog");
    }

    #[test]
    fn the_time_is_that_of_the_first_failure_of_its_kind() {
        let first = Trouble::after(None, &away("refused"));
        let since = first.since;
        let second = Trouble::after(Some(first), &away("it is down"));
        assert_eq!((second.since, second.because.contains("it is down")), (since, true));
        let full = Error::Bus(event_bus::Error::Full("1 GiB are full".to_owned()));
        let fenced = Error::Bus(event_bus::Error::Fenced("a".to_owned()));
        let second = Trouble::after(Some(second), &fenced);
        assert_eq!(second.what_for, "MySQL");
        let third = Trouble::after(Some(second), &full);
        assert!(third.since >= since && third.what_for == Error::ROOM);
    }
}
