//! Looks whether the target has what the sink needs.

use std::{collections::BTreeMap, sync::Arc};

use handler::Failure;

use super::{
    client::{TargetConn, TargetError},
    create::Wish,
    grant::{grant, lacking, needed},
    table::TargetTable,
    writer::Writer,
};
use crate::{
    sql::{DELETED_TABLE, version_clash},
    target::{NOT_REACHED, TargetFinding},
};

/// What is lacking, by schema: the tables by the privileges that are lacking on them.
type Denied = BTreeMap<String, BTreeMap<Vec<&'static str>, Vec<String>>>;

impl Writer {
    /// Looks for each table whether the target has it, with its columns, and lets us write.
    pub(super) async fn check(&self, sources: &[Arc<full_sync::Table>]) -> Vec<TargetFinding> {
        let mut conn = match self.client.take().await {
            Ok(conn) => conn,
            Err(error) => {
                let failure = error.into_failure();
                return vec![TargetFinding::wrong(failure.reason, NOT_REACHED)];
            }
        };
        let product = if conn.is_mariadb { "MariaDB" } else { "MySQL" };
        let mut found = vec![TargetFinding::good(format!("{product} at {} answers", conn.address))];
        let mut denied = Denied::new();
        for source in sources {
            match self.check_table(&mut conn, source, &mut denied).await {
                Ok(finding) => found.extend(finding),
                Err(error) => {
                    let Failure { reason, .. } = error.into_failure();
                    found.push(TargetFinding::wrong(reason, "see what the target is doing"));
                }
            }
        }
        let account = &conn.account;
        found.extend(denied.iter().map(|(schema, lacks)| {
            let is_lacking = |of: &&str| lacks.keys().any(|lacking| lacking.contains(of));
            let all: Vec<&str> = needed(&self.config).into_iter().filter(is_lacking).collect();
            let on = |(lacking, tables): (&Vec<&str>, &Vec<String>)| {
                format!("{} on {}", lacking.join(", "), tables.join(", "))
            };
            let what = lacks.iter().map(on).collect::<Vec<_>>().join("; ");
            TargetFinding::wrong(format!("{account} lacks {what}"), grant(&all, schema, account))
        }));
        self.client.give_back(conn);
        found
    }

    async fn check_table(
        &self,
        conn: &mut TargetConn,
        source: &full_sync::Table,
        denied: &mut Denied,
    ) -> Result<Option<TargetFinding>, TargetError> {
        let (config, shape) = (&*self.config, &*self.means.shape);
        let Some(target) = config.table.of_table(&source.schema, &source.table) else {
            return Ok(None);
        };
        let version = config.version_column.as_deref();
        if let Some(wrong) = version_clash(version, (shape, source)) {
            return Ok(Some(wrong));
        }
        let has_key = !source.primary_key.is_empty();
        let is_audit = config.is_audit || (!has_key && config.appends_keyless);
        let table = self.tables.describe((&self.client, conn), &target, source, shape).await?;
        if !has_key && !is_audit && table.unique.is_empty() {
            return Ok(Some(keyless(source)));
        }
        if self.is_denied((conn, denied), (&target, &table), is_audit).await? {
            return Ok(None);
        }
        let wish = Wish { config, source: Some(source), shape, is_audit };
        let lacks = wish.lacking(&table);
        Ok(lacks.map(|sql| {
            let what = format!("the target lacks {target}, or columns of it");
            match config.create {
                true => TargetFinding::good(format!("{what}: the sink makes them")),
                false => TargetFinding::wrong(what, format!("run there: {sql}")),
            }
        }))
    }

    /// Notes the privileges that are lacking on a table, and on that with the numbers of deletes.
    async fn is_denied(
        &self,
        (conn, denied): (&mut TargetConn, &mut Denied),
        (target, table): (&str, &TargetTable),
        is_audit: bool,
    ) -> Result<bool, TargetError> {
        let client = &self.client;
        let all = needed(&self.config);
        let is_made = self.config.create;
        let of_table = all.iter().copied();
        let of_table = of_table.filter(|of| *of != "CREATE" || is_made && table.columns.is_empty());
        let mut found = vec![(target.to_owned(), table.clone(), of_table.collect::<Vec<_>>())];
        if self.config.version_column.is_some() && !is_audit {
            let names = (&*table.schema, DELETED_TABLE);
            let deleted = self.tables.describe_alone((client, &mut *conn), names).await?;
            let is_there = !deleted.columns.is_empty();
            let of_deleted = all.iter().copied();
            let of_deleted =
                of_deleted.filter(|of| *of != "ALTER" && (*of != "CREATE" || !is_there));
            found.push((
                format!("{}.{DELETED_TABLE}", table.schema),
                deleted,
                of_deleted.collect(),
            ));
        }
        let mut is_denied = false;
        for (name, table, needed) in found {
            let lacks = lacking((client, &mut *conn), &table, &needed).await?;
            if !lacks.is_empty() {
                is_denied = true;
                let of_schema = denied.entry(table.schema.clone()).or_default();
                let tables = of_schema.entry(lacks).or_default();
                if !tables.contains(&name) {
                    tables.push(name);
                }
            }
        }
        Ok(is_denied)
    }
}

/// Without a key no row is found. `dts` does not tell whether `keyColumns` gives it one; then
/// somebody makes a unique index at the target.
fn keyless(source: &full_sync::Table) -> TargetFinding {
    let what = format!(
        "{}.{} has no primary key: its events are refused, unless keyColumns in dts.toml names \
         columns of it, and the target has a unique index on them",
        source.schema, source.table
    );
    let remedy = "set keyColumns in dts.toml, or keyless = \"append\" for an audit log of it, or \
                  leave the table out";
    TargetFinding::wrong(what, remedy)
}
