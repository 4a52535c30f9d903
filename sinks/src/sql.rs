//! What targets that are SQL databases have in common: hosts and TLS.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use full_sync::Table;
use service::{Address, config::Section};

use crate::{shape::Shape, target::TargetFinding};

/// How the connection is encrypted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SqlTls {
    pub(crate) mode: SqlTlsMode,
    /// The authority to trust instead of those that are known everywhere.
    pub(crate) ca_file: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SqlTlsMode {
    Off,
    /// Encrypted; the certificate is not looked at.
    Require,
    /// The certificate must be that of the host.
    Verify,
}

impl SqlTls {
    /// Reads `tls` and `caFile`. Without them, connections to this machine are not encrypted, and
    /// all others are, with a certificate that is verified.
    pub(crate) fn read(section: &Section, hosts: &[Address]) -> Self {
        let is_here = hosts.iter().all(Address::is_loopback);
        let ca_file: Option<PathBuf> = section.optional("caFile");
        let mode = match section.choice("tls", ["off", "require", "verify"]) {
            Some(0) => SqlTlsMode::Off,
            Some(1) => SqlTlsMode::Require,
            None if is_here && ca_file.is_none() => SqlTlsMode::Off,
            _ => SqlTlsMode::Verify,
        };
        Self { mode, ca_file }
    }
}

/// What is wrong with `versionColumn`, where the source has a column that gets this name: each row
/// would have it twice.
pub(crate) fn version_clash(
    version_column: Option<&str>,
    (shape, table): (&Shape, &Table),
) -> Option<TargetFinding> {
    let version = version_column?;
    let columns = table.columns.iter().flatten().filter(|column| shape.takes(&column.name));
    let names = columns.map(|column| shape.name_of(&column.name));
    names.into_iter().find(|name| name.eq_ignore_ascii_case(version)).map(|name| {
        let of = format!("{}.{}", table.schema, table.table);
        let what = format!("versionColumn = {version:?} is a column of {of} ({name}), too");
        TargetFinding::wrong(what, "give it a name that no column has, for example \"_seq\"")
    })
}

/// Reads `hosts`: a list of `host` or `host:port`.
pub(crate) fn read_hosts(section: &Section, port: u16) -> Vec<Address> {
    let texts: Vec<String> = section.or("hosts", vec![format!("127.0.0.1:{port}")]);
    if texts.is_empty() {
        section.note("hosts", "is empty", "name at least one, for example \"127.0.0.1\"");
    }
    let read = |text: &String| {
        let found = text.parse::<Address>().ok().or_else(|| Address::new(text, port));
        if found.is_none() {
            let problem = format!("{text:?} is no host");
            section.note("hosts", &problem, &format!("write \"host\" or \"host:{port}\""));
        }
        found
    };
    texts.iter().filter_map(read).collect()
}

/// What to do about a row whose value another row has in a unique key of the target that is not the
/// source's key: rows of several lanes are written in another order than at the source.
pub(crate) fn taken_in(unique_key: &str) -> String {
    format!(
        "; another row there has this value of the unique key {unique_key}: if the value moved \
         from row to row at the source, the row is written when the other one has moved; if this \
         lasts, set `workers = 1` for the listener and `versionColumn` here, so that rows are \
         written in the order of the source, or drop that key there"
    )
}

/// The table in which a sink keeps the numbers of deletes.
pub(crate) const DELETED_TABLE: &str = "dbevent_deleted";

/// How long they are kept, if nothing else is set.
pub(crate) const DELETED_FOR: Duration = Duration::from_secs(7 * 24 * 3600);

/// So often what is kept of deletes is looked through.
const FORGET_EVERY: Duration = Duration::from_secs(3600);

/// When the deletes of each schema were looked through.
#[derive(Debug, Default)]
pub(crate) struct ForgetTimes(Mutex<HashMap<String, Instant>>);

impl ForgetTimes {
    /// Whether it is time again; the next time is after an hour.
    pub(crate) fn is_due(&self, schema: &str) -> bool {
        let mut times = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = times.get(schema).is_none_or(|before| before.elapsed() > FORGET_EVERY);
        if is_due {
            times.insert(schema.to_owned(), Instant::now());
        }
        is_due
    }
}
