//! `event-worker status` and `event-worker healthy`: ask the API of the running event-worker.

use std::{collections::BTreeSet, path::Path, time::Duration};

use serde_json::Value;
use service::say;

use crate::{
    api::{ListenerList, ListenerView},
    client::ApiClient,
    config::{Config, GroupChoice, HandlerConfig},
    error::Error,
    listener::status::ShownReplay,
    output::{Output, print_json},
    table::aligned,
};

const ANSWER_DEADLINE: Duration = Duration::from_secs(5);

/// Prints the state of the listeners of this config that the event-worker of these groups runs.
///
/// # Errors
///
/// When the config is wrong, or nothing answers.
pub async fn show_status(file: &Path, groups: &GroupChoice, output: Output) -> Result<(), Error> {
    const LIST: &str = "/api/v1/listeners";
    let config = Config::open_to_call(file, groups, None)?;
    let api = ApiClient::new(&config.listen)?;
    if output == Output::Json {
        print_json(&api.get::<Value>(LIST, ANSWER_DEADLINE).await?);
        return Ok(());
    }
    let list = api.get::<ListenerList>(LIST, ANSWER_DEADLINE).await?;
    say!("{}", table(&list.listeners).trim_end());
    for group in others(&config, &list.listeners) {
        say!("the group {group} is not here: event-worker status -g {group}");
    }
    Ok(())
}

/// The groups of which no listener is shown.
fn others<'a>(config: &'a Config, shown: &[ListenerView]) -> BTreeSet<&'a str> {
    let is_shown = |id: &String| shown.iter().any(|view| view.id == *id);
    let of = |wanted: bool| {
        let listeners = config.chosen().filter(move |(_, it)| it.handler != HandlerConfig::Program);
        let listeners = listeners.filter(move |(id, _)| is_shown(id) == wanted);
        listeners.map(|(_, listener)| &*listener.group).collect::<BTreeSet<&str>>()
    };
    &of(false) - &of(true)
}

/// Says whether the event-worker of this config is ready, or one listener of it; or only whether it
/// is alive.
///
/// # Errors
///
/// When the config is wrong, nothing answers, or it is not ready. The error says why, and what to
/// do.
pub async fn healthy(
    file: &Path,
    groups: &GroupChoice,
    id: Option<&str>,
    alive: bool,
) -> Result<(), Error> {
    let config = Config::open_to_call(file, groups, id)?;
    let path = match id {
        _ if alive => "/healthz".to_owned(),
        Some(id) => {
            config.listener(id)?;
            format!("/api/v1/listeners/{id}/ready")
        }
        None => "/readyz".to_owned(),
    };
    let api = ApiClient::new(&config.listen)?;
    let answer = api.get::<Value>(&path, ANSWER_DEADLINE).await?;
    let state = answer["state"].as_str().map(|state| format!(": {state}")).unwrap_or_default();
    say!("{}{state}", answer["status"].as_str().unwrap_or("ready"));
    Ok(())
}

/// One line per listener. Below it: whether the listener moves, and if not, why; and whether it
/// gets less than its config names.
fn table(listeners: &[ListenerView]) -> String {
    let heads =
        ["LISTENER", "STATE", "PID", "DONE", "LAG", "SECONDS", "P99", "RETRIES", "RESTARTS"];
    let mut rows = vec![heads.map(str::to_owned)];
    rows.extend(listeners.iter().map(row));
    let mut text = String::new();
    let problems = std::iter::once(String::new()).chain(listeners.iter().map(problem));
    for (line, problem) in aligned(&rows).iter().zip(problems) {
        text.push_str(line);
        text.push('\n');
        text.push_str(&problem);
    }
    text
}

fn row(view: &ListenerView) -> [String; 9] {
    let or_dash = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
    [
        view.id.clone(),
        view.state.to_string(),
        or_dash(view.pid.map(|pid| pid.to_string())),
        view.done.to_string(),
        or_dash(view.lag.records.map(|records| records.to_string())),
        format!("{:.1}", view.lag.seconds),
        or_dash(view.latency.p99_ms.map(|ms| format!("{ms}ms"))),
        view.retries.to_string(),
        view.restarts.to_string(),
    ]
}

fn problem(view: &ListenerView) -> String {
    let mut text = format!("  {}\n", view.why);
    if let Some(problem) = &view.error
        && !view.state.is_moving()
        && !view.paused
    {
        for line in problem.said.iter().flat_map(|said| said.lines()) {
            text.extend(["    ", line, "\n"]);
        }
    }
    if let Some(ShownReplay { id, topic, partition, next, to, .. }) = &view.replay {
        let at = format!("offset {next} of {to} in partition {partition} of {topic}");
        text.extend(["  past events come, too: ", id, ", ", &at, "\n"]);
    }
    if let Some(absent) = view.sink.map(|sink| sink.absent).filter(|absent| *absent > 0) {
        text.push_str(&format!(
            "  {absent} changes had only some columns of rows that the target lacks, and wrote \
             nothing: if no full sync has sent these rows since, run event-worker full-sync start \
             -t {}\n",
            view.id
        ));
    }
    if let Some(unfilled) = view.sink.map(|sink| sink.unfilled).filter(|columns| *columns > 0) {
        text.push_str(&format!(
            "  {unfilled} columns were added to tables of the target, and are NULL in rows that \
             have not changed since (the log names them): if no full sync has sent these tables \
             since, run event-worker full-sync start -t {}\n",
            view.id
        ));
    }
    if let Some(begun) = view.sink.map(|sink| sink.begun).filter(|tables| *tables > 0) {
        text.push_str(&format!(
            "  {begun} tables of the target were made by a change (the log names them): rows that \
             the source's had before are not there until a full sync sends them: run event-worker \
             full-sync start -t {}\n",
            view.id
        ));
    }
    if let Some(altered) = view.sink.map(|sink| sink.altered).filter(|columns| *columns > 0) {
        text.push_str(&format!(
            "  {altered} columns were altered at the source, and not at the target (the log names \
             them, with the statements): rows that do not fit are refused\n",
        ));
    }
    for found in &view.books.differences {
        text.push_str("  BOOKS DO NOT BALANCE: ");
        text.extend([found.message.as_str(), "; ", &found.remedy, "\n"]);
    }
    for reason in &view.reasons {
        let (message, _) = reason.split_once("; ").unwrap_or((reason, ""));
        if !text.contains(message) {
            text.extend(["  ", reason.as_str(), "\n"]);
        }
    }
    text
}
