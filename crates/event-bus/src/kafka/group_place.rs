//! A member's place in its group, as the brokers judge it when it commits in a transaction.
//!
//! While the library has no place in the group, it gives one without a member and a generation. The
//! brokers take that for a client that is older than KIP-447, and judge nothing. So such a place is
//! refused here.

#![expect(unsafe_code, reason = "the wrapper has no call that tells a generation")]

use rdkafka::{
    bindings::{
        rd_kafka_consumer_group_metadata, rd_kafka_consumer_group_metadata_destroy,
        rd_kafka_consumer_group_metadata_generation_id,
    },
    consumer::{BaseConsumer, Consumer as _, ConsumerContext, ConsumerGroupMetadata},
    error::{KafkaError, KafkaResult, RDKafkaErrorCode as Code},
};

/// The place of a consumer. A consumer that has none at the moment gets an error that may end by
/// itself.
pub(super) fn of<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
) -> KafkaResult<ConsumerGroupMetadata> {
    let none = || KafkaError::ConsumerCommit(Code::IllegalGeneration);
    let before = generation(consumer);
    let place = consumer.group_metadata().ok_or_else(none)?;
    // Generations only grow, and the library cannot be asked which one a place has. So the place
    // lies between two of our own looks.
    if before.is_some() && before == generation(consumer) { Ok(place) } else { Err(none()) }
}

/// The generation of the group, if the consumer has a place in it.
fn generation<C: ConsumerContext>(consumer: &BaseConsumer<C>) -> Option<i32> {
    // SAFETY: the pointer is that of a living client for as long as it is borrowed.
    let place = unsafe { rd_kafka_consumer_group_metadata(consumer.client().native_ptr()) };
    if place.is_null() {
        return None;
    }
    // SAFETY: what the library gave is alive until we destroy it.
    let generation = unsafe { rd_kafka_consumer_group_metadata_generation_id(place) };
    // SAFETY: it is ours to destroy, and is destroyed here only.
    unsafe { rd_kafka_consumer_group_metadata_destroy(place) };
    (generation >= 0).then_some(generation)
}
