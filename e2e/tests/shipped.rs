//! Lines of a program's log files, by the configs of `examples/logs-to-search`, in a search server.

use std::{fs::OpenOptions, io::Write, path::Path};

use anyhow::{Context, Result, ensure};
use e2e::{
    processes::{PATIENCE, Process, free_port, wait_until},
    programs::{Site, program, size},
    servers::{Searched, search_port},
};

/// An example's config, in the folder of the test, with other places.
fn adapt(folder: &Path, name: &str, others: &[(&str, &str)]) -> Result<()> {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let text = std::fs::read_to_string(repository.join("examples/logs-to-search").join(name))?;
    let text = others.iter().try_fold(text, |text, (from, to)| {
        ensure!(text.contains(from), "{from} is not in {name}");
        Ok(text.replace(from, to))
    })?;
    Ok(std::fs::write(folder.join(name), text)?)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_line_is_a_document_of_its_day_once_whoever_is_killed() -> Result<()> {
    let searched = Searched::at(search_port());
    let site = Site::new("shipped")?;
    let folder = site.path("");
    // Of another run there may be documents.
    let indexes = format!("shipped-{}-*", std::process::id());
    let address = format!("127.0.0.1:{}", free_port()?);
    let server = format!(
        "[listen]\naddress = {address:?}\n[http]\naddress = '127.0.0.1:{}'\n",
        free_port()?
    );
    std::fs::write(folder.join("event-log.toml"), server)?;
    let agent_at = format!("[server]\naddress = {address:?}\n\n[agent]");
    adapt(&folder, "event-log-agent.toml", &[("[agent]", &agent_at)])?;
    let (url, index) = (format!("url = {:?}", searched.url()), indexes.replace('*', "{{"));
    let others = [
        ("127.0.0.1:19288", &*address),
        ("url = \"http://127.0.0.1:9200\"", &*url),
        ("logs-{{", &*index),
    ];
    adapt(&folder, "event-log-relay.toml", &others)?;

    let path = program("event-log")?.display().to_string();
    let start = |name: &str, verb: &str| -> Result<Process> {
        let config = format!("{name}.toml");
        site.run(name, &[&path, verb, "--config", &config])
    };
    let mut programs = [start("event-log", "serve")?, start("event-log-agent", "agent")?];
    std::fs::create_dir_all(folder.join("logs"))?;
    let mut log = OpenOptions::new().create(true).append(true).open(folder.join("logs/app.log"))?;
    writeln!(log, r#"{{"n":0,"ms":1.50}}"#)?;
    // The relay is refused while there is no such stream.
    wait_until("the stream is there", PATIENCE, async || {
        programs[1].output().contains("the server takes records")
            || programs[1].output().contains("sent=1")
    })
    .await
    .with_context(|| programs[1].output())?;
    let mut relay = start("event-log-relay", "relay")?;
    let (rounds, lines) = (size(4, 20), size(300, 400));
    for round in 0..rounds {
        for line in 1..=lines {
            writeln!(log, r#"{{"n":{},"ms":1.50}}"#, round * lines + line)?;
        }
        relay.kill().await?;
        relay = start("event-log-relay", "relay")?;
        if round == 1 {
            programs[0].kill().await?;
            programs[0] = start("event-log", "serve")?;
        }
    }
    let expected: Vec<u64> = (0..=rounds * lines).collect();
    let mut found = Vec::new();
    wait_until("all lines are documents", PATIENCE, async || {
        if searched.refresh().await.is_err() {
            return false;
        }
        let documents = searched.documents(&indexes).await.unwrap_or_default();
        found = documents.values().filter_map(|document| document.source["n"].as_u64()).collect();
        found.sort_unstable();
        found == expected
    })
    .await
    .with_context(|| relay.output())?;
    relay.signal("TERM").await?;
    ensure!(relay.ended().await?.success(), "{}", relay.output());
    searched.ask("DELETE", &format!("/{indexes}"), "").await?;
    site.remove()
}
