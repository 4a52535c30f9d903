//! The files of a log, read directly: from a log that is stopped, from one that a server is
//! writing, or from a copy. Nothing is locked and nothing is changed.
//!
//! - Records are visible from the moment on when the END of their batch is in the file. What is
//!   half written at the end of the newest file is the end for now, and no damage.
//! - A day is left only when it is marked as finished. So no late record of it is missed.
//! - What retention has deleted, and what is damaged, is an error that says where: nothing is
//!   skipped.
//! - The log's own records (types below 1000) are not shown.
//!
//! A record can be visible a moment before it is synced and acknowledged. When the server then
//! cannot sync it, since its disk is full, the reader says [`TakenBack`](crate::Error::TakenBack).

mod archive;
mod check_index;
mod follow;
mod list;
mod reader;
mod unpack;
mod verify;

pub use archive::{ArchiveContent, ArchiveRange, export};
pub use list::{DayFiles, StreamFiles, check_log, list, stream_directory, stream_names};
pub use reader::{FileChunk, FileReader};
pub use unpack::import;
pub use verify::{Verified, verify};

#[cfg(test)]
mod tests;
