//! Past events once more: in order with the live ones, whatever is killed, and only what was asked.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use e2e::{
    processes::{PATIENCE, wait_until},
    programs::{REFUSED, program, seed, size},
    replays::{Came, Replay, all_committed},
    running::{Running, Source, Victim},
    workload::shuffled,
    writers::{Writers, create_versioned},
};
use rand::{RngExt, SeedableRng, rngs::SmallRng};

const SCHEMA: &str = "past";
const TABLE: &str = "past.item";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Log,
    Kafka,
}

/// All rows of a table are done; the handler does what its options say.
async fn start(test: &str, (kind, rows): (Kind, u64), options: &[&str]) -> Result<Running> {
    let source = Source::start(test).await?;
    let source = match kind {
        Kind::Log => source,
        Kind::Kafka => source.over_kafka("partitions = 4\n").await?,
    };
    let source = source.capture(SCHEMA, &["CREATE DATABASE past"]).await?;
    create_versioned(&mut source.mysql.connect().await?, TABLE, rows).await?;
    source.site.record(options)?;
    let running = source.run()?;
    running.site.wait_for_handled(usize::try_from(rows)?).await?;
    all_committed(&running.site).await?;
    Ok(running)
}

/// Every event of the range is counted. One that came twice because of a kill counts twice, and may
/// have been left out at the second time.
fn counted(ended: &Replay, came: Came) -> Result<()> {
    let counted = ended.figure("replayed") + ended.figure("leftOut");
    ensure!(counted >= (came.replayed + came.left_out) as u64, "{came:?} {}", ended.0);
    Ok(())
}

