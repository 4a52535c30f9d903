//! Groups of listeners: which of them a process runs, and where the process of a group is called.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    path::{Path, PathBuf},
};

use service::{Address, Listen, config::Section};

/// The group of a listener that names none.
pub(super) const DEFAULT_GROUP: &str = "default";

/// The groups of listeners that a process runs: those with these names, or all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupChoice {
    names: BTreeSet<String>,
}

impl GroupChoice {
    /// Only the groups with these names; all if there is no name.
    pub fn new(names: impl IntoIterator<Item = String>) -> Self {
        Self { names: names.into_iter().collect() }
    }

    /// The names, in alphabetical order; none for all groups.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(String::as_str)
    }

    /// Whether it is all groups.
    pub(crate) fn is_all(&self) -> bool {
        self.names.is_empty()
    }

    /// Whether a group is one of these.
    pub(crate) fn has(&self, group: &str) -> bool {
        self.is_all() || self.names.contains(group)
    }

    /// One name for these groups, `a+b`; none for all groups.
    pub(crate) fn joined(&self) -> Option<String> {
        let names: Vec<&str> = self.names().collect();
        (!self.is_all()).then(|| names.join("+"))
    }

    /// As on a command line, each with a space before: ` -g a -g b`.
    pub(crate) fn flags(&self) -> String {
        self.names().map(|name| format!(" -g {name}")).collect()
    }

    /// Where a process with these groups keeps its files. Only one process at a time can use a
    /// directory.
    pub(super) fn directory_in(&self, directory: PathBuf) -> PathBuf {
        match self.joined() {
            Some(name) => directory.join("groups").join(name),
            None => directory,
        }
    }

    /// The file of a process with these groups: `run-a+b.log` for `run.log`.
    pub(super) fn file_like(&self, file: &Path) -> PathBuf {
        let Some(groups) = self.joined() else { return file.to_owned() };
        let mut name = OsString::from(file.file_stem().unwrap_or_default());
        name.push(format!("-{groups}"));
        if let Some(end) = file.extension() {
            name.push(".");
            name.push(end);
        }
        file.with_file_name(name)
    }
}

/// The name of a listener is part of a group's name on the bus and of the API's paths. The name of
/// a group of listeners is part of the names of files.
pub(super) fn is_name(id: &str) -> bool {
    id.len() <= 64
        && id.starts_with(|c: char| c.is_ascii_alphanumeric())
        && id.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
}

/// What a name may be.
pub(super) const NAME_RULE: &str =
    "use up to 64 of A-Z a-z 0-9 _ -, beginning with a letter or digit";

/// Reads the addresses that groups have of their own; `known` are the groups with listeners.
pub(super) fn read_addresses(
    section: &Section,
    listen: &Listen,
    known: &BTreeSet<&str>,
) -> BTreeMap<String, Address> {
    let mut addresses = BTreeMap::new();
    for name in section.keys() {
        if !known.contains(name) {
            let remedy = format!("give a listener group = \"{name}\", or remove this table");
            section.note(name, "is a group without listeners", &remedy);
        }
        let group = section.section(name);
        if let Some(address) = read_address(&group, listen) {
            addresses.insert(name.to_owned(), address);
        }
    }
    addresses
}

fn read_address(section: &Section, listen: &Listen) -> Option<Address> {
    let text: String = section.optional("address")?;
    let Ok(address) = text.parse::<Address>() else {
        let problem = format!("{text:?} is not an address");
        section.note("address", &problem, "write host:port, for example 127.0.0.1:12360");
        return None;
    };
    if !address.is_loopback() && listen.token.is_none() {
        let problem = "can be reached from outside, while [listen] has no token";
        let remedy = r#"set token = { env = "NAME" } in [listen], or listen on 127.0.0.1"#;
        section.note("address", problem, remedy);
    }
    Some(address)
}
