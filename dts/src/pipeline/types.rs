//! Knows the column types that the binlog does not show, and asks for them again when definitions
//! change.

mod seen;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use binlog::{Decoder, Definition, HiddenTypes, Retyped};
use event_bus::CheckpointChange;
use tracing::debug;

pub(super) use self::seen::SeenTypes;
use self::seen::{Fact, GENERATED};
use crate::{
    capture::Capture,
    config::SourceConfig,
    error::Result,
    replica::{self, HiddenColumn, Server},
};

/// A server with very many tables takes long to list their columns.
const MAX_WAIT: Duration = Duration::from_mins(5);

/// Asks the server at the beginning, and again after each statement that may have changed column
/// types. Only for servers whose binlog does not show all types.
pub(super) struct Types {
    config: SourceConfig,
    capture: Arc<Capture>,
    seen: SeenTypes,
    /// Whether there was such a statement since the server was last asked.
    are_stale: bool,
}

impl Types {
    pub(super) fn new(config: SourceConfig, capture: Arc<Capture>, seen: SeenTypes) -> Self {
        Self { config, capture, seen, are_stale: true }
    }

    /// The stream passed a statement that may have changed the definition of a table.
    pub(super) fn passed(&mut self, definition: &Definition) {
        self.are_stale |= definition.retyped() != Retyped::Tables(Vec::new());
    }

    /// Whether the server must be asked before anything else is decoded.
    pub(super) fn are_stale(&self) -> bool {
        self.are_stale
    }

    pub(super) async fn refresh(&mut self, decoder: &mut Decoder) -> Result<()> {
        let mut conn = replica::connect(&self.config).await?.waiting(MAX_WAIT);
        let columns = Server::hidden_columns(&mut conn, &self.config).await?;
        let mut types = HiddenTypes::default();
        for column in &columns {
            let HiddenColumn { schema, table, name, data_type, fraction, .. } = column;
            types.add((schema.clone(), table.clone()), name.clone(), (data_type, *fraction));
        }
        let now = self.facts(columns);
        let beside = self.seen.tables_beside(&now);
        let present = Server::columns_of(&mut conn, &self.config, beside).await?;
        self.seen.take_in(now, &present);
        self.seen.add_to(&mut types);
        decoder.know_types(types);
        self.are_stale = false;
        debug!("asked for the types that the binlog does not show");
        Ok(())
    }

    /// The changes for the checkpoint since the last call.
    pub(super) fn take_change(&mut self) -> Option<CheckpointChange> {
        self.seen.take_change()
    }

    /// What to keep of these columns. (Times with a fraction cannot be read anyway.)
    fn facts(&self, columns: Vec<HiddenColumn>) -> BTreeSet<Fact> {
        let captured = |column: &HiddenColumn| self.capture.includes(&column.schema, &column.table);
        let mut facts = BTreeSet::new();
        for column in columns.into_iter().filter(captured) {
            let HiddenColumn { schema, table, name, data_type, is_generated, .. } = column;
            if is_generated {
                let of = (schema.clone(), table.clone(), name.clone());
                facts.insert((of.0, of.1, of.2, GENERATED.to_owned()));
            }
            if matches!(data_type.as_str(), "uuid" | "inet4" | "inet6" | "vector") {
                facts.insert((schema, table, name, data_type));
            }
        }
        facts
    }
}
