//! Tables whose changes a MariaDB logs as statements, whatever `binlog_format` says: tables whose
//! history is kept by transaction.

use crate::{
    config::SourceConfig,
    error::{Error, Result},
    replica,
};

/// Why a change of a table was logged as a statement, if the table is such a table; otherwise the
/// earlier error.
pub(super) async fn explain(
    source: &SourceConfig,
    (schema, table): (String, String),
    error: Error,
) -> Error {
    match is_by_transaction(source, (&schema, &table)).await {
        Ok(true) => Error::refused(
            format!(
                "MariaDB logs the changes of table {schema}.{table} as statements, because its \
                 history is kept by transaction (ROW START and ROW END are BIGINT), so its rows are not \
                 known"
            ),
            format!(
                "leave the table out (capture.exclude = [\"{schema}.{table}\"]), or create it again \
                 with a history by time (TIMESTAMP(6)) and begin after that (`dts position set`)"
            ),
        ),
        _ => error,
    }
}

async fn is_by_transaction(source: &SourceConfig, names: (&str, &str)) -> Result<bool> {
    let query = "SELECT COUNT(*) FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = ? AND \
                 TABLE_NAME = ? AND DATA_TYPE = 'bigint' AND GENERATION_EXPRESSION = 'ROW START'";
    let mut conn = replica::connect(source).await?;
    let found: Option<u64> =
        conn.exec_first(query, names).await.map_err(|error| replica::classify(source, error))?;
    Ok(found > Some(0))
}
