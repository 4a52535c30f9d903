//! Reads ahead which rows of a transaction count: a MariaDB says this only at the transaction's
//! end, or with each ROLLBACK TO a savepoint.

use binlog::{Decoder, FilePosition, Step, Transaction};

use super::super::savepoints::Savepoints;
use crate::{
    config::SourceConfig,
    error::{Error, Result},
    replica::{self, AtEnd, Stream},
};

/// The most parts of one transaction that may be rolled back.
const MAX_PARTS: usize = 100_000;

/// The events of a transaction whose rows the server rolled back. Table maps, rows, SAVEPOINT and
/// ROLLBACK TO are counted, from 0 on.
#[derive(Debug, Default)]
pub(super) struct Fate {
    /// The first event and the last of each part, in order.
    undone: Vec<(u64, u64)>,
    /// Where the transaction ends; `None` if it has no end.
    pub(super) end: Option<FilePosition>,
}

impl Fate {
    /// Reads a transaction to its end, over a connection of its own, and calls `on_event` for each
    /// event.
    pub(super) async fn read(
        source: &SourceConfig,
        of: &Transaction,
        on_event: impl Fn(),
    ) -> Result<Self> {
        // A reader with the id 0 is nobody's replica, and the server does not cut off another
        // reader for it.
        let nobody = SourceConfig { server_id: 0, ..source.clone() };
        let (file, pos) = (of.start.file.to_string(), of.start.pos);
        let start = crate::checkpoint::SourcePosition { gtids: None, file, pos };
        let conn = replica::connect(&nobody).await?;
        let mut stream = Stream::open(conn, &nobody, &start, AtEnd::Stop).await?;
        let mut decoder = Decoder::new(|_, _| false);
        decoder.restart(&start.file, start.pos);
        let mut ahead = Ahead::default();
        loop {
            let event = match stream.next().await {
                Err(Error::Torn { .. }) => return Ok(ahead.whole(None)),
                event => event?.ok_or_else(|| elsewhere(source, of))?,
            };
            on_event();
            if event.raw().has_row_data() {
                ahead.number += 1;
                continue;
            }
            let step = decoder.decode(&event.raw(), &mut |_| Ok::<_, Error>(()))?;
            if step == Step::Begun && decoder.transaction() != of {
                return Err(elsewhere(source, of));
            }
            if let Some(fate) = ahead.take(step)? {
                return Ok(fate);
            }
        }
    }

    /// Whether the rows of an event were rolled back.
    pub(super) fn is_undone(&self, number: u64) -> bool {
        let at = self.undone.partition_point(|(_, last)| *last < number);
        self.undone.get(at).is_some_and(|(first, _)| *first <= number)
    }

    /// Whether none of the transaction's rows counts.
    pub(super) fn is_whole(&self) -> bool {
        self.undone.first() == Some(&(0, u64::MAX))
    }

    /// The first event of the part that `next` is in, or that `next` ends; `None` if `next` is
    /// itself the first.
    pub(super) fn part_around(&self, next: u64) -> Option<u64> {
        let at = self.undone.partition_point(|(_, last)| *last < next);
        self.undone.get(at).map(|(first, _)| *first).filter(|first| *first < next)
    }
}

/// The state while a transaction is read ahead.
#[derive(Default)]
struct Ahead {
    undone: Vec<(u64, u64)>,
    savepoints: Savepoints<u64>,
    number: u64,
}

impl Ahead {
    /// Takes the step of an event without rows; returns the fate at the end.
    fn take(&mut self, step: Step) -> Result<Option<Fate>> {
        match step {
            Step::Savepoint(name) => {
                self.savepoints.set(name, self.number);
                self.number += 1;
            }
            Step::BackTo(name) => {
                let first = self.savepoints.back_to(&name)?;
                self.undone.retain(|(begun, _)| *begun < first);
                self.undone.push((first, self.number));
                self.number += 1;
                if self.undone.len() > MAX_PARTS {
                    return Err(too_many());
                }
            }
            Step::RolledBack(end) => return Ok(Some(self.whole(Some(end.end)))),
            Step::TornOff => return Ok(Some(self.whole(None))),
            Step::Ended(end) | Step::Xa(_, end) | Step::Statement(_, Some(end)) => {
                let undone = std::mem::take(&mut self.undone);
                return Ok(Some(Fate { undone, end: Some(end.end) }));
            }
            Step::Nothing
            | Step::Begun
            | Step::Rotated
            | Step::Heartbeat
            | Step::Statement(_, None) => {}
        }
        Ok(None)
    }

