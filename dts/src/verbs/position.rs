//! `dts position`: shows, sets, forgets and imports the saved position.

use event_bus::Checkpoint;
use serde_json::{Value, json};

use super::{
    arguments::{ImportArguments, PositionVerb},
    lead::Lead,
};
use crate::{
    binlog::{self, Hosts, Source},
    bus,
    config::{Config, Start},
    error::{Error, Result},
    import::{self, Stopped, Tool},
    position::{Saved, saved_in, seq_in},
    seq::Seq,
};

/// Carries a verb out and gives what to print: the saved position, or what it was and is.
///
/// # Errors
///
/// Refused, while a `dts` of this name runs, when the server does not have the place, or when a
/// position would be replaced unasked.
pub async fn carry_out(verb: &PositionVerb, config: Config) -> Result<Value> {
    match verb {
        PositionVerb::Show(_) => {
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
    }
}

async fn import(mut config: Config, arguments: &ImportArguments) -> Result<Value> {
    let stored = read_stored(arguments)?;
    let hold = Hold::new(&config, arguments.dry_run).await?;
    if let (Some(before), false) = (&hold.before, arguments.replace) {
        return Err(Error::refused(
            format!("dts {} has a position already: {}", config.name, before.to_json()),
            "give --replace to go on from the imported one instead",
        ));
    }
    let Source { mut conn, server, .. } = ask(&mut config).await?;
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

/// What the tool keeps in a file; `None` where it keeps it in the server.
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

/// The saved position, and the right to change it unless this is a dry run, which only looks.
struct Hold {
    before: Option<Saved>,
    seq: Option<Seq>,
    lead: Option<Lead>,
}

impl Hold {
    async fn new(config: &Config, dry_run: bool) -> Result<Self> {
        if dry_run {
            let checkpoint = bus::read_checkpoint(&config.bus, &config.name).await?;
            return Self::of(&checkpoint, None);
        }
        let lead = Lead::take(config).await?;
        let checkpoint = lead.checkpoint().clone();
        Self::of(&checkpoint, Some(lead))
    }

    fn of(checkpoint: &Checkpoint, lead: Option<Lead>) -> Result<Self> {
        Ok(Self { before: saved_in(checkpoint)?, seq: seq_in(checkpoint)?, lead })
    }

    async fn change(self, after: Option<Saved>) -> Result<Value> {
        // As it will be saved: events are numbered on.
        let after = after.map(|after| Saved { seq: self.seq, ..after });
        let answer = json!({
            "before": shown(self.before.as_ref()),
            "after": shown(after.as_ref()),
            "saved": self.lead.is_some(),
        });
        if let Some(mut lead) = self.lead {
            lead.save(after.as_ref(), self.seq).await?;
            lead.give_back().await;
        }
        Ok(answer)
    }
}

fn shown(saved: Option<&Saved>) -> Value {
    // What we wrote ourselves is JSON.
    saved.map_or(Value::Null, |saved| serde_json::from_str(&saved.to_json()).unwrap_or_default())
}

/// Connects to the first host that does, which is the config's source from then on.
async fn ask(config: &mut Config) -> Result<Source> {
    let source = Hosts::new(&config.source).find(None).await?;
    config.source = source.config.clone();
    Ok(source)
}

/// A place that the server has, as a first start there would save it.
async fn place_of(mut config: Config, start: &Start) -> Result<Saved> {
    let Source { mut conn, server, .. } = ask(&mut config).await?;
    let position = binlog::resolve_start(&mut conn, &config.source, &server, start).await?;
    let saved = Saved::new(server.uuid.clone(), position);
    binlog::check_position(&mut conn, &config.source, &server, &saved).await?;
    Ok(saved)
}
