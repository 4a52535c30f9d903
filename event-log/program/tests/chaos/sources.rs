//! The producers that have no process of their own here: lines for a pipe, lines for a log file.

use std::{
    fs::{self, File, OpenOptions},
    io::Write,
    path::PathBuf,
    process::Stdio,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    thread::JoinHandle,
    time::Duration,
};

use rand::{RngExt, SeedableRng, rngs::StdRng};

use super::{check::Produced, content::payload, part::Part};

/// How much each producer sends, and how fast.
#[derive(Clone, Copy)]
pub(super) struct Pace {
    pub(super) records: u64,
    /// Between two records, on average.
    pub(super) pause: Duration,
    pub(super) seed: u64,
}

/// What the pipe and the test tell each other.
#[derive(Default)]
pub(super) struct PipeState {
    /// Lines of runs that ended well.
    pub(super) sent: AtomicU64,
    /// Nothing is killed any more.
    pub(super) healed: AtomicBool,
}

/// What a thread produces, until it has sent all.
pub(super) struct Source {
    thread: Option<JoinHandle<Produced>>,
}

impl Source {
    pub(super) fn is_done(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    pub(super) fn produced(&mut self) -> Produced {
        self.thread.take().unwrap().join().unwrap()
    }
}

/// Not a wait: the time between two lines.
fn pause(time: Duration) {
    #[expect(clippy::disallowed_methods, reason = "nothing else runs on this thread")]
    std::thread::sleep(time);
}

/// Writes lines into `event-log append`, which ends now and then by itself, and is killed.
pub(super) fn pipe(part: Arc<Mutex<Part>>, state: Arc<PipeState>, pace: Pace) -> Source {
    let thread = std::thread::spawn(move || {
        let mut produced = Produced { name: "pipe".to_owned(), acknowledged: Vec::new() };
        let mut random = StdRng::seed_from_u64(pace.seed ^ 0xa99e);
        for life in 0.. {
            let left = pace.records.saturating_sub(state.sent.load(SeqCst)).max(1);
            let lines = random.random_range(1..=pace.records / 60).min(left);
            let is_last = state.healed.load(SeqCst);
            let is_whole = run_pipe(&part, (life, lines), pace.pause);
            if is_whole {
                state.sent.fetch_add(lines, SeqCst);
                produced.acknowledged.push((life, 0, lines - 1));
            }
            // It sends what others left in the spool.
            if is_last && is_whole {
                break;
            }
        }
        produced
    });
    Source { thread: Some(thread) }
}

/// One run; `true` when it says that all lines are durable.
fn run_pipe(part: &Mutex<Part>, (life, lines): (u64, u64), time: Duration) -> bool {
    let mut stdin = {
        let mut part = part.lock().unwrap();
        assert!(!part.is_over(), "the test is over");
        let mut child = part.command().stdin(Stdio::piped()).spawn().unwrap();
        let stdin = child.stdin.take().unwrap();
        part.take_over(child);
        stdin
    };
    let mut number = 0;
    while number < lines {
        let end = (number + 50).min(lines);
        let text: String =
            (number..end).map(|number| payload(&format!("pipe {life} {number}")) + "\n").collect();
        if stdin.write_all(text.as_bytes()).is_err() {
            break;
        }
        pause(time * u32::try_from(end - number).unwrap());
        number = end;
    }
    drop(stdin);
    loop {
        let mut part = part.lock().unwrap();
        if part.pid().is_none() {
            // It was killed.
            return false;
        }
        if let Some(status) = part.ended() {
            assert!(status.success(), "event-log append: {status}\n{}", part.last_words());
            return true;
        }
        drop(part);
        pause(Duration::from_millis(2));
    }
}

/// Writes lines into a log file that is rotated by renaming.
pub(super) fn app(path: PathBuf, pace: Pace) -> Source {
    let thread = std::thread::spawn(move || {
        let mut random = StdRng::seed_from_u64(pace.seed ^ 0xa6e);
        let (mut number, mut rotated) = (0, 0);
        let per_file = (pace.records / 40).max(50);
        while number < pace.records {
            let mut file = open(&path);
            let end = (number + random.random_range(1..=2 * per_file)).min(pace.records);
            while number < end {
                let line = payload(&format!("agent 0 {number}")) + "\n";
                // Not always a whole line at once.
                let (one, other) = line.split_at(random.random_range(0..line.len()));
                file.write_all(one.as_bytes()).unwrap();
                file.write_all(other.as_bytes()).unwrap();
                number += 1;
                if number.is_multiple_of(50) {
                    pause(pace.pause * 50);
                }
            }
            if number < pace.records {
                rotated += 1;
                // The order of files is that of their times, which have steps of some milliseconds.
                pause(Duration::from_millis(10));
                fs::rename(&path, format!("{}.{rotated}", path.display())).unwrap();
            }
        }
        Produced { name: "agent".to_owned(), acknowledged: vec![(0, 0, pace.records - 1)] }
    });
    Source { thread: Some(thread) }
}

fn open(path: &PathBuf) -> File {
    OpenOptions::new().append(true).create(true).open(path).unwrap()
}
