//! Whatever is killed with -9, every change is on its topic exactly once and in order.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::{
    binlog,
    processes::{Process, send},
    programs::{Site, listener_pid, recording_listener, seed, size},
    rebuilt::Rebuilt,
    servers::{Kafka, Mysql},
    topics::Topics,
    workload::{self, Workload},
};
use rand::{RngExt, SeedableRng, rngs::SmallRng, seq::SliceRandom};

const SCHEMA: &str = "chaos";

#[derive(Clone, Copy, Debug)]
enum Victim {
    /// One of the two `dts`, whichever leads at the moment.
    Dts(usize),
    Listener,
    Supervisor,
    Kafka,
    Mysql,
}

struct Running {
    site: Site,
    mysql: Mysql,
    kafka: Kafka,
    dts: [Process; 2],
    supervisor: Process,
}

impl Running {
    async fn start(seed: u64) -> Result<Self> {
        let mut site = Site::new("kafka-kills")?;
        let mysql = site.start_mysql().await?;
        let kafka = Kafka::start(&site.path("kafka")).await?;
        workload::create_tables(&mut mysql.connect().await?, SCHEMA).await?;
        site.use_kafka(&kafka.address(), "");
        site.configure_dts(&mysql.address(), SCHEMA)?;
        let seed = format!("--seed={seed}");
        let options = ["--fail-one-in=10", "--hang-one-in=100", &seed];
        site.configure_worker(&recording_listener("all", &site.path("recorded"), &options)?)?;
        let dts = [site.start_dts()?, site.start_standby()?];
        let supervisor = site.start_worker()?;
        Ok(Self { site, mysql, kafka, dts, supervisor })
    }

    async fn kill(&mut self, victim: Victim) -> Result<()> {
        match victim {
            Victim::Dts(which) => {
                self.dts[which].kill().await?;
                let again = if which == 0 { Site::start_dts } else { Site::start_standby };
                self.dts[which] = again(&self.site)?;
            }
            // The supervisor starts another one.
            Victim::Listener => send(listener_pid(&self.supervisor).await?, "KILL").await?,
            Victim::Supervisor => {
                self.supervisor.kill().await?;
                self.supervisor = self.site.start_worker()?;
            }
            Victim::Kafka => {
                self.kafka.kill().await?;
                self.kafka.restart().await?;
            }
            Victim::Mysql => {
                self.mysql.kill().await?;
                self.mysql.restart().await?;
            }
        }
        Ok(())
    }

    /// What a reader finds on the topics is what MySQL did, exactly once.
    async fn check_topics(&self) -> Result<()> {
        let expected = binlog::event_ids(&self.mysql, SCHEMA).await?;
        let address = self.kafka.address();
        let topics = tokio::task::spawn_blocking(move || Topics::read(&address, "e2e.chaos."));
        let topics = topics.await??;
        println!("{} records on the topics, {} row changes", topics.len(), expected.len());
        topics.check_once(&expected)?;
        topics.check_order()?;
        let recording = topics.into_recording();
        self.check_tables(&Rebuilt::from_recording(&recording)?).await
    }

    async fn check_tables(&self, rebuilt: &Rebuilt) -> Result<()> {
        let mut server = self.mysql.connect().await?;
        for table in workload::TABLES {
            let rows = rebuilt.check_table(&mut server, SCHEMA, table).await?;
            ensure!(rows > 0, "{table} is empty: it proves nothing");
        }
        Ok(())
    }
}

fn victims(kills_of_each: u64, random: &mut SmallRng) -> Vec<Victim> {
    let all = [
        Victim::Dts(0),
        Victim::Dts(1),
        Victim::Listener,
        Victim::Supervisor,
        Victim::Kafka,
        Victim::Mysql,
    ];
    let mut victims: Vec<Victim> = (0..kills_of_each).flat_map(|_| all).collect();
    victims.shuffle(random);
    victims
}

#[tokio::test(flavor = "multi_thread")]
async fn every_change_is_on_its_topic_exactly_once_while_everything_is_killed() -> Result<()> {
    let (seed, changes, kills) = (seed(), size(15_000, 200_000), size(1, 5));
    let mut random = SmallRng::seed_from_u64(seed);
    let mut running = Running::start(seed).await?;
    let load = Workload::start(&running.mysql.url(), SCHEMA, changes, seed);
    let victims = victims(kills, &mut random);
    for victim in &victims {
        load.allow(changes / victims.len() as u64);
        tokio::time::sleep(Duration::from_millis(random.random_range(0..3000))).await;
        running.kill(*victim).await.with_context(|| format!("{victim:?}"))?;
    }
    let made = load.finish().await?;
    let recorded = running.site.path("recorded");
    let recording = running.site.wait_for_all(&recorded, &running.mysql, SCHEMA).await?;
    println!("{made} changes, {} handled with repeats", recording.done().count());
    recording.check_ids()?;
    recording.check_order()?;
    running.check_topics().await?;
    running.check_tables(&Rebuilt::from_recording(&recording)?).await?;
    let Running { site, mysql, kafka, dts, supervisor } = running;
    drop((mysql, kafka, dts, supervisor));
    site.wait_until_empty().await?;
    site.remove()
}
