//! The spool in memory, without a server.

use super::{
    chunk::{CHUNK_BYTES, Chunk},
    memory::MemorySpool,
};
use crate::{Error, proto::NewRecord, typed::plain};

fn record(bytes: usize) -> NewRecord {
    plain("t", vec![b'x'; bytes])
}

fn places(chunk: &Chunk) -> Vec<u64> {
    chunk.records.iter().map(|(after, _)| *after).collect()
}

#[tokio::test]
async fn a_chunk_has_what_fits_and_at_least_one_record() {
    let spool = MemorySpool::new(10 << 20);
    let sizes = [10, CHUNK_BYTES - 500, 1000, 2 * CHUNK_BYTES, 10];
    assert_eq!(spool.put(&sizes.map(record)).unwrap(), 5);
    let mut place = 0;
    for expected in [vec![1, 2], vec![3], vec![4], vec![5]] {
        let chunk = spool.read(place).await;
        assert_eq!(places(&chunk), expected);
        place = chunk.next;
    }
    // What was read stays until the server has it.
    spool.forget(3);
    assert_eq!(places(&spool.read(3).await), [4]);
    spool.forget(5);
    assert_eq!((spool.bytes(), spool.end()), (0, 5));
}

#[tokio::test]
async fn a_full_spool_takes_all_of_a_call_or_nothing() {
    let spool = MemorySpool::new(1000);
    spool.put(&[record(300)]).unwrap();
    let full = spool.put(&[record(300), record(400)]).unwrap_err();
    assert!(matches!(full, Error::Full(_)), "{full}");
    assert_eq!(spool.end(), 1);
    spool.forget(1);
    assert_eq!(spool.put(&[record(300), record(400)]).unwrap(), 3);
}

#[tokio::test]
async fn a_reader_that_waits_is_given_what_comes() {
    let spool = MemorySpool::new(1000);
    let (chunk, _) = tokio::join!(spool.read(0), async {
        tokio::task::yield_now().await;
        spool.put(&[record(1)]).unwrap()
    });
    assert_eq!(places(&chunk), [1]);
}
