//! The brokers that the tests start, by Kafka's own tools.

use anyhow::{Result, ensure};
use e2e::{
    programs::Site,
    servers::{Kafka, kafka_tool},
};

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
