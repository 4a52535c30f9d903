//! Waiting for the lead: whether the bus is there meanwhile, and what the status says of it.

use std::{convert::Infallible, time::Duration};

use event_bus::{Bus, Checkpoint, Producer, Standing};
use tracing::{info, warn};

use crate::{
    error::Result,
    status::{Phase, Status},
};

/// A stand-by that has not heard of the bus for so long would not take over.
const MAX_SILENCE: Duration = Duration::from_secs(20);

/// How often it is looked.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Becomes the one writer of a name, and says meanwhile how it stands.
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
        never = tell(&standing, status) => match never {},
    }
}

/// What is said of a stand-by when that changes.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Said {
    Ready,
    Away(String),
}

async fn tell(standing: &Standing, status: &Status) -> Infallible {
    let mut is_ready = None;
    loop {
        match news(is_ready, (standing.silence(), standing.trouble())) {
            None => {}
            Some(Said::Ready) => {
                if is_ready == Some(false) {
                    info!("the bus is heard of again; standing by");
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

/// What is new, after what was said last: that we are ready, or not, or nothing.
fn news(
    is_ready: Option<bool>,
    (silence, trouble): (Option<Duration>, Option<String>),
) -> Option<Said> {
    // Before the bus was reached, whoever asks it reports the failure.
    let silence = silence?;
    match (is_ready, silence <= MAX_SILENCE) {
        (None | Some(false), true) => Some(Said::Ready),
        (None | Some(true), false) => {
            let trouble = trouble.unwrap_or_else(|| "it does not answer".to_owned());
            let seconds = MAX_SILENCE.as_secs();
            Some(Said::Away(format!("the bus has not been heard of for {seconds} s: {trouble}")))
        }
        (Some(true), true) | (Some(false), false) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stand_by_is_ready_while_it_hears_of_the_bus() {
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
    fn who_has_not_reached_the_bus_is_no_stand_by() {
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
