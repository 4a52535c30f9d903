//! Bytes of a file that were never read, and are not where they were.

use std::{
    fs::File,
    path::{Path, PathBuf},
};

use tracing::warn;

use super::place::ReadBytes;

/// What a file had before it was truncated or written anew.
#[derive(Debug)]
pub(super) struct Gone {
    pub(super) set: usize,
    pub(super) path: PathBuf,
    /// How all of it is recognised.
    pub(super) print: ReadBytes,
    /// So much of it was read.
    pub(super) read_to: u64,
    /// That says the place of the file: the server may have more, of what was sent last.
    pub(super) is_place: bool,
    /// So often its copy was looked for.
    pub(super) looks: u8,
}

impl Gone {
    /// Whether a file of a set, at a path, has them.
    pub(super) fn is_kept_by(&self, set: usize, (path, file): (&Path, &File)) -> bool {
        // What cannot be read keeps nothing.
        self.set == set
            && self.path.parent() == path.parent()
            && self.print.is_in(file).unwrap_or(false)
    }

    /// Says that they are lost; gives how many they are.
    pub(super) fn tell(&self) -> u64 {
        let bytes = self.print.offset.saturating_sub(self.read_to);
        let file = self.path.display();
        if bytes > 0 {
            warn!(
                %file,
                bytes,
                "lost: the file was truncated or written anew before these bytes were read, and no \
                 copy under the paths has them"
            );
        }
        bytes
    }
}
