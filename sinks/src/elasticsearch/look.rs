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
            TargetFinding::wrong(what, Role::of(&["*"]).request())
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
    let template = config.template.as_ref();
    let has_rollover = template.is_some_and(|template| template.rollover);
    let numbered = format!("{index}-*");
    let names = [index, &numbered];
    let names = if has_rollover { &names[..] } else { &names[..1] };
    let role = || Role { names, has_template: template.is_some(), has_rollover }.request();
    let wrong = |what: &str, remedy| Some(TargetFinding::wrong(format!("the {what}"), remedy));
    match asked.status {
        StatusCode::NOT_FOUND if !has_privileges(client, &[index], &MAKE).await => {
            wrong(&format!("index {index} is not there, and the user may not make it"), role())
        }
        StatusCode::NOT_FOUND if !config.mappings && !makes_indexes(client).await => {
            let what = format!("index {index} is not there, and the server makes none by itself");
            wrong(&what, format!("PUT /{index}, or set mappings = true"))
        }
        // Whether it is there is hidden from us: then nothing is tried that could make it.
        StatusCode::FORBIDDEN if !has_privileges(client, &[index], &WRITE).await => {
            wrong(&format!("user may not write to the index {index}"), role())
        }
        StatusCode::FORBIDDEN if !has_privileges(client, &[index], &MAKE).await => {
            may_write(client, index, role).await
        }
        StatusCode::NOT_FOUND | StatusCode::FORBIDDEN => None,
        _ => match client.red(&[index]).await {
            // A try would wait until it is well.
            Some(red) => Some(TargetFinding::wrong(red, RED)),
            None => may_write(client, index, role).await,
        },
    }
}

/// What writing needs, and what making an index needs besides.
const WRITE: [&str; 2] = ["index", "delete"];
const MAKE: [&str; 3] = ["index", "delete", "create_index"];

/// Tries to change a document that is not there. That needs the same rights as a row, and is
/// answered with 404.
async fn may_write(
    client: &SearchClient,
    index: &str,
    role: impl Fn() -> String,
) -> Option<TargetFinding> {
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
    is_forbidden.then(|| TargetFinding::wrong(what(), role()))
}

/// Whether the user has privileges on indexes, as far as the server can tell.
pub(super) async fn has_privileges(
    client: &SearchClient,
    names: &[&str],
    privileges: &[&str],
) -> bool {
    has_all(client, json!({"index": [{"names": names, "privileges": privileges}]})).await
}

/// Whether the user may make index templates, as far as the server can tell.
pub(super) async fn may_make_templates(client: &SearchClient) -> bool {
    has_all(client, json!({"cluster": [TEMPLATES]})).await
}

async fn has_all(client: &SearchClient, asked: Value) -> bool {
    let body = asked.to_string();
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

/// The privilege on the cluster for index templates.
const TEMPLATES: &str = "manage_index_templates";

/// What a listener needs.
#[derive(Clone, Copy)]
pub(super) struct Role<'r> {
    pub(super) names: &'r [&'r str],
    pub(super) has_template: bool,
    /// An index that is made with an alias needs more.
    pub(super) has_rollover: bool,
}

impl<'r> Role<'r> {
    fn of(names: &'r [&'r str]) -> Self {
        Self { names, has_template: false, has_rollover: false }
    }

    /// What making indexes and writing to them needs.
    pub(super) fn making(&self) -> &'static [&'static str] {
        if self.has_rollover { &["index", "delete", "manage"] } else { &MAKE }
    }

    /// The request that gives it.
    pub(super) fn request(&self) -> String {
        let mut cluster = vec!["monitor"];
        cluster.extend(self.has_template.then_some(TEMPLATES));
        let mut privileges = vec!["index", "delete", "read", "view_index_metadata", "create_index"];
        privileges.extend(self.has_rollover.then_some("manage"));
        let role = json!({
            "cluster": cluster,
            "indices": [{"names": self.names, "privileges": privileges}],
        });
        format!("PUT /_security/role/dbevent {role}, and give the user this role")
    }
}
