//! The README's section on containers, typed word for word, and what the images promise.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use e2e::{processes::wait_until, programs::program};
use serde_json::Value;

/// The image of the programs, in bytes.
const MAX_IMAGE: u64 = 150_000_000;
const SECRET: &str = "choose-one";
/// A first build compiles everything; after it all waits are of seconds.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(120);

/// A copy of the project, so that what is typed writes nothing into it, and the containers of it.
struct Project {
    folder: PathBuf,
}

impl Project {
    fn copy() -> Result<Self> {
        let built = program("record-handler")?;
        let target = built.ancestors().nth(2).context("no target folder")?;
        let project = Self { folder: target.join("e2e").join("containers") };
        if project.folder.exists() {
            std::fs::remove_dir_all(&project.folder)?;
        }
        std::fs::create_dir_all(&project.folder)?;
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let copy = format!("git ls-files -z | tar -c --null -T - | tar -x -C {:?}", project.folder);
        let copied = Command::new("sh").args(["-c", &copy]).current_dir(source).status()?;
        ensure!(copied.success(), "cannot copy the project");
        Ok(project)
    }

    fn shell(&self, words: &str) -> Command {
        let mut command = Command::new("bash");
        command.args(["-o", "pipefail", "-c", words]).current_dir(&self.folder);
        // Docker before 23 has caches of builds only with this.
        command.env("DOCKER_BUILDKIT", "1");
        command.env("COMPOSE_PROJECT_NAME", "dbevent-test").stdin(Stdio::null());
        command
    }

    /// What a command says on standard output.
    fn run(&self, words: &str) -> Result<String> {
        println!("$ {words}");
        let output = self.shell(words).stderr(Stdio::inherit()).output()?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(output.status.success(), "{words}\nended with {}:\n{said}", output.status);
        Ok(said)
    }

    /// Waits until the log of a service has all of these.
    async fn logs(&self, service: &str, wanted: &[&str]) -> Result<String> {
        let mut log = String::new();
        let what = format!("{service} logs {wanted:?}");
        wait_until(&what, PATIENCE, async || {
            log = self
                .run(&format!("docker compose logs --no-log-prefix {service}"))
                .unwrap_or_default();
            wanted.iter().all(|text| log.contains(text))
        })
        .await?;
        Ok(log)
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        let end = "docker compose -f docker-compose.yml -f examples/container/docker-compose.yml \
                   down --volumes --timeout 1";
        let _ = self.shell(end).env("DBEVENT_SECRET", SECRET).status();
    }
}

/// The commands of the section, each with its here-document.
fn commands_of_readme(folder: &Path) -> Result<Vec<String>> {
    let readme = std::fs::read_to_string(folder.join("README.md"))?;
    let (_, section) = readme.split_once("### In containers").context("the section is gone")?;
    let (_, block) = section.split_once("```sh\n").context("it has no commands")?;
    let (block, _) = block.split_once("```").context("they do not end")?;
    let mut commands: Vec<String> = Vec::new();
    let mut is_open = false;
    for line in block.lines() {
        match commands.last_mut() {
            Some(command) if is_open => {
                command.push('\n');
                command.push_str(line);
                is_open = line != "SQL";
            }
            _ => {
                is_open = line.ends_with("<<SQL");
                commands.push(line.to_owned());
            }
        }
    }
    Ok(commands)
}

/// Types the section. What follows a log for ever is looked at until both changes are there; the
/// last command, which takes all away, is given back.
async fn type_section(project: &Project) -> Result<String> {
    let mut commands = commands_of_readme(&project.folder)?;
    let last = commands.pop().context("no commands")?;
    for command in &commands {
        if command.contains("logs --follow") {
            let both = [r#""Action":"insert""#, r#""Action":"update""#];
            let log = project.logs("event-worker", &both).await?;
            let events = log.lines().filter(|line| line.contains(r#""TableName":"item""#));
            ensure!(events.count() == 2, "not one line for each change:\n{log}");
        } else {
            project.run(command)?;
        }
    }
    Ok(last)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a container engine: scripts/test.sh --all runs it where one is"]
async fn the_section_of_the_readme_works_as_it_is_typed() -> Result<()> {
    let project = Project::copy()?;
    let last = type_section(&project).await?;
    let size: u64 =
        project.run("docker image inspect dbevent --format '{{.Size}}'")?.trim().parse()?;
    println!("the image has {size} bytes");
    ensure!(size < MAX_IMAGE, "the image has {size} bytes");
    for service in ["mysql", "kafka", "dts", "event-worker"] {
        let seen = project.run(&format!("docker compose top {service}"))?;
        ensure!(!seen.contains(SECRET), "{service} shows the password:\n{seen}");
    }
    let status = project.run("docker compose exec -T dts dts status --json")?;
    let status: Value = serde_json::from_str(&status)?;
    ensure!(status["state"] == "streaming", "{status:#}");
    python_handler(&project).await?;
    stops_while_kafka_is_away(&project)?;
    project.run(&last)?;
    Ok(())
}

/// The example of an image with an interpreter.
async fn python_handler(project: &Project) -> Result<()> {
    let both = "docker compose -f docker-compose.yml -f examples/container/docker-compose.yml";
    project.run("docker build -t dbevent-python -f examples/container/Dockerfile examples")?;
    project.run(&format!("{both} up --detach --wait"))?;
    let log = format!("{both} logs --no-log-prefix python-listener");
    wait_until("the handler in Python is called", PATIENCE, async || {
        let log = project.run(&log).unwrap_or_default();
        log.contains("insert item") && log.contains("update item")
    })
    .await?;
    // Who loses its parent becomes a child of process 1, and once dead is not left there.
    let inside = format!("{both} exec -T python-listener sh -c");
    project.run(&format!("{inside} 'sleep 1 & sleep 1 & exit'"))?;
    wait_until("process 1 takes the dead away", PATIENCE, async || {
        let seen = project.run(&format!("{inside} 'cat /proc/[0-9]*/stat'"));
        seen.is_ok_and(|seen| !seen.contains("(sleep)"))
    })
    .await?;
    project.run(&format!("{both} rm --stop --force --volumes python-listener"))?;
    Ok(())
}

/// Who is stopped while Kafka is away ends by itself, and is not killed.
fn stops_while_kafka_is_away(project: &Project) -> Result<()> {
    project.run("docker compose kill kafka")?;
    for service in ["dts", "event-worker"] {
        project.run(&format!("docker compose stop --timeout 20 {service}"))?;
        let code = project.run(&format!(
            "docker inspect $(docker compose ps --all --quiet {service}) --format '{{{{.State.ExitCode}}}}'"
        ))?;
        ensure!(code.trim() == "0", "{service} ended with {}", code.trim());
    }
    Ok(())
}
