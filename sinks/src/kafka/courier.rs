//! What lanes want written goes to one thread, which writes together what waits at one time.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use handler::Failure;
use tokio::{
    runtime::Handle,
    sync::{mpsc, oneshot},
};

use super::{cluster::TargetCluster, record::Outgoing, session::Trouble, worker::Worker};
use crate::{change::Unusable, figures::Counts};

/// So many calls wait at the most. A listener has fewer lanes.
const MAX_WAITING: usize = 512;

/// A transaction takes no more changes when it has so many bytes.
const MAX_TOGETHER_BYTES: usize = 32 << 20;

/// So long a dropped call waits for what is on its way.
const REST_PATIENCE: Duration = Duration::from_secs(10);

/// What lanes want of the thread.
enum Errand {
    Bring(Job),
    /// To hear when what was asked for before is done.
    Rest(oneshot::Sender<()>),
}

/// The changes of a call.
struct Job {
    changes: Vec<Outgoing>,
    answer: oneshot::Sender<Result<Vec<Unusable>, Failure>>,
}

/// Brings changes to the brokers, for all lanes of a listener.
pub(super) struct Courier {
    cluster: TargetCluster,
    counts: Arc<Counts>,
    errands: Mutex<Option<mpsc::Sender<Errand>>>,
}

impl Courier {
    /// The thread begins with the first changes.
    pub(super) fn new(cluster: TargetCluster, counts: Arc<Counts>) -> Self {
        Self { cluster, counts, errands: Mutex::default() }
    }

    /// Writes changes, but not those that are written already; gives those that cannot be.
    ///
    /// # Errors
    ///
    /// Why nobody knows whether they are written.
    pub(super) async fn bring(&self, changes: Vec<Outgoing>) -> Result<Vec<Unusable>, Failure> {
        if changes.is_empty() {
            return Ok(Vec::new());
        }
        let (answer, answered) = oneshot::channel();
        let errand = Errand::Bring(Job { changes, answer });
        let gone = || Failure::unclear("the thread that writes has ended: see the log");
        if self.thread()?.send(errand).await.is_err() {
            // The next call begins another one.
            *self.errands.lock().unwrap_or_else(PoisonError::into_inner) = None;
            return Err(gone());
        }
        answered.await.map_err(|_| gone())?
    }

    /// Waits until what is on its way is written, or is given up.
    pub(super) async fn rest(&self) {
        let errands = self.errands.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(errands) = errands else { return };
        let rested = async {
            let (answer, answered) = oneshot::channel();
            if errands.send(Errand::Rest(answer)).await.is_ok() {
                let _ = answered.await;
            }
        };
        let _ = tokio::time::timeout(REST_PATIENCE, rested).await;
    }

    fn thread(&self) -> Result<mpsc::Sender<Errand>, Failure> {
        let mut errands = self.errands.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(errands) = &*errands {
            return Ok(errands.clone());
        }
        let (sender, receiver) = mpsc::channel(MAX_WAITING);
        let worker = Worker::new(&self.cluster, &self.counts, Handle::current());
        let thread = std::thread::Builder::new().name("kafka-sink".to_owned());
        let begun = thread.spawn(move || run(worker, receiver));
        begun.map_err(|error| Failure::unclear(format!("cannot begin a thread: {error}")))?;
        Ok(errands.insert(sender).clone())
    }
}

/// Does errands until nobody is left who could give one.
fn run(mut worker: Worker, mut errands: mpsc::Receiver<Errand>) {
    while let Some(first) = errands.blocking_recv() {
        let (mut jobs, mut resting, mut bytes) = (Vec::new(), Vec::new(), 0);
        let mut next = Some(first);
        while let Some(errand) = next {
            match errand {
                Errand::Bring(job) => {
                    bytes += job.changes.iter().map(Outgoing::bytes).sum::<usize>();
                    jobs.push(job);
                }
                Errand::Rest(answer) => resting.push(answer),
            }
            next = match bytes < MAX_TOGETHER_BYTES {
                true => errands.try_recv().ok(),
                false => None,
            };
        }
        settle(&mut worker, jobs);
        for answer in resting {
            // Who asked may be gone.
            let _ = answer.send(());
        }
    }
}

/// Writes what some calls want, and answers them.
fn settle(worker: &mut Worker, mut jobs: Vec<Job>) {
    jobs.retain(|job| !job.answer.is_closed());
    let changes: Vec<_> = jobs.iter().flat_map(|job| &job.changes).enumerate().collect();
    if changes.is_empty() {
        return;
    }
    let (done, refused) = match worker.bring(&changes) {
        Ok(refused) => (Ok(()), refused),
        // What holds up one call is nothing to the others.
        Err(Trouble::Held(_)) if jobs.len() > 1 => {
            return jobs.into_iter().for_each(|job| settle(worker, vec![job]));
        }
        Err(trouble) => (Err(Failure::from(trouble)), BTreeMap::new()),
    };
    let (mut refused, mut first) = (refused.into_iter().peekable(), 0);
    for Job { changes, answer } in jobs {
        first += changes.len();
        let of_job = std::iter::from_fn(|| refused.next_if(|(index, _)| *index < first));
        let of_job: Vec<Unusable> = of_job.map(|(_, why)| why).collect();
        // A call that was dropped gets its events again.
        let _ = answer.send(done.clone().map(|()| of_job));
    }
}