/// A replay of all that there is, beside changes of its keys, with so many kills on the way.
async fn survive(test: &str, kind: Kind) -> Result<()> {
    /// Changes a second: inserts, updates, deletes, and updates of keys.
    const RATE: u64 = 400;
    let (seed, rows, kills) = (seed(), size(20_000, 200_000), size(6, 20));
    let mut random = SmallRng::seed_from_u64(seed);
    let options = ["--fail-one-in=30", "--work-ms=15", &format!("--seed={seed}")];
    let mut running = start(test, (kind, rows), &options).await?;
    running.site.amend("db_event_listener.toml", "workers = 8", "workers = 8\nbatchSize = 10")?;
    running.kill(Victim::Supervisor).await?;
    wait_until("event-worker is up again", PATIENCE, async || {
        running.site.ask_worker("/api/v1/listeners").await.is_ok()
    })
    .await?;
    let writers = Writers::start(&running.mysql.url(), (TABLE, rows), RATE, seed);
    let replay = Replay::start(&running.site, &["--from", "earliest"]).await?;
    let victims = [Victim::Listener, Victim::Supervisor];
    let mut before = 0;
    for victim in shuffled(&victims, kills / 2, &mut random) {
        let now = replay.wait_to_move(&running.site, before).await?;
        before = now.figure("replayed");
        tokio::time::sleep(Duration::from_millis(random.random_range(0..500))).await;
        println!("killing {victim:?} at {} replayed ({})", now.figure("replayed"), now.0["state"]);
        running.kill(victim).await?;
    }
    let ended = replay.wait_for(&running.site, "done").await?;
    let made = writers.stop().await?;
    let recording = running.all_handled(SCHEMA).await?;
    let came = ended.check(&recording)?;
    println!("{kind:?}: {came:?} beside {made} live changes; {}", ended.0);
    ensure!(came.left_out > 0, "no key had a newer event");
    ensure!(came.replayed as u64 > rows / 10, "few came");
    counted(&ended, came)?;
    running.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn no_key_goes_backwards_over_the_log_while_everything_is_killed() -> Result<()> {
    survive("replay-log", Kind::Log).await
}

#[tokio::test(flavor = "multi_thread")]
async fn no_key_goes_backwards_over_kafka_while_everything_is_killed() -> Result<()> {
    survive("replay-kafka", Kind::Kafka).await
}

/// The ids of the rows that came once more, in their order.
fn replayed_ids(running: &Running) -> Vec<String> {
    let recording = running.site.recording();
    let past = recording.done().filter(|event| event.origin == "replay");
    past.map(|event| event.pk.get().to_owned()).collect()
}

/// Plays a part, and gives the keys that came.
async fn play(running: &Running, words: &[&str]) -> Result<(Replay, Vec<String>)> {
    let before = replayed_ids(running).len();
    let replay = Replay::start(&running.site, words).await?;
    let ended = replay.wait_for(&running.site, "done").await?;
    let mut came = replayed_ids(running).split_off(before);
    came.sort();
    Ok((ended, came))
}

async fn only_what_was_asked(test: &str, kind: Kind) -> Result<()> {
    let running = start(test, (kind, 5), &[]).await?;
    let keys = |ids: &[u32]| ids.iter().map(|id| format!("{{\"id\":{id}}}")).collect::<Vec<_>>();
    let (all, came) = play(&running, &["--from", "earliest"]).await?;
    ensure!(came == keys(&[0, 1, 2, 3, 4]), "{came:?}");
    ensure!((all.figure("replayed"), all.figure("leftOut")) == (5, 0), "{}", all.0);
    all.check(&running.site.recording())?;

    let (_, came) = play(&running, &["--from", "earliest", "--key", "3"]).await?;
    ensure!(came == keys(&[3]), "{came:?}");
    let (_, came) = play(&running, &["--from", "earliest", "--key", "{\"id\":4}"]).await?;
    ensure!(came == keys(&[4]), "{came:?}");
    let (_, came) = play(&running, &["--from", "earliest", "--table", "past.i*"]).await?;
    ensure!(came.len() == 5, "{came:?}");

    let recording = running.site.recording();
    let mut seqs: Vec<u64> = recording.done().filter_map(|event| event.seq).collect();
    seqs.sort_unstable();
    seqs.dedup();
    let (from, to) = (format!("seq:{}", seqs[1]), format!("seq:{}", seqs[3]));
    let (_, came) = play(&running, &["--from", &from, "--to", &to]).await?;
    ensure!(came == keys(&[1, 2]), "{came:?}");

    // A range that ends before newer events of two keys.
    running.execute(&["UPDATE past.item SET v = 1 WHERE id < 2"]).await?;
    running.site.wait_for_handled(7).await?;
    all_committed(&running.site).await?;
    let end = format!("seq:{}", seqs[4] + 1);
    let (ended, came) = play(&running, &["--from", "earliest", "--to", &end]).await?;
    ensure!(came == keys(&[2, 3, 4]) && ended.figure("leftOut") == 2, "{came:?} {}", ended.0);
    let (ended, came) = play(&running, &["--from", "earliest", "--to", &end, "--force"]).await?;
    ensure!(came.len() == 5 && ended.figure("leftOut") == 0, "{came:?} {}", ended.0);
    let (ended, came) = play(&running, &["--from", "earliest"]).await?;
    ensure!(came.len() == 7 && ended.figure("leftOut") == 0, "{came:?} {}", ended.0);
    running.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_was_asked_comes_once_more_over_the_log() -> Result<()> {
    only_what_was_asked("replay-parts-log", Kind::Log).await
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_was_asked_comes_once_more_over_kafka() -> Result<()> {
    only_what_was_asked("replay-parts-kafka", Kind::Kafka).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_is_paused_resumed_and_cancelled_and_live_events_come_meanwhile() -> Result<()> {
    let running = start("replay-wishes", (Kind::Log, 2_000), &["--work-ms=100"]).await?;
    let site = &running.site;
    let slow = "workers = 1\nbatchSize = 4";
    site.amend("db_event_listener.toml", "workers = 8", slow)?;
    let (code, output) = site.run_worker(&["listener", "restart", "-t", "all"]).await?;
    ensure!(code == Some(0), "{output}");
    site.call_worker("POST", "/api/v1/reload").await?;
    let replay = Replay::start(site, &["--from", "earliest"]).await?;
    wait_until("some have come", PATIENCE, async || !replayed_ids(&running).is_empty()).await?;

    replay.wish(site, "pause").await?;
    replay.wait_for(site, "paused").await?;
    wait_until("the listener has seen it", PATIENCE, async || {
        running.worker.output().contains("the replay is paused")
    })
    .await?;
    running.execute(&["INSERT INTO past.item VALUES (9000, 0, 'live')"]).await?;
    site.wait_for_handled(2_001).await?;
    wait_until("what was under way has come", PATIENCE, async || {
        let told = site.call_worker("GET", "/api/v1/listeners/all").await;
        told.is_ok_and(|(_, listener)| listener["buffered"]["events"] == 0)
    })
    .await?;
    let paused = replayed_ids(&running).len();
    ensure!(paused < 1_000, "{paused}");
    running.execute(&["INSERT INTO past.item VALUES (9001, 0, 'live')"]).await?;
    site.wait_for_handled(2_002).await?;
    let still = replayed_ids(&running).len();
    ensure!(still == paused, "{paused} and then {still}");

    replay.wish(site, "resume").await?;
    wait_until("more come", PATIENCE, async || replayed_ids(&running).len() > still).await?;
    replay.wish(site, "cancel").await?;
    let cancelled = replay.wait_for(site, "cancelled").await?;
    ensure!(cancelled.figure("replayed") < 2_000, "{}", cancelled.0);
    for verb in ["pause", "resume", "cancel"] {
        let (code, output) = site.run_worker(&["replay", verb, replay.id()?]).await?;
        ensure!(code == Some(REFUSED) && output.contains("it is cancelled"), "{output}");
    }
    let (code, output) = site.run_worker(&["replay", "watch", replay.id()?]).await?;
    ensure!(code == Some(REFUSED) && output.contains("cancelled, "), "{output}");

    site.amend("db_event_listener.toml", "batchSize = 4", "batchSize = 100")?;
    site.call_worker("POST", "/api/v1/reload").await?;
    let again = Replay::start(site, &["--from", "earliest"]).await?;
    let (code, output) = site.run_worker(&["replay", "watch", again.id()?]).await?;
    ensure!(code == Some(0) && output.contains("done, 100.0%, 2002 done, 0 left out"), "{output}");
    running.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_come_once_more_is_refused_with_the_reason() -> Result<()> {
    let running = start("replay-refusals", (Kind::Log, 50), &["--work-ms=10"]).await?;
    let site = &running.site;
    let refused = async |words: &[&str], code: i32, part: &str| {
        let told = site.run_worker(&[&["replay"], words].concat()).await?;
        let is_so = told.0 == Some(code) && told.1.contains(part);
        ensure!(is_so, "{words:?}: not {code} and {part:?}, but {told:?}");
        anyhow::Ok(())
    };
    let all = |words: &[&'static str]| [&["-t", "all"], words].concat();
    refused(&["-t", "none", "--from", "earliest"], 64, "none").await?;
    refused(&all(&["--from", "yesterday"]), 64, "seq:NUMBER").await?;
    refused(&all(&[]), 64, "--from").await?;
    let future = "2200-01-01T00:00:00Z";
    refused(&all(&["--from", future]), REFUSED, "is in the future").await?;
    refused(&all(&["--from", "100000"]), REFUSED, "done and kept are the offsets 0 to ").await?;
    let one = ["--from", "0", "--to", "0"];
    refused(&all(&one), REFUSED, "no event between from and to").await?;
    for verb in ["pause", "resume", "cancel", "watch"] {
        refused(&[verb, "no-such"], REFUSED, "there is no replay").await?;
    }
    running.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_waits_for_a_paused_listener_and_ends_when_the_listener_is_set_back_or_gone()
-> Result<()> {
    let running = start("replay-waits", (Kind::Log, 50), &[]).await?;
    let site = &running.site;
    // A paused listener gets nothing, and another replay has to wait for the first one.
    site.call_worker("POST", "/api/v1/listeners/all/pause").await?;
    wait_until("it is paused", PATIENCE, async || {
        let shown = site.ask_worker("/api/v1/listeners/all").await.unwrap_or_default();
        shown["state"] == "paused"
    })
    .await?;
    let replay = Replay::start(site, &["--from", "earliest"]).await?;
    again(&running, REFUSED, "has not ended; wait for its end").await?;
    replay.wait_for(site, "running").await?;
    ensure!(replayed_ids(&running).is_empty(), "it is paused");
    let (code, output) = site.run_worker(&["replay", "list"]).await?;
    ensure!(code == Some(0) && output.contains("  the listener is paused"), "{output}");
    wait_until("the status names it", PATIENCE, async || {
        let told = site.run_worker(&["status"]).await.map(|(_, output)| output);
        told.unwrap_or_default().contains("past events come, too: replay-")
    })
    .await?;
    site.call_worker("POST", "/api/v1/listeners/all/resume").await?;
    let ended = replay.wait_for(site, "done").await?;
    ensure!(ended.check(&site.recording())?.replayed == 50, "{}", ended.0);

    // A listener that is set back gets these events as live ones.
    site.call_worker("POST", "/api/v1/listeners/all/pause").await?;
    let waits = Replay::start(site, &["--from", "earliest"]).await?;
    let (code, output) =
        site.run_worker(&["listener", "reset", "-t", "all", "--to", "earliest"]).await?;
    ensure!(code == Some(0), "{output}");
    let failed = waits.wait_for(site, "failed").await?;
    let why = failed.0["error"].as_str().unwrap_or_default();
    ensure!(why.contains("set to an earlier place, offset 0"), "{}", failed.0);
    let (code, output) = site.run_worker(&["replay", "list"]).await?;
    ensure!(code == Some(0) && output.contains("set to an earlier place"), "{output}");
    site.call_worker("POST", "/api/v1/listeners/all/resume").await?;
    all_committed(&running.site).await?;

    // Of a listener that is not in the config any more, the replay can still be cancelled.
    site.call_worker("POST", "/api/v1/listeners/all/pause").await?;
    let waits = Replay::start(site, &["--from", "earliest"]).await?;
    site.configure_worker("[listeners.other]\nhandler = \"print\"\n")?;
    site.call_worker("POST", "/api/v1/reload").await?;
    again(&running, 64, "other").await?;
    waits.wish(site, "cancel").await?;
    waits.wait_for(site, "cancelled").await?;
    running.end().await
}

/// Another replay is refused.
async fn again(running: &Running, code: i32, part: &str) -> Result<()> {
    let told = running.site.run_worker(&["replay", "-t", "all", "--from", "earliest"]).await?;
    ensure!(told.0 == Some(code) && told.1.contains(part), "{told:?}");
    Ok(())
}

/// Two processes share the partitions, and one of them goes in the middle.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes long: scripts/test.sh --all"]
async fn two_members_of_a_group_play_their_own_partitions_and_each_takes_over() -> Result<()> {
    const RATE: u64 = 200;
    let (seed, rows) = (seed(), 8_000);
    let running = start("replay-members", (Kind::Kafka, rows), &["--work-ms=10"]).await?;
    let site = &running.site;
    site.amend("db_event_listener.toml", "workers = 8", "workers = 4\nbatchSize = 20")?;
    site.call_worker("POST", "/api/v1/reload").await?;
    let worker = program("event-worker")?.display().to_string();
    let alone = [worker.as_str(), "listener", "-t", "all", "--config", "db_event_listener.toml"];
    let mut second = site.run("second", &alone)?;
    let has_some = async || second.output().contains("partitions are assigned");
    wait_until("the second has partitions", PATIENCE, has_some).await?;
    let writers = Writers::start(&running.mysql.url(), (TABLE, rows), RATE, seed);
    let replay = Replay::start(site, &["--from", "earliest"]).await?;
    wait_until("the second plays", PATIENCE, async || {
        second.output().contains("past events are given once more")
    })
    .await?;
    wait_until("some have come", PATIENCE, async || replayed_ids(&running).len() > 500).await?;
    second.kill().await?;
    let ended = replay.wait_for(site, "done").await?;
    writers.stop().await?;
    let recording = running.all_handled(SCHEMA).await?;
    let came = ended.check(&recording).context("two members")?;
    println!("{came:?}; {}", ended.0);
    counted(&ended, came)?;
    running.end().await
}
