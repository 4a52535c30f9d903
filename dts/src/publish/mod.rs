//! Room 3: turns a row change into a record: topic, key, bytes.
//!
//! It knows nothing of MySQL's protocol. Records of an open transaction are counted, with a CRC
//! over their content, so that a transaction larger than a batch can be resumed in its middle.

mod native;
mod oversize;
mod row;
mod skip;
mod table;
mod tally;

use std::{borrow::Cow, collections::HashMap, ops::Range, sync::Arc};

use binlog::{Image, RowChange, TablePlan};
use change_event::{Action, IdPart, order_key};
use event_bus::{Batch, BusConfig, Headers, TopicName};

use self::{
    native::{Native, Written},
    row::KnownRow,
    skip::OpenTransaction,
    table::{PublishedTable, RecordKey},
};
use crate::{
    capture::Capture,
    checkpoint::{Accounting, Seq, Skip},
    error::{Error, Result},
    full_sync::{Touch, Windows},
};

pub(crate) use self::oversize::Oversize;
pub use self::tally::{CountedTable, TableCounts, Tally};

/// How many tables' plans are remembered; when there are more, all are forgotten and made again.
const MAX_TABLES: usize = 10_000;

/// Writes records into batches.
pub struct Publisher {
    topics: TopicName,
    capture: Arc<Capture>,
    /// By the serial number of the decoder's plan.
    tables: HashMap<u64, Arc<PublishedTable>>,
    /// The table of the row before: most rows are of the same table.
    last: Option<(u64, Arc<PublishedTable>)>,
    native: Native,
    open: OpenTransaction,
    oversize: Oversize,
    windows: Windows,
    /// The number of the last record.
    seq: Seq,
    /// Row changes that were taken, in all.
    taken: u64,
    /// The counts of whole transactions and of full syncs since the last hand-over.
    whole: Tally,
    /// The counts of the current transaction that were handed over.
    handed: Tally,
}

impl Publisher {
    /// A publisher that goes on from a checkpoint. The records that `skip` counts are durable
    /// already, and the same records must come again. The next record gets the number after `seq`.
    pub fn new(
        topics: TopicName,
        capture: Arc<Capture>,
        server_uuid: String,
        (skip, seq): (Skip, Seq),
    ) -> Self {
        Self {
            topics,
            capture,
            tables: HashMap::new(),
            last: None,
            native: Native::new(server_uuid),
            open: OpenTransaction::resuming(skip),
            oversize: Oversize::default(),
            windows: Windows::default(),
            seq,
            taken: 0,
            whole: Tally::default(),
            handed: Tally::default(),
        }
    }

    /// The same, with the bus's limit for a record's value; without this there is no limit.
    #[must_use]
    pub fn limited_by(self, bus: &BusConfig) -> Self {
        Self { oversize: Oversize::new(bus), ..self }
    }

    /// How many records were published with only their key since the last call.
    pub fn take_oversized(&mut self) -> u64 {
        self.oversize.take_published()
    }

    /// Adds the records of a row change to the batch.
    ///
    /// # Errors
    ///
    /// When a value cannot be written or is too large for the bus, or when the records to skip are
    /// other records than before. Then the current record is neither in the batch nor counted.
    pub fn publish(&mut self, change: &RowChange<'_>, batch: &mut Batch) -> Result<()> {
        let table = self.table(change.table)?;
        let Self { open, native, oversize, windows, seq, .. } = self;
        let windows = windows.watch(&change.table.schema, &change.table.table).then_some(windows);
        let mut sink = Sink { table: &table, open, native, oversize, windows, seq, batch };
        sink.open.count_row();
        self.taken += 1;
        let mut is_split = false;
        let new = match (change.action, &change.before, &change.after) {
            (Action::Insert, None, Some(after)) => sink.add(change, RecordDraft::insert(after)),
            (Action::Delete, Some(before), None) => sink.add(change, RecordDraft::delete(before)),
            (Action::Update, Some(before), Some(after)) if table.key_differs(before, after) => {
                is_split = true;
                sink.add_split(change, (before, after))
            }
            (Action::Update, Some(before), Some(after)) => {
                sink.add(change, RecordDraft::update(before, after))
            }
            _ => Err(Error::Internal("a row change without its image".to_owned())),
        }?;
        self.open.count_records(&table.counted, new, is_split);
        Ok(())
    }

    /// Row changes that were taken, in all.
    pub fn taken(&self) -> u64 {
        self.taken
    }

    /// So many rows of a table were given to the publisher, and did not arrive. They stay in the
    /// counts, as read and not published.
    pub(crate) fn note_missed(&mut self, plan: Option<&TablePlan>, missed: i64) {
        let table = plan.and_then(|plan| self.table(plan).ok());
        self.open.count_missed(table.as_ref().map(|table| &table.counted), missed);
    }

