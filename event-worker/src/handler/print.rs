//! The handler `print`: prints one line per event on standard output.

use std::io::Write;

use async_trait::async_trait;

use super::{Batch, Failure, Handler, Outcome};

pub(super) struct PrintHandler;

#[async_trait]
impl Handler for PrintHandler {
    async fn handle(&mut self, batch: Batch<'_>) -> Outcome {
        let mut lines = Vec::new();
        for event in batch.events {
            lines.extend_from_slice(event.json().as_bytes());
            lines.push(b'\n');
        }
        // A full pipe blocks, so not on a thread that others need.
        match tokio::task::spawn_blocking(move || write(&lines)).await {
            Ok(Ok(())) => Outcome::Done,
            Ok(Err(error)) => {
                let reason = format!("cannot write to standard output: {error}");
                Outcome::Failed(Failure::unclear(reason))
            }
            Err(error) => Outcome::Failed(Failure::unclear(error.to_string())),
        }
    }
}

fn write(lines: &[u8]) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(lines)?;
    out.flush()
}
