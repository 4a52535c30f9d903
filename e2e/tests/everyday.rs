//! What an operator does every day: metrics, status, a changed config, the scripts.

use std::{collections::BTreeSet, path::Path};

use anyhow::{Context, Result, ensure};
use e2e::{
    processes::{PATIENCE, wait_until},
    programs::{REFUSED, Site, program},
    running::{Running, Source},
    servers::repository,
};
use tokio::process::Command;

/// Everything runs and has handled a row of the schema `shop`; there is a schema `more`, too.
async fn start(test: &str) -> Result<Running> {
    let statements = [
        "CREATE DATABASE shop",
        "CREATE DATABASE more",
        "CREATE TABLE shop.t (id INT PRIMARY KEY)",
        "CREATE TABLE more.t (id INT PRIMARY KEY)",
        "INSERT INTO shop.t VALUES (1)",
    ];
    let running = Source::start(test).await?.capture("shop", &statements).await?.run()?;
    running.site.wait_for_handled(1).await?;
    Ok(running)
}

/// The families of a page, as Prometheus' reference parser reads it.
async fn families(page: &str) -> Result<BTreeSet<String>> {
    const PARSE: &str = "import sys\n\
        from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse\n\
        for family in parse(sys.argv[1]): print(family.name)";
    let script = repository().join("scripts/venv.sh");
    let venv = Command::new(&script).output().await?;
    ensure!(venv.status.success(), "{script:?}: {}", String::from_utf8_lossy(&venv.stderr));
    let python = String::from_utf8(venv.stdout)?;
    let parsed = Command::new(python.trim()).args(["-c", PARSE, page]).output().await?;
    ensure!(parsed.status.success(), "{}\n{page}", String::from_utf8_lossy(&parsed.stderr));
    Ok(String::from_utf8(parsed.stdout)?.lines().map(str::to_owned).collect())
}

