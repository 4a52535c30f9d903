//! Three brokers: hundreds of new tables, a rolling restart, one broker that hangs.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::{
    mysqlbinlog,
    processes::Process,
    programs::Site,
    servers::{Kafka, Mysql},
    topics::Topics,
};

const SCHEMA: &str = "cluster";
const TABLES: usize = 200;

/// How long a broker hangs: longer than the controller waits for it, and than our sessions last.
const HANG: Duration = Duration::from_secs(20);

/// Every topic is on all brokers, and is written while one of them is away.
const SETTINGS: [&str; 7] = [
    "default.replication.factor=3",
    "min.insync.replicas=2",
    "offsets.topic.replication.factor=3",
    "transaction.state.log.replication.factor=3",
    "transaction.state.log.min.isr=2",
    "share.coordinator.state.topic.replication.factor=3",
    "share.coordinator.state.topic.min.isr=2",
];

struct Cluster {
    site: Site,
    mysql: Mysql,
    brokers: Vec<Kafka>,
}

impl Cluster {
    async fn start() -> Result<(Self, Process, Process)> {
        let mut site = Site::new("cluster")?;
        let mysql = site.start_mysql().await?;
        let first = Kafka::start_with(&site.path("kafka1"), &SETTINGS).await?;
        let others =
            [first.join(&site.path("kafka2")).await?, first.join(&site.path("kafka3")).await?];
        let brokers: Vec<Kafka> = std::iter::once(first).chain(others).collect();
        let addresses: Vec<String> = brokers.iter().map(Kafka::address).collect();
        site.use_kafka(&addresses.join(","), "partitions = 2\nreplication = 3\n");
        site.configure_dts(&mysql.address(), SCHEMA)?;
        site.record(&[])?;
        mysql.execute(&["CREATE DATABASE cluster"]).await?;
        let (dts, worker) = (site.start_dts()?, site.start_worker()?);
        Ok((Self { site, mysql, brokers }, dts, worker))
    }

    async fn insert(&self, table: usize) -> Result<()> {
        let statement = format!("INSERT INTO cluster.t{table} (a) VALUES (1), (2)");
        self.mysql.execute(&[&statement]).await
    }

    async fn all_handled(&self, what: &str) -> Result<()> {
        let all = self.site.wait_for_all(&self.site.recorded(), &self.mysql, SCHEMA).await;
        all.map(drop).with_context(|| what.to_owned())
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes: scripts/test.sh --all runs it"]
async fn a_cluster_of_three_brokers_is_used_while_each_of_them_is_away_for_a_while() -> Result<()> {
    let (mut cluster, dts, worker) = Cluster::start().await?;
    for table in 0..TABLES {
        let new =
            format!("CREATE TABLE cluster.t{table} (id INT PRIMARY KEY AUTO_INCREMENT, a INT)");
        cluster.mysql.execute(&[&new]).await?;
        cluster.insert(table).await?;
    }
    cluster.all_handled("the first rows of new tables").await?;
    for broker in 0..cluster.brokers.len() {
        cluster.brokers[broker].kill().await?;
        cluster.insert(broker).await?;
        cluster.brokers[broker].restart().await?;
        cluster.insert(broker).await?;
        cluster.all_handled("a rolling restart").await?;
    }
    for broker in [1, 2] {
        cluster.brokers[broker].signal("STOP").await?;
        for table in 0..20 {
            cluster.insert(table).await?;
        }
        tokio::time::sleep(HANG).await;
        cluster.all_handled("a broker hangs").await?;
        cluster.brokers[broker].signal("CONT").await?;
    }
    cluster.insert(0).await?;
    cluster.all_handled("all are back").await?;
    let expected = mysqlbinlog::event_ids(&cluster.mysql, SCHEMA).await?;
    let address = cluster.brokers[0].address();
    Topics::read_aside(address, "e2e.cluster.").await?.check_once(&expected)?;
    for (name, process) in [("dts", &dts), ("event-worker", &worker)] {
        ensure!(!process.output().contains(" ERROR dts: "), "{name}: {}", process.output());
    }
    let Cluster { site, mysql, brokers } = cluster;
    drop((dts, worker, mysql, brokers));
    site.wait_until_empty().await?;
    site.remove()
}
