//! A record that is lost on purpose: the books say between which places.

use async_trait::async_trait;
use event_bus::{Book, KeptChange, Polled};

use super::{
    super::{
        audit::Audit,
        books::{Difference, Seam},
        lanes::Loses,
        status::Report,
    },
    *,
};

/// A consumer of a real bus that changes what it gives.
struct Changing<C> {
    consumer: Box<dyn Consumer>,
    change: C,
}

#[async_trait]
impl<C: FnMut(&mut Polled) + Send + 'static> Consumer for Changing<C> {
    async fn poll(&mut self) -> event_bus::Result<Polled> {
        let mut polled = self.consumer.poll().await?;
        (self.change)(&mut polled);
        Ok(polled)
    }

    fn commit_with(
        &mut self,
        offsets: &[(Partition, u64)],
        changes: Vec<KeptChange>,
    ) -> Committing {
        self.consumer.commit_with(offsets, changes)
    }

    fn pause(&mut self, partitions: &[Partition]) {
        self.consumer.pause(partitions);
    }

    fn resume(&mut self, partitions: &[Partition]) {
        self.consumer.resume(partitions);
    }

    async fn close(self: Box<Self>) {
        self.consumer.close().await;
    }
}

/// Loses the record of an event.
fn without(ev_id: &str) -> impl FnMut(&mut Polled) + Send + 'static {
    let part = format!("\"{ev_id}\"");
    move |polled| {
        if let Polled::Records { deliveries, .. } = polled {
            deliveries.retain(|of| !String::from_utf8_lossy(&of.value).contains(&part));
        }
    }
}

fn nothing() -> impl FnMut(&mut Polled) + Send + 'static {
    |_| {}
}

impl Site {
    /// A site whose producer keeps a book.
    async fn with_book() -> Self {
        let mut site = Self::with(1).await;
        site.producer.keep_book(Book::default());
        site
    }

    async fn append_numbers(&mut self, key: &str, numbers: std::ops::Range<usize>) {
        for number in numbers {
            self.append(key, number).await;
        }
    }

    /// Starts a member whose consumer and lanes are such; gives its status.
    async fn start_losing(
        &self,
        change: impl FnMut(&mut Polled) + Send + 'static,
        loses: Loses,
    ) -> (Member, Arc<Status>) {
        let config = self.config("one", ":");
        let (config, bus) = (config.listener("test").unwrap().clone(), config.bus);
        let consumer = self.bus.consumer(config.subscription("test", &bus)).await.unwrap();
        let consumer = Box::new(Changing { consumer, change });
        let status = Arc::<Status>::default();
        let shown = Arc::clone(&status);
        let member = Member::start(|control| async move {
            let make_handler = handler::maker(("test", &config), &BTreeSet::new(), &no_bus());
            let make_handler = make_handler.unwrap().unwrap().make;
            let with = (&status, &control);
            let (replays, _runner) = link();
            let consumer: (Box<dyn Consumer>, _) = (consumer, replays);
            let journey = Journey::new(("test", &config), consumer, &*make_handler, with);
            journey.losing(loses).run(control).await
        });
        (member, shown)
    }
}

fn found(status: &Status) -> Vec<Difference> {
    status.report().counters.differences.all().to_vec()
}

async fn until(status: &Status, what: &str, is_so: impl Fn(&Report) -> bool) {
    eventually(what, async || is_so(&status.report())).await;
}

