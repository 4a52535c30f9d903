//! The settings of a server that must change, and the statement that changes each.

use super::{
    managed::Managed,
    server::{Product, Server},
};
use crate::check::{Finding, Severity};

/// A variable that must have one value.
struct RequiredSetting {
    name: &'static str,
    wanted: &'static str,
    why: &'static str,
}

const SETTINGS: [RequiredSetting; 2] = [
    RequiredSetting {
        name: "binlog_format",
        wanted: "ROW",
        why: "other formats log statements, not rows",
    },
    RequiredSetting {
        name: "binlog_row_metadata",
        wanted: "FULL",
        why: "without it the binlog has no column names and no keys (MySQL 8.0.1 and \
              MariaDB 10.5 have it, and later ones)",
    },
];

impl Server {
    /// The settings to change, as far as the server's variables show them.
    pub fn findings(&self) -> Vec<Finding> {
        let mut found = Vec::new();
        found.extend(self.too_old());
        if !self.is("log_bin", "ON") {
            found.push(Finding {
                severity: Severity::Stop,
                name: "log_bin",
                what: "the binlog is off (log_bin = OFF)".into(),
                why: "there are no changes to read".into(),
                remedy: Managed::of(self).binlog_on(),
            });
        }
        found.extend(SETTINGS.iter().filter_map(|setting| self.judge(setting)));
        if !self.is("binlog_row_image", "FULL")
            && self.is("binlog_row_value_options", "PARTIAL_JSON")
        {
            found.push(Finding {
                severity: Severity::Stop,
                name: "binlog_row_value_options",
                what: "binlog_row_value_options is PARTIAL_JSON and binlog_row_image is not FULL"
                    .into(),
                why: "JSON columns are logged as differences, and the documents before the change \
                      are not logged"
                    .into(),
                remedy: "SET PERSIST binlog_row_value_options = ''".into(),
            });
        }
        if !self.is("binlog_row_image", "FULL") {
            found.push(Finding {
                severity: Severity::Warn,
                name: "binlog_row_image",
                what: "binlog_row_image is not FULL".into(),
                why: "events lack the columns that the server does not log, and tables without a \
                      primary key cannot be captured"
                    .into(),
                remedy: format!(
                    "{}, or leave it so if that is intended",
                    Managed::of(self).set("binlog_row_image", "FULL")
                ),
            });
        }
        if self.gtid_executed.is_none() {
            found.push(Finding {
                severity: Severity::Warn,
                name: "gtid_mode",
                what: "GTIDs are off".into(),
                why: "we can follow this one server only, and recognise a restored backup by its \
                      files only"
                    .into(),
                remedy: "turn gtid_mode ON in the manual's four steps, when convenient".into(),
            });
        }
        if self.product == Product::Mariadb {
            found.extend(of_mariadb(self));
        }
        found
    }

    /// A server without column names in its binlog: no setting helps.
    fn too_old(&self) -> Option<Finding> {
        let (product, version) = (self.product, &self.version);
        let needed = match product {
            Product::Mysql => "MySQL 8.0.1",
            Product::Mariadb => "MariaDB 10.5",
        };
        self.variable("binlog_row_metadata").is_none().then(|| Finding {
            severity: Severity::Stop,
            name: "version",
            what: format!("{product} {version} is too old"),
            why: "its binlog has no column names and no keys".into(),
            remedy: format!(
                "upgrade it to {needed} or later; or let such a server replicate from it, with \
                 log_replica_updates (log_slave_updates) and binlog_row_metadata = FULL, and name \
                 that one in source.hosts"
            ),
        })
    }

    /// A finding, if the variable does not have the one value that we can work with.
    fn judge(&self, setting: &RequiredSetting) -> Option<Finding> {
        let RequiredSetting { name, wanted, why } = setting;
        let value = self.variables.get(*name).map(String::as_str);
        // A server that does not know the variable is too old; another finding says that.
        let shown = value.filter(|value| !value.eq_ignore_ascii_case(wanted))?;
        let statement = Managed::of(self).set(name, &format!("'{wanted}'"));
        Some(Finding {
            severity: Severity::Stop,
            name,
            what: format!("{name} is {shown}"),
            why: (*why).to_owned(),
            remedy: format!("{statement}, then reconnect the applications"),
        })
    }
}

/// Settings to change, in addition to those that MySQL needs too.
fn of_mariadb(server: &Server) -> Vec<Finding> {
    let mut found = Vec::new();
    if !server.is("gtid_strict_mode", "ON") {
        found.push(Finding {
            severity: Severity::Warn,
            name: "gtid_strict_mode",
            what: "gtid_strict_mode is OFF".into(),
            why: "dts may not notice that a server which took over has other transactions of its \
                  own"
            .into(),
            remedy: Managed::of(server).set("gtid_strict_mode", "ON"),
        });
    }
    if server.is("server_id", "1") {
        found.push(Finding {
            severity: Severity::Warn,
            name: "server_id",
            what: "server_id is 1".into(),
            why: "every new MariaDB has this id, and dts identifies servers by it".into(),
            remedy: "give each server a server_id of its own under [mariadbd] in its config file"
                .into(),
        });
    }
    found
}

#[cfg(test)]
mod tests {
    use binlog::GtidSet;

    use super::*;

    #[test]
    fn a_server_without_column_names_in_its_binlog_counts_as_too_old() {
        let server = |version: &str, more: &[(&str, &str)]| {
            let always =
                [("log_bin", "ON"), ("binlog_format", "ROW"), ("binlog_row_image", "FULL")];
            let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
            Server {
                uuid: String::new(),
                version: version.to_owned(),
                gtid_executed: Some(GtidSet::default()),
                gtid_purged: GtidSet::default(),
                product: Product::Mysql,
                variables: always.iter().chain(more).map(owned).collect(),
            }
        };
        let found = server("5.7.44-log", &[]).findings();
        let [Finding { severity: Severity::Stop, name: "version", what, remedy, .. }] = &found[..]
        else {
            panic!("{found:?}");
        };
        assert_eq!(what, "MySQL 5.7.44-log is too old");
        assert!(!remedy.contains("SET GLOBAL"), "{remedy}");
        let minimal = server("8.0.31", &[("binlog_row_metadata", "MINIMAL")]).findings();
        assert_eq!(
            minimal[0].remedy.split(',').next(),
            Some("SET PERSIST binlog_row_metadata = 'FULL'")
        );
        assert!(server("8.0.31", &[("binlog_row_metadata", "FULL")]).findings().is_empty());
    }
}
