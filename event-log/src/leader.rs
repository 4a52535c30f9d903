//! Who leads each producer, among those that are connected now.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

/// The leaders of a stream's producers.
#[derive(Debug, Default)]
pub(crate) struct Leaders {
    leads: Mutex<LeadTable>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct LeadTable {
    next: u64,
    by_producer: HashMap<String, u64>,
}

/// Leads a producer until it is dropped.
#[derive(Debug)]
pub struct ProducerLead {
    leaders: Arc<Leaders>,
    producer: String,
    id: u64,
}

impl Leaders {
    /// Waits until nobody leads the producer, and then leads it.
    pub(crate) async fn lead(self: &Arc<Self>, producer: &str) -> ProducerLead {
        loop {
            let changed = self.changed.notified();
            if !self.lock().by_producer.contains_key(producer) {
                return self.take(producer);
            }
            changed.await;
        }
    }

    /// Leads the producer from now on, even if somebody else did.
    pub(crate) fn take(self: &Arc<Self>, producer: &str) -> ProducerLead {
        let mut leads = self.lock();
        leads.next += 1;
        let id = leads.next;
        leads.by_producer.insert(producer.to_owned(), id);
        ProducerLead { leaders: Arc::clone(self), producer: producer.to_owned(), id }
    }

    fn lock(&self) -> MutexGuard<'_, LeadTable> {
        self.leads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for ProducerLead {
    fn drop(&mut self) {
        let mut leads = self.leaders.lock();
        if leads.by_producer.get(&self.producer) == Some(&self.id) {
            leads.by_producer.remove(&self.producer);
            self.leaders.changed.notify_waiters();
        }
    }
}
