//! What is written for each change.

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
    time::Duration,
};

use change_event::Action;
use redis::Cmd;

use super::{
    key::version_key,
    scripts::{Given, ScriptName},
};
use crate::{
    change::{Change, Column, Unusable},
    message,
    shape::{Shape, Wanted},
    template::Template,
};

/// What to do with changes, and with which keys.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Plan {
    /// Keys to delete.
    pub(super) delete: Vec<Template>,
    /// The key of the row as JSON.
    pub(super) set: Option<Template>,
    /// The key of the row as a hash.
    pub(super) hset: Option<Template>,
    /// The channel of a message.
    pub(super) publish: Option<Template>,
    /// The stream of an entry.
    pub(super) xadd: Option<Template>,
    /// How many entries a stream keeps, or some more.
    pub(super) max_length: Option<u64>,
    /// How long a row is kept.
    pub(super) ttl: Option<Duration>,
    /// How long the version of a deleted row is kept.
    pub(super) remember_deletes: Duration,
    pub(super) is_cluster: bool,
}

/// A command.
#[derive(Debug)]
pub(super) struct Command<'a> {
    /// The event that it does.
    pub(super) change: &'a Change<'a>,
    /// The key, stream or channel.
    pub(super) key: String,
    pub(super) work: Work,
}

/// What a command does with its key.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Work {
    /// Writes the row as JSON, or deletes it.
    Row {
        version_key: String,
        seq: u64,
        row: Option<String>,
        times: Times,
    },
    /// Runs a script with the version's key and with arguments.
    Script {
        name: ScriptName,
        version_key: String,
        arguments: Vec<String>,
    },
    Unlink,
    Append {
        fields: Vec<(&'static str, String)>,
        max_length: Option<u64>,
    },
    Publish(String),
}

/// How long something is kept, in ms; 0 is for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Times {
    pub(super) row: u128,
    pub(super) version: u128,
    pub(super) deleted: u128,
}

