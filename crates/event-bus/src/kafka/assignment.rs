//! Which partitions a member of a group was given, in the bytes of the group's coordinator: the
//! version, then topics with their partitions ("ConsumerProtocolAssignment" of Kafka's message
//! definitions).

use std::sync::Arc;

use bytes::Buf;

use crate::Partition;

/// Reads it; `None` when it is something else. What the assignor adds at the end is its own.
pub(super) fn read(mut bytes: &[u8]) -> Option<Vec<Partition>> {
    let mut partitions = Vec::new();
    bytes.try_get_i16().ok()?;
    for _ in 0..bytes.try_get_i32().ok()? {
        let length = usize::try_from(bytes.try_get_i16().ok()?).ok()?;
        let (topic, rest) = bytes.split_at_checked(length)?;
        let topic: Arc<str> = std::str::from_utf8(topic).ok()?.into();
        bytes = rest;
        for _ in 0..bytes.try_get_i32().ok()? {
            let number = u32::try_from(bytes.try_get_i32().ok()?).ok()?;
            partitions.push(Partition { topic: Arc::clone(&topic), number });
        }
    }
    Some(partitions)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_read_whole_or_not_at_all() {
        let topics = b"\0\x01\0\0\0\x02\0\x01a\0\0\0\x02\0\0\0\0\0\0\0\x05\0\x02bc\0\0\0\0";
        let given = [&topics[..], b"\0\0\0\x01x"].concat();
        let partition = |number| Partition { topic: "a".into(), number };
        assert_eq!(read(&given), Some(vec![partition(0), partition(5)]));
        for length in 0..topics.len() {
            assert_eq!(read(&topics[..length]), None, "{length} bytes");
        }
        assert_eq!(read(b"\0\x01\x7f\xff\xff\xff"), None, "many topics, and none of them there");
    }
}
