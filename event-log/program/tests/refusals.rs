//! What the server does not do, and how it says so.

use std::{
    path::Path,
    process::{Command, Output},
};

use event_log::{Error, MirrorConfig, ServerConfig, StorageConfig};
use service::{
    Listen,
    config::{
        File,
        commented::{commented_keys, plain_keys, wrong_keys},
    },
};

use crate::process::{PROGRAM, STREAM, Sender, ServerProcess, client, record, write_config};

fn serve(config: &Path) -> Output {
    Command::new(PROGRAM).arg("serve").arg("--config").arg(config).output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_token_is_refused_and_the_right_one_let_in() {
    let directory = tempfile::tempdir().unwrap();
    let config = write_config(directory.path(), "token = \"right\"", "");
    let server =
        ServerProcess::start_by(Command::new(PROGRAM).arg("serve").arg("--config").arg(config));
    for token in [None, Some("wrong"), Some("righ"), Some("right2"), Some("")] {
        let error = client(&server.address, token).info(STREAM).await.unwrap_err();
        assert!(matches!(error, Error::Refused(_)), "{token:?}: {error}");
    }
    let let_in = client(&server.address, Some("right")).info(STREAM).await;
    assert!(matches!(let_in, Err(Error::NoStream(_))), "{let_in:?}");
}

#[test]
fn a_second_process_on_the_directory_is_told_which_directory() {
    let directory = tempfile::tempdir().unwrap();
    let _server = ServerProcess::start(directory.path());
    let output = serve(&write_config(directory.path(), "", ""));
    assert_eq!(output.status.code(), Some(69));
    let data = directory.path().join("data").display().to_string();
    let said = said(&output);
    assert!(said.contains(&data) && said.contains("in use by another process"), "{said}");
}

#[test]
fn a_taken_port_is_named() {
    let directories = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let server = ServerProcess::start(directories[0].path());
    let listen = format!("address = \"{}\"", server.address);
    let output = serve(&write_config(directories[1].path(), &listen, ""));
    assert_eq!(output.status.code(), Some(69));
    let said = said(&output);
    assert!(said.contains(&server.address) && said.contains("another process"), "{said}");
}

#[test]
fn all_mistakes_of_the_config_are_told_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let listen = "address = \"0.0.0.0:1\"\ncertFile = \"x\"\nport = 1";
    let storage = "retention = 7\nonFull = \"explode\"";
    let output = serve(&write_config(directory.path(), listen, storage));
    assert_eq!(output.status.code(), Some(64));
    let said = said(&output);
    for key in ["listen.token", "listen.keyFile", "listen.port", "retention", "onFull"] {
        assert!(said.contains(key), "{key} in {said}");
    }
}

const SHIPPED: &str = include_str!("../../../config/event-log.toml");

/// What a config means.
fn meaning(text: &str) -> Result<String, String> {
    let file = File::parse(Path::new("event-log.toml"), text).unwrap();
    let listen = ServerConfig::read(file.root());
    let http = Listen::read(&file.root().section("http"), 19289);
    let storage = StorageConfig::read(&file.root().section("storage"));
    let mirror = MirrorConfig::read(&file.root().section("mirror"));
    let meaning = format!("{listen:?} {http:?} {storage:?} {mirror:?}");
    file.finish(meaning).map_err(|mistakes| mistakes.to_string())
}

#[test]
fn every_key_of_the_config_that_we_ship_is_known_and_shows_its_default() {
    assert_eq!(plain_keys(SHIPPED), Vec::<String>::new());
    assert_eq!(meaning(SHIPPED), meaning(""));
    let keys = commented_keys(SHIPPED);
    assert_eq!(wrong_keys(&keys, meaning), Vec::<String>::new());
    let defaults = keys.iter().filter(|key| key.shows_default).count();
    assert_eq!((defaults, keys.len()), (9, 21));
}

#[test]
fn the_config_that_we_ship_serves_a_log_wherever_the_flag_stands() {
    let directory = tempfile::tempdir().unwrap();
    let data = format!("directory = {:?}", directory.path().join("data"));
    let text = SHIPPED
        .replace("# directory = \"data/event-log\"", &data)
        .replace("# address = \"127.0.0.1:19288\"", "address = \"localhost:0\"");
    let config = directory.path().join("event-log.toml");
    std::fs::write(&config, text).unwrap();
    ServerProcess::start_by(Command::new(PROGRAM).arg("-c").arg(&config).arg("serve"));
    ServerProcess::start_by(Command::new(PROGRAM).args(["serve", "--config"]).arg(config));
}

#[test]
fn a_term_ends_the_server_with_exit_code_0() {
    let directory = tempfile::tempdir().unwrap();
    let config = write_config(directory.path(), "", "");
    let mut command = Command::new("timeout");
    command.args(["--preserve-status", "-s", "TERM", "1", PROGRAM, "serve", "--config"]);
    let output = command.arg(config).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_epoch_a_gap_and_a_record_of_the_logs_own_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let server = ServerProcess::start(directory.path());
    let old = Sender::open(&server).await;
    let sender = Sender::open(&server).await;
    let batch = || vec![record(b"x".to_vec())];
    let code = |answer: Result<_, tonic::Status>| answer.unwrap_err().code();
    assert_eq!(code(old.send(&server, 1, batch()).await), tonic::Code::Aborted);
    assert_eq!(code(sender.send(&server, 2, batch()).await), tonic::Code::OutOfRange);
    let own = vec![event_log::proto::NewRecord { r#type: 1, ..record(Vec::new()) }];
    assert_eq!(code(sender.send(&server, 1, own).await), tonic::Code::InvalidArgument);
    let first = sender.send(&server, 1, batch()).await.unwrap();
    let again = sender.send(&server, 1, batch()).await.unwrap();
    assert!(!first.duplicate && again.duplicate);
}
