//! A group of the memory bus: who owns which partition, and how a partition is handed over.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::{Partition, Reset};

#[derive(Debug, Default)]
pub(super) struct MemoryGroup {
    committed: HashMap<Partition, u64>,
    members: BTreeMap<u64, MemoryMember>,
}

#[derive(Debug, Default)]
struct MemoryMember {
    client: String,
    /// The next offset to deliver, of each partition that is owned.
    owned: BTreeMap<Partition, u64>,
    paused: HashSet<Partition>,
    /// Told to be going: ours until the next poll.
    revoking: Vec<Partition>,
    /// Taken without asking; to be told. Until that is told, the member is not in the group.
    lost: Vec<Partition>,
}

/// What a poll finds before it looks for records.
pub(super) enum MemberStep {
    Nothing,
    Released,
    Assigned(Vec<(Partition, u64)>),
    Revoking(Vec<Partition>),
    Lost(Vec<Partition>),
}

impl MemoryGroup {
    pub(super) fn new(committed: HashMap<Partition, u64>) -> Self {
        Self { committed, members: BTreeMap::new() }
    }

    pub(super) fn committed(&self, partition: &Partition) -> Option<u64> {
        self.committed.get(partition).copied()
    }

    pub(super) fn join(&mut self, id: u64, client: &str) {
        self.members
            .insert(id, MemoryMember { client: client.to_owned(), ..MemoryMember::default() });
    }

    pub(super) fn leave(&mut self, id: u64) {
        self.members.remove(&id);
    }

    /// The members as they call themselves.
    pub(super) fn clients(&self) -> Vec<String> {
        self.members.values().map(|member| member.client.clone()).collect()
    }

    pub(super) fn expel(&mut self, client: &str) {
        for member in self.members.values_mut().filter(|member| member.client == client) {
            member.revoking.clear();
            member.paused.clear();
            member.lost.extend(std::mem::take(&mut member.owned).into_keys());
        }
    }

    /// Brings one member's ownership nearer to what it should be.
    pub(super) fn step(&mut self, id: u64, partitions: &[Partition]) -> MemberStep {
        let Some(member) = self.members.get_mut(&id) else { return MemberStep::Nothing };
        if !member.lost.is_empty() {
            return MemberStep::Lost(std::mem::take(&mut member.lost));
        }
        if !member.revoking.is_empty() {
            for partition in std::mem::take(&mut member.revoking) {
                member.owned.remove(&partition);
                member.paused.remove(&partition);
            }
            return MemberStep::Released;
        }
        let wanted = self.wanted(id, partitions);
        self.approach(id, &wanted)
    }

    fn approach(&mut self, id: u64, wanted: &[Partition]) -> MemberStep {
        let taken: HashSet<Partition> =
            self.members.values().flat_map(|member| member.owned.keys().cloned()).collect();
        let Some(member) = self.members.get_mut(&id) else { return MemberStep::Nothing };
        member.revoking =
            member.owned.keys().filter(|owned| !wanted.contains(owned)).cloned().collect();
        if !member.revoking.is_empty() {
            return MemberStep::Revoking(member.revoking.clone());
        }
        let mut assigned = Vec::new();
        for partition in wanted.iter().filter(|wanted| !taken.contains(wanted)) {
            let position = *self.committed.entry(partition.clone()).or_insert(0);
            member.owned.insert(partition.clone(), position);
            assigned.push((partition.clone(), position));
        }
        if assigned.is_empty() { MemberStep::Nothing } else { MemberStep::Assigned(assigned) }
    }

    /// Every n-th partition is for the n-th member.
    fn wanted(&self, id: u64, partitions: &[Partition]) -> Vec<Partition> {
        let there = self.members.iter().filter(|(_, member)| member.lost.is_empty());
        let there: Vec<u64> = there.map(|(id, _)| *id).collect();
        let place = there.iter().position(|member| *member == id).unwrap_or_default();
        partitions.iter().skip(place).step_by(there.len().max(1)).cloned().collect()
    }

    /// The partitions that this member may read now, with the place where it reads.
    pub(super) fn readable(&mut self, id: u64) -> impl Iterator<Item = (&Partition, &mut u64)> {
        self.members.get_mut(&id).into_iter().flat_map(|member| {
            let paused = &member.paused;
            member.owned.iter_mut().filter(|(partition, _)| !paused.contains(partition))
        })
    }

    /// Saves the offsets, or gives the first partition that is not this member's.
    pub(super) fn commit(&mut self, id: u64, offsets: &[(Partition, u64)]) -> Option<Partition> {
        let owned = self.members.get(&id).map(|member| &member.owned);
        let is_owned = |partition| owned.is_some_and(|owned| owned.contains_key(partition));
        if let Some((lost, _)) = offsets.iter().find(|(partition, _)| !is_owned(partition)) {
            return Some(lost.clone());
        }
        self.committed.extend(offsets.iter().cloned());
        None
    }

    /// Sets the offsets, unless somebody is in the group.
    pub(super) fn reset(&mut self, resets: &[Reset]) -> bool {
        let is_free = self.members.is_empty();
        if is_free {
            let places = resets.iter().map(|reset| (reset.partition.clone(), reset.to));
            self.committed.extend(places);
        }
        is_free
    }

    pub(super) fn pause(&mut self, id: u64, partitions: &[Partition]) {
        if let Some(member) = self.members.get_mut(&id) {
            member.paused.extend(partitions.iter().cloned());
        }
    }

    pub(super) fn resume(&mut self, id: u64, partitions: &[Partition]) {
        if let Some(member) = self.members.get_mut(&id) {
            member.paused.retain(|paused| !partitions.contains(paused));
        }
    }
}
