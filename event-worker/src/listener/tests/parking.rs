//! Events that fail alone wait aside with their keys, while all other keys go on.

use std::collections::{BTreeMap, HashSet};

use async_trait::async_trait;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

use super::*;
use crate::handler::{Batch as HandlerBatch, Failure, Outcome};

/// A handler that refuses some keys, and remembers what it has done.
#[derive(Clone, Default)]
struct Picky(Arc<Mutex<World>>, /** Which member it is of. */ usize);

#[derive(Default)]
struct World {
    refused: HashSet<String>,
    /// The numbers that were done, by key.
    done: BTreeMap<String, Vec<usize>>,
    /// The keys that are in a call now, and of which member.
    running: BTreeMap<String, usize>,
    members: usize,
    /// Members that were killed: nothing that they do counts any more.
    killed: HashSet<usize>,
    calls: usize,
    /// Member, what it did, key and number.
    history: Vec<(usize, &'static str, String, usize)>,
    /// Whether it names what it refuses.
    names: bool,
}

fn key_and_number(ev_id: &str) -> (String, usize) {
    let (key, number) = ev_id.rsplit_once('-').unwrap();
    (key.to_owned(), number.parse().unwrap())
}

#[async_trait]
impl Handler for Picky {
    async fn handle(&mut self, batch: HandlerBatch<'_>) -> Outcome {
        let events: Vec<_> = batch.events.iter().map(|e| key_and_number(e.ev_id())).collect();
        let keys: HashSet<String> = events.iter().map(|(key, _)| key.clone()).collect();
        if !self.begins(&events, &keys) {
            return std::future::pending().await;
        }
        tokio::task::yield_now().await;
        match self.ends(batch, events, &keys) {
            Some(outcome) => outcome,
            None => std::future::pending().await,
        }
    }

    async fn abandon(&mut self) {
        self.0.lock().unwrap().forget(self.1);
    }
}

impl World {
    /// No call of the member runs any more.
    fn forget(&mut self, member: usize) {
        self.running.retain(|_, of| *of != member);
    }
}

impl Picky {
    /// The same world for another member.
    fn of_next_member(&self) -> Self {
        let mut world = self.0.lock().unwrap();
        world.members += 1;
        Self(Arc::clone(&self.0), world.members)
    }

    /// Kills the member: from now on nothing that it does counts.
    fn kill(&self) {
        let mut world = self.0.lock().unwrap();
        world.killed.insert(self.1);
        world.history.push((self.1, "killed", String::new(), 0));
        world.forget(self.1);
    }

    /// A call begins, unless the member was killed.
    fn begins(&self, events: &[(String, usize)], keys: &HashSet<String>) -> bool {
        let mut world = self.0.lock().unwrap();
        if world.killed.contains(&self.1) {
            return false;
        }
        world.calls += 1;
        for (key, number) in events {
            world.history.push((self.1, "call", key.clone(), *number));
        }
        for key in keys {
            let other = world.running.insert(key.clone(), self.1);
            assert!(other.is_none(), "{key} is in two calls at once");
        }
        true
    }

    /// A call ends, unless the member was killed.
    fn ends(
        &self,
        batch: HandlerBatch<'_>,
        events: Vec<(String, usize)>,
        keys: &HashSet<String>,
    ) -> Option<Outcome> {
        let mut world = self.0.lock().unwrap();
        if world.killed.contains(&self.1) {
            return None;
        }
        keys.iter().for_each(|key| assert_eq!(world.running.remove(key), Some(self.1)));
        let is_refused = |ev_id: &str| world.refused.contains(&key_and_number(ev_id).0);
        let ids = batch.events.iter().map(|event| event.ev_id().to_owned());
        let failed: Vec<String> = ids.filter(|id| is_refused(id)).collect();
        if !failed.is_empty() && !world.names {
            return Some(Outcome::Failed(Failure::new("refused")));
        }
        for (key, number) in events {
            if !world.refused.contains(&key) {
                world.history.push((self.1, "done", key.clone(), number));
                world.done.entry(key).or_default().push(number);
            }
        }
        let partly = !failed.is_empty();
        Some(if partly { Outcome::partly(failed, None) } else { Outcome::Done })
    }

