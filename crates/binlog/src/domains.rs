//! The GTID position of MariaDB: the last transaction of each domain.
//!
//! A domain is one line of history: with `gtid_strict_mode` its numbers only grow. So a position
//! means all transactions up to it, and positions can be compared by their numbers. There is one
//! exception: if a server took over without the last transactions of another, the same numbers are
//! used twice. So for what a server has executed, we also know the last transaction of each writer.
//!
//! Source: "Global Transaction ID" in the MariaDB manual.

use std::{collections::BTreeMap, fmt};

use super::gtid::DomainGtid;

/// For each domain, a stretch of its history. What a server has executed begins with the domain's
/// first transaction. A difference of two begins after the last transaction of the one that was
/// subtracted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Domains(BTreeMap<u32, DomainStretch>);

/// The transactions of a domain after one transaction, up to and with another.
#[derive(Clone, Debug, PartialEq, Eq)]
struct DomainStretch {
    /// `None`: from the first transaction on.
    after: Option<DomainGtid>,
    last: DomainGtid,
    /// The number of the last transaction of each writer, by `server_id`; empty if it is not known.
    writers: BTreeMap<u32, u64>,
}

impl DomainStretch {
    /// The number of the transaction before the stretch; 0 where there is none.
    fn start(&self) -> u64 {
        self.after.map_or(0, |after| after.sequence)
    }

    /// The part of the stretch that is not in `taken`, on the number line of the domain:
    ///
    /// ```text
    /// self              (------------]
    /// taken       (--]  |            |          all of it: taken lies before it
    /// taken             |            |  (--]    all of it: taken lies after it
    /// taken       (----------]       |          the end:         (-------]
    /// taken             |      (----------]     the beginning:   (------]
    /// taken       (-----------------------]     nothing
    /// ```
    ///
    /// `taken` never lies in the middle. It begins with the domain's first transaction; or it is a
    /// difference, and ends where `self` ends or later.
    fn minus(&self, taken: &Self) -> Option<Self> {
        if self.last.sequence <= self.start() {
            return None;
        }
        if let Some(common) = taken.fork(self) {
            return Some(self.after(common));
        }
        let is_apart = taken.last.sequence <= self.start() || self.last.sequence <= taken.start();
        if is_apart {
            return Some(self.clone());
        }
        if taken.last.sequence < self.last.sequence {
            return Some(self.after(taken.last));
        }
        self.up_to(taken.after?)
    }

    /// The part after a transaction.
    fn after(&self, gtid: DomainGtid) -> Self {
        if gtid.sequence <= self.start() {
            return self.clone();
        }
        Self { after: Some(gtid), ..self.clone() }
    }

    /// The part up to and with a transaction.
    fn up_to(&self, last: DomainGtid) -> Option<Self> {
        (last.sequence > self.start()).then(|| Self { last, ..self.clone() })
    }

    /// Two servers wrote under the same numbers, and `other` ends on a line of history that `self`
    /// does not have. The fork is the last transaction of that line that `self` has too, as far as
    /// the writer of `other`'s last transaction shows it. Transactions of other writers may follow
    /// on the common line: they are read again, and none is left out.
    fn fork(&self, other: &Self) -> Option<DomainGtid> {
        let sequence = *self.writers.get(&other.last.server_id)?;
        (sequence < other.last.sequence).then_some(DomainGtid { sequence, ..other.last })
    }
}

impl Domains {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The number of transactions, if no number was left out.
    pub(crate) fn count(&self) -> u64 {
        let counts = self.0.values().map(|it| it.last.sequence.saturating_sub(it.start()));
        counts.fold(0, u64::saturating_add)
    }

    /// Whether a transaction is in its domain's stretch.
    pub(crate) fn contains(&self, gtid: &DomainGtid) -> bool {
        let stretch = self.0.get(&gtid.domain);
        stretch.is_some_and(|it| it.start() < gtid.sequence && gtid.sequence <= it.last.sequence)
    }

    /// Whether its domain's stretch begins with this transaction or before it.
    pub(crate) fn begins_by(&self, gtid: &DomainGtid) -> bool {
        self.0.get(&gtid.domain).is_some_and(|stretch| stretch.start() < gtid.sequence)
    }

    /// Adds a transaction, the next of its domain.
    pub(crate) fn add(&mut self, gtid: DomainGtid) {
        let new = || DomainStretch { after: None, last: gtid, writers: BTreeMap::new() };
        self.0.entry(gtid.domain).or_insert_with(new).last = gtid;
    }

    /// For what a server has executed: notes the last transaction of a writer in its domain.
    pub(crate) fn note_writer(&mut self, last: DomainGtid) {
        if let Some(stretch) = self.0.get_mut(&last.domain) {
            stretch.writers.insert(last.server_id, last.sequence);
        }
    }

