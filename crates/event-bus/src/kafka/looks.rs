//! When a member looks which topics there are: often, or seldom while another part of the program
//! looks for all members.

use std::time::{Duration, Instant};

/// How often a member looks for topics, and how often until all of them are given to somebody.
const EVERY: Duration = Duration::from_secs(5);
const FIRST_EVERY: Duration = Duration::from_secs(1);

/// While somebody else looks: for how long after each report of it this member trusts that, and how
/// often this member still looks itself.
const TOLD_PATIENCE: Duration = Duration::from_secs(20);
const SELDOM_EVERY: Duration = Duration::from_mins(5);

/// How long after news a member looks once more: brokers hear of a topic one after the other.
const NEWS_TIME: Duration = EVERY;

#[derive(Debug, Default)]
pub(super) struct Looks {
    last: Option<Instant>,
    /// None: now.
    next: Option<Instant>,
    seen: TopicsSeen,
    told: Option<SeenByOthers>,
}

/// What somebody else has seen.
#[derive(Clone, Copy, Debug)]
struct SeenByOthers {
    /// Stands for the topics.
    topics: u64,
    since: Instant,
    last: Instant,
}

/// What was found at a look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum TopicsSeen {
    /// There are topics, and perhaps some of their partitions are given to nobody.
    #[default]
    Open,
    /// There are topics, and all of them are given to members of the group.
    Settled,
    /// There is no topic.
    Nothing,
}

impl Looks {
    pub(super) fn are_due(&self, now: Instant) -> bool {
        self.next.is_none_or(|next| now >= next)
    }

    pub(super) fn looked(&mut self, seen: TopicsSeen, now: Instant) {
        (self.last, self.seen) = (Some(now), seen);
        self.next = Some(now + if seen == TopicsSeen::Settled { EVERY } else { FIRST_EVERY });
        self.trust(now);
    }

    /// The next look has to be soon: the brokers may answer again.
    pub(super) fn soon(&mut self, now: Instant) {
        self.next = self.next.map(|next| next.min(now + FIRST_EVERY));
    }

    /// Somebody else has looked.
    pub(super) fn told(&mut self, topics: u64, now: Instant) {
        match &mut self.told {
            Some(told) if told.topics == topics => told.last = now,
            _ => {
                self.told = Some(SeenByOthers { topics, since: now, last: now });
                self.next = None;
            }
        }
        self.trust(now);
    }

    /// Puts the next look off, if this member has looked once more after the news, and somebody
    /// else looks.
    fn trust(&mut self, now: Instant) {
        let (Some(told), Some(last), Some(next)) = (self.told, self.last, self.next) else {
            return;
        };
        if self.seen != TopicsSeen::Open
            && last >= told.since + NEWS_TIME
            && now < told.last + TOLD_PATIENCE
        {
            self.next = Some(next.max((told.last + TOLD_PATIENCE).min(last + SELDOM_EVERY)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_told_looks_seldom_and_at_once_when_something_is_new() {
        let (mut looks, began) = (Looks::default(), Instant::now());
        let at = |seconds| began + Duration::from_secs(seconds);
        assert!(looks.are_due(at(0)));
        looks.looked(TopicsSeen::Open, at(0));
        assert!(looks.are_due(at(1)), "not all is given to somebody");
        looks.looked(TopicsSeen::Settled, at(1));
        assert!(!looks.are_due(at(5)) && looks.are_due(at(6)));
        looks.told(7, at(2));
        assert!(looks.are_due(at(2)), "it may be new");
        looks.looked(TopicsSeen::Settled, at(2));
        looks.told(7, at(6));
        assert!(looks.are_due(at(7)), "this broker may not have heard of it before");
        looks.looked(TopicsSeen::Settled, at(12));
        for second in (12..312).step_by(5) {
            looks.told(7, at(second));
            assert!(!looks.are_due(at(second)));
        }
        assert!(looks.are_due(at(312)), "now and then it looks itself");
        looks.looked(TopicsSeen::Settled, at(312));
        looks.told(7, at(313));
        assert!(!looks.are_due(at(332)) && looks.are_due(at(333)), "nobody says so any more");
        looks.told(8, at(320));
        assert!(looks.are_due(at(320)));
    }

    #[test]
    fn trouble_and_partitions_that_nobody_has_are_looked_at_soon() {
        let (mut looks, now) = (Looks::default(), Instant::now());
        looks.looked(TopicsSeen::Settled, now);
        looks.soon(now);
        assert!(looks.are_due(now + FIRST_EVERY));
        looks.told(7, now);
        looks.looked(TopicsSeen::Open, now);
        looks.told(7, now + NEWS_TIME);
        assert!(looks.are_due(now + NEWS_TIME));
        looks.looked(TopicsSeen::Nothing, now + NEWS_TIME);
        looks.told(7, now + NEWS_TIME);
        assert!(!looks.are_due(now + NEWS_TIME + TOLD_PATIENCE / 2));
    }
}
