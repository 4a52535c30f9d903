//! GTID sets of MySQL: `uuid[:tag]:1-5:7,…`, kept interval by interval; and the equivalent of
//! MariaDB, a position in each domain: `0-1-5,…`.
//!
//! The text form is that of the manuals ("GTID Format and Storage", "Global Transaction ID").

use std::{fmt, str::FromStr};

use super::{
    domains::Domains,
    gtid::{DomainGtid, Gtid, GtidOrigin, parse_tag, parse_uuid},
    intervals::Intervals,
};

/// A set of transactions. A set has transactions of MySQL or of MariaDB, not of both.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GtidSet {
    /// Those of MySQL, sorted by origin; no entry is empty.
    entries: Vec<(GtidOrigin, Intervals)>,
    /// Those of MariaDB.
    domains: Domains,
}

impl GtidSet {
    /// Whether it holds no transaction.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.domains.is_empty()
    }

    /// How many transactions it holds.
    pub fn count(&self) -> u64 {
        let counts = self.entries.iter().map(|(_, intervals)| intervals.count());
        counts.fold(self.domains.count(), u64::saturating_add)
    }

    /// Adds one transaction.
    pub fn add(&mut self, gtid: &Gtid) {
        let (uuid, tag, gno) = match gtid {
            Gtid::Mysql { uuid, tag, gno } => (*uuid, tag.as_deref().unwrap_or_default(), *gno),
            Gtid::Mariadb(gtid) => return self.domains.add(*gtid),
        };
        // There are few origins, and most transactions have the same: a scan is faster than a tree.
        let known = self.entries.iter_mut().find(|(origin, _)| origin.is(uuid, tag));
        match known {
            Some((_, intervals)) => intervals.add(gno, gno),
            None => self.add_interval(&GtidOrigin { uuid, tag: tag.to_owned() }, gno, gno),
        }
    }

    /// Whether it holds a transaction.
    pub fn contains(&self, gtid: &Gtid) -> bool {
        if let Gtid::Mariadb(gtid) = gtid {
            return self.domains.contains(gtid);
        }
        let mut one = Self::default();
        one.add(gtid);
        one.minus(self).is_empty()
    }

    /// For what a MariaDB has executed: notes the last transaction of a writer in its domain.
    pub fn note_writer(&mut self, last: DomainGtid) {
        self.domains.note_writer(last);
    }

    /// Whether it is from MariaDB: a position in each domain, which has no gaps.
    pub fn has_domains(&self) -> bool {
        !self.domains.is_empty()
    }

    /// Whether it holds this transaction of MariaDB, or an earlier one of the same domain.
    pub fn begins_by(&self, gtid: &DomainGtid) -> bool {
        self.domains.begins_by(gtid)
    }

    /// The transactions of `self` that are not in `other`.
    pub fn minus(&self, other: &Self) -> Self {
        let entries = self.entries.iter().filter_map(|(origin, intervals)| {
            let left = match other.find(origin) {
                Some(taken) => intervals.minus(taken),
                None => intervals.clone(),
            };
            (!left.is_empty()).then(|| (origin.clone(), left))
        });
        Self { entries: entries.collect(), domains: self.domains.minus(&other.domains) }
    }

    /// The intervals of MySQL's transactions by origin, both ends inclusive.
    pub fn intervals(&self) -> impl Iterator<Item = (&GtidOrigin, &[(u64, u64)])> {
        self.entries.iter().map(|(origin, intervals)| (origin, intervals.as_slice()))
    }

    fn find(&self, origin: &GtidOrigin) -> Option<&Intervals> {
        self.entries.iter().find(|(known, _)| known == origin).map(|(_, intervals)| intervals)
    }

    fn add_interval(&mut self, origin: &GtidOrigin, first: u64, last: u64) {
        if let Some((_, intervals)) = self.entries.iter_mut().find(|(known, _)| known == origin) {
            intervals.add(first, last);
            return;
        }
        let at = self.entries.partition_point(|(known, _)| known < origin);
        self.entries.insert(at, (origin.clone(), Intervals::one(first, last)));
    }
}

