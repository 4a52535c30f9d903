//! The real servers that `scripts/servers.sh` starts, and instances of a test's own.

mod kafka;
mod mysql;
mod postgres;
mod redis;
mod search;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

pub use self::{
    kafka::{Kafka, kafka_address, kafka_tool},
    mysql::{
        Mysql, connect, execute, mariadb_118_url, mariadb_1011_url, mysql_80_url, mysql_97_url,
    },
    postgres::Postgres,
    redis::Redis,
    search::{Document, Search, Searched, SecureSearch, search_port},
};
use crate::processes::Process;

/// The top of the repository.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_owned).unwrap_or_default()
}

/// Starts `scripts/servers.sh VERB... FOLDER OPTION...`, which becomes the server.
fn start_instance(folder: &Path, name: &str, verb: &[&str], options: &[&str]) -> Result<Process> {
    let script = repository().join("scripts/servers.sh");
    let script = script.to_str().context("the repository's path is not UTF-8")?;
    let path = folder.to_str().context("the folder's path is not UTF-8")?;
    Process::start(folder, name, &[&[script], verb, &[path], options].concat())
}
