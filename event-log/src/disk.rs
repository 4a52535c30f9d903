//! A stream on disk.
//!
//! ```text
//! <root>/lock                            held by the one process that has the log open
//! <root>/origin                          the id of this log, decimal
//! <root>/<stream>/groups                 how far each group is, JSON, replaced by rename
//! <root>/<stream>/<YYYYMMDD>/data000000  records; the next file is data000001
//! <root>/<stream>/<YYYYMMDD>/index       where records stand, sparse
//! <root>/<stream>/<YYYYMMDD>/finish      empty: the day is complete
//! ```
//!
//! # Records
//!
//! All numbers are little-endian.
//!
//! ```text
//!  0  u32  CRC32C of everything after this field
//!  4  u32  length of the whole record
//!  8  u64  offset
//! 16  u64  time, milliseconds since the Unix epoch
//! 24  u32  type: below 1000 the log's own
//! 28  u32  origin: id of the log where it was first appended
//! 32  u32  length of the key
//! 36  u32  length of the headers
//! 40  u16  length of the topic
//! 42  u16  0
//! 44       topic (UTF-8), key, headers, payload
//! ```
//!
//! A header is: u16 length and name, u32 length and value. Offsets grow by one from record to
//! record, the log's own included; times never go backwards.
//!
//! # Batches
//!
//! An append is one *batch*: its records, then a record END (type 1) that carries the producer, its
//! epoch and sequence, and the changes of its checkpoint. A batch without its END was never
//! acknowledged and never shown. A data file begins with a record STATE (type 2): every producer
//! with its whole checkpoint. So the last data file alone says what the log knows, and checkpoints
//! outlive the deletion of old files. Files and days change between batches only. The day of a file
//! is the UTC day of its first record, and never before that of the file before it.
//!
//! # Write groups, and what recovery may cut
//!
//! The writer takes all batches that wait, writes them with one write, and calls fsync once: these
//! batches are a *write group*. The writer begins one only after the one before is durable. Each
//! END says at which byte its write group began. So, when the last file has a record that is
//! damaged or cut short at byte *p*:
//!
//! - If any later END is whole and its write group began after *p*, then *p* was durable before
//!   that END was written. So durable bytes are damaged: the stream is refused, with file and
//!   position. (A payload can be a piece of a log, with ENDs of its own. One counts only if its
//!   offset can follow what stands before *p*, and its write group began before it.)
//! - Otherwise *p* lies in the last write group. A crash can leave any page of it unwritten, in any
//!   order, and none of its batches may have been acknowledged. The file is cut after the last
//!   whole batch before *p*.
//!
//! A file is begun only after the one before is durable. So damage in any other file is always
//! refused, also when the last file has nothing whole in it and is deleted. Opening writes the last
//! write group and the last index again: after a sync that failed, the system may show bytes that
//! are not on the disk. The offset that a consumer group saves is never past
//! the durable end. So a consumer group that is past the end of its stream also proves a loss, and
//! the stream is refused. (One case looks like a crash: only the last write group is damaged later,
//! before anybody committed an offset in it. Then the checkpoint goes back together with the
//! records.)
//!
//! # Index
//!
//! Entries of 32 bytes: u32 CRC32C of the rest, u32 data file, u64 offset, u64 time, u64 position.
//! One for the first record of each file, then for the first that begins 64 KiB or more after
//! the last entry's. The index follows from the data. It is synced when a stream is opened and when
//! the next file begins, so a crash can take only entries of the newest file; opening the stream
//! repairs them. A reader that meets a bad entry reads from the beginning of the file.
//!
//! # Reading without the lock
//!
//! A data file only grows, and a write group is written from its beginning to its end. So who finds
//! a bad record at the end of the newest file has met a write group that is being written, or one
//! that a crash left unfinished, unless the rule above proves that the place was synced. A file is
//! complete when a later one exists, and a day when it has its `finish`. Files are deleted one by
//! one, the oldest first; of a day the data goes before the rest. When a write fails, its group is
//! cut off again: it may have been seen, and was not acknowledged.

pub(crate) mod change;
pub(crate) mod data_files;
pub(crate) mod day;
pub(crate) mod end_and_state;
pub(crate) mod file_reading;
pub(crate) mod frame;
pub(crate) mod index;
mod kind_of_change;
pub(crate) mod recovery;
pub(crate) mod scan;
pub(crate) mod walk;
#[cfg(test)]
pub(crate) mod watched;