    /// Counts a row of a full sync.
    pub(crate) fn count_full_sync(&mut self, table: &Arc<CountedTable>) {
        self.whole.add(table, TableCounts { full_sync: 1, ..TableCounts::default() });
    }

    /// The batch is handed over, with the current transaction's rows up to a mark, or with all of
    /// them: gives the counts of what is new in the batch.
    pub(crate) fn hand_over(&mut self, up_to: Option<&RowMark>) -> Tally {
        let mut tally = std::mem::take(&mut self.whole);
        let open = up_to.map_or(&self.open, |mark| &mark.open).tables();
        tally.add_since(open, &self.handed);
        self.handed.clone_from(open);
        tally
    }

    /// What is in batches of the current transaction; zero between transactions.
    pub fn open_transaction(&self) -> Skip {
        self.open.so_far()
    }

    /// Whether records of the current transaction are durable from an earlier run.
    pub fn is_resumed(&self) -> bool {
        self.open.is_resumed()
    }

    /// How far the rows of the current transaction are.
    pub fn mark(&self, batch: &Batch) -> RowMark {
        RowMark { batch: batch.end(), open: self.open.clone(), noted: self.windows.noted() }
    }

    /// Goes back to an earlier mark, because the server rolled the later rows back. Returns how
    /// many of their records are durable from an earlier run, and so cannot be removed.
    pub fn go_back(&mut self, mark: &RowMark, batch: &mut Batch) -> u64 {
        let durable = self.open.durable_since(&mark.open);
        batch.truncate(mark.batch);
        self.open = mark.open.clone();
        self.windows.forget_noted(mark.noted);
        durable
    }

    /// The transaction is over, and none of its rows counts.
    pub fn drop_transaction(&mut self) {
        self.native.end_transaction();
        self.windows.forget_noted(0);
        self.open = OpenTransaction::default();
        self.handed.clear();
    }

    /// The number of the last record that is in a batch.
    pub fn seq(&self) -> Seq {
        self.seq
    }

    /// The transaction is over: checks that all records to skip came, and returns the counts.
    ///
    /// # Errors
    ///
    /// When fewer records came than are already durable.
    pub fn end_transaction(&mut self, rows: u64) -> Result<Accounting> {
        self.native.end_transaction();
        self.windows.settle();
        self.whole.add_since(self.open.tables(), &self.handed);
        self.handed.clear();
        self.open.end(rows)
    }

    /// What the rows of full syncs share with these records: all are numbered together, and the bus
    /// limits their size.
    pub(crate) fn numbers_and_limit(&mut self) -> (&mut Seq, &Oversize) {
        (&mut self.seq, &self.oversize)
    }

    /// The windows that note changes while rows of a full sync are read.
    pub fn windows(&mut self) -> &mut Windows {
        &mut self.windows
    }

    fn table(&mut self, plan: &TablePlan) -> Result<Arc<PublishedTable>> {
        match &self.last {
            Some((serial, table)) if *serial == plan.serial => Ok(Arc::clone(table)),
            _ => {
                let table = self.find_table(plan)?;
                self.last = Some((plan.serial, Arc::clone(&table)));
                Ok(table)
            }
        }
    }

    fn find_table(&mut self, plan: &TablePlan) -> Result<Arc<PublishedTable>> {
        if let Some(table) = self.tables.get(&plan.serial) {
            return Ok(Arc::clone(table));
        }
        if self.tables.len() >= MAX_TABLES {
            self.tables.clear();
        }
        let key_columns = self.capture.key_columns(&plan.schema, &plan.table);
        let table = Arc::new(PublishedTable::new(plan, &self.topics, key_columns)?);
        self.tables.insert(plan.serial, Arc::clone(&table));
        Ok(table)
    }
}

/// How far the rows of a transaction were: in the batch, in the counts, and in the windows.
#[derive(Clone, Debug)]
pub struct RowMark {
    /// The place in the batch.
    pub batch: event_bus::BatchMark,
    open: OpenTransaction,
    noted: usize,
}

impl RowMark {
    /// What was published of the transaction at this mark.
    pub fn so_far(&self) -> Skip {
        self.open.so_far()
    }
}

/// One record to write.
#[derive(Clone, Copy)]
struct RecordDraft<'a> {
    action: Action,
    part: IdPart,
    /// The row after the change; for a delete, the row before.
    row: KnownRow<'a>,
    /// The images before and after, for an update.
    images: Option<(&'a Image<'a>, &'a Image<'a>)>,
    /// Set if only the key is written, because the whole record has this many bytes.
    oversized: Option<usize>,
}

impl<'a> RecordDraft<'a> {
    fn new(action: Action, row: KnownRow<'a>) -> Self {
        Self { action, part: IdPart::Whole, row, images: None, oversized: None }
    }

    fn insert(row: &'a Image<'a>) -> Self {
        Self::new(Action::Insert, KnownRow::of(row))
    }

