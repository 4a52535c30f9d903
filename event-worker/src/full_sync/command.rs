//! `event-worker full-sync start|list|pause|resume|cancel`: asks the running event-worker.

use std::{path::Path, time::Duration};

use reqwest::Url;
use serde_json::{Value, json};
use service::say;

use super::{
    FullSyncWish,
    view::{FullSyncList, FullSyncView, Started, word},
};
use crate::{
    client::ApiClient,
    config::{Config, GroupChoice},
    error::Error,
    output::{Output, print_json},
    table,
};

/// Longer than event-worker waits for `dts` and the bus.
pub(super) const ANSWER_DEADLINE: Duration = Duration::from_secs(30);

pub(super) const LIST: &str = "/api/v1/full-syncs";

/// Which rows to send. Without any of these, all tables of the listener.
#[derive(Clone, Debug, Default)]
pub struct FullSyncPart {
    /// `table` or `schema.table`, with wildcards.
    pub table: Option<String>,
    /// The key column of the table, for `from` and `to`.
    pub key_column: Option<String>,
    /// The first key.
    pub from: Option<String>,
    /// The last key.
    pub to: Option<String>,
}

/// Asks for a full sync of one table, or of all tables of a listener.
///
/// # Errors
///
/// When the config is wrong, nothing answers, or nothing is sent; the message says why.
pub async fn start_full_sync(
    (file, groups): (&Path, &GroupChoice),
    listener: &str,
    part: FullSyncPart,
    output: Output,
) -> Result<(), Error> {
    let config = Config::open_to_call(file, groups, Some(listener))?;
    let api = ApiClient::new(&config.listen)?;
    let FullSyncPart { table, key_column, from, to } = part;
    let body = json!({
        "listener": listener, "table": table, "pk": key_column, "from": from, "to": to,
    });
    let started = api.post::<Value>(LIST, &body, ANSWER_DEADLINE).await?;
    if output == Output::Json {
        print_json(&started);
        return Ok(());
    }
    let strange = |error: serde_json::Error| api.strange(error.to_string());
    let Started { tasks, .. } = serde_json::from_value(started).map_err(strange)?;
    let mut rows = vec![["ID", "TABLE", "ESTIMATED ROWS"].map(str::to_owned)];
    rows.extend(tasks.into_iter().map(|task| {
        let name = task.schema.zip(task.table);
        let name =
            name.map_or_else(|| "-".to_owned(), |(schema, table)| format!("{schema}.{table}"));
        [task.id, name, task.estimated_rows.map_or_else(|| "-".to_owned(), |rows| rows.to_string())]
    }));
    print(&table::aligned(&rows));
    Ok(())
}

/// Prints the full syncs that `dts` keeps.
///
/// # Errors
///
/// When the config is wrong, or nothing answers.
pub async fn list_full_syncs(
    file: &Path,
    groups: &GroupChoice,
    output: Output,
) -> Result<(), Error> {
    let config = Config::open_to_call(file, groups, None)?;
    let api = ApiClient::new(&config.listen)?;
    if output == Output::Json {
        print_json(&api.get::<Value>(LIST, ANSWER_DEADLINE).await?);
        return Ok(());
    }
    let list = api.get::<FullSyncList>(LIST, ANSWER_DEADLINE).await?;
    print(&lines(&list.full_syncs));
    Ok(())
}

/// Pauses, resumes or cancels a full sync; `dts` follows within moments.
///
/// # Errors
///
/// When the config is wrong, nothing answers, or no running full sync has this id.
pub async fn wish_full_sync(
    file: &Path,
    groups: &GroupChoice,
    id: &str,
    wish: FullSyncWish,
) -> Result<(), Error> {
    let config = Config::open_to_call(file, groups, None)?;
    let api = ApiClient::new(&config.listen)?;
    let path = format!("{}/{}", path_of(id), wish.verb());
    let view = api.post::<FullSyncView>(&path, &Value::Null, ANSWER_DEADLINE).await?;
    let what = match wish {
        FullSyncWish::Pause => "is paused",
        FullSyncWish::Resume => "is resumed",
        FullSyncWish::Cancel => "is cancelled",
    };
    print(&[format!("{} {what} as soon as dts reads the request", view.id)]);
    Ok(())
}

/// The path of a full sync. Its id may contain any characters.
pub(super) fn path_of(id: &str) -> String {
    let mut url = Url::parse("http://localhost/api/v1/full-syncs").ok();
    if let Some(mut segments) = url.as_mut().and_then(|url| url.path_segments_mut().ok()) {
        segments.push(id);
    }
    url.map_or_else(|| LIST.to_owned(), |url| url.path().to_owned())
}

/// One line for each full sync, and below it why it waits or has failed.
fn lines(views: &[FullSyncView]) -> Vec<String> {
    let heads = ["ID", "LISTENER", "TABLE", "STATE", "ROWS", "OF ABOUT", "ROWS/S", "SECONDS LEFT"];
    let mut rows = vec![heads.map(str::to_owned)];
    rows.extend(views.iter().map(row));
    let problem = |view: &FullSyncView| view.error.as_ref().or(view.waits.as_ref()).cloned();
    let problems = std::iter::once(None).chain(views.iter().map(problem));
    let mut lines = Vec::new();
    for (line, problem) in table::aligned(&rows).into_iter().zip(problems) {
        lines.push(line);
        lines.extend(problem.map(|problem| format!("  {problem}")));
    }
    lines
}

fn row(view: &FullSyncView) -> [String; 8] {
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    [
        view.id.clone(),
        view.listener.clone(),
        format!("{}.{}", view.schema, view.table),
        word(view.state).to_owned(),
        view.rows.to_string(),
        view.estimated_rows.to_string(),
        or_dash(view.rows_per_second.map(|rate| format!("{rate:.0}"))),
        or_dash(view.remaining_seconds.map(|left| left.to_string())),
    ]
}

fn print(lines: &[String]) {
    for line in lines {
        say!("{line}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_id_is_one_part_of_a_path() {
        assert_eq!(path_of("initial:l:s.t"), "/api/v1/full-syncs/initial:l:s.t");
        assert_eq!(path_of("a/../b?c#d%"), "/api/v1/full-syncs/a%2F..%2Fb%3Fc%23d%25");
    }
}
