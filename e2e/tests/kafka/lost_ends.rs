//! Brokers that lose the end of a transaction: it has no partition whose broker lives at that time.

use std::{sync::Arc, time::Duration};

use anyhow::{Context as _, Result, ensure};
use e2e::{
    processes::{PATIENCE, wait_until},
    programs::Site,
    servers::Kafka,
    topics::read_records,
};
use kafka_client::{Acks, Fate, Goal, Properties, Records, Sight, Voice, commit, undo_left};
use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    config::FromClientConfigAndContext as _,
    metadata::MetadataBroker,
    producer::{BaseRecord, Producer as _, ThreadedProducer},
};

const PATIENT: Duration = Duration::from_secs(60);

/// Two brokers. The first has the coordinator, and all topics that begin with `near`.
struct Pair {
    site: Site,
    near: Kafka,
    far: Kafka,
}

impl Pair {
    async fn start(test: &str) -> Result<Self> {
        let site = Site::new(test)?;
        let near = Kafka::start(&site.path("near")).await?;
        // The coordinator's topic is made with the first transactional id, where a broker lives.
        drop(producer(&near, "first")?);
        let pair = Self { far: near.join(&site.path("far")).await?, near, site };
        let admin: AdminClient<_> = pair.config().create()?;
        let metadata = admin.inner().fetch_metadata(None, PATIENCE)?;
        for (topic, address) in [("near", pair.near.address()), ("far", pair.far.address())] {
            let mut brokers = metadata.brokers().iter();
            let is_meant = |broker: &&MetadataBroker| address.ends_with(&broker.port().to_string());
            let broker = brokers.find(is_meant).context("no such broker")?.id();
            let replicas: [&[i32]; 1] = [&[broker]];
            let topic = NewTopic::new(topic, 1, TopicReplication::Variable(&replicas));
            let made = admin.create_topics([&topic], &AdminOptions::new()).await?;
            made.into_iter().next().context("no answer")?.map_err(|(_, code)| code)?;
        }
        Ok(pair)
    }

    fn config(&self) -> ClientConfig {
        Properties::default().client(&self.near.address(), &[])
    }

    fn sight(&self, records: Records) -> Result<Sight> {
        Ok(Sight::open(self.config(), records, &Voice::default())?)
    }

    /// Kills the far broker, and waits until the controller knows.
    async fn lose_far(&mut self, client: &ThreadedProducer<Acks>) -> Result<()> {
        self.far.kill().await?;
        wait_until("the topic has no leader", PATIENCE, async || {
            let metadata = client.client().fetch_metadata(Some("far"), PATIENCE);
            metadata.is_ok_and(|metadata| {
                let partitions = metadata.topics().iter().flat_map(|topic| topic.partitions());
                partitions.into_iter().any(|partition| partition.leader() == -1)
            })
        })
        .await
    }

    /// What readers see of a topic.
    fn seen(&self, topic: &str) -> Result<Vec<String>> {
        let mut seen = Vec::new();
        read_records(&self.near.address(), topic, |record| {
            seen.push(
                String::from_utf8_lossy([record.key(), record.value()].concat().as_slice())
                    .into_owned(),
            );
            Ok(())
        })?;
        Ok(seen)
    }
}

fn producer(broker: &Kafka, id: &str) -> Result<ThreadedProducer<Acks>> {
    let mut config = Properties::default().client(&broker.address(), &[]);
    config.set("transactional.id", id).set("message.timeout.ms", "20000");
    let client: ThreadedProducer<Acks> =
        ThreadedProducer::from_config_and_context(&config, Acks::default())?;
    client.init_transactions(PATIENT)?;
    Ok(client)
}

fn send(client: &ThreadedProducer<Acks>, topics: &[&str], value: &str) -> Result<()> {
    for topic in topics {
        client.context().expect(value.len());
        let sent = client.send(BaseRecord::<str, str>::to(topic).payload(value));
        sent.map_err(|(error, _)| error)?;
    }
    let all = client.context().wait(Goal::All, PATIENT);
    ensure!(all.is_ok_and(|all| all), "{topics:?} are not acknowledged");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "two brokers, one of them killed three times: scripts/test.sh --all runs it"]
async fn a_transaction_whose_end_the_brokers_lose_is_there_as_a_whole_or_not_at_all() -> Result<()>
{
    let mut pair = Pair::start("kafka-lost-ends").await?;
    let (seen, all) = (Arc::new(pair.sight(Records::Committed)?), pair.sight(Records::All)?);
    let client = Arc::new(producer(&pair.near, "writer")?);
    for (topics, value, fate) in
        [(&["far"][..], "whole", Fate::Undone), (&["near", "far"], "part", Fate::Seen)]
    {
        client.begin_transaction()?;
        send(&client, topics, value)?;
        pair.lose_far(&client).await?;
        let (to_end, sight) = (Arc::clone(&client), Arc::clone(&seen));
        let told = tokio::task::spawn_blocking(move || commit(&to_end, &sight, PATIENT));
        pair.far.restart().await?;
        let told = told.await?.context(value)?;
        ensure!(told == fate, "{value}: {told:?}");
    }
    ensure!(pair.seen("near")? == ["part"], "{:?}", pair.seen("near"));
    ensure!(pair.seen("far")? == ["part", "dbevent-filler"], "{:?}", pair.seen("far"));

    client.begin_transaction()?;
    send(&client, &["far"], "left")?;
    pair.lose_far(&client).await?;
    client.commit_transaction(PATIENT)?;
    drop(client);
    pair.far.restart().await?;
    let client = producer(&pair.near, "writer")?;
    let places = ["near", "far", "none"].map(|topic| (topic.to_owned(), 0));
    undo_left(&client, (&seen, &all), &places, PATIENT)?;
    client.begin_transaction()?;
    send(&client, &["far"], "new")?;
    ensure!(commit(&client, &seen, PATIENT)? == Fate::Seen);
    ensure!(pair.seen("far")? == ["part", "dbevent-filler", "new"], "{:?}", pair.seen("far"));
    let Pair { site, .. } = pair;
    site.remove()
}
