//! What is wrong with a listener, in words for people.

use serde::{Deserialize, Serialize};
use service::clock::now_ms;

/// What went wrong last, and what to do about it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Problem {
    pub(crate) at_ms: u64,
    pub(crate) message: String,
    /// What the handler itself said, where that may be shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) said: Option<String>,
    pub(crate) remedy: String,
}

impl Problem {
    pub(crate) fn new(message: impl Into<String>, remedy: impl Into<String>) -> Self {
        let (message, remedy) = (message.into(), remedy.into());
        Self { at_ms: now_ms(), message, said: None, remedy }
    }
}
