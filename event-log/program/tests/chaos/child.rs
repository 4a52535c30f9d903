//! What the test does as a process of its own, so that it can be killed: this test binary once
//! more, with a role.

use std::{
    fs::{File, OpenOptions},
    io::{BufRead, Write},
    path::PathBuf,
    time::Duration,
};

use event_log::{Event, Reporter, ReporterConfig, WhenFull, proto::CommitRequest, typed};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::Value;

use super::content::{id_of, payload};
use crate::process::{STREAM, client, subscribe};

pub(super) const ROLE: &str = "CHAOS_ROLE";
pub(super) const GROUP: &str = "readers";
/// How often a callback fails.
const FAILS_ONE_IN: u32 = 25;

#[test]
#[ignore = "a process of the chaos test, which starts it"]
fn plays_the_role_that_it_was_given() {
    match std::env::var(ROLE).as_deref() {
        Ok("reporter") => run(report()),
        Ok("reader") => run(read()),
        Ok("callback") => answer_calls(),
        _ => {}
    }
}

fn run(role: impl Future<Output = ()>) {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.worker_threads(1).enable_all().build().unwrap().block_on(role);
}

fn given(name: &str) -> String {
    std::env::var(format!("CHAOS_{name}")).unwrap_or_else(|_| panic!("no {name}"))
}

fn number(name: &str) -> u64 {
    given(name).parse().unwrap()
}

/// Lines that outlive this process. One that it was killed in has no end mark.
struct Journal {
    file: File,
}

impl Journal {
    fn open() -> Self {
        let mut open = OpenOptions::new();
        Self { file: open.append(true).create(true).open(given("JOURNAL")).unwrap() }
    }

    fn note(&mut self, line: &str) {
        self.file.write_all(format!("\n{line} .\n").as_bytes()).unwrap();
    }
}

/// Whole lines of a journal.
pub(super) fn lines(journal: &std::path::Path) -> Vec<String> {
    let text = std::fs::read(journal).unwrap_or_default();
    let text = String::from_utf8_lossy(&text).into_owned();
    text.lines().filter_map(|line| line.strip_suffix(" .")).map(str::to_owned).collect()
}

/// Reports numbered records until enough are in its spool, and ends when the server has them.
async fn report() {
    let (life, target, pause) = (number("LIFE"), number("TARGET"), number("PAUSE_US"));
    let mut random = StdRng::seed_from_u64(number("SEED") ^ life);
    let mut next = number("NEXT");
    let mut config = ReporterConfig::new(STREAM, "rust");
    config.spool.directory = Some(PathBuf::from(given("SPOOL")));
    config.spool.when_full = WhenFull::Block;
    let reporter = Reporter::open(client(&given("ADDRESS"), None), config).await.unwrap();
    let mut journal = Journal::open();
    while next < target {
        let last = (next + random.random_range(0..200)).min(target - 1);
        let ids = (next..=last).map(|number| format!("rust {life} {number}"));
        let records: Vec<_> = ids.map(|id| typed::plain("rust", payload(&id))).collect();
        reporter.report_all(&records).await.unwrap();
        journal.note(&format!("{life} {next} {last}"));
        next = last + 1;
        tokio::time::sleep(Duration::from_micros(pause * records.len() as u64)).await;
    }
    reporter.flush().await.unwrap();
    reporter.close().await;
}

/// Reads as a member of the group until it is killed.
async fn read() {
    let mut journal = Journal::open();
    let (client, name) = (client(&given("ADDRESS"), None), given("NAME"));
    loop {
        if let Ok(mut subscription) = client.subscribe(STREAM, subscribe(GROUP, &name)).await {
            let mut active = 0;
            while let Ok(event) = subscription.next().await {
                match event {
                    Event::Assigned { member, position, .. } => {
                        active = member;
                        journal.note(&format!("assigned {member} {position}"));
                    }
                    Event::Records { records, next_offset, .. } => {
                        let texts = records.iter().map(|record| id_of(&record.payload));
                        let ids: Vec<String> = texts.collect();
                        if !ids.is_empty() {
                            journal.note(&format!("got {}", ids.join(",")));
                        }
                        let commit = CommitRequest {
                            stream: STREAM.to_owned(),
                            group: GROUP.to_owned(),
                            member: active,
                            offset: next_offset,
                        };
                        if client.commit(commit).await.is_err() {
                            break;
                        }
                        journal.note(&format!("committed {active} {next_offset}"));
                    }
                }
            }
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Answers the calls of a relay on descriptor 3, and notes each before that.
fn answer_calls() {
    let mut journal = Journal::open();
    let mut answers = OpenOptions::new().write(true).open("/dev/fd/3").unwrap();
    std::fs::write(given("PID"), std::process::id().to_string()).unwrap();
    let mut random = StdRng::seed_from_u64(number("SEED") ^ u64::from(std::process::id()));
    for batch in std::io::stdin().lock().lines() {
        let batch: Vec<Value> = serde_json::from_str(&batch.unwrap()).unwrap();
        let texts = batch.iter().map(|event| event["payload"].as_str().unwrap());
        let ids: Vec<String> = texts.map(|text| id_of(text.as_bytes())).collect();
        let is_done = random.random_range(0..FAILS_ONE_IN) > 0;
        journal.note(&format!("{is_done} {}", ids.join(",")));
        if writeln!(answers, "{is_done}").is_err() {
            return;
        }
    }
}
