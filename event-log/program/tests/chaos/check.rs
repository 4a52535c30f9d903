//! What must be so in the end: told from the log and from what each part wrote down. No I/O.

use std::collections::{BTreeMap, HashMap};

/// What one producer is named in its records: `NAME LIFE NUMBER`; within a life numbers grow.
#[derive(Clone, Debug, Default)]
pub(super) struct Produced {
    pub(super) name: String,
    /// Life, and the first and the last number, of what was acknowledged.
    pub(super) acknowledged: Vec<(u64, u64, u64)>,
}

/// A call of something that gets records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Call {
    /// Whether it said that the records are done.
    pub(super) is_done: bool,
    pub(super) ids: Vec<String>,
}

/// What a member of a group noted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Noted {
    Assigned { member: u64, position: u64 },
    Got(Call),
    Committed { member: u64, offset: u64 },
}

/// The log at its end: the id of each record, in order.
pub(super) struct Records {
    ids: Vec<String>,
    places: HashMap<String, usize>,
}

impl Records {
    /// No record may be there twice.
    pub(super) fn new(ids: Vec<String>) -> Result<Self, String> {
        let mut places = HashMap::new();
        for (place, id) in ids.iter().enumerate() {
            if let Some(before) = places.insert(id.clone(), place) {
                return Err(format!("{id} is in the log twice, as record {before} and {place}"));
            }
        }
        Ok(Self { ids, places })
    }

    pub(super) fn len(&self) -> usize {
        self.ids.len()
    }

    /// All that was acknowledged is there, and what is there of each producer is in its order.
    pub(super) fn has(&self, producers: &[Produced]) -> Result<(), String> {
        let mut last: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
        for id in &self.ids {
            let (name, place) = parts(id).ok_or_else(|| format!("nobody sent {id:?}"))?;
            if !producers.iter().any(|producer| producer.name == name) {
                return Err(format!("nobody sent {id:?}"));
            }
            if let Some(before) = last.insert(name, place)
                && before >= place
            {
                return Err(format!("{id} comes after {name} {} {}", before.0, before.1));
            }
        }
        for Produced { name, acknowledged } in producers {
            for (life, first, end) in acknowledged {
                for number in *first..=*end {
                    let id = format!("{name} {life} {number}");
                    if !self.places.contains_key(&id) {
                        return Err(format!("{id} was acknowledged and is not in the log"));
                    }
                }
            }
        }
        Ok(())
    }

    /// Each record was done, first after the one before it; no call goes past one that failed.
    pub(super) fn came<'a>(&self, calls: impl IntoIterator<Item = &'a Call>) -> Result<(), String> {
        let mut next = 0;
        for (number, call) in calls.into_iter().enumerate() {
            let first = call.ids.first().ok_or_else(|| format!("call {number} is empty"))?;
            let at = self.places.get(first);
            let at = *at.ok_or_else(|| format!("call {number}: {first} is not in the log"))?;
            if at > next {
                let missing = &self.ids[next];
                return Err(format!("call {number} begins with {first} before {missing} was done"));
            }
            let expected = self.ids.get(at..at + call.ids.len()).unwrap_or_default();
            if expected != call.ids {
                return Err(format!("call {number} from {first} has not what the log has there"));
            }
            if call.is_done {
                next = next.max(at + call.ids.len());
            }
        }
        match self.ids.get(next) {
            Some(missing) => Err(format!("{missing} never came")),
            None => Ok(()),
        }
    }

    /// A group got each record in order, and no commit that was answered was taken back.
    pub(super) fn was_read(&self, noted: &[Noted]) -> Result<(), String> {
        let calls = noted.iter().filter_map(|noted| match noted {
            Noted::Got(call) => Some(call),
            _ => None,
        });
        self.came(calls)?;
        let mut committed: BTreeMap<u64, u64> = BTreeMap::new();
        for one in noted {
            if let Noted::Committed { member, offset } = one {
                let known = committed.entry(*member).or_default();
                *known = (*known).max(*offset);
            }
        }
        for one in noted {
            let Noted::Assigned { member, position } = one else { continue };
            // Members become active in the order of their ids.
            if let Some((other, offset)) =
                committed.range(..member).find(|(_, offset)| *offset > position)
            {
                return Err(format!(
                    "member {member} began at {position}, but {other} had committed {offset}"
                ));
            }
        }
        Ok(())
    }
}

/// Producer, life and number of an id.
fn parts(id: &str) -> Option<(&str, (u64, u64))> {
    let mut parts = id.split(' ');
    let name = parts.next()?;
    let place = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    Some((name, place))
}

/// Files of a day, with their content.
pub(super) type DayFiles = BTreeMap<String, Vec<u8>>;
/// Days of a stream.
pub(super) type Days = BTreeMap<String, DayFiles>;

/// Days that had their `finish` have not changed since.
pub(super) fn unchanged(seen: &Days, now: &Days) -> Result<(), String> {
    for (day, files) in seen.iter().filter(|(_, files)| files.contains_key("finish")) {
        let later = now.get(day).ok_or_else(|| format!("day {day} is gone"))?;
        same_files(day, files, later).map_err(|problem| format!("was finished, but {problem}"))?;
    }
    Ok(())
}

