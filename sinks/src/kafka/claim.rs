//! Who writes the changes of a source: one process at a time, and it knows what is written.
//!
//! Each session has a transactional id that it never takes again once it has lost it. To write
//! changes of a source, a session
//!
//! 1. writes that it claims the source, and reads until it sees that;
//! 2. takes the transactional id of each one that claimed the source before: these can write
//!    nothing more, and what they left open is undone (KIP-98);
//! 3. writes that these do not claim it any more, and reads until it sees that: then it has read
//!    all that they wrote.
//!
//! If by then nobody claimed the source after it, the source is its own: whoever comes later finds
//! its claim, takes its transactional id, and only then reads what it wrote. A claim is in a
//! transaction, and so are marks, so what is read to the end of one's own record has no gap.

use std::collections::{BTreeSet, HashSet};

use handler::Failure;

use super::{
    cluster::TargetCluster,
    log::LogReader,
    marks::{MarkRecord, Marks, SIGHT, claim_key},
    session::{Session, Trouble},
};

/// The sources that a session writes changes of, and what is written of them.
pub(super) struct Claims {
    cluster: TargetCluster,
    log: LogReader,
    pub(super) marks: Marks,
    owned: HashSet<String>,
    /// The sessions that can write nothing more.
    fenced: HashSet<String>,
    /// How many records were written to be seen.
    sights: u64,
}

impl Claims {
    /// Reads what is written; blocks.
    pub(super) fn open(cluster: &TargetCluster) -> Result<Self, Failure> {
        let (log, mut marks) = (LogReader::open(cluster)?, Marks::default());
        log.read(&mut marks)?;
        Ok(Self {
            cluster: cluster.clone(),
            log,
            marks,
            owned: HashSet::new(),
            fenced: HashSet::new(),
            sights: 0,
        })
    }

    /// Makes these sources the session's own, and undoes what others left open in these topics;
    /// blocks.
    ///
    /// # Errors
    ///
    /// The session is of no use any more.
    pub(super) fn claim(
        &mut self,
        session: &Session,
        sources: &BTreeSet<&str>,
        topics: &BTreeSet<&str>,
    ) -> Result<(), Trouble> {
        let new: Vec<&str> =
            sources.iter().copied().filter(|one| !self.owned.contains(*one)).collect();
        if new.is_empty() {
            return Ok(());
        }
        // What a process that was killed left open keeps us from reading on.
        self.fence_others(session, &new, topics)?;
        let claims = new.iter().map(|source| (claim_key(source, &session.id), Some(Vec::new())));
        self.write_and_see(session, claims.collect())?;
        let others = self.fence_others(session, &new, topics)?;
        let gone = others.iter().map(|key| (key.clone(), None));
        self.write_and_see(session, gone.collect())?;
        for source in new {
            if self.marks.claimants(source) != [session.id.as_str()] {
                let reason = format!("another process of this listener takes over {source}");
                return Err(Failure::unclear(reason).into());
            }
            self.owned.insert(source.to_owned());
        }
        Ok(())
    }

    /// Stops those who claimed the sources before; gives the keys of their claims.
    fn fence_others(
        &mut self,
        session: &Session,
        sources: &[&str],
        topics: &BTreeSet<&str>,
    ) -> Result<Vec<String>, Failure> {
        let mut keys = Vec::new();
        for source in sources {
            let claimants = self.marks.claimants(source).iter();
            for id in claimants.take_while(|id| **id != session.id) {
                if !self.fenced.contains(id) {
                    Session::fence(&self.cluster, id, topics)?;
                    self.fenced.insert(id.clone());
                }
                keys.push(claim_key(source, id));
            }
        }
        Ok(keys)
    }

    fn write_and_see(
        &mut self,
        session: &Session,
        mut records: Vec<MarkRecord>,
    ) -> Result<(), Trouble> {
        self.sights += 1;
        let sight = format!("{} {}", session.id, self.sights);
        records.push((SIGHT.to_owned(), Some(sight.clone().into_bytes())));
        session.write(&[], &records)?;
        Ok(self.log.read_to(&mut self.marks, &sight)?)
    }
}
