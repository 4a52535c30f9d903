//! What is measured.

/// What is measured in turns, on one target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Job {
    Mysql,
    Postgres,
    Search,
    RedisSet,
    RedisDelete,
}

impl Job {
    pub(super) const ALL: [Self; 5] =
        [Self::Mysql, Self::Postgres, Self::Search, Self::RedisSet, Self::RedisDelete];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Mysql => "to MySQL",
            Self::Postgres => "to PostgreSQL",
            Self::Search => "to OpenSearch",
            Self::RedisSet => "to Redis",
            Self::RedisDelete => "deletes in Redis",
        }
    }
}
