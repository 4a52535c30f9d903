//! `event-worker versions`: which environment runs each listener, and what all nodes say.

use std::{path::Path, time::Duration};

use serde_json::Value;
use service::say;

use crate::{
    api::{NodeView, VersionsView},
    client::ApiClient,
    config::{Config, GroupChoice},
    error::Error,
    output::{Output, print_json},
    table::aligned,
};

const ANSWER_DEADLINE: Duration = Duration::from_secs(5);

/// Prints which environment runs each listener and why, and the nodes of all environments, as the
/// running event-worker of this config knows them.
///
/// # Errors
///
/// When the config is wrong, or nothing answers.
pub async fn show_versions(file: &Path, groups: &GroupChoice, output: Output) -> Result<(), Error> {
    const VERSIONS: &str = "/api/v1/versions";
    let config = Config::open_to_call(file, groups, None)?;
    let api = ApiClient::new(&config.listen)?;
    if output == Output::Json {
        print_json(&api.get::<Value>(VERSIONS, ANSWER_DEADLINE).await?);
        return Ok(());
    }
    let view = api.get::<VersionsView>(VERSIONS, ANSWER_DEADLINE).await?;
    say!("{}", text(&view).trim_end());
    Ok(())
}

fn text(view: &VersionsView) -> String {
    let mut text = String::new();
    if let Some(problem) = &view.error {
        text.extend(["the bus cannot be asked, so this may be old: ", &problem.message, "; "]);
        text.extend([problem.remedy.as_str(), "\n\n"]);
    }
    let mut runs = vec![["LISTENER", "RUNS IN", "VERSION", "WHY"].map(str::to_owned)];
    runs.extend(view.listeners.iter().map(|runs| {
        let version = runs.version.map_or_else(|| "-".to_owned(), |version| version.to_string());
        let environment = runs.environment.clone().unwrap_or_else(|| "-".to_owned());
        [runs.id.clone(), environment, version, runs.why.clone()]
    }));
    let mut nodes = vec![["NODE", "ENVIRONMENT", "LEASE", "PID", "LISTENERS"].map(str::to_owned)];
    nodes.extend(view.nodes.iter().map(node));
    for line in aligned(&runs).into_iter().chain([String::new()]).chain(aligned(&nodes)) {
        text.extend([line.as_str(), "\n"]);
    }
    text
}

fn node(node: &NodeView) -> [String; 5] {
    let offers = node.listeners.iter().map(|offer| {
        let what = match (offer.holds, offer.leaves) {
            (true, false) => ", runs",
            (true, true) => ", ends",
            (false, _) => "",
        };
        format!("{} (version {}{what})", offer.id, offer.version)
    });
    let lease = match node.lease_seconds {
        left if left > 0.0 => format!("{left:.0}s"),
        _ => "gone".to_owned(),
    };
    let this = if node.is_this { " (this one)" } else { "" };
    [
        format!("{}{this}", node.id),
        node.environment.clone(),
        lease,
        node.pid.to_string(),
        offers.collect::<Vec<_>>().join(", "),
    ]
}
