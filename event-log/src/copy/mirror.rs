//! Follows a stream of another server, so that a stream here is its copy.

use std::time::Duration;

use futures_util::{FutureExt as _, future::BoxFuture};
use service::{Backoff, BackoffConfig};
use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{
    batches::{Flaw, WholeBatches},
    mark::{self, CopyOf, Gap},
    source::{CopyFrom, Sent, Wanted},
};
use crate::{
    Client, Error, Log, Stream,
    client::RemoteCopy,
    queue::{self, DurableAnswer},
};

/// How often the original is told how far the copy is.
const COMMIT_INTERVAL: Duration = Duration::from_secs(1);
const WAITS: BackoffConfig =
    BackoffConfig { min: Duration::from_millis(200), max: Duration::from_secs(10), factor: 2.0 };

/// A wait for the server that is longer is told.
const TOLD_AFTER: Duration = Duration::from_secs(3);

/// What to do when the next record was deleted at the original.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnGone {
    /// End with an error that says so.
    Stop,
    /// Go on with the oldest record that is there; the copy has a gap, and its readers are told.
    Earliest,
}

/// How a copy is made.
#[derive(Clone, Debug)]
pub struct MirrorOptions {
    /// What the copy is called at its original, which keeps what it has not got yet. Empty: nothing
    /// is kept for it.
    pub name: String,
    /// An empty copy begins with the day so many days before today; `None`: with the oldest there.
    pub start_days: Option<u32>,
    /// What happens when the next record was deleted at the original.
    pub on_gone: OnGone,
}

/// Makes one stream a copy, and keeps it one.
#[derive(Debug)]
pub struct Mirror {
    stream: Stream,
    client: Client,
    of: CopyOf,
    options: MirrorOptions,
    end: watch::Receiver<u64>,
    /// Of the original: what is missing there, until the copy has it written down.
    gap: Option<Gap>,
    /// Whether the original ever let this copy in: then a refusal is not a mistake of the config.
    was_let_in: bool,
}

/// What there is to do while a copy is connected.
struct Following {
    copy: RemoteCopy,
    member: u64,
    /// The last piece that was put, until it is durable.
    last: Option<DurableAnswer>,
    committed: u64,
    committing: Option<BoxFuture<'static, Result<u64, Error>>>,
}

impl Mirror {
    /// Opens the copy in a log, or makes an empty one.
    ///
    /// # Errors
    ///
    /// [`Error::Rejected`] when the stream is there and is no copy.
    pub fn open(
        log: &Log,
        client: Client,
        of: CopyOf,
        options: MirrorOptions,
    ) -> Result<Self, Error> {
        let stream = log.copy(&of.stream, &of)?;
        let end = stream.shared.watch_end();
        let was_let_in = *end.borrow() > 0;
        Ok(Self { stream, client, of, options, end, gap: None, was_let_in })
    }

    /// Follows until `stop`, or until the stream is promoted.
    ///
    /// # Errors
    ///
    /// What only a human can settle: [`Error::Diverged`], [`Error::OffsetGone`],
    /// [`Error::Refused`] from the beginning (later it is waited out), [`Error::Rejected`],
    /// [`Error::Poisoned`], [`Error::Io`].
    pub async fn run(mut self, stop: &CancellationToken) -> Result<(), Error> {
        let mut backoff = Backoff::new(WAITS);
        loop {
            let begun = self.end();
            let problem = tokio::select! {
                problem = self.follow() => problem,
                () = stop.cancelled() => return Ok(()),
            };
            if self.is_promoted().await {
                info!(stream = self.of.stream, "the copy is a stream of its own now");
                return Ok(());
            }
            if self.end() > begun {
                backoff.reset();
            }
            self.stream.tell_copy(Some(problem.to_string()));
            match problem {
                Error::OffsetGone { first, .. } if self.options.on_gone == OnGone::Earliest => {
                    self.gap = Some(self.gap_until(first));
                    continue;
                }
                passing if self.may_pass(&passing) => {
                    let wait = backoff.next_wait();
                    let (stream, from) = (&self.of.stream, &self.of.address);
                    warn!(stream, from, problem = %passing, ?wait, "the copy gets nothing now");
                    tokio::select! {
                        () = tokio::time::sleep(wait) => {}
                        () = stop.cancelled() => return Ok(()),
                    }
                }
                lasting => return Err(lasting),
            }
        }
    }

