//! Members of a group on a bus in memory, with handlers that are real processes.

use std::{
    fs,
    path::Path,
    sync::{Mutex, Weak},
    time::Duration,
};

use event_bus::{Batch, Bus, Committing, MemoryBus, Partition, Producer};
use full_sync::Listening;
use tokio::{
    task::JoinHandle,
    time::{Instant, timeout},
};

use self::committer::{Commit, Committer};
use super::*;

mod books;
mod commits;
mod committer;
mod failing;
mod parking;
mod replays;
mod standby;

const PARTITIONS: u32 = 6;
const TOPIC: &str = "dbevents.s.t";
const GROUP: &str = "dbevents.listener.test";

/// A bus with nothing on it, for handlers that need none.
fn no_bus() -> Arc<dyn Bus> {
    Arc::new(MemoryBus::new(1))
}

/// Calls for revoked partitions have ten seconds; this is more.
const PATIENCE: Duration = Duration::from_secs(40);

struct Site {
    bus: MemoryBus,
    producer: Box<dyn Producer>,
    directory: tempfile::TempDir,
}

struct Member {
    stop: CancellationToken,
    task: JoinHandle<Result<(), Error>>,
}

impl Member {
    fn start<F>(run: impl FnOnce(ListenerControl) -> F) -> Self
    where
        F: Future<Output = Result<(), Error>> + Send + 'static,
    {
        let stop = CancellationToken::new();
        let task = tokio::spawn(run(ListenerControl::until(stop.clone())));
        Self { stop, task }
    }

    async fn stop(self) {
        self.stop.cancel();
        timeout(PATIENCE, self.task).await.unwrap().unwrap().unwrap();
    }
}

impl Site {
    async fn new() -> Self {
        Self::with(PARTITIONS).await
    }

    async fn with(partitions: u32) -> Self {
        let bus = MemoryBus::new(partitions);
        let (producer, _) = bus.producer("p").await.unwrap();
        Self { bus, producer, directory: tempfile::tempdir().unwrap() }
    }

    /// Appends an event whose id is its key and a number; gives the partition it went to.
    async fn append(&mut self, key: &str, number: usize) -> u32 {
        let before = self.bus.progress(GROUP, &Default::default()).await.unwrap();
        let event = format!(
            r#"{{"EvId":"{key}-{number}","Schema":"s","TableName":"t","Action":"insert","PK":{{"id":1}},"Data":{{"id":1}},"Origin":"binlog","Ts":1,"Source":{{"serverId":1,"file":"b.1","pos":4,"row":0}}}}"#
        );
        let mut batch = Batch::default();
        batch.push_copy(TOPIC, key.as_bytes(), event.as_bytes());
        self.producer.append(&batch, &[]).await.unwrap();
        let after = self.bus.progress(GROUP, &Default::default()).await.unwrap();
        let grown = after.iter().find(|at| {
            let end = before.iter().find(|old| old.partition == at.partition).map(|old| old.end);
            at.end > end.unwrap_or(0)
        });
        grown.unwrap().partition.number
    }

    /// A key of each partition.
    async fn keys(&mut self) -> Vec<String> {
        let mut keys = vec![String::new(); PARTITIONS as usize];
        for number in 0.. {
            let key = format!("k{number}");
            let partition = self.append(&key, 0).await;
            keys[partition as usize] = key;
            if keys.iter().all(|key| !key.is_empty()) {
                break;
            }
        }
        keys
    }

    /// A member that handles one event a call; `act` is shell, with the batch in `$line`.
    fn config(&self, name: &str, act: &str) -> Config {
        let script = format!(
            "cd {}; while IFS= read -r line; do {act}; printf '%s\\n' \"$line\" >> {name}; \
             echo true; done",
            self.directory.path().display()
        );
        let text = format!(
            "[listeners.test]\nstart = 'earliest'\nworkers = 64\nbatchSize = 1\n\
             retry = {{ min = '5ms', max = '20ms' }}\nhandler = {{ exec = ['sh', '-c', '''{script}'''] }}\n"
        );
        Config::parse(Path::new("test.toml"), &text).unwrap()
    }

    fn start(&self, name: &str, act: &str) -> Member {
        self.start_with(&self.config(name, act))
    }

    fn start_with(&self, config: &Config) -> Member {
        let listener = Listener::new(config, "test", Arc::new(self.bus.clone())).unwrap();
        Member::start(|control| listener.run_configured(control))
    }

