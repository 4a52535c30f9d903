//! Whatever is killed with -9, every change is handled, in order per key, and none is invented.

use std::time::Duration;

use anyhow::{Result, ensure};
use e2e::{
    processes::running_in,
    programs::{seed, size},
    rebuilt::Rebuilt,
    recording::Recording,
    running::{Running, Source, Victim},
    workload::{self, Workload},
};
use rand::{SeedableRng, rngs::SmallRng};

const SCHEMA: &str = "chaos";

async fn start(seed: u64) -> Result<Running> {
    let source = Source::start("kills").await?.capture(SCHEMA, &[]).await?;
    workload::create_tables(&mut source.mysql.connect().await?, SCHEMA).await?;
    source.site.record(&["--fail-one-in=10", "--hang-one-in=100", &format!("--seed={seed}")])?;
    source.run()
}

const VICTIMS: [Victim; 4] = [Victim::Dts, Victim::Listener, Victim::Supervisor, Victim::Mysql];

#[tokio::test(flavor = "multi_thread")]
async fn every_change_is_handled_in_order_while_everything_is_killed() -> Result<()> {
    let (seed, changes, kills) = (seed(), size(20_000, 100_000), size(2, 6));
    let mut random = SmallRng::seed_from_u64(seed);
    let mut running = start(seed).await?;
    let load = Workload::start(&running.mysql.url(), SCHEMA, changes, seed);
    let victims = workload::shuffled(&VICTIMS, kills, &mut random);
    let killed = (&*victims, Duration::from_millis(1500));
    let made =
        load.finish_during_kills(killed, &mut random, async |victim| running.kill(victim).await);
    let made = made.await?;
    let recording = running.all_handled(SCHEMA).await?;
    report(&recording, made);
    recording.check_numbers()?;
    let mut server = running.mysql.connect().await?;
    let rebuilt = Rebuilt::from_recording(&recording)?;
    workload::check_tables(&rebuilt, &mut server, SCHEMA).await?;
    let left = running_in(&running.site.path(""))?;
    ensure!(!left.is_empty(), "nobody runs in the site's folder");
    running.end().await
}

fn report(recording: &Recording, made: u64) {
    let handled = recording.done().count();
    let ids = recording.done_ids().len();
    println!(
        "{made} changes, {ids} events, {handled} handled with repeats, {} calls, {} cut off",
        recording.calls.len(),
        recording.torn
    );
}
