//! What an error of the server means for the changes of a call.

use std::error::Error as _;

use handler::Failure;
use tokio_postgres::{Error, error::DbError};

use crate::sql::taken_in;

/// Another row has the value of a unique key.
const DUPLICATE: &str = "23505";

/// Why something was not done.
#[derive(Debug)]
pub(super) enum Refused {
    /// One of the rows does not fit; the words may hold values of it.
    Row(String),
    /// Two transactions locked each other: the same again may go well.
    Again(String),
    /// The user has not the rights.
    Denied(Failure),
    /// A table is not as we think it is.
    Definition(Failure),
    /// The connection is gone.
    Lost(Failure),
    /// The whole call waits.
    Later(Failure),
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        match error.as_db_error() {
            Some(said) => of_server(said),
            None => Self::Lost(Failure::unclear(without_answer(&error))),
        }
    }
}

impl Refused {
    /// Whether another row stands in the way, which may be written later in the same call.
    pub(super) fn is_of_other_row(&self) -> bool {
        matches!(self, Self::Row(said) if said.contains(&format!("({DUPLICATE})")))
    }

    /// The same where nothing can be done about it any more.
    pub(super) fn into_failure(self) -> Failure {
        match self {
            Self::Row(said) => Failure::new("the server refuses a row").saying(said),
            Self::Again(reason) => Failure::unclear(reason),
            Self::Denied(failure)
            | Self::Definition(failure)
            | Self::Lost(failure)
            | Self::Later(failure) => failure,
        }
    }
}

/// The classes are those of PostgreSQL's manual, appendix A.
fn of_server(said: &DbError) -> Refused {
    let code = said.code().code();
    let failure =
        |reason: &str| Failure::unclear(format!("{reason} ({code})")).saying(said.message());
    match code {
        "40001" | "40P01" | "55P03" => {
            Refused::Again(format!("the transaction collided with others ({code})"))
        }
        "42P06" | "42P07" | "42701" | "42710" => {
            Refused::Again(format!("somebody else makes the same table ({code})"))
        }
        "42P01" | "42703" | "42P10" | "3F000" | "42704" | "0A000" => {
            Refused::Definition(failure("a table of the target is not as it was"))
        }
        "25006" => Refused::Later(failure("the server is read-only: it is a replica now")),
        "53100" => Refused::Later(failure("the disk of the server is full")),
        "53300" => Refused::Later(failure(
            "the server has no connection left for us: raise max_connections there",
        )),
        "42501" => Refused::Denied(failure("the user has not the rights that it needs there")),
        "28000" | "28P01" => Refused::Later(failure("the server does not let the user in")),
        "3D000" => Refused::Later(failure("the server has no such database")),
        "57014" => Refused::Later(failure(
            "the server did not finish in time (`timeout`): look at its log and its locks, or \
             raise `timeout` where it is only slow",
        )),
        "57P01" | "57P02" | "57P03" => Refused::Lost(failure("the server stops or starts")),
        _ if is_about_a_row(code) => Refused::Row(words_of(said)),
        _ => Refused::Later(failure("the server answers with an error")),
    }
}

/// Data exceptions, constraints, wrong types, and what is too large for an index or a row.
fn is_about_a_row(code: &str) -> bool {
    code.starts_with("22")
        || code.starts_with("23")
        || code.starts_with("44")
        || code.starts_with("54")
        || matches!(code, "42804" | "42846" | "42883" | "P0001" | "P0004" | "428C9")
}

/// What the server says of a row, with the place that it names.
fn words_of(said: &DbError) -> String {
    let mut words = said.message().to_owned();
    if let Some(detail) = said.detail() {
        words.push_str(": ");
        words.push_str(detail);
    }
    for (kind, name) in [("table", said.table()), ("column", said.column())] {
        if let Some(name) = name {
            words.push_str(&format!(" ({kind} {name})"));
        }
    }
    let code = said.code().code();
    let cure = match said.constraint().filter(|_| code == DUPLICATE) {
        Some(unique_key) => taken_in(unique_key),
        None => String::new(),
    };
    format!("{words} ({code}){cure}")
}

/// An error that is none of the server's, with its causes.
pub(super) fn without_answer(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    text
}
