//! What a file holds that was not finished: how much of it is whole lines, and which changes.
//!
//! After a crash the last line may be torn. After a power failure a file may even end with bytes
//! that were never written, as zeros. None of that was said to be done.

use std::{
    collections::VecDeque,
    io::{self, BufRead},
};

use serde::Deserialize;

use super::line::LEADING;

/// What of a file is whole.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Whole {
    pub(super) bytes: u64,
    /// The first line with its end; only of CSV.
    pub(super) header: String,
    /// The ids of the last changes.
    pub(super) ev_ids: VecDeque<String>,
}

#[derive(Deserialize)]
struct IdOnly {
    #[serde(rename = "EvId")]
    ev_id: String,
}

/// Reads a file up to the end of its last whole line; `max_ids` ids are kept.
///
/// # Errors
///
/// When it cannot be read.
pub(super) fn read_whole(
    mut file: impl BufRead,
    is_csv: bool,
    max_ids: usize,
) -> io::Result<Whole> {
    let mut whole = Whole::default();
    let mut line = Vec::new();
    loop {
        let added = file.read_until(b'\n', &mut line)?;
        if added == 0 || line.last() != Some(&b'\n') {
            return Ok(whole);
        }
        // A text in CSV may have line ends, in quotes.
        if is_csv && line.iter().filter(|byte| **byte == b'"').count() % 2 == 1 {
            continue;
        }
        let is_header = is_csv && whole.bytes == 0;
        match if is_csv { csv_id(&line) } else { json_id(&line) } {
            Some(name) if is_header && name == LEADING[0] => {
                whole.header = String::from_utf8_lossy(&line).into_owned();
            }
            Some(id) if !is_header => {
                if whole.ev_ids.len() == max_ids {
                    whole.ev_ids.pop_front();
                }
                whole.ev_ids.push_back(id);
            }
            _ => return Ok(whole),
        }
        whole.bytes += line.len() as u64;
        line.clear();
    }
}

fn json_id(line: &[u8]) -> Option<String> {
    serde_json::from_slice::<IdOnly>(line).ok().map(|line| line.ev_id)
}

fn csv_id(line: &[u8]) -> Option<String> {
    let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(line);
    let record = reader.byte_records().next()?.ok()?;
    let id = record.get(0).filter(|id| !id.contains(&0))?;
    String::from_utf8(id.to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_line_is_not_whole_and_neither_are_zeros() {
        let lines = b"{\"EvId\":\"a\"}\n{\"EvId\":\"b\"}\n".to_vec();
        for tail in [&b""[..], b"{\"EvId\":\"c\"}", b"{\"EvI", b"\0\0\0\n{\"EvId\":\"d\"}\n"] {
            let whole = read_whole(&[&lines[..], tail].concat()[..], false, 10).unwrap();
            assert_eq!((whole.bytes, whole.ev_ids), (26, ["a".into(), "b".into()].into()));
        }
        assert_eq!(read_whole(&lines[..], false, 1).unwrap().ev_ids, ["b"]);
    }

    #[test]
    fn a_line_of_csv_may_have_line_ends_in_quotes() {
        let whole = "EvId,s\na,\"x\n\"\"y\"\nb,1\n";
        for tail in ["", "c,\"x\n", "c,\"x\"\"\n", "c"] {
            let found = read_whole(format!("{whole}{tail}").as_bytes(), true, 10).unwrap();
            assert_eq!(found.bytes, whole.len() as u64, "{tail}");
            assert_eq!((&*found.header, found.ev_ids.len()), ("EvId,s\n", 2));
        }
    }
}
