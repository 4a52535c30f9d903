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
    config::parked_table,
    error::Error,
    listener::had_key,
    output::{Output, print_json},
    reset::ResetMode,
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

/// Forgets how far a removed listener is, so that the bus keeps nothing for it any more. If an
/// earlier call could not remove the listener's notes, this one does.
///
/// # Errors
///
/// When the listener is in the config, when it still runs somewhere, when the bus does not know it,
/// or when the bus is away.
pub async fn forget_group(file: &Path, listener: &str, mode: ResetMode) -> Result<(), Error> {
    let config = Config::open_for_bus(file)?;
    let listener = listener_of(&config.bus, listener).unwrap_or(listener);
    if config.listeners.contains_key(listener) {
        return Err(Error::ListenerInConfig(listener.to_owned()));
    }
    let bus = event_bus::open(&config.bus)?;
    if mode == ResetMode::DryRun {
        return show_forgotten(&*bus, &config.bus, listener).await;
    }
    match forget(&*bus, &config.bus, listener).await {
        // An earlier call forgot the group, but not what belongs to it.
        Err(Error::UnknownGroup(_)) if has_left_something(&*bus, listener).await? => {}
        forgotten => forgotten?,
    }
    // Or a later listener of this name would get them.
    let parked = bus.kept(&parked_table(listener)).await?.len();
    bus.clear_kept(&parked_table(listener)).await?;
    if parked > 0 {
        say!("{parked} events that waited aside are forgotten, too: no handler gets them");
    }
    say!("forgotten: the bus keeps nothing for {listener} any more");
    // On a full log this waits until other listeners have read more. That is no reason to keep the
    // group.
    let removed = [Listening::key(listener), had_key(listener)].map(|key| (key, None));
    if let Err(error) = bus.put_control(&removed).await {
        warn!(
            %error,
            remedy = "run the same command again; until then use another name for new listeners",
            "the notes about the tables of the listener could not be removed: a new listener of \
             this name may miss rows of its first full sync"
        );
    }
    Ok(())
}

/// The keys of the notes that the control table has about the tables of a listener.
async fn notes(bus: &dyn Bus, listener: &str) -> Result<Vec<String>, Error> {
    let ours = [Listening::key(listener), had_key(listener)];
    let kept = bus.control().await?.changes().await?.into_iter();
    let kept = kept.filter(|(key, value)| value.is_some() && ours.contains(key));
    Ok(kept.map(|(key, _)| key).collect())
}

/// Whether the bus keeps something of a listener whose group it has forgotten.
async fn has_left_something(bus: &dyn Bus, listener: &str) -> Result<bool, Error> {
    let has_notes = !notes(bus, listener).await?.is_empty();
    Ok(has_notes || !bus.kept(&parked_table(listener)).await?.is_empty())
}

/// Says what would be forgotten.
async fn show_forgotten(bus: &dyn Bus, config: &BusConfig, listener: &str) -> Result<(), Error> {
    let name = format!("{}{listener}", prefix(config));
    let group = bus.groups().await?.into_iter().find(|group| group.name == name);
    match group {
        Some(group) if !group.members.is_empty() => {
            let members = group.members.join("; ");
            say!("would be refused: the listener still runs: {members}");
        }
        Some(group) => {
            let keeps =
                group.held_bytes.map(|held| format!("; the bus keeps {}", ByteSize::b(held)));
            say!("would be forgotten: group {name}{}", keeps.unwrap_or_default());
        }
        None if !has_left_something(bus, listener).await? => {
            return Err(Error::UnknownGroup(listener.to_owned()));
        }
        None => say!("would be removed: the notes about the tables of {listener}"),
    }
    let parked = bus.kept(&parked_table(listener)).await?.len();
    if parked > 0 {
        say!("would be forgotten, too: {parked} events that wait aside, which no handler gets");
    }
    say!("nothing is changed");
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
