//! Why a table cannot be read.

use binlog::Fault;

/// An error while a table is read.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// The server does not answer, or refuses.
    #[error("{0}")]
    Server(mysql_async::Error),
    /// The table is not as it was described. Describe the table again, and read again.
    #[error("{0}")]
    Altered(String),
    /// The table does not exist any more.
    #[error("{0}")]
    Gone(String),
    /// The table cannot be read until somebody changes it.
    #[error("{problem}; {remedy}")]
    Refused {
        /// What was found.
        problem: String,
        /// What to do about it.
        remedy: String,
    },
    /// A bound that a user gave is not a value of the key.
    #[error("{0}")]
    Bound(String),
    /// A value that its column's type cannot have.
    #[error("column {column} of {table}: {reason}")]
    Value {
        /// `schema.table`.
        table: String,
        /// Its column.
        column: String,
        /// What is wrong.
        reason: String,
    },
}

/// A result of reading a table.
pub type TableResult<T, E = TableError> = std::result::Result<T, E>;

impl TableError {
    pub(crate) fn refused(problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Refused { problem: problem.into(), remedy: remedy.into() }
    }

    #[cold]
    pub(crate) fn value(table: &str, column: &str, fault: &Fault) -> Self {
        let reason = match fault {
            Fault::Corrupt(reason) => (*reason).to_owned(),
            other => other.to_string(),
        };
        Self::Value { table: table.to_owned(), column: column.to_owned(), reason }
    }
}

/// The server's errors for a table that differs from its description (MySQL manual, "Server Error
/// Message Reference"): an unknown column or key, and a definition that changed after the snapshot.
const ALTERED: [u16; 5] = [1054, 1072, 1082, 1176, 1412];
/// An unknown database or table.
const GONE: [u16; 3] = [1049, 1051, 1146];

impl From<mysql_async::Error> for TableError {
    fn from(error: mysql_async::Error) -> Self {
        match &error {
            mysql_async::Error::Server(said) if ALTERED.contains(&said.code) => {
                Self::Altered(said.message.clone())
            }
            mysql_async::Error::Server(said) if GONE.contains(&said.code) => {
                Self::Gone(said.message.clone())
            }
            _ => Self::Server(error),
        }
    }
}
