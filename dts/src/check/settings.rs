//! What a server's variables, and a few more questions, say about safety, time and identity.

use std::time::{Duration, SystemTime};

use mysql_async::Row;

use crate::{
    capture::Capture,
    check::{Finding, Severity},
    config::SourceConfig,
    replica::{self, Conn, Managed, Server},
    watch::Sight,
};

/// Less than this leaves too little time for repairs, before our position is purged.
const MIN_RETENTION: Duration = Duration::from_hours(24);

/// With a larger difference, the lag figures are meaningless.
const MAX_CLOCK_DIFFERENCE: Duration = Duration::from_secs(5);

/// The findings about the variables in addition to [`Server::findings`].
pub(super) fn of_variables(server: &Server) -> Vec<Finding> {
    let managed = Managed::of(server);
    let mut found = Vec::new();
    if let Some(name) = managed.name() {
        found.push(Finding {
            severity: Severity::Note,
            name: "managed",
            what: format!("this is {name}"),
            why: "its settings are changed in its console or with its own procedures, not with SET"
                .into(),
            remedy: "docs/mysql.md, \"Managed servers\", says where to find each setting".into(),
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
            why: "they need less of the network, and more CPU in dts".into(),
            remedy: "nothing to fix".into(),
        });
    }
    found
}

/// A replica that does not log the changes that it replicates has nothing for us to read.
pub(super) async fn of_replica(conn: &mut Conn, server: &Server) -> Option<Finding> {
    let is_off = server.is("log_replica_updates", "OFF") || server.is("log_slave_updates", "OFF");
    (is_off && replica::is_replica(conn).await).then(|| Finding {
        severity: Severity::Stop,
        name: "log_replica_updates",
        what: "this is a replica, and log_replica_updates is OFF".into(),
        why: "what it replicates is not in its binlog, so we would not see it".into(),
        remedy: "start it with --log-replica-updates (log_slave_updates before MySQL 8.0.26), or \
                 name its source in source.hosts"
            .into(),
    })
}

/// Whether we can distinguish a replica that is behind from a server that lost transactions.
pub(super) async fn of_rights(conn: &mut Conn) -> Option<Finding> {
    (!replica::may_see_replication(conn).await).then(|| Finding {
        severity: Severity::Warn,
        name: "privileges",
        what: "the user may not see whether the server is a replica, and how far it is".into(),
        why: "dts takes a replica that still has changes to apply for one that lost them".into(),
        remedy: "run the GRANT that `dts check` prints".into(),
    })
}

/// Whether our id is the server's own.
pub(super) fn of_own_id(config: &SourceConfig, server: &Server) -> Option<Finding> {
    let ours = config.server_id.to_string();
    (server.variable("server_id") == Some(ours.as_str())).then(|| Finding {
        severity: Severity::Stop,
        name: "server_id",
        what: format!("source.serverId is {ours}, which is the server's own id"),
        why: "the server sends nothing to a replica that has its id".into(),
        remedy: "set source.serverId to a number that nobody else uses, or leave it out".into(),
    })
}

/// Whether our id is another replica's. A running dts finds this out by itself: the server ends the
/// stream of one of the two.
pub(super) async fn of_taken_id(conn: &mut Conn, config: &SourceConfig) -> Option<Finding> {
    let ours = config.server_id;
    let replicas: Vec<Row> = match conn.query("SHOW REPLICAS").await {
        Ok(rows) => rows,
        // The statement's name before MySQL 8.0.22.
        Err(_) => conn.query("SHOW SLAVE HOSTS").await.unwrap_or_default(),
    };
    let is_taken = |row: &Row| row.get::<u32, _>(0) == Some(config.server_id);
    replicas.iter().any(is_taken).then(|| Finding {
        severity: Severity::Note,
        name: "server_id_taken",
        what: format!("a replica with our id, {ours}, is connected"),
        why: "no dts of this name answers at listen.address; two replicas with the same id end \
              each other's connection again and again"
            .into(),
        remedy: "if that replica is not this dts at another address, set another source.serverId"
            .into(),
    })
}

