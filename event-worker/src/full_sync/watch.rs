//! `event-worker full-sync watch`: shows the progress of full syncs until they have ended.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::IsTerminal as _,
    path::Path,
    time::Duration,
};

use full_sync::TaskState;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use service::{exit::Exit, say};

use super::{
    command::{ANSWER_DEADLINE, LIST, path_of},
    view::{FullSyncList, FullSyncView, word},
};
use crate::{
    client::{ApiClient, NoAnswer},
    config::{Config, GroupChoice},
    error::Error,
};

const ASK_EVERY: Duration = Duration::from_millis(500);

/// How many calls in a row may fail after the first answer: event-worker may be restarting.
const MAX_UNANSWERED: u32 = 60;

/// Shows one full sync, or all that run, until they have ended: as bars on a terminal, else as one
/// line for each change. [`Exit::Refused`] when one has ended in another state than done. Done
/// means: everything is sent, and the listener has finished it.
///
/// # Errors
///
/// When the config is wrong, nothing answers, or there is none of this id.
pub async fn watch_full_syncs(
    file: &Path,
    groups: &GroupChoice,
    id: Option<&str>,
) -> Result<Exit, Error> {
    let config = Config::open_to_call(file, groups, None)?;
    let api = ApiClient::new(&config.listen)?;
    let mut watched = WatchedTasks { id, seen: BTreeMap::new() };
    let mut screen = Screen::new();
    let mut unanswered = 0;
    loop {
        match ask(&api, id).await {
            Ok(views) => {
                unanswered = 0;
                watched.take(views);
                screen.show(watched.seen.values());
                if watched.is_over() {
                    return Ok(screen.end(watched.seen.values()));
                }
            }
            // event-worker may be restarting, but only if it has answered before.
            Err(answer)
                if answer.is_transient()
                    && !watched.seen.is_empty()
                    && unanswered < MAX_UNANSWERED =>
            {
                unanswered += 1;
            }
            Err(answer) => return Err(answer.into()),
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
}

async fn ask(api: &ApiClient<'_>, id: Option<&str>) -> Result<Vec<FullSyncView>, NoAnswer> {
    match id {
        Some(id) => Ok(vec![api.get(&path_of(id), ANSWER_DEADLINE).await?]),
        None => Ok(api.get::<FullSyncList>(LIST, ANSWER_DEADLINE).await?.full_syncs),
    }
}

/// The watched full syncs, by creation time and id.
struct WatchedTasks<'a> {
    id: Option<&'a str>,
    seen: BTreeMap<(u64, String), FullSyncView>,
}

impl WatchedTasks<'_> {
    /// Takes the one that was asked for, those that run, and the end of those that ran.
    fn take(&mut self, views: Vec<FullSyncView>) {
        for view in views {
            let key = (view.created_ms, view.id.clone());
            if self.id.is_some() || !view.state.is_final() || self.seen.contains_key(&key) {
                self.seen.insert(key, view);
            }
        }
    }

    fn is_over(&self) -> bool {
        self.seen.values().all(|view| view.state.is_final())
    }
}

/// Where the progress is shown.
enum Screen {
    Bars(MultiProgress, BTreeMap<String, ProgressBar>),
    /// Not a terminal: the last line of each full sync.
    Lines(BTreeMap<String, String>),
}

impl Screen {
    fn new() -> Self {
        if !std::io::stdout().is_terminal() {
            return Self::Lines(BTreeMap::new());
        }
        let bars = MultiProgress::with_draw_target(ProgressDrawTarget::stdout());
        Self::Bars(bars, BTreeMap::new())
    }

    fn show<'a>(&mut self, views: impl Iterator<Item = &'a FullSyncView>) {
        for view in views {
            match self {
                Self::Bars(all, bars) => {
                    let bar = bars.entry(view.id.clone()).or_insert_with(|| new_bar(all, view));
                    draw(bar, view);
                }
                Self::Lines(last) => {
                    let line = line(view);
                    if last.get(&view.id) != Some(&line) {
                        print(&line);
                        last.insert(view.id.clone(), line);
                    }
                }
            }
        }
    }

    /// Prints the result, and gives the exit code.
    fn end<'a>(self, views: impl Iterator<Item = &'a FullSyncView>) -> Exit {
        if let Self::Bars(_, bars) = &self {
            bars.values().for_each(ProgressBar::abandon);
        }
        let states: BTreeSet<&str> = views.map(|view| word(view.state)).collect();
        if states.is_empty() {
            print("no full sync is under way");
        }
        let all_done = states.iter().all(|state| *state == word(TaskState::Done));
        if all_done { Exit::Done } else { Exit::Refused }
    }
}

fn new_bar(all: &MultiProgress, view: &FullSyncView) -> ProgressBar {
    let style = ProgressStyle::with_template("{prefix} [{bar:30}] {percent:>3}% {pos}/{len} {msg}");
    let bar = all.add(ProgressBar::new(view.estimated_rows));
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> "));
    bar.set_prefix(format!("{}.{} to {}", view.schema, view.table, view.listener));
    bar
}

fn draw(bar: &ProgressBar, view: &FullSyncView) {
    // The estimate may be too low or too high.
    let length = match view.state {
        TaskState::Sent | TaskState::Done => view.rows,
        _ => view.estimated_rows.max(view.rows),
    };
    bar.set_length(length);
    bar.set_position(view.rows);
    bar.set_message(pace(view));
}

fn line(view: &FullSyncView) -> String {
    let FullSyncView { id, listener, schema, table, rows, estimated_rows, .. } = view;
    let percent = view.percent.map_or_else(String::new, |percent| format!(" {percent:.1}%"));
    format!("{id} {schema}.{table} to {listener}:{percent} {rows}/{estimated_rows} {}", pace(view))
}

/// The state in words.
fn pace(view: &FullSyncView) -> String {
    let state = word(view.state);
    let mut text = match (view.state, view.rows_per_second) {
        (TaskState::Running, Some(rate)) => format!("{rate:.0} rows/s"),
        (TaskState::Sent, _) => "sent, not yet done by the listener".to_owned(),
        _ => state.to_owned(),
    };
    if let Some(left) = view.remaining_seconds {
        let left = humantime::format_duration(Duration::from_secs(left));
        text = format!("{text}, {left} left");
    }
    match view.error.as_ref().or(view.waits.as_ref()) {
        Some(why) => format!("{text}: {why}"),
        None => text,
    }
}

fn print(line: &str) {
    say!("{line}");
}
