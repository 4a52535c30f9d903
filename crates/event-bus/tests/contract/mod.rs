//! What every backend promises: each sentence is proved on a new, empty bus.

mod groups;
mod producers;
pub(crate) mod reader;
mod resets;
mod starts;

use std::{sync::Arc, time::Duration};

use event_bus::Bus;
use futures_util::future::BoxFuture;

/// Nothing on a bus may take longer, in these tests.
const DEADLINE: Duration = Duration::from_secs(30);

/// A bus under test.
#[async_trait::async_trait]
pub(crate) trait Backend: Send + Sync {
    /// The bus, as another client of it.
    fn bus(&self) -> Arc<dyn Bus>;

    /// Makes the bus take its partitions from this member without asking it.
    async fn expel(&self, client: &str);
}

type Sentence = (&'static str, for<'a> fn(&'a dyn Backend) -> BoxFuture<'a, ()>);

/// Proves every sentence on a new bus.
pub(crate) async fn holds<B: Backend>(make: impl AsyncFn() -> B) {
    let sentences =
        [producers::SENTENCES, groups::SENTENCES, starts::SENTENCES, resets::SENTENCES].concat();
    for (sentence, prove) in sentences {
        println!("{sentence}");
        let backend = make().await;
        let proved = tokio::time::timeout(DEADLINE, prove(&backend)).await;
        assert!(proved.is_ok(), "within {DEADLINE:?}: {sentence}");
    }
}
