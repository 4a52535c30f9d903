//! How a command shows its result: in words, or as JSON.

use serde_json::Value;
use service::say;

/// How a command shows its result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// For a human.
    Words,
    /// For programs, with the names of the HTTP API.
    Json,
}

impl Output {
    /// JSON if `--json` was given, else words.
    pub fn json(is_said: bool) -> Self {
        if is_said { Self::Json } else { Self::Words }
    }
}

pub(crate) fn print_json(shown: &Value) {
    say!("{shown:#}");
}
