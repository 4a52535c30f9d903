//! A listener that reads a mirror of the log that `dts` writes.

use std::time::Duration;

use anyhow::{Context as _, Result};
use e2e::{
    processes::{Process, free_port},
    programs::{Site, program, seed, size},
    rebuilt::Rebuilt,
    running::{Source, Victim},
    workload::{self, Workload},
};
use rand::{SeedableRng, rngs::SmallRng};

const SCHEMA: &str = "chaos";

#[derive(Clone, Copy, Debug)]
enum Killed {
    Mirror,
    Other(Victim),
}

const VICTIMS: [Killed; 4] = [
    Killed::Mirror,
    Killed::Other(Victim::Dts),
    Killed::Other(Victim::Listener),
    Killed::Other(Victim::Supervisor),
];

/// Where the log and its mirror listen.
struct Addresses {
    original: String,
    copy: String,
}

/// Lets the listener read the mirror.
fn configure(site: &Site) -> Result<Addresses> {
    let text = std::fs::read_to_string(site.path("db_event_listener.toml"))?;
    let mut lines = text.lines();
    let line = lines.rfind(|line| line.starts_with("address")).context("the bus has no address")?;
    let original = line.split('"').nth(1).context("the address has no quotes")?.to_owned();
    let copy = format!("127.0.0.1:{}", free_port()?);
    site.amend("db_event_listener.toml", line, &format!("address = \"{copy}\""))?;
    Ok(Addresses { original, copy })
}

fn start_mirror(site: &Site, at: &Addresses) -> Result<Process> {
    let path = program("event-log")?.display().to_string();
    let from = ["mirror", "--from", &at.original, "--stream", "dbevents"];
    let here = ["--directory", "data/mirror", "--listen", &at.copy];
    site.run("mirror", &[&[&*path][..], &from, &here].concat())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_on_a_mirror_has_every_change_whatever_is_killed() -> Result<()> {
    let (seed, changes, kills) = (seed(), size(5_000, 50_000), size(4, 8));
    let mut random = SmallRng::seed_from_u64(seed);
    let source = Source::start("mirrored").await?.capture(SCHEMA, &[]).await?;
    workload::create_tables(&mut source.mysql.connect().await?, SCHEMA).await?;
    source.site.record(&["--fail-one-in=10"])?;
    let at = configure(&source.site)?;
    let mut mirror = start_mirror(&source.site, &at)?;
    let mut running = source.run()?;
    let load = Workload::start(&running.mysql.url(), SCHEMA, changes, seed);
    let victims = workload::shuffled(&VICTIMS, kills, &mut random);
    let killed = (&*victims, Duration::from_secs(1));
    let made = load.finish_during_kills(killed, &mut random, async |victim| match victim {
        Killed::Other(victim) => running.kill(victim).await,
        Killed::Mirror => {
            mirror.kill().await?;
            mirror = start_mirror(&running.site, &at)?;
            Ok(())
        }
    });
    made.await?;
    let recording = running.all_handled(SCHEMA).await.with_context(|| mirror.output())?;
    let mut server = running.mysql.connect().await?;
    let rebuilt = Rebuilt::from_recording(&recording)?;
    workload::check_tables(&rebuilt, &mut server, SCHEMA).await?;
    drop(mirror);
    running.end().await
}
