//! `/metrics`, in the OpenMetrics text format.

use std::{fmt, sync::Arc};

use axum::{
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder, text::encode},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge, info::Info},
    registry::{Registry, Unit as MetricUnit},
};

use crate::{
    listener::{
        books::Seam,
        latency::{BUCKETS_MS, Latency},
        status::ListenerState,
        table_counts::Counted,
    },
    supervisor::{Supervisor, UnitView},
    version,
};
use service::{clock::now_ms, http::ApiError};
use sinks::Figures;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

pub(super) async fn show(State(supervisor): State<Arc<Supervisor>>) -> Result<Response, ApiError> {
    let views = supervisor.fleet.units().iter().map(|unit| unit.view()).collect();
    let text = page(views).map_err(|error| {
        ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string(), "report this")
    })?;
    Ok(([(CONTENT_TYPE, OPEN_METRICS)], text).into_response())
}

fn page(views: Vec<UnitView>) -> Result<String, fmt::Error> {
    let mut registry = Registry::with_prefix("dbevent");
    let build = vec![("version", version::VERSION), ("commit", version::COMMIT)];
    registry.register("build", "Which version this is", Info::new(build));
    let of_listeners = registry.sub_registry_with_prefix("listener");
    of_listeners.register_collector(Box::new(Listeners(views)));
    let mut text = String::new();
    encode(&mut text, &registry)?;
    Ok(text)
}

/// A metric of each listener: name, help and value.
type Figure<N> = (&'static str, &'static str, fn(&UnitView) -> N);

const COUNTERS: [Figure<u64>; 11] = [
    ("received", "Records received", |view| view.counters.received),
    ("done", "Events that the handler has done", |view| view.counters.done),
    ("filtered", "Records that the listener does not want", |view| view.counters.filtered),
    ("aside", "Records that wait aside, or did", |view| view.counters.aside),
    ("from_aside", "Events that are done, and had waited aside", |view| view.counters.from_aside),
    ("returned", "Records that went to another process", |view| view.counters.returned),
    ("replayed", "Past events that the handler has done once more", |view| view.counters.replayed),
    ("replay_left_out", "Past events left out: their keys have newer events", |view| {
        view.counters.replay_left_out
    }),
    ("failures", "Handler calls that failed", |view| view.counters.failures),
    ("retries", "Handler calls for events that had failed", |view| view.counters.retries),
    ("restarts", "Times the process was started again", |view| view.restarts),
];

/// A metric of each table of which events came.
type OfTable = (&'static str, &'static str, fn(&Counted) -> u64);

const OF_TABLES: [OfTable; 4] = [
    ("table_received", "Records received, by table", |of| of.received),
    ("table_filtered", "Records that the listener does not want, by table", |of| of.filtered),
    ("table_done", "Events that the handler has done, by table", |of| of.done),
    ("table_returned", "Records that went to another process, by table", |of| of.returned),
];

/// A metric of each listener whose handler is a sink.
type OfSink = (&'static str, &'static str, fn(&Figures) -> f64);

const OF_SINKS: [OfSink; 12] = [
    ("sink_rows", "Rows that the sink has written", |of| of.rows as f64),
    ("sink_deletes", "Rows that the sink has deleted", |of| of.deletes as f64),
    ("sink_requests", "Requests or transactions that the target has answered", |of| {
        of.requests as f64
    }),
    ("sink_retries", "Requests sent again, because the target was busy", |of| of.retries as f64),
    ("sink_conflicts", "Changes that the target had already, or newer", |of| of.conflicts as f64),
    ("sink_absent", "Changes of some columns of rows that the target lacks", |of| of.absent as f64),
    ("sink_refused", "Changes that the target refused", |of| of.refused as f64),
    ("sink_fetched", "Rows fetched from the source: too large for their events", |of| {
        of.fetched as f64
    }),
    ("sink_gone", "Changes of such rows that were not at the source any more", |of| of.gone as f64),
    ("sink_unfilled", "Columns that were added and are NULL in rows from before", |of| {
        of.unfilled as f64
    }),
    ("sink_bytes", "Bytes of requests", |of| of.bytes as f64),
    ("sink_request_seconds", "Time of all requests together", |of| {
        of.request_micros as f64 / 1_000_000.0
    }),
];

