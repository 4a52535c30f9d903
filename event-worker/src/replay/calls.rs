//! What a caller can ask: starts, shows, pauses, resumes and cancels replays.

use std::{sync::Arc, time::Duration};

use event_bus::{Bus, Subscription};
use full_sync::{Wish, Wished};
use rand::RngExt as _;
use service::clock::now_ms;
use tokio::time::timeout;

use super::{
    entry::{KnownReplay, Replay, ReplayTable, wish_entry},
    form::WantedEvents,
    plan::plan,
    refusal::RefusedReplay,
};
use crate::{error::Error, full_sync::Target};

/// A call is answered within this, whatever the bus does.
const CALL_DEADLINE: Duration = Duration::from_secs(20);

/// What a user wants a replay to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplayWish {
    /// To pause.
    Pause,
    /// To go on after a pause.
    Resume,
    /// To end without the rest.
    Cancel,
}

impl ReplayWish {
    /// The last part of its path in the API.
    pub(super) fn verb(self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Cancel => "cancel",
        }
    }

    fn wished(self) -> Wished {
        match self {
            Self::Pause => Wished::Pause,
            Self::Resume => Wished::Run,
            Self::Cancel => Wished::Cancel,
        }
    }
}

/// The replays of a bus.
pub(crate) struct ReplayCalls {
    bus: Arc<dyn Bus>,
}

impl ReplayCalls {
    pub(crate) fn new(bus: Arc<dyn Bus>) -> Self {
        Self { bus }
    }

    /// Writes down a replay; durable when this returns. The members of the listener's group follow
    /// within moments, or when there are some.
    ///
    /// # Errors
    ///
    /// When nothing will come.
    pub(crate) async fn start(
        &self,
        (target, subscription): (Target, Subscription),
        wanted: WantedEvents,
    ) -> Result<KnownReplay, RefusedReplay> {
        let table = wanted.table.as_deref().filter(|table| !target.may_get(table));
        if let Some(table) = table {
            let (listener, table) = (target.id, table.to_owned());
            return Err(RefusedReplay::NotSubscribed { listener, table });
        }
        if wanted.from.is_after(now_ms()) {
            return Err(RefusedReplay::Future(wanted.from.text().to_owned()));
        }
        self.in_time(self.write(&target.id, &subscription, wanted)).await
    }

    async fn write(
        &self,
        listener: &str,
        subscription: &Subscription,
        wanted: WantedEvents,
    ) -> Result<KnownReplay, RefusedReplay> {
        let is_there =
            |known: &KnownReplay| known.replay.listener == listener && !known.state().is_final();
        if let Some(running) = self.table().await?.all().into_iter().find(is_there) {
            return Err(RefusedReplay::Running(running.replay.id));
        }
        let ranges = plan(&*self.bus, subscription, &wanted).await?;
        let at_ms = now_ms();
        let replay = Replay {
            id: new_id(at_ms),
            listener: listener.to_owned(),
            ranges,
            from_seq: wanted.from.seq(),
            to_seq: wanted.to.as_ref().and_then(|to| to.seq()),
            from: wanted.from.text().to_owned(),
            to: wanted.to.map(|to| to.text().to_owned()),
            table: wanted.table,
            key: wanted.key,
            force: wanted.force,
            at_ms,
        };
        self.bus.put_control(&[replay.entry()]).await?;
        let places = vec![None; replay.ranges.len()];
        Ok(KnownReplay { replay, wish: None, places })
    }

    /// All that are kept, the newest first.
    ///
    /// # Errors
    ///
    /// When the bus does not answer.
    pub(crate) async fn all(&self) -> Result<Vec<KnownReplay>, RefusedReplay> {
        let all = async { Ok(self.table().await?.all().into_iter().rev().collect()) };
        self.in_time(all).await
    }

    /// One of them.
    ///
    /// # Errors
    ///
    /// When there is none of this id, or the bus does not answer.
    pub(crate) async fn one(&self, id: &str) -> Result<KnownReplay, RefusedReplay> {
        let found = self.all().await?.into_iter().find(|known| known.replay.id == id);
        found.ok_or_else(|| RefusedReplay::NoSuchReplay(id.to_owned()))
    }

    /// Writes down a wish for a replay; durable when this returns.
    ///
    /// # Errors
    ///
    /// When there is none of this id, when it has ended, or when the bus does not answer.
    pub(crate) async fn wish(
        &self,
        id: &str,
        wish: ReplayWish,
    ) -> Result<KnownReplay, RefusedReplay> {
        let known = self.one(id).await?;
        let state = known.state();
        if state.is_final() {
            return Err(RefusedReplay::Ended(id.to_owned(), state));
        }
        let wish = Wish { state: wish.wished(), at_ms: now_ms() };
        let put = async { Ok(self.bus.put_control(&[wish_entry(id, wish)]).await?) };
        self.in_time(put).await?;
        Ok(KnownReplay { wish: Some(wish), ..known })
    }

    async fn table(&self) -> event_bus::Result<ReplayTable> {
        let mut table = ReplayTable::default();
        table.take(self.bus.control().await?.changes().await?);
        Ok(table)
    }

    async fn in_time<T>(
        &self,
        asked: impl Future<Output = Result<T, RefusedReplay>>,
    ) -> Result<T, RefusedReplay> {
        let late = |_| Err(Error::SlowBus(CALL_DEADLINE).into());
        timeout(CALL_DEADLINE, asked).await.unwrap_or_else(late)
    }
}

/// A name for a replay that no other one has.
fn new_id(now_ms: u64) -> String {
    format!("replay-{now_ms}-{:04x}", rand::rng().random::<u16>())
}
