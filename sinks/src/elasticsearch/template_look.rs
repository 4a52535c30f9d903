//! What `event-worker check` finds out about index templates. All of it is tried, without changing
//! anything.

use super::{
    client::SearchClient,
    indexes::{NO_ALIAS, Wanted, is_index},
    look::{Role, has_privileges, may_make_templates},
    template_body::{Making, is_ours},
    template_config::{Identity, TemplateConfig},
    templates::{look_up, rehearse},
};
use crate::target::TargetFinding;

/// At most so many templates are looked at.
const MAX_TEMPLATES: usize = 20;

/// What is looked at.
pub(super) struct Looked<'l> {
    pub(super) identity: Identity,
    pub(super) wanted: Wanted<'l>,
    /// The table's index, where all its rows go to one.
    pub(super) index: Option<String>,
}

/// Looks at the templates of tables.
pub(super) async fn look(
    client: &SearchClient,
    config: &TemplateConfig,
    templates: &[Looked<'_>],
) -> Vec<TargetFinding> {
    let mut findings = Vec::new();
    let mut seen = Vec::new();
    for Looked { identity, wanted, index } in templates {
        if seen.len() >= MAX_TEMPLATES || seen.contains(&&identity.name) {
            continue;
        }
        seen.push(&identity.name);
        let making = Making { config, identity, wanted: *wanted };
        findings.extend(look_at(client, making).await);
        let alias = index.as_ref().filter(|_| config.rollover).map(|index| index.to_lowercase());
        if let Some(alias) = alias
            && is_index(client, &alias).await
        {
            let what = format!("`template.rollover` is set, and {alias} is an index and no alias");
            findings.push(TargetFinding::doubtful(what, NO_ALIAS));
        }
    }
    findings
}

async fn look_at(client: &SearchClient, making: Making<'_>) -> Vec<TargetFinding> {
    let Making { config, identity, .. } = making;
    let Identity { name, patterns, priority } = identity;
    let names: Vec<&str> = patterns.iter().map(String::as_str).collect();
    let role = Role { names: &names, has_template: true, has_rollover: config.rollover };
    if !may_make_templates(client).await {
        let what = format!("the user may not make the index template {name}");
        return vec![TargetFinding::wrong(what, role.request())];
    }
    let others = match rehearse(client, making).await {
        Ok(others) => others,
        Err(failure) => {
            let said = failure.said.map_or_else(String::new, |said| format!(" ({said})"));
            let remedy = failure.remedy.unwrap_or("see what the server says");
            return vec![TargetFinding::wrong(format!("{}{said}", failure.reason), remedy)];
        }
    };
    let is_for = format!("{} (priority {priority})", patterns.join(", "));
    let mut findings =
        vec![TargetFinding::good(format!("the index template {name} is for {is_for}"))];
    for other in others {
        findings.extend(look_at_other(client, identity, &other).await);
    }
    // An index of a name that is fixed is looked at by itself.
    let is_looked_at = !config.rollover && patterns.iter().any(|pattern| !pattern.contains('*'));
    if !is_looked_at && !has_privileges(client, &names, role.making()).await {
        let what =
            format!("the user may not make and write to the indexes {}", patterns.join(", "));
        findings.push(TargetFinding::wrong(what, role.request()));
    }
    findings
}

/// Another template that is for some of the same indexes, and is taken instead of ours.
async fn look_at_other(
    client: &SearchClient,
    identity: &Identity,
    other: &str,
) -> Option<TargetFinding> {
    let there = look_up(client, other).await.ok()??;
    let priority = there["priority"].as_u64().unwrap_or_default();
    if priority <= identity.priority || is_ours(&there) {
        return None;
    }
    let Identity { name, priority: own, .. } = identity;
    Some(TargetFinding::doubtful(
        format!(
            "the index template {other} has the priority {priority}, and {name} has {own}: the \
             server takes {other} for indexes that both are for ({})",
            there["index_patterns"]
        ),
        "set template.priority higher, unless that is what you want",
    ))
}
