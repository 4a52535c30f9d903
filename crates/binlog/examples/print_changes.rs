//! Prints the row changes of a binlog file, each as a line of JSON:
//!
//! ```text
//! cargo run --example print_changes -- /var/lib/mysql/binlog.000001
//! {"table":"shop.item","action":"insert","gtid":"3e11fa47-…:23","after":{"id":1,"name":"Chair"}}
//! ```
//!
//! The server must write `binlog_row_metadata = FULL`. Never more than one event is in memory.

#![expect(clippy::print_stderr, reason = "what it is for")]

use std::{
    error::Error,
    fs::File,
    io::{self, BufReader, ErrorKind, Read, Write},
    path::Path,
    process::ExitCode,
};

use binlog::{
    Checksum, Decoder, EventHeader, Image, RawEvent, RowChange, TRANSACTION_PAYLOAD, Unpacker,
};
use change_event::json;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// The bytes that every binlog file begins with.
const MAGIC: [u8; 4] = [0xfe, b'b', b'i', b'n'];

fn main() -> ExitCode {
    match print_file() {
        Ok(()) => ExitCode::SUCCESS,
        // Who reads the lines has read enough.
        Err(error) if is(&*error, ErrorKind::BrokenPipe) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn is(error: &(dyn Error + 'static), kind: ErrorKind) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == kind)
}

fn print_file() -> Result<()> {
    let path = std::env::args().nth(1).ok_or("say which binlog file: print_changes FILE")?;
    let path = Path::new(&path);
    let mut file = BufReader::new(File::open(path)?);
    let mut magic = [0; MAGIC.len()];
    if file.read_exact(&mut magic).is_err() || magic != MAGIC {
        return Err("this is not a binlog file".into());
    }
    let mut decoder = Decoder::new(|_schema, _table| true);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    decoder.restart(&name, MAGIC.len() as u64);
    print_all(&mut file, &mut decoder)
}

fn print_all(file: &mut impl Read, decoder: &mut Decoder) -> Result<()> {
    let (mut checksum, mut unpacker) = (Checksum::default(), Unpacker::default());
    loop {
        let pos = decoder.position().pos;
        let cut = || format!("the file ends in the middle of the event after position {pos}");
        let (header, event) = match next_event(file) {
            Ok(None) => return Ok(()),
            Ok(Some(next)) => next,
            Err(error) if is(&*error, ErrorKind::UnexpectedEof) => return Err(cut().into()),
            Err(error) => return Err(error),
        };
        let damaged = || format!("the event after position {pos} is damaged");
        let length = checksum.check(&header, &event).ok_or_else(damaged)?;
        let body = &event[EventHeader::LEN..length];
        decoder.decode(&RawEvent { header, body }, &mut print)?;
        // A compressed transaction is followed by the events in it.
        if header.kind == TRANSACTION_PAYLOAD {
            unpacker.begin(body)?;
            while let Some((header, inner)) = unpacker.next(body)? {
                decoder.decode(&RawEvent { header, body: &inner }, &mut print)?;
            }
        }
    }
}

/// The next event with its header; `None` at the end of the file.
fn next_event(file: &mut impl Read) -> Result<Option<(EventHeader, Vec<u8>)>> {
    let mut event = Vec::new();
    if file.by_ref().take(EventHeader::LEN as u64).read_to_end(&mut event)? == 0 {
        return Ok(None);
    }
    if event.len() < EventHeader::LEN {
        return Err(io::Error::from(ErrorKind::UnexpectedEof).into());
    }
    let header = EventHeader::read(&event)?;
    event.resize((header.size as usize).max(EventHeader::LEN), 0);
    file.read_exact(&mut event[EventHeader::LEN..])?;
    Ok(Some((header, event)))
}

fn print(row: &RowChange<'_>) -> Result<()> {
    let table = format!("{}.{}", row.table.schema, row.table.table);
    let mut line = format!(r#"{{"table":{},"action":"{}""#, quoted(&table)?, row.action.as_str());
    if let Some(gtid) = &row.transaction.gtid {
        line.push_str(&format!(r#","gtid":"{gtid}""#));
    }
    for (name, image) in [("before", &row.before), ("after", &row.after)] {
        if let Some(image) = image {
            line.push_str(&format!(r#","{name}":{{{}}}"#, columns(image, row)?));
        }
    }
    Ok(writeln!(io::stdout(), "{line}}}")?)
}

/// A JSON string.
fn quoted(text: &str) -> Result<String> {
    let mut json = Vec::new();
    json::write_str(&mut json, text);
    Ok(String::from_utf8(json)?)
}

/// The columns that the server logged, as JSON fields.
fn columns(image: &Image<'_>, row: &RowChange<'_>) -> Result<String> {
    let mut json = Vec::new();
    for (n, column) in row.table.columns.iter().enumerate() {
        if !image.is_present(n) {
            continue;
        }
        if !json.is_empty() {
            json.push(b',');
        }
        json::write_str(&mut json, &column.name);
        json.push(b':');
        image.write_value(n, &mut json)?;
    }
    Ok(String::from_utf8(json)?)
}
