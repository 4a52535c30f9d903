//! `event-worker status`: asks the API of the event-worker that runs, and prints a table.

use std::{path::Path, time::Duration};

use serde_json::Value;

use crate::{
    api::{ListenerList, ListenerView},
    config::Config,
    error::Error,
};

const ANSWER_DEADLINE: Duration = Duration::from_secs(5);

/// Prints how the listeners are that run with this config.
///
/// # Errors
///
/// When the config is wrong, or nothing answers.
pub async fn show_status(file: &Path) -> Result<(), Error> {
    let config = Config::open(file)?;
    let list = ask(&config).await?;
    #[expect(clippy::print_stdout, reason = "the table is the result of this command")]
    {
        print!("{}", table(&list.listeners));
    }
    Ok(())
}

async fn ask(config: &Config) -> Result<ListenerList, Error> {
    let mut address = config.listen.address;
    if address.ip().is_unspecified() {
        address.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
    }
    let url = format!("http://{address}/api/v1/listeners");
    let client = reqwest::Client::builder().no_proxy().timeout(ANSWER_DEADLINE).build()?;
    let mut request = client.get(url);
    if let Some(token) = &config.listen.token {
        request = request.bearer_auth(token.expose());
    }
    let no_answer = |reason: String| Error::NoAnswer { address, reason };
    let response = request.send().await.map_err(|error| {
        no_answer(if error.is_connect() {
            "nothing listens there".into()
        } else {
            error.to_string()
        })
    })?;
    let status = response.status();
    let body = response.text().await.map_err(|error| no_answer(error.to_string()))?;
    if !status.is_success() {
        let answer: Value = serde_json::from_str(&body).unwrap_or_default();
        let message = answer["error"]["message"].as_str().unwrap_or("not event-worker?");
        return Err(no_answer(format!("{status}: {message}")));
    }
    serde_json::from_str(&body).map_err(|_| no_answer("it does not answer as event-worker".into()))
}

/// One line per listener, and below it why it does not run.
fn table(listeners: &[ListenerView]) -> String {
    let heads =
        ["LISTENER", "STATE", "PID", "DONE", "LAG", "SECONDS", "P99", "RETRIES", "RESTARTS"];
    let mut rows = vec![heads.map(str::to_owned)];
    rows.extend(listeners.iter().map(row));
    let widths: Vec<usize> = (0..heads.len())
        .map(|column| rows.iter().map(|row| row[column].len()).max().unwrap_or(0))
        .collect();
    let mut text = String::new();
    let problems = listeners.iter().map(problem);
    for (row, problem) in rows.iter().zip(std::iter::once(String::new()).chain(problems)) {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        let line = cells.collect::<Vec<_>>().join("  ");
        text.push_str(line.trim_end());
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
    match &view.error {
        Some(problem) if !view.state.is_moving() && !view.paused => {
            format!("  {}; {}\n", problem.message, problem.remedy)
        }
        _ => String::new(),
    }
}
