//! `event-worker rehearse`: runs another handler on the live stream of a listener, and compares how
//! it does. Reads outside of any group, so that nothing is left behind, whatever happens.

mod consumer;
mod form;

use std::{path::Path, sync::Arc, time::Duration};

use service::{exit::Exit, say};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use self::consumer::Onlooker;
pub use self::form::RehearsedHandler;
use crate::{
    api::ListenerView,
    client::ApiClient,
    config::{Config, GroupChoice, ListenerConfig},
    error::Error,
    handler::{self, HandlerMaker},
    listener::{counters::Counters, latency::Latency, run_outside, status::Status},
    reset::ResetPlace,
    table,
};

/// How often it is looked whether the rehearsal is over.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// How long the running event-worker may take to say how the listener does.
const ANSWER_DEADLINE: Duration = Duration::from_secs(5);

/// How long the bus may take to answer at the start.
const OPEN_DEADLINE: Duration = Duration::from_secs(30);

/// What is rehearsed, and for how long.
#[derive(Clone, Debug)]
pub struct Rehearsal {
    /// The handler that is tried.
    pub with: RehearsedHandler,
    /// Where it begins.
    pub from: ResetPlace,
    /// It ends after so long,
    pub lasts: Option<Duration>,
    /// or when so many events are done.
    pub events: Option<u64>,
}

/// Runs another handler with the events of the listener `id`, until the end or until `stop`. Prints
/// how it did, beside the running listener. [`Exit::Refused`] when a call failed.
///
/// # Errors
///
/// When the config is wrong, or the bus refuses us or does not answer at the start.
pub async fn rehearse(
    (file, groups): (&Path, &GroupChoice),
    id: &str,
    rehearsal: Rehearsal,
    stop: CancellationToken,
) -> Result<Exit, Error> {
    let secrets = ["bus", "listen", &format!("listeners.{id}")];
    let config = Config::open_with_secrets_of(file, &secrets)?.for_call(groups, Some(id))?;
    let own = config.listener(id)?;
    let Rehearsal { with, from, lasts, events } = rehearsal;
    let handler = with.config(&own.handler);
    let listener = ListenerConfig { handler, park: None, ..own.clone() };
    let bus = event_bus::open(&config.bus)?;
    let made = handler::maker((id, &listener), &config.secret_variables, &bus)?;
    let Some(HandlerMaker { make, .. }) = made else {
        return Err(Error::NoHandler(id.to_owned()));
    };
    let topics = own.subscription(id, &config.bus).topics;
    let opened = timeout(OPEN_DEADLINE, bus.tail(&topics, from.to));
    let Some(opened) = stop.run_until_cancelled(opened).await else { return Ok(Exit::Done) };
    let tail = opened.map_err(|_| Error::SlowBus(OPEN_DEADLINE))??;
    let before = Figures::running(&config, id).await;
    let (status, began) = (Arc::<Status>::default(), Instant::now());
    let ends = stop.child_token();
    let run = run_outside(
        (id, &listener),
        Box::new(Onlooker::new(tail)),
        (&*make, &status),
        ends.clone(),
    );
    let over = async {
        until_over(&status, (began, lasts, events)).await;
        ends.cancel();
        std::future::pending::<()>().await;
    };
    let ended = tokio::select! {
        ended = run => ended,
        () = over => Ok(()),
    };
    let after = Figures::running(&config, id).await;
    let counters = status.report().counters;
    show(&counters, began.elapsed(), before.zip(after));
    ended?;
    Ok(if counters.failures == 0 { Exit::Done } else { Exit::Refused })
}

/// Waits for the end that was asked for.
async fn until_over(
    status: &Status,
    (began, lasts, events): (Instant, Option<Duration>, Option<u64>),
) {
    loop {
        let is_late = lasts.is_some_and(|lasts| began.elapsed() >= lasts);
        let done = status.report().counters.done;
        if is_late || events.is_some_and(|events| done >= events) {
            return;
        }
        sleep(LOOK_EVERY).await;
    }
}

/// What is compared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Figures {
    events: u64,
    calls: u64,
    failures: u64,
    /// Of calls, in ms.
    call: [Option<u64>; 2],
    /// From the commit in the source until the handler was done, in ms.
    latency: [Option<u64>; 2],
}

