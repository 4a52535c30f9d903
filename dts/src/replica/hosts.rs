//! Which of several hosts is read from: the same as before, or the next one that has all that we
//! have read.

use std::time::{Duration, Instant};

use tracing::{info, warn};

use source_table::Conn;

use super::{
    connect::{address, connect},
    port, replication,
    resume::{Lacking, Unfit, resume},
    resumed::Resumed,
    server::Server,
};
use crate::{
    check::{Finding, Severity},
    checkpoint::Saved,
    config::{OnLost, SourceConfig},
    error::{Error, Result},
};

/// How long to wait for hosts that are away, before transactions that only they have count as lost.
const MAX_AWAY: Duration = Duration::from_secs(20);

/// How long a replica may take to catch up, before the transactions that it lacks count as lost.
const MAX_BEHIND: Duration = Duration::from_mins(1);

/// The hosts of a source, and the one that was read from last.
#[derive(Debug)]
pub struct Hosts {
    all: Vec<SourceConfig>,
    current: usize,
    on_lost: OnLost,
    /// Since when no answering host has some transactions that we have read.
    lacking_since: Option<Instant>,
    /// The server that was looked at last.
    looked_at: Option<String>,
    /// Why the current host is asked after all others.
    silent: Option<String>,
}

/// A connection to a host that can go on.
pub struct OpenSource {
    /// The config, for this host.
    pub config: SourceConfig,
    /// The connection.
    pub conn: Conn,
    /// The facts about the host.
    pub server: Server,
    /// How the host continues the saved position, if there is one.
    pub resumed: Option<Resumed>,
}

/// A host that cannot be used.
#[derive(Debug)]
struct Miss {
    address: String,
    reason: Reason,
    error: Error,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reason {
    /// The host does not answer.
    Away,
    /// The host lacks transactions that we have read, and may still get them.
    Behind,
    /// The host lacks transactions that we have read.
    Lacks,
    /// The host is not set up as we need it.
    Refused,
}

/// What to do when no host can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Wait,
    Lost,
    Refused,
}

impl Hosts {
    /// All hosts of a source.
    pub fn new(config: &SourceConfig) -> Self {
        let all = config.each_host().collect();
        Self {
            all,
            current: 0,
            on_lost: config.on_lost,
            lacking_since: None,
            looked_at: None,
            silent: None,
        }
    }

    /// Connects to the first host that is set up as we need it and can continue the saved position.
    /// The earlier host is asked first.
    ///
    /// # Errors
    ///
    /// Away, when a host that does not answer, or is behind, may be the right one; refused, when
    /// none is.
    pub async fn find(&mut self, saved: Option<&Saved>) -> Result<OpenSource> {
        let misses = match self.ask_all(saved, OnLost::Stop).await {
            Ok(source) => return Ok(source),
            Err(misses) => misses,
        };
        let reasons: Vec<Reason> = misses.iter().map(|miss| miss.reason).collect();
        let lacks = reasons.iter().any(|reason| matches!(reason, Reason::Lacks | Reason::Behind));
        let since = lacks.then(|| self.lacking_since.unwrap_or_else(Instant::now));
        self.lacking_since = since;
        let verdict = judge_misses(&reasons, since.map_or(Duration::ZERO, |at| at.elapsed()));
        if verdict == Verdict::Lost && self.on_lost == OnLost::Accept {
            let accepted = self.ask_all(saved, OnLost::Accept).await;
            return accepted.map_err(|misses| say(misses, Verdict::Refused));
        }
        Err(say(misses, verdict))
    }

    /// Waits until a host's port answers again.
    pub(crate) async fn opened(&self) {
        let addresses: Vec<_> =
            self.all.iter().map(|host| (host.host.clone(), host.port)).collect();
        port::opened(&addresses).await;
    }

    /// The current host lets us in, and is then silent: the others are asked before it.
    pub(crate) fn is_silent(&mut self, reason: String) {
        self.silent = Some(reason);
    }

