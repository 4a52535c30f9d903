//! Gives records to a client, and waits where too much is not answered yet.

use rdkafka::{
    error::{KafkaError, RDKafkaErrorCode as Code},
    message::ToBytes,
    producer::{BaseRecord, ThreadedProducer},
};

use crate::{Acks, Goal};

/// Bytes that may wait for the brokers' answer before the sender does; more is no faster.
const MAX_UNANSWERED_BYTES: usize = 8 << 20;

/// Why a record was not given to the client.
#[derive(Debug)]
pub enum Unsent<E> {
    /// The wait for earlier ones failed.
    Wait(E),
    /// The client does not take it.
    Refused {
        /// Where it was to go.
        topic: String,
        /// Why.
        error: KafkaError,
    },
}

/// Gives a record to the client; `wait` waits for a goal of these acks.
///
/// # Errors
///
/// Why it is not on its way.
pub fn send<K, P, E>(
    (client, acks): (&ThreadedProducer<Acks>, &Acks),
    mut record: BaseRecord<'_, K, P>,
    wait: impl Fn(Goal) -> Result<(), E>,
) -> Result<(), Unsent<E>>
where
    K: ToBytes + ?Sized,
    P: ToBytes + ?Sized,
{
    let bytes = record.key.map_or(0, |key| key.to_bytes().len())
        + record.payload.map_or(0, |payload| payload.to_bytes().len());
    // This record counts already, and is not answered before it is sent.
    let mut unanswered = acks.expect(bytes) - bytes;
    let wait_for = |bytes: usize| wait(Goal::AtMost(bytes)).map_err(Unsent::Wait);
    if unanswered > MAX_UNANSWERED_BYTES {
        unanswered = MAX_UNANSWERED_BYTES / 2;
        wait_for(unanswered + bytes)?;
    }
    loop {
        match client.send(record) {
            Ok(()) => return Ok(()),
            Err((KafkaError::MessageProduction(Code::QueueFull), back)) => {
                record = back;
                unanswered /= 2;
                wait_for(unanswered + bytes)?;
            }
            Err((error, record)) => {
                acks.never_sent(bytes);
                return Err(Unsent::Refused { topic: record.topic.to_owned(), error });
            }
        }
    }
}
