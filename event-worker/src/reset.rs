//! `event-worker listener reset` and `skip`: a listener continues at another place of the bus.

use std::{path::Path, str::FromStr, time::Duration};

use event_bus::{Bus, Partition, Progress, Reset, ResetTo, Subscription};
use reqwest::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use service::say;
use tokio::time::Instant;

use crate::{
    client::{ApiClient, NoAnswer},
    config::{Config, GroupChoice, HandlerConfig},
    error::Error,
    table,
};

/// The listener has to end first, and the bus has to notice that.
const SUPERVISOR_DEADLINE: Duration = Duration::from_mins(3);

/// How long the bus may still count members that have just ended.
const RELEASE_DEADLINE: Duration = Duration::from_secs(15);

const ASK_AGAIN: Duration = Duration::from_millis(200);

/// The place where a listener continues, as users write it: `earliest`, `latest`, a time or an
/// offset.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ResetPlace {
    text: String,
    pub(crate) to: ResetTo,
}

/// Which partitions of a listener are reset. Default: all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResetPart {
    /// Only partitions of this topic, by its full name.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub topic: Option<String>,
    /// Only partitions with this number.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub partition: Option<u32>,
}

impl ResetPart {
    /// The part of a plan for these partitions.
    fn of(&self, plan: Vec<Reset>) -> Result<Vec<Reset>, Error> {
        if *self == Self::default() {
            return Ok(plan);
        }
        let Self { topic, partition } = self;
        let is_in = |at: &Partition| {
            topic.as_ref().is_none_or(|topic| **topic == *at.topic)
                && partition.is_none_or(|number| number == at.number)
        };
        let (part, others): (Vec<Reset>, Vec<Reset>) =
            plan.into_iter().partition(|reset| is_in(&reset.partition));
        if !part.is_empty() {
            return Ok(part);
        }
        let wanted = match (topic, partition) {
            (Some(topic), Some(number)) => format!("partition {number} of topic {topic}"),
            (Some(topic), None) => format!("topic {topic}"),
            (None, number) => format!("partition {}", number.unwrap_or_default()),
        };
        let known = others.iter().map(|reset| &reset.partition);
        let known: Vec<String> =
            known.map(|at| format!("partition {} of {}", at.number, at.topic)).collect();
        Err(Error::UnknownPartition { wanted, known: known.join(", ") })
    }
}

/// A record that the listener skips: its handler can never do it, or it is not an event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SkippedRecord {
    /// The topic as the API shows it in `partitions`: on an event log its stream.
    pub topic: String,
    /// The partition's number.
    pub partition: u32,
    /// Its offset.
    pub offset: u64,
}

impl SkippedRecord {
    /// The command that skips this record.
    pub(crate) fn command(listener: &str, (partition, offset): (&Partition, u64)) -> String {
        let Partition { topic, number } = partition;
        format!(
            "event-worker listener skip -t {listener} --topic {topic} --partition {number} \
             --offset {offset}"
        )
    }
}

/// How to change the place of a listener.
#[derive(Clone, Debug)]
pub(crate) enum Move {
    /// To a place, in all partitions or some of them.
    To(ResetPlace, ResetPart),
    /// To the record after this one, in one partition.
    Past(SkippedRecord),
}

/// Whether to do a reset, or only to show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResetMode {
    /// It is done.
    Set,
    /// Nothing is changed.
    DryRun,
}

/// Partitions and their places, as the API and the command show them.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ResetList {
    resets: Vec<ResetView>,
}

#[derive(Debug, Serialize, Deserialize)]
struct ResetView {
    topic: String,
    partition: u32,
    from: Option<u64>,
    to: u64,
}

impl FromStr for ResetPlace {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let time = || humantime::parse_rfc3339_weak(text).ok().map(ResetTo::Time);
        let to = match text {
            "earliest" => Some(ResetTo::Earliest),
            "latest" => Some(ResetTo::Latest),
            _ => text.parse().ok().map(ResetTo::Offset).or_else(time),
        };
        let text = text.to_owned();
        let forms = "write earliest, latest, a time like 2026-01-31T12:00:00Z, or an offset";
        to.map(|to| Self { to, text }).ok_or_else(|| forms.to_owned())
    }
}

