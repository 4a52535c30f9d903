//! The verbs that read files, on the directory of a server that runs, is killed, or is stopped.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use event_log::proto::{Header, NewRecord};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::Value;

use crate::process::{DEADLINE, PROGRAM, STREAM, Sender, ServerProcess, record};

/// Runs a verb on the directory of a log.
fn run(verb: &str, data: &Path, more: &[&str]) -> Output {
    let mut command = Command::new(PROGRAM);
    command.arg(verb).arg(data).args(more);
    command.output().unwrap()
}

fn done(verb: &str, data: &Path, more: &[&str]) -> String {
    let Output { status, stdout, stderr } = run(verb, data, more);
    let said = String::from_utf8_lossy(&stderr);
    assert!(status.success(), "{verb} {more:?}: {status} {said}");
    String::from_utf8(stdout).unwrap()
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn cat(data: &Path, more: &[&str]) -> Vec<Value> {
    lines(&done("cat", data, &[&["--stream", STREAM], more].concat()))
}

fn payloads(lines: &[Value]) -> Vec<String> {
    lines.iter().map(|line| line["payload"].as_str().unwrap().to_owned()).collect()
}

fn numbers(lines: &[Value]) -> Vec<u64> {
    payloads(lines).iter().map(|payload| payload.parse().unwrap()).collect()
}

fn data(directory: &Path) -> PathBuf {
    directory.join("data")
}

/// The data file of the only day.
fn data_file(directory: &Path) -> PathBuf {
    let stream = data(directory).join(STREAM);
    let days = fs::read_dir(stream).unwrap().map(|entry| entry.unwrap().path());
    let mut days: Vec<PathBuf> = days.filter(|path| path.is_dir()).collect();
    days.sort();
    days.pop().unwrap().join("data000000")
}

fn tree(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            let name = PathBuf::from(path.file_name().unwrap());
            let below = tree(&path).into_iter();
            files.extend(below.map(|(file, content)| (name.join(file), content)));
        } else {
            files.insert(path.file_name().unwrap().into(), fs::read(&path).unwrap());
        }
    }
    files
}

