//! A connection to the source, which has the changes of the events.
//!
//! A replica that is behind would have older rows, or none, and the sink would go on with these for
//! good. So a server is asked whether it has the transactions of the events.

use std::collections::BTreeSet;

use handler::Failure;
use mysql_async::{IoError, Opts};
use service::Address;
use source_table::{Conn, TableError, TableResult, is_mariadb, quote, session};
use tokio::time::timeout;

use super::{FetchConfig, short::Short};
use crate::connection::mysql_options;

/// A transaction that has changed a row and not ended is waited for so long; then again.
const MAX_LOCK_WAIT_SECONDS: u64 = 10;

pub(super) const SOURCE_AWAY: &str = "see that a server that `oversized.fetch` of the sink names \
                                      runs, answers, and lets this user read the table \
                                      (`event-worker check` looks); nothing is skipped, and the \
                                      same events are tried again by themselves";

/// A connection.
pub(super) struct SourceConn {
    pub(super) conn: Conn,
    address: String,
    /// Who we are for the server, as GRANT names it.
    account: String,
    /// Whether the server may have logged changes that a SELECT does not show yet.
    pub(super) may_be_early: bool,
}

impl FetchConfig {
    /// A connection to the first host that has the changes of these events.
    ///
    /// # Errors
    ///
    /// What each host says.
    pub(super) async fn connect(&self, events: &[Short<'_>]) -> Result<SourceConn, Failure> {
        let gtids = events.iter().filter_map(|one| one.read.source.gtid.as_deref());
        let gtids: BTreeSet<&str> = gtids.collect();
        let is_unnamed = events.iter().any(|one| one.read.source.gtid.is_none());
        let mut said = Vec::new();
        for host in &self.hosts {
            match self.open_with(host, &gtids).await {
                Ok(mut source) => {
                    source.may_be_early |= is_unnamed;
                    return Ok(source);
                }
                Err(why) => said.push(why),
            }
        }
        Err(away(format!("the source: {}", said.join("; "))))
    }

    async fn open_with(
        &self,
        host: &Address,
        gtids: &BTreeSet<&str>,
    ) -> Result<SourceConn, String> {
        let mut source = self.open(host).await?;
        match source.has(gtids).await {
            Ok(true) => Ok(source),
            Ok(false) => Err(format!(
                "{} does not have a transaction whose row is to be fetched: it is a replica that \
                 is behind (name the server that dts reads from), or its binlogs were reset",
                source.address
            )),
            Err(error) => Err(source.said(error)),
        }
    }

    /// A connection that reads only.
    ///
    /// # Errors
    ///
    /// What the server says, or that it does not answer.
    pub(super) async fn open(&self, host: &Address) -> Result<SourceConn, String> {
        let address = host.to_string();
        let opened = timeout(self.timeout, mysql_async::Conn::new(self.options(host))).await;
        let client = match opened {
            Ok(Ok(client)) => client,
            Ok(Err(error)) => return Err(told(&address, error)),
            Err(_) => {
                let deadline = self.timeout;
                return Err(format!("{address} has not answered within {deadline:?} (`timeout`)"));
            }
        };
        let conn = Conn::from(client).waiting(self.timeout);
        let may_be_early = is_mariadb(conn.server_version());
        let mut source = SourceConn { conn, address, account: String::new(), may_be_early };
        match self.set_up(&mut source).await {
            Ok(()) => Ok(source),
            Err(error) => Err(source.said(error)),
        }
    }

    async fn set_up(&self, source: &mut SourceConn) -> TableResult<()> {
        let SourceConn { conn, account, .. } = source;
        session(conn).await?;
        let seconds = self.timeout.as_secs().max(1);
        // Before our own time-out, so that the server says what it waited for.
        let lock_seconds = seconds.min(MAX_LOCK_WAIT_SECONDS);
        let limit = match is_mariadb(conn.server_version()) {
            true => format!("max_statement_time = {seconds}"),
            false => format!("max_execution_time = {}", seconds.saturating_mul(1000)),
        };
        let wait = format!("SET SESSION {limit}, innodb_lock_wait_timeout = {lock_seconds}");
        conn.query_drop(wait).await?;
        let who: Option<String> = conn.query_first("SELECT CURRENT_USER()").await?;
        let who = who.unwrap_or_default();
        let (user, host) = who.rsplit_once('@').unwrap_or((&who, "%"));
        *account = format!("{}@{}", quote::text(user), quote::text(host));
        Ok(())
    }

    fn options(&self, host: &Address) -> Opts {
        let user = (&*self.user, self.password.as_ref());
        mysql_options(host, user, &self.tls).into()
    }
}

impl SourceConn {
    /// Whether the server has committed all of these transactions.
    async fn has(&mut self, gtids: &BTreeSet<&str>) -> TableResult<bool> {
        if gtids.is_empty() {
            return Ok(true);
        }
        if is_mariadb(self.conn.server_version()) {
            let query = "SELECT CONCAT(@@GLOBAL.gtid_binlog_pos, ',', @@GLOBAL.gtid_slave_pos)";
            let positions: Option<String> = self.conn.query_first(query).await?;
            let positions = positions.unwrap_or_default();
            return Ok(gtids.iter().all(|gtid| is_reached(&positions, gtid)));
        }
        let all = gtids.iter().copied().collect::<Vec<_>>().join(",");
        let query = "SELECT GTID_SUBSET(?, @@GLOBAL.gtid_executed)";
        Ok(self.conn.exec_first(query, (all,)).await? == Some(1_u8))
    }

