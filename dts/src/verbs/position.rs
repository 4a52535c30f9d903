//! `dts position`: shows, sets, forgets and imports the saved position.

use serde_json::Value;

use super::{
    arguments::{ImportArguments, PositionVerb},
    hold::{Hold, ask, shown},
    take_over,
};
use crate::{
    bus,
    checkpoint::{Saved, saved_in},
    config::{Config, Start},
    error::{Error, Result},
    import::{self, Stopped, Tool},
    replica::{self, OpenSource, Server},
};

/// Carries a verb out and returns what to print: the saved position, or the position before and
/// after.
///
/// # Errors
///
/// Refused, while a `dts` of this name runs, when the server does not have the place, or when a
/// position would be replaced without being asked to.
pub async fn carry_out(verb: &PositionVerb, config: Config) -> Result<Value> {
    match verb {
        PositionVerb::Show => {
            let checkpoint = bus::read_checkpoint(&config.bus, &config.name).await?;
            Ok(shown(saved_in(&checkpoint)?.as_ref()))
        }
        PositionVerb::Set(arguments) => {
            let hold = Hold::new(&config, arguments.dry_run).await?;
            let after = place_of(config, &arguments.start()).await?;
            hold.change(Some(after)).await
        }
        PositionVerb::Reset(arguments) => {
            let hold = Hold::new(&config, arguments.dry_run).await?;
            hold.change(None).await
        }
        PositionVerb::Import(arguments) => import(config, arguments).await,
        PositionVerb::TakeOver(arguments) => take_over::carry_out(config, arguments).await,
    }
}

async fn import(mut config: Config, arguments: &ImportArguments) -> Result<Value> {
    let stored = read_stored(arguments)?;
    let hold = Hold::new(&config, arguments.dry_run).await?;
    hold.refuse_replacing(&config.name, arguments.replace)?;
    let OpenSource { mut conn, server, .. } = ask(&mut config).await?;
    let stopped = match stored {
        Some(stopped) => stopped,
        None => {
            let row = arguments.maxwell_row();
            import::read_maxwell(&mut conn, &config.source, &row).await?
        }
    };
    let after = import::settle(&mut conn, &config, &server, &stopped).await?;
    hold.change(Some(after)).await
}

/// The position that the tool keeps in a file; `None` if it keeps its position in the server.
fn read_stored(arguments: &ImportArguments) -> Result<Option<Stopped>> {
    let read = |path: &Option<std::path::PathBuf>| {
        let path = path.as_ref().ok_or_else(|| Error::Internal("no file is named".to_owned()))?;
        import::read_file(path)
    };
    match arguments.tool() {
        Tool::Debezium => {
            let server = arguments.server.as_deref();
            import::read_debezium(&read(&arguments.offsets)?, server).map(Some)
        }
        Tool::Canal => {
            let destination = arguments.destination.as_deref();
            import::read_canal(&read(&arguments.meta)?, destination).map(Some)
        }
        Tool::Maxwell => Ok(None),
    }
}

/// A place of the server, as a first start would save it.
async fn place_of(mut config: Config, start: &Start) -> Result<Saved> {
    let OpenSource { mut conn, server, .. } = ask(&mut config).await?;
    let position = replica::resolve_start(&mut conn, &config.source, &server, start).await?;
    let saved = Saved::new(server.uuid.clone(), position);
    // The server has gone on since it was asked: "latest" may be newer than its end at that time.
    let server = Server::ask(&mut conn, &config.source).await?;
    replica::check_position(&mut conn, &config.source, &server, &saved).await?;
    Ok(saved)
}
