//! Nodes of two environments over one table, with the clock in the test's hand.

use super::*;

/// A node with the listener `l`, and the end of what it has read of the table.
struct TestNode {
    standing: Standing,
    permit: Permit,
    version: u64,
    /// Whether it waits for its permit.
    waits: bool,
    runs: bool,
    read: usize,
    /// One moment on both clocks.
    start: Instant,
    started: Moment,
}

/// The control table, in its order.
#[derive(Default)]
struct Table(Vec<ControlChange>);

impl TestNode {
    fn new(environment: &str, rank: u32, version: u64, start: Instant) -> Self {
        let own = NodeEntry {
            environment: environment.to_owned(),
            rank,
            life: 1,
            lease_ms: 10_000,
            ..NodeEntry::default()
        };
        Self {
            standing: Standing::new(environment, own, true),
            permit: Permit::Wait(why_not(ListenerState::Starting, None)),
            version,
            waits: true,
            runs: false,
            read: 0,
            start,
            started: Moment::now(),
        }
    }

    /// Reads the table to its end, decides, and starts or stops the listener.
    fn read(&mut self, table: &Table, now: Instant) {
        let fresh = table.0[self.read..].to_vec();
        self.read = table.0.len();
        self.standing.saw(fresh, now);
        self.decide(now);
    }

    fn clock(&self, now: Instant) -> Moment {
        self.started.after(now.saturating_duration_since(self.start))
    }

    fn decide(&mut self, now: Instant) {
        let offer = Offer { version: self.version, holds: false, leaves: false };
        self.standing.offer([("l".to_owned(), offer)].into_iter());
        self.permit = self.standing.verdict("l", (&self.permit, self.clock(now))).permit;
        self.standing.hold("l", self.runs);
    }

    /// The process begins when it may, and ends at once when it may not.
    fn obey(&mut self, now: Instant) {
        self.runs = match self.waits {
            true => matches!(self.permit, Permit::Run(_)),
            // As if the hand-over waited for nothing.
            false => self.standing.wins(&self.standing.contenders("l")),
        };
        self.decide(now);
    }

    fn write(&mut self, table: &mut Table, now: Instant) {
        let clock = self.clock(now);
        table.0.extend(self.standing.write(now, clock));
    }

    /// What a node does all the time.
    fn turn(&mut self, table: &mut Table, now: Instant) {
        self.read(table, now);
        self.obey(now);
        self.write(table, now);
        self.read(table, now);
        self.obey(now);
    }
}

fn at(start: Instant, ms: u64) -> Instant {
    start + Duration::from_millis(ms)
}

#[test]
fn a_lone_node_runs_after_one_write_and_gray_takes_over_when_the_other_has_ended() {
    let (mut table, start) = (Table::default(), Instant::now());
    let mut production = TestNode::new("production", 0, 1, start);
    production.turn(&mut table, start);
    assert!(production.runs, "one write is enough");
    let mut gray = TestNode::new("gray", 1, 2, start);
    gray.turn(&mut table, at(start, 10));
    assert!(!gray.runs, "production still runs it");
    production.read(&table, at(start, 20));
    assert!(
        matches!(&production.permit, Permit::Wait(why) if why.state == ListenerState::Elsewhere)
    );
    gray.turn(&mut table, at(start, 30));
    assert!(!gray.runs, "production has not told that it has ended");
    production.obey(at(start, 40));
    production.write(&mut table, at(start, 40));
    gray.read(&table, at(start, 50));
    gray.obey(at(start, 50));
    assert!(gray.runs);
    // Back, by a lower version.
    gray.version = 1;
    gray.turn(&mut table, at(start, 60));
    production.turn(&mut table, at(start, 70));
    assert!(!gray.runs && production.runs);
}

#[test]
fn a_node_that_is_gone_is_waited_for_until_its_lease_has_ended() {
    let (mut table, start) = (Table::default(), Instant::now());
    let (mut production, mut gray) =
        (TestNode::new("production", 0, 1, start), TestNode::new("gray", 1, 2, start));
    gray.turn(&mut table, start);
    production.turn(&mut table, start);
    assert!(gray.runs && !production.runs);
    production.turn(&mut table, at(start, 9_999));
    assert!(!production.runs);
    production.turn(&mut table, at(start, 10_001));
    assert!(!production.runs, "it tells first that it holds the listener");
    production.turn(&mut table, at(start, 10_002));
    assert!(production.runs, "all that was written until the end of the lease is read");
    // It comes back, as after SIGCONT: its lease has ended, and is not simply renewed.
    gray.read(&table, at(start, 10_002));
    assert!(matches!(gray.permit, Permit::Wait(_)), "its lease has ended");
    gray.turn(&mut table, at(start, 10_003));
    assert!(!gray.runs, "production runs it");
    production.turn(&mut table, at(start, 10_004));
    gray.turn(&mut table, at(start, 10_005));
    gray.turn(&mut table, at(start, 10_006));
    assert!(gray.runs && !production.runs, "it has the greater version");
}