impl GtidSet {
    /// Reads the body of a PREVIOUS_GTIDS event: the binary form, with or without tags (see
    /// `Gtid_set::encode` in the server's source). `None` when the body is damaged.
    pub fn decode(body: &[u8]) -> Option<Self> {
        let mut set = Self::default();
        let (count, mut rest) = body.split_first_chunk::<8>()?;
        // The tagged form has its number, 1, in the first byte and in the last, and the count
        // between.
        let tagged = count[7] == 1;
        let count = u64::from_le_bytes(*count);
        let count = if tagged { (count << 8) >> 16 } else { count };
        for _ in 0..count {
            let (uuid, after) = rest.split_first_chunk::<16>()?;
            rest = after;
            let mut tag = "";
            if tagged {
                // A variable-length integer; a tag's length always fits into its one-byte form.
                let (length, after) = rest.split_first()?;
                let (text, after) = after.split_at_checked(usize::from(length >> 1))?;
                (tag, rest) = (std::str::from_utf8(text).ok()?, after);
            }
            let origin = GtidOrigin { uuid: *uuid, tag: tag.to_owned() };
            rest = set.decode_intervals(&origin, rest)?;
        }
        rest.is_empty().then_some(set)
    }

    /// Reads one origin's intervals, whose ends are exclusive, and returns the bytes after them.
    fn decode_intervals<'a>(&mut self, origin: &GtidOrigin, bytes: &'a [u8]) -> Option<&'a [u8]> {
        let (count, mut rest) = bytes.split_first_chunk::<8>()?;
        for _ in 0..u64::from_le_bytes(*count) {
            let (first, after) = rest.split_first_chunk::<8>()?;
            let (end, after) = after.split_first_chunk::<8>()?;
            let (first, end) = (u64::from_le_bytes(*first), u64::from_le_bytes(*end));
            if first == 0 || end <= first {
                return None;
            }
            self.add_interval(origin, first, end.saturating_sub(1));
            rest = after;
        }
        Some(rest)
    }
}

impl FromIterator<DomainGtid> for GtidSet {
    /// The position after these transactions: the last of each domain.
    fn from_iter<I: IntoIterator<Item = DomainGtid>>(gtids: I) -> Self {
        let mut set = Self::default();
        gtids.into_iter().for_each(|gtid| set.domains.add(gtid));
        set
    }
}

impl fmt::Display for GtidSet {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut before: Option<&GtidOrigin> = None;
        for (origin, intervals) in &self.entries {
            match before {
                Some(known) if known.uuid == origin.uuid => write!(out, ":{}", origin.tag)?,
                Some(_) => write!(out, ",{origin}")?,
                None => write!(out, "{origin}")?,
            }
            before = Some(origin);
            for (first, last) in intervals.as_slice() {
                write!(out, ":{first}")?;
                if first != last {
                    write!(out, "-{last}")?;
                }
            }
        }
        let between = if self.entries.is_empty() || self.domains.is_empty() { "" } else { "," };
        write!(out, "{between}{}", self.domains)
    }
}

impl FromStr for GtidSet {
    type Err = InvalidGtidSet;

    fn from_str(text: &str) -> Result<Self, InvalidGtidSet> {
        let mut set = Self::default();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            set.parse_part(part).ok_or_else(|| InvalidGtidSet(part.to_owned()))?;
        }
        Ok(set)
    }
}

impl GtidSet {
    /// One `uuid:1-5:tag:7` or `domain-server-sequence` of a set.
    fn parse_part(&mut self, part: &str) -> Option<()> {
        if !part.contains(':') {
            return self.domains.parse_part(part);
        }
        let mut fields = part.split(':').map(str::trim);
        let uuid = parse_uuid(fields.next()?)?;
        let mut origin = GtidOrigin { uuid, tag: String::new() };
        let mut is_empty = true;
        for field in fields {
            if field.starts_with(|c: char| c.is_ascii_digit()) {
                let (first, last) = field.split_once('-').unwrap_or((field, field));
                let (first, last) = (first.parse().ok()?, last.parse().ok()?);
                if first == 0 || first > last || last >= i64::MAX as u64 {
                    return None;
                }
                self.add_interval(&origin, first, last);
                is_empty = false;
            } else {
                origin.tag = parse_tag(field)?;
            }
        }
        (!is_empty).then_some(())
    }
}

/// A text that is not a GTID set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not part of a GTID set (uuid:1-5:7,…; on MariaDB domain-server-sequence,…)")]
pub struct InvalidGtidSet(String);

impl FromStr for Gtid {
    type Err = InvalidGtidSet;