/// The one difference that was found must be this.
fn is_one(status: &Status, between: Seam, missing: i64) -> String {
    let all = found(status);
    let [only] = &all[..] else { panic!("{all:?}") };
    assert_eq!((only.between, only.missing, only.table.as_str()), (between, missing, "s.t"));
    only.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn books_balance_over_members_that_come_and_go_and_records_that_come_again() {
    let mut site = Site::with_book().await;
    site.append_numbers("k", 0..20).await;
    for round in 1..4 {
        let (member, status) = site.start_losing(nothing(), Loses::default()).await;
        site.append_numbers("k", 20 * round..20 * (round + 1)).await;
        until(&status, "some are done", |report| report.counters.done > 5).await;
        // Nothing of it is committed any more: the next member gets it again.
        site.bus.expel(&format!("event-worker test, pid {}", std::process::id()));
        until(&status, "it is balanced", |report| report.counters.waiting() == 0).await;
        member.stop().await;
        let report = status.report();
        let counters = &report.counters;
        assert_eq!(counters.received, counters.done + counters.returned + counters.waiting());
        for of in counters.tables.iter() {
            assert_eq!((of.received, of.done), (counters.received, counters.done));
            assert_eq!(of.waiting(), counters.waiting());
        }
        assert_eq!(found(&status), []);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_is_lost_in_the_bus_is_named() {
    let mut site = Site::with_book().await;
    let (member, status) = site.start_losing(without("k-3"), Loses::default()).await;
    site.append_numbers("k", 0..10).await;
    until(&status, "the others are done", |report| report.counters.done == 9).await;
    let told = is_one(&status, Seam::Bus, 1);
    let place = "1 record is missing in the bus, between dts and the listener: of s.t, between \
                 the offsets 2 and 4";
    assert_eq!(told, place);
    member.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_dts_never_made_is_named() {
    let mut site = Site::with_book().await;
    let (member, status) = site.start_losing(nothing(), Loses::default()).await;
    site.append_numbers("k", 0..3).await;
    // As a human who writes to the topic.
    let (mut other, _) = site.bus.producer("other").await.unwrap();
    std::mem::swap(&mut site.producer, &mut other);
    site.append_numbers("k", 100..102).await;
    std::mem::swap(&mut site.producer, &mut other);
    site.append_numbers("k", 3..6).await;
    until(&status, "all are done", |report| report.counters.done == 8).await;
    is_one(&status, Seam::Bus, -2);
    member.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_record_that_is_lost_in_the_bus_is_named() {
    let mut site = Site::with_book().await;
    let (member, status) = site.start_losing(without("k-9"), Loses::default()).await;
    let config = site.config("one", ":");
    let mut listener = Listener::new(&config, "test", Arc::new(site.bus.clone())).unwrap();
    listener.status = Arc::clone(&status);
    let audit = Audit::new(&listener).every(Duration::from_millis(50));
    let audit = tokio::spawn(audit.run());
    site.append_numbers("k", 0..10).await;
    until(&status, "it is named", |report| !report.counters.differences.all().is_empty()).await;
    let all = found(&status);
    assert_eq!((all.len(), all[0].between, all[0].missing), (1, Seam::Bus, 1));
    assert!(all[0].to_string().contains("after offset 8, at the end"), "{}", all[0]);
    site.append_numbers("k", 10..12).await;
    until(&status, "the next are done", |report| report.counters.done == 11).await;
    assert_eq!(found(&status), all, "it is told once");
    audit.abort();
    member.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_is_lost_between_the_bus_and_the_lanes_is_named() {
    let mut site = Site::with_book().await;
    let loses = Loses { pushed: Some("k-3".to_owned()), ..Loses::default() };
    let (member, status) = site.start_losing(nothing(), loses).await;
    site.append_numbers("k", 0..10).await;
    until(&status, "the others are done", |report| report.counters.done == 9).await;
    let told = is_one(&status, Seam::BusLanes, 1);
    assert_eq!(told, "1 record is missing between the bus and the lanes: of s.t, at offset 3");
    member.stop().await;
    assert!(site.behind().await >= 7, "what is lost is not committed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_is_lost_between_the_lanes_and_what_is_done_is_named() {
    let mut site = Site::with_book().await;
    let loses = Loses { reported: Some("k-3".to_owned()), ..Loses::default() };
    let (member, status) = site.start_losing(nothing(), loses).await;
    site.append_numbers("k", 0..10).await;
    until(&status, "the others are done", |report| report.counters.done == 9).await;
    let told = is_one(&status, Seam::LanesDone, 1);
    let place = "1 record is missing between the lanes and what is done: of s.t, in a call of lane";
    assert!(told.starts_with(place), "{told}");
    member.stop().await;
    assert!(site.behind().await >= 7, "what is lost is not committed");
}