impl Plan {
    /// The commands for these changes, those that write rows first: who gets a message finds the
    /// row. And the events for which there are none.
    pub(super) fn commands<'a>(
        &self,
        wanted: &'a [Wanted<'a>],
        shape: &Shape,
    ) -> (Vec<Command<'a>>, Vec<Unusable>) {
        let (mut commands, mut unusable) = (Vec::with_capacity(wanted.len()), Vec::new());
        for one in wanted {
            match self.commands_of(one, shape) {
                Ok(found) => commands.extend(found),
                Err(why) => unusable.push(one.change.misfit(why)),
            }
        }
        drop_repeated(&mut commands);
        commands.sort_by_key(|command| command.work.turn());
        (commands, unusable)
    }

    pub(super) fn templates(&self) -> impl Iterator<Item = &Template> {
        let others = [&self.set, &self.hset, &self.publish, &self.xadd];
        self.delete.iter().chain(others.into_iter().flatten())
    }

    /// Whether a part of the row would replace more that is there: `set` writes the row as one
    /// value, and a hash with another key begins with nothing.
    pub(super) fn needs_whole(&self, wanted: &Wanted<'_>) -> bool {
        let moves = || wanted.change.half('i').is_some();
        wanted.row.is_some() && (self.set.is_some() || self.hset.is_some() && moves())
    }

    fn commands_of<'a>(
        &self,
        one: &'a Wanted<'a>,
        shape: &Shape,
    ) -> Result<Vec<Command<'a>>, String> {
        let change = &one.change;
        let mut list = Vec::new();
        let mut push = |key, work| list.push(Command { change, key, work });
        if let Some(template) = &self.set {
            let (now, before) = keys(template, change).map_err(|why| format!("set: {why}"))?;
            if let Some(before) = before {
                let work = self.row(change, &before, None)?;
                push(before, work);
            }
            let row = one.row.as_deref().map(message::object);
            let work = self.row(change, &now, row)?;
            push(now, work);
        }
        if let Some(template) = &self.hset {
            let (now, before) = keys(template, change).map_err(|why| format!("hset: {why}"))?;
            if let Some(before) = before {
                let work = self.delete_hash(change, &before)?;
                push(before, work);
            }
            let work = match &one.row {
                Some(row) => self.write_hash(change, &now, row)?,
                None => self.delete_hash(change, &now)?,
            };
            push(now, work);
        }
        for template in &self.delete {
            let (now, before) = keys(template, change).map_err(|why| format!("delete: {why}"))?;
            before.into_iter().chain([now]).for_each(|key| push(key, Work::Unlink));
        }
        if let Some(template) = &self.xadd {
            let stream = key(template, change).map_err(|why| format!("xadd: {why}"))?;
            let fields = entry(one, shape)?;
            push(stream, Work::Append { fields, max_length: self.max_length });
        }
        if let Some(template) = &self.publish {
            let channel = key(template, change).map_err(|why| format!("publish: {why}"))?;
            push(channel, Work::Publish(message::message(one, shape)?));
        }
        Ok(list)
    }

    fn row(&self, change: &Change<'_>, key: &str, row: Option<String>) -> Result<Work, String> {
        let version_key = version_key(key, self.is_cluster)?;
        Ok(Work::Row { version_key, seq: seq(change)?, row, times: self.times() })
    }

    fn write_hash(
        &self,
        change: &Change<'_>,
        key: &str,
        row: &[Column<'_>],
    ) -> Result<Work, String> {
        let times = self.times();
        let mut arguments =
            vec![seq(change)?.to_string(), times.version.to_string(), times.row.to_string()];
        push_hash(row, change, &mut arguments);
        let version_key = version_key(key, self.is_cluster)?;
        Ok(Work::Script { name: ScriptName::Hset, version_key, arguments })
    }

    fn delete_hash(&self, change: &Change<'_>, key: &str) -> Result<Work, String> {
        let arguments = vec![seq(change)?.to_string(), self.times().deleted.to_string()];
        let version_key = version_key(key, self.is_cluster)?;
        Ok(Work::Script { name: ScriptName::Delete, version_key, arguments })
    }

    fn times(&self) -> Times {
        // A row that is there for some time needs its version for that time.
        let version = self.ttl.map(|ttl| ttl.max(self.remember_deletes));
        let millis = |time: Option<Duration>| time.map_or(0, |time| time.as_millis());
        Times {
            row: millis(self.ttl),
            version: millis(version),
            deleted: self.remember_deletes.as_millis(),
        }
    }
}

impl Work {
    /// What comes first in a batch.
    pub(super) fn turn(&self) -> u8 {
        match self {
            Self::Row { .. } | Self::Script { .. } | Self::Unlink => 0,
            Self::Append { .. } => 1,
            Self::Publish(_) => 2,
        }
    }
}

impl Command<'_> {
    /// As it is sent.
    pub(super) fn cmd(&self, given: &mut Given) -> Cmd {
        match &self.work {
            Work::Row { .. } => rows(&[self], given),
            Work::Script { name, version_key, arguments } => {
                let mut call = given.call(*name);
                call.arg(2).arg(&self.key).arg(version_key).arg(arguments);
                call
            }
            Work::Unlink => {
                let mut call = redis::cmd("UNLINK");
                call.arg(&self.key);
                call
            }
            Work::Append { fields, max_length } => {
                let mut call = redis::cmd("XADD");
                call.arg(&self.key);
                if let Some(length) = max_length {
                    call.arg("MAXLEN").arg("~").arg(*length);
                }
                call.arg("*").arg(fields);
                call
            }
            Work::Publish(message) => {
                let mut call = redis::cmd("PUBLISH");
                call.arg(&self.key).arg(message);
                call
            }
        }
    }

    /// About how many bytes it has.
    pub(super) fn bytes(&self) -> usize {
        const OVERHEAD: usize = 64;
        let content: usize = match &self.work {
            Work::Row { version_key, row, .. } => {
                version_key.len() + row.as_ref().map_or(0, String::len)
            }
            Work::Script { version_key, arguments, .. } => {
                version_key.len() + arguments.iter().map(String::len).sum::<usize>()
            }
            Work::Unlink => 0,
            Work::Append { fields, .. } => {
                fields.iter().map(|(name, text)| name.len() + text.len()).sum()
            }
            Work::Publish(message) => message.len(),
        };
        OVERHEAD + self.key.len() + content
    }
}

