//! What must be true of the past events that a listener got once more.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::{
    processes::{PATIENCE, wait_until},
    programs::Site,
    recording::{Event, Recording},
};

/// What the events of a replay say of themselves.
const ORIGIN: &str = "replay";

/// The states in which a replay stays.
const ENDS: [&str; 3] = ["done", "cancelled", "failed"];

/// A replay as the API shows it.
#[derive(Clone, Debug)]
pub struct Replay(pub Value);

/// What came of a replay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Came {
    /// Events that came, without repeats.
    pub replayed: usize,
    /// Events of its range that did not come, because their keys have newer ones.
    pub left_out: usize,
    /// Events that came again.
    pub repeated: usize,
}

/// Waits until the listener `all` has committed all that is on the bus, as the bus itself says.
///
/// # Errors
///
/// When it has not in time.
pub async fn all_committed(site: &Site) -> Result<()> {
    let mut told = String::new();
    let outcome = wait_until("all is committed", PATIENCE, async || {
        let groups = site.run_worker(&["groups", "list", "--json"]).await;
        told = groups.map(|(_, output)| output).unwrap_or_default();
        let groups: Value = serde_json::from_str(&told).unwrap_or_default();
        let all = groups["groups"].as_array().into_iter().flatten();
        let mut ours = all.filter(|group| group["listener"] == "all");
        ours.next().is_some_and(|group| group["lag"]["records"] == 0)
    });
    outcome.await.with_context(|| told.clone())
}

impl Replay {
    /// Asks for a replay to the listener `all`, as one does on the command line.
    ///
    /// # Errors
    ///
    /// When it is refused.
    pub async fn start(site: &Site, words: &[&str]) -> Result<Self> {
        let words = [&["replay", "-t", "all", "--json"], words].concat();
        let (code, output) = site.run_worker(&words).await?;
        ensure!(code == Some(0), "{code:?}: {output}");
        Ok(Self(serde_json::from_str(&output).context(output)?))
    }

    /// Its id.
    ///
    /// # Errors
    ///
    /// When it has none.
    pub fn id(&self) -> Result<&str> {
        self.0["id"].as_str().with_context(|| self.0.to_string())
    }

    /// How it is now.
    ///
    /// # Errors
    ///
    /// When `event-worker` does not answer.
    pub async fn now(&self, site: &Site) -> Result<Self> {
        let path = format!("/api/v1/replays/{}", self.id()?);
        Ok(Self(site.call_worker("GET", &path).await?.1))
    }

    /// Waits until it is in a state.
    ///
    /// # Errors
    ///
    /// When it is not in time, or has ended in another state.
    pub async fn wait_for(&self, site: &Site, state: &str) -> Result<Self> {
        let mut now = self.clone();
        let outcome = wait_until("the replay comes so far", 4 * PATIENCE, async || {
            now = self.now(site).await.unwrap_or(now.clone());
            now.0["state"] == state || ENDS.iter().any(|end| now.0["state"] == *end)
        });
        outcome.await.with_context(|| now.0.to_string())?;
        ensure!(now.0["state"] == state, "not {state}: {}", now.0);
        Ok(now)
    }

    /// Waits until it has replayed more than so many events, or has ended.
    ///
    /// # Errors
    ///
    /// When it has not in time.
    pub async fn wait_to_move(&self, site: &Site, before: u64) -> Result<Self> {
        let mut now = self.clone();
        let outcome = wait_until("the replay moves", 2 * PATIENCE, async || {
            now = self.now(site).await.unwrap_or(now.clone());
            now.figure("replayed") > before || ENDS.iter().any(|end| now.0["state"] == *end)
        });
        outcome.await.with_context(|| now.0.to_string())?;
        Ok(now)
    }

    /// Pauses, resumes or cancels it.
    ///
    /// # Errors
    ///
    /// When that is refused.
    pub async fn wish(&self, site: &Site, verb: &str) -> Result<()> {
        let (code, output) = site.run_worker(&["replay", verb, self.id()?]).await?;
        ensure!(code == Some(0), "{code:?}: {output}");
        Ok(())
    }

    /// A figure of it.
    pub fn figure(&self, name: &str) -> u64 {
        self.0[name].as_u64().unwrap_or_default()
    }

    /// From and to of the range that an event would be in.
    fn range(&self, event: &Event) -> Option<(u64, u64)> {
        let all = self.0["partitions"].as_array()?;
        // A log is one partition, whatever the topic.
        let is_log = |at: &Value| at["topic"] == "dbevents";
        let is_it = |at: &&Value| {
            is_log(at)
                || (at["topic"] == *event.bus.topic && at["partition"] == event.bus.partition)
        };
        let at = all.iter().find(is_it)?;
        Some((at["from"].as_u64()?, at["to"].as_u64()?))
    }