impl Figures {
    fn of(counters: &Counters) -> Self {
        let quantiles = |of: &Latency| [of.quantile(0.5), of.quantile(0.99)];
        Self {
            events: counters.done,
            calls: counters.calls.count(),
            failures: counters.failures,
            call: quantiles(&counters.calls),
            latency: quantiles(&counters.latency),
        }
    }

    /// Of the running listener, since its process began; `None` when nothing answers.
    async fn running(config: &Config, id: &str) -> Option<Self> {
        let api = ApiClient::new(&config.listen).ok()?;
        let path = format!("/api/v1/listeners/{id}");
        let view: ListenerView = api.get(&path, ANSWER_DEADLINE).await.ok()?;
        Some(Self {
            events: view.done,
            calls: view.calls.count,
            failures: view.failures,
            call: [view.calls.p50_ms, view.calls.p99_ms],
            latency: [view.latency.p50_ms, view.latency.p99_ms],
        })
    }

    /// Since `before`, of the same listener. The times are those of its whole life.
    fn since(self, before: &Self) -> Self {
        Self {
            events: self.events.saturating_sub(before.events),
            calls: self.calls.saturating_sub(before.calls),
            failures: self.failures.saturating_sub(before.failures),
            ..self
        }
    }
}

fn show(counters: &Counters, took: Duration, running: Option<(Figures, Figures)>) {
    let running = running.map(|(before, after)| after.since(&before));
    if running.is_none() {
        warn!("no event-worker of this config says how the running listener does");
    }
    for line in lines(&Figures::of(counters), running.as_ref()) {
        say!("{line}");
    }
    let seconds = took.as_secs_f64();
    match (counters.done, counters.failures) {
        (0, 0) => say!("no event came within {seconds:.1} s: nothing was tried"),
        (_, 0) => say!("no call failed within {seconds:.1} s"),
        (_, failures) => say!("{failures} calls failed within {seconds:.1} s; see the log above"),
    }
    say!("nothing was committed; the running listener noticed nothing of this");
}

fn lines(rehearsed: &Figures, running: Option<&Figures>) -> Vec<String> {
    let number = |figure: fn(&Figures) -> u64| {
        [Some(rehearsed), running].map(|of| of.map_or("-".to_owned(), |of| figure(of).to_string()))
    };
    let ms = |figure: fn(&Figures) -> Option<u64>| {
        let text = |of: &Figures| figure(of).map(|ms| format!("{ms}ms"));
        [Some(rehearsed), running].map(|of| of.and_then(text).unwrap_or_else(|| "-".to_owned()))
    };
    let rows = [
        ("", ["REHEARSED".to_owned(), "RUNNING".to_owned()]),
        ("events done", number(|of| of.events)),
        ("calls", number(|of| of.calls)),
        ("calls failed", number(|of| of.failures)),
        ("a call, p50", ms(|of| of.call[0])),
        ("a call, p99", ms(|of| of.call[1])),
        ("commit to done, p50", ms(|of| of.latency[0])),
        ("commit to done, p99", ms(|of| of.latency[1])),
    ];
    let rows = rows.map(|(name, [rehearsed, running])| [name.to_owned(), rehearsed, running]);
    table::aligned(&rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_running_listener_is_shown_for_the_same_time_or_not_at_all() {
        let rehearsed =
            Figures { events: 7, calls: 3, call: [Some(5), None], ..Figures::default() };
        let before = Figures { events: 100, calls: 9, ..Figures::default() };
        let after = Figures { events: 107, calls: 11, failures: 1, ..Figures::default() };
        let running = after.since(&before);
        let text = lines(&rehearsed, Some(&running)).join("\n");
        let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let row = |name: &str| words(text.lines().find(|line| line.starts_with(name)).unwrap());
        assert_eq!(row("events done"), ["events", "done", "7", "7"]);
        assert_eq!(row("calls failed"), ["calls", "failed", "0", "1"]);
        assert_eq!(row("a call, p50"), ["a", "call,", "p50", "5ms", "-"]);
        assert!(lines(&rehearsed, None)[1].trim_end().ends_with('-'));
    }
}
