//! Asks a server for what its binlog does not show: types, and which columns are generated.

use std::collections::BTreeSet;

use source_table::Conn;

use super::{
    connect::classify,
    server::{Product, Server},
};
use crate::{config::SourceConfig, error::Result};

const COLUMNS: &str = "SELECT TABLE_SCHEMA, TABLE_NAME, COLUMN_NAME, DATA_TYPE, \
    IF(COLUMN_TYPE LIKE '%mariadb-5.3%', IFNULL(DATETIME_PRECISION, 0), 0), \
    IS_GENERATED = 'ALWAYS' FROM information_schema.COLUMNS \
    WHERE DATA_TYPE IN ('uuid', 'inet4', 'inet6', 'vector') OR IS_GENERATED = 'ALWAYS' \
    OR (DATETIME_PRECISION > 0 AND COLUMN_TYPE LIKE '%mariadb-5.3%')";

/// A column with something that the binlog does not show.
#[derive(Clone, Debug)]
pub struct HiddenColumn {
    /// Its schema.
    pub schema: String,
    /// Its table.
    pub table: String,
    /// Its name.
    pub name: String,
    /// Its type, as `information_schema.COLUMNS.DATA_TYPE` names it.
    pub data_type: String,
    /// The digits of fraction of a time in the format before MariaDB 10.1.2; 0 for any other
    /// column.
    pub fraction: u8,
    /// Whether the server computes its values from other columns.
    pub is_generated: bool,
}

impl Server {
    /// Whether its binlog does not show the types of some columns.
    pub fn hides_types(&self) -> bool {
        self.product == Product::Mariadb
    }

    /// The columns with something that the binlog does not show, in the tables that the user may
    /// see.
    ///
    /// # Errors
    ///
    /// As [`connect`](super::connect()).
    pub async fn hidden_columns(
        conn: &mut Conn,
        config: &SourceConfig,
    ) -> Result<Vec<HiddenColumn>> {
        let rows: Vec<(String, String, String, String, u8, bool)> =
            conn.query(COLUMNS).await.map_err(|error| classify(config, error))?;
        let column = |(schema, table, name, data_type, fraction, is_generated)| HiddenColumn {
            schema,
            table,
            name,
            data_type,
            fraction,
            is_generated,
        };
        Ok(rows.into_iter().map(column).collect())
    }

    /// All columns of these tables that exist.
    ///
    /// # Errors
    ///
    /// As [`connect`](super::connect()).
    pub async fn columns_of(
        conn: &mut Conn,
        config: &SourceConfig,
        tables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<BTreeSet<(String, String, String)>> {
        const OF_TABLE: &str = "SELECT TABLE_SCHEMA, TABLE_NAME, COLUMN_NAME \
            FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ?";
        let mut columns = BTreeSet::new();
        for table in tables {
            let found: Vec<(String, String, String)> =
                conn.exec(OF_TABLE, table).await.map_err(|error| classify(config, error))?;
            columns.extend(found);
        }
        Ok(columns)
    }
}
