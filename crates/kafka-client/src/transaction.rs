//! The end of a transaction, without the wait of 100 ms that the library makes of it.

use std::time::{Duration, Instant};

use rdkafka::{
    error::{KafkaError, KafkaResult, RDKafkaErrorCode as Code},
    producer::{Producer as _, ThreadedProducer},
};

use crate::Acks;

/// How soon the library frees a record after it said what became of it; it does not say when.
const FORGET_POLL: Duration = Duration::from_micros(100);
const FORGET_PATIENCE: Duration = Duration::from_millis(50);

/// Waits until the library has freed the records that are answered. Otherwise the commit itself
/// waits for that, in a step of 100 ms.
#[expect(clippy::disallowed_methods, reason = "blocks as the commit does; no event tells it")]
pub fn wait_until_forgotten(client: &ThreadedProducer<Acks>) {
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

/// Commits; tries again for so long where the library says that this makes sense. Blocks.
///
/// # Errors
///
/// Those of the library. The transaction may be committed all the same.
pub fn commit(client: &ThreadedProducer<Acks>, patience: Duration) -> KafkaResult<()> {
    let deadline = Instant::now() + patience;
    loop {
        match client.commit_transaction(patience) {
            Err(KafkaError::Transaction(error))
                if error.is_retriable() && Instant::now() < deadline => {}
            ended => return ended,
        }
    }
}
