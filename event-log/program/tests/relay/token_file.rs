//! A token that is changed while a mirror and a relay run: they wait, and take the new one from the
//! file where it stands.

use std::{fs, path::Path, process::Command};

use event_log::Start;
use tokio::time::{Instant, sleep};

use super::runner::RelayProcess;
use crate::process::{DEADLINE, PROGRAM, STREAM, ServerProcess, client, record, write_config};

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_token_is_waited_for_and_read_from_its_file() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    for folder in ["server", "copy"] {
        fs::create_dir(at(folder)).unwrap();
    }
    for side in ["servers-token", "clients-token"] {
        fs::write(at(side), "old").unwrap();
    }
    let token = format!("token = {{ file = {:?} }}", at("servers-token"));
    let server = serve(&at("server"), "serve", &token, "");
    append(&server.address, "old", "first").await;

    let token = format!("token = {{ file = {:?} }}", at("clients-token"));
    let mirrored =
        format!("[mirror]\nfrom = {:?}\n{token}\nstreams = ['{STREAM}']", server.address);
    let copy = serve(&at("copy"), "mirror", "", &mirrored);
    let mut relay = relay(&server.address, directory.path());
    wait_for(&at("relayed"), "first").await;
    until_end(&copy, "old", &server.address).await;

    fs::write(at("servers-token"), "new").unwrap();
    let pid = server.pid().to_string();
    assert!(Command::new("kill").args(["-HUP", &pid]).status().unwrap().success());
    append(&server.address, "new", "second").await;
    copy.says("the token is missing or wrong");
    relay.says("the server refuses this relay now");

    fs::write(at("clients-token"), "new\n").unwrap();
    until_end(&copy, "new", &server.address).await;
    wait_for(&at("relayed"), "second").await;
}

fn serve(directory: &Path, verb: &str, listen: &str, more: &str) -> ServerProcess {
    let config = write_config(directory, listen, more);
    ServerProcess::start_by(Command::new(PROGRAM).arg(verb).arg("--config").arg(config))
}

fn relay(address: &str, folder: &Path) -> RelayProcess {
    let mut command = Command::new(PROGRAM);
    command.args(["relay", "--from", address, "--stream", STREAM, "--name", "r"]);
    command.args(["--token-file", "clients-token", "--exec", "sh", "-c"]);
    command.arg("while read -r batch; do echo \"$batch\" >> relayed; echo true; done");
    RelayProcess::start(command.current_dir(folder))
}

/// Appends a record as soon as the server takes this token.
async fn append(address: &str, token: &str, text: &str) {
    let (client, began) = (client(address, Some(token)), Instant::now());
    let (mut producer, _) = loop {
        match client.open_producer(STREAM, text).await {
            Ok(opened) => break opened,
            Err(error) => assert!(began.elapsed() < DEADLINE, "{error}"),
        }
        sleep(std::time::Duration::from_millis(20)).await;
    };
    producer.append(vec![record(text.into())], Vec::new()).await.unwrap();
}

/// Waits until the copy has all that the server has.
async fn until_end(copy: &ServerProcess, token: &str, original: &str) {
    let original = client(original, Some(token));
    let end = original.locate(STREAM, Start::Latest).await.unwrap();
    let (copy, began) = (copy.client(), Instant::now());
    while copy.info(STREAM).await.unwrap().next_offset < end {
        assert!(began.elapsed() < DEADLINE, "the copy gets nothing");
        sleep(std::time::Duration::from_millis(20)).await;
    }
}

async fn wait_for(file: &Path, text: &str) {
    let began = Instant::now();
    while !fs::read_to_string(file).unwrap_or_default().contains(text) {
        assert!(began.elapsed() < DEADLINE, "{text} does not come");
        sleep(std::time::Duration::from_millis(20)).await;
    }
}
