//! What this node knows of all nodes, and what follows for its listeners. No I/O.

use std::{collections::BTreeMap, time::Duration};

use event_bus::ControlChange;
use tokio::time::Instant;
use tracing::warn;

use super::{
    decide::{self, Contender},
    entry::{NodeEntry, Offer},
    lease::Moment,
    nodes::SeenNodes,
    seat::{Permit, WhyNot},
};
use crate::listener::status::{ListenerState, Problem};

/// A lease is renewed so many times before it would end.
const RENEWALS: u32 = 5;

/// A node and its view of all others.
#[derive(Debug)]
pub(crate) struct Standing {
    pub(crate) id: String,
    /// Whether our lease matters also while no other environment is there.
    is_named: bool,
    /// What is to be told of us.
    pub(crate) own: NodeEntry,
    pub(crate) others: SeenNodes,
    /// Why the bus cannot be asked now.
    pub(crate) trouble: Option<WhyNot>,
    /// What was written last, and when that began.
    last: Option<Written>,
    /// Writes that were not read back yet.
    unread: BTreeMap<u64, Written>,
    /// The last write that was read back: all that was written before it is known.
    confirmed: Option<Written>,
    /// Another program writes under our id, and this was told.
    has_twin: bool,
}

/// A node, this one or another, as it is shown.
pub(crate) struct ShownNode<'a> {
    pub(crate) id: &'a str,
    pub(crate) entry: &'a NodeEntry,
    pub(crate) is_this: bool,
    /// Until its lease ends.
    pub(crate) lease_seconds: f64,
}

/// A write of our entry.
#[derive(Clone, Debug)]
struct Written {
    entry: NodeEntry,
    began: Instant,
    began_on_clock: Moment,
    /// The lease had ended before it was renewed by this.
    is_late: bool,
}

/// What a listener is told.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Verdict {
    pub(super) permit: Permit,
    /// Nodes of other environments have the listener, too.
    pub(super) is_contested: bool,
}

impl Standing {
    pub(super) fn new(id: &str, own: NodeEntry, is_named: bool) -> Self {
        Self {
            id: id.to_owned(),
            is_named,
            own,
            others: SeenNodes::default(),
            trouble: None,
            last: None,
            unread: BTreeMap::new(),
            confirmed: None,
            has_twin: false,
        }
    }

    fn lease(&self) -> Duration {
        Duration::from_millis(self.own.lease_ms)
    }

    /// Takes what the control table says.
    pub(super) fn saw(&mut self, changes: Vec<ControlChange>, now: Instant) {
        let ours = self.others.take(changes, (&self.id, now));
        let Some(ours) = ours else { return };
        if ours.life != self.own.life {
            return self.saw_under_our_id(&ours);
        }
        if let Some(mut written) = self.unread.remove(&ours.beat) {
            self.unread.retain(|beat, _| *beat > ours.beat);
            let end = self.lease_end();
            written.is_late = end.is_some_and(|end| written.began_on_clock > end);
            self.confirmed = Some(written);
        }
    }

    /// Before our first write it is our own entry, from before a restart.
    fn saw_under_our_id(&mut self, other: &NodeEntry) {
        if self.last.is_some() && !self.has_twin {
            self.has_twin = true;
            let (node, host, pid) = (&self.id, &other.host, other.pid);
            warn!(
                node,
                host,
                pid,
                "another event-worker has the same id, which is made of host name, machine id, \
                 directory and environment: give one of them another [supervisor] directory"
            );
        }
    }

    /// Takes what this node offers now.
    pub(super) fn offer(&mut self, offers: impl Iterator<Item = (String, Offer)>) {
        self.own.listeners = offers.collect();
    }

    /// Holds a listener from now on, or not any more: this is told with the next write. `runs` says
    /// whether a process of the listener runs here. Ask for that when the listener has got its
    /// [`verdict`](Self::verdict): before that, one may begin.
    pub(super) fn hold(&mut self, listener: &str, runs: bool) {
        let wins = self.wins(&self.contenders(listener));
        if let Some(offer) = self.own.listeners.get_mut(listener) {
            offer.holds = runs || (wins && !offer.leaves);
        }
    }

    /// When our entry is to be written next: at once when it says something new, often enough for
    /// our lease, and as soon as a node that was not heard of would be gone.
    pub(super) fn write_at(&self, now: Instant) -> Instant {
        let Some(last) = &self.last else { return now };
        if (NodeEntry { beat: last.entry.beat, ..self.own.clone() }) != last.entry {
            return last.began;
        }
        let renew = last.began + self.lease() / RENEWALS;
        match self.others.next_end(last.began) {
            Some(end) => renew.min(end + Duration::from_millis(1)),
            None => renew,
        }
    }

    /// Begins to write our entry; gives what to write.
    pub(super) fn write(&mut self, now: Instant, on_clock: Moment) -> Vec<ControlChange> {
        self.own.beat += 1;
        self.own.gone = self.others.gone(self.read_up_to());
        let written = Written {
            entry: self.own.clone(),
            began: now,
            began_on_clock: on_clock,
            is_late: false,
        };
        self.unread.insert(self.own.beat, written.clone());
        self.last = Some(written);
        let ours = (NodeEntry::key(&self.id), Some(self.own.to_bytes().into()));
        let gone = self.others.forget(now).into_iter().map(|key| (key, None));
        std::iter::once(ours).chain(gone).collect()
    }

