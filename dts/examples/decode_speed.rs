//! Measures the decoder alone: a binlog file, in memory, to finished events in a reused buffer.
//!
//! `cargo run --release -p dts --example decode_speed -- FILE [REPEATS]`

use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use change_event::{Action, EventWriter, IdPart, Source, TableText, TransactionText};
use dts::decode::{Decoder, Error, EventHeader, Image, RawEvent, RowChange};

/// As a batch of the pipeline.
const BATCH_BYTES: usize = 4 << 20;

#[expect(clippy::print_stdout, reason = "its result is what it prints")]
fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().context("say which binlog file")?;
    let repeats: u32 = arguments.next().map_or(Ok(3), |text| text.parse())?;
    let log = std::fs::read(&path)?;
    for _ in 0..repeats {
        let started = Instant::now();
        let found = decode(&log)?;
        let seconds = started.elapsed().as_secs_f64();
        println!(
            "{} events, {} rows, {} MB of JSON in {seconds:.3} s: {:.2} M rows/s, {:.0} ns/row, \
             {:.0} MB/s of binlog",
            found.events,
            found.rows,
            found.bytes >> 20,
            f64::from(found.rows) / seconds / 1e6,
            seconds * 1e9 / f64::from(found.rows.max(1)),
            log.len() as f64 / seconds / 1e6,
        );
    }
    Ok(())
}

#[derive(Default)]
struct Found {
    events: u32,
    rows: u32,
    bytes: usize,
}

fn decode(log: &[u8]) -> Result<Found> {
    let mut decoder = Decoder::new(|_, _| true);
    decoder.restart("binlog.000001", 4);
    let (mut found, mut out) = (Found::default(), Vec::with_capacity(2 * BATCH_BYTES));
    let mut texts = Texts::default();
    let mut rest = log.get(4..).context("no binlog")?;
    while !rest.is_empty() {
        let header = EventHeader::read(rest)?;
        let (event, next) = rest.split_at_checked(header.size as usize).context("cut short")?;
        let (event, checksum) = event.split_last_chunk().context("no checksum")?;
        ensure!(crc32fast::hash(event) == u32::from_le_bytes(*checksum), "wrong checksum");
        let event = RawEvent { header, body: &event[EventHeader::LEN..] };
        decoder.decode(&event, &mut |row| {
            found.rows += 1;
            texts.write(row, &mut out)
        })?;
        found.events += 1;
        rest = next;
        if out.len() >= BATCH_BYTES {
            found.bytes += out.len();
            out.clear();
        }
    }
    found.bytes += out.len();
    Ok(found)
}

/// What is kept between rows.
#[derive(Default)]
struct Texts {
    table: Option<(u64, TableText)>,
    transaction: TransactionText,
    start: Option<(u64, u64)>,
}

impl Texts {
    fn write(&mut self, row: &RowChange<'_>, out: &mut Vec<u8>) -> Result<(), Error> {
        let serial = row.table.serial;
        if self.table.as_ref().is_none_or(|(known, _)| *known != serial) {
            self.table = Some((serial, TableText::new(&row.table.schema, &row.table.table)));
        }
        let gno = row.transaction.gtid.as_ref().map_or(0, |gtid| gtid.gno);
        if self.start != Some((row.transaction.start.pos, gno)) {
            self.start = Some((row.transaction.start.pos, gno));
            let id = format!("3e11fa47-71ca-11e1-9e33-c80aa9429562:{gno}");
            let file = (&*row.transaction.start.file).into();
            let source = Source { gtid: Some((&*id).into()), file, ..Source::default() };
            self.transaction.set(&id, row.transaction.commit_micros / 1000, &source);
        }
        let Some((_, table)) = &self.table else { return Ok(()) };
        let Some(image) = row.after.or(row.before) else { return Ok(()) };
        let change = (row.row, IdPart::Whole, row.action);
        let mut event = EventWriter::begin(out, &self.transaction, table, change);
        event.key(|object| {
            row.table.primary_key.iter().try_for_each(|&column| {
                let declared = &row.table.columns[column];
                object.member(&declared.json_key, |out| image.write_value(column, out))
            })
        })?;
        event.data(|object| {
            row.table.columns.iter().enumerate().try_for_each(|(column, declared)| {
                object.member(&declared.json_key, |out| image.write_value(column, out))
            })
        })?;
        if let (Action::Update, Some(before)) = (row.action, row.before) {
            write_old(&mut event, row, (&before, &image))?;
        }
        event.finish(row.event_pos);
        Ok(())
    }
}

fn write_old(
    event: &mut EventWriter<'_>,
    row: &RowChange<'_>,
    (before, after): (&Image<'_>, &Image<'_>),
) -> Result<(), Error> {
    event.old(|object| {
        let changed = |column: &usize| before.raw(*column) != after.raw(*column);
        (0..row.table.columns.len()).filter(changed).try_for_each(|column| {
            let declared = &row.table.columns[column];
            object.member(&declared.json_key, |out| before.write_value(column, out))
        })
    })
}
