//! A reader of files that a server writes, and from which retention deletes.

use std::{
    sync::atomic::{AtomicBool, Ordering::SeqCst},
    time::{Duration, Instant},
};

use rand::RngExt;

use super::*;
use crate::retention;

const DEADLINE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn it_gives_every_record_once_and_whole_batches_over_midnights() {
    let mut random = random();
    let log = TestLog::new(20_000);
    let (stream, is_done) = (log.path(), std::sync::Arc::new(AtomicBool::new(false)));
    let (read, done) = (stream.clone(), std::sync::Arc::clone(&is_done));
    let reading = tokio::task::spawn_blocking(move || {
        let mut reader = FileReader::open(&read, Start::Earliest).unwrap();
        let (mut found, begun) = (Vec::new(), Instant::now());
        loop {
            let is_last = done.load(SeqCst);
            let chunk = reader.read(usize::MAX).unwrap();
            found.extend(payloads(&chunk.records));
            if is_last && chunk.at_end {
                return found;
            }
            // A batch is shown whole or not at all.
            if let Some(last) = found.last() {
                let (number, of) = last.split_once('/').unwrap();
                let of = of.split_once(' ').unwrap().0;
                assert!(number.ends_with(&format!(".{of}")), "{number} of {of}");
            }
            let checked = verify(&read, &mut |_| ());
            assert!(checked.is_ok(), "{checked:?}");
            assert!(begun.elapsed() < DEADLINE, "it takes too long");
        }
    });
    let (mut expected, mut now) = (Vec::new(), BEFORE_MIDNIGHT - 100);
    for number in 0..400 {
        let records = random.random_range(1..20);
        let payloads: Vec<String> = (1..=records)
            .map(|it| {
                format!("{number}.{it}/{records} {}", "x".repeat(random.random_range(0..500)))
            })
            .collect();
        now += if number % 100 == 50 { DAY_MS } else { 3 };
        log.append(&payloads, now).await;
        expected.extend(payloads);
    }
    is_done.store(true, SeqCst);
    assert!(reading.await.unwrap() == expected, "another order or content");
    let verified = check(&stream).unwrap();
    assert_eq!((verified.days, verified.records), (6, expected.len() as u64));
}

#[tokio::test]
async fn what_retention_deleted_is_said_with_its_offset() {
    let log = TestLog::new(1000);
    let append = async |number: u64| {
        log.append(&[format!("{number}")], BEFORE_MIDNIGHT + number * 1000).await;
    };
    for number in 0..60 {
        append(number).await;
    }
    let mut slow = FileReader::open(&log.path(), Start::Earliest).unwrap();
    let first_chunk = slow.read(1).unwrap();
    assert_eq!(payloads(&first_chunk.records), ["0"]);

    retention::expire(&log.stream.shared, Duration::ZERO, BEFORE_MIDNIGHT + 40_000);
    let first = log.stream.state().first_offset;
    let (rest, error) = read_on(&mut slow);
    assert!(
        matches!(error, Some(Error::OffsetGone { offset, first: said })
            if said == first && offset < first),
        "{error:?}"
    );
    // The file that was open is read to its end.
    assert!(payloads(&rest).iter().map(|it| it.parse::<u64>().unwrap()).eq(1..=rest.len() as u64));

    let (found, error) = read_from(&log.path(), Start::Offset(1));
    assert!(found.is_empty());
    assert!(matches!(error, Some(Error::OffsetGone { offset: 1, .. })), "{error:?}");
    let (found, error) = read_from(&log.path(), Start::Offset(first));
    assert!(error.is_none());
    assert_eq!(payloads(&found).last().unwrap(), "59");
    // The index of the day still has entries of the deleted files.
    let verified = check(&log.path()).unwrap();
    assert_eq!(verified.offsets.unwrap().0, first);
}

#[tokio::test(flavor = "multi_thread")]
async fn retention_under_readers_and_checks_never_looks_like_damage() {
    let log = TestLog::new(600);
    let (stream, is_done) = (log.path(), std::sync::Arc::new(AtomicBool::new(false)));
    log.append(&["0".to_owned()], BEFORE_MIDNIGHT).await;
    let done = std::sync::Arc::clone(&is_done);
    let reading = tokio::task::spawn_blocking(move || {
        let (mut gone, mut last) = (0, 0);
        let mut reader = FileReader::open(&stream, Start::Earliest).unwrap();
        while !done.load(SeqCst) {
            match reader.read(200) {
                Ok(chunk) => {
                    for number in payloads(&chunk.records) {
                        let number: u64 = number.parse().unwrap();
                        assert!(number == 0 || number > last, "{number} after {last}");
                        assert!(number <= last + 1 || gone > 0, "{number} after {last}");
                        last = number;
                    }
                }
                Err(Error::OffsetGone { first, .. }) => {
                    gone += 1;
                    reader = match FileReader::open(&stream, Start::Offset(first)) {
                        Err(Error::OffsetGone { .. }) => {
                            FileReader::open(&stream, Start::Earliest).unwrap()
                        }
                        opened => opened.unwrap(),
                    };
                }
                Err(error) => panic!("{error}"),
            }
            let checked = check(&stream);
            assert!(checked.is_ok(), "{checked:?}");
            list(stream.parent().unwrap()).unwrap();
        }
        last
    });
    for number in 1..600 {
        let now = BEFORE_MIDNIGHT + number * (DAY_MS / 50);
        log.append(&[number.to_string()], now).await;
        if number % 3 == 0 {
            retention::expire(&log.stream.shared, Duration::from_hours(2), now);
        }
    }
    is_done.store(true, SeqCst);
    assert!(reading.await.unwrap() > 0);
}
