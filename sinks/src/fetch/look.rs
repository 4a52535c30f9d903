//! Looks whether the source lets us read the rows of tables.

use std::sync::Arc;

use full_sync::Table;

use super::{
    Fetch,
    rows::{Seen, no_table, see},
    short::TablePlace,
    source::{SOURCE_AWAY, SourceConn},
};
use crate::target::TargetFinding;

impl Fetch {
    /// Whether a host is there, and lets us read these tables.
    pub(crate) async fn check(&self, tables: &[Arc<Table>]) -> Vec<TargetFinding> {
        let (mut found, mut said) = (Vec::new(), Vec::new());
        for host in &self.config.hosts {
            match self.config.open(host).await {
                Ok(mut source) => {
                    let address = source.address();
                    let what = format!("MySQL at {address} answers (oversized.fetch)");
                    found.push(TargetFinding::good(what));
                    for table in tables {
                        found.extend(check_table(&mut source, table).await);
                    }
                }
                Err(why) => said.push(format!("{why} (oversized.fetch)")),
            }
        }
        let is_any = !found.is_empty();
        found.extend(said.into_iter().map(|why| match is_any {
            true => TargetFinding::doubtful(why, "see that it runs; the other hosts are asked"),
            false => TargetFinding::wrong(why, SOURCE_AWAY),
        }));
        found
    }
}

async fn check_table(source: &mut SourceConn, table: &Table) -> Option<TargetFinding> {
    let (schema, name) = (table.schema.clone(), table.table.clone());
    let place = TablePlace { schema, table: name, key: Vec::new() };
    let name = place.name();
    match see(source, &place).await {
        Ok(Seen::Readable) => None,
        Ok(Seen::Denied(_)) => {
            let what = format!("{} may not read all of {name}", source.account());
            Some(TargetFinding::wrong(what, source.grant(&place.schema, &place.table)))
        }
        Ok(Seen::Missing) => {
            let what = no_table(source.address(), &name);
            Some(TargetFinding::wrong(what, "correct `hosts` of oversized.fetch"))
        }
        Err(error) => Some(TargetFinding::wrong(source.said(error), SOURCE_AWAY)),
    }
}
