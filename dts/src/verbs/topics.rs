//! `dts topics`: uses topics as they are now, after they were deleted, made again or got more
//! partitions.

use event_bus::{ChangedTopic, TopicChange};

use super::{arguments::AdoptArguments, lead::HeldLead};
use crate::{config::Config, error::Result};

/// Accepts every changed topic as it is now, and says what that means; a dry run only says it.
///
/// # Errors
///
/// Refused, while a `dts` of this name runs; those of the bus.
pub async fn adopt(arguments: &AdoptArguments, config: &Config) -> Result<String> {
    let mut lead = HeldLead::take(&config.bus, &config.name).await?;
    let changed = lead.changed_topics().await?;
    if !arguments.dry_run {
        lead.adopt_topics(&changed).await?;
    }
    lead.give_back().await;
    let done = if arguments.dry_run { "would be adopted" } else { "adopted" };
    let mut lines: Vec<String> =
        changed.iter().map(|topic| format!("{done}: {}", meaning(topic))).collect();
    if lines.is_empty() {
        lines.push("all topics are as they were: nothing to adopt".to_owned());
    }
    Ok(lines.join("\n"))
}

fn meaning(ChangedTopic { topic, change }: &ChangedTopic) -> String {
    match change {
        TopicChange::Grown { used, partitions } => format!(
            "{topic}, {partitions} partitions instead of {used}: a key may go to another partition \
             from now on, so let all listeners finish what is there first if its order matters, also \
             what waits aside (event-worker parked list)"
        ),
        TopicChange::Replaced { partitions } => format!(
            "{topic}, made again with {partitions} partitions: records that listeners had not read \
             in the old one are lost; set each with `event-worker listener reset`"
        ),
        TopicChange::Deleted => {
            format!("{topic}, deleted: it is made again with the next change of its table")
        }
    }
}
