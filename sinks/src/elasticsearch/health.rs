//! Whether indexes can be written to at all: one that is red lets every request wait, and the
//! server says nothing of the reason.

use std::{collections::BTreeMap, time::Duration};

use handler::Failure;
use reqwest::Method;
use serde::Deserialize;
use tokio::time::timeout;

use super::{client::SearchClient, hosts::Request};

/// So long the server is asked: what waits for it has failed already.
const ANSWER_DEADLINE: Duration = Duration::from_secs(3);

/// At most so many indexes are asked for.
const MAX_INDEXES: usize = 20;

/// The server does not wait for a better health.
const QUERY: &str = "level=indices&timeout=1ms";

/// What to do about an index that is red.
pub(super) const RED: &str = "GET /_cluster/allocation/explain says why; start the nodes that are \
                              away, make room on their disks, or restore the index";

#[derive(Deserialize)]
struct Health {
    #[serde(default)]
    indices: BTreeMap<String, IndexHealth>,
}

#[derive(Deserialize)]
struct IndexHealth {
    status: String,
    number_of_shards: u64,
    active_primary_shards: u64,
}

impl SearchClient {
    /// The first of these indexes that is red, in words. `None` too where nobody may or can tell.
    pub(super) async fn red(&self, indexes: &[&str]) -> Option<String> {
        let names = indexes.iter().take(MAX_INDEXES).copied().collect::<Vec<_>>().join(",");
        let path = ["_cluster", "health", &names];
        let request = Request { query: Some(QUERY), ..Request::new(Method::GET, &path) };
        let answer = timeout(ANSWER_DEADLINE, self.hosts.send(&request)).await.ok()?.ok()?;
        let health: Health = serde_json::from_slice(&answer.body).ok()?;
        let red = health.indices.into_iter().find(|(_, index)| index.status == "red");
        red.map(|(name, IndexHealth { number_of_shards, active_primary_shards, .. })| {
            let lacking = number_of_shards.saturating_sub(active_primary_shards);
            format!(
                "the index {name} is red: {lacking} of its {number_of_shards} primary shards are \
                 at no node, and it takes no writes"
            )
        })
    }

    /// The same failure, or that one of these indexes is red, where that is why.
    pub(super) async fn or_red(&self, failure: Failure, indexes: &[&str]) -> Failure {
        match self.red(indexes).await {
            Some(red) => Failure { remedy: Some(RED), ..Failure::unclear(red) },
            None => failure,
        }
    }
}
