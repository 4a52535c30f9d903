//! What a server's variables, and a few questions more, say about safety, time and identity.

use std::time::{Duration, SystemTime};

use mysql_async::Row;

use crate::{
    binlog::{self, Conn, Managed, Server},
    config::SourceConfig,
    finding::{Finding, Severity},
    watch::Sight,
};

/// Less than this is a night's trouble away from a purged position.
const MIN_RETENTION: Duration = Duration::from_hours(24);

/// A larger difference makes figures of lag meaningless.
const MAX_CLOCK_DIFFERENCE: Duration = Duration::from_secs(5);

/// What the variables tell beyond [`Server::findings`].
pub(super) fn of_variables(server: &Server) -> Vec<Finding> {
    let managed = Managed::of(server);
    let mut found = Vec::new();
    if let Some(name) = managed.name() {
        found.push(Finding {
            severity: Severity::Note,
            name: "managed",
            what: format!("this is {name}"),
            why: "settings are made in its console or by its own procedures, not by SET".into(),
            remedy: "docs/operating.md, \"Managed servers\", says which is where".into(),
        });
    }
    for (name, why) in [
        ("sync_binlog", "after a crash the server may lose transactions that we have read"),
        ("innodb_flush_log_at_trx_commit", "a crash may lose commits that applications rely on"),
    ] {
        if let Some(value) = server.variable(name).filter(|value| *value != "1") {
            found.push(Finding {
                severity: Severity::Warn,
                name,
                what: format!("{name} is {value}"),
                why: why.to_owned(),
                remedy: managed.set(name, "1"),
            });
        }
    }
    if server.is("binlog_transaction_compression", "ON") {
        found.push(Finding {
            severity: Severity::Note,
            name: "binlog_transaction_compression",
            what: "transactions are compressed in the binlog".into(),
            why: "they take less of the network, and more of our CPU".into(),
            remedy: "nothing needs mending".into(),
        });
    }
    found
}

/// A replica that does not log what it replicates has nothing for us to read.
pub(super) async fn of_replica(conn: &mut Conn, server: &Server) -> Option<Finding> {
    let is_off = server.is("log_replica_updates", "OFF") || server.is("log_slave_updates", "OFF");
    (is_off && binlog::is_replica(conn).await).then(|| Finding {
        severity: Severity::Stop,
        name: "log_replica_updates",
        what: "this is a replica, and log_replica_updates is OFF".into(),
        why: "what it replicates is not in its binlog, so we would not see it".into(),
        remedy: "start it with --log-replica-updates (log_slave_updates before MySQL 8.0.26), or \
                 name its source in source.hosts"
            .into(),
    })
}

/// Whether we could tell a replica that is behind from a server that lost transactions.
pub(super) async fn of_rights(conn: &mut Conn) -> Option<Finding> {
    (!binlog::may_see_replication(conn).await).then(|| Finding {
        severity: Severity::Warn,
        name: "privileges",
        what: "the user may not see whether the server is a replica, and how far it is".into(),
        why: "a replica that takes over while it is still applying counts as one that has lost \
              transactions"
            .into(),
        remedy: "run the GRANT that is printed".into(),
    })
}

/// Whether our id is another's.
pub(super) async fn of_server_id(
    conn: &mut Conn,
    config: &SourceConfig,
    server: &Server,
) -> Option<Finding> {
    let ours = config.server_id.to_string();
    if server.variable("server_id") == Some(ours.as_str()) {
        return Some(Finding {
            severity: Severity::Stop,
            name: "server_id",
            what: format!("source.serverId is {ours}, which is the server's own id"),
            why: "the server sends nothing to a replica that has its id".into(),
            remedy: "set source.serverId to a number that nobody else uses, or leave it out".into(),
        });
    }
    let replicas: Vec<Row> = match conn.query("SHOW REPLICAS").await {
        Ok(rows) => rows,
        // The statement's name before MySQL 8.0.22.
        Err(_) => conn.query("SHOW SLAVE HOSTS").await.unwrap_or_default(),
    };
    let is_taken = |row: &Row| row.get::<u32, _>(0) == Some(config.server_id);
    replicas.iter().any(is_taken).then(|| Finding {
        severity: Severity::Note,
        name: "server_id",
        what: format!("a replica with our id, {ours}, is connected"),
        why: "if that is not this dts itself, the two would cut each other off in turn".into(),
        remedy: "stop dts and check again; if it is still there, set another source.serverId"
            .into(),
    })
}

/// Whether the clocks agree.
pub(super) async fn of_clock(conn: &mut Conn) -> Option<Finding> {
    let before = SystemTime::now();
    let there: Option<f64> =
        conn.query_first("SELECT UNIX_TIMESTAMP(NOW(6)) + 0E0").await.ok().flatten();
    let here = before + before.elapsed().unwrap_or_default() / 2;
    let here = here.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs_f64();
    let difference = there? - here;
    (difference.abs() > MAX_CLOCK_DIFFERENCE.as_secs_f64()).then(|| Finding {
        severity: Severity::Warn,
        name: "clock",
        what: format!("the server's clock differs from ours by {difference:.1} s"),
        why: "lag is measured from its commits to our present, and is wrong by as much".into(),
        remedy: "let both machines take their time from the same NTP servers".into(),
    })
}

/// Whether the server keeps binlogs long enough, in general and for us now.
pub(super) fn of_retention(server: &Server, sight: &Sight) -> Vec<Finding> {
    let managed = Managed::of(server);
    let shown = |time: Duration| {
        humantime::format_duration(Duration::from_secs(time.as_secs())).to_string()
    };
    let mut found = Vec::new();
    if let Some(kept) = sight.expires_after().filter(|kept| *kept < MIN_RETENTION) {
        found.push(Finding {
            severity: Severity::Warn,
            name: "binlog_expire_logs_seconds",
            what: format!("the server deletes binlog files after {}", shown(kept)),
            why: "when dts is away for longer, what was written meanwhile is lost to it".into(),
            remedy: managed.keep_binlogs(168),
        });
    }
    if let (Some(left), Some(behind)) = (sight.purge_is_near(), sight.bytes_behind()) {
        found.push(Finding {
            severity: Severity::Warn,
            name: "purge",
            what: format!(
                "the binlog file that we need next may be deleted in {}, and we are {behind} bytes \
                 behind",
                shown(left)
            ),
            why: "then what is in it is lost to dts".into(),
            remedy: format!("start dts now, and {}", managed.keep_binlogs(168)),
        });
    }
    found
}
