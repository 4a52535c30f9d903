//! What an error means: this row is refused, or nothing goes on for now.

use handler::Failure;
use redis::RedisError;

use crate::target::TargetFinding;

/// What a server says of one command.
#[derive(Debug)]
pub(super) enum Refusal {
    /// The row does not fit what is there. It may hold values of the row.
    OfRow(String),
    /// No command would be done now: the batch waits.
    OfAll(Failure),
}

/// An error of a server that refuses all commands.
struct Wait {
    code: &'static str,
    means: &'static str,
    remedy: &'static str,
}

const fn wait(code: &'static str, means: &'static str, remedy: &'static str) -> Wait {
    Wait { code, means, remedy }
}

const SOON: &str = "wait, it goes on by itself";

const WAITS: [Wait; 13] = [
    wait("LOADING", "it is reading its data from disk", SOON),
    wait("READONLY", "it is a read-only replica", "make `url` lead to the primary"),
    wait(
        "OOM",
        "its memory is full",
        "raise maxmemory there, or set a maxmemory-policy that evicts",
    ),
    wait("CLUSTERDOWN", "the cluster does not serve all slots", "see CLUSTER INFO there"),
    wait("MASTERDOWN", "it has lost its primary", "start the primary, or wait for a failover"),
    wait("TRYAGAIN", "slots are moving", SOON),
    wait("MOVED", "it is a node of a cluster", "write cluster = true"),
    wait("BUSY", "a script runs there for long", "wait, or end it with SCRIPT KILL"),
    wait("MISCONF", "it cannot save its data to disk", "see its log, and make room there"),
    wait(
        "NOREPLICAS",
        "it has fewer replicas than min-replicas-to-write",
        "start them, or set less",
    ),
    wait("NOSCRIPT", "it has lost a script just now", SOON),
    wait("NOPERM", "the user may not do that", "run `event-worker check`: it names the grant"),
    wait("NOAUTH", "it wants a password", "write user and password"),
];

/// What a cluster says while it changes.
const MOVING: Wait = wait("MOVED", "its slots move, or a node takes over", SOON);

/// Who said it.
#[derive(Debug)]
pub(super) struct Peer {
    /// For messages.
    pub(super) address: String,
    /// Any of its nodes may have said it.
    pub(super) is_cluster: bool,
}

fn wait_of(peer: &Peer, error: &RedisError) -> Option<&'static Wait> {
    let code = error.code()?;
    if peer.is_cluster && code == MOVING.code {
        return Some(&MOVING);
    }
    WAITS.iter().find(|wait| wait.code == code)
}

impl Refusal {
    pub(super) fn of(peer: &Peer, error: &RedisError) -> Self {
        let Some(code) = error.code() else { return Self::OfAll(failure(peer, error)) };
        if wait_of(peer, error).is_some() {
            return Self::OfAll(failure(peer, error));
        }
        let detail = error.detail().unwrap_or_default();
        Self::OfRow(format!("the server refuses it: {code} {detail}"))
    }
}

/// Why nothing is done, or nobody knows.
pub(super) fn failure(peer: &Peer, error: &RedisError) -> Failure {
    let address = &peer.address;
    if error.is_timeout() {
        return Failure::unclear(format!(
            "{address}: it has not answered in time (`timeout`): look at its host and its log, or \
             raise `timeout` where it is only slow"
        ));
    }
    if let Some(Wait { code, means, remedy }) = wait_of(peer, error) {
        let failure = Failure::unclear(format!("{address}: {means}: {remedy} ({code})"));
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

/// What is wrong and what to do, for somebody who looks at the server before anything is written.
pub(super) fn finding(peer: &Peer, error: &RedisError) -> TargetFinding {
    let address = &peer.address;
    let remedy = match wait_of(peer, error) {
        Some(Wait { code, means, remedy }) => {
            return TargetFinding::wrong(format!("{address}: {means} ({code})"), *remedy);
        }
        None if is_about_password(error) => "correct user and password",
        None if error.is_timeout() => "look at its host and its log",
        None => "start it, or correct url",
    };
    TargetFinding::wrong(failure(peer, error).reason, remedy)
}

fn is_about_password(error: &RedisError) -> bool {
    error.code() == Some("WRONGPASS") || error.kind() == redis::ErrorKind::AuthenticationFailed
}
