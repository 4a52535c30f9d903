//! Groups of listeners: several event-worker of one config, on one machine.

use std::{collections::BTreeSet, os::unix::fs::symlink, path::PathBuf};

use anyhow::{Context, Result, ensure};
use e2e::{
    http::call,
    processes::{PATIENCE, Process, children, free_port, wait_until},
    programs::{Site, program, recording_listener},
    recording::Recording,
    running::Source,
    servers::repository,
};
use serde_json::Value;
use tokio::process::Command;

/// The listener `order` in the group `default`, and `item` and `audit` in the group `search`, which
/// has an address of its own.
struct Groups {
    site: Site,
    port: u16,
}

impl Groups {
    fn configure(site: Site) -> Result<Self> {
        let port = free_port()?;
        let mut text = format!("[groups.search]\naddress = \"127.0.0.1:{port}\"\n");
        for (id, table, group) in
            [("order", "order", "default"), ("item", "item", "search"), ("audit", "*", "search")]
        {
            text += &recording_listener(id, &site.path(id), &[])?;
            text += &format!("subscribe = {{ shop = [\"{table}\"] }}\ngroup = \"{group}\"\n");
        }
        site.configure_worker(&text)?;
        Ok(Self { site, port })
    }

    fn run(&self, group: &str) -> Result<Process> {
        let path = program("event-worker")?.display().to_string();
        let command = [&path, "run", "-g", group, "--config", "db_event_listener.toml"];
        self.site.run(group, &command)
    }

    /// The ids of what a listener has handled, and of which tables.
    fn handled(&self, listener: &str) -> (usize, BTreeSet<String>) {
        let recording = Recording::read(&self.site.path(listener)).unwrap_or_default();
        let tables = recording.done().map(|event| event.table_name.to_string()).collect();
        (recording.done_ids().len(), tables)
    }

    async fn wait_for(&self, listener: &str, events: usize) -> Result<()> {
        let outcome = wait_until("the events are handled", PATIENCE, async || {
            self.handled(listener).0 >= events
        });
        outcome.await.with_context(|| format!("{listener}: {:?}", self.handled(listener)))
    }

    /// What the event-worker of the group `search` answers to a GET.
    async fn ask_search(&self, path: &str) -> (u16, Value) {
        let answer = call(self.port, "GET", path).await;
        answer.map_or((0, Value::Null), |(status, body)| {
            (status, serde_json::from_str(&body).unwrap_or_default())
        })
    }

    async fn expect(&self, words: &[&str], code: i32, part: &str) -> Result<String> {
        let told = self.site.run_worker(words).await?;
        let is_so = told.0 == Some(code) && told.1.contains(part);
        ensure!(is_so, "{words:?}: not {code} and {part:?}, but {told:?}");
        Ok(told.1)
    }
}

async fn start(test: &str) -> Result<(Groups, e2e::servers::Mysql, Process)> {
    let source = Source::start(test).await?;
    let statements = [
        "CREATE DATABASE shop",
        "CREATE TABLE shop.item (id INT PRIMARY KEY)",
        "CREATE TABLE shop.`order` (id INT PRIMARY KEY)",
        "INSERT INTO shop.item VALUES (1)",
        "INSERT INTO shop.`order` VALUES (1), (2)",
    ];
    let Source { site, mysql, .. } = source.capture("shop", &statements).await?;
    let groups = Groups::configure(site)?;
    let dts = groups.site.start_dts()?;
    Ok((groups, mysql, dts))
}

