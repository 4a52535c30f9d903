//! The sink `file`: also killed, and on a full disk. The test's program is started once more for
//! that, as the process that is killed or has no room.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead as _, BufReader, Read},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use handler::{Event, Outcome};
use rand::RngExt as _;
use sinks::Sink;

use crate::changes::{change, give, seeded, sink};

/// Set in the second process: the directory of the files.
const DIRECTORY: &str = "TEST_FILES_DIRECTORY";
/// Set in the second process: the first change to write.
const FIRST: &str = "TEST_FILES_FIRST";

fn files_sink(directory: &Path, more: &str) -> Sink {
    sink("file", &format!("directory = '{}'\n{more}", directory.display()))
}

fn insert(seq: u64) -> Event {
    change(seq, "insert", seq, r#""s":"a\nb","n":null"#, None)
}

/// All files below a directory, with what they hold.
fn files(directory: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
            continue;
        }
        let file = fs::File::open(&path).unwrap();
        let mut text = String::new();
        match path.extension().and_then(|ending| ending.to_str()) {
            Some("gz") => flate2::read::MultiGzDecoder::new(file).read_to_string(&mut text),
            Some("zst") => zstd::Decoder::new(file).unwrap().read_to_string(&mut text),
            _ => fs::File::read_to_string(&mut { file }, &mut text),
        }
        .unwrap();
        found.insert(path, text);
    }
    found
}

/// How often each change is in the files.
fn counts(directory: &Path) -> BTreeMap<u64, usize> {
    let mut counts = BTreeMap::new();
    for line in files(directory).values().flat_map(|text| text.lines()) {
        let (_, rest) = line.split_once("\"g:").unwrap();
        let seq = rest.split_once('#').unwrap().0.parse().unwrap();
        *counts.entry(seq).or_default() += 1;
    }
    counts
}

fn is_part(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending == "part")
}

#[tokio::test]
async fn each_change_is_a_line_and_a_name_may_have_folders() {
    let directory = tempfile::tempdir().unwrap();
    let sink =
        files_sink(directory.path(), "name = '{schema}/{table}-{{ Action }}'\ncontent = 'row'");
    let gone = change(2, "delete", 7, r#""s":"x""#, None);
    assert_eq!(give(&sink, &[insert(1), gone]).await, Outcome::Done);
    let files = files(directory.path());
    let text: Vec<&str> = files.values().map(String::as_str).collect();
    let expected = [
        "{\"EvId\":\"g:2#0\",\"Seq\":2,\"Ts\":1700000000123,\"Action\":\"delete\",\"id\":7,\"s\":\"x\"}\n",
        "{\"EvId\":\"g:1#0\",\"Seq\":1,\"Ts\":1700000000123,\"Action\":\"insert\",\"id\":1,\"s\":\"a\\nb\",\"n\":null}\n",
    ];
    assert_eq!(text, expected);
    let names: Vec<String> = files.keys().map(|path| path.display().to_string()).collect();
    assert!(names[0].contains("/shop/item-delete-20") && names[0].ends_with("Z-1.jsonl.part"));
    assert_eq!(sink.figures().rows, 2);
}

#[tokio::test]
async fn csv_has_a_header_and_other_columns_begin_another_file() {
    let directory = tempfile::tempdir().unwrap();
    let sink = files_sink(directory.path(), "format = 'csv'\nnull = '\\N'");
    let wider = change(2, "insert", 2, r#""s":"","n":3,"d":"1.50""#, None);
    assert_eq!(give(&sink, &[insert(1), wider]).await, Outcome::Done);
    let files = files(directory.path());
    let text: Vec<&str> = files.values().map(String::as_str).collect();
    let head = "EvId,Seq,Ts,Action,id,s,n";
    assert_eq!(text[0], format!("{head}\ng:1#0,1,1700000000123,insert,1,\"a\nb\",\\N\n"));
    assert_eq!(text[1], format!("{head},d\ng:2#0,2,1700000000123,insert,2,,3,1.50\n"));
    let parts: Vec<bool> = files.keys().map(|path| is_part(path)).collect();
    assert_eq!(parts, [false, true]);
}

#[tokio::test]
async fn files_are_finished_by_size_and_by_time_and_compressed() {
    for (compress, ending) in [("none", "jsonl"), ("gzip", "gz"), ("zstd", "zst")] {
        let directory = tempfile::tempdir().unwrap();
        let rotate = "rotate = { size = '1KiB', time = '1s' }";
        let sink = files_sink(directory.path(), &format!("{rotate}\ncompress = '{compress}'"));
        for seq in 1..=20 {
            assert_eq!(give(&sink, &[insert(seq)]).await, Outcome::Done);
        }
        // The last one is finished though nothing comes any more.
        while files_left(directory.path()) > 0 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let files = files(directory.path());
        assert!(files.len() >= 3, "{files:?}");
        assert!(files.keys().all(|path| path.extension().unwrap() == ending), "{files:?}");
        assert!((1..=20).all(|seq| counts(directory.path())[&seq] == 1));
    }
}

fn files_left(directory: &Path) -> usize {
    let entries = fs::read_dir(directory).unwrap();
    entries.filter(|entry| is_part(&entry.as_ref().unwrap().path())).count()
}

#[tokio::test]
async fn a_batch_of_several_lanes_is_whole_in_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let sink = files_sink(directory.path(), "rotate = { size = '20KiB' }");
    let lanes = (0..4).map(|lane| {
        let sink = sink.clone();
        tokio::spawn(async move {
            for batch in 0..25 {
                let events: Vec<Event> =
                    (0..10).map(|at| insert(1 + lane * 250 + batch * 10 + at)).collect();
                assert_eq!(give(&sink, &events).await, Outcome::Done);
            }
        })
    });
    for lane in lanes.collect::<Vec<_>>() {
        lane.await.unwrap();
    }
    let counts = counts(directory.path());
    assert_eq!((counts.len(), counts.values().max()), (1000, Some(&1)));
}

/// What runs in the process that is killed: it writes one batch after another, and says which
/// changes are done.
#[expect(clippy::print_stdout, reason = "the other process reads it")]
async fn write_for_ever(directory: &Path) {
    let sink = files_sink(directory, "rotate = { size = '8KiB' }\ncompress = 'gzip'");
    let mut first: u64 = std::env::var(FIRST).unwrap().parse().unwrap();
    loop {
        let events: Vec<Event> = (first..first + 7).map(insert).collect();
        assert_eq!(give(&sink, &events).await, Outcome::Done);
        first += 7;
        println!("done {}", first - 1);
    }
}

#[tokio::test]
async fn after_kill_9_each_change_is_there_once() {
    if let Some(directory) = std::env::var_os(DIRECTORY) {
        return write_for_ever(Path::new(&directory)).await;
    }
    let (directory, mut random) = (tempfile::tempdir().unwrap(), seeded());
    let mut done = 0;
    for _ in 0..12 {
        // As from a bus: what was done last comes again.
        let first = (done + 1_u64).saturating_sub(random.random_range(0..60)).max(1);
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "file::after_kill_9_each_change_is_there_once", "--nocapture"])
            .env(DIRECTORY, directory.path())
            .env(FIRST, first.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let dones = lines.filter_map(|line| line.unwrap().strip_prefix("done ")?.parse().ok());
        done = dones.take(random.random_range(1..40)).last().unwrap();
        process.kill().unwrap();
        process.wait().unwrap();
    }
    let sink = files_sink(directory.path(), "rotate = { size = '8KiB' }\ncompress = 'gzip'");
    let rest: Vec<Event> = (done.saturating_sub(50).max(1)..done + 50).map(insert).collect();
    assert_eq!(give(&sink, &rest).await, Outcome::Done);
    let counts = counts(directory.path());
    assert!((1..done + 50).all(|seq| counts.get(&seq) == Some(&1)), "{counts:?}");
}