    /// What an error says of the server as a whole.
    pub(super) fn failure(&self, error: TableError) -> Failure {
        away(format!("the source: {}", self.said(error)))
    }

    /// An error, with the server's address; no value of a row is in it.
    pub(super) fn said(&self, error: TableError) -> String {
        match error {
            TableError::Server(error) => told(&self.address, error),
            other => format!("{}: {other}", self.address),
        }
    }

    /// The statement that lets us read a table.
    pub(super) fn grant(&self, schema: &str, table: &str) -> String {
        let (schema, table) = (quote::identifier(schema), quote::identifier(table));
        format!("run there: GRANT SELECT ON {schema}.{table} TO {}", self.account)
    }

    pub(super) fn address(&self) -> &str {
        &self.address
    }

    pub(super) fn account(&self) -> &str {
        &self.account
    }
}

pub(super) fn away(reason: String) -> Failure {
    Failure { remedy: Some(SOURCE_AWAY), ..Failure::away(reason) }
}

fn told(address: &str, error: mysql_async::Error) -> String {
    match error {
        mysql_async::Error::Server(error) => {
            format!("{address} says: {} ({})", error.message, error.code)
        }
        // The outer ones say "Input/output error" each.
        mysql_async::Error::Io(IoError::Io(error)) => format!("{address}: {error}"),
        error => format!("{address}: {error}"),
    }
}

/// Whether a MariaDB with these positions, `0-1-23` for each domain, has a transaction.
fn is_reached(positions: &str, gtid: &str) -> bool {
    let read = |text: &str| {
        let (domain, rest) = text.trim().split_once('-')?;
        let (_, number) = rest.split_once('-')?;
        Some((domain.parse::<u32>().ok()?, number.parse::<u64>().ok()?))
    };
    let Some((domain, number)) = read(gtid) else { return false };
    let mut reached = positions.split(',').filter_map(read);
    reached.any(|(of, to)| of == domain && to >= number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mariadb_has_what_its_positions_reach() {
        for (positions, gtid, expected) in [
            ("0-1-23,", "0-1-23", true),
            ("0-1-22,0-2-24", "0-1-23", true),
            ("0-1-22,", "0-1-23", false),
            ("1-1-99, 0-1-5", "0-1-6", false),
            (",", "0-1-1", false),
            ("0-1-9", "e1bd91da-ebc1-11f1-8a5a-02fc00000001:1", false),
        ] {
            assert_eq!(is_reached(positions, gtid), expected, "{positions} {gtid}");
        }
    }
}
