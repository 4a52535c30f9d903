//! A consumer for tests: remembers what it owns and what it got.

use std::{collections::BTreeMap, time::Duration};

use event_bus::{
    Batch, Bus, Committing, Consumer, Delivery, Error, GroupTable, Kept, KeptChange, Partition,
    Polled, Start, Subscription, TopicFilter, TopicName,
};

/// The table of group `g`.
pub(crate) const TABLE: &str = "parked.g";

tokio::task_local! {
    /// The prefix of the bus under test: several tests may share a broker.
    pub(crate) static PREFIX: String;
}

pub(crate) fn prefix() -> String {
    PREFIX.try_with(String::clone).unwrap_or_else(|_| "t".to_owned())
}

/// The full name of a group.
pub(crate) fn group(name: &str) -> String {
    format!("{}.{name}", prefix())
}

/// The name of a table's topic.
pub(crate) fn topic(table: &str) -> String {
    TopicName::new(&prefix()).of("s", table)
}

/// A filter for tables of schema `s`.
pub(crate) fn tables(glob: &str) -> TopicFilter {
    TopicName::new(&prefix()).filter(&[("s".to_owned(), glob.to_owned())])
}

/// A batch of `(key, value)` for one table.
pub(crate) fn batch<'a>(
    table: &str,
    records: impl IntoIterator<Item = (&'a str, String)>,
) -> Batch {
    let mut batch = Batch::default();
    for (key, value) in records {
        batch.push_copy(&topic(table), key.as_bytes(), value.as_bytes());
    }
    batch
}

/// Appends through a producer of its own.
pub(crate) async fn append(bus: &dyn Bus, batch: &Batch) {
    let (mut producer, _) = bus.producer("p").await.unwrap();
    producer.append(batch, &[]).await.unwrap();
}

pub(crate) struct Reader {
    pub(crate) consumer: Box<dyn Consumer>,
    pub(crate) got: Vec<Delivery>,
    /// What is owned, with the offset to commit when all that came is done.
    pub(crate) owned: BTreeMap<Partition, u64>,
}

impl Reader {
    /// A member `client` of group `g`, from the earliest record, of all tables.
    pub(crate) async fn join(bus: &dyn Bus, client: &str) -> Self {
        Self::join_from(bus, client, Start::Earliest).await
    }

    pub(crate) async fn join_from(bus: &dyn Bus, client: &str, start: Start) -> Self {
        Self::subscribe(bus, client, start, tables("*")).await
    }

    pub(crate) async fn subscribe(
        bus: &dyn Bus,
        client: &str,
        start: Start,
        topics: TopicFilter,
    ) -> Self {
        let subscription = Subscription {
            group: group("g"),
            topics,
            start,
            client: client.into(),
            instance: None,
            addressee: None,
            table: Some(GroupTable { name: TABLE.to_owned(), is_optional: false }),
        };
        let consumer = bus.consumer(subscription).await.unwrap();
        Self { consumer, got: Vec::new(), owned: BTreeMap::new() }
    }

    /// Polls once and says whether something came within `wait`.
    pub(crate) async fn poll(&mut self, wait: Duration) -> bool {
        let Ok(polled) = tokio::time::timeout(wait, self.consumer.poll()).await else {
            return false;
        };
        match polled {
            Ok(polled) => self.take(polled),
            Err(error) => assert!(error.is_transient(), "{error}"),
        }
        true
    }

    fn take(&mut self, polled: Polled) {
        match polled {
            Polled::Assigned(assigned) => {
                self.owned.extend(assigned.into_iter().map(|a| (a.partition, a.position)));
            }
            Polled::Revoking(partitions) | Polled::Lost(partitions) => {
                self.owned.retain(|owned, _| !partitions.contains(owned));
            }
            Polled::Records { deliveries, scanned } => {
                for delivery in &deliveries {
                    let next =
                        self.owned.get_mut(&delivery.partition).expect("a partition of ours");
                    assert!(delivery.offset >= *next, "{} after {next}", delivery.offset);
                    *next = delivery.offset + 1;
                }
                for (partition, offset) in scanned {
                    let next = self.owned.get_mut(&partition).expect("a partition of ours");
                    *next = offset.max(*next);
                }
                self.got.extend(deliveries);
            }
        }
    }

    /// Polls until so many records came in all.
    pub(crate) async fn read(&mut self, count: usize) {
        while self.got.len() < count {
            self.poll(super::DEADLINE).await;
        }
        assert_eq!(self.got.len(), count);
    }

    /// Polls until something is owned.
    pub(crate) async fn assigned(&mut self) {
        while self.owned.is_empty() {
            self.poll(super::DEADLINE).await;
        }
    }

    /// Polls a little longer, and says how many records that brought.
    pub(crate) async fn more(&mut self) -> usize {
        let before = self.got.len();
        while self.poll(Duration::from_millis(200)).await {}
        self.got.len() - before
    }

    /// Polls until all of the bus is read, also what is no record.
    pub(crate) async fn catch_up(&mut self, bus: &dyn Bus) {
        self.catch_up_with(bus, tables("*")).await;
    }

    pub(crate) async fn catch_up_with(&mut self, bus: &dyn Bus, topics: TopicFilter) {
        loop {
            let all = bus.progress(&group("g"), &topics).await.unwrap();
            let is_read = |p: &event_bus::Progress| {
                self.owned.get(&p.partition).is_some_and(|next| *next >= p.end)
            };
            if all.iter().all(is_read) {
                return;
            }
            self.poll(Duration::from_millis(200)).await;
        }
    }

    /// Commits all that came.
    pub(crate) async fn commit(&mut self) -> Result<(), Error> {
        self.begin_commit().await
    }

    pub(crate) fn begin_commit(&mut self) -> Committing {
        let offsets: Vec<_> = self.owned.iter().map(|(p, next)| (p.clone(), *next)).collect();
        self.consumer.commit(&offsets)
    }

    /// Commits all that came, with the same change of the entry `key` in every partition of ours.
    pub(crate) async fn commit_with(
        &mut self,
        key: &str,
        value: Option<&str>,
    ) -> Result<(), Error> {
        let offsets: Vec<_> = self.owned.iter().map(|(p, next)| (p.clone(), *next)).collect();
        let change = |(partition, _): &(Partition, u64)| KeptChange {
            partition: partition.clone(),
            key: key.to_owned(),
            value: value.map(|value| value.to_owned().into()),
        };
        let changes = offsets.iter().map(change).collect();
        self.consumer.commit_with(&offsets, changes).await
    }

    /// The entries of the partitions that are ours, by partition.
    pub(crate) async fn kept(&mut self) -> Vec<Kept> {
        let owned: Vec<Partition> = self.owned.keys().cloned().collect();
        let mut kept = self.consumer.kept(&owned).await.unwrap();
        kept.sort_by(|one, other| one.partition.cmp(&other.partition));
        kept
    }

    /// The values that came, in order.
    pub(crate) fn values(&self) -> Vec<String> {
        self.got.iter().map(|d| String::from_utf8(d.value.to_vec()).unwrap()).collect()
    }
}
