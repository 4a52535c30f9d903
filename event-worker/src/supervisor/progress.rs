//! Asks the bus how far each listener is, also while its process is down.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use event_bus::{Progress, TopicFilter};
use tokio::time::{MissedTickBehavior, timeout};
use tokio_util::sync::CancellationToken;

use super::{Supervisor, process_health::Unit};

const ASK_EVERY: Duration = Duration::from_secs(1);

/// How long the bus may take to answer.
const ANSWER_DEADLINE: Duration = Duration::from_secs(10);

/// Asks for all listeners, again and again, until `stop`.
pub(super) async fn watch(supervisor: Arc<Supervisor>, stop: CancellationToken) {
    let mut ask = tokio::time::interval(ASK_EVERY);
    ask.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ask.tick() => {}
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = look(&supervisor) => {}
        }
        supervisor.fleet.units().iter().for_each(|unit| unit.say_why());
    }
}

/// Asks once for all listeners, and tells them the state of the topics.
async fn look(supervisor: &Supervisor) {
    let units = supervisor.fleet.units();
    let moves: Vec<u64> = units.iter().map(|unit| unit.view().lag.moves()).collect();
    let groups: Vec<(String, TopicFilter)> = units
        .iter()
        .map(|unit| &unit.subscription)
        .map(|s| (s.group.clone(), s.topics.clone()))
        .collect();
    let Ok(survey) = timeout(ANSWER_DEADLINE, supervisor.bus.survey(&groups)).await else {
        let late = format!("the bus did not answer within {ANSWER_DEADLINE:?}");
        units.iter().zip(moves).for_each(|unit| learn(unit, Err(late.clone())));
        return;
    };
    for ((unit, moves), progress) in units.iter().zip(moves).zip(survey.groups) {
        learn((unit, moves), progress.map_err(|error| error.to_string()));
        if let Some(topics) = survey.topics {
            unit.tell_topics(topics);
        }
    }
}

/// Takes an answer, unless the listener was set to another place since the question.
fn learn((unit, moves): (&Arc<Unit>, u64), answer: Result<Vec<Progress>, String>) {
    unit.update_lag(|lag, report| match answer {
        _ if lag.moves() != moves => {}
        Ok(partitions) => lag.take(partitions, report, Instant::now()),
        Err(error) => {
            lag.records = None;
            lag.bus_error = Some(error);
        }
    });
}