#[test]
fn a_start_after_the_lease_of_a_dead_node_was_seen_to_end_does_not_wait_for_it_again() {
    let (mut table, start) = (Table::default(), Instant::now());
    let (mut production, mut gray) =
        (TestNode::new("production", 0, 1, start), TestNode::new("gray", 1, 2, start));
    gray.turn(&mut table, start);
    production.turn(&mut table, start);
    production.turn(&mut table, at(start, 10_001));
    production.turn(&mut table, at(start, 10_002));
    assert!(production.runs, "gray is gone");
    // It starts again, and another of its environment for the first time.
    let again = |node: &str, life: u64| {
        let mut node = TestNode::new(node, 0, 1, start);
        node.standing.own.environment = "production".to_owned();
        node.standing.own.life = life;
        node
    };
    for mut node in [again("production", 2), again("second", 3)] {
        node.turn(&mut table, at(start, 20_000));
        assert!(node.runs, "it does not wait for gray's lease");
    }
    // Gray continues with its next renewal, as after SIGCONT: it counts from there on.
    gray.turn(&mut table, at(start, 20_001));
    let mut third = again("third", 4);
    third.turn(&mut table, at(start, 20_002));
    assert!(!third.runs, "gray lives, and has the greater version");
}

#[test]
fn a_node_that_slept_does_not_take_others_for_gone() {
    let (mut table, start) = (Table::default(), Instant::now());
    let (mut production, mut gray) =
        (TestNode::new("production", 0, 1, start), TestNode::new("gray", 1, 2, start));
    gray.turn(&mut table, start);
    production.turn(&mut table, start);
    for second in 1..60 {
        gray.turn(&mut table, at(start, 1000 * second));
    }
    // It has read nothing for a minute: it decides when it has read up to its own new entry.
    production.decide(at(start, 60_000));
    production.obey(at(start, 60_000));
    assert!(!production.runs);
    production.turn(&mut table, at(start, 60_000));
    assert!(!production.runs && gray.runs);
}

/// Runs the steps of two nodes in an order, of which each bit says whose step is next. Gives
/// whether both ran the listener at any moment, and the nodes with their table.
fn race(order: u32, waits: bool) -> (bool, [TestNode; 2], Table) {
    const STEPS: [&str; 7] = ["read", "write", "read", "obey", "write", "read", "obey"];
    let (mut table, start) = (Table::default(), Instant::now());
    let mut nodes = [("production", 0, 1), ("gray", 1, 2)].map(|(name, rank, version)| TestNode {
        waits,
        ..TestNode::new(name, rank, version, start)
    });
    let (mut done, mut both) = ([0, 0], false);
    for turn in 0_u32..14 {
        let who = ((order >> turn) & 1) as usize;
        let (node, now) = (&mut nodes[who], at(start, u64::from(turn)));
        match STEPS[done[who]] {
            "read" => node.read(&table, now),
            "write" => node.write(&mut table, now),
            _ => node.obey(now),
        }
        done[who] += 1;
        both |= nodes.iter().all(|node| node.runs);
    }
    (both, nodes, table)
}

/// All orders of seven steps of one node and seven of another.
fn orders() -> impl Iterator<Item = u32> {
    (0_u32..1 << 14).filter(|order| order.count_ones() == 7)
}

#[test]
fn two_that_begin_at_once_do_not_both_run_in_any_order_of_their_steps() {
    for order in orders() {
        let (both, mut nodes, mut table) = race(order, true);
        assert!(!both, "order {order:014b}");
        for round in 1..4 {
            for node in &mut nodes {
                let now = at(node.start, 100 * round);
                node.turn(&mut table, now);
            }
        }
        assert!(
            !nodes[0].runs && nodes[1].runs,
            "order {order:014b}: gray has the greater version"
        );
    }
}

#[test]
fn a_hand_over_that_waits_for_nothing_is_found() {
    let wrong = orders().filter(|order| race(*order, false).0).count();
    assert!(wrong > 500, "{wrong} orders");
}

#[test]
fn who_gives_up_and_wins_again_tells_so_before_it_begins() {
    let (mut table, start) = (Table::default(), Instant::now());
    let mut production = TestNode::new("production", 0, 1, start);
    let mut gray = TestNode::new("gray", 1, 2, start);
    production.turn(&mut table, start);
    gray.turn(&mut table, at(start, 10));
    production.read(&table, at(start, 20));
    production.obey(at(start, 20));
    // It writes that it gives up. Before that is in the table, gray has a lower version again.
    let clock = production.clock(at(start, 30));
    let gives_up = production.standing.write(at(start, 30), clock);
    gray.version = 1;
    gray.decide(at(start, 30));
    gray.write(&mut table, at(start, 30));
    production.read(&table, at(start, 40));
    production.obey(at(start, 40));
    assert!(!production.runs, "gray will read that it gives up");
    table.0.extend(gives_up);
    gray.version = 2;
    gray.turn(&mut table, at(start, 50));
    assert!(gray.runs, "it has read that");
}

#[test]
fn what_is_not_read_back_is_no_lease() {
    let (mut table, start) = (Table::default(), Instant::now());
    let mut production = TestNode::new("production", 0, 1, start);
    production.read(&table, start);
    production.write(&mut table, start);
    production.obey(start);
    assert!(!production.runs, "it was written, and not read back");
    assert!(production.standing.write_at(start) <= at(start, 2_000), "it is renewed in time");
    production.read(&table, at(start, 10));
    production.obey(at(start, 10));
    assert!(production.runs);
}