impl TryFrom<String> for ResetPlace {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<ResetPlace> for String {
    fn from(place: ResetPlace) -> Self {
        place.text
    }
}

impl From<Vec<Reset>> for ResetList {
    fn from(resets: Vec<Reset>) -> Self {
        let view = |reset: Reset| ResetView {
            topic: reset.partition.topic.to_string(),
            partition: reset.partition.number,
            from: reset.from,
            to: reset.to,
        };
        Self { resets: resets.into_iter().map(view).collect() }
    }
}

/// Sets the listener `id` of a config file to another place, and prints the old and the new place.
/// If a supervisor runs the listener with this config, the supervisor stops it and starts it again.
///
/// # Errors
///
/// When the config is wrong, the bus is away, or members of the listener are active elsewhere.
pub async fn reset_listener(
    (file, groups): (&Path, &GroupChoice),
    id: &str,
    (place, part): (ResetPlace, ResetPart),
    mode: ResetMode,
) -> Result<(), Error> {
    carry_out((file, groups), id, Move::To(place, part), mode).await
}

/// Lets the listener `id` skip the record at which it waits, in the way of [`reset_listener`].
///
/// # Errors
///
/// The same; also when the listener waits at another record. Then no record is skipped.
pub async fn skip_record(
    (file, groups): (&Path, &GroupChoice),
    id: &str,
    record: SkippedRecord,
    mode: ResetMode,
) -> Result<(), Error> {
    carry_out((file, groups), id, Move::Past(record), mode).await
}

async fn carry_out(
    (file, groups): (&Path, &GroupChoice),
    id: &str,
    change: Move,
    mode: ResetMode,
) -> Result<(), Error> {
    let config =
        Config::open_with_secrets_of(file, &["bus", "listen"])?.for_call(groups, Some(id))?;
    let listener = config.listener(id)?;
    let is_supervised = mode == ResetMode::Set && listener.handler != HandlerConfig::Program;
    let by_supervisor =
        if is_supervised { ask_supervisor(&config, id, &change).await? } else { None };
    let list = match by_supervisor {
        Some(list) => list,
        None => {
            let bus = event_bus::open(&config.bus)?;
            let wanted = listener.subscription(id, &config.bus);
            match mode {
                ResetMode::Set => set(&*bus, &wanted, &change, RELEASE_DEADLINE).await?.into(),
                ResetMode::DryRun => change.plan(&*bus, &wanted).await?.into(),
            }
        }
    };
    print(&list, mode);
    Ok(())
}

/// Asks the supervisor of this config; `None` when none runs, or when it does not run this
/// listener.
async fn ask_supervisor(
    config: &Config,
    id: &str,
    change: &Move,
) -> Result<Option<ResetList>, Error> {
    let api = ApiClient::new(&config.listen)?;
    let (verb, body) = change.request();
    match api.post(&format!("/api/v1/listeners/{id}/{verb}"), &body, SUPERVISOR_DEADLINE).await {
        Ok(list) => Ok(Some(list)),
        Err(NoAnswer::Nobody(_)) => Ok(None),
        // If a partition does not exist, the bus will say so.
        Err(NoAnswer::Refused { status: StatusCode::NOT_FOUND, .. }) => Ok(None),
        Err(other) => Err(other.into()),
    }
}

/// Sets the group as soon as nobody is in it, within `patience`.
pub(crate) async fn set(
    bus: &dyn Bus,
    wanted: &Subscription,
    change: &Move,
    patience: Duration,
) -> Result<Vec<Reset>, Error> {
    let give_up = Instant::now() + patience;
    loop {
        let resets = change.plan(bus, wanted).await?;
        match bus.reset(&wanted.group, &resets).await {
            Ok(()) => return Ok(resets),
            Err(event_bus::Error::GroupActive { .. }) if Instant::now() < give_up => {
                tokio::time::sleep(ASK_AGAIN).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

impl Move {
    /// The verb of the API, and the body of the call.
    fn request(&self) -> (&'static str, Value) {
        match self {
            Self::To(place, ResetPart { topic, partition }) => {
                ("reset", json!({ "to": place, "topic": topic, "partition": partition }))
            }
            Self::Past(record) => ("skip", json!(record)),
        }
    }

    /// The places that it would set.
    ///
    /// # Errors
    ///
    /// When its topic or partition does not exist, or the bus is away.
    pub(crate) async fn plan(
        &self,
        bus: &dyn Bus,
        wanted: &Subscription,
    ) -> Result<Vec<Reset>, Error> {
        match self {
            Self::To(place, part) => {
                part.of(bus.plan_reset(&wanted.group, &wanted.topics, place.to).await?)
            }
            Self::Past(record) => {
                let progress = bus.progress(&wanted.group, &wanted.topics).await?;
                Ok(vec![past(record, &progress)?])
            }
        }
    }
}

/// The place after a record, if the group waits at the record: then all records before it are done.
fn past(record: &SkippedRecord, progress: &[Progress]) -> Result<Reset, Error> {
    let SkippedRecord { topic, partition, offset } = record;
    let is_there =
        |at: &&Progress| *at.partition.topic == **topic && at.partition.number == *partition;
    let not_skippable = |stands: String| Error::NotSkippable { stands };
    let Some(at) = progress.iter().find(is_there) else {
        return Err(not_skippable(format!("it has no partition {partition} of {topic}")));
    };
    match at.committed {
        Some(committed) if committed == *offset && committed < at.end => {
            let partition = at.partition.clone();
            Ok(Reset { partition, from: at.committed, to: committed + 1 })
        }
        Some(committed) => Err(not_skippable(format!(
            "in partition {partition} of {topic} it is at offset {committed}, the end is at {}",
            at.end
        ))),
        None => Err(not_skippable(format!("it has not begun in partition {partition} of {topic}"))),
    }
}

fn print(list: &ResetList, mode: ResetMode) {
    let mut rows = vec![["TOPIC", "PARTITION", "FROM", "TO"].map(str::to_owned)];
    rows.extend(list.resets.iter().map(|reset| {
        let from = reset.from.map_or_else(|| "-".to_owned(), |from| from.to_string());
        [reset.topic.clone(), reset.partition.to_string(), from, reset.to.to_string()]
    }));
    for line in table::aligned(&rows) {
        say!("{line}");
    }
    match (list.resets.is_empty(), mode) {
        (true, _) => say!("its topics do not exist yet: there is nothing to set"),
        (false, ResetMode::DryRun) => say!("nothing is changed: this is what would be set"),
        (false, ResetMode::Set) => {}
    }
}

#[cfg(test)]
mod tests {
    use event_bus::Partition;

    use super::*;

    #[test]
    fn only_the_record_at_which_a_group_stands_can_be_skipped() {
        let partition = Partition { topic: "t".into(), number: 2 };
        let at =
            |committed| [Progress { partition: partition.clone(), committed, end: 9, high: 9 }];
        let skip = |topic: &str, offset, committed| {
            let record = SkippedRecord { topic: topic.into(), partition: 2, offset };
            past(&record, &at(committed)).map_err(|error| error.to_string())
        };
        let reset = Reset { partition: partition.clone(), from: Some(5), to: 6 };
        assert_eq!(skip("t", 5, Some(5)), Ok(reset));
        assert!(skip("t", 6, Some(5)).unwrap_err().contains("it is at offset 5"));
        assert!(skip("t", 4, Some(5)).is_err());
        assert!(skip("t", 9, Some(9)).is_err(), "there is no record");
        assert!(skip("t", 0, None).unwrap_err().contains("has not begun"));
        assert!(skip("u", 5, Some(5)).unwrap_err().contains("no partition 2 of u"));
    }

    #[test]
    fn a_place_is_a_word_a_time_or_an_offset() {
        let place = |text: &str| text.parse::<ResetPlace>().map(|place| place.to);
        assert_eq!(place("earliest"), Ok(ResetTo::Earliest));
        assert_eq!(place("latest"), Ok(ResetTo::Latest));
        assert_eq!(place("42"), Ok(ResetTo::Offset(42)));
        let noon = std::time::UNIX_EPOCH + Duration::from_secs(1_767_268_800);
        assert_eq!(place("2026-01-01T12:00:00Z"), Ok(ResetTo::Time(noon)));
        for wrong in ["", "-1", "yesterday", "2026-13-01T12:00:00Z"] {
            assert!(place(wrong).unwrap_err().contains("earliest"), "{wrong}");
        }
    }

    #[test]
    fn a_part_is_what_fits_topic_and_number_and_never_nothing() {
        let at = |topic: &str, number| Reset {
            partition: Partition { topic: topic.into(), number },
            from: None,
            to: 7,
        };
        let plan = || vec![at("a", 0), at("a", 1), at("b", 0)];
        let part = |topic: Option<&str>, partition| {
            ResetPart { topic: topic.map(str::to_owned), partition }.of(plan())
        };
        assert_eq!(part(None, None).unwrap(), plan());
        assert_eq!(part(Some("a"), Some(1)).unwrap(), [at("a", 1)]);
        assert_eq!(part(Some("a"), None).unwrap(), [at("a", 0), at("a", 1)]);
        assert_eq!(part(None, Some(0)).unwrap(), [at("a", 0), at("b", 0)]);
        let error = part(Some("c"), Some(1)).unwrap_err().to_string();
        assert!(error.contains("partition 1 of topic c; it has: partition 0 of a"), "{error}");
    }
}
