//! Reads the tasks that `dts` keeps in its checkpoints.

use std::time::Duration;

use event_bus::{Bus, Checkpoint};
use full_sync::{TASK_PREFIX, Task};
use tokio::time::timeout;
use tracing::debug;

use crate::error::Error;

/// How long the bus may take to answer.
const ANSWER_DEADLINE: Duration = Duration::from_secs(10);

/// All tasks of every `dts` of the bus.
pub(super) async fn all(bus: &dyn Bus) -> event_bus::Result<Vec<Task>> {
    let mut tasks = Vec::new();
    for producer in bus.producers().await? {
        let checkpoint = bus.checkpoint(&producer).await?;
        let of_tasks = checkpoint.range(TASK_PREFIX.to_owned()..);
        let of_tasks = of_tasks.take_while(|(key, _)| key.starts_with(TASK_PREFIX));
        tasks.extend(of_tasks.filter_map(|(key, bytes)| read(key, bytes)));
    }
    Ok(tasks)
}

/// One task of a checkpoint.
pub(super) fn one(checkpoint: &Checkpoint, id: &str) -> Option<Task> {
    let key = format!("{TASK_PREFIX}{id}");
    read(&key, checkpoint.get(&key)?)
}

fn read(key: &str, bytes: &[u8]) -> Option<Task> {
    let task = Task::from_bytes(bytes);
    task.inspect_err(|error| debug!(key, %error, "a task that we do not understand")).ok()
}

/// The answer of the bus; a bus that takes too long counts as away.
pub(super) async fn within_deadline<T>(
    asked: impl Future<Output = event_bus::Result<T>>,
) -> Result<T, Error> {
    match timeout(ANSWER_DEADLINE, asked).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(Error::SlowBus(ANSWER_DEADLINE)),
    }
}
