//! Replays a stream of an event log to a callback: in order, at least once, a batch at a time.
//!
//! The stream is read from a server, or from the directory of a log: a stopped one, one that a
//! server is writing, a mirror. The relay has a name, by which its place is kept; the place is
//! saved only after the callback succeeded. No record comes before an earlier one is done: a batch that
//! fails is tried again for ever, and nothing after it is given.
//!
//! ```no_run
//! # async fn example(config: relay::RelayConfig) -> Result<(), relay::Error> {
//! use relay::{Relay, each_batch};
//!
//! let stop = tokio_util::sync::CancellationToken::new();
//! let callback = each_batch(async |records| {
//!     for record in records {
//!         println!("{} {}", record.offset, record.topic());
//!     }
//!     Ok(())
//! });
//! Relay::new(config)?.run(callback, &stop).await
//! # }
//! ```

mod callback;
mod config;
mod course;
mod error;
mod event;
mod place;
mod sieve;
mod source;
mod turn;

pub use self::{
    callback::{Answer, Callback, EachBatch, each_batch},
    config::{Directory, OnGone, RecordChoice, RelayConfig, RelaySource},
    error::Error,
    event::{ByHandler, RecordForm},
    turn::Relay,
};
