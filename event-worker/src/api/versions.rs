//! `/api/v1/versions`: the nodes of all environments, and which environment runs each listener.

use std::{collections::BTreeSet, sync::Arc};

use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};

use crate::{
    environment::{
        ShownNode, Standing,
        decide::{self, Contender},
    },
    listener::status::Problem,
    supervisor::Supervisor,
};

/// What this node knows of all nodes.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct VersionsView {
    /// The id of this node.
    pub(crate) node: String,
    pub(crate) environment: String,
    /// Why this node cannot ask the bus: what it shows may be old then.
    pub(crate) error: Option<Problem>,
    pub(crate) nodes: Vec<NodeView>,
    pub(crate) listeners: Vec<RunsView>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct NodeView {
    pub(crate) id: String,
    pub(crate) host: String,
    pub(crate) pid: u32,
    pub(crate) environment: String,
    pub(crate) rank: u32,
    /// Whether it is the node that answers.
    pub(crate) is_this: bool,
    /// Until its lease ends; 0 when the node is gone.
    pub(crate) lease_seconds: f64,
    pub(crate) listeners: Vec<OfferView>,
}

/// A listener that a node can run.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct OfferView {
    pub(crate) id: String,
    pub(crate) version: u64,
    /// Whether the node runs it, or may begin at any moment.
    pub(crate) holds: bool,
    /// Whether the node is about to give it up for good.
    pub(crate) leaves: bool,
}

/// Which environment runs a listener.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct RunsView {
    pub(crate) id: String,
    pub(crate) environment: Option<String>,
    pub(crate) version: Option<u64>,
    pub(crate) why: String,
}

impl VersionsView {
    fn new(standing: &Standing) -> Self {
        let ids: BTreeSet<&String> =
            standing.nodes().flat_map(|node| node.entry.listeners.keys()).collect();
        Self {
            node: standing.id.clone(),
            environment: standing.own.environment.clone(),
            error: standing.trouble.as_ref().and_then(|trouble| trouble.problem.clone()),
            nodes: standing.nodes().map(NodeView::from).collect(),
            listeners: ids.into_iter().map(|id| runs(standing, id)).collect(),
        }
    }
}

fn runs(standing: &Standing, listener: &str) -> RunsView {
    let contenders = standing.contenders(listener);
    let first: Option<&Contender> = contenders.first();
    RunsView {
        id: listener.to_owned(),
        environment: first.map(|first| first.environment.clone()),
        version: first.map(|first| first.version),
        why: decide::why(&contenders),
    }
}

impl From<ShownNode<'_>> for NodeView {
    fn from(ShownNode { id, entry, is_this, lease_seconds }: ShownNode<'_>) -> Self {
        let offers = entry.listeners.iter().map(|(id, offer)| OfferView {
            id: id.clone(),
            version: offer.version,
            holds: offer.holds,
            leaves: offer.leaves,
        });
        Self {
            id: id.to_owned(),
            host: entry.host.clone(),
            pid: entry.pid,
            environment: entry.environment.clone(),
            rank: entry.rank,
            is_this,
            lease_seconds,
            listeners: offers.collect(),
        }
    }
}

pub(super) async fn show(State(supervisor): State<Arc<Supervisor>>) -> Json<VersionsView> {
    Json(VersionsView::new(&supervisor.nodes.lock()))
}