    fn done(&self, key: &str) -> usize {
        let world = self.0.lock().unwrap();
        world.done.get(key).map_or(0, |done| done.iter().max().map_or(0, |max| max + 1))
    }

    /// Each event was done when all before it of its key had been done.
    fn is_in_order(&self) -> Result<(), String> {
        let world = self.0.lock().unwrap();
        for (key, done) in &world.done {
            let mut next = 0;
            for number in done {
                if *number > next {
                    let of_key = world.history.iter().filter(|(_, _, of, _)| of == key);
                    let of_key: Vec<_> = of_key.take(60).collect();
                    return Err(format!("{key}: {number} was done before {next}: {of_key:?}"));
                }
                next = next.max(number + 1);
            }
        }
        Ok(())
    }
}

impl Site {
    async fn append_all(&mut self, events: &[(String, usize)]) {
        let mut batch = Batch::default();
        for (key, number) in events {
            let event = format!(
                r#"{{"EvId":"{key}-{number}","Schema":"s","TableName":"t","Action":"insert","PK":{{"id":1}},"Data":{{"id":1}},"Origin":"binlog","Ts":1,"Source":{{"serverId":1,"file":"b.1","pos":4,"row":0}}}}"#
            );
            batch.push_copy(TOPIC, key.as_bytes(), event.as_bytes());
        }
        self.producer.append(&batch, &[]).await.unwrap();
    }

    fn park_with(&self, park: &str, picky: &Picky) -> (Member, Arc<Status>) {
        let (member, status, _) = self.park_and_tell(park, picky);
        (member, status)
    }

    fn park_and_tell(&self, park: &str, picky: &Picky) -> (Member, Arc<Status>, Picky) {
        let text = format!(
            "[listeners.test]\nstart = 'earliest'\nworkers = 4\nbatchSize = 16\npark = {park}\n\
             retry = {{ min = '1ms', max = '5ms' }}\nhandler = 'print'\n"
        );
        let config = Config::parse(Path::new("test.toml"), &text).unwrap();
        let listener = Listener::new(&config, "test", Arc::new(self.bus.clone())).unwrap();
        let (status, picky) = (listener.status(), picky.of_next_member());
        let of_lanes = picky.clone();
        let member = Member::start(|control| async move {
            listener.run_controlled(&|_| Box::new(of_lanes.clone()), control).await
        });
        (member, status, picky)
    }

