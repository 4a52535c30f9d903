//! The names of this supervisor's listeners on the bus. They are the same after a restart, so a
//! listener gets its partitions back at once, and the bus does not wait for a time-out.

use std::{
    fmt::Write as _,
    fs,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use ring::digest::{Context, SHA256};

use crate::error::Error;

/// At most so much of the host name is shown. The hash contains all of it.
const MAX_HOST_CHARS: usize = 64;

/// What is unique to this supervisor. Two processes with the same name would fence each other again
/// and again. The directory is locked, so there is only one supervisor per host and directory.
#[derive(Clone, Debug)]
pub(super) struct Instance {
    host: String,
    /// Copies of a virtual machine often have the same host name, and less often the same machine
    /// id.
    machine: Vec<u8>,
    directory: PathBuf,
}

impl Instance {
    /// The supervisor of a directory that exists, on this host.
    ///
    /// # Errors
    ///
    /// When the directory cannot be found.
    pub(super) fn here(directory: &Path) -> Result<Self, Error> {
        let found = fs::canonicalize(directory);
        let what = format!("cannot find the directory {}", directory.display());
        Ok(Self {
            host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            machine: fs::read("/etc/machine-id").unwrap_or_default(),
            directory: found.map_err(Error::io(what))?,
        })
    }

    /// The name of this node.
    pub(super) fn node(&self) -> String {
        let is_legal = |c: char| c.is_ascii_alphanumeric() || c == '-';
        let shown = self.host.chars().take(MAX_HOST_CHARS);
        let mut name: String = shown.map(|c| if is_legal(c) { c } else { '_' }).collect();
        let mut hash = Context::new(&SHA256);
        for part in [self.host.as_bytes(), &self.machine, self.directory.as_os_str().as_bytes()] {
            hash.update(&(part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        name.push('.');
        for byte in &hash.finish().as_ref()[..8] {
            // Writing to a text cannot fail.
            let _ = write!(name, "{byte:02x}");
        }
        name
    }

    /// The name of a listener's member: at most 146 of Kafka's 249 characters, all of them legal.
    pub(super) fn name(&self, listener: &str) -> String {
        self.node() + "." + listener
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instance(host: &str, machine: &str, directory: &str) -> Instance {
        Instance { host: host.into(), machine: machine.into(), directory: directory.into() }
    }

    #[test]
    fn hosts_machines_directories_and_listeners_have_names_of_their_own() {
        let names = [
            instance("a", "m", "/d").name("x"),
            instance("a", "m", "/d").name("y"),
            instance("b", "m", "/d").name("x"),
            instance("a", "n", "/d").name("x"),
            instance("a", "m", "/e").name("x"),
            instance("a.b", "m", "/d").name("x"),
            instance("a_b", "m", "/d").name("x"),
        ];
        let different: std::collections::BTreeSet<&String> = names.iter().collect();
        assert_eq!(different.len(), names.len(), "{names:?}");
        assert_eq!(names[0], instance("a", "m", "/d").name("x"));
    }

    #[test]
    fn a_name_is_legal_for_kafka_whatever_the_host_is_called() {
        let host = "höst name/".repeat(50);
        let name = instance(&host, "", "/d").name(&"i".repeat(64));
        assert!(name.len() <= 146, "{name}");
        assert!(name.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c)), "{name}");
    }

    #[test]
    fn a_directory_has_one_name_however_it_is_written() {
        let directory = tempfile::tempdir().unwrap();
        let plain = Instance::here(directory.path()).unwrap().name("x");
        assert_eq!(plain, Instance::here(&directory.path().join(".")).unwrap().name("x"));
        assert!(Instance::here(&directory.path().join("none")).is_err());
    }
}
