//! Whether this server can go on from where we stopped. Asked before every connection as a replica.

use binlog::{FIRST_POS, Gtid, GtidSet};

use source_table::Conn;

use super::{
    connect::address,
    file,
    resumed::Resumed,
    server::{Product, Server},
};
use crate::{
    checkpoint::{Loss, Saved, Skip, SourcePosition, TouchedTables},
    config::{OnLost, SourceConfig},
    error::{Error, Result},
};

const PURGED_REMEDY: &str = "the changes in between are lost to dts: name a host in source.hosts \
    that still has them, or begin with what is left (`dts position set earliest`) and correct the \
    captured tables as after lost transactions (docs/full-sync.md); to prevent this, raise \
    binlog_expire_logs_seconds";

/// Why a server cannot be used.
#[derive(Debug)]
pub(super) enum Unfit {
    /// It lacks transactions that we have read.
    Lacks(Lacking),
    /// Anything else.
    Other(Error),
}

/// Transactions that we have read and a server lacks.
#[derive(Clone, Debug)]
pub(super) struct Lacking {
    pub(super) gtids: GtidSet,
    pub(super) tables: TouchedTables,
}

impl From<Error> for Unfit {
    fn from(error: Error) -> Self {
        Self::Other(error)
    }
}

/// Checks that this server can continue a saved position, and returns from where it would be read.
///
/// # Errors
///
/// Refused, when the server is another one, has lost transactions that we have read, or has purged
/// some that we have not.
pub async fn check_position(
    conn: &mut Conn,
    config: &SourceConfig,
    server: &Server,
    saved: &Saved,
) -> Result<SourcePosition> {
    match resume(conn, config, server, (saved, OnLost::Stop)).await {
        Ok(resumed) => Ok(resumed.from),
        Err(Unfit::Other(error)) => Err(error),
        Err(Unfit::Lacks(lacking)) => Err(lacking.refuse(config)),
    }
}

/// Finds out how a server continues a saved position.
pub(super) async fn resume(
    conn: &mut Conn,
    config: &SourceConfig,
    server: &Server,
    (saved, on_lost): (&Saved, OnLost),
) -> Result<Resumed, Unfit> {
    match (&saved.position.gtids, &server.gtid_executed) {
        (Some(read), Some(executed)) => {
            let lost = lost(read, saved.open.as_ref(), executed);
            let lacking = Lacking { tables: saved.touched.tables_of(&lost), gtids: lost };
            if on_lost == OnLost::Stop && !lacking.gtids.is_empty() {
                return Err(Unfit::Lacks(lacking));
            }
            let mut resumed = by_gtids(server, saved.clone(), &lacking)?;
            let by_file = match server.product {
                Product::Mysql => file::is_exact(conn, config, &resumed.saved).await?,
                // All have GTIDs, but by GTID the server does not send a prepared, open one again.
                Product::Mariadb => file::has_prepared(conn, config, &mut resumed.saved).await?,
            };
            // A MySQL sends them again, because their GTIDs are not in the position.
            resumed.saved.lost_prepared |= server.product == Product::Mariadb
                && resumed.saved.prepared.len() < saved.prepared.len();
            if by_file {
                resumed.from.gtids = None;
            }
            Ok(resumed.before_prepared())
        }
        _ => Ok(file::resume(conn, config, server, saved).await?.before_prepared()),
    }
}

/// The transactions that we have read, in whole or in part, and that the server has not executed.
fn lost(read: &GtidSet, open: Option<&Gtid>, executed: &GtidSet) -> GtidSet {
    let mut seen = read.clone();
    if let Some(open) = open {
        seen.add(open);
    }
    seen.minus(executed)
}

fn by_gtids(server: &Server, mut saved: Saved, lacking: &Lacking) -> Result<Resumed> {
    let has_lost = !lacking.gtids.is_empty();
    if has_lost {
        accept(&mut saved, lacking);
    }
    let read = saved.position.gtids.clone().unwrap_or_default();
    let missed = server.gtid_purged.minus(&read);
    if !missed.is_empty() {
        return Err(Error::refused(
            format!(
                "the server has purged transactions that we have not read: {missed} ({} of them)",
                missed.count()
            ),
            PURGED_REMEDY,
        ));
    }
    if saved.skip.records > 0 && saved.server_uuid != server.uuid && saved.open.is_none() {
        return Err(Error::refused(
            format!(
                "we stopped inside a transaction of server {}, this is server {}, and the \
                 checkpoint does not say which transaction it was",
                saved.server_uuid, server.uuid
            ),
            "connect to the earlier server until that transaction is done",
        ));
    }
    if has_lost || saved.server_uuid != server.uuid {
        // The place of the earlier server is no place here.
        (saved.position.file, saved.position.pos) = (String::new(), FIRST_POS);
        saved.file_created = None;
        saved.prepared.clear();
    }
    saved.server_uuid.clone_from(&server.uuid);
    Ok(Resumed { has_lost, ..Resumed::at(saved) })
}

