//! Wrong command lines, wrong places, and what is not there.

use super::runner::{Site, refused};

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_command_says_what_to_write() {
    let mut site = Site::start().await;
    site.say(&["1"]).await;
    let data = site.data();
    let (data, address) = (data.to_str().unwrap(), site.server.address.clone());
    let cases: [(&[&str], &str); 12] = [
        (&[data, "--stream", "s", "--exec", "true"], "--name is missing"),
        (&["--name", "a", "--exec", "true"], "what to read is missing"),
        (&[data, "--name", "a"], "add --exec CMD or --http URL"),
        (&[data, "--name", "a/b", "--exec", "true"], "cannot be the name of a relay"),
        (&[data, "--name", "a", "--stream", "x", "--exec", "true"], "there is no stream \"x\""),
        (&[data, "--name", "a", "--exec", "no-such"], "\"no-such\" is not an executable file"),
        (&[data, "--name", "a", "--http", "ftp://x"], "is not an http or https URL"),
        (
            &[data, "--name", "a", "--timeout", "5", "--http", "http://x/"],
            "the command line: 1 mistake\n  timeout: \"5\" does not fit",
        ),
        (&[data, "--name", "a", "--start", "soon", "--http", "http://x/"], "write earliest"),
        (&[data, "--name", "a", "--from", "x", "--http", "http://x/"], "cannot be used with"),
        (
            &[data, "--stream", "s", "--name", "a", "--topic", "(", "--exec", "true"],
            "the filter of topics is wrong",
        ),
        (
            &[
                "--from", &address, "--stream", "s", "--name", "a", "--start", "99", "--exec",
                "true",
            ],
            "offset 99 is past the end of the stream",
        ),
    ];
    for (arguments, expected) in cases {
        let (code, said) = refused(site.directory.path(), arguments);
        assert!(code == Some(64) && said.contains(expected), "{arguments:?}: {code:?} {said}");
    }
    let (code, said) = refused(site.directory.path(), &[]);
    assert!(code == Some(64) && said.contains("config/event-log-relay.toml"), "{said}");
}
