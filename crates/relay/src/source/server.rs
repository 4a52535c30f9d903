//! A server as the source: the relay is a group there, by its name.
//!
//! Of several relays of one name one is active; the others wait. The group keeps the place. When
//! the connection breaks while a callback runs, its place cannot be saved any more: the records
//! come again, from the last place that was saved.

use std::time::Duration;

use event_log::{
    Client, ClientConfig, Error as LogError, Event, Record, RemoteSubscription, Subscribe,
    proto::CommitRequest,
};
use service::Backoff;
use tokio::time::timeout;
use tracing::{info, warn};

use super::{AWAY, Chunk, Done, Saved, Trouble};
use crate::{
    Error,
    config::{OnGone, RelayConfig},
    sieve::{self, Sieve},
};

/// After so long without being the active one, the log says that we wait.
const PATIENCE: Duration = Duration::from_secs(2);

pub(crate) struct ServerSource {
    client: Client,
    stream: String,
    wanted: Subscribe,
    sieve: Sieve,
    on_gone: OnGone,
    session: Option<Session>,
    backoff: Backoff,
    trouble: Trouble,
    /// Whether the server ever let this relay in: then a refusal is not a mistake of the config.
    was_let_in: bool,
}

/// An active membership.
struct Session {
    subscription: RemoteSubscription,
    member: u64,
}

impl ServerSource {
    pub(super) fn new(config: &RelayConfig, client: &ClientConfig) -> Result<Self, Error> {
        Ok(Self {
            client: Client::new(client)?,
            stream: config.stream.clone(),
            wanted: Subscribe { start: config.start, ..sieve::wanted(config) },
            sieve: Sieve::new(config)?,
            on_gone: config.on_gone,
            session: None,
            backoff: Backoff::new(AWAY),
            trouble: Trouble::default(),
            was_let_in: false,
        })
    }

    pub(super) async fn next(&mut self) -> Result<Chunk, Error> {
        loop {
            match self.step().await {
                Ok(Some(chunk)) => return Ok(chunk),
                Ok(None) => {}
                Err(error) => self.recover(error).await?,
            }
        }
    }

    /// The next records, or `None` when something else happened.
    async fn step(&mut self) -> Result<Option<Chunk>, LogError> {
        let Some(session) = &mut self.session else {
            self.session = Some(self.begin().await?);
            return Ok(None);
        };
        match session.subscription.next().await? {
            Event::Assigned { .. } => Ok(None),
            Event::Records { records, next_offset, .. } => {
                Ok(Some(self.sift(records, next_offset)))
            }
        }
    }

    fn sift(&mut self, mut records: Vec<Record>, next: u64) -> Chunk {
        records.retain(|record| self.sieve.passes(record));
        Chunk { records, through: Done { next, mark: None } }
    }

    /// Waits until this is the active relay of its name.
    async fn begin(&mut self) -> Result<Session, LogError> {
        let mut subscription = self.client.subscribe(&self.stream, self.wanted.clone()).await?;
        let (member, mut position) = assigned(&mut subscription, &self.wanted.group).await?;
        let held = self.client.info(&self.stream).await?;
        let first = held.first_offset;
        if position < first {
            let gone = LogError::OffsetGone { offset: position, first };
            if self.on_gone == OnGone::Stop {
                return Err(gone);
            }
            warn!(
                offset = position,
                first,
                "records were deleted before this relay had them: it goes on with the oldest"
            );
            // As the active one it has a moment for that, and then goes on from there.
            self.commit(member, first).await?;
            position = first;
        }
        self.backoff.reset();
        self.was_let_in = true;
        self.trouble.is_over("the server is there again");
        info!(server = self.client.address(), stream = self.stream, offset = position, "relays");
        if held.next_offset == 0 {
            let remedy = "if its name is wrong, stop this relay, and write the right one";
            warn!(stream = self.stream, remedy, "the stream is empty: nothing was ever appended");
        }
        Ok(Session { subscription, member })
    }

    /// What follows an error: another try, or the end.
    async fn recover(&mut self, error: LogError) -> Result<(), Error> {
        self.session = None;
        match error {
            LogError::OffsetGone { .. } if self.on_gone == OnGone::Earliest => {}
            LogError::OffsetGone { offset, first } => return Err(Error::Gone { offset, first }),
            LogError::NotMember(_) => {
                warn!("another relay of this name took over, or its group was changed: this waits");
            }
            error if error.is_transient() => {
                self.trouble.is(&error, "the server is away; it is asked again by itself");
            }
            error @ LogError::Refused(_) if self.was_let_in => {
                let what = "the server refuses this relay now; it is asked again by itself, with \
                            what the token's file then holds";
                self.trouble.is(&error, what);
            }
            error => return Err(error.into()),
        }
        tokio::time::sleep(self.backoff.next_wait()).await;
        Ok(())
    }

    pub(super) async fn save(&mut self, done: Done) -> Result<Saved, Error> {
        let Some(member) = self.session.as_ref().map(|session| session.member) else {
            return Ok(Saved::Lost);
        };
        match self.commit(member, done.next).await {
            Ok(()) => Ok(Saved::Yes),
            Err(error) => {
                warn!("the place could not be saved: the last records will come again");
                self.recover(error).await?;
                Ok(Saved::Lost)
            }
        }
    }

    async fn commit(&self, member: u64, offset: u64) -> Result<(), LogError> {
        let (stream, group) = (self.stream.clone(), self.wanted.group.clone());
        self.client.commit(CommitRequest { stream, group, member, offset }).await
    }
}

/// Waits until this is the active member; gives it, and where it begins.
async fn assigned(
    subscription: &mut RemoteSubscription,
    group: &str,
) -> Result<(u64, u64), LogError> {
    let mut is_told = false;
    loop {
        // A dropped call of `next` loses nothing.
        match timeout(PATIENCE, subscription.next()).await {
            Ok(Ok(Event::Assigned { member, position, .. })) => return Ok((member, position)),
            Ok(Ok(Event::Records { .. })) => {}
            Ok(Err(error)) => return Err(error),
            Err(_) if !is_told => {
                info!(relay = group, "waits: another relay of this name is the active one");
                is_told = true;
            }
            Err(_) => {}
        }
    }
}
