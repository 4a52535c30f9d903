//! Archives of streams: whole and the same, or refused.

use rand::RngExt;

use super::*;

const EVERYTHING: ArchiveRange = ArchiveRange { from_ms: None, to_ms: None };

/// What the directories of days hold.
fn days(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = tree(directory);
    files.retain(|name, _| name.contains('/'));
    files
}

#[tokio::test]
async fn an_archive_of_a_log_that_is_served_becomes_the_same_stream() {
    let log = TestLog::small().await;
    let archive = log.directory.path().join("a.tar.zst");
    let content = export(log.directory.path(), "s", EVERYTHING, &archive).unwrap();
    assert_eq!((content.days.len(), content.records), (2, 19));
    let error = export(log.directory.path(), "s", EVERYTHING, &archive).unwrap_err().to_string();
    assert!(error.contains("is there already"), "{error}");
    let error = import(&archive, log.directory.path(), "other").unwrap_err();
    assert!(matches!(error, Error::Held(_)), "{error}");

    let other = tempfile::tempdir().unwrap();
    // An import that was killed leaves this.
    fs::create_dir_all(other.path().join(".importing-copy/20260301")).unwrap();
    assert_eq!(import(&archive, other.path(), "copy").unwrap(), content);
    let error = import(&archive, other.path(), "copy").unwrap_err().to_string();
    assert!(error.contains("is there already"), "{error}");
    assert!(days(&log.path()) == days(&other.path().join("copy")));
    assert!(!other.path().join(".importing-copy").exists());

    // The copy is a log like any other: it goes on where the archive ends.
    let opened = Log::open(StorageConfig::new(other.path())).unwrap();
    assert_eq!(opened.stream("copy").unwrap().state().next_offset, content.next_offset);
}

#[tokio::test]
async fn an_archive_of_some_days_has_these() {
    let log = TestLog::small().await;
    let today = log.today;
    let archive = log.directory.path().join("first-day");
    let range = ArchiveRange { from_ms: None, to_ms: Some(today) };
    let content = export(log.directory.path(), "s", range, &archive).unwrap();
    let other = tempfile::tempdir().unwrap();
    import(&archive, other.path(), "s").unwrap();
    let mut expected = days(&log.path());
    expected.retain(|name, _| name.starts_with(&content.days[0]));
    assert!(expected.keys().any(|name| name.ends_with("/finish")));
    assert!(content.days.len() == 1 && days(&other.path().join("s")) == expected);

    let second = ArchiveRange { from_ms: Some(today + DAY_MS), to_ms: None };
    let archive = log.directory.path().join("second-day");
    export(log.directory.path(), "s", second, &archive).unwrap();
    import(&archive, other.path(), "second").unwrap();
    let records = read_all(&other.path().join("second"));
    assert!(records.len() > 5 && records.iter().all(|it| it.time_ms >= today + DAY_MS));

    let never = ArchiveRange { from_ms: Some(today + 9 * DAY_MS), to_ms: None };
    let error = export(log.directory.path(), "s", never, &log.directory.path().join("x"));
    assert!(error.unwrap_err().to_string().contains("no records of these days"));
}

#[tokio::test]
async fn a_damaged_or_cut_archive_is_refused_with_its_place() {
    let mut random = random();
    let log = TestLog::small().await;
    let archive = log.directory.path().join("a.tar.zst");
    export(log.directory.path(), "s", EVERYTHING, &archive).unwrap();
    let right = fs::read(&archive).unwrap();
    let other = tempfile::tempdir().unwrap();
    let try_with = |content: &[u8], what: &str| {
        fs::write(&archive, content).unwrap();
        match import(&archive, other.path(), "s") {
            Err(Error::Damaged { file, position, .. }) => {
                assert!(position <= content.len() as u64, "{what}: {position} in {file:?}");
            }
            other => panic!("{what}: {other:?}"),
        }
        assert_eq!(data_files::names(other.path()).unwrap(), ["lock"], "{what}");
    };
    // All of them, or some that are others each time.
    let step = small_or_full(9, 1);
    for length in (random.random_range(0..step)..right.len()).step_by(step) {
        try_with(&right[..length], &format!("cut at {length}"));
    }
    let mut unnoticed = Vec::new();
    for at in (random.random_range(0..step)..right.len()).step_by(step) {
        let mut changed = right.clone();
        changed[at] ^= random.random_range(1..=255_u8);
        fs::write(&archive, &changed).unwrap();
        if import(&archive, other.path(), "s").is_ok() {
            // A bit of zstd's own that says nothing: the stream must be the same.
            assert!(days(&log.path()) == days(&other.path().join("s")), "byte {at}");
            fs::remove_dir_all(other.path().join("s")).unwrap();
            unnoticed.push(at);
        }
        assert_eq!(data_files::names(other.path()).unwrap(), ["lock"], "byte {at}");
    }
    println!("bytes of {} that say nothing: {unnoticed:?}", right.len());
    assert!(unnoticed.len() < 8, "{unnoticed:?}");
    try_with(&[&right[..], b"more"].concat(), "more after it");

    // A damaged stream gets no archive.
    let files = tree(&log.path());
    let first = files.keys().find(|name| name.contains("/data")).unwrap();
    let mut changed = files[first].clone();
    changed[100] ^= 1;
    fs::write(log.path().join(first), changed).unwrap();
    let to = log.directory.path().join("b");
    let error = export(log.directory.path(), "s", EVERYTHING, &to).unwrap_err();
    assert!(matches!(error, Error::Damaged { .. }) && !to.exists(), "{error}");
}
