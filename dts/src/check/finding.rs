//! Something about source or bus that the user should know: what, why it matters, how to fix it.

use serde::Serialize;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// We cannot work with it.
    Stop,
    /// It works, but may surprise.
    Warn,
    /// Worth knowing.
    Note,
}

/// Something that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// A constant name of the subject: the variable's name, if it is about a variable.
    pub name: &'static str,
    /// What was found.
    pub what: String,
    /// Why it matters.
    pub why: String,
    /// The statement or step that fixes it.
    pub remedy: String,
}

impl Finding {
    /// What was found and why it matters, as one sentence.
    pub fn problem(&self) -> String {
        if self.why.is_empty() {
            return self.what.clone();
        }
        format!("{}: {}", self.what, self.why)
    }
}
