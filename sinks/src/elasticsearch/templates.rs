//! Index templates: with them also indexes that others make, or that a rollover makes, have the
//! mappings of the table.
//!
//! A template is made once, and changed when the table gains columns or the config changes. One
//! that no sink has made is never touched.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use full_sync::Table;
use handler::Failure;
use reqwest::{Method, StatusCode};
use serde_json::Value;
use tracing::{info, warn};

use super::{
    client::{SearchClient, refusal},
    hosts::{Answer, Request},
    mappings::without_unknown_type,
    template_body::{Making, is_ours, is_settled, template_body},
    template_config::Identity,
};

/// A template is looked at again after this time: somebody may have deleted it.
const LOOK_AGAIN_AFTER: Duration = Duration::from_secs(60);

/// So many types that a server does not know are left out.
const MAX_UNKNOWN_TYPES: usize = 5;

/// So often another one may be first to make the same template.
const MAX_BEATEN: usize = 5;

const API: &str = "_index_template";

const FOREIGN: &str = "give the sink's template another `template.name`, or delete that one (DELETE \
                       /_index_template/NAME), and set template.priority where both are for the \
                       same indexes";
const SAME_PRIORITY: &str = "set `template.priority` higher (then the sink's template is taken) or \
                             lower (then the other one), or narrow `template.patterns`; or delete the other one, if \
                             nobody needs that any more (DELETE /_index_template/NAME)";
const OTHERS: &str = "it is again as the config says; if this comes every minute, listeners with \
                      one template have another `template` or `fields`: give them the same, or \
                      each a `template.name` and `template.patterns`";
const FORBIDDEN: &str = "grant the cluster privilege manage_index_templates (with the security \
                         plugin of OpenSearch: the cluster permission \
                         indices:admin/index_template/*), or remove `template`; event-worker check \
                         says with which request";
const REFUSED: &str = "correct `template` or `fields` of the sink, as the server says";

/// The templates that were seen or made, by their tables.
#[derive(Debug, Default)]
pub(super) struct Templates {
    known: Mutex<BTreeMap<(String, String), Known>>,
}

#[derive(Debug)]
struct Known {
    looked: Instant,
    /// The table as it was then.
    table: Arc<Table>,
}

/// What became of a template.
#[derive(Debug)]
pub(super) enum Settled {
    AsExpected,
    Made,
    Replaced,
    /// Somebody else has just made one of this name.
    Beaten,
}

impl Templates {
    /// Sees to it that the template of a table is as it is to be.
    ///
    /// # Errors
    ///
    /// Why it can be neither seen nor made.
    pub(super) async fn prepare(
        &self,
        client: &SearchClient,
        table: &Arc<Table>,
        making: Making<'_>,
    ) -> Result<(), Failure> {
        let before = self.known(table);
        if before.is_some_and(|looked| looked.elapsed() < LOOK_AGAIN_AFTER) {
            return Ok(());
        }
        let Identity { name, patterns, .. } = making.identity;
        for _ in 0..MAX_BEATEN {
            match settle(client, making).await? {
                Settled::Beaten => continue,
                Settled::AsExpected => {}
                Settled::Made => info!(name, ?patterns, "an index template is made"),
                Settled::Replaced if before.is_some() => {
                    warn!(
                        name,
                        ?patterns,
                        remedy = OTHERS,
                        "an index template was changed by others"
                    );
                }
                Settled::Replaced => info!(name, ?patterns, "an index template is changed"),
            }
            let known = Known { looked: Instant::now(), table: Arc::clone(table) };
            self.lock().insert((table.schema.clone(), table.table.clone()), known);
            return Ok(());
        }
        Err(Failure::unclear(format!("others make and delete the index template {name}")))
    }

    /// All are looked at again.
    pub(super) fn doubt(&self) {
        self.lock().clear();
    }

