//! The metrics of a log, as its streams are now.

use std::{fmt::Debug, hash::Hash, sync::atomic::AtomicU64};

use prometheus_client::{
    encoding::{EncodeLabelSet, text},
    metrics::{family::Family, gauge::Gauge},
    registry::{Registry, Unit},
};

use crate::StreamState;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfStream {
    stream: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfGroup {
    stream: String,
    group: String,
}

type Figures<L> = Family<L, Gauge<u64, AtomicU64>>;

/// The text that `/metrics` answers.
pub(super) fn text(states: &[(String, StreamState)], available: Option<u64>) -> String {
    let mut registry = Registry::with_prefix("event_log");
    of_streams(&mut registry, states);
    of_groups(&mut registry, states);
    of_copies(&mut registry, states);
    if let Some((_, state)) = states.first() {
        let all: Gauge<u64, AtomicU64> = Gauge::default();
        all.set(state.log_bytes);
        let help = "Bytes of the data files of all streams";
        registry.register_with_unit("size", help, Unit::Bytes, all);
    }
    if let Some(bytes) = available {
        let disk: Gauge<u64, AtomicU64> = Gauge::default();
        disk.set(bytes);
        let help = "Bytes that can still be written to the disk of the log";
        registry.register_with_unit("disk_available", help, Unit::Bytes, disk);
    }
    let mut text = String::new();
    // Writing to a String does not fail.
    let _ = text::encode(&mut text, &registry);
    text
}

fn of_streams(registry: &mut Registry, states: &[(String, StreamState)]) {
    let figure = |of: fn(&StreamState) -> u64| {
        let figures = Figures::<OfStream>::default();
        for (stream, state) in states {
            figures.get_or_create(&OfStream { stream: stream.clone() }).set(of(state));
        }
        figures
    };
    for (name, help, figures) in [
        ("first_offset", "The oldest offset kept", figure(|state| state.first_offset)),
        ("next_offset", "The offset of the next record", figure(|state| state.next_offset)),
        (
            "ahead_seconds",
            "How much later the last record is than the clock: it went back, or was ahead",
            figure(|state| state.ahead_ms / 1000),
        ),
        ("producers", "Producers that are known", figure(|state| state.producers.len() as u64)),
        (
            "failed",
            "1 after a write that failed: no append is taken",
            figure(|state| u64::from(state.problem.is_some())),
        ),
        (
            "full",
            "1 while there is no room for appends",
            figure(|state| u64::from(state.full.is_some())),
        ),
    ] {
        registry.register(format!("stream_{name}"), help, figures);
    }
    let help = "Bytes of its data files";
    registry.register_with_unit("stream_size", help, Unit::Bytes, figure(|state| state.bytes));
}

fn of_copies(registry: &mut Registry, states: &[(String, StreamState)]) {
    let (connected, lag) = (Figures::<OfStream>::default(), Figures::<OfStream>::default());
    for (stream, state) in states {
        let Some(copy) = &state.copy else { continue };
        let labels = OfStream { stream: stream.clone() };
        connected.get_or_create(&labels).set(u64::from(copy.problem.is_none()));
        if let Some(end) = copy.source_end {
            lag.get_or_create(&labels).set(end.saturating_sub(state.next_offset));
        }
    }
    registry.register("copy_connected", "1 while the copy is connected to its original", connected);
    let help = "Records that the copy lacks, as it last heard of its original";
    registry.register("copy_lag_records", help, lag);
}

fn of_groups(registry: &mut Registry, states: &[(String, StreamState)]) {
    let (lag, held) = (Figures::<OfGroup>::default(), Figures::<OfGroup>::default());
    for (stream, state) in states {
        for group in &state.groups {
            let labels = OfGroup { stream: stream.clone(), group: group.name.clone() };
            let behind = state.next_offset.saturating_sub(group.committed.unwrap_or_default());
            lag.get_or_create(&labels).set(behind);
            held.get_or_create(&labels).set(group.held_bytes);
        }
    }
    registry.register("group_lag_records", "Records that the group has not finished", lag);
    let help = "Bytes that retention keeps for the group";
    registry.register_with_unit("group_held", help, Unit::Bytes, held);
}