    /// Whether this is another server than the last one that was looked at.
    pub(crate) fn is_new(&self, server: &Server) -> bool {
        self.looked_at.as_ref() != Some(&server.uuid)
    }

    /// Remembers that this server was looked at.
    pub(crate) fn looked_at(&mut self, server: &Server) {
        self.looked_at = Some(server.uuid.clone());
    }

    /// Treats the next server as new, because what to look for has changed.
    pub fn look_again(&mut self) {
        self.looked_at = None;
    }

    async fn ask_all(
        &mut self,
        saved: Option<&Saved>,
        on_lost: OnLost,
    ) -> Result<OpenSource, Vec<Miss>> {
        let mut misses = Vec::new();
        let first = self.current + usize::from(self.silent.is_some());
        for step in 0..self.all.len() {
            let at = (first + step) % self.all.len();
            match self.ask(at, saved.map(|saved| (saved, on_lost))).await {
                Ok(source) => {
                    self.take(at, &misses);
                    return Ok(source);
                }
                Err((reason, error)) => {
                    let address = address(&self.all[at]);
                    misses.push(Miss { address, reason, error });
                }
            }
        }
        Err(misses)
    }

    fn take(&mut self, at: usize, misses: &[Miss]) {
        self.lacking_since = None;
        let silent = self.silent.take();
        if at != self.current {
            let reason = silent.or_else(|| misses.first().map(|miss| miss.error.to_string()));
            let (from, to) = (address(&self.all[self.current]), address(&self.all[at]));
            info!(from, to, reason, "another host takes over");
            self.current = at;
        }
    }

    async fn ask(
        &self,
        at: usize,
        saved: Option<(&Saved, OnLost)>,
    ) -> Result<OpenSource, (Reason, Error)> {
        let config = self.all[at].clone();
        let (mut conn, server) = open(&config).await.map_err(reason_of)?;
        refuse_stops(&server.findings()).map_err(reason_of)?;
        if self.all.len() > 1 && server.gtid_executed.is_none() {
            return Err((Reason::Refused, no_gtids(self.all.len())));
        }
        let Some(saved) = saved else {
            return Ok(OpenSource { config, conn, server, resumed: None });
        };
        match resume(&mut conn, &config, &server, saved).await {
            Ok(resumed) => Ok(OpenSource { config, conn, server, resumed: Some(resumed) }),
            Err(Unfit::Other(error)) => Err(reason_of(error)),
            Err(Unfit::Lacks(lacking)) => {
                let reason = self.reason_of_lack(&mut conn, &server, &lacking).await;
                Err((reason, lacking.refuse(&config)))
            }
        }
    }

    /// A replica that was not promoted may still get what it lacks; a single host has no
    /// alternative.
    async fn reason_of_lack(&self, conn: &mut Conn, server: &Server, lacking: &Lacking) -> Reason {
        if replication::is_catching_up(conn, lacking).await {
            warn!(gtids = %lacking.gtids, "the replica is behind what we have read: waiting for it");
            replication::wait_for(conn, lacking).await;
            return Reason::Behind;
        }
        if self.all.len() > 1 && !server.is_writable() { Reason::Behind } else { Reason::Lacks }
    }
}

/// Connects to a host and asks for its facts.
///
/// # Errors
///
/// As [`connect()`].
pub(crate) async fn open(config: &SourceConfig) -> Result<(Conn, Server)> {
    let mut conn = connect(config).await?;
    let server = Server::ask(&mut conn, config).await?;
    Ok((conn, server))
}