/// The metrics of one program that `docs/metrics.md` lists.
fn documented(prefix: &str) -> Result<BTreeSet<String>> {
    let page = std::fs::read_to_string(repository().join("docs/metrics.md"))?;
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` | "));
    let rows = rows.filter(|(_, rest)| {
        ["info", "gauge", "counter", "histogram"].iter().any(|kind| rest.starts_with(kind))
    });
    let names = rows.map(|(name, _)| name).filter(|name| name.starts_with(prefix));
    // The parser gives an info its name without the suffix.
    let family = |name: &str| name.strip_suffix("_info").unwrap_or(name).to_owned();
    Ok(names.map(family).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_are_what_the_reference_parser_takes_and_all_of_them_are_documented() -> Result<()>
{
    let running = start("everyday_metrics").await?;
    let site = &running.site;
    wait_until("the room of the log is known", PATIENCE, async || {
        let log = &site.status().await["log"];
        log["groups"][0]["name"] == "dbevents.listener.all"
    })
    .await?;
    let dts = site.ask_dts_text("/metrics").await?;
    let worker = site.ask_worker_text("/metrics").await?;
    for (page, prefix) in [(&dts, "dts_"), (&worker, "dbevent_")] {
        let (found, listed) = (families(page).await?, documented(prefix)?);
        let unlisted: Vec<_> = found.difference(&listed).collect();
        // These are there only while a full sync is.
        let is_rare = |name: &&String| name.starts_with("dts_full_sync_task_");
        let gone: Vec<_> = listed.difference(&found).filter(|name| !is_rare(name)).collect();
        ensure!(unlisted.is_empty() && gone.is_empty(), "not listed {unlisted:?}, gone {gone:?}");
    }
    for (page, sample) in [
        (&dts, "dts_build_info{version=\""),
        (&dts, "dts_log_held_bytes{group=\"dbevents.listener.all\"} "),
        (&worker, "dbevent_build_info{version=\""),
        (&worker, "dbevent_listener_latency_seconds_bucket{le=\"+Inf\",listener=\"all\"} 1\n"),
    ] {
        ensure!(page.contains(sample), "{sample} is not in\n{page}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn health_checks_tell_by_their_exit_code_whether_changes_move() -> Result<()> {
    let Running { site, mysql, dts, worker, .. } = start("everyday_healthy").await?;
    let expect = async |program: &str, words: &[&str], code: i32, part: &str| {
        let words = [&["healthy"], words].concat();
        let told = match program {
            "dts" => site.run_dts(&words).await?,
            _ => site.run_worker(&words).await?,
        };
        let is_so = told.0 == Some(code) && told.1.contains(part);
        ensure!(is_so, "{program} {words:?}: not {code} and {part:?}, but {told:?}");
        anyhow::Ok(())
    };
    expect("dts", &[], 0, "ready: streaming").await?;
    wait_until("the bus is seen", PATIENCE, async || {
        site.call_worker("GET", "/readyz").await.is_ok_and(|(status, _)| status == 200)
    })
    .await?;
    expect("event-worker", &[], 0, "ready").await?;
    expect("event-worker", &["-t", "all"], 0, "ready: ").await?;
    expect("event-worker", &["-t", "al"], 64, "it has: all").await?;
    drop(mysql);
    wait_until("dts says so", PATIENCE, async || site.status().await["state"] == "waiting").await?;
    expect("dts", &[], REFUSED, "dts is not ready: it is waiting; the last error was: ").await?;
    expect("dts", &["--alive"], 0, "alive").await?;
    drop((dts, worker));
    expect("dts", &["--alive"], REFUSED, "nothing listens there").await?;
    expect("event-worker", &["--alive"], REFUSED, "no event-worker answers").await?;
    site.remove()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hangup_takes_in_what_is_captured_and_nobody_else_notices() -> Result<()> {
    let Running { site, mysql, mut dts, worker, .. } = start("everyday_reload").await?;
    let (code, text) = site.run_dts(&["status"]).await?;
    ensure!(code == Some(0) && text.contains("streaming, leader"), "{code:?} {text}");

    site.amend("dts.toml", "\"shop.*\"", "\"shop.*\", \"more.*\"")?;
    dts.signal("HUP").await?;
    wait_until("the config is in force", PATIENCE, async || {
        dts.output().contains("the changed config is in force")
    })
    .await?;
    wait_until("it reads again", PATIENCE, async || site.status().await["state"] == "streaming")
        .await?;
    let statements = ["INSERT INTO more.t VALUES (1)", "INSERT INTO shop.t VALUES (2)"];
    mysql.execute(&statements).await?;
    let recording = site.wait_for_handled(3).await?;
    let mut schemas: Vec<&str> = recording.done().map(|event| &*event.schema).collect();
    // Rows of two tables have no order.
    schemas.sort();
    ensure!(schemas == ["more", "shop", "shop"], "{schemas:?}");
    ensure!(!worker.output().contains("lost the place"), "the log went on:\n{}", worker.output());

    let (code, text) = site.run_dts(&["reload"]).await?;
    ensure!(code == Some(0) && text.contains("nothing has changed"), "{code:?} {text}");
    site.amend("dts.toml", "name = \"e2e\"", "name = \"other\"")?;
    let (code, text) = site.run_dts(&["reload"]).await?;
    ensure!(code == Some(0) && text.contains("at the next start: name"), "{code:?} {text}");
    site.amend("dts.toml", "name = \"other\"", "nmae = \"e2e\"")?;
    dts.signal("HUP").await?;
    wait_until("the mistake is told", PATIENCE, async || {
        dts.output().contains("did you mean name?")
    })
    .await?;
    ensure!(dts.is_running()?);
    Ok(())
}

/// A folder with scripts and programs, as they are installed.
fn install(folder: &Path) -> Result<()> {
    let bin = folder.join("bin");
    std::fs::create_dir_all(&bin)?;
    std::fs::create_dir(folder.join("scripts"))?;
    std::os::unix::fs::symlink(program("dts")?, bin.join("dts"))?;
    for entry in std::fs::read_dir(repository().join("scripts"))? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            std::fs::copy(entry.path(), folder.join("scripts").join(entry.file_name()))?;
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_scripts_start_reload_and_stop_a_program_whose_pid_file_holds_its_pid() -> Result<()> {
    let site = Site::new("everyday_scripts")?;
    install(&site.path("home"))?;
    // Nobody is there: it waits.
    site.configure_dts("127.0.0.1:1", "shop")?;
    let config = site.path("dts.toml");
    let script = site.path("home/scripts/startDts.sh");
    let call = async |verb: &str| -> Result<(Option<i32>, String)> {
        let mut command = Command::new(&script);
        let output = command.arg(verb).arg("--config").arg(&config).output().await?;
        let text = [output.stdout, output.stderr].concat();
        Ok((output.status.code(), String::from_utf8_lossy(&text).into_owned()))
    };
    let (code, text) = call("reload").await?;
    ensure!(code == Some(69) && text.contains("dts is not running"), "{code:?} {text}");
    let (code, text) = call("start").await?;
    ensure!(code == Some(0) && text.contains("It is not ready yet: "), "{code:?} {text}");
    let file = site.path("home/data/run/dts.pid");
    let pid: u32 = std::fs::read_to_string(&file)?.trim().parse().context("a pid and no more")?;
    ensure!(Path::new(&format!("/proc/{pid}")).exists());
    let (code, text) = call("reload").await?;
    ensure!(code == Some(0), "{code:?} {text}");
    wait_until("it reloads", PATIENCE, async || {
        let log = std::fs::read_to_string(site.path("home/data/run/dts.log")).unwrap_or_default();
        log.contains("the config is reloaded")
    })
    .await?;
    let (code, text) = call("status").await?;
    ensure!(code == Some(0) && text.contains(&pid.to_string()), "{code:?} {text}");
    let (code, text) = call("stop").await?;
    ensure!(code == Some(0) && text.contains("stopped") && !file.exists(), "{code:?} {text}");
    let mode = std::os::unix::fs::PermissionsExt::mode;
    let modes = ["data", "data/run", "data/run/dts.log"].map(|name| {
        let found = std::fs::metadata(site.path("home").join(name));
        found.map(|found| mode(&found.permissions()) & 0o777).ok()
    });
    ensure!(modes == [Some(0o700), Some(0o700), Some(0o600)], "{modes:?}");
    Ok(())
}

#[test]
fn unit_files_end_in_order_and_start_again_after_a_failure() {
    let folder = repository().join("scripts/systemd");
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).expect("there are unit files") {
        let path = entry.expect("a unit file").path();
        let text = std::fs::read_to_string(&path).expect("a unit file is text");
        for key in ["KillMode=mixed", "TimeoutStopSec=70", "Restart=on-failure", "ExecStart=/"] {
            assert!(text.lines().any(|line| line.starts_with(key)), "{key} in {}", path.display());
        }
        names.push(path.file_name().map(|name| name.to_string_lossy().into_owned()));
    }
    names.sort();
    let expected = ["dts.service", "event-log.service", "event-worker.service"];
    assert_eq!(names, expected.map(|name| Some(name.to_owned())));
}
