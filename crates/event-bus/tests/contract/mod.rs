//! What every backend promises: each sentence is proved on a new, empty bus.

mod control;
mod groups;
mod kept;
mod outside;
mod producers;
pub(crate) mod reader;
mod resets;
mod starts;

use std::{
    panic::AssertUnwindSafe,
    sync::Arc,
    time::{Duration, Instant},
};

use event_bus::Bus;
use futures_util::{FutureExt as _, StreamExt as _, future::BoxFuture, stream};

/// Nothing on a bus may take longer, in these tests.
const DEADLINE: Duration = Duration::from_mins(3);

/// A bus under test.
#[async_trait::async_trait]
pub(crate) trait Backend: Send + Sync {
    /// The bus, as another client of it.
    fn bus(&self) -> Arc<dyn Bus>;

    /// The prefix of its topics and groups.
    fn prefix(&self) -> String {
        "t".to_owned()
    }

    /// Makes the bus take its partitions from this member without asking it.
    async fn expel(&self, client: &str);
}

type Sentence = (&'static str, for<'a> fn(&'a dyn Backend) -> BoxFuture<'a, ()>);

/// Sentences that are proved at once: most of their time they wait for a bus.
const AT_ONCE: usize = 8;

/// Proves every sentence, each on a new bus, and says which of them failed.
pub(crate) async fn holds<B: Backend>(make: impl AsyncFn() -> B) {
    let parts = [
        producers::SENTENCES,
        groups::SENTENCES,
        kept::SENTENCES,
        starts::SENTENCES,
        resets::SENTENCES,
        outside::SENTENCES,
        control::SENTENCES,
    ];
    let proved = stream::iter(parts.concat()).map(|sentence| unproved(&make, sentence));
    let broken: Vec<_> = proved.buffer_unordered(AT_ONCE).filter_map(async |it| it).collect().await;
    assert!(broken.is_empty(), "{broken:?}");
}

/// The sentence, unless it holds.
async fn unproved<B: Backend>(
    make: &impl AsyncFn() -> B,
    (sentence, prove): Sentence,
) -> Option<&'static str> {
    let started = Instant::now();
    let backend = make().await;
    let proved = reader::PREFIX.scope(backend.prefix(), prove(&backend));
    let proved = AssertUnwindSafe(tokio::time::timeout(DEADLINE, proved)).catch_unwind().await;
    let verdict = match proved {
        Ok(Ok(())) => "holds",
        Ok(Err(_)) => "not in time",
        Err(_) => "broken",
    };
    println!("{sentence}: {verdict}, {:.1} s", started.elapsed().as_secs_f32());
    (verdict != "holds").then_some(sentence)
}
