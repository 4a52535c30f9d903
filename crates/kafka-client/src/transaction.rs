//! The end of a transaction: that readers see it, and without a wait of 100 ms that the library
//! makes of it.
//!
//! That a transaction is committed is what its coordinator says. Partitions hear of it after that,
//! by markers. A coordinator that finds no leader of a partition takes the partition for deleted
//! and leaves its marker out, and all the same the transaction is over for it (Kafka 4.3, seen when
//! the broker with the only replica was killed and came back). Then the records are there, no
//! reader sees them, and the producer's next transaction in that partition decides over them: when
//! that is aborted, they are lost. So a commit is believed when readers see it. Where they do not,
//! the next transaction is begun on purpose, with a filler in each such partition: it is aborted
//! when nothing of the one before is seen anywhere, and committed when a part of it is.

use std::time::{Duration, Instant};

use rdkafka::{
    Message,
    error::{KafkaError, KafkaResult, RDKafkaErrorCode as Code},
    producer::{BaseRecord, Producer as _, ThreadedProducer},
};

use crate::{
    Acks, Goal,
    sight::{Place, Sight, Written},
};

/// How soon the library frees a record after it said what became of it; it does not say when.
const FORGET_POLL: Duration = Duration::from_micros(100);
const FORGET_PATIENCE: Duration = Duration::from_millis(50);

/// So long markers may take where all partitions have leaders.
const MARKER_TIME: Duration = Duration::from_secs(1);

/// The key of a record that ends a transaction before it, and means nothing. It has no value.
const FILLER_KEY: &str = "dbevent-filler";

/// What became of a transaction that was committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Readers see it.
    Seen,
    /// Nothing of it is there: the brokers have lost that it was committed.
    Undone,
}

/// Whether a record only ended the transaction before it.
pub fn is_filler(message: &impl Message) -> bool {
    message.key() == Some(FILLER_KEY.as_bytes()) && message.payload().is_none()
}

/// Waits until the library has freed the records that are answered. Otherwise the commit itself
/// waits for that, in a step of 100 ms.
#[expect(clippy::disallowed_methods, reason = "blocks as the commit does; no event tells it")]
fn wait_until_forgotten(client: &ThreadedProducer<Acks>) {
    let begun = Instant::now();
    while client.in_flight_count() > 0 && begun.elapsed() < FORGET_PATIENCE {
        std::thread::sleep(FORGET_POLL);
    }
}

/// Why the library has given up the transaction and thrown away its records. The library says so
/// only when it is asked for something that is not possible then.
pub fn transaction_error(client: &ThreadedProducer<Acks>) -> Option<KafkaError> {
    let asked = client.begin_transaction().err()?;
    asked.rdkafka_error_code().filter(|code| *code != Code::State)?;
    Some(asked)
}

/// Commits what is acknowledged, and waits until readers see it; tries again for so long as
/// `patience` where that makes sense. Blocks.
///
/// # Errors
///
/// Those of the library. The transaction may be committed all the same.
pub fn commit(
    client: &ThreadedProducer<Acks>,
    sight: &Sight,
    patience: Duration,
) -> KafkaResult<Fate> {
    let acks = client.context();
    let written = acks.take_written();
    commit_once(client, patience)?;
    let unseen = sight.wait(written.clone(), (MARKER_TIME, patience))?;
    if unseen.is_empty() {
        return Ok(Fate::Seen);
    }
    client.begin_transaction()?;
    // The brokers take these only when the transaction before is over for its coordinator.
    send_fillers(client, unseen.keys(), patience)?;
    let unseen = sight.wait(unseen, (Duration::ZERO, patience))?;
    let fillers = acks.take_written();
    if unseen.is_empty() || unseen.len() == written.len() {
        client.abort_transaction(patience)?;
        let fate = if unseen.is_empty() { Fate::Seen } else { Fate::Undone };
        tracing::warn!(?fate, "the brokers were slow to end a transaction, or have lost its end");
        return Ok(fate);
    }
    tracing::warn!(
        partitions = ?fillers.keys(),
        "the brokers have lost the end of a transaction in these partitions: it is ended with a \
         record that has the key {FILLER_KEY} and no value"
    );
    commit_once(client, patience)?;
    match sight.wait(fillers, (patience, patience))?.is_empty() {
        true => Ok(Fate::Seen),
        false => Err(KafkaError::MessageProduction(Code::MessageTimedOut)),
    }
}

/// Undoes what a transaction of this id before has left in these partitions, where `all` records
/// are more than readers see: call it when `init_transactions` is done. Blocks.
///
/// # Errors
///
/// Those of the library.
pub fn undo_left(
    client: &ThreadedProducer<Acks>,
    (sight, all): (&Sight, &Sight),
    places: &[Place],
    patience: Duration,
) -> KafkaResult<()> {
    let written = all.ends(places)?;
    let written = written.into_iter().filter(|(_, end)| *end > 0);
    let whole: Written = written.map(|(place, end)| (place, (0, end - 1))).collect();
    let left = sight.wait(whole, (Duration::ZERO, patience))?;
    if left.is_empty() {
        return Ok(());
    }
    client.begin_transaction()?;
    send_fillers(client, left.keys(), patience)?;
    client.abort_transaction(patience)?;
    client.context().take_written();
    let left = sight.wait(left, (MARKER_TIME, patience))?;
    tracing::warn!(
        open_still = ?left.keys(),
        "undone what a transaction before had left, whose end the brokers had lost"
    );
    Ok(())
}

fn send_fillers<'p>(
    client: &ThreadedProducer<Acks>,
    places: impl Iterator<Item = &'p Place>,
    patience: Duration,
) -> KafkaResult<()> {
    let acks = client.context();
    for (topic, partition) in places {
        acks.expect(FILLER_KEY.len());
        let filler = BaseRecord::<str, [u8]>::to(topic).partition(*partition).key(FILLER_KEY);
        client.send(filler).map_err(|(error, _)| {
            acks.never_sent(FILLER_KEY.len());
            error
        })?;
    }
    match acks.wait(Goal::All, patience) {
        Ok(true) => Ok(()),
        Ok(false) => Err(KafkaError::MessageProduction(Code::MessageTimedOut)),
        Err(refused) => Err(KafkaError::MessageProduction(refused.code)),
    }
}

fn commit_once(client: &ThreadedProducer<Acks>, patience: Duration) -> KafkaResult<()> {
    wait_until_forgotten(client);
    let deadline = Instant::now() + patience;
    loop {
        match client.commit_transaction(patience) {
            Err(KafkaError::Transaction(error))
                if error.is_retriable() && Instant::now() < deadline => {}
            ended => return ended,
        }
    }
}
