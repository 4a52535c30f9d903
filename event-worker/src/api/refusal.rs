//! How the API says that a call is refused: the status, and a code where there is one.

use axum::http::StatusCode;
use full_sync::{Code, Refusal};
use service::http::ApiError;

use crate::{
    error::Error,
    full_sync::{RefusedCall, word},
    replay::RefusedReplay,
};

impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        let status = match &error {
            Error::Config(_) | Error::UnknownListenerGroup { .. } => StatusCode::BAD_REQUEST,
            Error::Bus(event_bus::Error::GroupActive { .. })
            | Error::NotSkippable { .. }
            | Error::ListenerStopped => StatusCode::CONFLICT,
            Error::UnknownPartition { .. } => StatusCode::NOT_FOUND,
            error if error.is_transient() => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(status, error.to_string(), error.remedy())
    }
}

impl From<RefusedCall> for ApiError {
    fn from(refused: RefusedCall) -> Self {
        match refused {
            RefusedCall::ByDts(refusal) => by_dts(refusal),
            RefusedCall::Unanswered(producers) => unanswered(&producers),
            RefusedCall::Unknown => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "the bus did not answer within 5 s; dts may have the request, and carry it out",
                "see that the bus works; then look whether `event-worker full-sync list` shows the \
                 full sync, before you ask again",
            )
            .with_code("no_answer"),
            RefusedCall::NotSubscribed { listener, table } => Self::new(
                StatusCode::NOT_FOUND,
                format!("listener {listener} does not subscribe to a table {table:?}"),
                "name a table that its `subscribe` names, as table or schema.table, or leave out \
                 `table` for all of them",
            )
            .with_code("no_such_table"),
            RefusedCall::NotTaken(listener) => Self::new(
                StatusCode::CONFLICT,
                format!(
                    "listener {listener} takes no full syncs (fullSync = false): its handler does \
                     work that must not be repeated for rows that did not change"
                ),
                "name another listener; or see that its handler recognises rows of a full sync by \
                 their Origin, remove fullSync = false from its config, and reload",
            )
            .with_code("full_sync_refused"),
            RefusedCall::NoSuchTask(id) => Self::new(
                StatusCode::NOT_FOUND,
                format!("there is no full sync {id:?}"),
                "GET /api/v1/full-syncs lists them; dts forgets old ones",
            ),
            RefusedCall::Ended(task) => Self::new(
                StatusCode::CONFLICT,
                format!(
                    "the full sync {} has nothing more to send: it is {}",
                    task.id,
                    word(task.state)
                ),
                "start another full sync; to stop rows that are sent already, pause the listener",
            )
            .with_code("already_ended")
            .with("task", task.id),
            RefusedCall::Failed(error) => error.into(),
            RefusedCall::Broken(message) => {
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, message, "see the log")
            }
        }
    }
}

impl From<RefusedReplay> for ApiError {
    fn from(refused: RefusedReplay) -> Self {
        match refused {
            RefusedReplay::NotSubscribed { listener, table } => Self::new(
                StatusCode::NOT_FOUND,
                format!("listener {listener} does not subscribe to a table {table:?}"),
                "name a table that its `subscribe` names, as table or schema.table, or leave out \
                 `table` for all of them",
            )
            .with_code("no_such_table"),
            RefusedReplay::Running(id) => Self::new(
                StatusCode::CONFLICT,
                format!("the replay {id} of this listener has not ended"),
                "wait for its end (event-worker replay watch), or cancel it",
            )
            .with_code("already_running")
            .with("replay", id),
            RefusedReplay::NoSuchReplay(id) => Self::new(
                StatusCode::NOT_FOUND,
                format!("there is no replay {id:?}"),
                "GET /api/v1/replays lists them; they are removed a week after their end",
            )
            .with_code("no_such_replay"),
            RefusedReplay::Ended(id, state) => Self::new(
                StatusCode::CONFLICT,
                format!("the replay {id} has ended: it is {}", state.word()),
                "start another one",
            )
            .with_code("already_ended"),
            RefusedReplay::Failed(error) => error.into(),
            bounds => wrong_bounds(&bounds),
        }
    }
}

/// Why nothing can come between the bounds of a replay.
fn wrong_bounds(refused: &RefusedReplay) -> ApiError {
    let bad = StatusCode::BAD_REQUEST;
    let (status, code, message, remedy) = match refused {
        RefusedReplay::Future(time) => (
            bad,
            "invalid_parameter",
            format!("from is {time}, which is in the future"),
            "name an earlier time; the clock of this machine decides",
        ),
        RefusedReplay::OffsetGone { topic, partition, offset, first } => (
            StatusCode::GONE,
            "offset_gone",
            format!(
                "offset {offset} was deleted by retention: the first one in partition {partition} \
                 of {topic} is {first}"
            ),
            "begin there, or with earliest; a full sync sends the rows as they are now",
        ),
        RefusedReplay::Empty { kept } => (
            bad,
            "no_events",
            format!(
                "the listener has done no event between from and to; done and kept are the \
                 offsets {kept}"
            ),
            "name a range among these; later events come to the listener anyway",
        ),
        _ => (
            StatusCode::CONFLICT,
            "no_events",
            "the listener has done no event yet".to_owned(),
            "let it run first: only what it has done can come once more",
        ),
    };
    ApiError::new(status, message, remedy).with_code(code)
}

fn by_dts(Refusal { code, message, remedy, task }: Refusal) -> ApiError {
    let (status, code) = match code {
        Code::InvalidParameter => (StatusCode::BAD_REQUEST, "invalid_parameter"),
        Code::NoSuchTable => (StatusCode::NOT_FOUND, "no_such_table"),
        Code::AmbiguousTable => (StatusCode::CONFLICT, "ambiguous_table"),
        Code::AlreadyRunning => (StatusCode::CONFLICT, "already_running"),
        Code::NotPossible => (StatusCode::UNPROCESSABLE_ENTITY, "not_possible"),
        Code::SourceAway => (StatusCode::SERVICE_UNAVAILABLE, "source_away"),
    };
    let error = ApiError::new(status, message, remedy).with_code(code);
    match task {
        Some(task) => error.with("task", task),
        None => error,
    }
}

fn unanswered(producers: &[String]) -> ApiError {
    let (message, remedy) = match producers {
        [] => (
            "no dts has ever written to this bus, so none can send the rows".to_owned(),
            "start dts, and see that [bus] says the same in dts.toml and here".to_owned(),
        ),
        [name] => (
            format!("dts {name} has not answered within 5 s; nothing is sent"),
            "start it, or see in its log and its /api/v1/status whether it reaches MySQL; then ask \
             again"
                .to_owned(),
        ),
        names => (
            format!("none of the dts {} has answered within 5 s", names.join(", ")),
            "start the one that reads this table, and ask again".to_owned(),
        ),
    };
    ApiError::new(StatusCode::SERVICE_UNAVAILABLE, message, remedy).with_code("no_answer")
}
