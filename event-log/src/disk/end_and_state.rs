//! The log's own records: END, which closes a batch, and STATE, which begins a data file.

#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

use std::collections::BTreeMap;

use bytes::{Buf, Bytes};

/// The type of the record that closes a batch.
pub(crate) const END: u32 = 1;
/// The type of the record that begins a data file.
pub(crate) const STATE: u32 = 2;

/// A change of a checkpoint: a key, with its new value or `None` to remove it.
pub type CheckpointChange = (String, Option<Bytes>);

/// All that a producer has saved, by key.
pub type Checkpoint = BTreeMap<String, Bytes>;

/// What END says about its batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct End {
    /// Where the group of this batch began in the file.
    pub(crate) group_start: u64,
    /// How many records the batch has before its END.
    pub(crate) records: u32,
    /// Empty for an anonymous producer; the rest says nothing then.
    pub(crate) producer: String,
    pub(crate) epoch: u64,
    pub(crate) sequence: u64,
    pub(crate) changes: Vec<CheckpointChange>,
}

/// What STATE says about one producer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ProducerState {
    pub(crate) epoch: u64,
    pub(crate) sequence: u64,
    pub(crate) checkpoint: Checkpoint,
}

/// The producers of a stream, by name.
pub(crate) type Producers = BTreeMap<String, ProducerState>;

impl End {
    /// ```text
    /// u64 group start, u32 records, text producer, u64 epoch, u64 sequence, u32 number of changes,
    /// each: text key, u8 1 and text value, or u8 0 (removed). A text is its u32 length and bytes.
    /// ```
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.group_start.to_le_bytes());
        out.extend_from_slice(&self.records.to_le_bytes());
        put_text(out, self.producer.as_bytes());
        out.extend_from_slice(&self.epoch.to_le_bytes());
        out.extend_from_slice(&self.sequence.to_le_bytes());
        put_count(out, self.changes.len());
        for (key, value) in &self.changes {
            put_text(out, key.as_bytes());
            out.push(u8::from(value.is_some()));
            if let Some(value) = value {
                put_text(out, value);
            }
        }
    }

    pub(crate) fn decode(mut from: Bytes) -> Option<Self> {
        let mut end = Self {
            group_start: from.try_get_u64_le().ok()?,
            records: from.try_get_u32_le().ok()?,
            producer: take_string(&mut from)?,
            epoch: from.try_get_u64_le().ok()?,
            sequence: from.try_get_u64_le().ok()?,
            changes: Vec::new(),
        };
        for _ in 0..from.try_get_u32_le().ok()? {
            let key = take_string(&mut from)?;
            let kept = from.try_get_u8().ok()? == 1;
            let value = if kept { Some(take_text(&mut from)?) } else { None };
            end.changes.push((key, value));
        }
        from.is_empty().then_some(end)
    }

    /// Makes its changes. The values are copied: they must not hold the buffer they were read in.
    pub(crate) fn apply(self, producers: &mut Producers) {
        if self.producer.is_empty() {
            return;
        }
        let state = producers.entry(self.producer).or_default();
        (state.epoch, state.sequence) = (self.epoch, self.sequence);
        for (key, value) in self.changes {
            match value {
                Some(value) => state.checkpoint.insert(key, Bytes::copy_from_slice(&value)),
                None => state.checkpoint.remove(&key),
            };
        }
    }
}

/// ```text
/// u32 number of producers, each: text name, u64 epoch, u64 sequence, u32 number of entries,
/// each: text key, text value.
/// ```
pub(crate) fn encode_producers(producers: &Producers, out: &mut Vec<u8>) {
    put_count(out, producers.len());
    for (name, state) in producers {
        put_text(out, name.as_bytes());
        out.extend_from_slice(&state.epoch.to_le_bytes());
        out.extend_from_slice(&state.sequence.to_le_bytes());
        put_count(out, state.checkpoint.len());
        for (key, value) in &state.checkpoint {
            put_text(out, key.as_bytes());
            put_text(out, value);
        }
    }
}

pub(crate) fn decode_producers(mut from: Bytes) -> Option<Producers> {
    let mut producers = Producers::new();
    for _ in 0..from.try_get_u32_le().ok()? {
        let name = take_string(&mut from)?;
        let mut state = ProducerState {
            epoch: from.try_get_u64_le().ok()?,
            sequence: from.try_get_u64_le().ok()?,
            checkpoint: Checkpoint::new(),
        };
        for _ in 0..from.try_get_u32_le().ok()? {
            let key = take_string(&mut from)?;
            let value = Bytes::copy_from_slice(&take_text(&mut from)?);
            state.checkpoint.insert(key, value);
        }
        producers.insert(name, state);
    }
    from.is_empty().then_some(producers)
}

/// The lengths were checked to be small before anything is encoded.
fn put_count(out: &mut Vec<u8>, count: usize) {
    out.extend_from_slice(&u32::try_from(count).unwrap_or(u32::MAX).to_le_bytes());
}

fn put_text(out: &mut Vec<u8>, text: &[u8]) {
    put_count(out, text.len());
    out.extend_from_slice(text);
}

fn take_text(from: &mut Bytes) -> Option<Bytes> {
    let bytes = from.try_get_u32_le().ok()? as usize;
    (bytes <= from.len()).then(|| from.split_to(bytes))
}

fn take_string(from: &mut Bytes) -> Option<String> {
    String::from_utf8(take_text(from)?.to_vec()).ok()
}

#[cfg(test)]
#[expect(clippy::indexing_slicing, reason = "a test may panic")]
mod tests {
    use super::*;

    fn end() -> End {
        let changes = vec![
            ("position".to_owned(), Some(Bytes::from("p"))),
            ("task".to_owned(), None),
            (String::new(), Some(Bytes::new())),
        ];
        End { group_start: 9, records: 3, producer: "dts".into(), epoch: 2, sequence: 7, changes }
    }

    #[test]
    fn end_and_state_are_read_as_they_were_written() {
        let mut out = Vec::new();
        end().encode(&mut out);
        assert_eq!(End::decode(out.into()), Some(end()));

        let mut producers = Producers::new();
        end().apply(&mut producers);
        let mut out = Vec::new();
        encode_producers(&producers, &mut out);
        assert_eq!(decode_producers(out.into()), Some(producers));
    }

    #[test]
    fn what_is_cut_short_or_too_long_is_not_read() {
        let mut out = Vec::new();
        end().encode(&mut out);
        for length in 0..out.len() {
            assert_eq!(End::decode(Bytes::copy_from_slice(&out[..length])), None);
        }
        out.push(0);
        assert_eq!(End::decode(out.into()), None);
    }

    #[test]
    fn a_removed_key_is_gone_from_the_checkpoint() {
        let mut producers = Producers::new();
        end().apply(&mut producers);
        let remove = vec![("position".to_owned(), None)];
        End { changes: remove, sequence: 8, ..end() }.apply(&mut producers);
        let state = &producers["dts"];
        assert_eq!((state.epoch, state.sequence), (2, 8));
        assert_eq!(state.checkpoint.keys().collect::<Vec<_>>(), [""]);
    }
}
