//! Copies: a stream whose files are the same, byte for byte, as those of the stream of another
//! server. Its place is the end of its own log and nothing else.

pub(crate) mod batches;
pub(crate) mod config;
mod copying;
pub(crate) mod epoch;
pub(crate) mod local;
pub(crate) mod mark;
pub(crate) mod mirror;
pub(crate) mod source;
pub(crate) mod state;

#[cfg(test)]
#[expect(clippy::indexing_slicing, reason = "a test may panic")]
mod tests;
