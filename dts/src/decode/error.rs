//! Why an event could not be understood, and where it stands.

use std::{fmt, sync::Arc};

/// A binlog event that cannot be turned into changes. It is never skipped: the stream stops here,
/// and reading it again gives the same error until somebody does what the message says.
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
    /// Bytes that the format does not allow. The checksum was right, so the server, or this
    /// decoder, is wrong about the format.
    #[error("the event is not understood: {0}")]
    Corrupt(&'static str),
    /// Something that MySQL may write and that is not handled yet.
    #[error("{0} not handled yet")]
    NotHandled(String),
    /// The server logs too little; the text says what to set.
    #[error("{0}")]
    Setting(&'static str),
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

    /// What is wrong.
    pub fn fault(&self) -> &Fault {
        &self.0.fault
    }

    /// The binlog file and the position where the event begins.
    pub fn place(&self) -> (&str, u64) {
        (&self.0.file, self.0.pos)
    }

    /// `schema.table`, where one is concerned.
    pub fn table(&self) -> Option<&str> {
        self.0.table.as_deref()
    }

    /// The column, where one is concerned.
    pub fn column(&self) -> Option<&str> {
        self.0.column.as_deref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Details { fault, file, pos, table, column } = &*self.0;
        write!(f, "binlog {file} position {pos}")?;
        if let Some(table) = table {
            write!(f, ", table {table}")?;
        }
        if let Some(column) = column {
            write!(f, ", column {column}")?;
        }
        write!(f, ": {fault}")
    }
}

impl std::error::Error for Error {}
