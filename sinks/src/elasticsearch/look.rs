//! What `event-worker check` finds out about a search server: who it is, and whether it lets us
//! write. What is missing is tried, without changing anything.

use std::{collections::BTreeSet, sync::Arc};

use full_sync::Table;
use reqwest::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    client::SearchClient,
    config::ElasticsearchConfig,
    health::RED,
    hosts::{Answer, Request},
};
use crate::target::{NOT_REACHED, TargetFinding};

/// At most so many indexes are looked at.
const MAX_INDEXES: usize = 20;

/// No document has this id, so that nothing is written.
const NO_DOCUMENT: &str = "dbevent-check-no-document";

#[derive(Deserialize)]
struct Root {
    #[serde(default)]
    version: Version,
}

#[derive(Default, Deserialize)]
struct Version {
    #[serde(default)]
    number: String,
    #[serde(default)]
    distribution: Option<String>,
}

/// Looks at the server, and at the indexes of these tables.
pub(super) async fn look(
    client: &SearchClient,
    config: &ElasticsearchConfig,
    tables: &[Arc<Table>],
) -> Vec<TargetFinding> {
    let server = match client.hosts.send(&Request::new(Method::GET, &[])).await {
        Ok(answer) => who(&client.hosts.address(), &answer),
        Err(failure) => TargetFinding::wrong(failure.reason, NOT_REACHED),
    };
    if server.is_wrong {
        return vec![server];
    }
    let mut findings = vec![server];
    let mut indexes: BTreeSet<String> = BTreeSet::new();
    for table in tables {
        let name = config.names.index.of_table(&table.schema, &table.table);
        indexes.extend(name.map(|name| name.to_lowercase()));
    }
    for index in indexes.iter().take(MAX_INDEXES) {
        findings.extend(look_at(client, config, index).await);
    }
    findings
}

fn who(address: &str, answer: &Answer) -> TargetFinding {
    match answer.status {
        StatusCode::UNAUTHORIZED => TargetFinding::wrong(
            format!("{address} does not know who we are (401)"),
            "write user and password, or apiKey",
        ),
        StatusCode::FORBIDDEN => {
            let what =
                format!("{address} does not say who it is: the privilege monitor is missing");
            TargetFinding::wrong(what, role("*"))
        }
        status if status.is_success() => {
            let root = serde_json::from_slice::<Root>(&answer.body);
            let version = root.map(|root| root.version).unwrap_or_default();
            let Version { number, distribution } = version;
            let product = distribution.unwrap_or_else(|| "elasticsearch".to_owned());
            TargetFinding::good(format!("{address} is {product} {number}"))
        }
        // Some distributions answer nothing at the root.
        StatusCode::METHOD_NOT_ALLOWED => TargetFinding::good(format!("{address} answers")),
        status => TargetFinding::wrong(
            format!("{address} answers with {status}"),
            "see whether `url` is that of a search server",
        ),
    }
}

async fn look_at(
    client: &SearchClient,
    config: &ElasticsearchConfig,
    index: &str,
) -> Option<TargetFinding> {
    let asked = client.hosts.send(&Request::new(Method::HEAD, &[index])).await.ok()?;
    let wrong = |what: &str, remedy| Some(TargetFinding::wrong(format!("the {what}"), remedy));
    match asked.status {
        StatusCode::NOT_FOUND if !has_privileges(client, index, &MAKE).await => {
            wrong(&format!("index {index} is not there, and the user may not make it"), role(index))
        }
        StatusCode::NOT_FOUND if !config.mappings && !makes_indexes(client).await => {
            let what = format!("index {index} is not there, and the server makes none by itself");
            wrong(&what, format!("PUT /{index}, or set mappings = true"))
        }
        // Whether it is there is hidden from us: then nothing is tried that could make it.
        StatusCode::FORBIDDEN if !has_privileges(client, index, &WRITE).await => {
            wrong(&format!("user may not write to the index {index}"), role(index))
        }
        StatusCode::FORBIDDEN if !has_privileges(client, index, &MAKE).await => {
            may_write(client, index).await
        }
        StatusCode::NOT_FOUND | StatusCode::FORBIDDEN => None,
        _ => match client.red(&[index]).await {
            // A try would wait until it is well.
            Some(red) => Some(TargetFinding::wrong(red, RED)),
            None => may_write(client, index).await,
        },
    }
}

/// What writing needs, and what making an index needs besides.
const WRITE: [&str; 2] = ["index", "delete"];
const MAKE: [&str; 3] = ["index", "delete", "create_index"];

/// Tries to change a document that is not there. That needs the same rights as a row, and is
/// answered with 404.
async fn may_write(client: &SearchClient, index: &str) -> Option<TargetFinding> {
    let body =
        format!("{}\n{{\"doc\":{{}}}}\n", json!({"update": {"_index": index, "_id": NO_DOCUMENT}}));
    let request = Request { body: &body, ..Request::new(Method::POST, &["_bulk"]) };
    let answer = client.hosts.send(&request).await.ok()?;
    let parsed: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let result = &parsed["items"][0]["update"];
    let kind = result["error"]["type"].as_str().unwrap_or_default();
    if kind == "cluster_block_exception" {
        let what = format!("the index {index} takes no writes: a block is on it");
        let remedy = format!(
            "make room on the disks of the cluster, or PUT /{index}/_settings \
             {{\"index.blocks.read_only_allow_delete\":null}}, or the same with \
             \"index.blocks.write\""
        );
        return Some(TargetFinding::wrong(what, remedy));
    }
    let is_forbidden = answer.status == StatusCode::FORBIDDEN || result["status"] == 403;
    let what = || format!("the user may not write to the index {index}");
    is_forbidden.then(|| TargetFinding::wrong(what(), role(index)))
}

/// Whether the user has privileges on an index, as far as the server can tell.
async fn has_privileges(client: &SearchClient, index: &str, privileges: &[&str]) -> bool {
    let body = json!({"index": [{"names": [index], "privileges": privileges}]}).to_string();
    let path = ["_security", "user", "_has_privileges"];
    let request = Request { body: &body, ..Request::new(Method::POST, &path) };
    let Ok(answer) = client.hosts.send(&request).await else { return true };
    let parsed: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    // A server without such security does not know the question.
    parsed["has_all_requested"] != false
}

/// `action.auto_create_index`, as far as we may see it.
async fn makes_indexes(client: &SearchClient) -> bool {
    let query = "include_defaults=true&flat_settings=true";
    let request =
        Request { query: Some(query), ..Request::new(Method::GET, &["_cluster", "settings"]) };
    let Ok(answer) = client.hosts.send(&request).await else { return true };
    let parsed: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let of = |level: &str| parsed[level]["action.auto_create_index"].as_str().map(str::to_owned);
    let set = ["transient", "persistent", "defaults"].into_iter().find_map(of);
    set.as_deref() != Some("false")
}

/// The request that gives what a listener needs.
fn role(index: &str) -> String {
    let privileges = ["index", "delete", "read", "view_index_metadata", "create_index"];
    let role = json!({
        "cluster": ["monitor"],
        "indices": [{"names": [index], "privileges": privileges}],
    });
    format!("PUT /_security/role/dbevent {role}, and give the user this role")
}
