//! Full syncs of one table, as the tests ask for them and wait for them.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::Running;
use crate::{
    picture::Picture,
    processes::{PATIENCE, wait_until},
};

/// The schema that the tests of full syncs capture.
pub const SCHEMA: &str = "synced";

/// The table with versions that they send.
pub const TABLE: &str = "synced.item";

impl Running {
    /// Asks for a full sync, as one does by curl, until it is answered; gives the task's id. A bus
    /// on a busy machine may need more than the five seconds that a call has, and the request may
    /// be carried out nevertheless.
    ///
    /// # Errors
    ///
    /// When it is refused, or not answered in time.
    pub async fn sync(&self, listener: &str, more: &str) -> Result<String> {
        let path = format!("/?table=item&listenerid={listener}{more}");
        let mut answered = (0, Value::Null);
        wait_until("the full sync is answered", PATIENCE, async || {
            answered = self.site.call_worker("GET", &path).await.unwrap_or_default();
            !(answered.0 == 503 && answered.1["error"]["code"] == "no_answer")
        })
        .await?;
        let (status, answer) = answered;
        // An earlier call was carried out.
        let known = (status == 409).then(|| answer["error"]["task"].as_str()).flatten();
        let id = answer["tasks"][0]["id"].as_str().or(known);
        Ok(id.with_context(|| format!("{status}: no task in {answer}"))?.to_owned())
    }

    /// What `event-worker` says of a task.
    ///
    /// # Errors
    ///
    /// When it does not answer.
    pub async fn task(&self, id: &str) -> Result<Value> {
        Ok(self.site.call_worker("GET", &format!("/api/v1/full-syncs/{id}")).await?.1)
    }

    /// Waits until a full sync has sent some rows, and not all.
    ///
    /// # Errors
    ///
    /// When it has not in time.
    pub async fn under_way(&self, id: &str) -> Result<()> {
        wait_until("the full sync is under way", PATIENCE, async || {
            let task = self.task(id).await.unwrap_or_default();
            task["rows"].as_u64().unwrap_or_default() > 1000 && task["state"] == "running"
        })
        .await
    }

    /// Waits until a task is in a state that it stays in.
    ///
    /// # Errors
    ///
    /// When it has not ended in time.
    pub async fn ended(&self, id: &str) -> Result<Value> {
        let mut task = Value::Null;
        let outcome = wait_until("the full sync ends", PATIENCE * 20, async || {
            task = self.task(id).await.unwrap_or_default();
            ["done", "failed", "cancelled"].contains(&task["state"].as_str().unwrap_or_default())
        })
        .await;
        outcome.with_context(|| format!("{task}"))?;
        Ok(task)
    }

    /// Waits until a task is done.
    ///
    /// # Errors
    ///
    /// When it ends otherwise, or not in time.
    pub async fn done(&self, id: &str) -> Result<Value> {
        let task = self.ended(id).await?;
        ensure!(task["state"] == "done", "{task}");
        Ok(task)
    }

    /// Waits until a listener's picture is the table, while nobody changes it.
    ///
    /// # Errors
    ///
    /// Names the first difference that is left.
    pub async fn complete(&self, listener: &str) -> Result<Picture> {
        let mut server = self.mysql.connect().await?;
        let recorded = self.site.path(listener);
        let mut last = String::new();
        for _ in 0..60 {
            let picture = Picture::read(&recorded, "item")?;
            match picture.check(&mut server, TABLE).await {
                Ok(_) => return Ok(picture),
                Err(error) => last = format!("{error:#}"),
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        bail!("{listener} does not come to know the table: {last}")
    }
}