    fn is_past(&self, event: &Event) -> bool {
        let offset = event.bus.offset;
        self.range(event).is_some_and(|(from, to)| (from..to).contains(&offset))
    }

    fn is_newer(&self, event: &Event) -> bool {
        self.range(event).is_some_and(|(_, to)| event.bus.offset >= to)
    }

    /// Checks what a handler got of this replay, when it was the only one and has ended:
    ///
    /// - the events of a key come in order;
    /// - an event comes, or its key has a newer event, and then all later ones of the range are
    ///   left out too;
    /// - no event comes after a newer live one of its key, unless that one comes again after it.
    ///
    /// # Errors
    ///
    /// Names what breaks a rule.
    pub fn check(&self, recording: &Recording) -> Result<Came> {
        let mut keys: HashMap<(&str, &str), OfKey> = HashMap::new();
        for (at, event) in recording.done().enumerate() {
            let of = keys.entry(event.key()).or_default();
            let offset = event.bus.offset;
            match event.origin == ORIGIN {
                true => {
                    ensure!(self.is_past(event), "not of the range: {event:?}");
                    of.came.push((at, offset));
                }
                false if self.is_newer(event) => of.newer.push((at, offset)),
                false if self.is_past(event) => drop(of.range.insert(offset)),
                false => {}
            }
        }
        let mut all = Came::default();
        for (key, of) in keys {
            let came = of.check().with_context(|| format!("{key:?}: {of:?}"))?;
            all.replayed += came.replayed;
            all.left_out += came.left_out;
            all.repeated += came.repeated;
        }
        Ok(all)
    }
}

/// What was done of one key: where in the recording, and which offset.
#[derive(Debug, Default)]
struct OfKey {
    came: Vec<(usize, u64)>,
    newer: Vec<(usize, u64)>,
    range: BTreeSet<u64>,
}

impl OfKey {
    fn check(&self) -> Result<Came> {
        let came: BTreeSet<u64> = self.came.iter().map(|(_, offset)| *offset).collect();
        let expected: BTreeSet<u64> = self.range.iter().take(came.len()).copied().collect();
        ensure!(came == expected, "what came is not the beginning of the range");
        ensure!(came == self.range || !self.newer.is_empty(), "left out without a newer event");
        let mut first = BTreeMap::new();
        for (at, offset) in &self.came {
            first.entry(*offset).or_insert(*at);
        }
        let order: Vec<&usize> = first.values().collect();
        ensure!(order.is_sorted(), "an event came before an earlier one");
        for (at, offset) in &self.came {
            let before = self.newer.iter().filter(|(newer, _)| newer < at);
            for (_, newer) in before {
                let is_again = |(other, again): &(usize, u64)| other > at && again == newer;
                let comes_again = self.newer.iter().any(is_again);
                ensure!(comes_again, "offset {offset} came after the newer {newer}");
            }
        }
        let left_out = self.range.len() - came.len();
        Ok(Came { replayed: came.len(), left_out, repeated: self.came.len() - came.len() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(came: &[(usize, u64)], newer: &[(usize, u64)], range: &[u64]) -> Result<Came> {
        let range = range.iter().copied().collect();
        OfKey { came: came.to_vec(), newer: newer.to_vec(), range }.check()
    }

    #[test]
    fn the_beginning_of_a_range_may_come_before_newer_events() {
        let all = checked(&[(5, 1), (6, 2)], &[(7, 9)], &[1, 2]).unwrap();
        assert_eq!(all, Came { replayed: 2, left_out: 0, repeated: 0 });
        let some = checked(&[(5, 1)], &[(6, 9)], &[1, 2]).unwrap();
        assert_eq!(some, Came { replayed: 1, left_out: 1, repeated: 0 });
        let again = checked(&[(5, 1), (7, 1)], &[(6, 9), (8, 9)], &[1]).unwrap();
        assert_eq!(again.repeated, 1);
    }

    #[test]
    fn what_breaks_a_rule_is_found() {
        assert!(checked(&[(5, 1)], &[], &[1, 2]).is_err(), "left out without a reason");
        assert!(checked(&[(5, 2)], &[(6, 9)], &[1, 2]).is_err(), "a gap");
        assert!(checked(&[(5, 2), (6, 1)], &[], &[1, 2]).is_err(), "out of order");
        assert!(checked(&[(5, 1)], &[(4, 9)], &[1]).is_err(), "backwards");
    }
}
