//! Which captured tables the last transactions changed: a bounded memory, kept with the checkpoint.
//! It names the tables if a server has lost transactions that we have read.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use binlog::{DomainGtid, Gtid, GtidOrigin, GtidSet, InvalidGtidSet, TablePlan};
use serde::{Deserialize, Serialize};

/// How many tables are remembered: those that changed last. Nearly always only the last second or
/// so is lost, and the checkpoint is written with every append.
const MAX_TABLES: usize = 32;

/// For each table, the last transaction that changed it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Touched {
    /// The table that changed last comes last.
    tables: Vec<(Arc<str>, Gtid)>,
    /// The newest entry that was dropped for lack of room.
    forgotten: Option<Gtid>,
}

/// The tables that some transactions changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TouchedTables {
    /// As `schema.table`, sorted. If `complete`, no changed table is missing.
    pub names: Vec<String>,
    /// Whether these are all.
    pub complete: bool,
}

impl Touched {
    /// A transaction changed a table.
    pub fn note(&mut self, table: &Arc<str>, gtid: &Gtid) {
        // Most transactions change the same tables as the one before.
        let known = self.tables.iter().rposition(|(name, _)| name == table);
        match known {
            Some(at) if at + 1 == self.tables.len() => self.tables[at].1 = gtid.clone(),
            Some(at) => {
                let (name, _) = self.tables.remove(at);
                self.tables.push((name, gtid.clone()));
            }
            None => {
                if self.tables.len() == MAX_TABLES {
                    self.forgotten = Some(self.tables.remove(0).1);
                }
                self.tables.push((Arc::clone(table), gtid.clone()));
            }
        }
    }

    /// The tables that these transactions changed. The answer is exact if they are the last ones of
    /// their origin, as after a crash; otherwise it may name a table too many.
    pub fn tables_of(&self, gtids: &GtidSet) -> TouchedTables {
        let reached = |last: &Gtid| reaches(gtids, last);
        let touched = self.tables.iter().filter(|(_, last)| reached(last));
        let mut names: Vec<String> = touched.map(|(name, _)| name.to_string()).collect();
        names.sort();
        let complete = !self.tables.is_empty() && !self.forgotten.as_ref().is_some_and(reached);
        TouchedTables { names, complete }
    }
}

/// Whether the set has this transaction or an earlier one of the same origin.
fn reaches(gtids: &GtidSet, last: &Gtid) -> bool {
    let (uuid, tag, gno) = match last {
        Gtid::Mysql { uuid, tag, gno } => (uuid, tag.as_deref().unwrap_or_default(), gno),
        Gtid::Mariadb(last) => return gtids.begins_by(last),
    };
    gtids.intervals().any(|(origin, intervals)| {
        let same = origin.uuid == *uuid && origin.tag == tag;
        same && intervals.first().is_some_and(|(first, _)| first <= gno)
    })
}

/// The tables of the transaction that is being read.
#[derive(Debug, Default)]
pub struct Touching {
    gtid: Option<Gtid>,
    tables: Vec<Arc<str>>,
    /// The plan of the row before: most rows are of the same table.
    last: Option<u64>,
    /// By the serial number of the decoder's plan.
    names: HashMap<u64, Arc<str>>,
}

impl Touching {
    /// How many plans' names are remembered; when there are more, all are forgotten and made again.
    const MAX_NAMES: usize = 10_000;

    /// A row of the transaction is in this table.
    pub fn row(&mut self, gtid: Option<&Gtid>, table: &TablePlan) {
        if self.last == Some(table.serial) {
            return;
        }
        self.last = Some(table.serial);
        if self.names.len() >= Self::MAX_NAMES {
            self.names.clear();
        }
        let name = self
            .names
            .entry(table.serial)
            .or_insert_with(|| format!("{}.{}", table.schema, table.table).into());
        if !self.tables.contains(name) {
            self.tables.push(Arc::clone(name));
        }
        if self.gtid.is_none() {
            self.gtid = gtid.cloned();
        }
    }

    /// The transaction's GTID, once one of its rows came.
    pub fn gtid(&self) -> Option<&Gtid> {
        self.gtid.as_ref()
    }

    /// The tables so far.
    pub fn tables(&self) -> impl Iterator<Item = &str> {
        self.tables.iter().map(|name| &**name)
    }

    /// Notes the tables that were changed so far.
    pub fn note_in(&self, touched: &mut Touched) {
        if let Some(gtid) = &self.gtid {
            for table in &self.tables {
                touched.note(table, gtid);
            }
        }
    }

    /// The transaction ended.
    pub fn end(&mut self) {
        self.gtid = None;
        self.tables.clear();
        self.last = None;
    }
}

/// The form of [`Touched`] in the checkpoint: by origin, the number of each table's last
/// transaction.
#[derive(Serialize, Deserialize, Default)]
pub(crate) struct TouchedJson {
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    tables: BTreeMap<String, BTreeMap<String, u64>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    forgotten: Option<String>,
}

impl TouchedJson {
    /// Whether there is nothing to keep.
    pub(crate) fn is_empty(&self) -> bool {
        self.tables.is_empty() && self.forgotten.is_none()
    }
}

impl From<&Touched> for TouchedJson {
    fn from(touched: &Touched) -> Self {
        let mut tables: BTreeMap<String, BTreeMap<String, u64>> = BTreeMap::new();
        for (name, gtid) in &touched.tables {
            let (origin, number) = parts(gtid);
            tables.entry(origin).or_default().insert(name.to_string(), number);
        }
        Self { tables, forgotten: touched.forgotten.as_ref().map(ToString::to_string) }
    }
}

