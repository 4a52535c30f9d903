//! `event-worker replay`: asks the running event-worker.

use std::{path::Path, time::Duration};

use reqwest::Url;
use serde_json::{Value, json};
use service::{exit::Exit, say};

use super::{
    calls::ReplayWish,
    entry::ReplayState,
    form::WantedEvents,
    view::{ReplayList, ReplayView},
};
use crate::{
    client::{ApiClient, NoAnswer},
    config::{Config, GroupChoice},
    error::Error,
    output::{Output, print_json},
    table,
};

/// Longer than event-worker waits for the bus.
const ANSWER_DEADLINE: Duration = Duration::from_secs(30);

const LIST: &str = "/api/v1/replays";

const ASK_EVERY: Duration = Duration::from_millis(500);

/// How many calls in a row may fail after the first answer: event-worker may be restarting.
const MAX_UNANSWERED: u32 = 60;

/// Asks for past events once more, for one listener.
///
/// # Errors
///
/// When the config is wrong, nothing answers, or nothing comes; the message says why.
pub async fn start_replay(
    (file, groups): (&Path, &GroupChoice),
    listener: &str,
    wanted: &WantedEvents,
    output: Output,
) -> Result<(), Error> {
    let config = Config::open_to_call(file, groups, Some(listener))?;
    config.listener(listener)?;
    let api = ApiClient::new(&config.listen)?;
    let path = format!("/api/v1/listeners/{listener}/replays");
    let started = api.post::<Value>(&path, &json!(wanted), ANSWER_DEADLINE).await?;
    if output == Output::Json {
        print_json(&started);
        return Ok(());
    }
    let strange = |error: serde_json::Error| api.strange(error.to_string());
    let view: ReplayView = serde_json::from_value(started).map_err(strange)?;
    let offsets: u64 = view.partitions.iter().map(|at| at.to - at.from).sum();
    say!("{} begins: {offsets} offsets in {} partitions", view.id, view.partitions.len());
    for at in &view.partitions {
        say!("  {} to {} in partition {} of {}", at.from, at.to, at.partition, at.topic);
    }
    say!("its progress: event-worker replay watch {}", view.id);
    Ok(())
}

/// Prints the replays that the bus keeps.
///
/// # Errors
///
/// When the config is wrong, or nothing answers.
pub async fn list_replays(file: &Path, groups: &GroupChoice, output: Output) -> Result<(), Error> {
    let config = Config::open_to_call(file, groups, None)?;
    let api = ApiClient::new(&config.listen)?;
    if output == Output::Json {
        print_json(&api.get::<Value>(LIST, ANSWER_DEADLINE).await?);
        return Ok(());
    }
    let list = api.get::<ReplayList>(LIST, ANSWER_DEADLINE).await?;
    for line in lines(&list.replays) {
        say!("{line}");
    }
    Ok(())
}

/// Pauses, resumes or cancels a replay; the listener follows within moments.
///
/// # Errors
///
/// When the config is wrong, nothing answers, or no running replay has this id.
pub async fn wish_replay(
    (file, groups): (&Path, &GroupChoice),
    id: &str,
    wish: ReplayWish,
) -> Result<(), Error> {
    let config = Config::open_to_call(file, groups, None)?;
    let api = ApiClient::new(&config.listen)?;
    let path = format!("{}/{}", path_of(id), wish.verb());
    let view = api.post::<ReplayView>(&path, &Value::Null, ANSWER_DEADLINE).await?;
    let what = match wish {
        ReplayWish::Pause => "is paused",
        ReplayWish::Resume => "is resumed",
        ReplayWish::Cancel => "is cancelled",
    };
    say!("{} {what}: the listener follows within moments", view.id);
    Ok(())
}

/// Shows a replay each time that it has moved, until it has ended. [`Exit::Refused`] when it has
/// ended in another state than done.
///
/// # Errors
///
/// When the config is wrong, nothing answers, or there is none of this id.
pub async fn watch_replay(file: &Path, groups: &GroupChoice, id: &str) -> Result<Exit, Error> {
    let config = Config::open_to_call(file, groups, None)?;
    let api = ApiClient::new(&config.listen)?;
    let (mut shown, mut unanswered) = (String::new(), 0);
    loop {
        match api.get::<ReplayView>(&path_of(id), ANSWER_DEADLINE).await {
            Ok(view) => {
                unanswered = 0;
                let line = line(&view);
                if line != shown {
                    say!("{line}");
                    shown = line;
                }
                if view.state.is_final() {
                    let is_done = view.state == ReplayState::Done;
                    return Ok(if is_done { Exit::Done } else { Exit::Refused });
                }
            }
            Err(answer) if may_come_back(&answer, &shown) && unanswered < MAX_UNANSWERED => {
                unanswered += 1;
            }
            Err(answer) => return Err(answer.into()),
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
}

/// event-worker may be restarting, but only if it has answered before.
fn may_come_back(answer: &NoAnswer, shown: &str) -> bool {
    answer.is_transient() && !shown.is_empty()
}

/// The path of a replay. The id may contain any characters.
fn path_of(id: &str) -> String {
    let mut url = Url::parse(&format!("http://localhost{LIST}")).ok();
    if let Some(mut segments) = url.as_mut().and_then(|url| url.path_segments_mut().ok()) {
        segments.push(id);
    }
    url.map_or_else(|| LIST.to_owned(), |url| url.path().to_owned())
}

fn line(view: &ReplayView) -> String {
    let ReplayView { id, listener, percent, replayed, left_out, state, .. } = view;
    let state = state.word();
    let mut line =
        format!("{id} to {listener}: {state}, {percent:.1}%, {replayed} done, {left_out} left out");
    if let Some(why) = view.error.as_ref().or(view.waits.as_ref()) {
        line.extend([": ", why.as_str()]);
    }
    line
}

/// Which events it is about.
fn of(view: &ReplayView) -> String {
    let parts = [view.table.as_deref(), view.key.as_deref()];
    let parts: Vec<&str> = parts.into_iter().flatten().collect();
    if parts.is_empty() { "all".to_owned() } else { parts.join(" ") }
}

/// One line for each replay, and below it why it has failed, or does not move.
fn lines(views: &[ReplayView]) -> Vec<String> {
    let heads = ["ID", "LISTENER", "OF", "FROM", "TO", "STATE", "PERCENT", "DONE", "LEFT OUT"];
    let mut rows = vec![heads.map(str::to_owned)];
    rows.extend(views.iter().map(|view| {
        [
            view.id.clone(),
            view.listener.clone(),
            of(view),
            view.from.clone(),
            view.to.clone().unwrap_or_else(|| "-".to_owned()),
            view.state.word().to_owned(),
            format!("{:.1}", view.percent),
            view.replayed.to_string(),
            view.left_out.to_string(),
        ]
    }));
    let why = views.iter().map(|view| view.error.as_ref().or(view.waits.as_ref()));
    let mut lines = Vec::new();
    for (line, why) in table::aligned(&rows).into_iter().zip(std::iter::once(None).chain(why)) {
        lines.push(line);
        lines.extend(why.map(|why| format!("  {why}")));
    }
    lines
}
