//! TLS, with a certificate made for the test (needs the `openssl` command).

use std::process::Command;

use event_log::{Client, ClientConfig, Compress, Error};

use crate::process::{PROGRAM, STREAM, ServerProcess, client, write_config};

/// Makes `cert.pem` and `key.pem`.
pub(crate) fn make_certificate(directory: &std::path::Path) {
    let arguments = "req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -days 2 \
                     -subj /CN=localhost -addext subjectAltName=IP:127.0.0.1 \
                     -addext basicConstraints=critical,CA:FALSE";
    let mut command = Command::new("openssl");
    let output =
        command.args(arguments.split_whitespace()).current_dir(directory).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_with_the_certificate_is_answered_and_one_without_tls_is_not() {
    let directory = tempfile::tempdir().unwrap();
    make_certificate(directory.path());
    let [cert, key] = ["cert.pem", "key.pem"].map(|name| directory.path().join(name));
    let listen = format!("certFile = {cert:?}\nkeyFile = {key:?}");
    let config = write_config(directory.path(), &listen, "");
    let server =
        ServerProcess::start_by(Command::new(PROGRAM).arg("serve").arg("--config").arg(config));
    let with_tls = Client::new(&ClientConfig {
        address: server.address.clone(),
        token: None,
        ca_file: Some(cert),
        identity: None,
        compress: Compress::Zstd,
    });
    let answered = with_tls.unwrap().info(STREAM).await;
    assert!(matches!(answered, Err(Error::NoStream(_))), "{answered:?}");
    let error = client(&server.address, None).info(STREAM).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable(_)), "{error}");
}
