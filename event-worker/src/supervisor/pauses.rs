//! Which listeners a human has paused. They are kept in a file, because a pause survives a restart.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{ErrorKind, Write},
    path::{Path, PathBuf},
};

use crate::error::Error;

/// The paused listeners, as on disk.
#[derive(Debug)]
pub(super) struct Pauses {
    path: PathBuf,
    ids: BTreeSet<String>,
}

impl Pauses {
    /// Reads the file. Without a file no listener is paused.
    pub(super) fn open(directory: &Path) -> Result<Self, Error> {
        let path = directory.join("paused.json");
        let ids = match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(std::io::Error::from),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(BTreeSet::new()),
            Err(error) => Err(error),
        };
        let ids = ids.map_err(Error::io(format!("cannot read {}", path.display())))?;
        Ok(Self { path, ids })
    }

    pub(super) fn contains(&self, id: &str) -> bool {
        self.ids.contains(id)
    }

    /// Writes the change down; durable when this returns. On an error nothing has changed.
    pub(super) fn set(&mut self, id: &str, paused: bool) -> Result<(), Error> {
        let mut ids = self.ids.clone();
        let changed = if paused { ids.insert(id.to_owned()) } else { ids.remove(id) };
        if changed {
            save(&self.path, &ids)
                .map_err(Error::io(format!("cannot write {}", self.path.display())))?;
            self.ids = ids;
        }
        Ok(())
    }
}

/// Writes a new file and renames it over the old one, so that after a crash one of the two is
/// there.
fn save(path: &Path, ids: &BTreeSet<String>) -> std::io::Result<()> {
    let fresh = path.with_extension("json.new");
    let mut file = service::private::create(&fresh)?;
    file.write_all(&serde_json::to_vec(ids)?)?;
    file.sync_all()?;
    fs::rename(&fresh, path)?;
    File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_is_still_there_when_the_file_is_read_again() {
        let directory = tempfile::tempdir().unwrap();
        let mut pauses = Pauses::open(directory.path()).unwrap();
        pauses.set("a", true).unwrap();
        pauses.set("b", true).unwrap();
        pauses.set("b", false).unwrap();
        let again = Pauses::open(directory.path()).unwrap();
        assert!(again.contains("a") && !again.contains("b"));
    }

    #[test]
    fn a_damaged_file_is_named_and_not_taken_for_an_empty_one() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("paused.json"), "[\"a").unwrap();
        let error = Pauses::open(directory.path()).unwrap_err().to_string();
        assert!(error.contains("paused.json"), "{error}");
    }
}