/// Whether the server leaves captured schemas out of its binlog, or left some out when it
/// replicated them.
pub(super) async fn of_filters(conn: &mut Conn, capture: &Capture) -> Vec<Finding> {
    let (only, without) = replica::binlog_filters(conn).await;
    let mut found: Vec<Finding> = not_logged(capture, (&only, &without))
        .map(|(severity, what)| Finding {
            severity,
            name: "binlog_filter",
            what,
            why: "changes that are not in the binlog are never seen".into(),
            remedy: "start the server without --binlog-do-db and --binlog-ignore-db, or leave \
                     these schemas out of [capture]"
                .into(),
        })
        .into_iter()
        .collect();
    let filters = replica::replication_filters(conn).await;
    found.extend((!filters.is_empty()).then(|| Finding {
        severity: Severity::Warn,
        name: "replication_filter",
        what: format!("this replica filters what it replicates: {}", filters.join("; ")),
        why: "changes that it leaves out are not in its binlog, so they are never seen".into(),
        remedy: "name its source in source.hosts, or a replica without filters".into(),
    }));
    found
}

/// The captured schemas whose changes the server does not log. `only`: the only schemas that it
/// logs (none: all); `without`: those that it does not log.
fn not_logged(
    capture: &Capture,
    (only, without): (&[String], &[String]),
) -> Option<(Severity, String)> {
    let is_logged = |schema: &str| {
        let schema = schema.to_owned();
        (only.is_empty() || only.contains(&schema)) && !without.contains(&schema)
    };
    let named = capture.globs().map(|(schema, _)| schema);
    let lost: Vec<&str> =
        named.filter(|schema| !schema.contains(['*', '?']) && !is_logged(schema)).collect();
    if !lost.is_empty() {
        let lost = lost.join(", ");
        return Some((Severity::Stop, format!("the server does not log changes of {lost}")));
    }
    let ignored: Vec<&str> =
        without.iter().map(String::as_str).filter(|schema| capture.may_include(schema)).collect();
    if !ignored.is_empty() {
        let what = format!("the server does not log changes of {}", ignored.join(", "));
        return Some((Severity::Warn, what));
    }
    let is_open = capture.globs().all(|(schema, _)| schema.contains(['*', '?']));
    (is_open && !only.is_empty())
        .then(|| (Severity::Warn, format!("the server logs changes of {} only", only.join(", "))))
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
        why: "lag is the time from a commit by its clock to now by ours, so it is wrong by this \
              difference"
            .into(),
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
            why: "if dts is stopped for longer than that, changes are lost to it".into(),
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
            why: "then the changes in it are lost to dts".into(),
            remedy: format!("start dts now, and {}", managed.keep_binlogs(168)),
        });
    }
    found
}

#[cfg(test)]
mod tests {
    use service::config::File;

    use super::*;

    fn judged(globs: &str, only: &[&str], without: &[&str]) -> Option<(Severity, String)> {
        let text = format!("[capture]\ntables = [{globs}]\n");
        let file = File::parse(std::path::Path::new("dts.toml"), &text).unwrap();
        let capture = Capture::read(&file.root().section("capture"));
        let owned =
            |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        not_logged(&capture, (&owned(only), &owned(without)))
    }

    #[test]
    fn missing_schemas_stop_dts_if_capture_names_them_and_are_warned_of_otherwise() {
        let (stop, warn) = (Some(Severity::Stop), Some(Severity::Warn));
        for (globs, only, without, expected) in [
            ("'shop.*'", &[][..], &[][..], None),
            ("'shop.*'", &[], &["shop"], stop),
            ("'shop.*', 'a.b'", &[], &["a"], stop),
            ("'shop.*'", &[], &["scratch"], None),
            ("'shop.*'", &["shop"], &[], None),
            ("'shop.*'", &["other"], &[], stop),
            ("'s*.*'", &[], &["shop"], warn),
            ("'s*.*'", &[], &["other"], None),
            ("'s*.*'", &["other"], &[], warn),
            ("", &[], &["shop"], warn),
            ("", &[], &["mysql"], None),
        ] {
            let severity = judged(globs, only, without).map(|(severity, _)| severity);
            assert_eq!(severity, expected, "{globs} {only:?} {without:?}");
        }
    }
}
