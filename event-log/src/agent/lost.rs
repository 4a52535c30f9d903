//! What is gone of all files: whether a copy has it, or it is lost.

use super::{
    file::{FollowedFile, LOOKS_FOR_COPY},
    gone::Gone,
};

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
            let (kept, waiting): (Vec<_>, _) =
                all.partition(|(_, gone)| gone.is_kept_by(file.set, (&file.path, &file.file)));
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
