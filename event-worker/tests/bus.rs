//! A bus in memory with events on it, and handlers that a test watches.

use std::{
    collections::VecDeque,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use event_bus::{Batch as Records, Bus, MemoryBus, Producer};
use event_worker::{Batch, Config, Error, Handler, Listener, Outcome};
use tokio::{sync::mpsc, task::JoinHandle, time::timeout};
use tokio_util::sync::CancellationToken;

pub(crate) const TOPIC: &str = "dbevents.shop.orders";
pub(crate) const GROUP: &str = "dbevents.listener.test";

/// No test waits longer for what must happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct TestBus {
    pub(crate) bus: MemoryBus,
    producer: Box<dyn Producer>,
    next: u64,
}

impl TestBus {
    pub(crate) async fn new(partitions: u32) -> Self {
        let bus = MemoryBus::new(partitions);
        let (producer, _) = bus.producer("test").await.unwrap();
        Self { bus, producer, next: 0 }
    }

    /// Appends one insert per key; ids count from `e0`.
    pub(crate) async fn append(&mut self, keys: &[&str]) {
        let mut records = Records::default();
        for key in keys {
            let id = self.next;
            self.next += 1;
            records.push_copy(TOPIC, key.as_bytes(), event(id, key, "insert").as_bytes());
        }
        self.append_records(&records).await;
    }

    pub(crate) async fn append_records(&mut self, records: &Records) {
        self.producer.append(records, &[]).await.unwrap();
    }

    /// Starts the listener `test` of this config text.
    pub(crate) fn start(&self, settings: &str, handler: &Scripted) -> RunningListener {
        let text = format!("[listeners.test]\nstart = 'earliest'\nhandler = 'program'\n{settings}");
        let config = Config::parse(Path::new("test.toml"), &text).unwrap();
        let listener = Listener::new(&config, "test", Arc::new(self.bus.clone())).unwrap();
        let (stop, handler) = (CancellationToken::new(), handler.clone());
        let run = listener.run(move |_| Box::new(handler.clone()), stop.clone());
        RunningListener { stop, task: tokio::spawn(run) }
    }

    /// How many records the group has not finished.
    pub(crate) async fn behind(&self) -> u64 {
        let progress = self.bus.progress(GROUP, &Default::default()).await.unwrap();
        progress.iter().map(|at| at.end - at.committed.unwrap_or(0)).sum()
    }

    pub(crate) async fn wait_until_committed(&self) {
        let caught_up = async {
            while self.behind().await > 0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(PATIENCE, caught_up).await.expect("everything is committed in time");
    }
}

pub(crate) fn event(id: u64, key: &str, action: &str) -> String {
    let columns = format!(r#"{{"id":"{key}"}}"#);
    [
        &format!(r#"{{"EvId":"e{id}","Schema":"shop","TableName":"orders","Action":"{action}","#),
        &format!(r#""PK":{columns},"Data":{columns},"Origin":"binlog","Ts":1,"#),
        r#""Source":{"serverId":1,"file":"binlog.000001","pos":4,"row":0}}"#,
    ]
    .concat()
}

/// A listener that runs; stopped by the test.
pub(crate) struct RunningListener {
    pub(crate) stop: CancellationToken,
    pub(crate) task: JoinHandle<Result<(), Error>>,
}

impl RunningListener {
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.end().await.expect("the listener ends cleanly");
    }

    pub(crate) async fn end(self) -> Result<(), Error> {
        timeout(PATIENCE, self.task).await.expect("the listener ends in time").unwrap()
    }
}

/// What a test's handler does with a call.
pub(crate) enum Act {
    Answer(Outcome),
    /// Never answers.
    Hang,
    Panic,
}

/// A handler that tells the test of each call, and then acts as the script says; at its end, done.
#[derive(Clone)]
pub(crate) struct Scripted {
    script: Arc<Mutex<VecDeque<Act>>>,
    calls: mpsc::Sender<(Call, String)>,
}

/// The ids of a call's events, and its attempt.
pub(crate) type Call = (Vec<String>, u32);

pub(crate) struct Calls(mpsc::Receiver<(Call, String)>);

pub(crate) fn scripted(script: impl IntoIterator<Item = Act>) -> (Scripted, Calls) {
    let (calls, seen) = mpsc::channel(100_000);
    let script = Arc::new(Mutex::new(script.into_iter().collect()));
    (Scripted { script, calls }, Calls(seen))
}

impl Calls {
    pub(crate) async fn next(&mut self) -> Call {
        timeout(PATIENCE, self.0.recv()).await.expect("a call comes in time").unwrap().0
    }

    /// The JSON of the next call's first event.
    pub(crate) async fn next_json(&mut self) -> String {
        timeout(PATIENCE, self.0.recv()).await.expect("a call comes in time").unwrap().1
    }

    /// The ids of the next `count` events, over calls.
    pub(crate) async fn ids(&mut self, count: usize) -> Vec<String> {
        let mut ids = Vec::new();
        while ids.len() < count {
            ids.extend(self.next().await.0);
        }
        ids
    }

    pub(crate) fn is_quiet(&mut self) -> bool {
        self.try_next().is_none()
    }

    pub(crate) fn try_next(&mut self) -> Option<Call> {
        self.0.try_recv().ok().map(|(call, _)| call)
    }
}

#[async_trait]
impl Handler for Scripted {
    async fn handle(&mut self, batch: Batch<'_>) -> Outcome {
        let ids = batch.events.iter().map(|event| event.ev_id().to_owned()).collect();
        let json = batch.events[0].json().to_owned();
        self.calls.send(((ids, batch.attempt), json)).await.unwrap();
        let act = self.script.lock().unwrap().pop_front();
        match act {
            Some(Act::Answer(outcome)) => outcome,
            Some(Act::Hang) => std::future::pending().await,
            Some(Act::Panic) => panic!("a bug in the user's handler"),
            None => Outcome::Done,
        }
    }
}
