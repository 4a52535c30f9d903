//! The handler `exec`: a process of the user that keeps running. A batch is a line on its standard
//! input, the answer is a line on its standard output.

mod code;
mod config;
mod environment;
mod line;
mod process;
mod stderr;

use async_trait::async_trait;
use handler::{Batch, Handler, HandlerAnswer, Outcome, write_json_array};
use tokio::time::{Instant, timeout_at};
use tracing::{info, warn};

use self::{
    code::HandlerCode,
    process::{CallError, Process, Then},
};
pub use self::{config::ExecConfig, environment::Environment};
use crate::choice::Choice;

/// A buffer larger than this is freed after its batch.
const MAX_KEPT_BYTES: usize = 1 << 20;

/// A process of the user, started when it is needed.
pub struct ExecHandler {
    config: ExecConfig,
    environment: Environment,
    lane: usize,
    /// Runs and waits for a batch.
    process: Option<Process>,
    /// The code that it runs.
    code: HandlerCode,
    /// The process that has a batch. It stays here when the call is dropped.
    in_call: Option<Process>,
    /// The buffer for the line of a batch.
    line: Vec<u8>,
}

impl ExecHandler {
    /// Starts nothing yet. `lane` tells several processes of one config apart.
    pub fn new(config: ExecConfig, environment: Environment, lane: usize) -> Self {
        let code = HandlerCode::default();
        Self { config, environment, lane, process: None, code, in_call: None, line: Vec::new() }
    }

    /// The running process, or a new one. A new one starts when there is none, when its code has
    /// changed, when the old one has ended, or when the old one wrote a line without a batch: that
    /// line would count as the answer to the next batch.
    async fn running(&mut self) -> Result<Process, CallError> {
        if let Some(mut process) = self.process.take() {
            match (process.spoke_unasked().await, self.code.changed()) {
                (None, None) => return Ok(process),
                (Some(what), _) => warn!(lane = self.lane, "{what}: it is killed and restarted"),
                (None, Some(file)) => {
                    let file = file.display();
                    info!(lane = self.lane, %file, "the handler's code has changed: it is restarted");
                    process.end().await;
                }
            }
        }
        self.code = HandlerCode::of(&self.config.command);
        Process::start(&self.config.command, &self.environment, self.lane)
    }

    async fn work(&mut self, batch: Batch<'_>) -> Outcome {
        match self.call(batch).await {
            Ok(outcome) => outcome,
            Err(error) => Outcome::Failed(error.into_failure(self.end_call().await)),
        }
    }

    /// A call that does not put the process back kills it: after a time-out, when the events are
    /// taken away, and after an answer that is not understood. In the last case the next line may
    /// be the rest of that answer.
    async fn call(&mut self, batch: Batch<'_>) -> Result<Outcome, CallError> {
        let process = self.running().await?;
        let process = self.in_call.insert(process);
        self.line.clear();
        self.line.shrink_to(MAX_KEPT_BYTES);
        write_json_array(batch.events, &mut self.line);
        self.line.push(b'\n');
        let timeout = self.config.timeout;
        let deadline = Instant::now() + timeout;
        if process.is_new() {
            let begins = timeout_at(deadline, process.begins_to_read()).await;
            let begins = begins.unwrap_or(Err(CallError::TimedOut(timeout)));
            begins.map_err(|error| CallError::AtStart(Box::new(error)))?;
        }
        let text = timeout_at(deadline, process.exchange(&self.line)).await;
        let text = text.map_err(|_| CallError::TimedOut(timeout))??;
        let outcome =
            HandlerAnswer { text: &text, batch }.read_line().map_err(CallError::Rubbish)?;
        let then = timeout_at(deadline, process.reads_on()).await;
        let then = then.map_err(|_| CallError::NotReading(timeout))??;
        let said = if outcome == Outcome::Done { None } else { process.last_words().await };
        match then {
            Then::ReadsOn => self.process = self.in_call.take(),
            Then::Ended => self.in_call = None,
        }
        Ok(outcome.or_saying(said))
    }

    /// Ends the process of a failed call, and gives the last lines of its standard error.
    async fn end_call(&mut self) -> Option<String> {
        self.in_call.take()?.end().await
    }
}

#[async_trait]
impl Handler for ExecHandler {
    async fn handle(&mut self, batch: Batch<'_>) -> Outcome {
        let Some(selection) = self.config.selection.clone() else { return self.work(batch).await };
        let choice = Choice::new(&selection, batch.events);
        let outcome = match &choice.events()[..] {
            [] => Outcome::Done,
            events => self.work(Batch { events, ..batch }).await,
        };
        choice.outcome(outcome)
    }

    async fn rest(&mut self) {
        if let Some(process) = self.process.take() {
            process.end().await;
        }
    }

    async fn abandon(&mut self) {
        self.end_call().await;
    }
}
