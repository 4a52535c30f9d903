//! Whatever is killed with -9, every change is on its topic exactly once and in order.

use std::time::Duration;

use anyhow::Result;
use e2e::{
    binlog,
    processes::{Process, send},
    programs::{Site, listener_pid, recording_listener, seed, size},
    rebuilt::Rebuilt,
    servers::{Kafka, Mysql},
    topics::Topics,
    workload::{self, Workload},
};
use rand::{SeedableRng, rngs::SmallRng};

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
        workload::check_tables(rebuilt, &mut self.mysql.connect().await?, SCHEMA).await
    }
}

const VICTIMS: [Victim; 6] = [
    Victim::Dts(0),
    Victim::Dts(1),
    Victim::Listener,
    Victim::Supervisor,
    Victim::Kafka,
    Victim::Mysql,
];

#[tokio::test(flavor = "multi_thread")]
async fn every_change_is_on_its_topic_exactly_once_while_everything_is_killed() -> Result<()> {
    let (seed, changes, kills) = (seed(), size(15_000, 200_000), size(1, 5));
    let mut random = SmallRng::seed_from_u64(seed);
    let mut running = Running::start(seed).await?;
    let load = Workload::start(&running.mysql.url(), SCHEMA, changes, seed);
    let victims = workload::shuffled(&VICTIMS, kills, &mut random);
    let killed = (&*victims, Duration::from_secs(3));
    let made =
        load.finish_amid_kills(killed, &mut random, async |victim| running.kill(victim).await);
    let made = made.await?;
    let recorded = running.site.path("recorded");
    let recording = running.site.wait_for_all(&recorded, &running.mysql, SCHEMA).await?;
    println!("{made} changes, {} handled with repeats", recording.done().count());
    recording.check_ids()?;
    recording.check_order()?;
    recording.check_numbers()?;
    running.check_topics().await?;
    running.check_tables(&Rebuilt::from_recording(&recording)?).await?;
    let Running { site, mysql, kafka, dts, supervisor } = running;
    drop((mysql, kafka, dts, supervisor));
    site.wait_until_empty().await?;
    site.remove()
}
