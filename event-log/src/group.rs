//! The groups of a stream: how far each is, and which of its members is the active one.

use std::{
    collections::{BTreeMap, VecDeque},
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde::{Deserialize, Serialize};
use service::clock::now_ms;
use tokio::sync::{Notify, oneshot};
use tokio_util::sync::CancellationToken;

use crate::{
    Error,
    disk::recovery,
    queue::{DurableAnswer, WriteFailure},
};

const MAX_GROUPS: usize = 1000;
const MAX_NAME_BYTES: usize = 249;
/// Members that wait; more are refused.
const MAX_MEMBERS: usize = 1000;

/// How far a group is, and who is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupState {
    /// Its name.
    pub name: String,
    /// The next offset that it has not finished; `None` before its first commit.
    pub committed: Option<u64>,
    /// When that was committed, in milliseconds since the Unix epoch.
    pub committed_ms: u64,
    /// What the active member calls itself; empty when there is none.
    pub client: String,
    /// Members that wait to take over.
    pub waiting: u32,
    /// What it has not finished, and some records more. Only whole data files are deleted.
    pub held_bytes: u64,
}

/// The group that is furthest behind.
#[derive(Clone, Debug)]
pub(crate) struct Slowest {
    pub(crate) name: String,
    pub(crate) committed: u64,
    pub(crate) has_member: bool,
}

#[derive(Debug)]
pub(crate) struct Groups {
    path: PathBuf,
    state: Mutex<GroupTable>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct GroupTable {
    groups: BTreeMap<String, Group>,
    next_member: u64,
    /// Callers that wait until the file is written; without any, nothing has changed.
    waiting: Vec<oneshot::Sender<Result<(), WriteFailure>>>,
}

#[derive(Debug, Default)]
struct Group {
    committed: Option<GroupOffset>,
    /// As the file has it: retention waits for this offset.
    saved: Option<GroupOffset>,
    /// The first is the active one.
    members: VecDeque<GroupMember>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct GroupOffset {
    offset: u64,
    time_ms: u64,
}

#[derive(Debug)]
struct GroupMember {
    id: u64,
    client: String,
    lost: CancellationToken,
}

type GroupOffsets = BTreeMap<String, GroupOffset>;

impl Groups {
    /// Reads the offsets of the groups of a stream that ends at `end`.
    pub(crate) fn open(stream: &Path, end: u64) -> Result<Self, Error> {
        let path = stream.join("groups");
        let places = read(&path)?;
        if let Some((name, place)) = places.iter().find(|(_, place)| place.offset > end) {
            let problem = format!(
                "group {name} has finished all below offset {}, but the stream ends at {end}: \
                 acknowledged records are missing",
                place.offset
            );
            return Err(Error::Damaged { file: path, position: 0, problem });
        }
        let groups = places.into_iter().map(|(name, place)| {
            let saved = Some(place);
            (name, Group { committed: saved, saved, members: VecDeque::new() })
        });
        // Ids of members do not repeat after a restart: an old member must not commit.
        let state =
            GroupTable { groups: groups.collect(), next_member: now_ms() << 16, waiting: vec![] };
        Ok(Self { path, state: Mutex::new(state), changed: Notify::new() })
    }

    pub(crate) fn states(&self) -> Vec<GroupState> {
        let state = self.lock();
        let states = state.groups.iter().map(|(name, group)| GroupState {
            name: name.clone(),
            committed: group.saved.map(|place| place.offset),
            committed_ms: group.saved.map_or(0, |place| place.time_ms),
            client: group.members.front().map(|member| member.client.clone()).unwrap_or_default(),
            waiting: u32::try_from(group.members.len().saturating_sub(1)).unwrap_or(u32::MAX),
            held_bytes: 0,
        });
        states.collect()
    }

    /// The group that is furthest behind.
    pub(crate) fn slowest(&self) -> Option<Slowest> {
        let state = self.lock();
        let places = state.groups.iter().filter_map(|(name, group)| Some((name, group.saved?)));
        let (name, place) = places.min_by_key(|(_, place)| place.offset)?;
        let has_member = state.groups.get(name).is_some_and(|group| !group.members.is_empty());
        Some(Slowest { name: name.clone(), committed: place.offset, has_member })
    }

    /// How far a group is, saved or about to be.
    pub(crate) fn committed(&self, group: &str) -> Option<u64> {
        self.lock().groups.get(group).and_then(|group| group.committed).map(|place| place.offset)
    }

    pub(crate) fn commit(
        &self,
        name: &str,
        member: u64,
        offset: u64,
    ) -> Result<DurableAnswer, Error> {
        let mut state = self.lock();
        let group = state.active(name, member)?;
        group.committed = Some(GroupOffset { offset, time_ms: now_ms() });
        Ok(state.wait_for_file())
    }

    /// Does something that only the active member may do; nobody else becomes that meanwhile.
    pub(crate) fn while_active<T>(
        &self,
        (name, member): (&str, u64),
        act: impl FnOnce() -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut state = self.lock();
        state.active(name, member)?;
        act()
    }

    pub(crate) fn remove(&self, name: &str) -> Result<DurableAnswer, Error> {
        let mut state = self.lock();
        let Some(group) = state.groups.get(name) else {
            return Err(Error::Rejected(format!("there is no group {name}")));
        };
        group.check_empty(name)?;
        state.groups.remove(name);
        Ok(state.wait_for_file())
    }

