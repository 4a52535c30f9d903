//! Asks a server for what its binlog hides: types, and which columns are generated.

use super::{
    conn::Conn,
    connect::classify,
    server::{Product, Server},
};
use crate::{config::SourceConfig, decode::HiddenTypes, error::Result};

const COLUMNS: &str = "SELECT TABLE_SCHEMA, TABLE_NAME, COLUMN_NAME, DATA_TYPE, \
    IF(COLUMN_TYPE LIKE '%mariadb-5.3%', IFNULL(DATETIME_PRECISION, 0), 0), \
    IS_GENERATED = 'ALWAYS' FROM information_schema.COLUMNS \
    WHERE DATA_TYPE IN ('uuid', 'inet4', 'inet6', 'vector') \
    OR (DATETIME_PRECISION > 0 AND COLUMN_TYPE LIKE '%mariadb-5.3%') OR IS_GENERATED = 'ALWAYS'";

impl Server {
    /// Whether its binlog hides the types of some columns.
    pub fn hides_types(&self) -> bool {
        self.product == Product::Mariadb
    }

    /// The columns whose types the binlog hides, of the tables that the user may see.
    ///
    /// # Errors
    ///
    /// As [`connect`](super::connect()).
    pub async fn hidden_types(conn: &mut Conn, config: &SourceConfig) -> Result<HiddenTypes> {
        let rows: Vec<(String, String, String, String, u8, bool)> =
            conn.query(COLUMNS).await.map_err(|error| classify(config, error))?;
        let mut types = HiddenTypes::default();
        for (schema, table, column, data_type, fraction, is_generated) in rows {
            if is_generated {
                types.add_generated((schema.clone(), table.clone()), column.clone());
            }
            types.add((schema, table), column, (&data_type, fraction));
        }
        Ok(types)
    }
}
