//! Why an event could not be understood, and where it is.

use std::{fmt, sync::Arc};

/// A binlog event that cannot be turned into changes. It is never skipped: the stream stops here.
/// Reading the event again gives the same error until somebody does what the message says.
#[derive(Debug)]
pub struct Error(Box<Details>);

#[derive(Debug)]
struct Details {
    fault: Fault,
    file: Arc<str>,
    pos: u64,
    table: Option<String>,
    column: Option<String>,
}

/// What is wrong with an event.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// Bytes that the format does not allow. The checksum was right, so the error is in the server
    /// or in this decoder.
    #[error("the event is not understood: {0}")]
    Corrupt(&'static str),
    /// Something that a server may write and that this decoder cannot handle yet.
    #[error("{0} not handled yet")]
    NotHandled(String),
    /// The server logs too little.
    #[error("{0}")]
    Setting(&'static Setting),
}

/// What the server does not log, and what to do about it.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    pub(super) problem: &'static str,
    /// A variable of the server, and the value that it needs.
    pub(super) variable: Option<(&'static str, &'static str)>,
    /// What else to do.
    pub(super) then: &'static str,
}

impl Setting {
    /// What to do; `set` returns how a variable is set on this server.
    pub fn remedy(&self, set: impl Fn(&str, &str) -> String) -> String {
        match self.variable {
            Some((name, value)) => format!("{}, {}", set(name, value), self.then),
            None => self.then.to_owned(),
        }
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let set = |name: &str, value: &str| format!("set {name} = {value} on the server");
        write!(f, "{}; {}", self.problem, self.remedy(set))
    }
}

pub(super) fn corrupt(what: &'static str) -> Fault {
    Fault::Corrupt(what)
}

impl Error {
    pub(super) fn new(fault: Fault, file: &Arc<str>, pos: u64) -> Self {
        Self(Box::new(Details { fault, file: Arc::clone(file), pos, table: None, column: None }))
    }

    pub(super) fn of_table(mut self, schema: &str, table: &str) -> Self {
        self.0.table = Some(format!("{schema}.{table}"));
        self
    }

    pub(super) fn of_column(mut self, column: &str) -> Self {
        self.0.column = Some(column.to_owned());
        self
    }

    /// Whether an operator can fix this with a change of the server or of a table. If not, the
    /// error is in the decoder or the server.
    pub fn is_for_operator(&self) -> bool {
        match self.fault() {
            Fault::Setting(_) => true,
            Fault::NotHandled(_) => self.table().is_some(),
            Fault::Corrupt(_) => false,
        }
    }

    /// What is wrong and where, and what to do, if the operator can do something; `set` returns how
    /// a variable is set on the server.
    pub fn advice(&self, set: impl Fn(&str, &str) -> String) -> Option<(String, String)> {
        match (self.fault(), self.table()) {
            (Fault::Setting(setting), _) => {
                Some((format!("{}: {}", EventPlace(&self.0), setting.problem), setting.remedy(set)))
            }
            (Fault::NotHandled(_), Some(table)) => {
                let remedy = format!("leave the table out (capture.exclude = [\"{table}\"])");
                Some((self.to_string(), remedy))
            }
            _ => None,
        }
    }

    /// What is wrong.
    pub fn fault(&self) -> &Fault {
        &self.0.fault
    }

    /// The binlog file and the position where the event begins.
    pub fn place(&self) -> (&str, u64) {
        (&self.0.file, self.0.pos)
    }

    /// `schema.table`, if the error is about one.
    pub fn table(&self) -> Option<&str> {
        self.0.table.as_deref()
    }

    /// The column, if the error is about one.
    pub fn column(&self) -> Option<&str> {
        self.0.column.as_deref()
    }
}

/// Where an event is, and which table and column it is about.
struct EventPlace<'a>(&'a Details);

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", EventPlace(&self.0), self.0.fault)
    }
}

impl fmt::Display for EventPlace<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Details { file, pos, table, column, .. } = self.0;
        write!(f, "binlog {file} position {pos}")?;
        if let Some(table) = table {
            write!(f, ", table {table}")?;
        }
        if let Some(column) = column {
            write!(f, ", column {column}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}
