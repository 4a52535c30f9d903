//! Which records a subscription is given.

use bytes::Bytes;
use regex::RegexSet;

use crate::{Error, Record, record::FIRST_DATA_TYPE, subscribe::Subscribe};

/// Which records are wanted: the filter of a subscription, for who reads everything.
#[derive(Clone, Debug, Default)]
pub struct RecordFilter {
    topics: Option<RegexSet>,
    kinds: Vec<u32>,
    origins: Vec<u32>,
    addressee: Option<(String, Bytes)>,
    /// The topic of the last record, and whether it passed: most often the next record has it, too.
    last_topic: Option<(Bytes, bool)>,
}

impl RecordFilter {
    /// Of `topics`, `kinds`, `origins` and `addressee` of this.
    ///
    /// # Errors
    ///
    /// [`Error::Rejected`] for a regular expression that is wrong.
    pub fn new(wanted: &Subscribe) -> Result<Self, Error> {
        let topics = &wanted.topics;
        let whole = topics.iter().map(|topic| format!("^(?:{topic})$"));
        let set = RegexSet::new(whole)
            .map_err(|error| Error::Rejected(format!("the filter of topics is wrong: {error}")))?;
        Ok(Self {
            topics: (!topics.is_empty()).then_some(set),
            kinds: wanted.kinds.clone(),
            origins: wanted.origins.clone(),
            addressee: wanted.addressee.clone(),
            last_topic: None,
        })
    }

    /// Whether this record is wanted. The log's own records never are.
    pub fn passes(&mut self, record: &Record) -> bool {
        let listed = |list: &[u32], value| list.is_empty() || list.contains(&value);
        record.kind >= FIRST_DATA_TYPE
            && listed(&self.kinds, record.kind)
            && listed(&self.origins, record.origin)
            && !self.is_for_others(record)
            && self.topic_passes(record)
    }

    fn is_for_others(&self, record: &Record) -> bool {
        let Some((header, ours)) = &self.addressee else { return false };
        record.headers.iter().any(|found| found.name == *header && found.value != ours)
    }

    fn topic_passes(&mut self, record: &Record) -> bool {
        let Some(topics) = &self.topics else { return true };
        if let Some((topic, passes)) = &self.last_topic
            && *topic == record.topic
        {
            return *passes;
        }
        let passes = topics.is_match(record.topic());
        self.last_topic = Some((Bytes::copy_from_slice(&record.topic), passes));
        passes
    }
}
