//! What the user may not do at the target, with the statement that lets it.

use super::{
    PgRows,
    client::PgConnection,
    create::{create_deleted, create_schema},
    refusal::Refused,
    table::quoted,
};
use crate::sql::DELETED_TABLE;

/// Who needs rights, and for what.
#[derive(Clone, Copy, Debug)]
pub(super) struct PgRights<'a> {
    pub(super) user: &'a str,
    pub(super) rows: &'a PgRows,
    pub(super) schema: &'a str,
    pub(super) name: &'a str,
    /// The statement that adds the columns that the table lacks.
    pub(super) alter: Option<&'a str>,
}

/// What is lacking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Lacking {
    pub(super) what: String,
    pub(super) statement: String,
}

impl PgRights<'_> {
    /// Asks the server.
    ///
    /// # Errors
    ///
    /// Why it did not answer.
    pub(super) async fn lacking(&self, connection: &PgConnection) -> Result<Vec<Lacking>, Refused> {
        let row = connection
            .client
            .query_one(RIGHTS, &[&self.schema, &self.name, &DELETED_TABLE])
            .await?;
        Ok(self.of(&Has {
            schema: row.get(0),
            usage: row.get(1),
            create: row.get(2),
            database: row.get(3),
            table: row.get(4),
            writes: row.get(5),
            owns: row.get(6),
            deleted: row.get(7),
            writes_deleted: row.get(8),
        }))
    }

    fn of(&self, has: &Has) -> Vec<Lacking> {
        let (user, schema) = (quoted(self.user), quoted(self.schema));
        let table = format!("{schema}.{}", quoted(self.name));
        let deleted = format!("{schema}.{DELETED_TABLE}");
        let makes_table = self.rows.create && !has.table;
        let keeps_deletes = self.rows.version_column.is_some() && has.schema;
        let mut found = Vec::new();
        let mut lacks = |what: String, statement: String| {
            let what = format!("the user {} {what}", self.user);
            found.push(Lacking { what, statement });
        };
        if makes_table && !has.schema && !has.database {
            lacks(
                format!("may not make the schema {schema}"),
                create_schema(self.schema, self.user),
            );
        }
        if has.schema && !has.usage {
            let grant = format!("GRANT USAGE ON SCHEMA {schema} TO {user}");
            lacks(format!("may not use the schema {schema}"), grant);
        }
        if makes_table && has.schema && !has.create {
            let grant = format!("GRANT CREATE ON SCHEMA {schema} TO {user}");
            lacks(format!("may not make tables in the schema {schema}"), grant);
        }
        if has.table && !has.writes {
            let grant = format!("GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO {user}");
            lacks(format!("may not read and write {table}"), grant);
        }
        if let Some(alter) = self.alter.filter(|_| self.rows.create && has.table && !has.owns) {
            lacks(format!("may not add columns to {table}: it is not its owner"), alter.to_owned());
        }
        if keeps_deletes && !has.deleted && !has.create {
            let what = format!("may not make the table {DELETED_TABLE} in the schema {schema}");
            let grant = format!("GRANT ALL ON {deleted} TO {user}");
            lacks(what, format!("{}; {grant}", create_deleted(self.schema)));
        }
        if keeps_deletes && has.deleted && !has.writes_deleted {
            let grant = format!("GRANT SELECT, INSERT, UPDATE, DELETE ON {deleted} TO {user}");
            lacks(format!("may not read and write {deleted}"), grant);
        }
        found
    }
}

/// What is there, and what the user may do with it.
#[derive(Debug)]
struct Has {
    schema: bool,
    usage: bool,
    create: bool,
    /// It may make schemas.
    database: bool,
    table: bool,
    writes: bool,
    owns: bool,
    deleted: bool,
    writes_deleted: bool,
}

/// Of a schema, its table, and the sink's own table in it.
const RIGHTS: &str = "SELECT n.oid IS NOT NULL, \
    coalesce(has_schema_privilege(n.oid, 'USAGE'), false), \
    coalesce(has_schema_privilege(n.oid, 'CREATE'), false), \
    has_database_privilege(current_database(), 'CREATE'), \
    c.oid IS NOT NULL, \
    coalesce(has_table_privilege(c.oid, 'SELECT') AND has_table_privilege(c.oid, 'INSERT') \
    AND has_table_privilege(c.oid, 'UPDATE') AND has_table_privilege(c.oid, 'DELETE'), false), \
    coalesce(pg_has_role(c.relowner, 'USAGE'), false), \
    d.oid IS NOT NULL, \
    coalesce(has_table_privilege(d.oid, 'SELECT') AND has_table_privilege(d.oid, 'INSERT') \
    AND has_table_privilege(d.oid, 'UPDATE') AND has_table_privilege(d.oid, 'DELETE'), false) \
    FROM (SELECT $1::text AS schema, $2::text AS name) asked \
    LEFT JOIN pg_namespace n ON n.nspname = asked.schema \
    LEFT JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = asked.name \
    LEFT JOIN pg_class d ON d.relnamespace = n.oid AND d.relname = $3";
