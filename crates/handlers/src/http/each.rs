//! One request for each event, in order.
//!
//! A server may refuse one event: that event is named, the later changes of its key wait, and the
//! others go on. When the server is not reached, or takes nothing now, the call ends there.

use std::collections::HashSet;

use handler::{Batch, Event, Failure, Outcome};
use reqwest::StatusCode;
use sinks::RequestForm;

use super::{
    About, HttpHandler,
    refusal::{beginning, no_answer, refusal},
};
use crate::choice::key_of;

/// Why an event is not done.
struct Failed {
    failure: Failure,
    /// All other events would fail now, too.
    is_of_all: bool,
}

pub(super) async fn call(handler: &HttpHandler, form: &RequestForm, batch: Batch<'_>) -> Outcome {
    let mut failures = Failures::default();
    for (index, event) in batch.events.iter().enumerate() {
        if failures.hold(event) {
            continue;
        }
        let about = About { events: &[event], attempt: batch.attempt };
        let Err(Failed { failure, is_of_all }) = one(handler, form, about).await else { continue };
        if is_of_all {
            failures.end_with(failure, &batch.events[index..]);
            break;
        }
        failures.add(failure, event);
    }
    failures.outcome(batch.events.len())
}

async fn one(handler: &HttpHandler, form: &RequestForm, about: About<'_>) -> Result<(), Failed> {
    let [event] = about.events else { return Ok(()) };
    let request = form.of_event(event).map_err(|why| Failed {
        failure: Failure::new("no request can be made of the event").saying(why),
        is_of_all: false,
    })?;
    let method = request.method.clone();
    let sent = handler.send(request, about).await;
    let mut response =
        sent.map_err(|error| Failed { failure: no_answer(&error), is_of_all: true })?;
    let status = response.status();
    if status.is_success() || form.is_done(&method, status.as_u16()) {
        // A connection whose answer was read can be used again.
        beginning(&mut response).await;
        return Ok(());
    }
    let mut failure = refusal(response).await;
    failure.is_too_large = false;
    if status == StatusCode::NOT_FOUND && !form.has_one_url() {
        (failure.is_unclear, failure.remedy) = (false, None);
    }
    let is_of_all = failure.is_unclear;
    Err(Failed { failure, is_of_all })
}

/// What failed in a call.
#[derive(Default)]
struct Failures {
    /// What is said of them.
    failure: Option<Failure>,
    ids: Vec<String>,
    /// The keys of which a change failed.
    keys: HashSet<Vec<u8>>,
    /// How many were refused each for itself, by the reason.
    refused: Vec<(String, usize)>,
    is_of_all: bool,
}

impl Failures {
    /// Whether an event waits because an earlier change of its key failed.
    fn hold(&mut self, event: &Event) -> bool {
        let waits = !self.keys.is_empty() && self.keys.contains(&key_of(event));
        if waits {
            self.ids.push(event.ev_id().to_owned());
        }
        waits
    }

    fn add(&mut self, failure: Failure, event: &Event) {
        self.ids.push(event.ev_id().to_owned());
        self.keys.insert(key_of(event));
        match self.refused.iter_mut().find(|(reason, _)| *reason == failure.reason) {
            Some((_, count)) => *count += 1,
            None => self.refused.push((failure.reason.clone(), 1)),
        }
        self.failure.get_or_insert(failure);
    }

    /// The call ends with a failure of all that is left.
    fn end_with(&mut self, failure: Failure, left: &[&Event]) {
        self.ids.extend(left.iter().map(|event| event.ev_id().to_owned()));
        (self.failure, self.is_of_all) = (Some(failure), true);
    }

    fn outcome(self, events: usize) -> Outcome {
        let Some(mut failure) = self.failure else { return Outcome::Done };
        if self.is_of_all {
            let is_any_done = self.ids.len() < events;
            // What was not tried must not count as found to be bad.
            failure.is_unclear |= is_any_done;
            return match is_any_done {
                true => Outcome::Partly { failed: self.ids, failure },
                false => Outcome::Failed(failure),
            };
        }
        match &self.refused[..] {
            [] | [(_, 1)] => {}
            [(_, count)] => {
                failure.reason += &format!(" (and refused {} more events)", count - 1);
            }
            several => failure.reason = told(several),
        }
        Outcome::Partly { failed: self.ids, failure }
    }
}

/// So many distinct reasons are told.
const MAX_REASONS: usize = 5;

/// Each reason with the number of events that were refused for it.
fn told(refused: &[(String, usize)]) -> String {
    let one = |(reason, count): &(String, usize)| {
        let events = if *count == 1 { "event" } else { "events" };
        format!("{reason} ({count} {events})")
    };
    let mut told: Vec<String> = refused.iter().take(MAX_REASONS).map(one).collect();
    let left: usize = refused.iter().skip(MAX_REASONS).map(|(_, count)| count).sum();
    if left > 0 {
        told.push(format!("{left} events for other reasons"));
    }
    told.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_is_told_with_its_count() {
        let mut failures = Failures::default();
        for (id, reason) in [("a", "400"), ("b", "422"), ("c", "400")] {
            let event = Event { json: id.to_owned(), ev_id: id.to_owned(), ..Event::default() };
            failures.add(Failure::new(reason), &event);
        }
        let Outcome::Partly { failed, failure } = failures.outcome(4) else { panic!("not partly") };
        assert_eq!((failed.len(), &*failure.reason), (3, "400 (2 events); 422 (1 event)"));
    }
}