fn names(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_groups_run_side_by_side_and_one_does_not_notice_the_end_of_the_other() -> Result<()> {
    let (groups, mysql, _dts) = start("listener_groups").await?;
    let (mut first, mut search) = (groups.run("default")?, groups.run("search")?);
    for (listener, events) in [("order", 2), ("item", 1), ("audit", 3)] {
        groups.wait_for(listener, events).await?;
    }
    ensure!(groups.handled("order") == (2, names(&["order"])), "{:?}", groups.handled("order"));
    ensure!(groups.handled("item") == (1, names(&["item"])), "{:?}", groups.handled("item"));

    // Each command reaches the right one.
    let shown = groups.expect(&["status", "-g", "search"], 0, "item").await?;
    ensure!(!shown.contains("order"), "{shown}");
    let shown = groups.expect(&["status"], 0, "the group search is not here").await?;
    ensure!(shown.contains("order") && !shown.contains("item"), "{shown}");
    wait_until("it has seen the bus", PATIENCE, async || {
        let healthy = groups.site.run_worker(&["healthy", "-t", "item"]).await;
        healthy.is_ok_and(|(code, _)| code == Some(0))
    })
    .await?;
    groups.expect(&["listener", "restart", "-t", "audit"], 0, "audit restarts").await?;
    groups.expect(&["listener", "retry", "-t", "order", "-g", "search"], 69, "-g default").await?;
    groups.expect(&["status", "-g", "serach"], 64, "the groups are: default, search").await?;
    groups.expect(&["run", "-g", "serach"], 64, "the groups are: default, search").await?;
    let taken = groups.expect(&["run", "-g", "search"], 69, "another event-worker runs").await?;
    ensure!(taken.contains("data/event-worker/groups/search") && taken.contains("stop -g search"));
    let (status, answer) = groups.site.call_worker("GET", "/api/v1/listeners/item").await?;
    let remedy = answer["error"]["remedy"].as_str().unwrap_or_default();
    ensure!((status, &answer["error"]["code"]) == (404, &"other_group".into()), "{answer}");
    ensure!(remedy.contains("-g search") && remedy.contains(&groups.port.to_string()), "{remedy}");

    // Whoever takes the call, the rows come to the listener.
    let (status, answer) = groups.site.call_worker("POST", "/?table=item&listenerid=item").await?;
    ensure!(status == 202, "{status} {answer}");
    groups.wait_for("item", 2).await?;

    let kept = children(first.pid().context("it runs")?)?;
    search.kill().await?;
    mysql
        .execute(&["INSERT INTO shop.item VALUES (2)", "INSERT INTO shop.`order` VALUES (3)"])
        .await?;
    groups.wait_for("order", 3).await?;
    ensure!(children(first.pid().context("it runs")?)? == kept, "nobody was restarted");
    groups.expect(&["status", "-g", "search"], 69, "no event-worker answers").await?;
    search = groups.run("search")?;
    groups.wait_for("item", 3).await?;
    groups.wait_for("audit", 5).await?;
    for worker in [&mut first, &mut search] {
        worker.signal("TERM").await?;
        ensure!(worker.ended().await?.success(), "{}", worker.output());
    }
    groups.site.remove()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_moves_a_listener_from_one_group_to_the_other() -> Result<()> {
    let (groups, mysql, _dts) = start("listener_groups_reload").await?;
    let (first, search) = (groups.run("default")?, groups.run("search")?);
    for (listener, events) in [("order", 2), ("item", 1), ("audit", 3)] {
        groups.wait_for(listener, events).await?;
    }
    let table = "subscribe = { shop = [\"*\"] }\ngroup = ";
    let (before, after) = (format!("{table}\"search\""), format!("{table}\"default\""));
    groups.site.amend("db_event_listener.toml", &before, &after)?;
    for worker in [&first, &search] {
        worker.signal("HUP").await?;
    }
    wait_until("the listener runs in the other group", PATIENCE, async || {
        let here = groups.site.ask_worker("/api/v1/listeners/audit").await.unwrap_or_default();
        let there = groups.ask_search("/api/v1/listeners/audit").await;
        here["state"] == "running" && there.1["error"]["code"] == "other_group"
    })
    .await?;
    mysql.execute(&["INSERT INTO shop.item VALUES (2)"]).await?;
    groups.wait_for("item", 2).await?;
    groups.wait_for("audit", 4).await?;
    let (audit, order) = (groups.handled("audit"), groups.handled("order"));
    ensure!(audit == (4, names(&["item", "order"])) && order.0 == 2, "{audit:?} {order:?}");

    // The last one of a group cannot leave it while its event-worker runs.
    let item = "subscribe = { shop = [\"item\"] }\ngroup = ";
    let (before, after) = (format!("{item}\"search\""), format!("{item}\"default\""));
    groups.site.amend("db_event_listener.toml", &before, &after)?;
    groups.site.amend("db_event_listener.toml", "[groups.search]\naddress", "# address")?;
    search.signal("HUP").await?;
    wait_until("the mistake is told", PATIENCE, async || {
        search.output().contains("in the group search; the groups are: default")
    })
    .await?;
    mysql.execute(&["INSERT INTO shop.item VALUES (3)"]).await?;
    groups.wait_for("item", 3).await?;
    drop((first, search));
    groups.site.remove()
}

/// What `scripts/startDbEventWorker.sh` starts in a folder, and ends with the test.
struct Installed {
    home: PathBuf,
    config: PathBuf,
}

impl Installed {
    fn new(site: &Site) -> Result<Self> {
        let home = site.path("home");
        std::fs::create_dir_all(home.join("bin"))?;
        symlink(program("event-worker")?, home.join("bin/event-worker"))?;
        std::fs::create_dir(home.join("scripts"))?;
        for name in ["startDbEventWorker.sh", "daemon.sh", "process.sh"] {
            let script = repository().join("scripts").join(name);
            std::fs::copy(script, home.join("scripts").join(name))?;
        }
        Ok(Self { home, config: site.path("db_event_listener.toml") })
    }

    async fn call(&self, words: &str) -> Result<(Option<i32>, String)> {
        let mut command = Command::new(self.home.join("scripts/startDbEventWorker.sh"));
        command.args(words.split(' ')).arg("--config").arg(&self.config);
        let output = command.output().await?;
        let text = [output.stdout, output.stderr].concat();
        Ok((output.status.code(), String::from_utf8_lossy(&text).into_owned()))
    }

    async fn expect(&self, words: &str, code: i32, part: &str) -> Result<String> {
        let told = self.call(words).await?;
        let is_so = told.0 == Some(code) && told.1.contains(part);
        ensure!(is_so, "{words}: not {code} and {part:?}, but {told:?}");
        Ok(told.1)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.home.join("data/run").join(name)
    }

    fn pid(&self, name: &str) -> Result<String> {
        let text = std::fs::read_to_string(self.file(name))?;
        text.trim().parse::<u32>().context("a pid and no more")?;
        Ok(text.trim().to_owned())
    }
}

impl Drop for Installed {
    fn drop(&mut self) {
        for name in ["event-worker-default.pid", "event-worker-search.pid", "event-worker.pid"] {
            if let Ok(pid) = self.pid(name) {
                // It has ended where the test has passed.
                let _ = std::process::Command::new("kill").args(["-9", &pid]).output();
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_script_starts_and_stops_each_group_by_itself() -> Result<()> {
    // The bus is not there: the listeners wait.
    let groups = Groups::configure(Site::new("listener_groups_scripts")?)?;
    let installed = Installed::new(&groups.site)?;
    installed.expect("stop -g search", 0, "event-worker-search is not running").await?;
    installed.expect("start -g default", 0, "started (pid ").await?;
    installed.expect("start -g search", 0, "started (pid ").await?;
    let (first, search) =
        (installed.pid("event-worker-default.pid")?, installed.pid("event-worker-search.pid")?);
    ensure!(first != search);
    installed.expect("start --group=search", 0, "event-worker-search runs already").await?;
    let shown = installed.expect("status -g search", 0, &search).await?;
    ensure!(shown.contains("audit") && !shown.contains("order"), "{shown}");
    installed.expect("reload -g search", 0, "reloads").await?;
    let log = || std::fs::read_to_string(installed.file("event-worker-search.log"));
    wait_until("it reloads", PATIENCE, async || {
        log().unwrap_or_default().contains("the config is reloaded")
    })
    .await?;
    installed.expect("restart -g search", 0, "started (pid ").await?;
    ensure!(installed.pid("event-worker-search.pid")? != search);
    installed.expect("start -g typo", 64, "the groups are: default, search").await?;
    // All groups: their ports are taken.
    let told = installed.expect("start", 69, "cannot listen on").await?;
    ensure!(told.contains("did not start"), "{told}");

    installed.expect("stop -g search", 0, "event-worker-search stopped").await?;
    ensure!(!installed.file("event-worker-search.pid").exists());
    ensure!(installed.pid("event-worker-default.pid")? == first);
    installed.expect("status -g default", 0, "order").await?;
    installed.expect("stop -g default", 0, "stopped").await?;
    installed.expect("start", 0, "started (pid ").await?;
    let shown = installed.expect("status", 0, "order").await?;
    ensure!(shown.contains("audit"), "without -g all run: {shown}");
    installed.expect("stop", 0, "event-worker stopped").await?;
    drop(installed);
    groups.site.remove()
}
