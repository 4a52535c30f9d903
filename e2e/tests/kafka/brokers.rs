//! The brokers that the tests start, by Kafka's own tools.

use anyhow::{Result, ensure};
use e2e::{
    programs::Site,
    servers::{Kafka, kafka_tool},
};
use event_bus::{BusConfig, BusKind, Guarantee, KafkaConfig};

const TOPICS: &str = "org.apache.kafka.tools.TopicCommand";

#[tokio::test]
async fn a_broker_that_was_killed_comes_back_with_its_topics() -> Result<()> {
    let site = Site::new("broker-killed")?;
    let mut broker = Kafka::start(&site.path("kafka")).await?;
    let address = broker.address();
    kafka_tool(TOPICS, &["--bootstrap-server", &address, "--create", "--topic", "kept"]).await?;
    broker.kill().await?;
    broker.restart().await?;
    let topics = kafka_tool(TOPICS, &["--bootstrap-server", &address, "--list"]).await?;
    ensure!(topics.trim() == "kept", "the topics are {topics:?}");
    drop(broker);
    site.remove()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_listens_to_the_control_table_hears_on_after_the_broker_was_killed() -> Result<()> {
    let site = Site::new("control-killed")?;
    let mut broker = Kafka::start(&site.path("kafka")).await?;
    let kafka = KafkaConfig {
        address: broker.address(),
        partitions: 1,
        replication: None,
        retention: None,
        guarantee: Guarantee::ExactlyOnce,
        properties: Default::default(),
    };
    let bus = event_bus::open(&BusConfig::new(BusKind::Kafka(kafka), "e2e"))?;
    let mut control = bus.control().await?;
    let put = |key: &str, value: &'static str| (key.to_owned(), Some(value.into()));
    ensure!(control.changes().await?.is_empty());
    bus.put_control(&[put("a", "1")]).await?;
    ensure!(control.changes().await? == [put("a", "1")]);
    broker.kill().await?;
    let away = control.changes().await;
    ensure!(away.as_ref().is_err_and(event_bus::Error::is_transient), "{away:?}");
    broker.restart().await?;
    bus.put_control(&[put("b", "2")]).await?;
    let changes = loop {
        match control.changes().await {
            Err(error) if error.is_transient() => {}
            told => break told?,
        }
    };
    ensure!(changes == [put("b", "2")], "{changes:?}");
    drop(broker);
    site.remove()
}

#[tokio::test]
async fn a_secure_broker_shows_a_user_what_was_granted_and_no_more() -> Result<()> {
    let site = Site::new("broker-secure")?;
    let broker = Kafka::start_secure(&site.path("kafka")).await?;
    let admin = broker.admin_address()?;
    for topic in ["shown", "hidden"] {
        kafka_tool(TOPICS, &["--bootstrap-server", &admin, "--create", "--topic", topic]).await?;
    }
    broker.grant("worker", &["--operation", "Describe", "--topic", "shown"]).await?;
    let login = site.path("worker.properties");
    std::fs::write(
        &login,
        format!(
            "security.protocol=SASL_SSL\nsasl.mechanism=SCRAM-SHA-512\n\
             sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required \
             username=\"worker\" password=\"worker-secret\";\n\
             ssl.truststore.type=PEM\nssl.truststore.location={}\n",
            broker.authority().display()
        ),
    )?;
    let (address, login) = (broker.address(), login.display().to_string());
    let asked = ["--bootstrap-server", &address, "--command-config", &login, "--list"];
    let topics = kafka_tool(TOPICS, &asked).await?;
    ensure!(topics.trim() == "shown", "the topics are {topics:?}");
    drop(broker);
    site.remove()
}
