//! What a relay calls with a batch, and what that answers.

use event_log::Record;
use handler::{Failure, Outcome};

/// What a relay calls.
pub trait Callback: Send {
    /// Does the work for some records, in order; there is at least one. `attempt` counts the calls
    /// with the first of them: 1, 2, 3 …
    fn call(&mut self, records: &[Record], attempt: u32) -> impl Future<Output = Answer> + Send;

    /// What a human can do about a failure that does not say it itself.
    fn remedy(&self) -> &'static str {
        "correct what is called; it is called again by itself"
    }

    /// Nothing more comes.
    fn end(&mut self) -> impl Future<Output = ()> + Send {
        async {}
    }
}

/// How a call ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// All records are done.
    Done,
    /// None is done: they come again.
    Failed(Failure),
    /// Records failed. They come again, each with every later record of its topic and key in the
    /// batch, before anything later; the others are done.
    Partly {
        /// The offsets of those that failed.
        failed: Vec<u64>,
        /// Why.
        failure: Failure,
    },
}

impl Answer {
    /// The answer of a handler to a batch whose events have these ids; `offsets` are those of the
    /// records.
    pub(crate) fn of(outcome: Outcome, ids: &[&str], offsets: &[u64]) -> Self {
        let (failed, failure) = match outcome {
            Outcome::Done => return Self::Done,
            Outcome::Failed(failure) => return Self::Failed(failure),
            Outcome::Partly { failed, failure } => (failed, failure),
        };
        let offset_of = |id: &String| {
            let at = ids.iter().position(|known| known == id)?;
            offsets.get(at).copied()
        };
        match failed.iter().map(offset_of).collect::<Option<Vec<u64>>>() {
            Some(failed) => Self::Partly { failed, failure },
            None => {
                let reason = "the handler says that events failed that it did not get";
                Self::Failed(Failure { said: failure.said, ..Failure::unclear(reason) })
            }
        }
    }
}

/// A closure as a callback: made by [`each_batch`].
#[derive(Debug)]
pub struct EachBatch<F>(F);

/// Calls a closure with each batch. What it gives as an error is the reason of a failure, and
/// stands in the log: nothing of the records belongs there. A panic of the closure is not caught.
pub fn each_batch<F, R>(closure: F) -> EachBatch<F>
where
    F: FnMut(Vec<Record>) -> R + Send,
    R: Future<Output = Result<(), String>> + Send,
{
    EachBatch(closure)
}

impl<F, R> Callback for EachBatch<F>
where
    F: FnMut(Vec<Record>) -> R + Send,
    R: Future<Output = Result<(), String>> + Send,
{
    async fn call(&mut self, records: &[Record], _: u32) -> Answer {
        match (self.0)(records.to_vec()).await {
            Ok(()) => Answer::Done,
            Err(reason) => Answer::Failed(Failure::new(reason)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_become_offsets_and_unknown_ones_fail_the_whole_batch() {
        let answer = |failed: &[&str]| {
            let failed = failed.iter().map(|id| (*id).to_owned()).collect();
            Answer::of(Outcome::partly(failed, Some("why".into())), &["a", "b"], &[3, 7])
        };
        assert!(matches!(answer(&["b"]), Answer::Partly { failed, .. } if failed == [7]));
        let Answer::Failed(failure) = answer(&["b", "x"]) else { panic!("it is not all") };
        assert!(failure.is_unclear && failure.said.as_deref() == Some("why"));
    }
}