    /// Reads one GTID, `uuid[:tag]:number` or `domain-server-sequence`.
    fn from_str(text: &str) -> Result<Self, InvalidGtidSet> {
        if let Ok(gtid) = text.parse() {
            return Ok(Self::Mariadb(gtid));
        }
        let set: GtidSet = text.parse()?;
        let mut origins = set.intervals();
        match (origins.next(), origins.next()) {
            (Some((origin, [(first, last)])), None) if first == last => {
                let tag = (!origin.tag.is_empty()).then(|| origin.tag.clone().into());
                Ok(Self::Mysql { uuid: origin.uuid, tag, gno: *first })
            }
            _ => Err(InvalidGtidSet(text.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";
    const B: &str = "4e11fa47-71ca-11e1-9e33-c80aa9429562";

    fn set(text: &str) -> GtidSet {
        text.parse().unwrap()
    }

    #[test]
    fn what_is_read_is_printed_in_mysqls_own_form() {
        let cases = [
            (String::new(), String::new()),
            (format!("{A}:1-5:7"), format!("{A}:1-5:7")),
            (format!("{A}:7:1-5:6"), format!("{A}:1-7")),
            (format!("{B}:1,\n {A}:3"), format!("{A}:3,{B}:1")),
            (format!("{A}:1:Blue:4-5:6"), format!("{A}:1:blue:4-6")),
            (A.to_uppercase() + ":9-9", format!("{A}:9")),
        ];
        for (text, printed) in cases {
            assert_eq!(set(&text).to_string(), printed);
        }
    }

    #[test]
    fn what_is_not_a_set_is_refused_with_the_part_that_is_wrong() {
        for text in ["x", A, &format!("{A}:0"), &format!("{A}:5-4"), &format!("{A}:1-"), "a:1"] {
            assert!(text.parse::<GtidSet>().is_err(), "{text}");
        }
        let error = format!("{A}:1,rubbish").parse::<GtidSet>().unwrap_err();
        assert!(error.to_string().contains("\"rubbish\""));
    }

    #[test]
    fn one_gtid_is_not_a_set() {
        let gtid: Gtid = format!("{A}:blue:7").parse().unwrap();
        assert_eq!(gtid.to_string(), format!("{A}:blue:7"));
        assert!(format!("{A}:1-2").parse::<Gtid>().is_err());
        assert!(A.parse::<Gtid>().is_err());
    }

    #[test]
    fn gaps_are_kept_and_filled() {
        let mut gaps = set(&format!("{A}:1-2:5-6:9"));
        let uuid = parse_uuid(A).unwrap();
        for (gno, printed) in [(3, "1-3:5-6:9"), (7, "1-3:5-7:9"), (4, "1-7:9"), (8, "1-9")] {
            gaps.add(&Gtid::Mysql { uuid, tag: None, gno });
            assert_eq!(gaps.to_string(), format!("{A}:{printed}"));
        }
    }

    #[test]
    fn transactions_are_counted() {
        assert_eq!(set("").count(), 0);
        assert_eq!(set(&format!("{A}:1-10:20:blue:5,{B}:7-9")).count(), 15);
    }

    #[test]
    fn a_difference_is_exact() {
        let left = set(&format!("{A}:1-10:20-30,{B}:1"));
        let cases = [
            ("", format!("{A}:1-10:20-30,{B}:1")),
            ("5", format!("{A}:1-4:6-10:20-30,{B}:1")),
            ("1-30", format!("{B}:1")),
            ("3-25", format!("{A}:1-2:26-30,{B}:1")),
            ("1-3:9-22:30", format!("{A}:4-8:23-29,{B}:1")),
        ];
        for (taken, rest) in cases {
            let taken = if taken.is_empty() { set("") } else { set(&format!("{A}:{taken}")) };
            assert_eq!(left.minus(&taken).to_string(), rest);
        }
        assert!(set(&format!("{A}:2-3")).minus(&left).is_empty());
        assert!(!set(&format!("{A}:10-11")).minus(&left).is_empty());
        assert!(!set(&format!("{A}:blue:2")).minus(&left).is_empty());
    }

    #[test]
    fn random_sets_agree_with_sets_of_numbers() {
        let seed: u64 = rand::random();
        println!("seed {seed}");
        let mut random = <rand::rngs::StdRng as rand::SeedableRng>::seed_from_u64(seed);
        for _ in 0..300 {
            let mut sets = [GtidSet::default(), GtidSet::default()];
            let mut plain = [std::collections::BTreeSet::new(), std::collections::BTreeSet::new()];
            for _ in 0..40 {
                let side = rand::RngExt::random_range(&mut random, 0..2_usize);
                let number = rand::RngExt::random_range(&mut random, 1..40_u64);
                sets[side].add(&Gtid::Mysql { uuid: [7; 16], tag: None, gno: number });
                plain[side].insert(number);
            }
            let mut expected = GtidSet::default();
            for number in plain[0].difference(&plain[1]) {
                expected.add(&Gtid::Mysql { uuid: [7; 16], tag: None, gno: *number });
            }
            assert_eq!(sets[0].minus(&sets[1]), expected);
            assert_eq!(set(&sets[0].to_string()), sets[0]);
        }
    }
}
