//! A producer: what it is given is written whole or not at all, as far as the brokers can.

use std::{collections::BTreeSet, time::Duration};

use handler::Failure;
use kafka_client::{
    Acks, Fate, Goal, Records, Sight, Unsent, commit, send, transaction_error, undo_left,
};
use rdkafka::{
    config::FromClientConfigAndContext as _,
    error::{KafkaError, RDKafkaErrorCode as Code},
    producer::{BaseRecord, Producer as _, ThreadedProducer},
};

use super::{
    cluster::TargetCluster,
    marks::MarkRecord,
    record::{Outgoing, OutgoingRecord},
    topics,
};

/// So much longer than the brokers may take, the library may take to say so.
const GRACE: Duration = Duration::from_secs(5);

/// Why something is not written.
#[derive(Debug)]
pub(super) enum Trouble {
    /// A record is too large, or several together. The session is of no use any more: after such an
    /// error the library counts records in another way than the brokers.
    TooLarge { topic: String },
    /// It cannot be written now; the session goes on.
    Held(Failure),
    /// The session is of no use any more.
    Broken(Failure),
}

impl From<Trouble> for Failure {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Broken(failure) | Trouble::Held(failure) => failure,
            Trouble::TooLarge { topic } => {
                Self::unclear(format!("the topic {topic} takes no record of this size"))
            }
        }
    }
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Self::Broken(failure)
    }
}

/// A producer, with a transactional id that nobody had before.
pub(super) struct Session {
    cluster: TargetCluster,
    /// `None` only while it is dropped.
    client: Option<ThreadedProducer<Acks>>,
    acks: Acks,
    /// Absent without transactions.
    sight: Option<Sight>,
    pub(super) id: String,
}

impl Session {
    /// Connects; blocks.
    pub(super) fn open(cluster: &TargetCluster) -> Result<Self, Failure> {
        let (id, acks) = (cluster.new_id(), Acks::default());
        let config = cluster.producer(cluster.is_exactly_once().then_some(&*id));
        let client = ThreadedProducer::from_config_and_context(&config, acks.clone());
        let failed = |doing: &str, error| cluster.failure(doing, &error, &acks.voice);
        let client = client.map_err(|error| failed("cannot make a producer", error))?;
        let (client, cluster, sight) = (Some(client), cluster.clone(), None);
        let mut session = Self { cluster, client, acks: acks.clone(), sight, id };
        if session.cluster.is_exactly_once() {
            let Self { cluster, .. } = &session;
            let begun = session.client()?.init_transactions(cluster.access.timeout);
            let sight = begun
                .and_then(|()| Sight::open(cluster.client(&[]), Records::Committed, &acks.voice));
            let failed =
                |error| cluster.failure("cannot begin with transactions", &error, &acks.voice);
            session.sight = Some(sight.map_err(failed)?);
        }
        Ok(session)
    }

    /// Takes the transactional id of another session: it can write nothing more. What it left open
    /// in these topics, and in that with marks, is undone. Blocks.
    pub(super) fn fence(
        cluster: &TargetCluster,
        id: &str,
        topics: &BTreeSet<&str>,
    ) -> Result<(), Failure> {
        let acks = Acks::default();
        let client =
            ThreadedProducer::from_config_and_context(&cluster.producer(Some(id)), acks.clone());
        let taken = client.and_then(|client: ThreadedProducer<Acks>| {
            let patience = cluster.access.timeout;
            let sight = |records| Sight::open(cluster.client(&[]), records, &acks.voice);
            let taken = client.init_transactions(patience).and_then(|()| {
                let is_meant = |topic: &str| topics.contains(topic) || *topic == *cluster.name;
                let places = topics::places(client.client(), is_meant, patience)?;
                let (seen, all) = (sight(Records::Committed)?, sight(Records::All)?);
                undo_left(&client, (&seen, &all), &places, patience)
            });
            close(client);
            taken
        });
        let doing = format!("cannot take the transactional id {id}");
        taken.map_err(|error| cluster.failure(&doing, &error, &acks.voice))
    }

    /// Writes changes and marks; blocks until all are durable.
    pub(super) fn write(&self, changes: &[&Outgoing], marks: &[MarkRecord]) -> Result<(), Trouble> {
        let client = self.client()?;
        if self.cluster.is_exactly_once() {
            let begun = client.begin_transaction();
            begun.map_err(|error| self.failure("cannot begin a transaction", &error))?;
        }
        if let Err(trouble) = self.send_all(changes, marks).and_then(|()| self.wait(Goal::All)) {
            // What is on its way may be written without a transaction: better all of it is.
            if !self.cluster.is_exactly_once() {
                self.acks.start_over(self.patience());
            }
            return Err(self.or_missing(trouble, changes));
        }
        let Some(sight) = &self.sight else { return Ok(()) };
        match commit(client, sight, self.patience()) {
            Ok(Fate::Seen) => Ok(()),
            Ok(Fate::Undone) => Err(Trouble::Broken(Failure::unclear(
                "the brokers have lost the end of a transaction, which they do when a broker \
                 restarts whose partitions have no other replica in sync; it is written again",
            ))),
            Err(error) => Err(self.failure("cannot commit a transaction", &error).into()),
        }
    }

