//! A look at the target before anything is written: what is missing there, with the statement that
//! puts it right.

use std::sync::Arc;

use full_sync::Table;

use super::{
    PostgresConfig,
    client::{PgClient, PgConnection},
    create::{PgWish, create_unique},
    refusal::Refused,
    rights::{Lacking, PgRights},
    table::{PgTable, There},
};
use crate::{
    shape::Shape,
    sql::version_clash,
    target::{NOT_REACHED, TargetFinding},
};

/// The oldest version that is tested, as the server tells it.
const OLDEST: i32 = 150_000;

/// Looks.
pub(super) struct Look {
    pub(super) config: Arc<PostgresConfig>,
    pub(super) client: Arc<PgClient>,
    pub(super) shape: Arc<Shape>,
}

impl Look {
    pub(super) async fn at(&self, tables: &[Arc<Table>]) -> Vec<TargetFinding> {
        let mut connection = match self.client.get().await {
            Ok(connection) => connection,
            Err(failure) => {
                let said = failure.said.map(|said| format!(": {said}")).unwrap_or_default();
                return vec![TargetFinding::wrong(
                    format!("{}{said}", failure.reason),
                    NOT_REACHED,
                )];
            }
        };
        let mut found = Vec::new();
        let looked = async {
            found.push(self.version(&connection).await?);
            for table in tables {
                for more in self.at_table(&mut connection, table).await? {
                    // Of a schema all tables lack the same.
                    if !found.contains(&more) {
                        found.push(more);
                    }
                }
            }
            Ok(())
        };
        let looked: Result<(), Refused> = looked.await;
        match looked {
            Ok(()) => self.client.put(connection),
            Err(refused) => {
                let failure = refused.into_failure();
                let said = failure.said.map(|said| format!(": {said}")).unwrap_or_default();
                let what = format!("{}{said}", failure.reason);
                found.push(TargetFinding::wrong(what, "see the log of the server"));
            }
        }
        if let Some(wrong) = found.iter_mut().find(|found| found.is_wrong) {
            let (database, at) = (&self.config.database, &self.client.servers);
            wrong.what = format!("in the database {database} at {at}, {}", wrong.what);
        }
        found
    }

    async fn at_table(
        &self,
        connection: &mut PgConnection,
        source: &Table,
    ) -> Result<Vec<TargetFinding>, Refused> {
        let of_source = format!("{}.{}", source.schema, source.table);
        let Some(target) = self.config.table.of_table(&source.schema, &source.table) else {
            let what = format!("the target of {of_source} depends on the row");
            return Ok(vec![TargetFinding::good(what)]);
        };
        let Some((schema, name)) = target.split_once('.') else {
            let what = format!("`table` gives {target:?} for {of_source}");
            return Ok(vec![TargetFinding::wrong(what, "write \"public.{table}\"")]);
        };
        let rows = &self.config.rows;
        let version = rows.version_column.as_deref();
        if let Some(wrong) = version_clash(version, (&self.shape, source)) {
            return Ok(vec![wrong]);
        }
        let key: Vec<String> = match rows.is_audit {
            true => Vec::new(),
            false => {
                let key = source.primary_key.iter();
                key.map(|name| self.shape.name_of(name).into_owned()).collect()
            }
        };
        if key.is_empty() && !rows.is_audit && !rows.appends_keyless {
            return Ok(without_key(source));
        }
        let user = &self.config.user;
        let wish = PgWish {
            rows,
            user,
            shape: &self.shape,
            source: Some(source),
            schema,
            name,
            key: &key,
        };
        let table = PgTable::describe(connection, schema, name).await?;
        let there = There::of(connection, schema, table.as_ref()).await?;
        let lacking = wish.lacking(there);
        let mut found = Vec::new();
        if !lacking.is_empty() && !rows.create {
            let what = match &table {
                None => format!("{target} is missing"),
                Some(_) => format!("{target} lacks columns"),
            };
            let remedy = format!("set create = true, or run there: {}", lacking.join("; "));
            found.push(TargetFinding::wrong(what, remedy));
        }
        found.extend(table.as_ref().and_then(|table| without_index(table, &key)));
        let alter = lacking.first().filter(|_| table.is_some()).map(String::as_str);
        let rights = PgRights { user, rows, schema, name, alter };
        for Lacking { what, statement } in rights.lacking(connection).await? {
            found.push(TargetFinding::wrong(what, format!("run there: {statement}")));
        }
        if found.is_empty() {
            found.push(TargetFinding::good(match (&table, lacking.is_empty()) {
                (Some(_), true) => format!("{target} fits {of_source}"),
                (None, true) => format!(
                    "the target lacks {target}: the sink makes it when dts tells how {of_source} \
                     is defined"
                ),
                (_, false) => {
                    format!("the target lacks {target}, or columns of it: the sink makes them")
                }
            }));
        }
        Ok(found)
    }

    /// Which server it is, and which of its databases: remedies are statements there.
    async fn version(&self, connection: &PgConnection) -> Result<TargetFinding, Refused> {
        const SQL: &str = "SELECT current_setting('server_version'), \
             current_setting('server_version_num')::int, \
             current_database()::text";
        let row = connection.client.query_one(SQL, &[]).await?;
        let (name, number, database): (String, i32, String) = (row.get(0), row.get(1), row.get(2));
        let at = &self.client.servers;
        let what = format!("the database {database} at {at} is of PostgreSQL {name}");
        Ok(match number < OLDEST {
            true => TargetFinding::wrong(what, "use PostgreSQL 15 or newer"),
            false => TargetFinding::good(what),
        })
    }
}

fn without_index(table: &PgTable, key: &[String]) -> Option<TargetFinding> {
    let has_key = !key.is_empty() && key.iter().all(|name| table.column(name).is_some());
    let what = format!("{} has no unique index by which rows are found", table.quoted());
    (has_key && !table.is_unique_by(key))
        .then(|| TargetFinding::wrong(what, format!("run there: {}", create_unique(table, key))))
}

/// Of a table whose rows nothing finds at the target.
fn without_key(source: &Table) -> Vec<TargetFinding> {
    // Without its columns, the key is not known either.
    if source.columns.is_none() {
        return Vec::new();
    }
    let Table { schema, table, .. } = source;
    let what = format!("the table {schema}.{table} has no key: its rows are refused");
    let remedy = "set keyColumns in dts.toml, keyless = \"append\" here, or leave the table out";
    vec![TargetFinding::wrong(what, remedy)]
}
