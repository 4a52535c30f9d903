//! What an error means: this row is refused, or nothing goes on for now.

use handler::Failure;
use redis::RedisError;

/// What a server says of one command.
#[derive(Debug)]
pub(super) enum Refusal {
    /// The row does not fit what is there. It may hold values of the row.
    OfRow(String),
    /// No command would be done now: the batch waits.
    OfAll(Failure),
}

/// What a server's error means that refuses all commands, and what to do.
const WAITS: [(&str, &str); 13] = [
    ("LOADING", "it is reading its data from disk"),
    ("READONLY", "it is a read-only replica: `url` must lead to the primary"),
    ("OOM", "its memory is full: raise maxmemory there, or set a maxmemory-policy that evicts"),
    ("CLUSTERDOWN", "the cluster does not serve all slots: see CLUSTER INFO"),
    ("MASTERDOWN", "it has lost its primary"),
    ("TRYAGAIN", "slots are moving"),
    ("MOVED", "it is a node of a cluster: write cluster = true"),
    ("BUSY", "a script runs there for long"),
    ("MISCONF", "it cannot save its data to disk: see its log"),
    ("NOREPLICAS", "it has fewer replicas than min-replicas-to-write"),
    ("NOSCRIPT", "it has lost a script just now"),
    ("NOPERM", "the user may not do that: `event-worker check` names the grant"),
    ("NOAUTH", "it wants a password: write user and password"),
];

impl Refusal {
    pub(super) fn of(address: &str, error: &RedisError) -> Self {
        let Some(code) = error.code() else { return Self::OfAll(failure(address, error)) };
        if WAITS.iter().any(|(wait, _)| *wait == code) {
            return Self::OfAll(failure(address, error));
        }
        let detail = error.detail().unwrap_or_default();
        Self::OfRow(format!("the server refuses it: {code} {detail}"))
    }
}

/// Why nothing is done, or nobody knows.
pub(super) fn failure(address: &str, error: &RedisError) -> Failure {
    if error.is_timeout() {
        return Failure::unclear(format!("{address}: it has not answered in time (`timeout`)"));
    }
    let code = error.code().unwrap_or_default();
    if let Some((code, meaning)) = WAITS.iter().find(|(wait, _)| *wait == code) {
        let failure = Failure::unclear(format!("{address}: {meaning} ({code})"));
        return match error.detail() {
            Some(said) => failure.saying(said),
            None => failure,
        };
    }
    if is_about_password(error) {
        return Failure::unclear(format!("{address}: user or password is wrong"));
    }
    Failure::unclear(format!("{address}: {}", handler::shown(error.to_string().as_bytes())))
}

fn is_about_password(error: &RedisError) -> bool {
    error.code() == Some("WRONGPASS") || error.kind() == redis::ErrorKind::AuthenticationFailed
}
