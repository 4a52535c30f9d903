//! Tokens with rights, limits, and certificates of clients.

use std::process::Command;

use event_log::{Client, ClientConfig, Compress, Error, Event};

use crate::process::{
    DEADLINE, PROGRAM, STREAM, ServerProcess, assigned, client, record, subscribe, write_config,
};

const ACCESS: &str = "
[access.app]
token = 'a'
streams = ['s', 'log-*']
rights = ['append']
maxRecordBytes = '1KiB'
[access.reader]
token = 'r'
maxConnections = 1
[access.boss]
token = { file = 'TOKEN' }
rights = ['append', 'read', 'admin']
";

fn serve(directory: &std::path::Path) -> ServerProcess {
    let token = directory.join("token");
    std::fs::write(&token, "old\n").unwrap();
    let access = ACCESS.replace("TOKEN", token.to_str().unwrap());
    let config = write_config(directory, "", &access);
    ServerProcess::start_by(Command::new(PROGRAM).arg("serve").arg("--config").arg(config))
}

/// Appends a record as a named producer.
async fn append(client: &Client, stream: &str, bytes: usize) -> Result<(), Error> {
    let (mut producer, _) = client.open_producer(stream, "p").await?;
    producer.append(vec![record(vec![b'x'; bytes])], Vec::new()).await.map(drop)
}

async fn read(client: &Client, stream: &str) -> Result<usize, Error> {
    let mut subscription = client.subscribe(stream, subscribe("", "reader")).await?;
    assigned(&mut subscription).await?;
    match subscription.next().await? {
        Event::Records { records, .. } => Ok(records.len()),
        Event::Assigned { .. } => panic!("it is assigned twice"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_right_is_granted_and_refused() {
    let directory = tempfile::tempdir().unwrap();
    let server = serve(directory.path());
    let [app, reader, boss, nobody] =
        ["a", "r", "old", "x"].map(|token| client(&server.address, Some(token)));
    append(&app, STREAM, 10).await.unwrap();
    assert_eq!(read(&reader, STREAM).await.unwrap(), 1);
    boss.reset_group(STREAM, "g", 0).await.unwrap();
    let none = client(&server.address, None);
    for (outcome, said) in [
        (append(&reader, STREAM, 1).await, "the right \"append\" there ([access.reader]"),
        (append(&app, "other", 1).await, "app may not do this with the stream other"),
        (read(&app, STREAM).await.map(drop), "the right \"read\" there ([access.app]"),
        (reader.reset_group(STREAM, "g", 0).await, "the right \"admin\""),
        (read(&nobody, STREAM).await.map(drop), "the token is missing or wrong"),
        (read(&none, STREAM).await.map(drop), "the token is missing or wrong"),
    ] {
        let error = outcome.unwrap_err();
        assert!(matches!(error, Error::Refused(_)), "{error}");
        assert!(error.to_string().contains(said), "{error}");
    }
    // Reading makes no stream, whoever reads.
    for client in [&reader, &boss] {
        let error = read(client, "log-1").await.unwrap_err();
        assert!(matches!(error, Error::NoStream(_)), "{error}");
        let said = format!("there is no stream log-1 yet; there are: {STREAM}");
        assert_eq!(error.to_string(), said);
    }
    append(&app, "log-1", 1).await.unwrap();
    assert_eq!(read(&reader, "log-1").await.unwrap(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_client_may_take_is_limited_and_the_refusal_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let server = serve(directory.path());
    let [app, reader] = ["a", "r"].map(|token| client(&server.address, Some(token)));
    append(&app, STREAM, 900).await.unwrap();
    let error = append(&app, STREAM, 1100).await.unwrap_err();
    assert!(matches!(error, Error::Rejected(_)), "{error}");
    assert!(error.to_string().contains("app may send 1024 at the most (maxRecordBytes"), "{error}");

    let first = reader.subscribe(STREAM, subscribe("", "first")).await.unwrap();
    let error = reader.subscribe(STREAM, subscribe("", "second")).await.unwrap_err();
    assert!(error.to_string().contains("reader has 1 calls open"), "{error}");
    drop(first);
    let again = async {
        while reader.subscribe(STREAM, subscribe("", "second")).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, again).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hangup_takes_in_new_tokens_and_a_wrong_config_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let server = serve(directory.path());
    let [old, new] = ["old", "new"].map(|token| client(&server.address, Some(token)));
    append(&old, STREAM, 1).await.unwrap();
    let (mut leaked, _) = old.open_producer(STREAM, "leaked").await.unwrap();
    leaked.append(vec![record(b"x".to_vec())], Vec::new()).await.unwrap();
    std::fs::write(directory.path().join("token"), "new").unwrap();
    hang_up(&server);
    let taken = async {
        while read(&new, STREAM).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, taken).await.unwrap();
    assert!(matches!(read(&old, STREAM).await, Err(Error::Refused(_))));
    // A call that was open takes nothing more.
    assert!(leaked.append(vec![record(b"x".to_vec())], Vec::new()).await.is_err());

    std::fs::remove_file(directory.path().join("token")).unwrap();
    hang_up(&server);
    server.says("the config is as before");
    assert_eq!(read(&new, STREAM).await.unwrap(), 2);
}

fn hang_up(server: &ServerProcess) {
    let pid = server.pid().to_string();
    assert!(Command::new("kill").args(["-HUP", &pid]).status().unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn only_clients_with_a_certificate_of_the_authority_are_let_in() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    for name in ["server", "ours", "other"] {
        certificate(directory.path(), name);
    }
    let [cert, key, ca] = ["server.pem", "server.key", "ours.pem"].map(at);
    let listen = format!("certFile = {cert:?}\nkeyFile = {key:?}\nclientCaFile = {ca:?}");
    let config = write_config(directory.path(), &listen, "");
    let server =
        ServerProcess::start_by(Command::new(PROGRAM).arg("serve").arg("--config").arg(config));
    let with = |name: Option<&str>| {
        let identity = name.map(|name| (at(&format!("{name}.pem")), at(&format!("{name}.key"))));
        let config = ClientConfig {
            address: server.address.clone(),
            token: None,
            ca_file: Some(cert.clone()),
            identity,
            compress: Compress::Off,
        };
        Client::new(&config).unwrap()
    };
    append(&with(Some("ours")), STREAM, 1).await.unwrap();
    for stranger in [None, Some("other")] {
        let error = append(&with(stranger), STREAM, 1).await.unwrap_err();
        assert!(matches!(error, Error::Unavailable(_)), "{error}");
    }
}

/// A certificate that signs itself, and its key.
fn certificate(directory: &std::path::Path, name: &str) {
    let arguments = format!(
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout {name}.key -out \
         {name}.pem -days 2 -subj /CN={name} -addext subjectAltName=IP:127.0.0.1 -addext \
         basicConstraints=critical,CA:FALSE"
    );
    let mut command = Command::new("openssl");
    let output =
        command.args(arguments.split_whitespace()).current_dir(directory).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
