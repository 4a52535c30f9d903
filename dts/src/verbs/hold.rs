//! The saved position, while a verb looks at it or changes it.

use event_bus::Checkpoint;
use serde_json::{Value, json};

use super::lead::HeldLead;
use crate::{
    bus,
    checkpoint::{Saved, Seq, saved_in, seq_in},
    config::Config,
    error::{Error, Result},
    replica::{Hosts, OpenSource},
};

/// The saved position, and the lead that is needed to change it. A dry run only looks, and has no
/// lead.
pub(super) struct Hold {
    before: Option<Saved>,
    /// The number of the last event.
    pub(super) seq: Option<Seq>,
    lead: Option<HeldLead>,
}

impl Hold {
    pub(super) async fn new(config: &Config, dry_run: bool) -> Result<Self> {
        if dry_run {
            let checkpoint = bus::read_checkpoint(&config.bus, &config.name).await?;
            return Self::of(&checkpoint, None);
        }
        let lead = HeldLead::take(&config.bus, &config.name).await?;
        let checkpoint = lead.checkpoint().clone();
        Self::of(&checkpoint, Some(lead))
    }

    fn of(checkpoint: &Checkpoint, lead: Option<HeldLead>) -> Result<Self> {
        Ok(Self { before: saved_in(checkpoint)?, seq: seq_in(checkpoint)?, lead })
    }

    /// Refuses to replace an existing position, if nobody asked for that.
    pub(super) fn refuse_replacing(&self, name: &str, may_replace: bool) -> Result<()> {
        match &self.before {
            Some(before) if !may_replace => Err(Error::refused(
                format!("dts {name} has a position already: {}", before.to_json()),
                "give --replace to replace it",
            )),
            _ => Ok(()),
        }
    }

    pub(super) async fn change(self, after: Option<Saved>) -> Result<Value> {
        // In the form in which it will be saved: the numbers of events go on.
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

pub(super) fn shown(saved: Option<&Saved>) -> Value {
    // What we wrote ourselves is JSON.
    saved.map_or(Value::Null, |saved| serde_json::from_str(&saved.to_json()).unwrap_or_default())
}

/// Connects to the first host that can be used; from then on it is the config's source.
pub(super) async fn ask(config: &mut Config) -> Result<OpenSource> {
    let source = Hosts::new(&config.source).find(None).await?;
    config.source = source.config.clone();
    Ok(source)
}
