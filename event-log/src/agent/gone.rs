//! Bytes of files that were never read, and are not where they were: whether a copy has them, or
//! they are lost.

use std::path::PathBuf;

use tracing::warn;

use super::{
    file::{FollowedFile, LOOKS_FOR_COPY},
    place::ReadBytes,
};

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

/// What is gone of all files, by their keys.
#[derive(Debug, Default)]
pub(super) struct GoneBytes {
    waiting: Vec<(String, Gone)>,
    /// So many bytes were lost since the start.
    pub(super) lost: u64,
}

impl GoneBytes {
    /// Takes what a look at a file found.
    pub(super) fn take(&mut self, key: &str, file: &mut FollowedFile) {
        self.waiting.extend(file.gone.drain(..).map(|gone| (key.to_owned(), gone)));
    }

    /// The server has so much of a file.
    pub(super) fn read_to(&mut self, key: &str, offset: u64) {
        let gone = self.waiting.iter_mut().filter(|(of, gone)| of == key && gone.is_place);
        gone.for_each(|(_, gone)| gone.read_to = offset);
    }

    /// All places are known now: what is sent from here on is of what the files have now.
    pub(super) fn places_are_known(&mut self) {
        self.waiting.iter_mut().for_each(|(_, gone)| gone.is_place = false);
    }

    /// Looks for what is gone in other files, and forgets what one of them has. What none has is
    /// lost, and told, after some looks and when `is_known` says that its place is known.
    pub(super) fn settle<'a>(
        &mut self,
        files: impl Iterator<Item = &'a mut FollowedFile>,
        is_known: impl Fn(&str) -> bool,
    ) {
        if self.waiting.is_empty() {
            return;
        }
        for file in files {
            let all = std::mem::take(&mut self.waiting).into_iter();
            let (kept, waiting): (Vec<_>, _) = all.partition(|(_, gone)| gone.is_kept_by(file));
            self.waiting = waiting;
            let read_to = kept.iter().map(|(_, gone)| gone.read_to).max();
            if file.place.read.offset == 0 || file.read_to.is_some() {
                file.read_to = file.read_to.max(read_to);
            }
        }
        let lost = &mut self.lost;
        self.waiting.retain_mut(|(key, gone)| {
            gone.looks = gone.looks.saturating_add(1);
            let is_over = gone.looks > LOOKS_FOR_COPY && is_known(key);
            if is_over {
                *lost += gone.tell();
            }
            !is_over
        });
    }
}

impl Gone {
    fn is_kept_by(&self, file: &FollowedFile) -> bool {
        // What cannot be read keeps nothing.
        self.set == file.set
            && self.path.parent() == file.path.parent()
            && self.print.is_in(&file.file).unwrap_or(false)
    }

    fn tell(&self) -> u64 {
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
