//! A reader of files that nobody writes: where it starts, where it ends, what it waits for.

use rand::RngExt;

use super::*;

/// A log with batches that are larger than a step of the index, and one that is not held in memory.
async fn large() -> TempDir {
    let log = TestLog::new(1 << 20);
    for number in 0..40_u64 {
        let length = if number == 20 { 700_000 } else { 9000 * (number as usize % 5) };
        let records = if number == 20 { 8 } else { 5 };
        let payloads: Vec<String> =
            (0..records).map(|it| format!("{number}.{it}.{}", "x".repeat(length))).collect();
        log.append(&payloads, BEFORE_MIDNIGHT + 100 * number).await;
    }
    log.close()
}

#[tokio::test]
async fn it_starts_at_every_offset_and_time() {
    let directory = large().await;
    let stream = directory.path().join("s");
    let all = read_all(&stream);
    assert_eq!(all.len(), 39 * 5 + 8);
    let after_last = all.last().unwrap().offset + 2;
    for from in 0..after_last {
        let (found, error) = read_from(&stream, Start::Offset(from));
        let expected: Vec<&Record> = all.iter().filter(|it| it.offset >= from).collect();
        assert!(error.is_none() && found.iter().eq(expected), "from {from}: {error:?}");
    }
    for time in (0..4200).step_by(50).map(|after| BEFORE_MIDNIGHT - 50 + after) {
        let (found, error) = read_from(&stream, Start::Time(time));
        let expected: Vec<&Record> = all.iter().filter(|it| it.time_ms >= time).collect();
        assert!(error.is_none() && found.iter().eq(expected), "from {time}: {error:?}");
    }
    assert_eq!(read_from(&stream, Start::Latest).0, []);
    let (found, error) = read_from(&stream, Start::Offset(after_last + 1));
    let error = error.unwrap().to_string();
    assert!(found.is_empty() && error.contains("is past the end"), "{error}");
}

#[tokio::test]
async fn what_is_half_written_is_shown_when_its_batch_is_whole() {
    let directory = TestLog::small().await.close();
    let stream = directory.path().join("s");
    let files = tree(&stream);
    let all = read_all(&stream);
    let newest = files.keys().rfind(|name| name.contains("/data")).unwrap();
    let path = stream.join(newest);
    fs::write(&path, "").unwrap();
    let mut following = FileReader::open(&stream, Start::Earliest).unwrap();
    let (mut found, error) = read_on(&mut following);
    assert!(error.is_none());
    for length in 0..=files[newest].len() {
        // As the writer does it: the file grows.
        let file = fs::OpenOptions::new().append(true).open(&path).unwrap();
        if length > 0 {
            std::io::Write::write_all(&mut &file, &files[newest][length - 1..length]).unwrap();
        }
        let (more, error) = read_on(&mut following);
        assert!(error.is_none(), "{length}: {error:?}");
        found.extend(more);
        let (fresh, error) = read_from(&stream, Start::Earliest);
        assert!(error.is_none() && fresh == found, "{length}: {error:?}");
        let batches = found.chunk_by(|one, next| one.offset + 1 == next.offset);
        for batch in batches {
            let number = payloads(batch)[0].split_once('.').unwrap().0.parse::<usize>().unwrap();
            assert_eq!(batch.len(), number % 4, "a batch is shown whole or not at all");
        }
    }
    assert_eq!(found, all);
}

#[tokio::test]
async fn it_never_leaves_a_day_that_is_not_finished() {
    let directory = TestLog::small().await.close();
    let stream = directory.path().join("s");
    let files = tree(&stream);
    let all = read_all(&stream);
    let finish = files.keys().find(|name| name.ends_with("/finish")).unwrap();
    let day = finish.split_once('/').unwrap().0;
    let late = files.keys().rfind(|name| name.starts_with(&format!("{day}/data"))).unwrap();
    // A copy that has not got the last file of the first day, while the second is there.
    let late_content = fs::read(stream.join(late)).unwrap();
    fs::remove_file(stream.join(late)).unwrap();
    fs::remove_file(stream.join(finish)).unwrap();
    let mut reader = FileReader::open(&stream, Start::Earliest).unwrap();
    let (mut found, error) = read_on(&mut reader);
    assert!(error.is_none() && found.len() < all.len());
    assert_eq!(reader.unfinished_day().unwrap().as_deref(), Some(day));
    for half in [&late_content[..late_content.len() / 2], &late_content[..]] {
        fs::write(stream.join(late), half).unwrap();
        let (more, error) = read_on(&mut reader);
        // Two days are there, so the file that is not the newest must be whole.
        if half.len() == late_content.len() {
            assert!(error.is_none(), "{error:?}");
            found.extend(more);
            break;
        }
        assert!(matches!(error, Some(Error::Damaged { .. })), "{error:?}");
        reader =
            FileReader::open(&stream, Start::Offset(found.last().unwrap().offset + 1)).unwrap();
    }
    assert!(found.iter().all(|it| it.time_ms < all.last().unwrap().time_ms));
    assert_eq!(reader.unfinished_day().unwrap().as_deref(), Some(day));
    fs::write(stream.join(finish), "").unwrap();
    found.extend(read_on(&mut reader).0);
    assert_eq!((found, reader.unfinished_day().unwrap()), (all, None));
}

#[tokio::test]
async fn what_was_taken_back_after_it_was_read_is_said() {
    let mut random = random();
    let directory = TestLog::small().await.close();
    let stream = directory.path().join("s");
    let files = tree(&stream);
    let newest = files.keys().rfind(|name| name.contains("/data")).unwrap();
    let path = stream.join(newest);
    for _ in 0..50 {
        let mut reader = FileReader::open(&stream, Start::Earliest).unwrap();
        assert!(read_on(&mut reader).1.is_none());
        // The writer takes back whole write groups.
        let length = random.random_range(0..=last_group(&files[newest])) as usize;
        let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
        file.set_len(length as u64).unwrap();
        if random.random() {
            // And something else was written there since.
            let other = vec![random.random(); files[newest].len() - length + 100];
            std::os::unix::fs::FileExt::write_all_at(&file, &other, length as u64).unwrap();
        }
        let error = read_on(&mut reader).1;
        assert!(matches!(error, Some(Error::TakenBack { .. })), "{error:?}");
        fs::write(&path, &files[newest]).unwrap();
    }
}

#[tokio::test]
async fn an_empty_stream_is_read_when_its_first_record_comes() {
    let log = TestLog::new(1500);
    let mut readers: Vec<FileReader> = [Start::Earliest, Start::Latest, Start::Offset(0)]
        .map(|start| FileReader::open(&log.path(), start).unwrap())
        .into();
    for reader in &mut readers {
        assert_eq!(read_on(reader).0, []);
    }
    assert_eq!(check(&log.path()).unwrap().files, 0);
    log.append(&["first".to_owned()], BEFORE_MIDNIGHT).await;
    for reader in &mut readers {
        assert_eq!(payloads(&read_on(reader).0), ["first"]);
    }
}