    /// Sets the offset of a group, known or new, that has no member.
    pub(crate) fn reset(&self, name: &str, offset: u64) -> Result<DurableAnswer, Error> {
        let mut state = self.lock();
        let group = state.group(name)?;
        group.check_empty(name)?;
        group.committed = Some(GroupOffset { offset, time_ms: now_ms() });
        Ok(state.wait_for_file())
    }

    pub(crate) fn expel(&self, name: &str) {
        if let Some(group) = self.lock().groups.get_mut(name)
            && let Some(member) = group.members.pop_front()
        {
            member.lost.cancel();
        }
        self.changed.notify_waiters();
    }

    /// For the keeper: writes the file, if anybody waits for that.
    pub(crate) fn save(&self) {
        let mut state = self.lock();
        let waiting = std::mem::take(&mut state.waiting);
        if waiting.is_empty() {
            return;
        }
        let places = state.groups.iter();
        let places = places.filter_map(|(name, group)| Some((name.clone(), group.committed?)));
        let places: GroupOffsets = places.collect();
        drop(state);
        let outcome = write(&self.path, &places);
        if outcome.is_ok() {
            let mut state = self.lock();
            for (name, place) in places {
                if let Some(group) = state.groups.get_mut(&name) {
                    group.saved = Some(place);
                }
            }
        }
        for waiting in waiting {
            // A caller that stopped waiting does not want to know.
            let _ = waiting.send(outcome.clone());
        }
    }

    fn lock(&self) -> MutexGuard<'_, GroupTable> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Group {
    fn check_empty(&self, name: &str) -> Result<(), Error> {
        match self.members.front() {
            None => Ok(()),
            Some(member) => {
                let (group, client) = (name.to_owned(), member.client.clone());
                Err(Error::GroupActive { group, client })
            }
        }
    }
}

impl GroupTable {
    /// The group, if this is its active member.
    fn active(&mut self, name: &str, member: u64) -> Result<&mut Group, Error> {
        let group = self.groups.get_mut(name);
        let active = group.filter(|group| group.members.front().is_some_and(|m| m.id == member));
        active.ok_or_else(|| Error::NotMember(name.to_owned()))
    }

    /// A group, known or new.
    fn group(&mut self, name: &str) -> Result<&mut Group, Error> {
        if name.is_empty() || name.len() > MAX_NAME_BYTES {
            let reason = format!("the name of a group has 1 to {MAX_NAME_BYTES} bytes");
            return Err(Error::Rejected(reason));
        }
        if !self.groups.contains_key(name) && self.groups.len() >= MAX_GROUPS {
            let reason = format!("the stream has {MAX_GROUPS} groups, the most there can be");
            return Err(Error::Rejected(reason));
        }
        Ok(self.groups.entry(name.to_owned()).or_default())
    }

    fn wait_for_file(&mut self) -> DurableAnswer {
        let (sender, durable) = oneshot::channel();
        self.waiting.push(sender);
        durable
    }
}

fn read(path: &Path) -> Result<GroupOffsets, Error> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Ok(GroupOffsets::new());
        }
        Err(error) => return Err(Error::io("cannot read", path)(error)),
    };
    serde_json::from_slice(&text).map_err(|error| Error::Damaged {
        file: path.to_owned(),
        position: 0,
        problem: error.to_string(),
    })
}

fn write(path: &Path, places: &GroupOffsets) -> Result<(), WriteFailure> {
    let text = serde_json::to_vec_pretty(places).unwrap_or_default();
    recovery::replace(path, &text).map_err(|error| WriteFailure::Full(error.to_string()))
}

/// A membership in a group. Dropping it leaves the group.
#[derive(Debug)]
pub(crate) struct Membership {
    groups: Arc<Groups>,
    group: String,
    pub(crate) id: u64,
    /// Cancelled when another member became the active one.
    pub(crate) lost: CancellationToken,
}

impl Membership {
    /// Joins at the end of the queue of members.
    pub(crate) fn join(groups: &Arc<Groups>, group: &str, client: &str) -> Result<Self, Error> {
        let mut state = groups.lock();
        state.next_member += 1;
        let (id, lost) = (state.next_member, CancellationToken::new());
        let members = &mut state.group(group)?.members;
        if members.len() >= MAX_MEMBERS {
            return Err(Error::Rejected(format!("group {group} has {MAX_MEMBERS} members")));
        }
        let client = client.chars().take(MAX_NAME_BYTES).collect();
        members.push_back(GroupMember { id, client, lost: lost.clone() });
        drop(state);
        Ok(Self { groups: Arc::clone(groups), group: group.to_owned(), id, lost })
    }

    /// Waits until it is the active one.
    pub(crate) async fn active(&self) {
        loop {
            let changed = self.groups.changed.notified();
            let active = |group: &Group| group.members.front().map(|member| member.id);
            if self.groups.lock().groups.get(&self.group).and_then(active) == Some(self.id) {
                return;
            }
            changed.await;
        }
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        let mut state = self.groups.lock();
        if let Some(group) = state.groups.get_mut(&self.group) {
            group.members.retain(|member| member.id != self.id);
            if group.members.is_empty() && group.committed.is_none() {
                state.groups.remove(&self.group);
            }
        }
        drop(state);
        self.groups.changed.notify_waiters();
    }
}
