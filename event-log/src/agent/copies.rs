//! Copies of followed files, as `copytruncate` of logrotate makes them. A copy goes on where its
//! original was: its lines are not in the log twice, and those that only it has are not lost.

use std::{fs::File, io, os::unix::fs::FileExt};

use super::{
    file::FollowedFile,
    place::{Place, ReadBytes},
};

/// So much of both ends is compared.
const COMPARED_BYTES: usize = 4096;

/// What a file is, beside the files that are followed.
pub(super) enum Kinship {
    /// Nobody's copy.
    None,
    /// The copy of a file that was then truncated: it begins with what was read of that.
    Copy(Box<ReadBytes>),
    /// It begins as a file that was not truncated when it was looked at last: perhaps the copy is
    /// being made.
    Perhaps,
}

/// Compares a file that is new or was written anew with others of its folder. `was` is what was
/// read of it before it was written anew.
pub(super) fn kinship<'a>(
    (new, was): (&File, Option<&ReadBytes>),
    others: impl Iterator<Item = &'a FollowedFile>,
) -> io::Result<Kinship> {
    let mut kinship = Kinship::None;
    let was = was.filter(|was| was.offset > 0);
    for other in others {
        if let Some(was) = was
            && was.is_wholly_in(&other.file)?
        {
            // It is the original, and this its copy.
            continue;
        }
        let Place { before, read, .. } = &other.place;
        if let Some(before) = before.as_ref().filter(|before| before.offset > 0)
            && before.is_wholly_in(new)?
        {
            return Ok(Kinship::Copy(Box::new(before.clone())));
        }
        // In this order: while they are compared, the copy may become whole and its original be
        // truncated. Then the copy has what was read, and the original no more.
        if begins(&other.file, new)?
            || (read.offset > 0 && read.is_in(new)? && !read.is_in(&other.file)?)
        {
            kinship = Kinship::Perhaps;
        }
    }
    Ok(kinship)
}

/// Whether a file begins with another, as far as both ends of that say.
fn begins(whole: &File, part: &File) -> io::Result<bool> {
    let (bytes, whole_bytes) = (part.metadata()?.len(), whole.metadata()?.len());
    if bytes == 0 || bytes > whole_bytes {
        return Ok(false);
    }
    let compared = bytes.min(COMPARED_BYTES as u64);
    for at in [0, bytes - compared] {
        let mut ends = [whole, part].map(|file| (file, vec![0; COMPARED_BYTES.min(len(compared))]));
        for (file, buffer) in &mut ends {
            match file.read_exact_at(buffer, at) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        if ends[0].1 != ends[1].1 {
            return Ok(false);
        }
    }
    Ok(true)
}

fn len(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}
