//! `event-log append` as a process between a pipe and a real server.

use std::{
    io::Write,
    path::Path,
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

use rand::{RngExt, SeedableRng, rngs::StdRng};

use crate::process::{PROGRAM, STREAM, ServerProcess, client, read_all, size, write_config};

fn append(address: &str, more: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    // There is no config there.
    command.args(["append", "--config", "/none", "--stream", STREAM, "--address", address]);
    command.args(more).env_remove("EVENT_LOG_TOKEN");
    command.stdin(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs it over some lines to its end.
fn run(mut command: Command, lines: &[u8]) -> Output {
    let mut child = command.spawn().unwrap();
    // It may end earlier.
    let _ = child.stdin.take().unwrap().write_all(lines);
    child.wait_with_output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn has_ended(output: &Output, code: i32, text: &str) {
    let said = said(output);
    assert_eq!(output.status.code(), Some(code), "{said}");
    assert!(said.contains(text), "{text:?} in {said}");
}

fn signal(child: &Child, signal: &str) {
    let pid = child.id().to_string();
    assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_become_records_and_a_wrong_one_ends_it_after_those_before_it() {
    let directory = tempfile::tempdir().unwrap();
    let server = ServerProcess::start(directory.path());
    let ours = |more: &[&str]| append(&server.address, more);
    let output = run(ours(&["--topic", "t"]), b"one\n\nthree, the last");
    has_ended(&output, 0, "all lines are durable at the server");
    let output = run(ours(&["--json"]), b"{\"n\":1}\n[]\nno\n3\n");
    has_ended(&output, 64, "line 3 is not JSON: expected");
    has_ended(&output, 64, "lines 1 to 2 are durable at the server");
    let output = run(ours(&["--type", "app", "--json"]), b"no\n");
    has_ended(&output, 64, "line 1 is not an app log");
    has_ended(&output, 64, "no line is durable at the server");
    has_ended(&run(ours(&["--type", "999"]), b""), 64, "from 1000 on, or app");
    has_ended(&run(ours(&["--type", "2000"]), b"typed\n"), 0, "lines=1");
    assert_eq!(
        read_all(&server.client()).await,
        ["one", "", "three, the last", "{\"n\":1}", "[]", "typed"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_names_what_to_do_and_the_spool_keeps_the_lines() {
    let directory = tempfile::tempdir().unwrap();
    let access = "[access.app]\ntoken = 'secret'\nrights = ['append', 'read']\n\
                  maxRecordBytes = '1KiB'\n";
    let config = write_config(directory.path(), "", access);
    let mut serve = Command::new(PROGRAM);
    let server = ServerProcess::start_by(serve.arg("serve").arg("--config").arg(config));
    let spool = directory.path().join("spool");
    let spooled = ["--spool", spool.to_str().unwrap()];

    let output = run(append(&server.address, &spooled), b"one\ntwo\n");
    has_ended(&output, 69, "the token is missing or wrong");
    has_ended(&output, 69, "no line is durable at the server");
    // The refusal may come before the lines; it is told which were taken.
    let is_kept = said(&output).contains("those up to line 2 are in the spool");
    let mut wrong = append(&server.address, &[]);
    wrong.env("EVENT_LOG_TOKEN", "wrong");
    has_ended(&run(wrong, b"x\n"), 69, &format!("stream s at {}", server.address));
    let token = directory.path().join("token");
    std::fs::write(&token, "secret\n").unwrap();
    let with_token = |more: &[&str]| {
        append(&server.address, &[more, &["--token-file", token.to_str().unwrap()]].concat())
    };
    has_ended(&run(with_token(&spooled), b"three\n"), 0, "lines=1");

    let long = format!("four\nfive\n{}\nsix\n", "x".repeat(2000));
    let output = run(with_token(&spooled), long.as_bytes());
    has_ended(&output, 69, "app may send 1024 at the most (maxRecordBytes of [access.app])");
    has_ended(&output, 69, "lines 1 to 2 are durable at the server");
    let found = read_all(&client(&server.address, Some("secret"))).await;
    let expected = ["one", "two", "three", "four", "five"];
    assert_eq!(found, expected[if is_kept { 0 } else { 2 }..]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_away_is_waited_for_and_a_term_says_what_is_durable() {
    let directory = tempfile::tempdir().unwrap();
    let mut server = ServerProcess::start(directory.path());
    let address = server.address.clone();
    server.kill();
    let mut waiting = append(&address, &[]).spawn().unwrap();
    waiting.stdin.take().unwrap().write_all(b"early\n").unwrap();
    let mut idle = append(&address, &["--producer", "idle"]).spawn().unwrap();
    let mut pipe = idle.stdin.take().unwrap();
    pipe.write_all(b"whole\nhal").unwrap();
    let server = ServerProcess::start_at(directory.path(), &address);
    has_ended(&waiting.wait_with_output().unwrap(), 0, "all lines are durable at the server");
    while read_all(&server.client()).await.len() < 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    signal(&idle, "-TERM");
    has_ended(&idle.wait_with_output().unwrap(), 0, "stopped; line 1 is durable at the server");
    // It was open all the time.
    drop(pipe);

    // Two pipes of one name: the second waits, and says why.
    let mut first = append(&address, &[]).spawn().unwrap();
    first.stdin.as_mut().unwrap().write_all(b"first\n").unwrap();
    while read_all(&server.client()).await.len() < 3 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let mut second = append(&address, &[]).spawn().unwrap();
    second.stdin.take().unwrap().write_all(b"second\n").unwrap();
    let mut log = std::io::BufReader::new(second.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("give one of them another producer name") {
        line.clear();
        assert!(std::io::BufRead::read_line(&mut log, &mut line).unwrap() > 0);
    }
    has_ended(&first.wait_with_output().unwrap(), 0, "lines=1");
    assert_eq!(second.wait().unwrap().code(), Some(0));
    let mut found = read_all(&server.client()).await;
    found.sort_unstable();
    assert_eq!(found, ["early", "first", "second", "whole"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_of_either_end_repeats_no_line_and_loses_none_that_was_spooled() {
    let seed: u64 = rand::random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let directory = tempfile::tempdir().unwrap();
    let mut server = ServerProcess::start(directory.path());
    let address = server.address.clone();
    let spool = directory.path().join("spool");
    let spooled = ["--spool", spool.to_str().unwrap(), "--producer", "pipe"];
    let mut runs = Vec::new();
    for run in 0..size(8, 100) {
        let mut child = append(&address, &spooled).spawn().unwrap();
        let mut pipe = child.stdin.take().unwrap();
        let lines = random.random_range(1..3000);
        let pause = random.random_range(0..lines);
        for line in 0..lines {
            writeln!(pipe, "{run}.{line}").unwrap();
            if line == pause {
                tokio::time::sleep(Duration::from_millis(random.random_range(0..100))).await;
            }
        }
        if random.random() {
            server.kill();
            server = ServerProcess::start_at(directory.path(), &address);
        }
        tokio::time::sleep(Duration::from_millis(random.random_range(0..60))).await;
        signal(&child, "-KILL");
        child.wait().unwrap();
        runs.push(lines);
    }
    has_ended(&run(append(&address, &spooled), b"end\n"), 0, "lines=1");
    let found = read_all(&server.client()).await;
    assert_eq!(found.last().map(String::as_str), Some("end"));
    let mut rest = &found[..found.len() - 1];
    for (run, lines) in runs.iter().enumerate() {
        let of_run = format!("{run}.");
        let count = rest.iter().take_while(|line| line.starts_with(&of_run)).count();
        assert!(count <= *lines, "{count} of {lines}");
        for (line, text) in rest[..count].iter().enumerate() {
            assert_eq!(*text, format!("{run}.{line}"));
        }
        println!("run {run}: {count} of {lines}");
        rest = &rest[count..];
    }
    assert!(rest.is_empty(), "{rest:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spool_belongs_to_one_producer_and_one_stream() {
    let directory = tempfile::tempdir().unwrap();
    let server = ServerProcess::start(directory.path());
    let spool = directory.path().join("spool");
    let spool = spool.to_str().unwrap();
    let first = append(&server.address, &["--spool", spool, "--producer", "a"]);
    has_ended(&run(first, b"1\n"), 0, "lines=1");
    let other = append(&server.address, &["--spool", spool, "--producer", "b"]);
    has_ended(&run(other, b"2\n"), 64, "holds what producer a reports to stream s");
    assert_eq!(read_all(&server.client()).await, ["1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spool_whose_disk_is_full_waits_for_room() {
    let directory = tempfile::tempdir().unwrap();
    let server = ServerProcess::start(directory.path());
    let spool = directory.path().join("spool");
    let spooled = ["--spool", spool.to_str().unwrap()];
    // In blocks of 512 bytes or 1 KiB, as the shell likes.
    let arguments = append(&server.address, &spooled);
    let arguments: Vec<_> = arguments.get_args().map(|word| word.to_str().unwrap()).collect();
    let script = format!("trap '' XFSZ; ulimit -S -f 60; exec {PROGRAM} {}", arguments.join(" "));
    let mut command = Command::new("sh");
    command.args(["-c", &script]).stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let lines: String = (0..200).map(|line| format!("{line} {}\n", "x".repeat(1000))).collect();
    let mut pipe = child.stdin.take().unwrap();
    let writing = std::thread::spawn(move || pipe.write_all(lines.as_bytes()));
    let mut log = std::io::BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("the disk is full") {
        line.clear();
        assert!(std::io::BufRead::read_line(&mut log, &mut line).unwrap() > 0);
    }
    let pid = child.id().to_string();
    let raised = Command::new("prlimit").args(["--pid", &pid, "--fsize=unlimited"]).status();
    assert!(raised.unwrap().success());
    writing.join().unwrap().unwrap();
    // A child must not stop at a full pipe.
    std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let found = read_all(&server.client()).await;
    let numbers: Vec<_> = found.iter().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(numbers, (0..200).map(|number| number.to_string()).collect::<Vec<_>>());
    assert!(Path::new(&spool).join("spool").is_dir());
}

#[test]
fn a_spool_that_gets_full_says_what_that_means_for_a_pipe() {
    let directory = tempfile::tempdir().unwrap();
    let spool = directory.path().join("spool");
    let spooled = ["--spool", spool.to_str().unwrap(), "--spool-bytes", "1MiB"];
    let mut child = append("127.0.0.1:1", &spooled).spawn().unwrap();
    let mut pipe = child.stdin.take().unwrap();
    let lines: String = (0..900).map(|line| format!("{line} {}\n", "x".repeat(1000))).collect();
    pipe.write_all(lines.as_bytes()).unwrap();
    let mut log = std::io::BufReader::new(child.stderr.take().unwrap());
    let (mut line, mut seen) = (String::new(), String::new());
    while !line.contains("the spool will be full: the server takes less than is reported") {
        line.clear();
        assert!(std::io::BufRead::read_line(&mut log, &mut line).unwrap() > 0, "{seen}");
        seen += &line;
    }
    // Advice for a log with groups.
    assert!(!seen.contains("groups forget"), "{seen}");
    child.kill().unwrap();
    child.wait().unwrap();
}