#[tokio::test(flavor = "multi_thread")]
async fn cat_chooses_records_and_prints_them_as_json() {
    let directory = tempfile::tempdir().unwrap();
    let server = ServerProcess::start(directory.path());
    let sender = Sender::open(&server).await;
    let records = vec![
        NewRecord { topic: "a.b".into(), key: "k1".into(), ..record(b"{\"n\":1.50}".to_vec()) },
        NewRecord { topic: "a.c".into(), r#type: 1201, ..record(b"text \"x\"\n".to_vec()) },
        NewRecord {
            key: vec![0xff].into(),
            headers: vec![Header { name: "h".into(), value: "v".into() }],
            ..record(vec![0xff, 0])
        },
    ];
    sender.send(&server, 1, records).await.unwrap();
    let data = data(directory.path());
    let all = cat(&data, &[]);
    assert_eq!(all.len(), 3);
    assert_eq!(all[0]["payload"].to_string(), "{\"n\":1.5}");
    assert_eq!(
        (&all[0]["type"], &all[0]["topic"], &all[0]["key"]),
        (&1001.into(), &"a.b".into(), &"k1".into())
    );
    assert_eq!(all[1]["payload"], "text \"x\"\n");
    assert_eq!(
        (&all[2]["payload"], &all[2]["payloadEncoding"]),
        (&"/wA=".into(), &"base64".into())
    );
    assert_eq!((&all[2]["key"], &all[2]["keyEncoding"]), (&"/w==".into(), &"base64".into()));
    assert_eq!(all[2]["headers"][0], serde_json::json!({ "name": "h", "value": "v" }));
    let text = done("cat", &data, &["--stream", STREAM]);
    assert!(text.contains("\"payload\":{\"n\":1.50}"), "the digits stay: {text}");

    let offset = all[1]["offset"].to_string();
    let time = all[0]["time"].as_str().unwrap();
    let origin = all[0]["origin"].to_string();
    let day = &time[..10];
    let choices: [(&[&str], usize); 12] = [
        (&["--topic", "a\\..*"], 2),
        (&["--topic", "a"], 0),
        (&["--type", "1201"], 1),
        (&["--type", "1201", "--type", "1001"], 3),
        (&["--key", "k1"], 1),
        (&["--origin", &origin], 3),
        (&["--origin", "1"], 0),
        (&["--from", &offset], 2),
        (&["--to", &offset], 2),
        (&["--from", day, "--to", day], 3),
        (&["--from", time, "--until", time], 3),
        (&["--from", "2999-01-01"], 0),
    ];
    for (choice, expected) in choices {
        assert_eq!(cat(&data, choice).len(), expected, "{choice:?}");
    }

    // By the config of the server, the directory need not be said.
    let config = directory.path().join("event-log.toml");
    let by_config = ["cat", "--stream", STREAM, "--config"];
    let output = Command::new(PROGRAM).args(by_config).arg(config).output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), text);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_call_says_what_is_wrong() {
    let directory = tempfile::tempdir().unwrap();
    let server = ServerProcess::start(directory.path());
    Sender::open(&server).await.send(&server, 1, vec![record(b"1".to_vec())]).await.unwrap();
    let data = data(directory.path());
    let (stream, other) = (data.join(STREAM), directory.path());
    let wrong: [(&str, &Path, &[&str], i32, &str); 11] = [
        ("cat", &data, &["--stream", "x"], 64, "there is no stream \"x\""),
        ("verify", &data, &["--stream", "x"], 64, "there are: s"),
        ("verify", &stream, &[], 64, "give the directory above it, and --stream s"),
        ("verify", other, &[], 64, "holds no log"),
        ("ls", other, &[], 64, "holds no log"),
        ("cat", &data, &["--stream", STREAM, "--from", "yesterday"], 64, "2026-03-01"),
        ("cat", &data, &["--stream", STREAM, "--from", "20260301"], 64, "is past the end"),
        ("cat", &data, &["--stream", STREAM, "--topic", "("], 64, "filter of topics"),
        ("ls", Path::new("/nowhere"), &[], 70, "cannot read the directory /nowhere"),
        ("export", &data, &["--stream", STREAM, "--to", "/nowhere/x"], 70, "/nowhere/x"),
        ("import", Path::new("/nowhere"), &[], 70, "/nowhere"),
    ];
    for (verb, at, more, code, says) in wrong {
        let free = directory.path().join("free");
        let free: &[&str] = if verb == "import" { &[free.to_str().unwrap()] } else { &[] };
        let Output { status, stderr, .. } = run(verb, at, &[more, free].concat());
        let said = String::from_utf8_lossy(&stderr).replace("\\\"", "\"");
        assert_eq!(status.code(), Some(code), "{verb} {more:?}: {said}");
        assert!(said.contains(says), "{verb} {more:?}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_output_that_is_closed_ends_quietly() {
    let directory = tempfile::tempdir().unwrap();
    let server = ServerProcess::start(directory.path());
    let sender = Sender::open(&server).await;
    let records = (0..20_000).map(|number| record(number.to_string().into())).collect();
    sender.send(&server, 1, records).await.unwrap();
    for verb in [&["cat"][..], &["tail", "-n", "20000"], &["tail", "-f", "-n", "20000"]] {
        let mut command = Command::new(PROGRAM);
        command.args(verb).arg(data(directory.path())).args(["--stream", STREAM]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut first = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap();
        assert_eq!(numbers(&lines(&first)), [0]);
        let mut said = String::new();
        child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        assert!(child.wait().unwrap().success() && said.is_empty(), "{verb:?}: {said}");
    }
}

/// A verb that follows; killed when it is dropped.
struct Following {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Following {
    fn start(data: &Path, more: &[&str]) -> Self {
        let mut command = Command::new(PROGRAM);
        command.arg("tail").arg(data).args(["--stream", STREAM, "-f"]).args(more);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    fn next(&mut self) -> u64 {
        let line = self.lines.next().unwrap().unwrap();
        numbers(&lines(&line))[0]
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tail_gives_the_last_records_and_those_that_come_also_from_the_next_server() {
    let directory = tempfile::tempdir().unwrap();
    let mut server = ServerProcess::start(directory.path());
    let sender = Sender::open(&server).await;
    for sequence in 1..=100 {
        let records = vec![record(sequence.to_string().into())];
        sender.send(&server, sequence, records).await.unwrap();
    }
    let data = data(directory.path());
    let tail = |more: &[&str]| {
        numbers(&lines(&done("tail", &data, &[&["--stream", STREAM], more].concat())))
    };
    assert_eq!(tail(&["-n", "3"]), [98, 99, 100]);
    assert_eq!(tail(&[]), (91..=100).collect::<Vec<_>>());
    assert_eq!(tail(&["-n", "1000"]), (1..=100).collect::<Vec<_>>());
    assert_eq!((tail(&["-n", "0"]), tail(&["--type", "1201"])), (vec![], vec![]));

    let mut following = Following::start(&data, &["-n", "1"]);
    assert_eq!(following.next(), 100);
    for sequence in 101..=200 {
        if sequence == 150 {
            server.kill();
            assert_eq!(tail(&["-n", "1"]), [149], "of a log that was killed");
            server = ServerProcess::start(directory.path());
        }
        let records = vec![record(sequence.to_string().into())];
        sender.send(&server, sequence, records).await.unwrap();
        assert_eq!(following.next(), sequence);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ls_shows_days_and_verify_finds_the_byte_that_was_changed() {
    let directory = tempfile::tempdir().unwrap();
    let mut server = ServerProcess::start(directory.path());
    let sender = Sender::open(&server).await;
    for sequence in 1..=50 {
        let records = vec![record(sequence.to_string().into())];
        sender.send(&server, sequence, records).await.unwrap();
    }
    let data = data(directory.path());
    let listed: Value = serde_json::from_str(&done("ls", &data, &["--json"])).unwrap();
    let day = &listed["streams"][0]["days"][0];
    let name = day["day"].as_str().unwrap();
    assert!(done("ls", &data, &[]).contains(name));
    assert_eq!(
        (&day["files"], &day["firstOffset"], &day["isFinished"]),
        (&1.into(), &0.into(), &false.into())
    );
    // The state, the opened producer, and 50 batches of a record and its end.
    assert_eq!(day["lastOffset"], 101);
    let said = done("verify", &data, &[]);
    assert!(
        said.contains("50 records in 51 batches, offsets 0 to 101; 1 days, 1 data files"),
        "{said}"
    );

    server.kill();
    let path = data_file(directory.path());
    assert_eq!(path.parent().unwrap().file_name().unwrap().to_str(), Some(name));
    let mut content = fs::read(&path).unwrap();
    content[1000] ^= 1;
    fs::write(&path, &content).unwrap();
    for stream in [&[][..], &["--stream", STREAM]] {
        let Output { status, stderr, .. } = run("verify", &data, stream);
        let said = String::from_utf8_lossy(&stderr);
        assert_eq!(status.code(), Some(1), "{said}");
        let at = said.split_once("data000000 is damaged at byte ").unwrap().1;
        let at: u64 = at.split_once(':').unwrap().0.parse().unwrap();
        assert!((900..=1000).contains(&at), "{said}");
    }
    let Output { status, stdout, .. } = run("cat", &data, &["--stream", STREAM]);
    let before = numbers(&lines(&String::from_utf8(stdout).unwrap()));
    assert_eq!(status.code(), Some(70));
    assert!(before.len() > 3 && before.iter().copied().eq(1..=before.len() as u64));
}

const KILLS: usize = 4;

#[tokio::test(flavor = "multi_thread")]
async fn files_are_right_and_whole_while_the_server_writes_and_is_killed() {
    let seed: u64 = rand::random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let directory = tempfile::tempdir().unwrap();
    let data = data(directory.path());
    let mut server = ServerProcess::start(directory.path());
    let sender = Sender::open(&server).await;
    let following = Following::start(&data, &["-n", "1000000"]);
    let (mut sequence, mut acknowledged) = (0, 0);
    for _ in 0..KILLS {
        let (pid, wait) = (server.pid().to_string(), random.random_range(20..150));
        let killing = tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(wait)).await;
            Command::new("kill").args(["-9", &pid]).status().unwrap();
        });
        loop {
            sequence += 1;
            let filler = "x".repeat(random.random_range(0..20_000));
            let records = (0..20).map(|it| record(format!("{sequence} {it} {filler}").into()));
            if sender.send(&server, sequence, records.collect()).await.is_err() {
                break;
            }
            acknowledged = sequence;
            if sequence % 10 == 0 {
                let said = done("verify", &data, &["--stream", STREAM]);
                assert!(said.contains("right"), "{said}");
            }
        }
        killing.await.unwrap();
        server.kill();
        done("verify", &data, &["--stream", STREAM]);
        let found = payloads(&cat(&data, &[]));
        assert!(found.len().is_multiple_of(20), "batches are whole");
        let batches = found.len() as u64 / 20;
        assert!(
            (acknowledged..=sequence).contains(&batches),
            "{acknowledged} {batches} {sequence}"
        );
        sequence = batches;
        server = ServerProcess::start(directory.path());
    }
    let found = payloads(&cat(&data, &[]));
    let mut followed = following;
    let begun = Instant::now();
    for payload in &found {
        let line = followed.lines.next().unwrap().unwrap();
        assert_eq!(payloads(&lines(&line)), [&**payload]);
        assert!(begun.elapsed() < DEADLINE, "it takes too long");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_of_a_running_log_is_imported_whole_or_not_at_all() {
    let seed: u64 = rand::random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let directory = tempfile::tempdir().unwrap();
    let server = ServerProcess::start(directory.path());
    let sender = Sender::open(&server).await;
    for sequence in 1..=8 {
        let filler: String = (0..200_000).map(|_| random.random_range('a'..='z')).collect();
        let records = (0..5).map(|_| record(filler.clone().into())).collect();
        sender.send(&server, sequence, records).await.unwrap();
    }
    let data = data(directory.path());
    let archive = directory.path().join("archive.tar.zst");
    let archive = archive.to_str().unwrap();
    let said = done("export", &data, &["--stream", STREAM, "--to", archive]);
    assert!(said.contains("40 records"), "{said}");
    let held = run("import", Path::new(archive), &[data.to_str().unwrap(), "--stream", "copy"]);
    assert_eq!(held.status.code(), Some(69), "{held:?}");

    let copy = directory.path().join("copy");
    let to = [copy.to_str().unwrap(), "--stream", STREAM];
    for _ in 0..10 {
        let mut command = Command::new(PROGRAM);
        command.args(["import", archive]).args(to).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        tokio::time::sleep(Duration::from_millis(random.random_range(0..60))).await;
        child.kill().unwrap();
        child.wait().unwrap();
        if copy.join(STREAM).exists() {
            done("verify", &copy, &["--stream", STREAM]);
            fs::remove_dir_all(copy.join(STREAM)).unwrap();
        } else if copy.exists() {
            let said = run("ls", &copy, &[]);
            assert_eq!(said.status.code(), Some(64), "there is no part of a stream: {said:?}");
        }
    }
    done("import", Path::new(archive), &to);
    let (mut here, there) = (tree(&data.join(STREAM)), tree(&copy.join(STREAM)));
    here.retain(|name, _| name.components().count() > 1);
    assert!(here == there, "the files are the same");
    let zstd = zstd::Decoder::new(fs::File::open(archive).unwrap()).unwrap();
    let mut tar = tar::Archive::new(zstd);
    let names = tar.entries().unwrap().map(|entry| entry.unwrap().path().unwrap().into_owned());
    let names: Vec<PathBuf> = names.collect();
    assert!(
        names[0] == Path::new("event-log.json")
            && names[names.len() - 1] == Path::new("SHA256SUMS")
    );
}
