//! What `event-worker` and `dts` tell each other through the bus: about full syncs, and about the
//! tables that there are.
//!
//! `event-worker` writes what is *wanted* into the bus's control table: a [`Request`] for each
//! call, a [`Wish`] for a task that is to pause, go on or end, and what each listener is
//! [`Listening`] to. `dts` alone decides, and keeps what *is* in its checkpoint: an [`Answer`] to
//! each request, and a [`Task`] for each table. All are JSON. A reader skips members that are new
//! to it, so that two versions can talk.

mod answer;
mod catalog;
mod listening;
mod request;
mod task;

pub use answer::{Answer, Code, Refusal};
pub use catalog::{CHECKSUMS, Captured, Catalog, SYSTEM_SCHEMAS, Table, TableColumn};
pub use listening::{HeardTables, Listening};
pub use request::{Request, Wish, Wished};
pub use task::{Task, TaskState};

/// In the control table, what the keys of requests begin with; the id follows.
pub const REQUEST_PREFIX: &str = "full-sync/request/";

/// In the control table, what the keys of wishes begin with; the task's id follows.
pub const WISH_PREFIX: &str = "full-sync/wish/";

/// In the control table, what the keys of [`Listening`] begin with; the listener's name follows.
pub const LISTENING_PREFIX: &str = "full-sync/listening/";

/// In the checkpoint of `dts`, what the keys of answers begin with; the request's id follows.
pub const ANSWER_PREFIX: &str = "full-sync/answer/";

/// In the checkpoint of `dts`, what the keys of tasks begin with; the id follows.
pub const TASK_PREFIX: &str = "full-sync/task/";

/// In the checkpoint of `dts`, the key of its [`Catalog`].
pub const CAPTURED_KEY: &str = "catalog/captured";

/// In the checkpoint of `dts`, what the keys of each [`Table`] begin with; schema and table follow.
pub const TABLE_PREFIX: &str = "catalog/table/";

/// The header of a record that is for one listener only, and for which.
pub const LISTENER_HEADER: &str = "listener";
