//! Changes of a table `shop.item`, and the sink that they are given to.

use std::{path::Path, sync::Arc};

use handler::{Batch, Event, Outcome};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use service::config::File;
use sinks::{NoTables, Sink, SinkConfig};

/// A sink of this kind with the keys of its table.
pub(crate) fn sink(kind: &str, toml: &str) -> Sink {
    let file = File::parse(Path::new("test"), toml).unwrap();
    let config = SinkConfig::read(kind, file.root());
    Sink::new(&file.finish(config).unwrap().unwrap(), "test", Arc::new(NoTables)).unwrap()
}

pub(crate) async fn give(sink: &Sink, events: &[Event]) -> Outcome {
    let events: Vec<&Event> = events.iter().collect();
    sink.handler().handle(Batch { events: &events, attempt: 1 }).await
}

/// The change of the row `id` with this `Seq`. `data` are the columns besides the key.
pub(crate) fn change(seq: u64, action: &str, id: u64, data: &str, old: Option<&str>) -> Event {
    let data = if data.is_empty() { String::new() } else { format!(",{data}") };
    let old = old.map_or_else(String::new, |old| format!(r#""Old":{{{old}}},"#));
    let json = format!(
        r#"{{"EvId":"g:{seq}#0","Schema":"shop","TableName":"item","Action":"{action}","PK":{{"id":{id}}},"Data":{{"id":{id}{data}}},{old}"Seq":{seq},"Origin":"binlog","Ts":1700000000123,"Source":{{"serverId":1,"file":"b.1","pos":4,"row":0}}}}"#
    );
    Event { json, ev_id: format!("g:{seq}#0"), seq: Some(seq), ..Event::default() }
}

/// A random generator whose seed is printed; `TEST_SEED` sets it.
pub(crate) fn seeded() -> StdRng {
    let seed = std::env::var("TEST_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed: u64 = seed.unwrap_or_else(|| rand::rng().random());
    #[expect(clippy::print_stderr, reason = "it repeats the test")]
    {
        eprintln!("TEST_SEED={seed}");
    }
    StdRng::seed_from_u64(seed)
}
