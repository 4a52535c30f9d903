//! A wish of a human for parked events: put into the control table, and then the bus is watched
//! until it shows that the wish was carried out.

use std::{collections::BTreeMap, time::Duration};

use event_bus::Bus;
use rand::RngExt as _;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

use super::view::{ParkedQueue, queues};
use crate::{
    error::Error,
    listener::parking::command::{self, ParkedCommand, ParkedWish},
};

/// How long the member that has the events may take.
const PATIENCE: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// What became of a wish for one queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CallOutcome {
    pub(crate) queue: String,
    /// `done`: nothing of what was asked for waits any more. `moved`: events are done, or the first
    /// one is tried again by itself. `failed`: the call failed again. `unanswered`: nothing has
    /// changed yet. `absent`: nothing like that waited.
    pub(crate) outcome: String,
    /// How the call failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
}

/// Carries out wishes for queues of a listener; gives what became of each.
///
/// # Errors
///
/// When the bus is away, or an entry cannot be read.
pub(crate) async fn carry_out(
    bus: &dyn Bus,
    (listener, table): (&str, &str),
    wishes: Vec<ParkedCommand>,
) -> Result<Vec<CallOutcome>, Error> {
    let before = read(bus, (listener, table)).await?;
    let call = format!("{:016x}", rand::rng().random::<u64>());
    let (key, value) = command::entry(listener, &call, &wishes);
    bus.put_control(&[(key.clone(), value)]).await?;
    let watched = watch(bus, (listener, table), (&wishes, &before)).await;
    // What is left behind is small, and is not carried out again.
    let _ = bus.put_control(&[(key, None)]).await;
    watched
}

async fn watch(
    bus: &dyn Bus,
    table: (&str, &str),
    (wishes, before): (&[ParkedCommand], &BTreeMap<String, ParkedQueue>),
) -> Result<Vec<CallOutcome>, Error> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        sleep(LOOK_EVERY).await;
        let now = read(bus, table).await?;
        let outcomes = wishes.iter().map(|wish| outcome(wish, before, &now));
        let outcomes: Vec<CallOutcome> = outcomes.collect();
        let is_over = outcomes.iter().all(|outcome| outcome.outcome != "unanswered");
        if is_over || Instant::now() > deadline {
            return Ok(outcomes);
        }
    }
}

/// What the bus shows of a wish.
fn outcome(
    ParkedCommand { queue, wish }: &ParkedCommand,
    before: &BTreeMap<String, ParkedQueue>,
    now: &BTreeMap<String, ParkedQueue>,
) -> CallOutcome {
    let (before, now) = (before.get(queue), now.get(queue));
    let told = |outcome: &str, error: Option<String>| CallOutcome {
        queue: queue.clone(),
        outcome: outcome.to_owned(),
        error,
    };
    let Some(before) = before else { return told("absent", None) };
    let holds = |queue: &ParkedQueue, keys: &Vec<String>| {
        queue.list.iter().any(|event| keys.contains(&event.entry))
    };
    match wish {
        ParkedWish::Drop(keys) if !holds(before, keys) => return told("absent", None),
        _ => {}
    }
    let Some(now) = now else { return told("done", None) };
    let is_left = |keys: &Vec<String>| holds(now, keys);
    match wish {
        ParkedWish::Drop(keys) if !is_left(keys) => told("done", None),
        ParkedWish::Drop(_) => told("unanswered", None),
        _ if now.first_ev_id != before.first_ev_id => told("moved", None),
        ParkedWish::Replay if now.state == "retrying" => told("moved", None),
        ParkedWish::Retry if now.attempts != before.attempts => {
            told("failed", Some(now.said.clone().unwrap_or_else(|| now.error.clone())))
        }
        _ => told("unanswered", None),
    }
}

async fn read(
    bus: &dyn Bus,
    (listener, table): (&str, &str),
) -> Result<BTreeMap<String, ParkedQueue>, Error> {
    let kept = bus.kept(table).await?;
    let queues = queues(&kept, true).map_err(|problem| {
        let listener = listener.to_owned();
        Error::ParkedUnreadable { listener, problem }
    })?;
    Ok(queues.into_iter().map(|queue| (queue.queue.clone(), queue)).collect())
}
