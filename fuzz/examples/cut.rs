//! Takes the binlogs of recorded servers apart, into table maps and small inputs for each target.
//! Each argument is a server's folder, as `record.sh` makes it.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use binlog::EventHeader;
use fuzz::Event;

/// More of one kind say nothing new.
const MAX_OF_A_KIND: usize = 3;
const MAX_INPUT_BYTES: usize = 2048;
/// As the target has them.
const GROUP_KINDS: [u8; 10] = [2, 4, 15, 18, 27, 33, 34, 38, 41, 42];
const TABLE_MAP: u8 = 19;
const PARTIAL_UPDATE_ROWS: u8 = 39;

/// The inputs for each target, each server's apart: its name, the input's kind, and its bytes.
struct Cut {
    server: String,
    counts: BTreeMap<String, usize>,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folders: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    for folder in &folders {
        add_tables(&binlog(folder)?)?;
    }
    for folder in &folders {
        let server = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut cut = Cut { server, counts: BTreeMap::new() };
        let log = binlog(folder)?;
        for event in fuzz::events(&log) {
            cut.event(&event)?;
        }
        cut.groups(&log)?;
        cut.packets(&fs::read(folder.join("greeting"))?, &log)?;
    }
    Ok(())
}

/// All of a server's files, without the four bytes that each begins with.
fn binlog(folder: &Path) -> std::io::Result<Vec<u8>> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder.join("data"))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.to_string_lossy().contains("/binlog.0"))
        .filter(|path| path.extension().is_some_and(|number| number.len() == 6))
        .collect();
    files.sort();
    let contents: Result<Vec<_>, _> = files.into_iter().map(fs::read).collect();
    Ok(contents?.iter().flat_map(|file| file[4..].to_vec()).collect())
}

/// Adds the table maps of a MariaDB that are not there yet.
fn add_tables(log: &[u8]) -> std::io::Result<()> {
    let mut tables = fs::read("tables.binlog")?;
    let is_mariadb = fuzz::events(log).any(|(header, _)| header.kind == 162);
    let mut rest = log;
    while is_mariadb && let Ok(header) = EventHeader::read(rest) {
        let (event, after) = rest.split_at(header.size as usize);
        rest = after;
        let body = &event[EventHeader::LEN..event.len() - 4];
        let is_new = !fuzz::events(&tables[4..]).any(|(_, known)| is_same_table(known, body));
        if header.kind == TABLE_MAP && is_new {
            tables.extend_from_slice(event);
        }
    }
    fs::write("tables.binlog", tables)
}

/// But for the number, which each server gives, and flags.
fn is_same_table(left: &[u8], right: &[u8]) -> bool {
    left.get(8..).is_some_and(|left| Some(left) == right.get(8..))
}

impl Cut {
    /// Inputs that one event makes.
    fn event(&mut self, (header, body): &Event<'_>) -> std::io::Result<()> {
        let kind = header.kind;
        if let Some(at) = GROUP_KINDS.iter().position(|known| *known == kind) {
            self.put("groups", kind, &[&[at as u8][..], body].concat())?;
        }
        match kind {
            40 => {
                self.put("payload", kind, &[&[0][..], body].concat())?;
                let events = fuzz::unpack(body).into_iter().map(|(header, event)| {
                    [&EventHeader { log_pos: 0, ..header }.write()[..], &event].concat()
                });
                let events: Vec<u8> = events.flatten().collect();
                self.put("payload", "unpacked", &[&[1][..], &events].concat())?;
            }
            35 => self.put("gtids", kind, &[&[0][..], body].concat())?,
            163 => self.put("gtids", kind, &[&[1][..], body].concat())?,
            PARTIAL_UPDATE_ROWS => self.partial_update(body)?,
            _ => {}
        }
        if (160..=165).contains(&kind) {
            self.put("mariadb", kind, &[&[(kind - 160) * 4, 0][..], body].concat())?;
        }
        Ok(())
    }

    /// Document and differences of a row of `documents`, where the images are as the target has
    /// them.
    fn partial_update(&mut self, body: &[u8]) -> std::io::Result<()> {
        const BEFORE: usize = 13;
        const ROW_BYTES: usize = 9;
        let document = value(&body[BEFORE + ROW_BYTES..]);
        let after = BEFORE + ROW_BYTES + 4 + document.len() + 2;
        let diffs = value(&body[after + ROW_BYTES..]);
        let input = [&[document.len() as u8][..], document, diffs].concat();
        self.put("json_diff", PARTIAL_UPDATE_ROWS, &input)
    }