    /// What a listener is told whose permit was `before`.
    pub(super) fn verdict(&self, listener: &str, (before, now): (&Permit, Moment)) -> Verdict {
        let contenders = self.contenders(listener);
        let is_contested = contenders.iter().any(|one| one.environment != self.own.environment);
        let lease = self.lease_end().filter(|_| is_contested || self.is_named);
        let permit = match self.permit(listener, &contenders, before) {
            Ok(()) if lease.is_some_and(|end| end <= now) => {
                Permit::Wait(unchanged(self.without_lease(), before))
            }
            Ok(()) => Permit::Run(lease),
            Err(why) => Permit::Wait(unchanged(why, before)),
        };
        Verdict { permit, is_contested }
    }

    /// Why the listener may not run; `Ok` if it may.
    fn permit(
        &self,
        listener: &str,
        contenders: &[Contender],
        before: &Permit,
    ) -> Result<(), WhyNot> {
        let Some(confirmed) = &self.confirmed else {
            return Err(match &self.trouble {
                Some(trouble) => trouble.clone(),
                None => why_not(ListenerState::Starting, None),
            });
        };
        if !self.wins(contenders) {
            return Err(self.elsewhere(contenders));
        }
        // As long as the lease is renewed in time nobody else has begun.
        let goes_on = matches!(before, Permit::Run(_)) && !confirmed.is_late;
        let holders = self.holders(listener);
        match (goes_on, holders.is_empty()) {
            (true, _) => Ok(()),
            (false, true) if self.is_told_to_hold(listener) => Ok(()),
            (false, true) => Err(why_not(ListenerState::Starting, None)),
            (false, false) => Err(hand_over(&holders)),
        }
    }

    /// Whether all know that we hold a listener: what we wrote says it, as far as the others may
    /// have read.
    fn is_told_to_hold(&self, listener: &str) -> bool {
        let written = self.confirmed.iter().chain(self.unread.values());
        self.confirmed.is_some() && written.into_iter().all(|one| one.entry.holds(listener))
    }

    /// This node, and all others that were seen, also those that are gone.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = ShownNode<'_>> {
        let now = Instant::now();
        let left = move |end: Instant| end.saturating_duration_since(now).as_secs_f64();
        let renewed = self.confirmed.as_ref().map(|confirmed| confirmed.began + self.lease());
        let ours = ShownNode {
            id: &self.id,
            entry: &self.own,
            is_this: true,
            lease_seconds: renewed.map_or(0.0, left),
        };
        let others = self.others.iter().map(move |(id, node)| ShownNode {
            id,
            entry: &node.entry,
            is_this: false,
            lease_seconds: left(node.ends()),
        });
        std::iter::once(ours).chain(others)
    }

    /// When our lease ends, as far as it is known to be renewed; what runs needs a moment to end.
    fn lease_end(&self) -> Option<Moment> {
        let confirmed = self.confirmed.as_ref()?;
        Some(confirmed.began_on_clock.after(self.lease() - self.lease() / 20))
    }

    /// How long it is until our lease ends.
    pub(super) fn lease_left(&self) -> Option<Duration> {
        self.lease_end().map(Moment::left).filter(|left| !left.is_zero())
    }

    fn without_lease(&self) -> WhyNot {
        self.trouble.clone().unwrap_or_else(|| {
            let message = "the lease of this node has ended, and is not renewed yet";
            let remedy = "see why this node was not heard of for so long";
            why_not(ListenerState::BusAway, Some(Problem::new(message, remedy)))
        })
    }

    fn wins(&self, contenders: &[Contender]) -> bool {
        contenders.first().is_some_and(|first| first.environment == self.own.environment)
    }

    /// The environments that have a listener, the one that runs it first.
    pub(crate) fn contenders(&self, listener: &str) -> Vec<Contender> {
        let others = self.living().map(|(_, entry)| entry);
        decide::contenders(listener, others.chain([&self.own]))
    }

    /// All that was written before is known.
    fn read_up_to(&self) -> Option<Instant> {
        self.confirmed.as_ref().map(|confirmed| confirmed.began)
    }

    /// The other nodes that are alive, as far as we have read.
    pub(crate) fn living(&self) -> impl Iterator<Item = (&str, &NodeEntry)> {
        let at = self.read_up_to();
        let nodes = self.others.iter().filter(move |(_, node)| node.lives(at));
        nodes.map(|(id, node)| (id.as_str(), &node.entry))
    }

    /// The nodes of other environments that hold a listener.
    fn holders(&self, listener: &str) -> Vec<String> {
        let others = self.living().filter(|(_, entry)| {
            entry.environment != self.own.environment && entry.holds(listener)
        });
        others.map(|(id, entry)| format!("{id} ({})", entry.environment)).collect()
    }

    fn elsewhere(&self, contenders: &[Contender]) -> WhyNot {
        let message = match contenders.first() {
            Some(first) => {
                format!("{} runs this listener: {}", first.environment, decide::why(contenders))
            }
            None => "this node gives the listener up".to_owned(),
        };
        let remedy = "nothing to do; to run it here, give it the greater `version` here";
        why_not(ListenerState::Elsewhere, Some(Problem::new(message, remedy)))
    }
}

fn hand_over(holders: &[String]) -> WhyNot {
    let message = format!("the listener begins here when it has ended at {}", holders.join(", "));
    let remedy = "wait: running calls end first; a node that is gone is waited for until its lease \
                  has ended";
    why_not(ListenerState::Starting, Some(Problem::new(message, remedy)))
}

fn why_not(state: ListenerState, problem: Option<Problem>) -> WhyNot {
    WhyNot { state, problem }
}

/// The earlier reason, if it is the same: so that its time stays.
fn unchanged(why: WhyNot, before: &Permit) -> WhyNot {
    let message = |why: &WhyNot| why.problem.as_ref().map(|problem| problem.message.clone());
    match before {
        Permit::Wait(earlier)
            if (earlier.state, message(earlier)) == (why.state, message(&why)) =>
        {
            earlier.clone()
        }
        _ => why,
    }
}

#[cfg(test)]
mod tests;
