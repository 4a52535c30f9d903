//! What a row change is, and its wire formats.
//!
//! The native format is one JSON object per change, described in `docs/event-format.md`:
//! [`EventWriter`] writes it, [`ChangeEvent`] reads it.

mod event;
mod exact;
mod full_sync;
pub mod json;
mod order;
mod reader;
mod writer;

pub use event::{ChangeEvent, Origin, Source};
pub use full_sync::{FullSyncRow, FullSyncText};
pub use order::order_key;
pub use reader::{Columns, ReadError};
pub use writer::{EventWriter, IdPart, ObjectWriter, TableText, TransactionText};

/// What happened to a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// It is new.
    Insert,
    /// It was changed.
    Update,
    /// It is gone.
    Delete,
}

impl Action {
    /// As events have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Insert => "insert",
            Self::Update => "update",
            Self::Delete => "delete",
        }
    }
}
