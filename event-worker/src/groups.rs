//! `event-worker groups`: shows how far each listener is on the bus, and forgets a listener that
//! was removed from the config.

use std::{path::Path, time::Duration};

use bytesize::ByteSize;
use event_bus::{Bus, BusConfig, KnownGroup, TopicFilter};
use full_sync::Listening;
use serde_json::{Value, json};
use service::say;
use tokio::time::Instant;
use tracing::warn;

use crate::{
    config::Config,
    error::Error,
    output::{Output, print_json},
    supervisor::records_behind,
    table,
};

/// How long the bus may still count a member that has just ended.
const RELEASE_DEADLINE: Duration = Duration::from_secs(15);

const ASK_AGAIN: Duration = Duration::from_millis(200);

/// The listener of a group; `None` when the group does not belong to a listener.
pub(crate) fn listener_of<'a>(bus: &BusConfig, group: &'a str) -> Option<&'a str> {
    group.strip_prefix(&prefix(bus))
}

fn prefix(bus: &BusConfig) -> String {
    format!("{}.listener.", bus.topic_prefix)
}

/// Prints the group of every listener that the bus knows.
///
/// # Errors
///
/// When the config is wrong, or the bus is away.
pub async fn list_groups(file: &Path, output: Output) -> Result<(), Error> {
    let config = Config::open_for_bus(file)?;
    let bus = event_bus::open(&config.bus)?;
    let mut groups = Vec::new();
    for group in bus.groups().await? {
        let Some(listener) = listener_of(&config.bus, &group.name) else { continue };
        let listener = listener.to_owned();
        let progress = bus.progress(&group.name, &topics_of(&config, &listener)).await?;
        let is_in_config = config.listeners.contains_key(&listener);
        // A removed listener has no lag in topics that it never read.
        let met = progress.into_iter().filter(|at| is_in_config || at.committed.is_some());
        let behind = records_behind(&met.collect::<Vec<_>>());
        groups.push(ListenerGroup { listener, is_in_config, behind, group });
    }
    match output {
        Output::Json => {
            let shown: Vec<Value> = groups.iter().map(ListenerGroup::to_json).collect();
            print_json(&json!({ "groups": shown }));
        }
        Output::Words => print(&groups),
    }
    Ok(())
}

/// The group of a listener, and how far it is.
struct ListenerGroup {
    listener: String,
    is_in_config: bool,
    /// Records.
    behind: u64,
    group: KnownGroup,
}

impl ListenerGroup {
    fn to_json(&self) -> Value {
        let KnownGroup { name, members, waiting, held_bytes } = &self.group;
        json!({
            "name": name,
            "listener": self.listener,
            "inConfig": self.is_in_config,
            "lag": { "records": self.behind },
            "heldBytes": held_bytes,
            "members": members,
            "waiting": waiting,
        })
    }

    fn row(&self) -> [String; 5] {
        let KnownGroup { members, waiting, held_bytes, .. } = &self.group;
        let members = match (members.join("; "), waiting) {
            (none, 0) if none.is_empty() => "none".to_owned(),
            (members, 0) => members,
            (members, waiting) => format!("{members}; {waiting} more on standby"),
        };
        [
            self.listener.clone(),
            if self.is_in_config { "yes" } else { "no" }.to_owned(),
            self.behind.to_string(),
            held_bytes.map_or_else(|| "-".to_owned(), |held| ByteSize::b(held).to_string()),
            members,
        ]
    }
}

/// The topics of a listener; all topics, if the config does not have the listener.
fn topics_of(config: &Config, listener: &str) -> TopicFilter {
    match config.listeners.get(listener) {
        Some(found) => found.subscription(listener, &config.bus).topics,
        None => config.bus.topics().filter(&[("*".to_owned(), "*".to_owned())]),
    }
}

fn print(groups: &[ListenerGroup]) {
    let heads = ["LISTENER", "IN CONFIG", "BEHIND", "KEEPS", "MEMBERS"].map(str::to_owned);
    let rows: Vec<_> =
        std::iter::once(heads).chain(groups.iter().map(ListenerGroup::row)).collect();
    for line in table::aligned(&rows) {
        say!("{line}");
    }
}

/// Forgets how far a removed listener is, so that the bus keeps nothing for it any more.
///
/// # Errors
///
/// When the listener is in the config, when it still runs somewhere, when the bus does not know it,
/// or when the bus is away.
pub async fn forget_group(file: &Path, listener: &str) -> Result<(), Error> {
    let config = Config::open_for_bus(file)?;
    let listener = listener_of(&config.bus, listener).unwrap_or(listener);
    if config.listeners.contains_key(listener) {
        return Err(Error::ListenerInConfig(listener.to_owned()));
    }
    let bus = event_bus::open(&config.bus)?;
    forget(&*bus, &config.bus, listener).await?;
    say!("forgotten: the bus keeps nothing for {listener} any more");
    // On a full log this waits until other listeners have read more. That is no reason to keep the
    // group.
    if let Err(error) = bus.put_control(&[(Listening::key(listener), None)]).await {
        warn!(
            %error,
            "the note that tells dts which tables the listener gets could not be removed: use \
             another name for new listeners, because a new listener of this name may miss rows of \
             its first full sync"
        );
    }
    Ok(())
}

/// Forgets a group as soon as nobody is in it, within a deadline.
async fn forget(bus: &dyn Bus, config: &BusConfig, listener: &str) -> Result<(), Error> {
    let group = format!("{}{listener}", prefix(config));
    let give_up = Instant::now() + RELEASE_DEADLINE;
    loop {
        match bus.forget_group(&group).await {
            Err(event_bus::Error::GroupActive { .. }) if Instant::now() < give_up => {
                tokio::time::sleep(ASK_AGAIN).await;
            }
            Err(event_bus::Error::Rejected(_)) => {
                return Err(Error::UnknownGroup(listener.to_owned()));
            }
            done => return Ok(done?),
        }
    }
}
