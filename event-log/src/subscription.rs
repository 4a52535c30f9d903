//! A subscription: records as they become durable, alone or as the active member of a group.

mod own;
mod shared;
#[cfg(test)]
mod tests;

use std::time::Duration;

use tokio::{sync::watch, time::Instant};

use self::own::OwnReading;
pub(crate) use self::shared::SharedReading;
use crate::{Error, Record, Start, Stream, Subscribe, filter::RecordFilter, group::Membership};

/// One delivery holds about so much, unless asked otherwise.
const DEFAULT_RESPONSE_BYTES: usize = 1 << 20;
const MAX_RESPONSE_BYTES: usize = 16 << 20;
/// The active member of a group whose next record is gone may commit another place so long: only
/// while it is in the group it can.
const GONE_GRACE: Duration = Duration::from_secs(2);
const GONE_LOOKS: Duration = Duration::from_millis(20);

/// What a subscription gives.
#[derive(Debug)]
pub enum Event<R = Vec<Record>> {
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
        records: R,
        /// Everything below was scanned.
        next_offset: u64,
        /// The durable end; equal to `next_offset` means caught up.
        end_offset: u64,
    },
}

/// A subscription. Dropping it leaves the group.
#[derive(Debug)]
pub struct Subscription(Delivering<OwnReading>);

/// How records are read, from a place on.
pub(crate) trait Reading: Sized + Send {
    /// What one read gives.
    type Records;

    fn begin(stream: &Stream, filter: RecordFilter, offset: u64, max_bytes: usize) -> Self;

    /// The offset after all that was read; `None` while a read is under way.
    fn offset(&self) -> Option<u64>;

    /// Reads on, to the durable end at most; gives the offset after it. A dropped call loses
    /// nothing.
    fn read(&mut self) -> impl Future<Output = Result<(Self::Records, u64), Error>> + Send;

    /// There is nothing to read for now.
    fn rest(&mut self) {}
}

/// A subscription that reads in one of these ways.
#[derive(Debug)]
pub(crate) struct Delivering<R> {
    stream: Stream,
    wanted: Subscribe,
    filter: RecordFilter,
    membership: Option<Membership>,
    end: watch::Receiver<u64>,
    phase: Phase<R>,
    /// The end in the last delivery that had reached it.
    told: Option<u64>,
}

#[derive(Debug)]
enum Phase<R> {
    Waiting,
    /// The first offset of a new group is being saved.
    Resolved(u64),
    Reading(R),
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
        self.deliver(wanted).map(Subscription)
    }

    /// The same, with another way to read.
    pub(crate) fn deliver<R>(&self, wanted: Subscribe) -> Result<Delivering<R>, Error> {
        let filter = RecordFilter::new(&wanted)?;
        let membership = (!wanted.group.is_empty())
            .then(|| Membership::join(&self.shared.groups, &wanted.group, &wanted.client))
            .transpose()?;
        Ok(Delivering {
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
        self.0.next().await
    }
}

impl<R: Reading> Delivering<R> {
    /// See [`Subscription::next`].
    pub(crate) async fn next(&mut self) -> Result<Event<R::Records>, Error> {
        let Some(lost) = self.membership.as_ref().map(|membership| membership.lost.clone()) else {
            return self.advance().await;
        };
        tokio::select! {
            biased;
            () = lost.cancelled() => Err(Error::NotMember(self.wanted.group.clone())),
            event = self.advance() => event,
        }
    }

    async fn advance(&mut self) -> Result<Event<R::Records>, Error> {
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
                Phase::Reading(reading) => {
                    let end = *self.end.borrow_and_update();
                    let has_all = reading.offset().is_some_and(|offset| offset >= end);
                    if has_all && self.told == Some(end) {
                        reading.rest();
                        // The sender lives as long as the stream, which we hold.
                        let _ = self.end.changed().await;
                        continue;
                    }
                    match reading.read().await {
                        Err(Error::OffsetGone { offset, first }) if self.membership.is_some() => {
                            let until = Instant::now() + GONE_GRACE;
                            self.phase = Phase::Gone { offset, first, until };
                        }
                        read => return read.map(|(records, next)| self.read(records, next)),
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

    fn assigned(&mut self, position: u64, resolved: bool) -> Event<R::Records> {
        let max_bytes = match self.wanted.max_bytes {
            0 => DEFAULT_RESPONSE_BYTES,
            asked => asked.min(MAX_RESPONSE_BYTES),
        };
        let reading = R::begin(&self.stream, self.filter.clone(), position, max_bytes);
        self.phase = Phase::Reading(reading);
        let member = self.membership.as_ref().map_or(0, |membership| membership.id);
        Event::Assigned { member, position, resolved }
    }

    fn read(&mut self, records: R::Records, next_offset: u64) -> Event<R::Records> {
        let end_offset = self.stream.shared.end();
        let caught_up = next_offset >= end_offset;
        self.told = caught_up.then_some(end_offset);
        Event::Records { records, next_offset, end_offset }
    }
}