/// Stops if there are settings that we cannot work with, and names them all.
///
/// # Errors
///
/// Refused, with all that has to be fixed.
pub(crate) fn refuse_stops(findings: &[Finding]) -> Result<()> {
    let stops: Vec<&Finding> =
        findings.iter().filter(|finding| finding.severity == Severity::Stop).collect();
    if stops.is_empty() {
        return Ok(());
    }
    let problems: Vec<String> = stops.iter().map(|finding| finding.problem()).collect();
    let remedies: Vec<&str> = stops.iter().map(|finding| finding.remedy.as_str()).collect();
    Err(Error::refused(problems.join("; "), remedies.join("; ")))
}

fn no_gtids(hosts: usize) -> Error {
    Error::refused(
        format!(
            "source.hosts names {hosts} hosts, and there are no GTIDs (gtid_mode is not ON): a \
             place in the binlog of one means nothing on another"
        ),
        "turn gtid_mode ON on all of them, or name one host",
    )
}

fn reason_of(error: Error) -> (Reason, Error) {
    (if error.is_transient() { Reason::Away } else { Reason::Refused }, error)
}

/// What to do when no host can be used, and hosts have lacked transactions for a while. A host that
/// is away is waited for, but not for long if another host has gone on without what we have read.
fn judge_misses(reasons: &[Reason], lacking: Duration) -> Verdict {
    let any = |wanted: Reason| reasons.contains(&wanted);
    match (any(Reason::Lacks), any(Reason::Behind), any(Reason::Away)) {
        (true, _, true) if lacking < MAX_AWAY => Verdict::Wait,
        (true, _, _) => Verdict::Lost,
        (_, _, true) => Verdict::Wait,
        (_, true, _) if lacking < MAX_BEHIND => Verdict::Wait,
        (_, true, _) => Verdict::Lost,
        _ => Verdict::Refused,
    }
}

/// One error for all hosts.
fn say(mut misses: Vec<Miss>, verdict: Verdict) -> Error {
    let lacks = |miss: &Miss| matches!(miss.reason, Reason::Lacks | Reason::Behind);
    if let (Verdict::Lost, Some(at)) = (verdict, misses.iter().position(lacks)) {
        return misses.swap_remove(at).error;
    }
    if let (Verdict::Wait, [Miss { reason: Reason::Away, .. }])
    | (Verdict::Refused | Verdict::Lost, [_]) = (verdict, misses.as_slice())
    {
        return misses.swap_remove(0).error;
    }
    let addresses: Vec<&str> = misses.iter().map(|miss| miss.address.as_str()).collect();
    let address = addresses.join(", ");
    let mut texts: Vec<String> = misses.iter().map(|miss| miss.error.to_string()).collect();
    texts.dedup();
    if texts.len() == 1 && verdict == Verdict::Refused {
        return misses.swap_remove(0).error;
    }
    match verdict {
        Verdict::Wait => Error::SourceAway { address, reason: texts.join("; ") },
        Verdict::Lost | Verdict::Refused => Error::refused(
            format!("none of source.hosts can continue: {}", texts.join("; ")),
            "fix one of them, and start dts again",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_that_is_away_is_waited_for_but_not_past_a_promoted_one() {
        use Reason::{Away, Behind, Lacks, Refused};
        let (soon, late) = (Duration::from_secs(1), Duration::from_mins(2));
        for (reasons, lacking, expected) in [
            (vec![Away], soon, Verdict::Wait),
            (vec![Away, Refused], late, Verdict::Wait),
            (vec![Refused, Refused], late, Verdict::Refused),
            (vec![Lacks], Duration::ZERO, Verdict::Lost),
            (vec![Away, Lacks], soon, Verdict::Wait),
            (vec![Away, Lacks], late, Verdict::Lost),
            (vec![Refused, Lacks], soon, Verdict::Lost),
            (vec![Away, Behind], late, Verdict::Wait),
            (vec![Refused, Behind], soon, Verdict::Wait),
            (vec![Behind], late, Verdict::Lost),
        ] {
            assert_eq!(judge_misses(&reasons, lacking), expected, "{reasons:?} {lacking:?}");
        }
    }
}