impl TryFrom<TouchedJson> for Touched {
    type Error = InvalidGtidSet;

    fn try_from(json: TouchedJson) -> Result<Self, InvalidGtidSet> {
        let mut tables = Vec::new();
        for (origin, numbers) in json.tables {
            for (name, gno) in numbers {
                tables.push((name.into(), join(&origin, gno)?));
            }
        }
        tables.sort_by_key(|(_, gtid)| parts(gtid).1);
        Ok(Self { tables, forgotten: json.forgotten.as_deref().map(str::parse).transpose()? })
    }
}

/// The origin of a transaction, `uuid[:tag]` or `domain-server`, and its number there.
fn parts(gtid: &Gtid) -> (String, u64) {
    match gtid {
        Gtid::Mysql { uuid, tag, gno } => {
            let tag = tag.as_deref().unwrap_or_default().to_owned();
            (GtidOrigin { uuid: *uuid, tag }.to_string(), *gno)
        }
        Gtid::Mariadb(DomainGtid { domain, server_id, sequence }) => {
            (format!("{domain}-{server_id}"), *sequence)
        }
    }
}

/// The opposite of [`parts`].
fn join(origin: &str, number: u64) -> Result<Gtid, InvalidGtidSet> {
    format!("{origin}-{number}").parse().or_else(|_| format!("{origin}:{number}").parse())
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";
    const B: &str = "4e11fa47-71ca-11e1-9e33-c80aa9429562";

    fn touched(entries: &[(&str, &str)]) -> Touched {
        let mut touched = Touched::default();
        for (table, gtid) in entries {
            touched.note(&Arc::from(*table), &gtid.parse().unwrap());
        }
        touched
    }

    fn names(touched: &Touched, lost: &str) -> (Vec<String>, bool) {
        let TouchedTables { names, complete } = touched.tables_of(&lost.parse().unwrap());
        (names, complete)
    }

    #[test]
    fn the_tables_of_the_last_transactions_are_named() {
        let memory = touched(&[
            ("s.a", &format!("{A}:1")),
            ("s.b", &format!("{A}:2")),
            ("s.c", &format!("{B}:9")),
            ("s.a", &format!("{A}:3")),
            ("s.d", &format!("{A}:blue:3")),
        ]);
        assert_eq!(names(&memory, &format!("{A}:3-5")), (vec!["s.a".to_owned()], true));
        let both = vec!["s.a".to_owned(), "s.b".to_owned()];
        assert_eq!(names(&memory, &format!("{A}:2-5")), (both, true));
        assert_eq!(names(&memory, &format!("{A}:4-5")), (vec![], true));
        assert_eq!(names(&memory, &format!("{A}:blue:1,{B}:1")).0, ["s.c", "s.d"]);
    }

    #[test]
    fn an_answer_says_if_something_was_forgotten() {
        let entries: Vec<(String, String)> =
            (1..=40).map(|n| (format!("s.t{n}"), format!("{A}:{n}"))).collect();
        let borrowed: Vec<(&str, &str)> =
            entries.iter().map(|(table, gtid)| (table.as_str(), gtid.as_str())).collect();
        let memory = touched(&borrowed);
        assert_eq!(
            names(&memory, &format!("{A}:39-40")),
            (vec!["s.t39".into(), "s.t40".into()], true)
        );
        let (named, complete) = names(&memory, &format!("{A}:5-40"));
        assert_eq!((named.len(), complete), (32, false));
        assert!(!Touched::default().tables_of(&format!("{A}:1").parse().unwrap()).complete);
    }

    #[test]
    fn the_tables_of_a_mariadbs_last_transactions_are_named_by_domain() {
        let memory =
            touched(&[("s.a", "0-1-5"), ("s.b", "0-1-6"), ("s.c", "7-1-2"), ("s.d", "0-2-9")]);
        let lost = |read: &str, executed: &str| {
            let set = |text: &str| text.parse::<GtidSet>().unwrap();
            let TouchedTables { names, complete } =
                memory.tables_of(&set(read).minus(&set(executed)));
            (names.join(" "), complete)
        };
        for (read, executed, tables) in [
            ("0-2-9,7-1-2", "0-1-6,7-1-2", "s.d"),
            ("0-2-9,7-1-2", "0-1-5,7-1-2", "s.b s.d"),
            ("0-2-9,7-1-2", "0-2-9", "s.c"),
            ("0-2-9,7-1-2", "0-2-9,7-1-2", ""),
            ("0-2-9,7-1-2", "", "s.a s.b s.c s.d"),
        ] {
            assert_eq!(lost(read, executed), (tables.to_owned(), true), "{read} - {executed}");
        }
        let text = serde_json::to_string(&TouchedJson::from(&memory)).unwrap();
        assert!(text.contains(r#""0-1":{"s.a":5,"s.b":6}"#), "{text}");
        let back = Touched::try_from(serde_json::from_str::<TouchedJson>(&text).unwrap()).unwrap();
        assert_eq!(back.tables_of(&"0-2-9".parse().unwrap()).names, ["s.a", "s.b", "s.d"]);
    }

    #[test]
    fn the_memory_is_read_as_it_was_written() {
        let memory = touched(&[
            ("s.a", &format!("{A}:1")),
            ("s.b", &format!("{A}:blue:7")),
            ("s.c", &format!("{B}:9")),
        ]);
        let text = serde_json::to_string(&TouchedJson::from(&memory)).unwrap();
        let back = Touched::try_from(serde_json::from_str::<TouchedJson>(&text).unwrap()).unwrap();
        assert_eq!(back, memory);
    }
}
