//! The handler `exec` in a config file.

use std::{sync::Arc, time::Duration};

use service::{Secret, config::Section};
use sinks::Selection;

use crate::timeout::read_timeout;

/// A process of the user.
#[derive(Clone, Debug, PartialEq)]
pub struct ExecConfig {
    /// The program and its arguments.
    pub command: Vec<String>,
    /// How long it may take to answer a batch.
    pub timeout: Duration,
    /// Variables of its environment, added to those that it inherits.
    pub environment: Vec<(String, Secret)>,
    /// Which events it gets; `None`: all.
    pub selection: Option<Arc<Selection>>,
}

impl ExecConfig {
    /// Reads the table with the key `exec`; mistakes are noted there.
    pub fn read(section: &Section) -> Self {
        let command: Vec<String> = section.or("exec", vec!["true".to_owned()]);
        if command.first().is_none_or(String::is_empty) {
            section.note("exec", "is empty", r#"write ["program", "argument"]"#);
        }
        let environment = read_environment(&section.section("env"));
        let selection = Selection::read(section).map(Arc::new);
        Self { command, timeout: read_timeout(section), environment, selection }
    }
}

fn read_environment(section: &Section) -> Vec<(String, Secret)> {
    let mut variables = Vec::new();
    for name in section.keys() {
        if name.is_empty() || name.contains(['=', '\0']) {
            section.note(name, "cannot be the name of a variable", "use letters, digits and _");
        } else if let Some(value) = section.secret(name) {
            variables.push((name.to_owned(), value));
        }
    }
    variables
}