    /// Inputs that need what came before: rows with their table, and whole groups.
    fn groups(&mut self, log: &[u8]) -> std::io::Result<()> {
        let tables = fs::read("tables.binlog")?;
        let maps = fuzz::events(&tables[4..]).filter(|(header, _)| header.kind == TABLE_MAP);
        let maps: Vec<_> = maps.collect();
        let mut table = None;
        for (header, body) in fuzz::events(log) {
            if header.kind == TABLE_MAP {
                table = maps.iter().position(|(_, known)| is_same_table(known, body));
            }
            let Some(table) = table.map(|table| table as u8) else { continue };
            let name = format!("{}-{table}", header.kind);
            match header.kind {
                kind @ 23..=25 => {
                    let input = [&[(kind - 23) * 4 + 2, table][..], body].concat();
                    self.put("mariadb", &name, &input)?;
                    // The second version has no extra data here.
                    let (head, rows) = body.split_at(8);
                    let input = [&[table, kind - 23][..], head, b"\x02\0", rows].concat();
                    self.put("rows", &name, &input)?;
                }
                kind @ 166..=168 => {
                    let input = [&[(kind - 166) * 4 + 1, table][..], body].concat();
                    self.put("mariadb", &name, &input)?;
                }
                _ => {}
            }
        }
        self.files(log)
    }

    /// The beginning of a file, and one group each.
    fn files(&mut self, log: &[u8]) -> std::io::Result<()> {
        const BEGINS: [u8; 4] = [33, 34, 42, 162];
        let mut groups: Vec<Vec<u8>> = vec![Vec::new()];
        let mut rest = log;
        while let Ok(header) = EventHeader::read(rest) {
            let (event, after) = rest.split_at(header.size as usize);
            rest = after;
            if BEGINS.contains(&header.kind) {
                groups.push(Vec::new());
            }
            if let Some(group) = groups.last_mut() {
                group.extend_from_slice(event);
            }
        }
        let begin = groups.remove(0);
        for group in groups {
            // Groups of the same events are one kind.
            let kinds: u64 = fuzz::events(&group)
                .fold(0, |all, (header, _)| all.wrapping_mul(257) + u64::from(header.kind));
            self.put("framing", kinds, &[begin.as_slice(), &group].concat())?;
        }
        Ok(())
    }

    /// The server's first packets, and a few events as it would send them.
    fn packets(&mut self, greeting: &[u8], log: &[u8]) -> std::io::Result<()> {
        let mut input = vec![77];
        input.extend_from_slice(greeting);
        // Those in between were ours.
        let mut at = 1;
        let mut number = 0;
        while let Some(length) = input.get(at).copied() {
            input[at + 3] = number;
            number += 1;
            at += 4 + usize::from(length);
        }
        self.put("packets", "greeting", &input)?;
        let mut rest = log;
        let mut input = vec![200];
        for number in 0..6 {
            let Ok(header) = EventHeader::read(rest) else { break };
            let (event, after) = rest.split_at(header.size as usize);
            rest = after;
            input.extend_from_slice(&(event.len() as u32 + 1).to_le_bytes()[..3]);
            input.extend_from_slice(&[number, 0]);
            input.extend_from_slice(event);
        }
        self.put("packets", "events", &input)
    }

    fn put(&mut self, target: &str, kind: impl ToString, input: &[u8]) -> std::io::Result<()> {
        let kind = kind.to_string();
        let count = self.counts.entry(format!("{target} {kind}")).or_default();
        if input.len() > MAX_INPUT_BYTES || *count >= MAX_OF_A_KIND {
            return Ok(());
        }
        *count += 1;
        let folder = Path::new("corpus").join(target);
        fs::create_dir_all(&folder)?;
        fs::write(folder.join(format!("{}-{kind}-{count}", self.server)), input)
    }
}

/// What stands behind four bytes of length.
fn value(bytes: &[u8]) -> &[u8] {
    let length = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    &bytes[4..4 + length as usize]
}