    /// The topics that the user sees; blocks.
    pub(super) fn topics(&self) -> Result<BTreeSet<String>, Failure> {
        let listed = topics::list(self.client()?.client(), self.cluster.access.timeout);
        listed.map_err(|error| self.failure("cannot list the topics", &error))
    }

    fn send_all(&self, changes: &[&Outgoing], marks: &[MarkRecord]) -> Result<(), Trouble> {
        for change in changes {
            for OutgoingRecord { topic, key, value } in &change.records {
                let mut record = BaseRecord::<str, str>::to(topic).headers(change.headers());
                (record.key, record.payload) = (key.as_deref(), value.as_deref());
                self.send(record)?;
            }
        }
        for (key, value) in marks {
            let mut record = BaseRecord::<str, [u8]>::to(&self.cluster.name).key(key.as_str());
            record.payload = value.as_deref();
            self.send(record.partition(0))?;
        }
        Ok(())
    }

    /// The same trouble; where a topic is not there any more, that is why.
    fn or_missing(&self, trouble: Trouble, changes: &[&Outgoing]) -> Trouble {
        if let Trouble::TooLarge { .. } = trouble {
            return trouble;
        }
        let Ok(there) = self.topics() else { return trouble };
        let records = changes.iter().flat_map(|change| &change.records);
        let Some(gone) = records.map(|record| &record.topic).find(|of| !there.contains(*of)) else {
            return trouble;
        };
        let next = match self.cluster.access.creation {
            Some(_) => "it is made again at the next try".to_owned(),
            None => format!(
                "make it again: {}; or set create = true",
                topics::command(&self.cluster, gone, &[])
            ),
        };
        Trouble::Broken(Failure::unclear(format!(
            "the topic {gone} is not there any more: somebody has deleted it, with all that was \
             written to it; {next}"
        )))
    }

    fn send<P: rdkafka::message::ToBytes + ?Sized>(
        &self,
        record: BaseRecord<'_, str, P>,
    ) -> Result<(), Trouble> {
        let sent = send((self.client()?, &self.acks), record, |goal| self.wait(goal));
        sent.map_err(|unsent| match unsent {
            Unsent::Wait(trouble) => trouble,
            Unsent::Refused { topic, error } => self.not_taken(&topic, &error),
        })
    }

    fn wait(&self, goal: Goal) -> Result<(), Trouble> {
        match self.acks.wait(goal, self.patience()) {
            Ok(true) => Ok(()),
            Ok(false) => {
                let late = KafkaError::MessageProduction(Code::MessageTimedOut);
                Err(self.failure("the records are not acknowledged", &late).into())
            }
            Err(refused) => {
                let error = KafkaError::MessageProduction(refused.code);
                Err(self.not_taken(&refused.topic, &error))
            }
        }
    }

    fn not_taken(&self, topic: &str, error: &KafkaError) -> Trouble {
        let is_thrown_away =
            matches!(error.rdkafka_error_code(), Some(Code::PurgeQueue | Code::PurgeInflight));
        let reason = match self.client() {
            Ok(client) if is_thrown_away => transaction_error(client),
            _ => None,
        };
        let error = reason.as_ref().unwrap_or(error);
        let code = error.rdkafka_error_code();
        if code == Some(Code::MessageSizeTooLarge) && *topic != *self.cluster.name {
            return Trouble::TooLarge { topic: topic.to_owned() };
        }
        self.failure(&format!("cannot write to the topic {topic}"), error).into()
    }

    fn failure(&self, doing: &str, error: &KafkaError) -> Failure {
        let fatal = self.client().ok().and_then(|client| client.client().fatal_error());
        match fatal {
            Some((code, reason)) => self.cluster.meaning(doing, code, &reason),
            None => self.cluster.failure(doing, error, &self.acks.voice),
        }
    }

    fn client(&self) -> Result<&ThreadedProducer<Acks>, Failure> {
        self.client.as_ref().ok_or_else(|| Failure::unclear("the producer is closed"))
    }

    fn patience(&self) -> Duration {
        self.cluster.access.timeout + GRACE
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Some(client) = self.client.take() {
            close(client);
        }
    }
}

/// The client waits for its threads; nobody waits for the client.
fn close(client: ThreadedProducer<Acks>) {
    std::thread::spawn(move || drop(client));
}
