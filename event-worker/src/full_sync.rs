//! Full syncs as `event-worker` sees them. It writes its requests into the bus's control table, and
//! reads the state of the tasks in the checkpoint of `dts`.

mod call;
mod command;
mod form;
mod refusal;
mod sweep;
mod target;
mod tasks;
mod view;
mod watch;

use std::{sync::Arc, time::Duration};

use event_bus::Bus;
use full_sync::{Request, Task, WISH_PREFIX, Wish, Wished};
use service::clock::now_ms;
use tokio::{sync::oneshot, time::timeout};
use tokio_util::task::TaskTracker;

use self::tasks::within_deadline;
pub use self::{
    command::{FullSyncPart, list_full_syncs, start_full_sync, wish_full_sync},
    watch::watch_full_syncs,
};
pub(crate) use self::{
    form::{IN_BODY, IN_QUERY, ParameterNames, WantedRows},
    refusal::RefusedCall,
    sweep::sweep,
    target::Target,
    view::{FullSyncList, FullSyncView, Started, word},
};
use crate::error::Error;

/// A call is answered within this, whatever `dts` and the bus do.
const CALL_DEADLINE: Duration = Duration::from_secs(5);

/// What a user wants a full sync to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FullSyncWish {
    /// To pause.
    Pause,
    /// To go on after a pause.
    Resume,
    /// To end without sending the rest.
    Cancel,
}

impl FullSyncWish {
    /// The last part of its path in the API.
    fn verb(self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Cancel => "cancel",
        }
    }

    fn wished(self) -> Wished {
        match self {
            Self::Pause => Wished::Pause,
            Self::Resume => Wished::Run,
            Self::Cancel => Wished::Cancel,
        }
    }
}

/// Starts, shows and changes the full syncs of a bus.
pub(crate) struct FullSyncs {
    bus: Arc<dyn Bus>,
    /// Calls that wait for `dts`. Each ends by itself, also when its caller is gone.
    calls: TaskTracker,
}

impl FullSyncs {
    pub(crate) fn new(bus: Arc<dyn Bus>) -> Self {
        Self { bus, calls: TaskTracker::new() }
    }

    /// Asks `dts` to send rows, and waits for its answer.
    ///
    /// # Errors
    ///
    /// When nothing is sent.
    pub(crate) async fn start(
        &self,
        target: Target,
        wanted: WantedRows,
    ) -> Result<Started, RefusedCall> {
        if let Some(refused) = refusal::before_asking(&target, wanted.tables.as_deref()) {
            return Err(refused);
        }
        let bus = Arc::clone(&self.bus);
        let request = request(target, wanted);
        let (answer_to, answer) = oneshot::channel();
        // Not dropped when the caller is gone: then the request has to be removed from the bus.
        self.calls.spawn(async move { call::carry_out(&*bus, request, answer_to).await });
        match timeout(CALL_DEADLINE, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(RefusedCall::Broken("the call ended without an answer".to_owned())),
            Err(_) => Err(RefusedCall::Unknown),
        }
    }

    /// All that `dts` keeps, the newest first.
    ///
    /// # Errors
    ///
    /// When the bus does not answer.
    pub(crate) async fn tasks(&self) -> Result<Vec<Task>, Error> {
        let mut tasks = within_deadline(tasks::all(&*self.bus)).await?;
        tasks.sort_by(|one, other| (other.created_ms, &one.id).cmp(&(one.created_ms, &other.id)));
        Ok(tasks)
    }

    /// One of them.
    ///
    /// # Errors
    ///
    /// When there is none of this id, or the bus does not answer.
    pub(crate) async fn task(&self, id: &str) -> Result<Task, RefusedCall> {
        let found = self.tasks().await?.into_iter().find(|task| task.id == id);
        found.ok_or_else(|| RefusedCall::NoSuchTask(id.to_owned()))
    }

    /// Writes down a wish for a full sync; durable when this returns. `dts` follows within moments.
    ///
    /// # Errors
    ///
    /// When there is none of this id, when it has ended, or all of it is sent and it is not to be
    /// cancelled, or when the bus does not answer.
    pub(crate) async fn wish(&self, id: &str, wish: FullSyncWish) -> Result<Task, RefusedCall> {
        let task = self.task(id).await?;
        let is_too_late = wish != FullSyncWish::Cancel && !task.state.is_to_send();
        if task.state.is_final() || is_too_late {
            return Err(RefusedCall::Ended(Box::new(task)));
        }
        let kept = Wish { state: wish.wished(), at_ms: now_ms() };
        let entry = (format!("{WISH_PREFIX}{id}"), Some(kept.to_bytes().into()));
        within_deadline(self.bus.put_control(&[entry])).await?;
        Ok(task)
    }

    /// Waits for the calls that still run.
    pub(crate) async fn end(&self) {
        self.calls.close();
        self.calls.wait().await;
    }
}

fn request(target: Target, wanted: WantedRows) -> Request {
    let now = now_ms();
    Request {
        subscribe: target.subscribe,
        tables: wanted.tables,
        key_column: wanted.key_column,
        from: wanted.from,
        to: wanted.to,
        ..Request::new(&call::new_id(now), (&target.id, &target.group), now)
    }
}

#[cfg(test)]
mod tests {
    use tokio::{net::TcpListener, time::Instant};

    use super::*;

    #[tokio::test]
    async fn a_call_is_answered_in_time_also_where_the_bus_is_silent() {
        // Connections are taken, and nothing is ever said.
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let toml = format!("[bus]\naddress = '{}'\n", silent.local_addr().unwrap());
        let text = format!("{toml}[listeners.l]\nhandler = 'print'\n");
        let config = crate::config::Config::parse(std::path::Path::new("l.toml"), &text).unwrap();
        let full_syncs = FullSyncs::new(event_bus::open(&config.bus).unwrap());
        let target = Target {
            id: "l".into(),
            group: "g".into(),
            subscribe: Vec::new(),
            takes_full_syncs: true,
        };
        let parameters = [("listener".to_owned(), "l".to_owned())];
        let wanted = WantedRows::read(&parameters, &IN_BODY).unwrap();
        let began = Instant::now();
        let refused = full_syncs.start(target, wanted).await.unwrap_err();
        // Far from the nine seconds that two waits would take, on a machine that is busy.
        assert!(began.elapsed() < CALL_DEADLINE + CALL_DEADLINE / 2, "{:?}", began.elapsed());
        assert!(matches!(refused, RefusedCall::Unknown | RefusedCall::Failed(_)), "{refused:?}");
    }
}
