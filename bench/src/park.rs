//! What `park` costs: catching up with it off, on, and on while the handler refuses some keys; and
//! how late other keys come meanwhile.

use std::time::{Duration, Instant};

use anyhow::Result;
use e2e::{
    processes::{PATIENCE, read_growing, wait_until},
    programs::{Site, recording_listener},
    recording::{Outcome, Recording},
};

use crate::{
    full_sync::start,
    load::{Loaded, SCHEMA},
    measure::{Cost, until},
    report::{Latency, Step},
    steps::write_steadily,
};

const PARK: &str = "park = { after = 20, maxKeys = 100000, maxBytes = \"12MiB\" }\n";

/// Of the rows of the load, so many are refused.
const REFUSED: u64 = 1_000;

/// Of the rows that come steadily, one in so many is refused.
const REFUSED_ONE_IN: u64 = 500;

/// The start is not measured.
const WARM_UP: Duration = Duration::from_secs(3);

/// How a listener parks.
#[derive(Clone, Copy)]
enum Kind {
    Off,
    On,
    Refusing,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Off => "to a handler, park off",
            Self::On => "to a handler, park on",
            Self::Refusing => "to a handler, park on, 1,000 keys refused",
        }
    }
}

/// Catching up with a load, in turns.
pub(crate) async fn catch_up(server: &Loaded, runs: usize) -> Result<Vec<Step>> {
    let kinds = [Kind::Off, Kind::On, Kind::Refusing];
    let mut costs = [const { Vec::new() }; 3];
    for run in 1..=runs {
        for (kind, costs) in kinds.into_iter().zip(&mut costs) {
            let cost = to_handler(server, kind).await?;
            eprintln!("{}, {}, run {run}: {:.2} s", server.load.name(), kind.name(), cost.seconds);
            costs.push(cost);
        }
    }
    let steps = kinds.into_iter().zip(costs);
    Ok(steps.map(|(kind, costs)| Step::new(server, kind.name(), costs)).collect())
}

async fn to_handler(server: &Loaded, kind: Kind) -> Result<Cost> {
    let site = Site::new("bench-run")?;
    site.configure_dts(&server.mysql.address(), SCHEMA)?;
    let (counted, rows) = (site.path("counted"), server.load.rows());
    let refused = if matches!(kind, Kind::Refusing) { REFUSED } else { 0 };
    let listener = listener(&site, ("count", &counted), (kind, rows / REFUSED), &["--count"])?;
    site.configure_worker(&listener)?;
    std::fs::write(site.path("switch"), "")?;
    let worker = site.start_worker()?;
    let began = Instant::now();
    let dts = site.start_dts()?;
    let cost =
        until(began, &[&dts, &worker], async || Ok(done(&counted)? >= rows - refused)).await?;
    drop((dts, worker));
    site.wait_until_empty().await?;
    site.remove()?;
    Ok(cost)
}

/// A listener whose handler refuses ids that are divisible by a number.
fn listener(
    site: &Site,
    (id, recorded): (&str, &std::path::Path),
    (kind, refused_ids): (Kind, u64),
    options: &[&str],
) -> Result<String> {
    let switch = format!("--fail-while={}", site.path("switch").display());
    let ids = format!("--refused-ids={refused_ids}");
    let mut options = options.to_vec();
    if matches!(kind, Kind::Refusing) {
        options.extend([&*switch, &*ids]);
    }
    let listener = recording_listener(id, recorded, &options)?;
    Ok(if matches!(kind, Kind::Off) { listener } else { listener + PARK })
}

/// How many events all successful calls had so far.
fn done(counted: &std::path::Path) -> Result<u64> {
    let text = read_growing(counted)?;
    let calls = text.lines().filter(|line| line.contains("\"outcome\":\"done\""));
    let counts = calls.filter_map(|line| line.split("\"count\":").nth(1)?.split('}').next());
    Ok(counts.filter_map(|count| count.parse::<u64>().ok()).sum())
}

/// At 1,000 one-row transactions a second: two listeners of the same changes, of which one has a
/// handler that refuses some keys and parks them.
pub(crate) async fn latencies(server: &Loaded, seconds: u64) -> Result<Vec<Latency>> {
    let site = Site::new("bench-run")?;
    std::fs::write(site.path("switch"), "")?;
    let listeners = [("plain", Kind::Off), ("park", Kind::Refusing)];
    let texts = listeners.map(|(id, kind)| {
        let text = listener(&site, (id, &site.path(id)), (kind, REFUSED_ONE_IN), &[]);
        text.map(|text| text.replace("earliest", "latest"))
    });
    let [plain, park] = texts;
    let (dts, worker) = start(&site, &server.mysql, &(plain? + &park?)).await?;
    let (mysql, first) = (&server.mysql, server.load.rows());
    let lasts = WARM_UP + Duration::from_secs(seconds);
    let transactions = write_steadily(mysql, (first, lasts)).await?;
    let refused = transactions / REFUSED_ONE_IN + 1;
    let mut latencies = Vec::new();
    for ((id, _), to) in listeners.iter().zip(["without a failure", "that parks 1 key in 500"]) {
        let mut recording = Recording { calls: vec![], torn: 0 };
        wait_until("all is handled", PATIENCE, async || {
            recording = Recording::read(&site.path(id)).unwrap_or_default();
            recording.done().count() as u64 >= transactions - refused
        })
        .await?;
        let began = recording.calls.first().map_or(0, |call| call.began);
        recording.calls.retain(|call| call.outcome == Outcome::Done);
        let lags = recording.lags_between(began + WARM_UP.as_millis() as u64..u64::MAX);
        let rate = lags.len() as f64 / seconds as f64;
        latencies.push(Latency::new(&format!("a handler {to}, in one run"), rate, &lags));
    }
    drop((dts, worker));
    site.wait_until_empty().await?;
    site.remove()?;
    Ok(latencies)
}
