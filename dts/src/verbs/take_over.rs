//! `dts position take-over`: goes on, on the bus of the config, where `dts` stopped on another bus.

use event_bus::{BusConfig, BusKind, Checkpoint, LogConfig};
use event_log::StorageConfig;
use serde_json::Value;

use super::{
    arguments::TakeOverArguments,
    hold::{Hold, ask},
    lead::HeldLead,
    unread::refuse_unread,
};
use crate::{
    bus::{BusView, LastBus},
    checkpoint::{Saved, Skip, saved_in, seq_in},
    config::Config,
    error::{Error, Result},
    replica::{self, OpenSource},
};

/// Takes over the position and the number of the last event. A transaction that was published in
/// part is published again as a whole on the new bus.
///
/// # Errors
///
/// Refused, while a `dts` runs on either bus, when there is nothing to take over, when MySQL does
/// not have the place any more, when listeners have not handled all that is on the earlier bus, or
/// when a position would be replaced; the last two only without being asked to.
pub(super) async fn carry_out(mut config: Config, arguments: &TakeOverArguments) -> Result<Value> {
    let (bus, name) = before(&config, arguments).await?;
    let checkpoint = read(&bus, &name, arguments).await?;
    let Some(saved) = saved_in(&checkpoint)? else {
        return Err(Error::refused(
            format!("there is no position of dts {name} on the earlier bus"),
            "name the config file that dts ran with there: --from FILE",
        ));
    };
    let mut hold = Hold::new(&config, arguments.dry_run).await?;
    hold.refuse_replacing(&config.name, arguments.replace)?;
    hold.seq = hold.seq.max(seq_in(&checkpoint)?);
    let after = Saved { skip: Skip::default(), open: None, ..saved };
    let OpenSource { mut conn, server, .. } = ask(&mut config).await?;
    replica::check_position(&mut conn, &config.source, &server, &after).await?;
    hold.change(Some(after)).await
}

/// The earlier bus, and the name of the `dts` there.
async fn before(config: &Config, arguments: &TakeOverArguments) -> Result<(BusConfig, String)> {
    const NAME_IT: &str = "name the config file that dts ran with on the other bus: --from FILE";
    if let Some(file) = &arguments.from {
        let before = Config::open(file);
        let before = before.map_err(|mistakes| Error::refused(mistakes.to_string(), NAME_IT))?;
        return Ok((before.bus, before.name));
    }
    match LastBus::noted(config).await {
        Some(LastBus::EmbeddedLog { directory, topic_prefix }) => {
            let log = LogConfig {
                // Nobody listens there, so the log is read from its directory.
                address: "127.0.0.1:0".to_owned(),
                embedded: true,
                storage: StorageConfig::new(directory),
                token: None,
                tls: None,
                ca_file: None,
                identity: None,
            };
            Ok((BusConfig::new(BusKind::Log(Box::new(log)), &topic_prefix), config.name.clone()))
        }
        Some(other) => Err(Error::refused(format!("the position was on {other}"), NAME_IT)),
        None => {
            Err(Error::refused("dts has no note here of the bus that had its position", NAME_IT))
        }
    }
}

/// The checkpoint on the earlier bus. Nobody writes to it any more, except during a dry run.
async fn read(bus: &BusConfig, name: &str, arguments: &TakeOverArguments) -> Result<Checkpoint> {
    let is_saved =
        |checkpoint: &Checkpoint| saved_in(checkpoint).is_ok_and(|saved| saved.is_some());
    if arguments.dry_run {
        let view = BusView::open(bus, name).await?;
        if is_saved(&view.checkpoint) && !arguments.leave_unread {
            refuse_unread(&*view.bus, bus).await?;
        }
        return Ok(view.checkpoint);
    }
    let lead = HeldLead::take(bus, name).await?;
    let checkpoint = lead.checkpoint().clone();
    let judged = match is_saved(&checkpoint) && !arguments.leave_unread {
        true => refuse_unread(lead.bus(), bus).await,
        false => Ok(()),
    };
    lead.give_back().await;
    judged.map(|()| checkpoint)
}