    /// The fate if none of the rows counts.
    fn whole(&self, end: Option<FilePosition>) -> Fate {
        Fate { undone: vec![(0, u64::MAX)], end }
    }
}

fn elsewhere(source: &SourceConfig, of: &Transaction) -> Error {
    let FilePosition { file, pos } = &of.start;
    Error::SourceAway {
        address: format!("{}:{}", source.host, source.port),
        reason: format!("another connection does not have the transaction at {file}:{pos}"),
    }
}

fn too_many() -> Error {
    Error::refused(
        format!("the server rolled back more than {MAX_PARTS} parts of one transaction"),
        "begin after the end of the transaction (`dts position set --file … --pos …`; SHOW BINLOG \
         EVENTS shows where it ends), and send the tables that it changed again with a full sync",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use binlog::{SavepointName, TransactionEnd};

    /// `r` is an event with rows, `+a` a savepoint, `-a` goes back to it, `C` and `R` end the
    /// transaction.
    fn fate(events: &str) -> Fate {
        let mut ahead = Ahead::default();
        for event in events.split(' ') {
            let end = || TransactionEnd {
                gtid: None,
                end: FilePosition { file: "b.1".into(), pos: 9 },
                commit_micros: 0,
                rows: 0,
            };
            let (kind, name) = event.split_at(1);
            let name = SavepointName::new(name);
            let step = match kind {
                "+" => Step::Savepoint(name),
                "-" => Step::BackTo(name),
                "C" => Step::Ended(end()),
                "R" => Step::RolledBack(end()),
                "T" => Step::TornOff,
                _ => {
                    ahead.number += 1;
                    continue;
                }
            };
            if let Some(fate) = ahead.take(step).unwrap() {
                return fate;
            }
        }
        panic!("{events} has no end");
    }

    /// The events with rows in `events` that count.
    fn counts(events: &str) -> String {
        let fate = fate(events);
        let with_rows = events.split(' ').enumerate().filter(|(_, event)| event.starts_with('r'));
        let counted = with_rows.filter(|(at, _)| !fate.is_undone(*at as u64));
        counted.map(|(_, event)| &event[1..]).collect()
    }

    #[test]
    fn rows_that_are_rolled_back_do_not_count() {
        assert_eq!(counts("r1 r2 C"), "12");
        assert_eq!(counts("r1 r2 R"), "");
        assert_eq!(counts("r1 T"), "");
        assert_eq!(counts("r1 +a r2 +b r3 -b r4 -a r5 +c r6 C"), "156");
        assert_eq!(counts("r1 +a r2 -a r3 -a r4 C"), "14");
        assert_eq!(counts("+a r1 -a +a r2 -a r3 +a r4 C"), "34");
        assert_eq!(counts("r1 +a r2 +a r3 -a C"), "12");
    }

    #[test]
    fn the_current_part_is_the_one_that_is_not_rolled_back_yet() {
        let fate = fate("r1 +a r2 +b r3 -b r4 -a r5 C");
        let parts: Vec<Option<u64>> = (0..10).map(|next| fate.part_around(next)).collect();
        let inside = Some(1);
        let expected = [None, None, inside, inside, inside, inside, inside, inside, None, None];
        assert_eq!(parts, expected);
    }

    #[test]
    fn a_savepoint_that_is_not_in_the_binlog_is_refused() {
        let mut ahead = Ahead::default();
        let error = ahead.take(Step::BackTo(SavepointName::new("a"))).unwrap_err();
        assert!(error.to_string().contains("the savepoint a"), "{error}");
    }
}