/// Two directories hold the same, byte for byte.
pub(super) fn same(one: &Days, other: &Days) -> Result<(), String> {
    let names = |days: &Days| days.keys().cloned().collect::<Vec<_>>();
    if names(one) != names(other) {
        return Err(format!("days {:?} and {:?}", names(one), names(other)));
    }
    one.iter().try_for_each(|(day, files)| same_files(day, files, &other[day]))
}

fn same_files(day: &str, one: &DayFiles, other: &DayFiles) -> Result<(), String> {
    let names = |files: &DayFiles| files.keys().cloned().collect::<Vec<_>>();
    if names(one) != names(other) {
        return Err(format!("day {day} has {:?} and {:?}", names(one), names(other)));
    }
    for (name, bytes) in one {
        let differ = bytes.iter().zip(&other[name]).position(|(one, other)| one != other);
        let lengths = (bytes.len(), other[name].len());
        if differ.is_some() || lengths.0 != lengths.1 {
            return Err(format!("{day}/{name} differs at {differ:?}, lengths {lengths:?}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(ids: &[&str]) -> Records {
        Records::new(ids.iter().map(|id| (*id).to_owned()).collect()).unwrap()
    }

    fn call(is_done: bool, ids: &[&str]) -> Call {
        Call { is_done, ids: ids.iter().map(|id| (*id).to_owned()).collect() }
    }

    fn said<T>(checked: Result<T, String>, text: &str) {
        let problem = checked.err().unwrap_or_else(|| panic!("{text:?} was not noticed"));
        assert!(problem.contains(text), "{problem}");
    }

    #[test]
    fn a_record_that_is_lost_repeated_moved_or_invented_is_noticed() {
        let producers = |last| {
            let acknowledged = vec![(0, 0, last)];
            vec![Produced { name: "a".to_owned(), acknowledged }]
        };
        records(&["a 0 0", "a 0 1", "a 1 0"]).has(&producers(1)).unwrap();
        said(records(&["a 0 0", "a 0 2"]).has(&producers(2)), "a 0 1 was acknowledged");
        said(records(&["a 0 1", "a 0 0"]).has(&producers(1)), "a 0 0 comes after a 0 1");
        said(records(&["a 1 0", "a 0 1"]).has(&[]), "nobody sent");
        said(records(&["a 0 0", "b 0 1"]).has(&producers(0)), "nobody sent");
        said(Records::new(vec!["a 0 0".to_owned(); 2]), "twice");
    }

    #[test]
    fn a_call_that_is_left_out_moved_or_goes_past_a_failure_is_noticed() {
        let log = records(&["a 0 0", "a 0 1", "a 0 2"]);
        let all = [
            call(false, &["a 0 0", "a 0 1"]),
            call(true, &["a 0 0"]),
            call(true, &["a 0 1", "a 0 2"]),
            call(true, &["a 0 2"]),
        ];
        log.came(&all).unwrap();
        said(log.came(&all[..2]), "a 0 1 never came");
        said(log.came(&all[2..]), "before a 0 0 was done");
        said(log.came(&[call(false, &["a 0 0"]), all[2].clone()]), "before a 0 0 was done");
        said(log.came(&[call(true, &["a 0 0", "a 0 2"])]), "not what the log has");
        said(log.came(&[call(true, &["a 0 9"])]), "not in the log");
    }

    #[test]
    fn a_commit_that_is_taken_back_is_noticed() {
        let log = records(&["a 0 0"]);
        let mut noted = vec![
            Noted::Assigned { member: 1, position: 0 },
            Noted::Got(call(true, &["a 0 0"])),
            Noted::Committed { member: 1, offset: 5 },
            Noted::Assigned { member: 2, position: 5 },
        ];
        log.was_read(&noted).unwrap();
        noted.push(Noted::Assigned { member: 3, position: 4 });
        said(log.was_read(&noted), "member 3 began at 4, but 1 had committed 5");
        said(log.was_read(&noted[..1]), "never came");
    }

    #[test]
    fn copies_that_differ_and_a_finished_day_that_grows_are_noticed() {
        let file = |name: &str, bytes: &[u8]| (name.to_owned(), bytes.to_vec());
        let day = |files: &[(String, Vec<u8>)]| {
            Days::from([("20260301".to_owned(), files.iter().cloned().collect())])
        };
        let short = day(&[file("data000000", b"ab"), file("finish", b"")]);
        let long = day(&[file("data000000", b"abc"), file("finish", b"")]);
        let other = day(&[file("data000000", b"ax"), file("finish", b"")]);
        let open = day(&[file("data000000", b"ab")]);
        same(&short, &short).unwrap();
        unchanged(&open, &long).unwrap();
        said(same(&short, &long), "differs at None");
        said(same(&short, &other), "differs at Some(1)");
        said(same(&short, &open), "has [");
        said(same(&short, &Days::new()), "days [");
        said(unchanged(&short, &long), "was finished, but 20260301/data000000");
        said(unchanged(&short, &open), "was finished, but");
        said(unchanged(&short, &Days::new()), "is gone");
    }
}