    async fn parked(&self) -> usize {
        self.bus.kept("parked.test").await.unwrap().len()
    }
}

/// The events of each key in order, the keys mixed.
fn mixed(random: &mut StdRng, keys: usize, each: usize) -> Vec<(String, usize)> {
    let mut next = vec![0; keys];
    let mut events = Vec::new();
    while events.len() < keys * each {
        let key = random.random_range(0..keys);
        if next[key] < each {
            events.push((format!("k{key}"), next[key]));
            next[key] += 1;
        }
    }
    events
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_is_parked_with_its_key_and_all_others_go_on() {
    for names in [false, true] {
        let mut site = Site::new().await;
        let picky = Picky::default();
        picky.0.lock().unwrap().refused = ["k3".to_owned(), "k7".to_owned()].into();
        picky.0.lock().unwrap().names = names;
        let events = mixed(&mut StdRng::seed_from_u64(1), 20, 30);
        site.append_all(&events).await;
        let (one, status) = site.park_with("{ after = 3 }", &picky);
        eventually("all is committed", async || site.behind().await == 0).await;
        for key in 0..20 {
            let expected = if [3, 7].contains(&key) { 0 } else { 30 };
            assert_eq!(picky.done(&format!("k{key}")), expected, "k{key}");
        }
        eventually("two keys are parked", async || status.report().parking.parked == 2).await;
        let parking = status.report().parking;
        assert_eq!((parking.keys, parking.events), (2, 60));
        assert_eq!(site.parked().await, 60);
        assert_eq!(status.report().state, ListenerState::Running);
        one.stop().await;
        let calls = picky.0.lock().unwrap().calls;

        // The next member knows what is parked, and does not try it.
        picky.0.lock().unwrap().refused.clear();
        let (two, status) = site.park_with("{ after = 3 }", &picky);
        site.append_all(&[("k3".to_owned(), 30), ("k1".to_owned(), 30)]).await;
        eventually("all is committed", async || site.behind().await == 0).await;
        eventually("it knows them", async || status.report().parking.events == 61).await;
        assert_eq!((picky.done("k3"), picky.done("k1")), (0, 31));
        assert_eq!(picky.0.lock().unwrap().calls, calls + 1);
        two.stop().await;
        picky.is_in_order().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_aside_is_done_in_order_whatever_happens_to_the_members() {
    let seed = std::env::var("TEST_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| rand::rng().random());
    println!("TEST_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let mut site = Site::new().await;
    let picky = Picky::default();
    let events = mixed(&mut random, 40, 50);
    let start = |site: &Site| site.park_and_tell("{ after = 1000000 }", &picky);
    let mut members = vec![start(&site)];
    for part in events.chunks(100) {
        site.append_all(part).await;
        let refused = (0..4).map(|_| format!("k{}", random.random_range(0..40)));
        picky.0.lock().unwrap().refused = refused.collect();
        picky.0.lock().unwrap().names = random.random();
        tokio::time::sleep(Duration::from_millis(random.random_range(0..40))).await;
        match random.random_range(0..4) {
            0 if members.len() < 3 => members.push(start(&site)),
            1 if members.len() > 1 => members.swap_remove(0).0.stop().await,
            2 => {
                let (member, _, of_member) = members.swap_remove(0);
                of_member.kill();
                member.task.abort();
                let _ = member.task.await;
                members.push(start(&site));
            }
            _ => {}
        }
    }
    picky.0.lock().unwrap().refused.clear();
    eventually("all is committed", async || site.behind().await == 0).await;
    eventually("nothing waits", async || site.parked().await == 0).await;
    for key in 0..40 {
        assert_eq!(picky.done(&format!("k{key}")), 50, "k{key}, TEST_SEED={seed}");
    }
    picky.is_in_order().map_err(|problem| format!("TEST_SEED={seed}: {problem}")).unwrap();
    for (member, ..) in members {
        member.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_that_cannot_work_at_all_is_waited_for_and_not_asked_for_each_event() {
    let mut site = Site::new().await;
    let picky = Picky::default();
    picky.0.lock().unwrap().refused = (0..500).map(|key| format!("k{key}")).collect();
    let events: Vec<_> = (0..500).map(|key| (format!("k{key}"), 0)).collect();
    site.append_all(&events).await;
    let text = "[listeners.test]\nstart = 'earliest'\nworkers = 4\nbatchSize = 16\n\
                park = { after = 5 }\nretry = { min = '1h', max = '1h' }\nhandler = 'print'\n";
    let config = Config::parse(Path::new("test.toml"), text).unwrap();
    let listener = Listener::new(&config, "test", Arc::new(site.bus.clone())).unwrap();
    let (status, of_lanes) = (listener.status(), picky.clone());
    let one = Member::start(|control| async move {
        listener.run_controlled(&|_| Box::new(of_lanes.clone()), control).await
    });
    eventually("all lanes wait", async || status.report().failing.len() == 4).await;
    let calls = picky.0.lock().unwrap().calls;
    assert!(calls <= 4 * 9, "{calls} calls");
    one.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn at_its_limit_it_takes_no_more_and_says_so() {
    let mut site = Site::new().await;
    let picky = Picky::default();
    picky.0.lock().unwrap().refused = (0..10).map(|key| format!("k{key}")).collect();
    let (one, status) = site.park_with("{ after = 2, maxKeys = 5 }", &picky);
    let events = mixed(&mut StdRng::seed_from_u64(2), 30, 20);
    for part in events.chunks(20) {
        site.append_all(part).await;
    }
    let is_full = async || status.report().state == ListenerState::ParkingFull;
    eventually("it is full", is_full).await;
    let error = status.report().error.unwrap();
    assert!((5..9).contains(&status.report().parking.keys), "{error:?}");
    picky.0.lock().unwrap().refused.clear();
    status.retry_now();
    one.stop().await;
    let (two, _) = site.park_with("{ after = 2, maxKeys = 50 }", &picky);
    eventually("the rest is committed", async || site.behind().await == 0).await;
    picky.is_in_order().unwrap();
    two.stop().await;
}