/// One call that writes and deletes rows.
pub(super) fn rows(commands: &[&Command<'_>], given: &mut Given) -> Cmd {
    let mut call = given.call(ScriptName::Rows);
    call.arg(2 * commands.len());
    let mut all = Vec::with_capacity(commands.len());
    for command in commands {
        if let Work::Row { version_key, seq, row, times } = &command.work {
            call.arg(&command.key).arg(version_key);
            all.push((*seq, row.as_deref().unwrap_or_default(), *times));
        }
    }
    if let Some((_, _, times)) = all.first() {
        call.arg(times.row.to_string()).arg(times.version.to_string());
        call.arg(times.deleted.to_string());
    }
    for (seq, row, _) in all {
        call.arg(seq).arg(row);
    }
    call
}

/// Of several changes of a row that is written whole, the newest is enough; and a key is deleted
/// once.
fn drop_repeated(commands: &mut Vec<Command<'_>>) {
    let mut newest: HashMap<String, u64> = HashMap::new();
    for command in commands.iter() {
        if let Work::Row { seq, .. } = command.work {
            let newest = newest.entry(command.key.clone()).or_default();
            *newest = seq.max(*newest);
        }
    }
    let mut unlinked = HashSet::new();
    commands.retain(|command| match command.work {
        Work::Row { seq, .. } => newest.get(&command.key).is_none_or(|newest| *newest == seq),
        Work::Unlink => unlinked.insert(command.key.clone()),
        _ => true,
    });
}

/// The key for the row as it is now, and the one for the row before, if that is another one.
fn keys(template: &Template, change: &Change<'_>) -> Result<(String, Option<String>), String> {
    let now = key(template, change)?;
    let before = match template.sees("Data") {
        true => change.with_row_before(),
        false => None,
    };
    let before = before.map(|before| key(template, &before)).transpose().map_err(|why| {
        format!("{why}, in the row before: set binlog_row_image = FULL on the source")
    })?;
    let other = before.filter(|before| *before != now);
    Ok((now, other))
}

fn key(template: &Template, change: &Change<'_>) -> Result<String, String> {
    let key = template.render(change)?;
    if key.is_empty() { Err("makes an empty key".to_owned()) } else { Ok(key) }
}

fn seq(change: &Change<'_>) -> Result<u64, String> {
    let missing = "the event has no Seq: it is of a dts of an old version";
    change.read.seq.ok_or_else(|| missing.to_owned())
}

/// The arguments of the script from `1 if the row is whole` on. A hash has no NULL: the field is
/// not there.
fn push_hash(row: &[Column<'_>], change: &Change<'_>, arguments: &mut Vec<String>) {
    let is_whole = change.read.action == Action::Insert;
    let nulls = || row.iter().filter(|(_, json)| json == "null");
    arguments.push(u8::from(is_whole).to_string());
    arguments.push(nulls().count().to_string());
    arguments.extend(nulls().map(|(name, _)| name.to_string()));
    for (name, json) in row.iter().filter(|(_, json)| json != "null") {
        arguments.push(name.to_string());
        arguments.push(message::plain(json).into_owned());
    }
}

/// The fields of an entry in a stream.
fn entry(one: &Wanted<'_>, shape: &Shape) -> Result<Vec<(&'static str, String)>, String> {
    let read = &one.change.read;
    let mut fields = vec![
        ("EvId", Cow::into_owned(read.id.clone())),
        ("Schema", Cow::into_owned(read.schema.clone())),
        ("TableName", Cow::into_owned(read.table_name.clone())),
        ("Action", message::action(one).as_str().to_owned()),
        ("PK", read.key.to_owned()),
        ("Data", message::object(&message::columns(one, shape)?)),
        ("Origin", read.origin.as_str().to_owned()),
        ("Ts", read.ts.to_string()),
    ];
    fields.extend(read.seq.map(|seq| ("Seq", seq.to_string())));
    Ok(fields)
}