    /// When the template of the table, as it is now, was looked at.
    fn known(&self, table: &Arc<Table>) -> Option<Instant> {
        let known = self.lock();
        let known = known.get(&(table.schema.clone(), table.table.clone()))?;
        (Arc::ptr_eq(&known.table, table) || known.table == *table).then_some(known.looked)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<(String, String), Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn settle(client: &SearchClient, making: Making<'_>) -> Result<Settled, Failure> {
    let name = &*making.identity.name;
    let there = find(client, name).await?;
    let there = there.as_ref();
    let mut body = template_body(making, there);
    for _ in 0..=MAX_UNKNOWN_TYPES {
        if there.is_some_and(|there| is_settled(there, &body)) {
            return Ok(Settled::AsExpected);
        }
        // What somebody else makes in this moment is not replaced.
        let query = there.is_none().then_some("create=true");
        let (path, text) = ([API, name], body.to_string());
        let request = Request { query, body: &text, ..Request::new(Method::PUT, &path) };
        let answer = client.ask(&request).await?;
        if answer.status.is_success() {
            return Ok(if there.is_none() { Settled::Made } else { Settled::Replaced });
        }
        if there.is_none() && said(&answer).contains("already exists") {
            return Ok(Settled::Beaten);
        }
        body = less(body, name, &answer)?;
    }
    Err(too_few_types(name))
}

/// Tries what [`Templates::prepare`] would do, and changes nothing. Gives the names of the
/// templates that are for some of the same indexes.
///
/// # Errors
///
/// Why it would fail.
pub(super) async fn rehearse(
    client: &SearchClient,
    making: Making<'_>,
) -> Result<Vec<String>, Failure> {
    let name = &*making.identity.name;
    let there = find(client, name).await?;
    let mut body = template_body(making, there.as_ref());
    for _ in 0..=MAX_UNKNOWN_TYPES {
        let (path, text) = ([API, "_simulate", name], body.to_string());
        let request = Request { body: &text, ..Request::new(Method::POST, &path) };
        let answer = client.ask(&request).await?;
        if answer.status.is_success() {
            let parsed: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
            let others = parsed["overlapping"].as_array().into_iter().flatten();
            let names = others.filter_map(|other| other["name"].as_str().map(str::to_owned));
            return Ok(names.filter(|other| other != name).collect());
        }
        body = less(body, name, &answer)?;
    }
    Err(too_few_types(name))
}

/// The template of this name, if a sink has made it; `None`: there is none.
///
/// # Errors
///
/// That somebody else has made it, or that it cannot be seen.
async fn find(client: &SearchClient, name: &str) -> Result<Option<Value>, Failure> {
    let Some(there) = look_up(client, name).await? else { return Ok(None) };
    if is_ours(&there) {
        return Ok(Some(there));
    }
    let reason = format!("the server has an index template {name} that dbevent has not made");
    Err(Failure { remedy: Some(FOREIGN), ..Failure::unclear(reason) })
}

/// The template of this name, whoever has made it.
///
/// # Errors
///
/// Why it cannot be seen.
pub(super) async fn look_up(client: &SearchClient, name: &str) -> Result<Option<Value>, Failure> {
    let answer = client.ask(&Request::new(Method::GET, &[API, name])).await?;
    if answer.status == StatusCode::NOT_FOUND {
        return Ok(None);
    }
    if !answer.status.is_success() {
        return Err(refused(name, &answer));
    }
    let mut parsed: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let there = parsed.pointer_mut("/index_templates/0/index_template").map(Value::take);
    there.map(Some).ok_or_else(|| {
        Failure::unclear(format!("the index template {name} of the server is not understood"))
    })
}

/// The same body without a type that the server does not know.
///
/// # Errors
///
/// What else is wrong with it.
fn less(mut body: Value, name: &str, answer: &Answer) -> Result<Value, Failure> {
    let less = without_unknown_type(&body["template"], &said(answer));
    body["template"] = less.ok_or_else(|| refused(name, answer))?;
    Ok(body)
}

fn refused(name: &str, answer: &Answer) -> Failure {
    let failure = refusal(answer);
    let (reason, remedy) = match answer.status {
        StatusCode::FORBIDDEN => ("the user may not make index templates".to_owned(), FORBIDDEN),
        StatusCode::BAD_REQUEST if said(answer).contains("same priority") => {
            let reason = "another template is for the same indexes, with the same priority";
            (reason.to_owned(), SAME_PRIORITY)
        }
        StatusCode::BAD_REQUEST => (failure.reason.clone(), REFUSED),
        _ => return Failure { reason: cannot(name, &failure.reason), ..failure },
    };
    Failure { reason: cannot(name, &reason), remedy: Some(remedy), ..failure }
}

fn cannot(name: &str, why: &str) -> String {
    format!("the index template {name} cannot be made: {why}")
}

fn too_few_types(name: &str) -> Failure {
    Failure::unclear(cannot(name, "the server knows too few types for the table"))
}

fn said(answer: &Answer) -> String {
    String::from_utf8_lossy(&answer.body).into_owned()
}
