//! Which records a subscription is given.

use std::sync::Arc;

use bytes::Bytes;
use regex::RegexSet;

use crate::{Error, Record, record::FIRST_DATA_TYPE, subscribe::Subscribe};

/// Which records are wanted: the filter of a subscription, for who reads everything.
#[derive(Clone, Debug, Default)]
pub struct RecordFilter {
    terms: Arc<FilterTerms>,
    topics: Option<RegexSet>,
    /// The topic of the last record, and whether it passed: most often the next record has it, too.
    last_topic: Option<(Bytes, bool)>,
}

/// What a filter was made of: two with the same terms pass the same records.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct FilterTerms {
    topics: Vec<String>,
    kinds: Vec<u32>,
    origins: Vec<u32>,
    addressee: Option<(String, Bytes)>,
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
            terms: Arc::new(FilterTerms {
                topics: topics.clone(),
                kinds: wanted.kinds.clone(),
                origins: wanted.origins.clone(),
                addressee: wanted.addressee.clone(),
            }),
            topics: (!topics.is_empty()).then_some(set),
            last_topic: None,
        })
    }

    pub(crate) fn terms(&self) -> &Arc<FilterTerms> {
        &self.terms
    }

    /// Whether this record is wanted. The log's own records never are.
    pub fn passes(&mut self, record: &Record) -> bool {
        let listed = |list: &[u32], value| list.is_empty() || list.contains(&value);
        record.kind >= FIRST_DATA_TYPE
            && listed(&self.terms.kinds, record.kind)
            && listed(&self.terms.origins, record.origin)
            && !self.is_for_others(record)
            && self.topic_passes(record)
    }

    fn is_for_others(&self, record: &Record) -> bool {
        let Some((header, ours)) = &self.terms.addressee else { return false };
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
