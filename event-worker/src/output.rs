//! How a command shows its result: in words, or as JSON.

use serde_json::Value;

/// How a command shows its result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// For a human.
    Words,
    /// For programs, with the names of the HTTP API.
    Json,
}

impl Output {
    /// `--json` was said, or not.
    pub fn json(is_said: bool) -> Self {
        if is_said { Self::Json } else { Self::Words }
    }
}

#[expect(clippy::print_stdout, reason = "the JSON is the result of a command")]
pub(crate) fn print_json(shown: &Value) {
    println!("{shown:#}");
}
