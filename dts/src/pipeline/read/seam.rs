//! Compares what the decoder gave with what the publisher took, event by event.

use binlog::{Decoder, RawEvent};

use super::StreamReader;
use crate::{
    books::{Difference, Seam},
    publish::Publisher,
};

/// The counts at both sides of the seam, at one moment.
#[derive(Clone, Copy)]
pub(super) struct SeamCounts {
    given: u64,
    taken: u64,
}

impl SeamCounts {
    pub(super) fn of(decoder: &Decoder, publisher: &Publisher) -> Self {
        Self { given: decoder.given(), taken: publisher.taken() }
    }

    /// How many rows were given since an earlier moment, and neither taken nor declined; negative
    /// for rows that nobody gave.
    fn missing_since(self, before: Self, declined: u64) -> i64 {
        let given = self.given.wrapping_sub(before.given);
        let taken = self.taken.wrapping_sub(before.taken) + declined;
        given.cast_signed() - taken.cast_signed()
    }
}

/// Compares the counts after an event with those before. What is missing stays in the counts.
pub(super) fn compare(
    decoder: &Decoder,
    publisher: &mut Publisher,
    event: &RawEvent<'_>,
    (before, declined): (SeamCounts, u64),
) -> Option<Difference> {
    let missing = SeamCounts::of(decoder, publisher).missing_since(before, declined);
    (missing != 0).then(|| {
        let plan = decoder.table_of(event);
        publisher.note_missed(plan, missing);
        let table = plan.map(|plan| format!("{}.{}", plan.schema, plan.table));
        let at = format!("{}:{}", decoder.position().file, decoder.event_start());
        let seam = (Seam::DecoderPublisher, missing);
        Difference::new(seam, table.unwrap_or_else(|| "an unknown table".to_owned()), at)
    })
}

impl StreamReader {
    /// Keeps a difference until the status takes it.
    pub(super) fn note(&mut self, found: Option<Difference>) {
        self.differences.extend(found);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use binlog::{Checksum, EventHeader, TransactionEnd};
    use event_bus::{Batch, TopicName};

    use super::*;
    use crate::{
        capture::Capture,
        checkpoint::{Seq, Skip},
        error::Error,
    };

    /// What a MySQL wrote.
    const BINLOG: &[u8] = include_bytes!("../../../../crates/binlog/tests/recorded/groups.binlog");

    fn events() -> Vec<(EventHeader, Vec<u8>)> {
        let (mut events, mut checksum) = (Vec::new(), Checksum::default());
        let mut rest = BINLOG.strip_prefix(b"\xfebin").unwrap();
        while !rest.is_empty() {
            let header = EventHeader::read(rest).unwrap();
            let (event, after) = rest.split_at(header.size as usize);
            let length = checksum.check(&header, event).unwrap();
            events.push((header, event[EventHeader::LEN..length].to_vec()));
            rest = after;
        }
        events
    }

    /// Publishes the file; the publisher does not get the rows with these numbers in the file.
    fn publish_without(lost: &[u64]) -> (Vec<Difference>, Vec<TransactionEnd>, i64) {
        let mut decoder = Decoder::new(|schema, _| schema == "fx");
        decoder.restart("b.000001", 4);
        let begun = (Skip::default(), Seq::default());
        let capture = Arc::new(Capture::default());
        let mut publisher = Publisher::new(TopicName::new("t"), capture, String::new(), begun);
        let (mut found, mut ends, mut sums, mut number) = (Vec::new(), Vec::new(), 0, 0);
        let mut batch = Batch::default();
        for (header, body) in &events() {
            let event = RawEvent { header: *header, body };
            let before = SeamCounts::of(&decoder, &publisher);
            let step = decoder.decode(&event, &mut |change| {
                number += 1;
                let is_lost = lost.contains(&(number - 1));
                if is_lost { Ok(()) } else { publisher.publish(change, &mut batch) }
            });
            let step: std::result::Result<_, Error> = step;
            found.extend(compare(&decoder, &mut publisher, &event, (before, 0)));
            if let Some(end) = step.unwrap().end() {
                sums += publisher.end_transaction(end.rows).unwrap().missing();
                ends.push(end.clone());
            }
        }
        let of_tables: i64 =
            publisher.hand_over(None).iter().map(|(_, counts)| counts.missing()).sum();
        assert_eq!(of_tables, sums, "each table has what the sums have");
        (found, ends, sums)
    }

    #[test]
    fn a_row_that_is_lost_between_the_decoder_and_the_publisher_is_named() {
        let (found, ends, sums) = publish_without(&[]);
        assert!(ends.iter().map(|end| end.rows).sum::<u64>() > 1, "the file has rows");
        assert_eq!((found, sums), (vec![], 0));
        let (found, _, sums) = publish_without(&[1]);
        assert_eq!((found.len(), sums), (1, 1));
        let told = found[0].to_string();
        let seam = "1 record is missing between the decoder and the publisher: of fx.";
        assert!(told.starts_with(seam) && told.contains("from b.000001:"), "{told}");
    }
}
