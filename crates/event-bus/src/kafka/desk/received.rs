//! What is handed on of a message of the library.

use std::sync::Arc;

use bytes::Bytes;
use kafka_client::is_filler;
use rdkafka::{Message, message::Headers as _};

use crate::{Delivery, Partition};

/// What is handed on of a message that comes alone.
pub(in crate::kafka) fn deliveries(partition: &Partition, message: &impl Message) -> Vec<Delivery> {
    match is_filler(message) {
        true => Vec::new(),
        false => vec![delivery(partition, message)],
    }
}

/// Key and value in a buffer of their own: the library's is one for a whole answer of a broker.
pub(super) fn delivery(partition: &Partition, message: &impl Message) -> Delivery {
    let key = message.key().unwrap_or_default();
    let value = message.payload().unwrap_or_default();
    let mut buffer = Vec::with_capacity(key.len() + value.len());
    buffer.extend_from_slice(key);
    buffer.extend_from_slice(value);
    let key_bytes = key.len();
    let mut value = Bytes::from(buffer);
    let key = value.split_to(key_bytes);
    let lossy = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let headers = message.headers().map(|headers| {
        headers
            .iter()
            .map(|header| (header.key.to_owned(), lossy(header.value.unwrap_or_default())))
            .collect()
    });
    Delivery {
        partition: partition.clone(),
        offset: u64::try_from(message.offset()).unwrap_or(0),
        topic: Arc::clone(&partition.topic),
        key,
        value,
        headers: headers.unwrap_or_default(),
    }
}