    /// The transactions of `self` that are not in `other`.
    pub(crate) fn minus(&self, other: &Self) -> Self {
        let left = self.0.iter().filter_map(|(domain, stretch)| {
            let left = match other.0.get(domain) {
                Some(taken) => stretch.minus(taken),
                None => Some(stretch.clone()),
            };
            left.map(|left| (*domain, left))
        });
        Self(left.collect())
    }

    /// One `domain-server-sequence`, if the text is of that form.
    pub(crate) fn parse_part(&mut self, part: &str) -> Option<()> {
        let gtid: DomainGtid = part.parse().ok()?;
        let twice = self.0.contains_key(&gtid.domain);
        self.add(gtid);
        (!twice).then_some(())
    }
}

impl fmt::Display for Domains {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, stretch) in self.0.values().enumerate() {
            write!(out, "{}{}", if n > 0 { "," } else { "" }, stretch.last)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::{gtid::Gtid, gtid_set::GtidSet};

    fn set(text: &str) -> GtidSet {
        text.parse().unwrap()
    }

    #[test]
    fn a_position_is_one_transaction_of_each_domain() {
        for (text, printed) in [("0-1-5", "0-1-5"), (" 7-2-1, 0-1-5", "0-1-5,7-2-1"), ("", "")] {
            assert_eq!(set(text).to_string(), printed);
        }
        for text in ["0-1", "0-1-", "0-1-5-6", "0-1-x", "0-1-5,0-1-6", "+0-1-5", "4294967296-1-1"] {
            assert!(text.parse::<GtidSet>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_transaction_moves_its_own_domain_only() {
        let mut position = set("0-1-5,7-2-1");
        for (gtid, printed) in
            [("0-3-6", "0-3-6,7-2-1"), ("7-2-2", "0-3-6,7-2-2"), ("9-1-1", "0-3-6,7-2-2,9-1-1")]
        {
            position.add(&Gtid::Mariadb(gtid.parse().unwrap()));
            assert_eq!(position.to_string(), printed);
        }
    }

    #[test]
    fn a_difference_is_what_only_one_side_has() {
        let read = set("0-1-10,1-1-3");
        for (executed, lost, count) in [
            ("0-1-10,1-1-3", "", 0),
            ("0-1-11,1-1-3,2-1-1", "", 0),
            ("0-1-7,1-1-3", "0-1-10", 3),
            ("0-1-10", "1-1-3", 3),
            ("", "0-1-10,1-1-3", 13),
        ] {
            let difference = read.minus(&set(executed));
            assert_eq!((difference.to_string().as_str(), difference.count()), (lost, count));
        }
        // A domain in which nothing happened yet.
        assert!(set("0-1-0").minus(&set("0-1-0")).is_empty());
    }

    #[test]
    fn without_what_was_lost_the_position_is_what_both_have() {
        let (read, executed) = (set("0-1-10,1-1-3"), set("0-2-7,5-5-5"));
        let lost = read.minus(&executed);
        assert_eq!(read.minus(&lost).to_string(), "0-2-7");
    }

    /// What a server has executed, by its `gtid_binlog_pos` and its `gtid_binlog_state`.
    fn executed(position: &str, state: &str) -> GtidSet {
        let mut executed = set(position);
        state.split(',').for_each(|last| executed.note_writer(last.parse().unwrap()));
        executed
    }

    #[test]
    fn what_another_wrote_under_the_same_numbers_is_not_what_we_read() {
        let state = "0-1-7,0-2-12";
        for (read, lost, left) in [
            ("0-1-10", "0-1-10", "0-1-7"),
            ("0-1-7", "", "0-1-7"),
            ("0-2-12", "", "0-2-12"),
            ("0-2-13", "0-2-13", "0-2-12"),
            // If the writer is not known, the numbers decide.
            ("0-3-11", "", "0-3-11"),
            ("0-3-14", "0-3-14", "0-2-12"),
        ] {
            let read = set(read);
            let difference = read.minus(&executed("0-2-12", state));
            assert_eq!(difference.to_string(), lost, "{read}");
            assert_eq!(read.minus(&difference).to_string(), left, "{read}");
        }
        assert_eq!(set("0-1-10").minus(&executed("0-2-12", state)).count(), 3);
    }

    #[test]
    fn a_difference_of_two_holds_what_lies_between_them() {
        let gtid = |text: &str| text.parse().unwrap();
        let read = set("0-1-10,4-1-2");
        let lost = read.minus(&set("0-1-7"));
        for (text, is_lost, begins) in [
            ("0-1-7", false, false),
            ("0-1-8", true, true),
            ("0-2-10", true, true),
            ("0-1-11", false, true),
            ("4-1-1", true, true),
            ("4-1-3", false, true),
            ("5-1-1", false, false),
        ] {
            assert_eq!(lost.contains(&Gtid::Mariadb(gtid(text))), is_lost, "{text}");
            assert_eq!(lost.begins_by(&gtid(text)), begins, "{text}");
        }
        assert!(read.contains(&Gtid::Mariadb(gtid("0-9-1"))) && read.begins_by(&gtid("0-9-1")));
    }
}
