//! Whatever is killed with -9, every change is on its topic exactly once and in order.

use std::time::Duration;

use anyhow::Result;
use e2e::{
    mysqlbinlog,
    programs::{seed, size},
    rebuilt::Rebuilt,
    recording::Recording,
    running::{Running, Source, Victim},
    servers::Kafka,
    topics::Topics,
    workload::{self, Workload},
};
use rand::{SeedableRng, rngs::SmallRng};

const SCHEMA: &str = "chaos";

/// Two `dts`, of which one leads at any moment.
async fn start(seed: u64) -> Result<Running> {
    let source = Source::start("kafka-kills").await?.over_kafka("").await?;
    let source = source.capture(SCHEMA, &[]).await?;
    workload::create_tables(&mut source.mysql.connect().await?, SCHEMA).await?;
    source.site.record(&["--fail-one-in=10", "--hang-one-in=100", &format!("--seed={seed}")])?;
    let standby = Some(source.site.start_standby()?);
    Ok(Running { standby, ..source.run()? })
}

/// What a reader finds on the topics is what MySQL did, exactly once.
async fn check_topics(running: &Running) -> Result<()> {
    let expected = mysqlbinlog::event_ids(&running.mysql, SCHEMA).await?;
    let address = running.kafka.as_ref().map(Kafka::address).unwrap_or_default();
    let topics = Topics::read_aside(address, "e2e.chaos.").await?;
    println!("{} records on the topics, {} row changes", topics.len(), expected.len());
    topics.check_once(&expected)?;
    topics.check_order()?;
    check_tables(running, &topics.into_recording()).await
}

async fn check_tables(running: &Running, recording: &Recording) -> Result<()> {
    let rebuilt = Rebuilt::from_recording(recording)?;
    workload::check_tables(&rebuilt, &mut running.mysql.connect().await?, SCHEMA).await
}

const VICTIMS: [Victim; 6] = [
    Victim::Dts,
    Victim::Standby,
    Victim::Listener,
    Victim::Supervisor,
    Victim::Kafka,
    Victim::Mysql,
];

#[tokio::test(flavor = "multi_thread")]
async fn every_change_is_on_its_topic_exactly_once_while_everything_is_killed() -> Result<()> {
    let (seed, changes, kills) = (seed(), size(15_000, 200_000), size(1, 5));
    let mut random = SmallRng::seed_from_u64(seed);
    let mut running = start(seed).await?;
    let load = Workload::start(&running.mysql.url(), SCHEMA, changes, seed);
    let victims = workload::shuffled(&VICTIMS, kills, &mut random);
    let killed = (&*victims, Duration::from_secs(3));
    let made =
        load.finish_during_kills(killed, &mut random, async |victim| running.kill(victim).await);
    let made = made.await?;
    let recording = running.all_handled(SCHEMA).await?;
    println!("{made} changes, {} handled with repeats", recording.done().count());
    recording.check_numbers()?;
    check_topics(&running).await?;
    check_tables(&running, &recording).await?;
    running.end().await
}
