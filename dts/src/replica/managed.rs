//! Servers that a provider runs: how they are recognised, and what replaces a statement there
//! (docs/mysql.md has the table).

use super::server::Server;

/// Who runs a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Managed {
    /// Its user.
    Not {
        /// Whether it has SET PERSIST (MySQL 8.0).
        persists: bool,
    },
    /// Amazon RDS.
    Rds,
    /// Amazon Aurora.
    Aurora,
    /// Google Cloud SQL.
    CloudSql,
    /// Alibaba Cloud ApsaraDB RDS or PolarDB.
    ApsaraDb,
}

impl Managed {
    /// Who runs this server, judged by its variables.
    pub(crate) fn of(server: &Server) -> Self {
        let basedir = server.variable("basedir").unwrap_or_default();
        Self::by(&server.version, basedir, server.variables().map(|(name, _)| name))
    }

    fn by<'a>(version: &str, basedir: &str, mut names: impl Iterator<Item = &'a str>) -> Self {
        let theirs = names.find_map(|name| match name {
            "aurora_version" => Some(Self::Aurora),
            name if name.starts_with("rds_") || name.starts_with("polardb_") => {
                Some(Self::ApsaraDb)
            }
            _ => None,
        });
        match theirs {
            Some(Self::Aurora) => Self::Aurora,
            _ if basedir.starts_with("/rdsdbbin") => Self::Rds,
            Some(theirs) => theirs,
            None if version.contains("-google") => Self::CloudSql,
            None => {
                let persists = !version.starts_with("5.") && !version.contains("MariaDB");
                Self::Not { persists }
            }
        }
    }

    /// Its name, if it is managed.
    pub(crate) fn name(self) -> Option<&'static str> {
        match self {
            Self::Not { .. } => None,
            Self::Rds => Some("Amazon RDS"),
            Self::Aurora => Some("Amazon Aurora"),
            Self::CloudSql => Some("Google Cloud SQL"),
            Self::ApsaraDb => Some("Alibaba Cloud ApsaraDB"),
        }
    }

    /// How a variable is set permanently.
    pub(crate) fn set(self, name: &str, value: &str) -> String {
        match self {
            Self::Not { persists: true } => format!("SET PERSIST {name} = {value}"),
            Self::Not { persists: false } => {
                format!("SET GLOBAL {name} = {value}, and write it into the server's my.cnf")
            }
            Self::Rds => {
                format!("set {name} = {value} in the parameter group of the DB instance")
            }
            Self::Aurora => {
                format!("set {name} = {value} in the parameter group of the DB cluster")
            }
            Self::CloudSql => format!("set the database flag {name} = {value} of the instance"),
            Self::ApsaraDb => {
                format!("set {name} = {value} under Parameters of the instance in the console")
            }
        }
    }

    /// How the binlog is turned on.
    pub(crate) fn binlog_on(self) -> String {
        match self {
            Self::Not { .. } => {
                "start the server with --log-bin and a --server-id, without --skip-log-bin"
            }
            Self::Rds => "turn automated backups on (a backup retention of a day or more)",
            Self::Aurora => {
                "set binlog_format = 'ROW' in the parameter group of the DB cluster, and restart \
                 the writer"
            }
            Self::CloudSql => "turn point-in-time recovery on for the instance",
            Self::ApsaraDb => "ask the provider: the binlog cannot be turned off there",
        }
        .to_owned()
    }

    /// How binlog files are kept for longer.
    pub(crate) fn keep_binlogs(self, hours: u64) -> String {
        match self {
            Self::Not { persists: true } => {
                format!("SET PERSIST binlog_expire_logs_seconds = {}", hours * 3600)
            }
            Self::Not { persists: false } => {
                let days = hours.div_ceil(24);
                format!("SET GLOBAL expire_logs_days = {days}, and write it into my.cnf")
            }
            Self::Rds | Self::Aurora => {
                format!("CALL mysql.rds_set_configuration('binlog retention hours', {hours})")
            }
            Self::CloudSql => format!(
                "raise the days of transaction log retention of the instance, and the database \
                 flag binlog_expire_logs_seconds to {}",
                hours * 3600
            ),
            Self::ApsaraDb => format!(
                "under Backup and Restoration, local log settings, set the retention to {hours} \
                 hours, and the space that binlogs may take so that it is reached"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn managed_servers_are_recognised_by_their_variables() {
        let by = |version: &str, basedir: &str, names: &[&'static str]| {
            Managed::by(version, basedir, names.iter().copied())
        };
        assert_eq!(by("9.7.4-2", "/usr/", &["server_id"]), Managed::Not { persists: true });
        assert_eq!(by("5.7.29-log", "/usr/", &[]), Managed::Not { persists: false });
        assert_eq!(by("8.0.35", "/rdsdbbin/mysql/", &["rds_x"]), Managed::Rds);
        assert_eq!(by("8.0.39", "/rdsdbbin/oscar/", &["aurora_version"]), Managed::Aurora);
        assert_eq!(by("8.0.31-google", "/usr/", &[]), Managed::CloudSql);
        assert_eq!(by("8.0.36", "/u01/mysql/", &["rds_release_date"]), Managed::ApsaraDb);
    }
}
