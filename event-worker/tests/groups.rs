//! Groups on the bus: those that no config knows any more, and who is in one.

use std::process::Stdio;

use tokio::{
    io::{AsyncBufReadExt, BufReader},
    time::timeout,
};

use crate::{bus::PATIENCE, program::Site};

fn listener(id: &str) -> String {
    let handler = "{ exec = ['sh', '-c', 'while read -r _; do echo true; done'] }";
    format!("[listeners.{id}]\nstart = 'earliest'\nhandler = {handler}\n")
}

#[tokio::test]
async fn a_listener_that_left_the_config_is_told_of_and_can_be_forgotten() {
    let mut site = Site::new().await;
    site.configure(&(listener("good") + &listener("ghost")));
    let mut program = site.run();
    site.append(&["x"]).await;
    for id in ["good", "ghost"] {
        site.wait_until_committed(id).await;
    }
    site.configure(&listener("good"));
    assert_eq!(program.call("POST /api/v1/reload").await.0, 200);
    site.append(&["y"]).await;
    let line = program.logs(&["WARN", "dbevents.listener.ghost", "groups forget"]).await;
    assert!(!line.contains("listener.good"), "{line}");

    let call = async |arguments: &[&str]| {
        let output = site.command(arguments).output().await.unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8_lossy(&text).into_owned())
    };
    let rows = async || {
        let (code, text) = call(&["groups", "list"]).await;
        assert_eq!(code, Some(0), "{text}");
        let words = |line: &str| line.split_whitespace().map(str::to_owned).collect();
        text.lines().skip(1).map(words).collect::<Vec<Vec<String>>>()
    };
    let found = rows().await;
    assert_eq!(found[0][..2], ["ghost", "no"]);
    assert!(found[0][2].parse::<u64>().unwrap() > 0, "{found:?}");
    assert_eq!(found[0].last().unwrap(), "none");
    assert_eq!((found[1][0].as_str(), found[1][1].as_str()), ("good", "yes"));
    assert!(found[1].join(" ").contains("event-worker good, pid"), "{found:?}");

    let (code, text) = call(&["groups", "forget", "-t", "good"]).await;
    assert!(code == Some(64) && text.contains("remove it from the config"), "{code:?} {text}");
    let (code, text) = call(&["groups", "forget", "-t", "ghost", "--dry-run"]).await;
    assert!(code == Some(0) && text.contains("would be forgotten"), "{code:?} {text}");
    let (_, text) = call(&["groups", "forget", "-t", "other", "--dry-run"]).await;
    assert!(text.contains("no group of a listener other"), "{text}");
    assert_eq!(rows().await.len(), 2, "nothing is changed");
    let (code, text) = call(&["groups", "forget", "ghost"]).await;
    assert!(code == Some(0) && text.contains("forgotten"), "{code:?} {text}");
    assert!(text.contains("write event-worker groups forget -t ghost instead"), "{text}");
    assert_eq!(rows().await.len(), 1);
    let (code, text) = call(&["groups", "forget", "--id", "ghost"]).await;
    assert!(code == Some(69) && text.contains("no group of a listener ghost"), "{code:?} {text}");

    // As it is left when the group could be forgotten, and the notes could not be removed.
    let notes = ["full-sync/listening/ghost", "listener/had/ghost"];
    let left = notes.map(|key| (key.to_owned(), Some("[]".into())));
    site.bus().put_control(&left).await.unwrap();
    let (code, text) = call(&["groups", "forget", "-t", "ghost"]).await;
    assert!(code == Some(0) && text.contains("forgotten"), "{code:?} {text}");
    let kept = site.bus().control().await.unwrap().changes().await.unwrap();
    let of_ghost = kept.iter().filter(|(key, _)| key.ends_with("/ghost")).count();
    assert_eq!(of_ghost, 0, "{kept:?}");
    assert_eq!(program.stop().await, Some(0));
}

#[tokio::test]
async fn a_second_process_of_a_listener_says_who_has_it() {
    let site = Site::new().await;
    site.configure(&listener("a"));
    let program = site.run();
    let pid = program.pid_of("a").await;
    let mut command = site.command(&["listener", "-t", "a"]);
    let mut second = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(second.stderr.take().unwrap()).lines();
    let told = async {
        let (mut directory, mut member) = (false, false);
        while !(directory && member) {
            let line = lines.next_line().await.unwrap().expect("it goes on");
            directory |= line.contains("WARN") && line.contains("state");
            member |= line.contains("WARN") && line.contains(&format!("event-worker a, pid {pid}"));
        }
    };
    timeout(PATIENCE, told).await.expect("it says who has the listener");
    second.kill().await.unwrap();
    assert_eq!(program.stop().await, Some(0));
}