    /// Starts a member that commits in a way of its own.
    async fn start_committing<C: Commit>(&self, name: &str, commit: C) -> Member {
        let config = self.config(name, ":");
        let (listener, bus) = (config.listener("test").unwrap().clone(), config.bus);
        let consumer = self.bus.consumer(listener.subscription("test", &bus)).await.unwrap();
        let consumer = Box::new(Committer { consumer, commit });
        Member::start(|control| async move {
            let make_handler = handler::maker(("test", &listener), &BTreeSet::new(), &no_bus());
            let make_handler = make_handler.unwrap().unwrap().make;
            let status = Arc::default();
            let (replays, _runner) = link();
            let with = (&status, &control);
            Journey::new(("test", &listener), (consumer, replays), &*make_handler, with)
                .run(control)
                .await
        })
    }

    /// Starts a member whose commits end when `open` is true; gives the one that was begun last.
    async fn start_slow(
        &self,
        name: &str,
        open: watch::Receiver<bool>,
    ) -> (Member, Arc<Mutex<Weak<()>>>) {
        let last = Arc::<Mutex<Weak<()>>>::default();
        let begun = Arc::clone(&last);
        let commit = move |consumer: &mut dyn Consumer, offsets: &[(Partition, u64)]| {
            let (commit, mut open) = (consumer.commit(offsets), open.clone());
            // Lives as long as the commit.
            let life = Arc::new(());
            *begun.lock().unwrap() = Arc::downgrade(&life);
            Box::pin(async move {
                let _life = life;
                open.wait_for(|open| *open).await.unwrap();
                commit.await
            }) as Committing
        };
        (self.start_committing(name, commit).await, last)
    }

    /// The ids that a member has handled, in order.
    fn handled(&self, name: &str) -> Vec<String> {
        let text = fs::read_to_string(self.directory.path().join(name)).unwrap_or_default();
        let id = |line: &str| line.split('"').nth(3).unwrap_or_default().to_owned();
        text.lines().map(id).collect()
    }

    fn read(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.directory.path().join(name)).ok()
    }

    async fn behind(&self) -> u64 {
        let progress = self.bus.progress(GROUP, &Default::default()).await.unwrap();
        progress.iter().map(|at| at.end - at.committed.unwrap_or(0)).sum()
    }
}

async fn eventually(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let wait = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("in time: {what}"));
}

/// Of two members the first has the partitions of even numbers, the second the others.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_hangs_is_dead_before_another_member_gets_its_event() {
    let mut site = Site::new().await;
    let keys = site.keys().await;
    let [goes, stays] = [&keys[1], &keys[2]];
    let hang = format!(
        r#"case "$line" in *{goes}-7*) echo $$ > begun; mv begun hung; sleep 1000 & wait;; *{stays}-[1-9]*) sleep 0.2;; esac"#
    );
    let one = site.start("one", &hang);
    eventually("all is committed", async || site.behind().await == 0).await;
    let first = site.handled("one");
    site.append(goes, 6).await;
    site.append(goes, 7).await;
    eventually("a call hangs", async || site.read("hung").is_some()).await;
    // These wait in the lane of a partition that stays, and must not wait for the one that goes.
    for number in 1..=9 {
        site.append(stays, number).await;
    }
    let last_of_lane = format!("{stays}-2");
    eventually("the lane is taken in", async || site.handled("one").contains(&last_of_lane)).await;

    let probe = format!(
        r#"case "$line" in *{goes}-7*) if kill -0 $(cat hung) 2>/dev/null; then echo alive; else echo dead; fi > probed; cp one seen; mv probed found;; esac"#
    );
    let began = Instant::now();
    let two = site.start("two", &probe);
    eventually("the other member has the event", async || site.read("found").is_some()).await;
    let took = began.elapsed();
    println!("handed over after {took:?}");
    assert!(took >= Duration::from_secs(9), "calls may run on for ten seconds: {took:?}");
    assert_eq!(site.read("found").unwrap().trim(), "dead");
    let done_meanwhile = site.handled("seen");
    assert!(done_meanwhile.contains(&format!("{stays}-9")), "{done_meanwhile:?}");

    eventually("all is committed", async || site.behind().await == 0).await;
    two.stop().await;
    one.stop().await;
    let (one, two) = (site.handled("one"), site.handled("two"));
    assert_eq!(two, [format!("{goes}-7")], "what was committed does not come again");
    let after: Vec<String> = one[first.len()..].to_vec();
    let of_lane: Vec<_> = after.iter().filter(|id| id.starts_with(stays.as_str())).collect();
    assert_eq!(of_lane.len(), 9, "{after:?}");
    assert_eq!(after.iter().filter(|id| id.starts_with(goes.as_str())).count(), 1, "{after:?}");
}

