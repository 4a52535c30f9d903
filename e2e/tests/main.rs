//! Tests of whole programs against real servers.

#![expect(clippy::print_stdout, reason = "the figures of a run belong to its output")]

mod books;
mod check;
mod containers;
mod equal_texts;
mod events;
mod everyday;
mod failing;
mod failover;
mod forged;
mod full_sync;
mod gray;
mod history;
mod kafka;
mod kills;
mod listener_groups;
mod mariadb;
mod mariadb_failover;
mod mariadb_rollback;
mod mariadb_xa;
mod mirrored;
mod oversize;
mod parking;
mod positions;
mod refusals;
mod rehearsal;
mod replay;
mod shipped;
mod sinks;
mod source;
mod tidy;
mod tls;
mod values;
mod versions;
mod why;
mod xa;