/// `None` while it is not known.
const GAUGES: [Figure<Option<f64>>; 16] = [
    ("up", "1 while it runs without failing, stands by, or another environment runs it", |view| {
        let state = view.report.state;
        Some(f64::from(u8::from(state.is_moving() || state == ListenerState::Elsewhere)))
    }),
    ("paused", "1 while a human has paused it", |view| Some(f64::from(u8::from(view.paused)))),
    ("waiting", "Records received that are not done, filtered or returned", |view| {
        Some(view.counters.waiting() as f64)
    }),
    ("buffered_events", "Events that wait or are in a call", |view| {
        Some(view.report.buffered_events as f64)
    }),
    ("buffered_bytes", "Bytes of events that wait or are in a call", |view| {
        Some(view.report.buffered_bytes as f64)
    }),
    ("replays_active", "1 while a replay gives it past events", |view| {
        Some(f64::from(u8::from(view.report.replay.is_some())))
    }),
    (
        "replay_remaining_offsets",
        "Offsets that its replay has still to read, in one partition",
        |view| {
            let left = view.report.replay.as_ref().map(|at| at.to.saturating_sub(at.next));
            Some(left.unwrap_or_default() as f64)
        },
    ),
    ("sink_begun", "Tables of the target made by a change, without the rows from before", |view| {
        Some(view.report.sink?.begun as f64)
    }),
    ("sink_altered", "Columns altered at the source, and not at the target", |view| {
        Some(view.report.sink?.altered as f64)
    }),
    ("lag_records", "Records on the bus that are not finished", |view| {
        Some(view.lag.records? as f64)
    }),
    ("lag_seconds", "Age of the oldest unfinished change", |view| {
        view.lag.records.map(|_| view.lag.seconds)
    }),
    ("aside_keys", "Keys that wait aside: parked, or tried again by themselves", |view| {
        Some(view.report.parking.keys as f64)
    }),
    ("parked_keys", "Keys that are parked: they wait for a human", |view| {
        Some(view.report.parking.parked as f64)
    }),
    ("aside_events", "Events that wait aside", |view| Some(view.report.parking.events as f64)),
    ("aside_bytes", "Bytes of events that wait aside", |view| {
        Some(view.report.parking.bytes as f64)
    }),
    ("aside_oldest_seconds", "Since when the first of them fails", |view| {
        let oldest_ms = view.report.parking.oldest_ms;
        Some(oldest_ms.map_or(0.0, |since| now_ms().saturating_sub(since) as f64 / 1000.0))
    }),
];

/// How long something takes: name, help and the times.
type Times = (&'static str, &'static str, fn(&UnitView) -> &Latency);

const TIMES: [Times; 2] = [
    ("latency", "Time from the commit in the source until the handler was done", |view| {
        &view.counters.latency
    }),
    ("call", "Time of a call of the handler, whatever came of it", |view| &view.counters.calls),
];

/// All listeners at one moment.
#[derive(Debug)]
struct Listeners(Vec<UnitView>);

type Labels<'a> = [(&'static str, &'a str); 1];

impl Collector for Listeners {
    fn encode(&self, mut to: DescriptorEncoder<'_>) -> fmt::Result {
        for (name, help, value) in COUNTERS {
            let mut family = to.encode_descriptor(name, help, None, MetricType::Counter)?;
            for view in &self.0 {
                let labels = labels(view);
                ConstCounter::new(value(view)).encode(family.encode_family(&labels)?)?;
            }
        }
        for (name, help, value) in GAUGES {
            let mut family = to.encode_descriptor(name, help, None, MetricType::Gauge)?;
            let known = self.0.iter().filter_map(|view| Some((view, value(view)?)));
            for (view, value) in known {
                ConstGauge::new(value).encode(family.encode_family(&labels(view))?)?;
            }
        }
        self.tables(&mut to)?;
        self.books(&mut to)?;
        self.sinks(&mut to)?;
        self.times(&mut to)
    }
}

impl Listeners {
    fn tables(&self, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
        for (name, help, value) in OF_TABLES {
            let mut family = to.encode_descriptor(name, help, None, MetricType::Counter)?;
            for view in &self.0 {
                for of in view.counters.tables.iter() {
                    let table = format!("{}.{}", of.schema, of.table);
                    let labels = [("listener", view.id.as_str()), ("table", table.as_str())];
                    ConstCounter::new(value(of)).encode(family.encode_family(&labels)?)?;
                }
            }
        }
        Ok(())
    }

    fn books(&self, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Records that are missing or too many between two places; 0: the books balance";
        let mut family = to.encode_descriptor("book_difference", help, None, MetricType::Gauge)?;
        for view in &self.0 {
            for between in Seam::ALL {
                let labels = [("listener", view.id.as_str()), ("between", between.word())];
                let records = view.counters.differences.records(between);
                ConstGauge::new(records.cast_signed()).encode(family.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }

    fn sinks(&self, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
        for (name, help, value) in OF_SINKS {
            let mut family = to.encode_descriptor(name, help, None, MetricType::Counter)?;
            let sinks = self.0.iter().filter_map(|view| Some((view, view.report.sink?)));
            for (view, figures) in sinks {
                let metric = ConstCounter::new(value(&figures));
                metric.encode(family.encode_family(&labels(view))?)?;
            }
        }
        Ok(())
    }

    fn times(&self, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
        for (name, help, times) in TIMES {
            let (unit, kind) = (Some(&MetricUnit::Seconds), MetricType::Histogram);
            let mut family = to.encode_descriptor(name, help, unit, kind)?;
            for view in &self.0 {
                histogram(times(view), family.encode_family(&labels(view))?)?;
            }
        }
        Ok(())
    }
}

fn histogram(latency: &Latency, mut to: MetricEncoder<'_>) -> fmt::Result {
    let ends = BUCKETS_MS.iter().map(|end| *end as f64 / 1000.0);
    let buckets: Vec<(f64, u64)> = ends.chain([f64::INFINITY]).zip(latency.counts).collect();
    let count = latency.counts.iter().sum();
    to.encode_histogram::<Labels<'_>>(latency.sum_ms as f64 / 1000.0, count, &buckets, None)
}

fn labels(view: &UnitView) -> Labels<'_> {
    [("listener", &view.id)]
}
