//! Frames as they are written, read and damaged.

use rand::{RngExt, SeedableRng, rngs::StdRng};

use super::*;
use crate::record::NewHeaders;

const STAMP: Stamp = Stamp { offset: 7, time_ms: 1_700_000_000_123, origin: 42 };

fn new<'a>(topic: &'a str, payload: &'a [u8], headers: &'a [(String, String)]) -> NewRecord<'a> {
    NewRecord { kind: 1001, topic, key: b"key", headers: NewHeaders::Text(headers), payload }
}

#[test]
fn a_record_is_read_as_it_was_written() {
    let headers = [("listener".to_owned(), "a".to_owned()), (String::new(), String::new())];
    let mut out = b"before".to_vec();
    encode(&mut out, STAMP, &new("topic", b"payload", &headers)).unwrap();
    let record = decode(Bytes::from(out.split_off(6))).unwrap();
    assert_eq!((record.offset, record.time_ms, record.origin), (7, 1_700_000_000_123, 42));
    assert_eq!((record.kind, record.topic()), (1001, "topic"));
    assert_eq!((&record.key[..], &record.payload[..]), (&b"key"[..], &b"payload"[..]));
    let first = &record.headers[0];
    assert_eq!((first.name(), &first.value[..]), ("listener", &b"a"[..]));
    assert_eq!(record.headers.len(), 2);
}

#[test]
fn every_changed_bit_is_noticed() {
    let mut out = Vec::new();
    encode(&mut out, STAMP, &new("t", b"payload", &[])).unwrap();
    for bit in 0..out.len() * 8 {
        let mut changed = out.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert!(decode(Bytes::from(changed)).is_err(), "bit {bit}");
    }
}

#[test]
fn rubbish_with_a_right_checksum_is_an_error_and_never_a_panic() {
    let seed: u64 = rand::random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    for _ in 0..100_000 {
        let mut bytes: Vec<u8> =
            (0..random.random_range(0..120)).map(|_| random.random()).collect();
        for field in [32..44, 44..120] {
            if random.random_bool(0.7) {
                bytes.iter_mut().skip(field.start).take(field.len()).for_each(|byte| *byte %= 4);
            }
        }
        seal(&mut bytes, 0);
        let _ = decode(Bytes::from(bytes));
    }
}

#[test]
fn what_is_too_large_is_refused_and_leaves_the_buffer_alone() {
    let mut out = b"kept".to_vec();
    let long = "t".repeat(MAX_TOPIC_BYTES + 1);
    let error = encode(&mut out, STAMP, &new(&long, b"", &[])).unwrap_err().to_string();
    assert!(error.contains("topic takes 250 bytes"), "{error}");
    let large = vec![0; MAX_RECORD_BYTES];
    assert!(encode(&mut out, STAMP, &new("t", &large, &[])).is_err());
    let own = NewRecord { kind: 999, ..new("t", b"", &[]) };
    assert!(encode(&mut out, STAMP, &own).is_err());
    assert_eq!(out, b"kept");
}
