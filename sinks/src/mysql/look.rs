//! Looks whether the target has what the sink needs.

use std::sync::Arc;

use handler::Failure;

use super::{client::TargetConn, create::Wish, writer::Writer};
use crate::target::{NOT_REACHED, TargetFinding};

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
        for source in sources {
            found.extend(self.check_table(&mut conn, source).await);
        }
        self.client.give_back(conn);
        found
    }

    async fn check_table(
        &self,
        conn: &mut TargetConn,
        source: &full_sync::Table,
    ) -> Option<TargetFinding> {
        let shape = &self.means.shape;
        let target = self.config.table.of_table(&source.schema, &source.table)?;
        let is_audit = self.config.is_audit || source.primary_key.is_empty();
        let wish = Wish { config: &self.config, source: Some(source), shape, is_audit };
        let described = self.tables.describe((&self.client, conn), &target, source, shape).await;
        let table = match described {
            Ok(table) => table,
            Err(error) => {
                let Failure { reason, .. } = error.into_failure();
                return Some(TargetFinding::wrong(reason, "see what the target is doing"));
            }
        };
        if let Some(sql) = wish.lacking(&table) {
            let what = format!("the target lacks {target}, or columns of it");
            return match self.config.create {
                true => Some(TargetFinding::good(format!("{what}: the sink makes them"))),
                false => Some(TargetFinding::wrong(what, format!("run there: {sql}"))),
            };
        }
        let name = table.quoted();
        let tried = self.client.run(conn, &format!("DELETE FROM {name} WHERE FALSE")).await;
        tried.err().map(|error| {
            let Failure { reason, .. } = error.into_failure();
            let user = &self.config.user;
            let remedy = format!(
                "run there: GRANT SELECT, INSERT, UPDATE, DELETE ON {name} TO '{user}'@'…'"
            );
            TargetFinding::wrong(reason, remedy)
        })
    }
}