#[tokio::test]
async fn a_torn_line_is_cut_off() {
    let directory = tempfile::tempdir().unwrap();
    assert_eq!(give(&files_sink(directory.path(), ""), &[insert(1)]).await, Outcome::Done);
    let part = files(directory.path()).into_keys().next().unwrap();
    let text = fs::read_to_string(&part).unwrap();
    fs::write(&part, format!("{text}{{\"EvId\":\"g:2#0\",\"Se")).unwrap();
    let events = [insert(1), insert(2)];
    assert_eq!(give(&files_sink(directory.path(), ""), &events).await, Outcome::Done);
    assert_eq!(files(directory.path()).len(), 1);
    let counts = counts(directory.path());
    assert_eq!(counts, [(1, 1), (2, 1)].into());
}

#[tokio::test]
async fn two_processes_do_not_write_to_one_file() {
    let directory = tempfile::tempdir().unwrap();
    let (one, other) = (files_sink(directory.path(), ""), files_sink(directory.path(), ""));
    assert_eq!(give(&one, &[insert(1)]).await, Outcome::Done);
    assert_eq!(give(&other, &[insert(2)]).await, Outcome::Done);
    assert_eq!(files(directory.path()).len(), 2);
}

#[tokio::test]
async fn a_full_disk_is_waited_for_and_nothing_is_lost() {
    if let Some(directory) = std::env::var_os(DIRECTORY) {
        return fill(Path::new(&directory)).await;
    }
    let directory = tempfile::tempdir().unwrap();
    // In blocks of 512 bytes or 1 KiB, as the shell likes.
    let status = Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -S -f 8; exec \"$0\" \"$@\""])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "file::a_full_disk_is_waited_for_and_nothing_is_lost"])
        .env(DIRECTORY, directory.path())
        .stdout(Stdio::null())
        .status();
    assert!(status.unwrap().success());
    let counts = counts(directory.path());
    assert!(counts.len() > 10 && counts.values().all(|count| *count == 1), "{counts:?}");
}

/// What runs in the process that has no room for large files.
async fn fill(directory: &Path) {
    let sink = files_sink(directory, "");
    let mut seq = 0;
    let failed = loop {
        seq += 1;
        match give(&sink, &[insert(seq)]).await {
            Outcome::Done => {}
            Outcome::Failed(failure) => break failure,
            other => panic!("{other:?}"),
        }
    };
    assert!(failed.is_unclear && failed.reason.contains("make room"), "{failed:?}");
    assert!(matches!(give(&sink, &[insert(seq)]).await, Outcome::Failed(_)));
    let pid = std::process::id().to_string();
    let raised = Command::new("prlimit").args(["--pid", &pid, "--fsize=unlimited"]).status();
    assert!(raised.unwrap().success());
    for seq in seq..seq + 10 {
        assert_eq!(give(&sink, &[insert(seq)]).await, Outcome::Done);
    }
    let counts = counts(directory);
    assert!((1..seq + 10).all(|seq| counts.get(&seq) == Some(&1)), "{counts:?}");
}

#[tokio::test]
async fn a_check_says_whether_files_can_be_made() {
    let directory = tempfile::tempdir().unwrap();
    let found = files_sink(&directory.path().join("not/yet"), "").check(&[]).await;
    assert!(!found[0].is_wrong, "{found:?}");
    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    let found = files_sink(&file.join("below"), "").check(&[]).await;
    assert!(found[0].is_wrong && found[0].what.contains("is no folder"), "{found:?}");
    assert_eq!(files(directory.path()).len(), 1);
}
