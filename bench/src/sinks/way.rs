//! Who brings the rows to a target.

use anyhow::Result;

use super::job::Job;
use crate::{bare::Bare, load::Load, ratios::SINK};

const VERSION_COLUMN: &str = "_seq";

/// Who it is, with what is particular to it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Way {
    /// `event-worker`, whose sink keeps the version of a row or not.
    Sink {
        versioned: bool,
    },
    Bare(Bare),
    /// Debezium's sink connector, from Kafka.
    JdbcSink,
    /// A script that reads the table and writes it once.
    Script,
}

impl Way {
    /// All of them that do a job.
    pub(super) fn of(job: Job) -> Vec<Self> {
        let [plain, versioned] = [false, true].map(|versioned| Self::Sink { versioned });
        match job {
            Job::Mysql => vec![plain, versioned, Self::Bare(Bare::MysqlInsert), Self::JdbcSink],
            Job::Postgres => {
                let bare = [Bare::PostgresInsert, Bare::PostgresCopy].map(Self::Bare);
                [vec![plain, versioned], bare.to_vec()].concat()
            }
            Job::Search => vec![versioned, Self::Bare(Bare::Bulk), Self::Script],
            Job::RedisSet => vec![versioned, Self::Bare(Bare::RedisSet)],
            Job::RedisDelete => vec![plain, Self::Bare(Bare::RedisUnlink)],
        }
    }

    pub(super) fn name(self, job: Job) -> String {
        let who = match self {
            Self::Sink { versioned: true } if matches!(job, Job::Mysql | Job::Postgres) => {
                return format!("{}, {SINK}, versionColumn", job.name());
            }
            Self::Sink { .. } => SINK,
            Self::Bare(bare) => bare.name(),
            Self::JdbcSink => "Debezium's JDBC sink",
            Self::Script => "Python script, from a SELECT",
        };
        format!("{}, {who}", job.name())
    }

    /// The column that a table has beside those of the source.
    pub(super) fn version_column(self) -> Option<&'static str> {
        matches!(self, Self::Sink { versioned: true }).then_some(VERSION_COLUMN)
    }

    /// How many keys Redis has in the end.
    pub(super) fn keys(self, load: Load) -> u64 {
        match self {
            // Beside each row there is its version.
            Self::Sink { versioned: true } => 2 * load.rows(),
            Self::Sink { versioned: false } | Self::Bare(Bare::RedisUnlink) => 0,
            _ => load.rows(),
        }
    }

    /// The TOML of a listener that does it.
    pub(super) fn listener(self, job: Job, id: &str, address: &str) -> String {
        let version = self.version_column();
        let version = version.map_or(String::new(), |name| format!("versionColumn = {name:?}\n"));
        let handler = match job {
            Job::Mysql => format!(
                "mysql]\nhosts = [{address:?}]\nuser = \"root\"\ntable = \"copy.{{table}}\"\n\
                 {version}"
            ),
            Job::Postgres => format!(
                "postgres]\nhosts = [{address:?}]\nuser = \"postgres\"\ndatabase = \"postgres\"\n\
                 table = \"copy.{{table}}\"\n{version}"
            ),
            Job::Search => {
                format!("elasticsearch]\nurl = \"http://{address}\"\nindex = \"{{table}}\"\n")
            }
            Job::RedisSet => {
                format!("redis]\nurl = \"redis://{address}\"\nset = \"item:{{{{ PK.id }}}}\"\n")
            }
            Job::RedisDelete => {
                format!("redis]\nurl = \"redis://{address}\"\ndelete = \"item:{{{{ PK.id }}}}\"\n")
            }
        };
        format!(
            "[listeners.{id}]\nsubscribe = {{ bench = [\"t\"] }}\nstart = \"earliest\"\n\
             workers = 4\nbatchSize = 1000\n[listeners.{id}.handler.{handler}"
        )
    }
}

/// The command that is a bare client.
pub(super) fn bare_command(bare: Bare, source: &str, address: &str) -> Result<[String; 5]> {
    let me = std::env::current_exe()?.display().to_string();
    let [verb, word] = ["bare-writer", bare.word()].map(str::to_owned);
    Ok([me, verb, word, source.to_owned(), address.to_owned()])
}