/// Whoever joins while calls run, they end in their own time and are not repeated.
#[tokio::test(flavor = "multi_thread")]
async fn calls_that_end_in_time_are_committed_and_not_handled_again() {
    let mut site = Site::new().await;
    let keys = site.keys().await;
    let one = site.start("one", "sleep 0.5");
    eventually("all is committed", async || site.behind().await == 0).await;
    let before = site.handled("one").len();
    for key in &keys {
        site.append(key, 1).await;
    }
    let two = site.start("two", "sleep 0.1");
    eventually("all is committed", async || site.behind().await == 0).await;
    for key in &keys {
        site.append(key, 2).await;
    }
    eventually("all is committed", async || site.behind().await == 0).await;
    one.stop().await;
    two.stop().await;
    let mut all = [&site.handled("one")[before..], &site.handled("two")].concat();
    all.sort();
    let mut expected: Vec<String> =
        keys.iter().flat_map(|key| [format!("{key}-1"), format!("{key}-2")]).collect();
    expected.sort();
    assert_eq!(all, expected, "each once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_before_a_bad_record_still_hears_that_others_join() {
    let mut site = Site::new().await;
    let keys = site.keys().await;
    let one = site.start("one", r#"case "$line" in *-8*) echo false; continue;; esac"#);
    eventually("all is committed", async || site.behind().await == 0).await;
    site.append(&keys[0], 8).await;
    site.append(&keys[1], 9).await;
    eventually("the rest is done", async || site.behind().await == 1).await;
    let mut rubbish = Batch::default();
    rubbish.push_copy(TOPIC, keys[0].as_bytes(), b"{\"rubbish\":");
    site.producer.append(&rubbish, &[]).await.unwrap();
    // The bad record comes before this in the same poll or an earlier one: no more is taken in.
    site.append(&keys[3], 10).await;
    let two = site.start("two", ":");
    let wanted = format!("{}-10", keys[3]);
    eventually("the other gets its part", async || site.handled("two").contains(&wanted)).await;
    assert!(!one.task.is_finished());
    assert!(!site.handled("one").contains(&wanted));
    two.stop().await;
    one.task.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_commit_does_not_hold_changes_up() {
    let mut site = Site::new().await;
    let (open_commits, open) = watch::channel(false);
    let (one, last) = site.start_slow("one", open).await;
    site.append("k", 0).await;
    let under_way = || last.lock().unwrap().clone();
    eventually("a commit is begun", async || under_way().strong_count() > 0).await;
    let commit = under_way();
    site.append("k", 1).await;
    let is_handled = async || site.handled("one").contains(&"k-1".to_owned());
    eventually("what comes is handled", is_handled).await;
    assert!(commit.strong_count() > 0, "it is still waited for");
    open_commits.send(true).unwrap();
    eventually("all is committed", async || site.behind().await == 0).await;
    one.stop().await;
    assert_eq!(site.handled("one"), ["k-0", "k-1"]);
}

/// To what the listener is said to listen.
async fn listening(site: &Site) -> Vec<(String, String)> {
    let kept = site.bus.control().await.unwrap().changes().await.unwrap();
    let told = kept.into_iter().find(|(key, _)| *key == Listening::key("test"));
    let told = told.and_then(|(_, value)| Listening::from_bytes(&value?).ok());
    let told = told.map(|told| told.tables).unwrap_or_default();
    told.into_iter().map(|heard| (heard.schema, heard.table)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_member_that_has_the_partitions_says_what_the_listener_gets() {
    let mut site = Site::with(1).await;
    site.append("k", 0).await;
    let tables = |name: &str, tables: &[&str]| {
        let mut config = site.config(name, ":");
        let globs = tables.iter().map(|table| ("s".to_owned(), (*table).to_owned()));
        config.listeners.get_mut("test").unwrap().subscribe = globs.collect();
        config
    };
    let globs = |config: &Config| config.listener("test").unwrap().subscribe.clone();
    let (before, after) = (tables("one", &["t"]), tables("two", &["t", "u"]));
    let one = site.start_with(&before);
    eventually("it says so", async || listening(&site).await == globs(&before)).await;
    let two = site.start_with(&after);
    site.append("k", 1).await;
    let is_handled = async || site.handled("one").contains(&"k-1".to_owned());
    eventually("the first goes on", is_handled).await;
    assert_eq!(listening(&site).await, globs(&before), "the other stands by");
    one.stop().await;
    eventually("the other takes over", async || listening(&site).await == globs(&after)).await;
    two.stop().await;
}
