//! The book of a producer: how many records each topic was given, counted where they leave for the
//! bus.
//!
//! A *line* of the book is what one reader can count in the same way: the records of one topic and
//! partition, either those for everybody or those for one listener. The first record of a line in
//! each append carries a mark, as the header [`BOOK_HEADER`]: how many records of its line come
//! before it. A reader that counts finds by the next mark whether a record is missing, or is one
//! too many. The book is a part of the checkpoint, so a crash neither loses nor repeats a count.
//!
//! The form of a mark is `ORIGIN:NUMBER`. The origin says when the counts of this topic began, in
//! milliseconds since the Unix epoch. Marks of two origins cannot be compared.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    str::FromStr,
};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use service::clock::now_ms;

use crate::{Batch, Checkpoint, CheckpointChange, Error, Record, Result};

/// The header that carries a [`Mark`].
pub const BOOK_HEADER: &str = "book";

/// The header that names the listener that a record is for.
const ADDRESSEE_HEADER: &str = "listener";

/// So many topics have lines, because the checkpoint is kept in memory. Records of more topics get
/// no marks.
const MAX_TOPICS: usize = 20_000;

/// The checkpoint's keys for the lines of a topic begin with this.
pub const BOOK_PREFIX: &str = "book/";

/// What a producer has given to the bus, by topic.
#[derive(Debug, Default)]
pub struct Book {
    topics: Vec<TopicBook>,
    places: HashMap<String, usize>,
    /// The topic of the record before: most records have the same.
    last: usize,
    /// The number of the append.
    append: u64,
    /// The records of topics without lines that were counted since somebody asked.
    others: BTreeMap<String, u64>,
}

#[derive(Debug)]
struct TopicBook {
    topic: String,
    origin: u64,
    plain: Vec<Line>,
    addressed: BTreeMap<String, Vec<Line>>,
    /// Whether it differs from what the checkpoint has.
    changed: bool,
    /// The records that were counted since somebody asked.
    fresh: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Line {
    records: u64,
    /// The append that carries its last mark.
    marked: u64,
}

/// The lines of one topic, as the checkpoint has them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicLines {
    /// When the counts began, in milliseconds since the Unix epoch.
    pub origin: u64,
    /// Records for everybody, by partition.
    pub plain: Vec<u64>,
    /// Records for one listener, by its name and partition.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub addressed: BTreeMap<String, Vec<u64>>,
}

/// The place of a record in its batch, and its headers with the mark.
pub(crate) type Marked = (usize, Vec<(String, String)>);

/// What a record says of its line: how many records come before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// When the counts began, in milliseconds since the Unix epoch.
    pub origin: u64,
    /// The records of the line before this one.
    pub number: u64,
}

impl fmt::Display for Mark {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}", self.origin, self.number)
    }
}

impl FromStr for Mark {
    type Err = ();

    fn from_str(text: &str) -> std::result::Result<Self, ()> {
        let (origin, number) = text.split_once(':').ok_or(())?;
        let read = |text: &str| text.parse().map_err(|_| ());
        Ok(Self { origin: read(origin)?, number: read(number)? })
    }
}

impl Mark {
    /// The mark among the headers of a record, if it has one that is understood.
    pub fn among(headers: &[(String, String)]) -> Option<Self> {
        let (_, text) = headers.iter().find(|(name, _)| name == BOOK_HEADER)?;
        text.parse().ok()
    }
}

/// The lines that a checkpoint has, by topic.
///
/// # Errors
///
/// [`Error::Internal`], when an entry has another form.
pub fn lines_in(checkpoint: &Checkpoint) -> Result<BTreeMap<String, TopicLines>> {
    let entries = checkpoint.range(BOOK_PREFIX.to_owned()..);
    let read = |(key, value): (&String, &Bytes)| {
        let topic = key.strip_prefix(BOOK_PREFIX)?;
        Some(match serde_json::from_slice(value) {
            Ok(lines) => Ok((topic.to_owned(), lines)),
            Err(error) => Err(Error::Internal(format!("the checkpoint's entry {key}: {error}"))),
        })
    };
    entries.map_while(read).collect()
}

impl Book {
    /// The book that goes on from a checkpoint.
    ///
    /// # Errors
    ///
    /// As [`lines_in`].
    pub fn open(checkpoint: &Checkpoint) -> Result<Self> {
        let mut book = Self::default();
        for (topic, lines) in lines_in(checkpoint)? {
            book.places.insert(topic.clone(), book.topics.len());
            book.topics.push(TopicBook::of(topic, lines));
        }
        Ok(book)
    }