/// Removes the lost transactions from the position.
fn accept(saved: &mut Saved, lacking: &Lacking) {
    if let Some(read) = &mut saved.position.gtids {
        *read = read.minus(&lacking.gtids);
    }
    let open = saved.open.as_ref();
    if open.is_some_and(|open| lacking.gtids.contains(open)) {
        (saved.skip, saved.open) = (Skip::default(), None);
    }
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now = now.unwrap_or_default().as_millis();
    saved.loss = Some(Loss {
        gtid_set: lacking.gtids.to_string(),
        tables: lacking.tables.names.clone(),
        all_tables_known: lacking.tables.complete,
        at_ms: u64::try_from(now).unwrap_or(u64::MAX),
    });
}

impl Lacking {
    /// The error that names the transactions.
    pub(super) fn refuse(&self, config: &SourceConfig) -> Error {
        Error::refused(
            format!(
                "MySQL at {} does not have {} transactions that we have read: {}. It lost them in \
                 a crash, took over without them, or is a restored backup. {}",
                address(config),
                self.gtids.count(),
                self.gtids,
                self.tables
            ),
            "connect to a server that has them (source.hosts); or, if they are lost for good, set \
             source.onLostTransactions = \"accept\": dts goes on with what the server has, and \
             names the full syncs that send these tables again, because published changes of them \
             were lost",
        )
    }
}

impl std::fmt::Display for TouchedTables {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names = self.names.join(", ");
        match (self.names.is_empty(), self.complete) {
            (true, true) => out.write_str("They changed no captured table"),
            (true, false) => out.write_str("Which tables they changed is not known any more"),
            (false, true) => write!(out, "They changed {names}"),
            (false, false) => write!(out, "They changed {names}, and perhaps others"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::BinlogPlace;

    const A: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";

    fn set(numbers: &str) -> GtidSet {
        format!("{A}:{numbers}").parse().unwrap()
    }

    fn saved(read: &str, open: Option<u64>) -> Saved {
        let position = SourcePosition { gtids: Some(set(read)), file: "f".to_owned(), pos: 4 };
        let open = open.map(|gno| format!("{A}:{gno}").parse().unwrap());
        let skip = Skip { records: u64::from(open.is_some()), crc: 1 };
        Saved { open, skip, ..Saved::new(A.to_owned(), position) }
    }

    fn accepted(read: &str, open: Option<u64>, executed: &str) -> Saved {
        let mut saved = saved(read, open);
        let gtids = lost(&set(read), saved.open.as_ref(), &set(executed));
        let tables = saved.touched.tables_of(&gtids);
        accept(&mut saved, &Lacking { gtids, tables });
        saved
    }

    #[test]
    fn by_file_reading_begins_at_the_first_prepared_transaction() {
        let place = |file: &str, pos| BinlogPlace { file: file.to_owned(), pos };
        let position = SourcePosition { gtids: None, file: "b.1000000".to_owned(), pos: 700 };
        let mut saved = Saved::new(String::new(), position.clone());
        assert_eq!(Resumed::at(saved.clone()).before_prepared().from, position);
        saved.prepared = vec![place("b.1000000", 4), place("b.999999", 90), place("b.999999", 77)];
        let from = Resumed::at(saved.clone()).before_prepared().from;
        assert_eq!((from.file.as_str(), from.pos), ("b.999999", 77));
        saved.prepared.push(place("b.999998", 5 << 30));
        let from = Resumed::at(saved.clone()).before_prepared().from;
        assert_eq!((from.file.as_str(), from.pos), ("b.999998", FIRST_POS), "it has 32 bits");
        saved.position.gtids = Some(GtidSet::default());
        assert_eq!(Resumed::at(saved.clone()).before_prepared().from, saved.position);
    }

    #[test]
    fn a_transaction_read_in_part_is_lost_too() {
        let open = format!("{A}:9").parse().unwrap();
        assert_eq!(lost(&set("1-8"), Some(&open), &set("1-6")), set("7-9"));
        assert_eq!(lost(&set("1-8"), Some(&open), &set("1-9")), GtidSet::default());
    }

    #[test]
    fn an_accepted_loss_leaves_what_both_have() {
        let after = accepted("1-8:12", Some(13), "1-6:9-20");
        assert_eq!(after.position.gtids, Some(set("1-6:12")));
        assert_eq!((after.skip.records, after.open.is_some()), (1, true), "13 is not lost");
        assert_eq!(after.loss.unwrap().gtid_set, set("7-8").to_string());
        let after = accepted("1-8", Some(9), "1-6");
        assert_eq!((after.skip, after.open), (Skip::default(), None));
    }
}
