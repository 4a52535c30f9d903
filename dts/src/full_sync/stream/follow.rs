//! Follows full syncs whose rows are all in the bus: each is done when its listener has finished
//! the rows.

use std::sync::Arc;

use full_sync::{Task, TaskState};
use service::clock::now_ms;
use tokio::{sync::mpsc, task::JoinHandle};
use tracing::info;

use super::{ControlNews, FullSyncs};
use crate::full_sync::feed::{context::FeedContext, pace::until_handled};

/// Waits for a listener until this is dropped.
pub(super) struct Follow(JoinHandle<()>);

impl Drop for Follow {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl FullSyncs {
    /// The last rows of a task are in the current batch: when the batch is durable, the task's
    /// listener is followed.
    pub(super) fn note_sent(&mut self, id: &str) {
        self.sent.push(id.to_owned());
        self.follows.insert(id.to_owned(), None);
    }

    /// Follows the tasks that were sent before we began, and stops following all that are not sent.
    pub(super) fn follow_sent(&mut self) {
        let is_sent =
            |id: &str| self.tasks.get(id).is_some_and(|task| task.state == TaskState::Sent);
        self.follows.retain(|id, _| is_sent(id));
        let sent = self.tasks.iter().filter(|task| task.state == TaskState::Sent);
        let new = sent.map(|task| &task.id).filter(|id| !self.follows.contains_key(*id));
        let new: Vec<String> = new.cloned().collect();
        for id in new {
            self.follows.insert(id.clone(), None);
            self.follow(&id);
        }
    }

    /// Rows of a task are durable: if these were the last ones, follows its listener.
    pub(super) fn follow(&mut self, id: &str) {
        let Some(task) = self.tasks.get(id).filter(|task| task.state == TaskState::Sent) else {
            return;
        };
        let follow = self.follows.get_mut(id).filter(|follow| follow.is_none());
        let Some(follow) = follow else { return };
        let (common, control_sender) = (Arc::clone(&self.common), self.control_sender.clone());
        *follow =
            Some(Follow(tokio::spawn(send_when_handled(common, task.clone(), control_sender))));
    }

    pub(super) fn handled(&mut self, id: &str) {
        if self.tasks.get(id).is_some_and(|task| task.state == TaskState::Sent) {
            info!(task = id, "full sync done");
            self.tasks.change(id, now_ms(), |task| task.state = TaskState::Done);
        }
    }
}

async fn send_when_handled(
    common: Arc<FeedContext>,
    task: Task,
    control_sender: mpsc::Sender<ControlNews>,
) {
    until_handled(&common.bus, &common.topics, &task).await;
    let _ = control_sender.send(ControlNews::Handled(task.id)).await;
}