    /// Another append begins: its first record of each line gets a mark.
    pub(crate) fn begin_append(&mut self) {
        self.append += 1;
    }

    /// Counts a record that leaves for the bus; gives the mark that it must carry.
    pub(crate) fn enter(&mut self, record: &Record<'_>, partition: u32) -> Option<Mark> {
        let append = self.append;
        let Some(topic) = self.topic(record.topic) else {
            *self.others.entry(record.topic.to_owned()).or_default() += 1;
            return None;
        };
        topic.changed = true;
        topic.fresh += 1;
        let origin = topic.origin;
        let addressee = record.headers.iter().find(|(name, _)| name == ADDRESSEE_HEADER);
        let lines = match addressee {
            None => &mut topic.plain,
            Some((_, listener)) if topic.addressed.contains_key(listener) => {
                topic.addressed.get_mut(listener)?
            }
            Some((_, listener)) => topic.addressed.entry(listener.clone()).or_default(),
        };
        let at = usize::try_from(partition).ok()?;
        if lines.len() <= at {
            lines.resize(at + 1, Line::default());
        }
        let line = lines.get_mut(at)?;
        let number = line.records;
        line.records += 1;
        (std::mem::replace(&mut line.marked, append) != append).then_some(Mark { origin, number })
    }

    /// Counts all records of a batch as one append; gives the headers of those that get a mark,
    /// with their places in the batch.
    pub(crate) fn enter_all(
        &mut self,
        batch: &Batch,
        partition: impl Fn(&Record<'_>) -> u32,
    ) -> Vec<Marked> {
        self.begin_append();
        let mut marked = Vec::new();
        for (at, record) in batch.records().enumerate() {
            if let Some(mark) = self.enter(&record, partition(&record)) {
                let mark = (BOOK_HEADER.to_owned(), mark.to_string());
                marked.push((at, [record.headers, &[mark]].concat()));
            }
        }
        marked
    }

    /// What the checkpoint must take for the records that were counted since the last call.
    pub(crate) fn take_changes(&mut self) -> Vec<CheckpointChange> {
        let changed = self.topics.iter_mut().filter(|topic| topic.changed);
        changed.map(TopicBook::take_entry).collect()
    }

    /// How many records each topic was given since the last call.
    pub(crate) fn take_fresh(&mut self) -> Vec<(String, u64)> {
        let fresh = self.topics.iter_mut().filter(|topic| topic.fresh > 0);
        let fresh = fresh.map(|topic| (topic.topic.clone(), std::mem::take(&mut topic.fresh)));
        fresh.chain(std::mem::take(&mut self.others)).collect()
    }

    /// The lines of a topic, if there is room for them.
    fn topic(&mut self, name: &str) -> Option<&mut TopicBook> {
        if self.topics.get(self.last).is_none_or(|topic| topic.topic != name) {
            self.last = match self.places.get(name) {
                Some(place) => *place,
                None if self.topics.len() >= MAX_TOPICS => return None,
                None => {
                    let lines = TopicLines { origin: now_ms(), ..TopicLines::default() };
                    self.places.insert(name.to_owned(), self.topics.len());
                    self.topics.push(TopicBook::of(name.to_owned(), lines));
                    self.topics.len() - 1
                }
            };
        }
        self.topics.get_mut(self.last)
    }
}

impl TopicBook {
    fn of(topic: String, lines: TopicLines) -> Self {
        let read = |counts: Vec<u64>| counts.into_iter().map(Line::of).collect();
        let addressed = lines.addressed.into_iter();
        Self {
            topic,
            origin: lines.origin,
            plain: read(lines.plain),
            addressed: addressed.map(|(listener, counts)| (listener, read(counts))).collect(),
            changed: false,
            fresh: 0,
        }
    }

