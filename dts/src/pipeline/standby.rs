//! Waiting for the lead: whether the bus answers meanwhile, and what the status shows.

use std::{convert::Infallible, time::Duration};

use event_bus::{Bus, Checkpoint, Producer, Standing};
use tracing::{info, warn};

use crate::{
    error::Result,
    status::{Phase, Status},
};

/// A stand-by without a word from the bus for this long would not take over.
const MAX_SILENCE: Duration = Duration::from_secs(20);

/// How often we look.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Becomes the one writer of a name; meanwhile the status shows the state of the bus.
pub(super) async fn lead(
    bus: &dyn Bus,
    name: &str,
    status: &Status,
) -> Result<(Box<dyn Producer>, Checkpoint)> {
    status.enter(Phase::Reaching);
    let standing = Standing::default();
    tokio::select! {
        biased;
        led = bus.lead(name, &standing) => Ok(led?),
        never = report(&standing, status) => match never {},
    }
}

/// What the log says of a stand-by when it changes.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Said {
    Ready,
    Away(String),
}

async fn report(standing: &Standing, status: &Status) -> Infallible {
    let mut is_ready = None;
    loop {
        match news(is_ready, (standing.silence(), standing.trouble())) {
            None => {}
            Some(Said::Ready) => {
                if is_ready == Some(false) {
                    info!("the bus answers again; standing by");
                }
                is_ready = Some(true);
                status.enter(Phase::Standby);
            }
            Some(Said::Away(why)) => {
                warn!("{why}; not ready to take over");
                is_ready = Some(false);
                status.away(&why);
            }
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// What is new since the last report: that we are ready, or not, or nothing.
fn news(
    is_ready: Option<bool>,
    (silence, trouble): (Option<Duration>, Option<String>),
) -> Option<Said> {
    // Before the bus was reached, the code that asks it reports the failure.
    let silence = silence?;
    match (is_ready, silence <= MAX_SILENCE) {
        (None | Some(false), true) => Some(Said::Ready),
        (None | Some(true), false) => {
            let trouble = trouble.unwrap_or_else(|| "it does not answer".to_owned());
            let seconds = MAX_SILENCE.as_secs();
            Some(Said::Away(format!("the bus has not answered for {seconds} s: {trouble}")))
        }
        (Some(true), true) | (Some(false), false) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stand_by_is_ready_while_the_bus_answers() {
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        let why = || Some("2/2 brokers are down".to_owned());
        assert_eq!(news(None, (None, why())), None, "not reached yet");
        assert_eq!(news(None, (seconds(0), None)), Some(Said::Ready));
        assert_eq!(news(Some(true), (seconds(19), why())), None);
        let Some(Said::Away(said)) = news(Some(true), (seconds(21), why())) else {
            panic!("it is silent for too long")
        };
        assert!(said.contains("20 s: 2/2 brokers are down"), "{said}");
        assert_eq!(news(Some(false), (seconds(50), why())), None, "it is said once");
        assert_eq!(news(Some(false), (seconds(1), None)), Some(Said::Ready));
    }

    #[test]
    fn without_the_bus_there_is_no_stand_by() {
        let status = Status::new("a");
        assert!(!status.is_ready());
        status.enter(Phase::Standby);
        assert!(status.is_ready());
        status.away("why");
        let said = status.to_json();
        assert!(!status.is_ready());
        assert_eq!((&said["role"], &said["state"]), (&"none".into(), &"reaching".into()));
        assert_eq!(said["lastError"]["message"], "why");
    }
}
