//! `event-log groups`: shows how far the groups of a stream are, moves them, and forgets them.

use std::path::Path;

use bytesize::ByteSize;
use clap::Subcommand;
use event_log::{Error, Start, proto::InfoResponse};
use serde_json::json;
use service::say;

use super::{
    Failure,
    connect::{Where, client},
    point,
};

#[derive(Subcommand)]
pub(crate) enum GroupsVerb {
    /// Show how far each group is, and how much is kept for it.
    List {
        #[command(flatten)]
        at: Where,
        /// Print JSON, with the names that the HTTP API of dts uses.
        #[arg(long)]
        json: bool,
    },
    /// Set where a group that has no member goes on; it may be new, as after a failover.
    Set {
        /// The name of the group, as `list` shows it.
        group: String,
        /// earliest, latest, an offset (1234), a UTC day (2026-03-01) or time
        /// (2026-03-01T10:00:00Z).
        #[arg(long, value_parser = point::start)]
        to: Start,
        #[command(flatten)]
        at: Where,
        /// Only show what would be set.
        #[arg(long)]
        dry_run: bool,
    },
    /// Forget a group that has no member: nothing is kept for it any more.
    Forget {
        /// The name of the group, as `list` shows it.
        group: String,
        #[command(flatten)]
        at: Where,
        /// Only show what would be forgotten.
        #[arg(long)]
        dry_run: bool,
    },
}

/// Asks the server, and prints what it says.
pub(crate) async fn run(verb: GroupsVerb, config: &Path) -> Result<(), Failure> {
    match verb {
        GroupsVerb::List { at, json } => {
            let held = client(config, &at)?.info(&at.stream).await?;
            if json { print_json(&held) } else { print(held) }
        }
        GroupsVerb::Set { group, to, at, dry_run } => {
            let client = client(config, &at)?;
            let offset = match to {
                // What is not there is refused, and not moved.
                Start::Offset(offset) => offset,
                to => client.locate(&at.stream, to).await?,
            };
            if !dry_run {
                client.reset_group(&at.stream, &group, offset).await?;
            }
            let done = if dry_run { "would go on" } else { "goes on" };
            say!("the group {group} of the stream {} {done} with offset {offset}", at.stream);
        }
        GroupsVerb::Forget { group, at, dry_run: true } => {
            show_forgotten(client(config, &at)?.info(&at.stream).await?, &group)?;
        }
        GroupsVerb::Forget { group, at, dry_run: false } => {
            client(config, &at)?.remove_group(&at.stream, &group).await?;
        }
    }
    Ok(())
}

fn print(held: InfoResponse) {
    say!("{:48} {:>10} {:>10}  MEMBER", "GROUP", "BEHIND", "KEEPS");
    for group in held.groups {
        let behind = behind(held.next_offset, group.committed);
        let keeps = ByteSize::b(group.held_bytes).to_string();
        let member = if group.client.is_empty() { "none" } else { &group.client };
        say!("{:48} {behind:>10} {keeps:>10}  {member}", group.name);
    }
}

/// Says what would be forgotten.
fn show_forgotten(mut held: InfoResponse, group: &str) -> Result<(), Error> {
    held.groups.retain(|known| known.name == group);
    let Some(known) = held.groups.first() else {
        return Err(Error::Rejected(format!("there is no group {group}")));
    };
    let is_free = known.client.is_empty();
    print(held);
    say!("{}", if is_free { "would be forgotten" } else { "would be refused: it has a member" });
    say!("nothing is changed");
    Ok(())
}

fn print_json(held: &InfoResponse) {
    let groups = held.groups.iter().map(|group| {
        let members: Vec<&str> =
            Some(&*group.client).filter(|client| !client.is_empty()).into_iter().collect();
        json!({
            "name": group.name,
            "committed": group.committed,
            "lag": { "records": behind(held.next_offset, group.committed) },
            "heldBytes": group.held_bytes,
            "members": members,
        })
    });
    say!("{:#}", json!({ "groups": groups.collect::<Vec<_>>() }));
}

fn behind(next_offset: u64, committed: Option<u64>) -> u64 {
    next_offset.saturating_sub(committed.unwrap_or_default())
}