    fn take_entry(&mut self) -> CheckpointChange {
        self.changed = false;
        let counts = |lines: &[Line]| lines.iter().map(|line| line.records).collect();
        let addressed = self.addressed.iter();
        let lines = TopicLines {
            origin: self.origin,
            plain: counts(&self.plain),
            addressed: addressed.map(|(name, lines)| (name.clone(), counts(lines))).collect(),
        };
        // Numbers and names always serialise.
        let value = serde_json::to_vec(&lines).unwrap_or_default();
        (format!("{BOOK_PREFIX}{}", self.topic), Some(value.into()))
    }
}

impl Line {
    fn of(records: u64) -> Self {
        Self { records, marked: 0 }
    }
}

/// The records of a batch, with the headers that [`Book::enter_all`] gave.
pub(crate) fn marked<'a>(
    batch: &'a Batch,
    marks: &'a [Marked],
) -> impl Iterator<Item = Record<'a>> {
    let mut marks = marks.iter().peekable();
    batch.records().enumerate().map(move |(at, record)| match marks.next_if(|mark| mark.0 == at) {
        Some((_, headers)) => Record { headers, ..record },
        None => record,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(records: &[(&str, Option<&str>)]) -> Batch {
        let mut batch = Batch::default();
        for (topic, listener) in records {
            let listener = listener.map(|name| (ADDRESSEE_HEADER.to_owned(), name.to_owned()));
            let headers = listener.map(|header| [header].into());
            batch.push((*topic).into(), headers, 0..0, 0..0);
        }
        batch
    }

    /// The marks of an append: the place of each record that has one, and its number.
    fn marks(book: &mut Book, records: &[(&str, Option<&str>)]) -> Vec<(usize, u64)> {
        let marked = book.enter_all(&batch(records), |_| 0);
        let number = |headers: &[(String, String)]| Mark::among(headers).unwrap().number;
        marked.iter().map(|(at, headers)| (*at, number(headers))).collect()
    }

    fn checkpoint(book: &mut Book) -> Checkpoint {
        let changes = book.take_changes().into_iter();
        changes.filter_map(|(key, value)| Some((key, value?))).collect()
    }

    #[test]
    fn the_first_record_of_each_line_in_an_append_says_how_many_came_before_it() {
        let mut book = Book::default();
        let append = [("a", None), ("a", None), ("b", None), ("a", Some("x")), ("a", None)];
        assert_eq!(marks(&mut book, &append), [(0, 0), (2, 0), (3, 0)]);
        assert_eq!(marks(&mut book, &append), [(0, 3), (2, 1), (3, 1)]);
        assert_eq!(marks(&mut book, &[("a", Some("y"))]), [(0, 0)]);
        assert_eq!(book.take_fresh(), [("a".to_owned(), 9), ("b".to_owned(), 2)]);
        assert_eq!(book.take_fresh(), []);
    }

    #[test]
    fn each_partition_is_a_line() {
        let mut book = Book::default();
        let marked = book.enter_all(&batch(&[("a", None); 4]), |_| 0);
        assert_eq!(marked.len(), 1);
        let record = batch(&[("a", None)]);
        let record = record.records().next().unwrap();
        assert_eq!(book.enter(&record, 2).map(|mark| mark.number), Some(0));
        let lines = lines_in(&checkpoint(&mut book)).unwrap();
        assert_eq!(lines["a"].plain, [4, 0, 1]);
    }

    #[test]
    fn a_book_goes_on_from_its_checkpoint_and_only_changes_are_written() {
        let mut book = Book::default();
        marks(&mut book, &[("a", None), ("a", None), ("b", Some("x"))]);
        let saved = checkpoint(&mut book);
        let origins = |book: &Book| book.topics.iter().map(|it| it.origin).collect::<Vec<_>>();
        let mut again = Book::open(&saved).unwrap();
        assert_eq!(origins(&again), origins(&book));
        assert_eq!(again.take_changes(), []);
        assert_eq!(marks(&mut again, &[("a", None), ("b", Some("x"))]), [(0, 2), (1, 1)]);
        assert_eq!(again.take_changes().len(), 2);
        assert!(Book::open(&[("book/a".to_owned(), "?".into())].into()).is_err());
    }

    #[test]
    fn there_is_a_limit_and_records_beyond_it_are_counted_without_marks() {
        let mut book = Book::default();
        let names: Vec<String> = (0..=MAX_TOPICS).map(|topic| topic.to_string()).collect();
        let records: Vec<(&str, Option<&str>)> = names.iter().map(|it| (&**it, None)).collect();
        assert_eq!(marks(&mut book, &records).len(), MAX_TOPICS);
        assert_eq!(book.take_changes().len(), MAX_TOPICS);
        assert_eq!(book.take_fresh().len(), MAX_TOPICS + 1);
        assert_eq!(marks(&mut book, &records[MAX_TOPICS..]), []);
    }

    #[test]
    fn marked_records_keep_their_other_headers() {
        let (mut book, batch) = (Book::default(), batch(&[("a", Some("x")), ("a", Some("x"))]));
        let marks = book.enter_all(&batch, |_| 0);
        let records: Vec<_> = marked(&batch, &marks).collect();
        assert_eq!(records[0].headers.len(), 2);
        assert_eq!(records[1].headers, batch.records().next().unwrap().headers);
        assert_eq!(Mark::among(records[1].headers), None);
    }
}
