//! The table maps of a connection: which numbers stand for which tables, and their plans.

use std::{collections::HashMap, fmt, sync::Arc};

use super::{
    column::{Layout, raw},
    error::{Fault, corrupt},
    hidden::HiddenTypes,
    plan::{ColumnFault, TablePlan},
    table_map::{self, Dialect, TableMap},
};

/// Bytes of table maps that are remembered; with their plans they take about ten times as much. A
/// table of 20 columns has 400 bytes, so this is 5,000 tables. When there are more, all are
/// forgotten and read again.
const MAX_REMEMBERED_BYTES: usize = 2 << 20;
/// More tables than a statement can name (`MAX_TABLES` is 61, and triggers and cascades add
/// theirs).
const MAX_ANNOUNCED: usize = 4096;

/// Whether a table, by schema and name, is captured.
pub type CaptureFilter = Box<dyn Fn(&str, &str) -> bool + Send>;

/// A table map that was read before.
#[derive(Debug)]
pub(super) struct Mapped {
    /// The event's body, to see quickly that a later table map is the same.
    body: Box<[u8]>,
    pub(super) layouts: Box<[Layout]>,
    pub(super) json_columns: Box<[usize]>,
    /// `None` for a table that is not captured.
    pub(super) plan: Option<Arc<TablePlan>>,
}

pub(super) struct Tables {
    capture: CaptureFilter,
    by_id: HashMap<u64, Mapped>,
    remembered_bytes: usize,
    /// The tables of the current statement: a row may name no other.
    announced: Vec<u64>,
    plans_made: u64,
    dialect: Dialect,
    hidden: HiddenTypes,
}

/// Why a table map was refused, and the table that it is about, if that could be read.
#[derive(Debug)]
pub(super) struct RefusedTable {
    pub(super) fault: Fault,
    pub(super) table: Option<(String, String)>,
    pub(super) column: Option<String>,
}

impl From<Fault> for RefusedTable {
    fn from(fault: Fault) -> Self {
        Self { fault, table: None, column: None }
    }
}

impl Tables {
    pub(super) fn new(capture: CaptureFilter) -> Self {
        Self {
            capture,
            by_id: HashMap::new(),
            remembered_bytes: 0,
            announced: Vec::new(),
            plans_made: 0,
            dialect: Dialect::default(),
            hidden: HiddenTypes::default(),
        }
    }

    /// From now on the table maps are those of this product.
    pub(super) fn know_dialect(&mut self, dialect: Dialect) {
        self.dialect = dialect;
    }

    /// Plans are made again with these types.
    pub(super) fn know_types(&mut self, types: HiddenTypes) {
        self.hidden = types;
        self.forget();
    }

    /// There is a new connection, perhaps to another server: numbers may now mean other tables.
    pub(super) fn forget(&mut self) {
        self.by_id.clear();
        self.remembered_bytes = 0;
        self.announced.clear();
    }

    /// The statement ended: its table maps do not count any more.
    pub(super) fn end_statement(&mut self) {
        self.announced.clear();
    }

    /// Reads a TABLE_MAP event.
    pub(super) fn announce(&mut self, body: &[u8]) -> Result<(), RefusedTable> {
        let id = table_map::table_id(body)?;
        let known = self.by_id.get(&id).is_some_and(|mapped| *mapped.body == *body);
        if !known {
            self.map(id, body)?;
        }
        if self.announced.len() >= MAX_ANNOUNCED {
            return Err(corrupt("a statement names more tables than any server allows").into());
        }
        if !self.announced.contains(&id) {
            self.announced.push(id);
        }
        Ok(())
    }

    /// Whether the table of a table map or a rows event is captured: both begin with the table's
    /// number.
    pub(super) fn captures(&self, body: &[u8]) -> bool {
        self.plan_of(body).is_some()
    }

    /// The captured table of a table map or a rows event.
    pub(super) fn plan_of(&self, body: &[u8]) -> Option<&TablePlan> {
        let mapped = table_map::table_id(body).ok().and_then(|id| self.by_id.get(&id))?;
        mapped.plan.as_deref()
    }

    /// The table of a rows event.
    pub(super) fn get(&self, id: u64) -> Result<&Mapped, Fault> {
        let mapped = self.announced.contains(&id).then(|| self.by_id.get(&id)).flatten();
        mapped.ok_or_else(|| corrupt("rows of a table without a table map before them"))
    }

    fn map(&mut self, id: u64, body: &[u8]) -> Result<(), RefusedTable> {
        let map = TableMap::read(body)?;
        let mapped = self.read(&map, body).map_err(|(fault, column)| RefusedTable {
            fault,
            table: Some((map.schema.to_owned(), map.table.to_owned())),
            column,
        })?;
        if self.remembered_bytes > MAX_REMEMBERED_BYTES && self.announced.is_empty() {
            self.forget();
        }
        self.remembered_bytes = self.remembered_bytes.saturating_add(body.len());
        if let Some(replaced) = self.by_id.insert(id, mapped) {
            self.remembered_bytes = self.remembered_bytes.saturating_sub(replaced.body.len());
        }
        Ok(())
    }

    fn read(&mut self, map: &TableMap<'_>, body: &[u8]) -> Result<Mapped, ColumnFault> {
        let layouts = map.types.iter().map(|raw| raw.layout());
        let layouts: Result<Box<[Layout]>, _> = layouts.collect();
        let mut layouts = layouts.map_err(|fault| (fault, None))?;
        self.hidden.correct(map, &mut layouts)?;
        let types = map.types.iter().enumerate();
        let json_columns =
            types.filter(|(_, raw)| raw.kind == raw::JSON).map(|(column, _)| column).collect();
        let captured = (self.capture)(map.schema, map.table);
        let plan = captured.then(|| self.plan(map)).transpose()?;
        Ok(Mapped { body: body.into(), layouts, json_columns, plan })
    }

    fn plan(&mut self, map: &TableMap<'_>) -> Result<Arc<TablePlan>, ColumnFault> {
        self.plans_made = self.plans_made.wrapping_add(1);
        let mut plan = TablePlan::new(self.plans_made, map, self.dialect)?;
        self.hidden.apply(&mut plan)?;
        Ok(Arc::new(plan))
    }
}

impl fmt::Debug for Tables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tables").field("maps", &self.by_id.len()).finish_non_exhaustive()
    }
}
