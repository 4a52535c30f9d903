//! What `dts run` needs on this machine: its ports and directories.

use std::{path::Path, time::Duration};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::{
    bus,
    check::{Finding, Severity},
    config::Config,
};

/// How long a program on one of our ports may take to answer.
const MAX_WAIT: Duration = Duration::from_secs(5);

/// The findings about this machine, and the status of the `dts` with our name that runs here.
pub(super) async fn look(config: &Config) -> (Vec<Finding>, Option<Value>) {
    let mut found = Vec::new();
    let running = match config.listen.bind().await {
        Ok(_) => None,
        Err(error) => {
            let running = running(config).await;
            let what = format!("cannot listen on {}: {error}", config.listen.address);
            let remedy =
                "stop the program that has the port, or set another listen.address in dts.toml";
            found.extend(running.is_none().then(|| stop("listen", what, remedy)));
            running
        }
    };
    if running.is_none() {
        found.extend(log_port(config).await);
        found.extend(directories(config));
    }
    (found, running)
}

/// Checks the port of a log that we host.
async fn log_port(config: &Config) -> Option<Finding> {
    let address = &config.bus.embedded_log()?.address;
    let error = TcpListener::bind(address).await.err()?;
    let answers = tokio::time::timeout(MAX_WAIT, bus::answers(&config.bus, &config.name)).await;
    // Another dts hosts it, perhaps the one that we are a stand-by for.
    (answers != Ok(true)).then(|| {
        let what = format!("the event log cannot listen on {address}: {error}");
        stop("bus.address", what, "stop the program that has the port, or set another bus.address")
    })
}

fn directories(config: &Config) -> Vec<Finding> {
    let log = config.bus.embedded_log().map(|log| ("bus.directory", &*log.storage.directory));
    let all = log.into_iter().chain([("xa.directory", &*config.xa.directory)]);
    all.filter_map(|(name, path)| directory(name, path)).collect()
}

/// Checks that a directory exists or can be made, and can be written to.
fn directory(name: &'static str, path: &Path) -> Option<Finding> {
    let here = |path: &Path| path.as_os_str().is_empty();
    let nearest = path.ancestors().find(|path| here(path) || path.exists())?;
    let nearest = if here(nearest) { Path::new(".") } else { nearest };
    let problem = match nearest.is_dir() {
        false => format!("{} is not a directory", nearest.display()),
        true => {
            let written = tempfile::Builder::new().prefix(".dts-check").tempfile_in(nearest);
            format!("cannot write to {}: {}", nearest.display(), written.err()?)
        }
    };
    let what = format!("{name} = {} cannot be used: {problem}", path.display());
    Some(stop(name, what, "make it a directory that this user may write to, or name another one"))
}

fn stop(name: &'static str, what: String, remedy: &str) -> Finding {
    Finding { severity: Severity::Stop, name, what, why: String::new(), remedy: remedy.to_owned() }
}

/// The status of a `dts` that runs with our name on our port.
async fn running(config: &Config) -> Option<Value> {
    let asked = tokio::time::timeout(MAX_WAIT, ask_status(config)).await;
    let status = asked.ok()?.ok()?;
    let body = status.split_once("\r\n\r\n")?.1;
    let status: Value = serde_json::from_str(body).ok()?;
    (status["name"] == config.name.as_str()).then_some(status)
}

async fn ask_status(config: &Config) -> std::io::Result<String> {
    let address = config.listen.address.from_here().to_string();
    let mut socket = TcpStream::connect(&address).await?;
    let token =
        config.listen.token.as_ref().map_or_else(String::new, |token| {
            format!("Authorization: Bearer {}\r\n", token.expose())
        });
    let request = format!(
        "GET /api/v1/status HTTP/1.1\r\nHost: {address}\r\n{token}Connection: close\r\n\r\n"
    );
    socket.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await?;
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_checked_and_not_made() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("a/b/c");
        assert!(directory("bus.directory", &deep).is_none());
        assert!(!dir.path().join("a").exists());
        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        for below in [file.clone(), file.join("log")] {
            let found = directory("bus.directory", &below).unwrap();
            assert!(found.what.ends_with("is not a directory"), "{}", found.what);
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left behind");
    }

    #[tokio::test]
    async fn ports_that_others_have_stop_dts() {
        let dir = tempfile::tempdir().unwrap();
        let (one, other) =
            (TcpListener::bind("127.0.0.1:0").await, TcpListener::bind("127.0.0.1:0").await);
        let (one, other) = (one.unwrap(), other.unwrap());
        let text = format!(
            "name = 'a'\n[source]\nuser = 'u'\n[listen]\naddress = '{}'\n\
             [bus]\naddress = '{}'\ndirectory = '{}'\n[xa]\ndirectory = '{}'\n",
            one.local_addr().unwrap(),
            other.local_addr().unwrap(),
            dir.path().display(),
            dir.path().display(),
        );
        let path = dir.path().join("dts.toml");
        std::fs::write(&path, text).unwrap();
        let config = Config::open(&path).unwrap();
        // The programs that have the ports do not speak our protocol.
        for port in [one, other] {
            tokio::spawn(async move { while port.accept().await.is_ok() {} });
        }
        let (found, running) = look(&config).await;
        let names: Vec<&str> = found.iter().map(|finding| finding.name).collect();
        assert_eq!(names, ["listen", "bus.address"]);
        assert!(running.is_none());
    }
}