    fn update(before: &'a Image<'a>, after: &'a Image<'a>) -> Self {
        let images = Some((before, after));
        Self { images, ..Self::new(Action::Update, KnownRow::after(after, before)) }
    }

    fn delete(row: &'a Image<'a>) -> Self {
        Self::new(Action::Delete, KnownRow::of(row))
    }
}

/// Where the records of one row change go.
struct Sink<'a> {
    table: &'a PublishedTable,
    open: &'a mut OpenTransaction,
    native: &'a mut Native,
    oversize: &'a mut Oversize,
    /// The open windows, if there is one over the table.
    windows: Option<&'a mut Windows>,
    seq: &'a mut Seq,
    batch: &'a mut Batch,
}

impl Sink<'_> {
    /// Adds an update as a delete and an insert; returns how many of the two are new.
    fn add_split(
        &mut self,
        change: &RowChange<'_>,
        (before, after): (&Image<'_>, &Image<'_>),
    ) -> Result<u64> {
        let old = RecordDraft { part: IdPart::OldKey, ..RecordDraft::delete(before) };
        let row = KnownRow::after(after, before);
        let new = RecordDraft { part: IdPart::NewKey, row, ..RecordDraft::insert(after) };
        Ok(self.add(change, old)? + self.add(change, new)?)
    }

    /// Adds a record; returns 0 if it is durable already, else 1.
    fn add(&mut self, change: &RowChange<'_>, record: RecordDraft<'_>) -> Result<u64> {
        let written = self.write(change, record)?;
        let buffer = self.batch.buffer();
        let key = &buffer[written.key.clone()];
        if let Some(windows) = &mut self.windows {
            let TablePlan { schema, table, .. } = &**change.table;
            let names = (schema.as_str(), table.as_str());
            match (&self.table.key, record.action) {
                (_, Action::Delete) => windows.note(names, key, Touch::Gone),
                (RecordKey::WholeRow(_), _) => windows.came(names, key),
                _ => windows.note(names, key, touch_of(change, &record, &written, buffer)),
            }
        }
        let counted = (&*self.table.counted.topic, record.action, key);
        let is_new = self.open.count_record(change.row, counted)?;
        if is_new {
            *self.seq = self.seq.next();
            let topic = Arc::clone(&self.table.counted.topic);
            let Written { key, value, .. } = written;
            add(self.batch, (topic, self.table.headers.clone()), key, value);
        } else {
            buffer.truncate(written.start);
        }
        Ok(u64::from(is_new))
    }

    /// Writes the record, or only its key if the whole record is too large.
    fn write(&mut self, change: &RowChange<'_>, record: RecordDraft<'_>) -> Result<Written> {
        self.table.check_key(change, &record.row)?;
        let buffer = self.batch.buffer();
        // For a record that is durable already, this is another one, and it is not used.
        let seq = self.seq.next();
        let written = self.native.write(change, (&record, seq), self.table, buffer)?;
        let bytes = written.value.len();
        if self.oversize.fits(bytes) || !self.open.is_past_skip() {
            return Ok(written);
        }
        buffer.truncate(written.start);
        self.oversize.judge(change, bytes)?;
        let shortened = RecordDraft { oversized: Some(bytes), ..record };
        let written = self.native.write(change, (&shortened, seq), self.table, buffer)?;
        if !self.oversize.fits(written.value.len()) {
            buffer.truncate(written.start);
            return Err(self.oversize.refuse(change, bytes));
        }
        self.oversize.published(change, bytes);
        Ok(written)
    }
}

/// How a record changes its row, for a full sync that reads the row from its table at the same
/// time.
fn touch_of(
    change: &RowChange<'_>,
    record: &RecordDraft<'_>,
    written: &Written,
    buffer: &[u8],
) -> Touch {
    let mut columns = 0..change.table.columns.len();
    if !columns.all(|column| record.row.is_present(column)) {
        return Touch::Partial;
    }
    match (&written.data, written.oversized) {
        (Some(data), None) => Touch::Row(buffer[data.clone()].into()),
        // An insert is as large as its row.
        (_, Some(bytes)) if record.images.is_none() => Touch::Oversized(bytes),
        // An update also has the row before. The new row without that may be small enough.
        _ => Touch::Partial,
    }
}

/// Adds a record that is in the batch's buffer. It stays in order with all records that may be of
/// the same row.
pub(crate) fn add(
    batch: &mut Batch,
    (topic, headers): (Arc<str>, Option<Headers>),
    key: Range<usize>,
    value: Range<usize>,
) {
    let order = match order_key(&batch.buffer()[key.clone()]) {
        Cow::Borrowed(_) => None,
        Cow::Owned(order) => Some(order),
    };
    batch.push(topic, headers, key, value);
    if let Some(order) = order {
        batch.order_last(order);
    }
}
