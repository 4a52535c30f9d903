//! A look at the target before anything is written: what is missing there, with the statement that
//! puts it right.

use std::sync::Arc;

use full_sync::Table;

use super::{
    PostgresConfig,
    client::{PgClient, PgConnection},
    create::{PgWish, create_deleted, create_unique},
    refusal::Refused,
    table::{PgTable, quoted},
};
use crate::{
    shape::Shape,
    sql::DELETED_TABLE,
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
        let connection = match self.client.get().await {
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
            found.push(version(&connection).await?);
            for table in tables {
                found.extend(self.at_table(&connection, table).await?);
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
        found
    }

    async fn at_table(
        &self,
        connection: &PgConnection,
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
        let key: Vec<String> = match rows.is_audit {
            true => Vec::new(),
            false => {
                let key = source.primary_key.iter();
                key.map(|name| self.shape.name_of(name).into_owned()).collect()
            }
        };
        let has_own_rows = rows.is_audit || (key.is_empty() && rows.appends_keyless);
        let wish =
            PgWish { rows, shape: &self.shape, source: Some(source), schema, name, key: &key };
        let table = PgTable::describe(connection, schema, name).await?;
        let lacking = match &table {
            // Which key such a table has is seen by its events.
            _ if key.is_empty() && !has_own_rows => Vec::new(),
            table => wish.lacking(table.as_ref()),
        };
        let mut found = Vec::new();
        if !lacking.is_empty() && !rows.create {
            let what = match &table {
                None => format!("{target} is missing"),
                Some(_) => format!("{target} lacks columns"),
            };
            let remedy = format!("set create = true, or run there: {}", lacking.join("; "));
            found.push(TargetFinding::wrong(what, remedy));
        }
        if let Some(table) = &table
            && !key.is_empty()
            && key.iter().all(|name| table.column(name).is_some())
            && !table.is_unique_by(&key)
        {
            let what = format!("{target} has no unique index by which rows are found");
            found.push(TargetFinding::wrong(
                what,
                format!("run there: {}", create_unique(table, &key)),
            ));
        }
        let makes_tables = rows.create && table.is_none();
        found.extend(self.rights(connection, (schema, name), makes_tables, table.is_some()).await?);
        if found.is_empty() {
            found.push(TargetFinding::good(format!("{target} fits {of_source}")));
        }
        Ok(found)
    }

    /// What the user may not do.
    async fn rights(
        &self,
        connection: &PgConnection,
        (schema, name): (&str, &str),
        makes_tables: bool,
        is_there: bool,
    ) -> Result<Vec<TargetFinding>, Refused> {
        let user = quoted(&self.config.user);
        let client = &connection.client;
        let row = client.query_one(RIGHTS, &[&schema, &name, &DELETED_TABLE]).await?;
        let (has_schema, may_use, may_create): (bool, bool, bool) =
            (row.get(0), row.get(1), row.get(2));
        let (may_write, may_make_schema, has_deleted): (bool, bool, bool) =
            (row.get(3), row.get(4), row.get(5));
        let mut found = Vec::new();
        let mut lacks = |what: &str, remedy: String| {
            found.push(TargetFinding::wrong(
                format!("the user {} {what}", self.config.user),
                format!("run there: {remedy}"),
            ));
        };
        if makes_tables && !has_schema && !may_make_schema {
            let schema = quoted(schema);
            lacks(
                &format!("may not make the schema {schema}"),
                format!("CREATE SCHEMA {schema} AUTHORIZATION {user}"),
            );
        }
        if has_schema && !may_use {
            lacks(
                &format!("may not use the schema {schema}"),
                format!("GRANT USAGE ON SCHEMA {} TO {user}", quoted(schema)),
            );
        }
        if makes_tables && has_schema && !may_create {
            lacks(
                &format!("may not make tables in the schema {schema}"),
                format!("GRANT CREATE ON SCHEMA {} TO {user}", quoted(schema)),
            );
        }
        if is_there && !may_write {
            let table = format!("{}.{}", quoted(schema), quoted(name));
            lacks(
                &format!("may not read and write {table}"),
                format!("GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO {user}"),
            );
        }
        let keeps_deletes = self.config.rows.version_column.is_some();
        if keeps_deletes && has_schema && !has_deleted && !may_create {
            lacks(
                &format!("may not make the table {DELETED_TABLE} in the schema {schema}"),
                format!(
                    "{}; GRANT ALL ON {}.{DELETED_TABLE} TO {user}",
                    create_deleted(schema),
                    quoted(schema)
                ),
            );
        }
        Ok(found)
    }
}

/// Of a schema, its table, and the sink's own table in it.
const RIGHTS: &str = "SELECT n.oid IS NOT NULL, \
    coalesce(has_schema_privilege(n.oid, 'USAGE'), false), \
    coalesce(has_schema_privilege(n.oid, 'CREATE'), false), \
    coalesce(has_table_privilege(c.oid, 'SELECT') AND has_table_privilege(c.oid, 'INSERT') \
    AND has_table_privilege(c.oid, 'UPDATE') AND has_table_privilege(c.oid, 'DELETE'), false), \
    has_database_privilege(current_database(), 'CREATE'), \
    EXISTS (SELECT FROM pg_class d WHERE d.relnamespace = n.oid AND d.relname = $3) \
    FROM (SELECT $1::text AS schema, $2::text AS name) asked \
    LEFT JOIN pg_namespace n ON n.nspname = asked.schema \
    LEFT JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = asked.name";

async fn version(connection: &PgConnection) -> Result<TargetFinding, Refused> {
    const SQL: &str = "SELECT current_setting('server_version'), \
         current_setting('server_version_num')::int, \
         current_database()::text";
    let row = connection.client.query_one(SQL, &[]).await?;
    let (name, number, database): (String, i32, String) = (row.get(0), row.get(1), row.get(2));
    let what = format!("the database {database} is of PostgreSQL {name}");
    Ok(match number < OLDEST {
        true => TargetFinding::wrong(what, "use PostgreSQL 15 or newer"),
        false => TargetFinding::good(what),
    })
}
