//! Events that only MariaDB writes, and the column types that the binlog does not show
//! (`sql/log_event.h` in the MariaDB source).

use super::{Decoder, EventGroup, RawEvent, Step};
use crate::{
    error::{Error, Fault},
    gtid::Gtid,
    gtid_event::GtidEvent,
    header::EventHeader,
    hidden::HiddenTypes,
    mariadb,
    rows::RowChange,
    table_map::Dialect,
};

impl Decoder {
    /// How many statements were read that may have changed the definition of a table.
    pub fn definitions(&self) -> u64 {
        self.definitions
    }

    /// Takes the column types that the binlog does not show, as the server says them, for the
    /// tables whose maps come from now on. Call this between two transactions.
    pub fn know_types(&mut self, types: HiddenTypes) {
        self.tables.know_types(types);
    }

    /// An event of MariaDB whose text or rows are compressed.
    pub(super) fn decode_compressed<E: From<Error>>(
        &mut self,
        event: &RawEvent<'_>,
        plain: u8,
        row: &mut impl FnMut(&RowChange<'_>) -> Result<(), E>,
    ) -> Result<Step, E> {
        const MAX_KEPT_BYTES: usize = 1 << 20;
        let mut unpacked = std::mem::take(&mut self.unpacked);
        if let Err(fault) = mariadb::unpack_event(plain, event.body, &mut unpacked) {
            let (start, _) = self.position.bounds(&event.header);
            return Err(self.error(fault.into(), start).into());
        }
        let header = EventHeader { kind: plain, ..event.header };
        let step = self.decode(&RawEvent { header, body: &unpacked }, row);
        unpacked.clear();
        unpacked.shrink_to(MAX_KEPT_BYTES);
        self.unpacked = unpacked;
        step
    }

    /// On MariaDB the GTID event also replaces the BEGIN of a transaction, or its XA START.
    pub(super) fn name_mariadb_group(
        &mut self,
        event: &RawEvent<'_>,
        start: u64,
    ) -> Result<Step, Fault> {
        let named = mariadb::MariadbGtid::read(event.body, event.header.server_id)?;
        let gtid = GtidEvent { gtid: Some(Gtid::Mariadb(named.gtid)), commit_micros: None };
        let step = self.name_group(&event.header, gtid, start)?;
        self.tables.know_dialect(Dialect::Mariadb);
        if named.prepares_xa {
            self.group = EventGroup::Xa;
        } else if !named.is_standalone {
            self.group = EventGroup::Body;
        }
        Ok(step)
    }
}
