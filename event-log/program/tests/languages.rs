//! Clients in other languages, made from the `.proto` as their users would (`examples/event-log`).

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use crate::{
    process::{PROGRAM, STREAM, ServerProcess, write_config},
    tls::make_certificate,
};

const TOKEN: &str = "a token of the test";

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// The standard output of a command that must succeed.
fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The interpreter that has grpcio-tools.
fn python() -> String {
    run(&mut Command::new(repository().join("scripts/venv.sh"))).trim().to_owned()
}

fn with_input(command: &mut Command, input: &str) -> Output {
    let pipes = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = pipes.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

/// A server with TLS and a token, and what a client of it must name.
fn serve(directory: &Path) -> ServerProcess {
    make_certificate(directory);
    for (name, token) in [("token", TOKEN), ("wrong", "another token of the test")] {
        std::fs::write(directory.join(name), token).unwrap();
    }
    let [cert, key] = ["cert.pem", "key.pem"].map(|name| directory.join(name));
    let listen = format!("certFile = {cert:?}\nkeyFile = {key:?}\ntoken = {TOKEN:?}");
    let config = write_config(directory, &listen, "");
    ServerProcess::start_by(Command::new(PROGRAM).arg("serve").arg("--config").arg(config))
}

/// Appends, reads as a group, and goes on where it stopped.
fn try_client(client: &dyn Fn(&str, &[&str]) -> Command) {
    let append = |input| with_input(&mut client("token", &["append", STREAM, "p"]), input);
    for (input, said) in [
        ("one\ntwo\n", "appended 2 lines after line 0"),
        ("one\ntwo\nthree\n", "appended 1 lines after line 2"),
    ] {
        let appended = append(input);
        let told = String::from_utf8_lossy(&appended.stderr);
        assert!(appended.status.success() && told.contains(said), "{told}");
    }
    let read = || run(&mut client("token", &["read", STREAM, "g"]));
    assert_eq!(read(), "one\ntwo\nthree\n");
    assert_eq!(read(), "", "the group has them");
    assert!(append("one\ntwo\nthree\nfour\n").status.success());
    assert_eq!(read(), "four\n");
    let refused = client("wrong", &["read", STREAM, "g"]).output().unwrap();
    let told = String::from_utf8_lossy(&refused.stderr).to_lowercase();
    assert!(!refused.status.success() && told.contains("unauthenticated"), "{told}");
}

#[test]
fn a_client_in_python_appends_each_line_once_and_reads_as_a_group() {
    let directory = tempfile::tempdir().unwrap();
    let (python, here) = (python(), directory.path());
    let example = repository().join("examples/event-log/python/client.py");
    std::fs::copy(example, here.join("client.py")).unwrap();
    run(Command::new(&python)
        .args(["-m", "grpc_tools.protoc", "-I"])
        .arg(repository().join("event-log/proto"))
        .args(["--python_out=.", "--grpc_python_out=.", "event_log.proto"])
        .current_dir(here));
    let server = serve(here);
    try_client(&|token, arguments| {
        let mut client = Command::new(&python);
        client.args(["client.py", "--server", &server.address, "--token-file", token]);
        client.args(["--ca-file", "cert.pem"]).args(arguments).current_dir(here);
        client
    });
}

/// It needs Go, and compiles gRPC for it.
#[test]
#[ignore = "scripts/test.sh --all"]
fn a_client_in_go_appends_each_line_once_and_reads_as_a_group() {
    let directory = tempfile::tempdir().unwrap();
    let here = directory.path();
    for name in ["main.go", "go.mod", "go.sum"] {
        let example = repository().join("examples/event-log/go").join(name);
        std::fs::copy(example, here.join(name)).unwrap();
    }
    let script = repository().join("examples/event-log/go/generate.sh");
    run(Command::new(script)
        .arg(repository().join("event-log/proto"))
        .env("PYTHON", python())
        .current_dir(here));
    run(Command::new("go").args(["build", "-o", "client", "."]).current_dir(here));
    let server = serve(here);
    try_client(&|token, arguments| {
        let mut client = Command::new(here.join("client"));
        client.args(["-server", &server.address, "-token-file", token]);
        client.args(["-ca-file", "cert.pem"]).args(arguments).current_dir(here);
        client
    });
}