    /// Whether the copy is one no more. A promotion that has begun is waited for: it can fail.
    async fn is_promoted(&self) -> bool {
        loop {
            match self.stream.copy_state() {
                None => return true,
                Some(state) if !state.is_promoted => return false,
                Some(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    }

    fn end(&self) -> u64 {
        *self.end.borrow()
    }

    fn gap_until(&self, first: u64) -> Gap {
        let from = self.end();
        warn!(
            stream = self.of.stream,
            from,
            to = first,
            "the original has deleted what comes next: the copy goes on after a gap"
        );
        Gap { from, to: first }
    }

    /// Whether it may pass without anybody changing the config here: a file with a token is read
    /// again.
    fn may_pass(&self, problem: &Error) -> bool {
        match problem {
            Error::NotMember(_) | Error::Failed(_) => true,
            Error::Refused(_) => self.was_let_in,
            problem => problem.is_transient(),
        }
    }

    /// Follows until there is a problem.
    async fn follow(&mut self) -> Error {
        match self.begin().await {
            Ok(following) => self.go_on(following).await,
            Err(problem) => problem,
        }
    }

    async fn begin(&mut self) -> Result<Following, Error> {
        let from = match (self.gap, self.stream.copy_end()?) {
            (Some(gap), _) => CopyFrom::FileOffset(gap.to),
            (None, Some(end)) => CopyFrom::End(end),
            (None, None) => CopyFrom::DaysBack(self.options.start_days.unwrap_or(u32::MAX)),
        };
        let wanted = Wanted {
            group: self.options.name.clone(),
            client: format!("mirror, {}", std::process::id()),
            from,
            max_bytes: 0,
        };
        let mut copy = self.client.replicate(&self.of.stream, wanted).await?;
        let Sent::Begun { member, epoch } = self.begun(&mut copy).await? else {
            return Err(Error::Failed("the server did not say that the copy begins".to_owned()));
        };
        let (stream, from) = (&self.of.stream, &self.of.address);
        info!(stream, from, offset = self.end(), epoch, "the copy follows");
        self.stream.tell_copy(None);
        self.was_let_in = true;
        let committed = self.end();
        Ok(Following { copy, member, last: None, committed, committing: None })
    }

    /// What comes first. Another copy of the same name is waited for, and told.
    async fn begun(&self, copy: &mut RemoteCopy) -> Result<Sent, Error> {
        let first = copy.next();
        tokio::pin!(first);
        let told = tokio::time::timeout(TOLD_AFTER, &mut first).await;
        if let Ok(sent) = told {
            return sent;
        }
        let problem = format!(
            "no answer yet; if another copy, a relay or a listener is called {} there, give this one \
             another name",
            self.options.name
        );
        warn!(stream = self.of.stream, from = self.of.address, problem, "the copy waits");
        self.stream.tell_copy(Some(problem));
        first.await
    }

    async fn go_on(&mut self, mut following: Following) -> Error {
        let mut tick = interval(COMMIT_INTERVAL);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let problem = loop {
            let step = tokio::select! {
                sent = following.copy.next() => self.take(&mut following, sent).await,
                durable = wait_for(&mut following.last) => durable,
                committed = wait_for_commit(&mut following.committing) => {
                    committed.map(|committed| following.committed = committed)
                }
                _ = tick.tick() => {
                    self.commit(&mut following);
                    Ok(())
                }
            };
            if let Err(problem) = step {
                break problem;
            }
        };
        // What was put before decides where the copy ends.
        wait_for_last(following.last).await.err().unwrap_or(problem)
    }

    /// Writes what came.
    async fn take(
        &mut self,
        following: &mut Following,
        sent: Result<Sent, Error>,
    ) -> Result<(), Error> {
        let (file, position, data) = match sent? {
            Sent::Bytes { file, position, data, end_offset } => {
                // Also what cannot be written here is lacking.
                self.stream.tell_source_end(end_offset);
                (file, position, data)
            }
            Sent::Finished { day } => {
                wait_for_last(following.last.take()).await?;
                return self.stream.shared.finish_day(day);
            }
            Sent::Begun { .. } => {
                return Err(Error::Failed("the server began the copy twice".to_owned()));
            }
        };
        let piece = WholeBatches::read(file, position, data).map_err(|Flaw { at, problem }| {
            let byte = position.saturating_add(at as u64);
            let (day, number) = (file.day, file.number);
            Error::Failed(format!(
                "what came for byte {byte} of {day}/data{number:06} is damaged ({problem}): it was \
                 not written, and is asked for again"
            ))
        })?;
        if let Some(gap) = self.gap.take()
            && self.end() > 0
        {
            mark::add_gap(&self.stream.shared.directory, gap)?;
            following.last = Some(self.stream.put_copy(piece, true).await?);
        } else {
            let put = self.stream.put_copy(piece, false).await;
            if put.is_err() {
                // A write that failed has moved the end back: that is what must be told.
                wait_for_last(following.last.take()).await?;
            }
            following.last = Some(put?);
        }
        self.stream.tell_copy(None);
        Ok(())
    }

    /// Tells the original how far the copy is, if it has got on.
    fn commit(&self, following: &mut Following) {
        let end = self.end();
        let is_due = following.member != 0 && end > following.committed;
        if !is_due || following.committing.is_some() {
            return;
        }
        let request = crate::proto::CommitRequest {
            stream: self.of.stream.clone(),
            group: self.options.name.clone(),
            member: following.member,
            offset: end,
        };
        let client = self.client.clone();
        let commit = async move { client.commit(request).await.map(|()| end) };
        following.committing = Some(commit.boxed());
    }
}

async fn wait_for(last: &mut Option<DurableAnswer>) -> Result<(), Error> {
    match last {
        Some(durable) => {
            let durable = queue::wait(durable).await;
            *last = None;
            durable
        }
        None => std::future::pending().await,
    }
}

async fn wait_for_last(last: Option<DurableAnswer>) -> Result<(), Error> {
    match last {
        Some(durable) => queue::wait(durable).await,
        None => Ok(()),
    }
}

async fn wait_for_commit(
    committing: &mut Option<BoxFuture<'static, Result<u64, Error>>>,
) -> Result<u64, Error> {
    match committing {
        Some(commit) => {
            let committed = commit.await;
            *committing = None;
            committed
        }
        None => std::future::pending().await,
    }
}
