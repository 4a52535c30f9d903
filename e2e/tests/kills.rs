//! Whatever is killed with -9, every change is handled, in order per key, and none is invented.

use std::time::Duration;

use anyhow::Result;
use e2e::{
    processes::{Process, running_in, send},
    programs::{Site, listener_pid, recording_listener, seed, size},
    rebuilt::Rebuilt,
    recording::Recording,
    servers::Mysql,
    workload::{self, Workload},
};
use rand::{SeedableRng, rngs::SmallRng};

const SCHEMA: &str = "chaos";

#[derive(Clone, Copy, Debug)]
enum Victim {
    Dts,
    Listener,
    Supervisor,
    Mysql,
}

struct Running {
    site: Site,
    mysql: Mysql,
    dts: Process,
    supervisor: Process,
}

impl Running {
    async fn start(seed: u64) -> Result<Self> {
        let site = Site::new("kills")?;
        let mysql = site.start_mysql().await?;
        workload::create_tables(&mut mysql.connect().await?, SCHEMA).await?;
        site.configure_dts(&mysql.address(), SCHEMA)?;
        let seed = format!("--seed={seed}");
        let options = ["--fail-one-in=10", "--hang-one-in=100", &seed];
        site.configure_worker(&recording_listener("all", &site.path("recorded"), &options)?)?;
        let (dts, supervisor) = (site.start_dts()?, site.start_worker()?);
        Ok(Self { site, mysql, dts, supervisor })
    }

    async fn kill(&mut self, victim: Victim) -> Result<()> {
        match victim {
            Victim::Dts => {
                self.dts.kill().await?;
                self.dts = self.site.start_dts()?;
            }
            // The supervisor starts another one.
            Victim::Listener => send(listener_pid(&self.supervisor).await?, "KILL").await?,
            Victim::Supervisor => {
                self.supervisor.kill().await?;
                self.supervisor = self.site.start_worker()?;
            }
            Victim::Mysql => {
                self.mysql.kill().await?;
                self.mysql.restart().await?;
            }
        }
        Ok(())
    }

    /// Kills all, after which not even a handler that hangs may be left.
    async fn end(self) -> Result<()> {
        let Self { site, mysql, dts, supervisor } = self;
        anyhow::ensure!(
            !running_in(&site.path(""))?.is_empty(),
            "nobody runs in the site's folder"
        );
        drop((mysql, dts, supervisor));
        site.wait_until_empty().await?;
        site.remove()
    }
}

const VICTIMS: [Victim; 4] = [Victim::Dts, Victim::Listener, Victim::Supervisor, Victim::Mysql];

#[tokio::test(flavor = "multi_thread")]
async fn every_change_is_handled_in_order_while_everything_is_killed() -> Result<()> {
    let (seed, changes, kills) = (seed(), size(20_000, 100_000), size(2, 6));
    let mut random = SmallRng::seed_from_u64(seed);
    let mut running = Running::start(seed).await?;
    let load = Workload::start(&running.mysql.url(), SCHEMA, changes, seed);
    let victims = workload::shuffled(&VICTIMS, kills, &mut random);
    let killed = (&*victims, Duration::from_millis(1500));
    let made =
        load.finish_amid_kills(killed, &mut random, async |victim| running.kill(victim).await);
    let made = made.await?;
    let recorded = running.site.path("recorded");
    let recording = running.site.wait_for_all(&recorded, &running.mysql, SCHEMA).await?;
    report(&recording, made);
    recording.check_ids()?;
    recording.check_order()?;
    recording.check_numbers()?;
    let mut server = running.mysql.connect().await?;
    let rebuilt = Rebuilt::from_recording(&recording)?;
    workload::check_tables(&rebuilt, &mut server, SCHEMA).await?;
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
