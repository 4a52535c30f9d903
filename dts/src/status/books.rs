//! The books, as status and metrics show them.

use prometheus_client::{
    metrics::{family::Family, gauge::Gauge},
    registry::Registry,
};
use serde_json::{Map, Value, json};
use tracing::error;

use super::Status;
use crate::{
    books::{Books, Difference, Differences, REMEDY, Seam},
    publish::{TableCounts, Tally},
};

/// The status shows so many tables.
const MAX_SHOWN: usize = 1000;

/// So many tables have metrics of their own.
const MAX_TABLES: usize = 300;

type Labels = Vec<(&'static str, String)>;

/// What is known of the books.
#[derive(Debug, Default)]
pub(super) struct ShownBooks {
    books: Books,
    differences: Differences,
    /// Whether the counts since the first start were compared.
    is_opened: bool,
}

impl ShownBooks {
    /// A batch is durable.
    pub(super) fn count(&mut self, tally: &Tally) {
        self.books.count(tally);
    }

    /// In the form that `/api/v1/status` shows.
    pub(super) fn to_json(&self) -> Value {
        let found = self.differences.all().iter();
        let found: Vec<Value> = found.map(shown).collect();
        let tables = self.books.tables().take(MAX_SHOWN);
        let tables = tables.map(|(name, counts)| (name.to_owned(), json!(counts)));
        let tables: Map<String, Value> = tables.collect();
        json!({ "balanced": found.is_empty(), "differences": found, "tables": tables })
    }
}

fn shown(found: &Difference) -> Value {
    let mut value = json!(found);
    value["message"] = found.to_string().into();
    value["remedy"] = REMEDY.into();
    value
}

/// Gauges that are set when somebody asks.
#[derive(Debug, Default)]
pub(super) struct BookGauges {
    differences: Family<Labels, Gauge>,
    read: Family<Labels, Gauge>,
    published: Family<Labels, Gauge>,
    full_sync: Family<Labels, Gauge>,
}

impl BookGauges {
    pub(super) fn register(&self, registry: &mut Registry) {
        let help = "Records that are missing or too many between two places; 0: the books balance";
        registry.register("book_difference", help, self.differences.clone());
        for (name, help, family) in [
            ("table_read", "Row changes read, by table, since the first start", &self.read),
            (
                "table_published",
                "Records published of row changes, by table, since the first start",
                &self.published,
            ),
            (
                "table_full_sync_rows",
                "Rows of full syncs published, by table, since the first start",
                &self.full_sync,
            ),
        ] {
            registry.register(name, help, family.clone());
        }
    }

    pub(super) fn set(&self, shown: &ShownBooks) {
        for between in Seam::ALL {
            let gauge = vec![("between", between.word().to_owned())];
            set(&self.differences, &gauge, shown.differences.records(between));
        }
        for (name, counts) in shown.books.tables().take(MAX_TABLES) {
            let table = vec![("table", name.to_owned())];
            let TableCounts { read, published, full_sync, .. } = *counts;
            set(&self.read, &table, read);
            set(&self.published, &table, published);
            set(&self.full_sync, &table, full_sync);
        }
    }
}

fn set(family: &Family<Labels, Gauge>, labels: &Labels, count: u64) {
    family.get_or_create(labels).set(count.cast_signed());
}

impl Status {
    /// The counts of the checkpoint. The first time they are compared.
    pub(crate) fn open_books(&self, books: Books) {
        let mut state = self.lock();
        let sums = state.saved.as_ref().map(|saved| saved.accounting).unwrap_or_default();
        let is_first = !std::mem::replace(&mut state.books.is_opened, true);
        let mut found = if is_first { books.differences(&sums) } else { Vec::new() };
        state.books.books = books;
        drop(state);
        self.differ(&mut found);
    }

    /// Takes what does not agree, and logs each place and table once.
    pub(crate) fn differ(&self, found: &mut Vec<Difference>) {
        if found.is_empty() {
            return;
        }
        let mut state = self.lock();
        for one in found.drain(..) {
            if let Some(first) = state.books.differences.note(one) {
                let (between, table) = (first.between.word(), &first.table);
                let remedy = REMEDY;
                error!(between, table, remedy, "the books do not balance: {first}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_is_in_the_status_and_in_the_gauge_of_its_place() {
        let status = Status::new("a");
        assert_eq!(status.to_json()["books"]["balanced"], true);
        let gauge =
            |seam: &str, value: u8| format!("dts_book_difference{{between=\"{seam}\"}} {value}\n");
        assert!(status.to_metrics().contains(&gauge("decoder-publisher", 0)));
        let lost = Difference::new((Seam::DecoderPublisher, 2), "s.a", "b.1:4");
        status.differ(&mut vec![lost]);
        let books = status.to_json()["books"].take();
        assert_eq!(books["balanced"], false);
        let shown = &books["differences"][0];
        assert_eq!((&shown["table"], &shown["missing"]), (&json!("s.a"), &json!(2)));
        assert_eq!(shown["between"], "decoder-publisher");
        let metrics = status.to_metrics();
        assert!(metrics.contains(&gauge("decoder-publisher", 2)), "{metrics}");
        assert!(metrics.contains(&gauge("publisher-bus", 0)), "{metrics}");
    }
}
