//! What the agent and `append` say when only somebody can change what is wrong.

use std::process::Output;

use super::*;

/// Runs the agent to its end, and gives what it says.
fn ended(directory: &Path, server: &str) -> String {
    let path = directory.join("agent.toml");
    let logs = directory.join("*.log");
    let files = format!("[files.logs]\nstream = '{STREAM}'\npaths = [{logs:?}]\n");
    fs::write(&path, format!("[server]\n{server}\n{files}")).unwrap();
    let mut command = Command::new(PROGRAM);
    said(
        command.args(["agent", "--config"]).arg(path).env("AGENT_TOKEN", "wrong").output().unwrap(),
    )
}

/// Runs `append` with one line to its end.
fn appended(address: &str, more: &[&str]) -> String {
    let mut command = Command::new(PROGRAM);
    command.args(["append", "--config", "/none", "--stream", STREAM, "--address", address]);
    command.args(more).env_remove("EVENT_LOG_TOKEN").stdin(Stdio::piped());
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let _ = child.stdin.take().unwrap().write_all(b"line\n");
    said(child.wait_with_output().unwrap())
}

fn said(output: Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(69), "{said}");
    let last = said.lines().last().unwrap_or_default().to_owned();
    assert!(last.matches("refused us").count() <= 1, "{said}");
    last
}

fn serve(directory: &Path, listen: &str) -> ServerProcess {
    let config = write_config(directory, listen, "");
    ServerProcess::start_by(Command::new(PROGRAM).arg("serve").arg("--config").arg(config))
}

#[test]
fn a_wrong_token_says_where_it_came_from() {
    let directory = tempfile::tempdir().unwrap();
    let server = serve(directory.path(), "token = 'right'");
    let file = directory.path().join("token");
    fs::write(&file, "wrong\n").unwrap();
    let address = format!("address = {:?}", server.address);
    for (token, from) in [
        (format!("token = {{ file = {file:?} }}"), format!("from the file {}", file.display())),
        ("token = { env = 'AGENT_TOKEN' }".to_owned(), "from the variable AGENT_TOKEN".to_owned()),
        ("token = 'wrong'".to_owned(), "change `token` of [server]".to_owned()),
        (String::new(), "set `token` of [server]".to_owned()),
    ] {
        let said = ended(directory.path(), &format!("{address}\n{token}"));
        assert!(said.contains(&from), "{from} in {said}");
        assert!(said.contains("the token is missing or wrong"), "{said}");
    }
    let said = appended(&server.address, &["--token-file", file.to_str().unwrap()]);
    assert!(said.contains("--token-file"), "{said}");
    assert_eq!(said.matches("refused us").count(), 1, "{said}");
}

#[test]
fn trouble_with_tls_that_only_somebody_can_change_says_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let folder = |name: &str| {
        let folder = directory.path().join(name);
        fs::create_dir(&folder).unwrap();
        folder
    };
    let [good, other, authority, plain] = ["good", "other", "authority", "plain"].map(folder);
    make_certificate(&good);
    make_certificate(&other);
    let arguments = "req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -days 2 \
                     -subj /CN=localhost -addext subjectAltName=IP:127.0.0.1";
    let mut openssl = Command::new("openssl");
    openssl.args(arguments.split_whitespace()).current_dir(&authority);
    assert!(openssl.output().unwrap().status.success());
    let listen = |folder: &Path| {
        let [cert, key] = ["cert.pem", "key.pem"].map(|name| folder.join(name));
        format!("certFile = {cert:?}\nkeyFile = {key:?}")
    };
    let with_tls = serve(&good, &listen(&good));
    let as_authority = serve(&authority, &listen(&authority));
    let mutual = format!("{}\nclientCaFile = {:?}", listen(&other), good.join("cert.pem"));
    let mutual = serve(&other, &mutual);
    let without = serve(&plain, "");
    for (server, trusted, words) in [
        (&with_tls, None, "the server uses TLS, and this side does not: set caFile"),
        (&with_tls, Some(&other), "is not signed by the authority in caFile"),
        (&as_authority, Some(&authority), "basicConstraints CA:FALSE"),
        (&without, Some(&good), "the server does not use TLS, and this side does"),
        (&mutual, Some(&other), "set certFile and keyFile"),
    ] {
        let file = trusted.map(|folder| folder.join("cert.pem"));
        let ca = file.as_ref().map(|file| format!("caFile = {file:?}")).unwrap_or_default();
        let config = format!("address = {:?}\n{ca}", server.address);
        let said = ended(directory.path(), &config);
        assert!(said.contains(words), "{words:?} in {said}");
        let file = file.as_ref().map(|file| file.to_str().unwrap());
        let more: Vec<&str> = file.iter().flat_map(|file| ["--ca-file", file]).collect();
        let said = appended(&server.address, &more);
        assert!(said.contains(words), "{words:?} in {said}");
    }
}
