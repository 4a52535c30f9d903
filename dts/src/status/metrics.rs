//! The metrics of `dts`.

use std::sync::atomic::AtomicU64;

use prometheus_client::{
    metrics::{counter::Counter, gauge::Gauge, info::Info},
    registry::{Registry, Unit},
};

use super::{
    books::BookGauges,
    full_syncs::FullSyncGauges,
    histogram::{LagHistogram, SizeHistogram},
    room::RoomGauges,
};
use crate::version;

/// The metrics that the pipeline writes.
#[derive(Debug, Default)]
pub(super) struct Metrics {
    pub(super) read: Counter,
    pub(super) filtered: Counter,
    pub(super) split: Counter,
    pub(super) oversized: Counter,
    pub(super) full_sync_rows: Counter,
    pub(super) statements: Counter,
    pub(super) removals: Counter,
    pub(super) published: Counter,
    pub(super) bytes: Counter,
    pub(super) appends: Counter,
    pub(super) restarts: Counter,
    pub(super) streaming: Gauge,
    pub(super) leader: Gauge,
    pub(super) purge_countdown: SeenFigure,
    pub(super) bytes_behind: SeenFigure,
    pub(super) seconds_behind: SeenFigure,
    pub(super) commit_to_bus: LagHistogram,
    pub(super) append: LagHistogram,
    pub(super) settle: LagHistogram,
    pub(super) append_bytes: SizeHistogram,
    pub(super) full_syncs: FullSyncGauges,
    pub(super) room: RoomGauges,
    pub(super) books: BookGauges,
}

/// A value that was seen at the server; not a number if it is unknown.
pub(super) type SeenFigure = Gauge<f64, AtomicU64>;

pub(super) fn register(metrics: &Metrics) -> Registry {
    let mut registry = Registry::with_prefix("dts");
    let build = vec![("version", version::VERSION), ("commit", version::COMMIT)];
    registry.register("build", "Which version this is", Info::new(build));
    let counters = [
        ("rows_read", "Row changes read from the binlog", &metrics.read),
        ("rows_filtered", "Row changes of tables that are not captured", &metrics.filtered),
        ("updates_split", "Updates published as delete and insert", &metrics.split),
        ("records_oversized", "Records published with only their key", &metrics.oversized),
        ("statements_passed", "Changes logged as statements, and skipped", &metrics.statements),
        ("removals", "Tables whose rows a statement removed", &metrics.removals),
        ("full_sync_rows", "Rows of full syncs published", &metrics.full_sync_rows),
        ("records_published", "Records appended to the bus", &metrics.published),
        ("published_bytes", "Bytes of keys and values appended to the bus", &metrics.bytes),
        ("appends", "Appends to the bus, each with a checkpoint", &metrics.appends),
        ("restarts", "Starts from the checkpoint after an error", &metrics.restarts),
    ];
    for (name, help, counter) in counters {
        registry.register(name, help, counter.clone());
    }
    metrics.full_syncs.register(&mut registry);
    metrics.room.register(&mut registry);
    metrics.books.register(&mut registry);
    registry.register("streaming", "1 while reading the binlog", metrics.streaming.clone());
    registry.register("leader", "1 on the leader, 0 on a stand-by", metrics.leader.clone());
    let help = "Time until the server deletes a binlog file that dts needs; +Inf: it deletes none";
    let countdown = metrics.purge_countdown.clone();
    registry.register_with_unit("purge_countdown", help, Unit::Seconds, countdown);
    let help = "Bytes of binlog after the checkpoint";
    let behind = metrics.bytes_behind.clone();
    registry.register_with_unit("binlog_behind", help, Unit::Bytes, behind);
    let help = "Time from the newest commit in the checkpoint to now; 0 at the end of the binlog";
    let behind = metrics.seconds_behind.clone();
    registry.register_with_unit("source_behind", help, Unit::Seconds, behind);
    let histograms = [
        ("commit_to_bus", "From commit in MySQL to durable in the bus", &metrics.commit_to_bus),
        ("append", "How long the bus took to make records durable", &metrics.append),
        ("append_commit", "How long the last step of an append took", &metrics.settle),
    ];
    for (name, help, histogram) in histograms {
        registry.register_with_unit(name, help, Unit::Seconds, histogram.0.clone());
    }
    let (help, bytes) = ("Size of records that became durable together", &metrics.append_bytes);
    registry.register_with_unit("append_size", help, Unit::Bytes, bytes.0.clone());
    registry
}
