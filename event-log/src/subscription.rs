//! A subscription: records as they become durable, alone or as the active member of a group.

use std::time::Duration;

use tokio::{sync::watch, task::JoinHandle, time::Instant};

use crate::{
    Error, Record, Start, Stream, Subscribe,
    filter::RecordFilter,
    group::Membership,
    reader::{ReadChunk, StreamReader},
};

/// One delivery holds about so much, unless asked otherwise.
const DEFAULT_RESPONSE_BYTES: usize = 1 << 20;
const MAX_RESPONSE_BYTES: usize = 16 << 20;
/// The active member of a group whose next record is gone may commit another place so long: only
/// while it is in the group it can.
const GONE_GRACE: Duration = Duration::from_secs(2);
const GONE_LOOKS: Duration = Duration::from_millis(20);

/// What a subscription gives.
#[derive(Debug)]
pub enum Event {
    /// The first event, once the subscription is the active one of its group.
    Assigned {
        /// Names this membership in a commit; 0 without a group.
        member: u64,
        /// The offset that delivery begins at.
        position: u64,
        /// Whether `start` was resolved now; `false` when the group had an offset.
        resolved: bool,
    },
    /// All later events.
    Records {
        /// Those that pass the filters, in order; may be empty.
        records: Vec<Record>,
        /// Everything below was scanned.
        next_offset: u64,
        /// The durable end; equal to `next_offset` means caught up.
        end_offset: u64,
    },
}

/// A subscription. Dropping it leaves the group.
#[derive(Debug)]
pub struct Subscription {
    stream: Stream,
    wanted: Subscribe,
    filter: RecordFilter,
    membership: Option<Membership>,
    end: watch::Receiver<u64>,
    phase: Phase,
    /// The end in the last delivery that had reached it.
    told: Option<u64>,
}

type ReadEnded = (Box<StreamReader>, Result<ReadChunk, Error>);

#[derive(Debug)]
enum Phase {
    Waiting,
    /// The first offset of a new group is being saved.
    Resolved(u64),
    Idle(Box<StreamReader>),
    Reading(JoinHandle<ReadEnded>),
    /// The next record was deleted. Until when the group may go to another place.
    Gone {
        offset: u64,
        first: u64,
        until: Instant,
    },
}

impl Stream {
    /// Subscribes.
    ///
    /// # Errors
    ///
    /// [`Error::Rejected`] for a filter or a name that is not allowed.
    pub fn subscribe(&self, wanted: Subscribe) -> Result<Subscription, Error> {
        let filter = RecordFilter::new(&wanted)?;
        let membership = (!wanted.group.is_empty())
            .then(|| Membership::join(&self.shared.groups, &wanted.group, &wanted.client))
            .transpose()?;
        Ok(Subscription {
            stream: self.clone(),
            wanted,
            filter,
            membership,
            end: self.shared.watch_end(),
            phase: Phase::Waiting,
            told: None,
        })
    }
}

impl Subscription {
    /// Waits for the next thing. A dropped call loses nothing.
    ///
    /// # Errors
    ///
    /// [`Error::NotMember`]: another member is the active one now. [`Error::OffsetGone`]: the next
    /// record was deleted; the active member of a group has two seconds before that to commit a
    /// place that is there, and goes on from it. [`Error::Damaged`].
    pub async fn next(&mut self) -> Result<Event, Error> {
        let Some(lost) = self.membership.as_ref().map(|membership| membership.lost.clone()) else {
            return self.advance().await;
        };
        tokio::select! {
            biased;
            () = lost.cancelled() => Err(Error::NotMember(self.wanted.group.clone())),
            event = self.advance() => event,
        }
    }

    async fn advance(&mut self) -> Result<Event, Error> {
        loop {
            match &mut self.phase {
                Phase::Waiting => {
                    if let Some(membership) = &self.membership {
                        membership.active().await;
                    }
                    let committed = self.stream.shared.groups.committed(&self.wanted.group);
                    if let Some(position) = committed.filter(|_| self.membership.is_some()) {
                        return Ok(self.assigned(position, false));
                    }
                    self.phase = Phase::Resolved(self.resolve()?);
                }
                Phase::Resolved(position) => {
                    let position = *position;
                    if let Some(membership) = &self.membership {
                        let group = &self.wanted.group;
                        self.stream.commit(group, membership.id, position).await?;
                    }
                    return Ok(self.assigned(position, true));
                }
                Phase::Idle(reader) => {
                    let end = *self.end.borrow_and_update();
                    if reader.offset() >= end && self.told == Some(end) {
                        // The sender lives as long as the stream, which we hold.
                        let _ = self.end.changed().await;
                    } else {
                        self.begin_read();
                    }
                }
                Phase::Reading(reading) => {
                    let ended = reading.await;
                    match self.take_read(ended) {
                        Err(Error::OffsetGone { offset, first }) if self.membership.is_some() => {
                            let until = Instant::now() + GONE_GRACE;
                            self.phase = Phase::Gone { offset, first, until };
                        }
                        read => return read,
                    }
                }
                Phase::Gone { offset, first, until } => {
                    let (offset, first, until) = (*offset, *first, *until);
                    let committed = self.stream.shared.groups.committed(&self.wanted.group);
                    match committed.filter(|committed| *committed > offset) {
                        // It was told where it is when it became the active one.
                        Some(position) => drop(self.assigned(position, false)),
                        None if Instant::now() >= until => {
                            return Err(Error::OffsetGone { offset, first });
                        }
                        None => tokio::time::sleep(GONE_LOOKS).await,
                    }
                }
            }
        }
    }

    fn resolve(&self) -> Result<u64, Error> {
        match self.wanted.start {
            Start::Offset(offset) if offset <= self.stream.shared.end() => Ok(offset),
            Start::Offset(offset) => {
                let end = self.stream.shared.end();
                Err(Error::Rejected(format!(
                    "offset {offset} is past the end of the stream, {end}"
                )))
            }
            start => self.stream.locate(start),
        }
    }

    fn assigned(&mut self, position: u64, resolved: bool) -> Event {
        let reader = StreamReader::new(&self.stream.shared, self.filter.clone(), position);
        self.phase = Phase::Idle(Box::new(reader));
        let member = self.membership.as_ref().map_or(0, |membership| membership.id);
        Event::Assigned { member, position, resolved }
    }

    /// Reads on a thread that may wait for the disk.
    fn begin_read(&mut self) {
        let max_bytes = match self.wanted.max_bytes {
            0 => DEFAULT_RESPONSE_BYTES,
            asked => asked.min(MAX_RESPONSE_BYTES),
        };
        if let Phase::Idle(mut reader) = std::mem::replace(&mut self.phase, Phase::Waiting) {
            self.phase = Phase::Reading(tokio::task::spawn_blocking(move || {
                let chunk = reader.read(max_bytes);
                (reader, chunk)
            }));
        }
    }

    fn take_read(
        &mut self,
        ended: Result<ReadEnded, tokio::task::JoinError>,
    ) -> Result<Event, Error> {
        let (reader, chunk) = ended.map_err(|error| Error::Unavailable(error.to_string()))?;
        self.phase = Phase::Idle(reader);
        let ReadChunk { records, next_offset } = chunk?;
        let end_offset = self.stream.shared.end();
        let caught_up = next_offset >= end_offset;
        self.told = caught_up.then_some(end_offset);
        Ok(Event::Records { records, next_offset, end_offset })
    }
}
