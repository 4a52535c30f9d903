//! `event-worker run -d`, and the user that it becomes.

use std::{
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Output,
};

use rustix::process::{Signal, geteuid};

use crate::program::{Site, eventually, signal_process};

fn listener(site: &Site, file: &str) -> String {
    let handler = site.recorder(file, "echo true");
    format!("[listeners.a]\nstart = 'earliest'\nhandler = {{ {handler} }}\n")
}

/// Writes the config with more keys of `[supervisor]`.
fn configure(site: &Site, supervisor: &str, listeners: &str) {
    site.configure(listeners);
    let text = std::fs::read_to_string(site.config_file()).unwrap();
    let text = text.replace("[supervisor]\n", &format!("[supervisor]\n{supervisor}"));
    std::fs::write(site.config_file(), text).unwrap();
}

async fn detach(site: &Site, more: &[&str]) -> (Option<i32>, String) {
    let arguments = [&["run", "-d"], more].concat();
    let output = site.command(&arguments).output().await.unwrap();
    (output.status.code(), text_of(&output))
}

fn text_of(output: &Output) -> String {
    String::from_utf8_lossy(&[&*output.stdout, &*output.stderr].concat()).into_owned()
}

/// Kills the program in the background that the test leaves behind when it fails.
struct Cleanup(PathBuf);

impl Drop for Cleanup {
    fn drop(&mut self) {
        let pid = std::fs::read_to_string(&self.0).unwrap_or_default();
        if let Ok(pid) = pid.trim().parse() {
            signal_process(pid, Signal::KILL);
        }
    }
}

/// A program in the background, which is killed when this is dropped.
struct Detached {
    pid: u32,
}

impl Detached {
    fn of(pid_file: &Path) -> Self {
        let text = std::fs::read_to_string(pid_file).unwrap();
        Self { pid: text.trim().parse().expect("a pid and no more") }
    }

    fn status(&self) -> String {
        std::fs::read_to_string(format!("/proc/{}/status", self.pid)).unwrap_or_default()
    }

    fn runs(&self) -> bool {
        let status = self.status();
        // One that has ended stays a zombie where nobody takes in orphans.
        !status.is_empty() && !status.contains("State:\tZ")
    }

    async fn stop(self) {
        signal_process(self.pid, Signal::TERM);
        eventually("it ends", async || !self.runs()).await;
    }
}

impl Drop for Detached {
    fn drop(&mut self) {
        signal_process(self.pid, Signal::KILL);
    }
}

fn cleanup(site: &Site) -> Cleanup {
    Cleanup(site.path("run/w.pid"))
}

fn files_of(site: &Site) -> String {
    let [pid, log] = ["run/w.pid", "run/w.log"].map(|name| site.path(name).display().to_string());
    format!("pidFile = '{pid}'\nlogFile = '{log}'\n")
}

#[tokio::test]
async fn in_the_background_it_is_up_when_the_call_returns_and_its_files_say_where() {
    let mut site = Site::new().await;
    let _cleanup = cleanup(&site);
    configure(&site, &files_of(&site), &listener(&site, "seen"));
    site.append(&["x"]).await;
    let (code, text) = detach(&site, &[]).await;
    assert_eq!(code, Some(0), "{text}");
    let program = Detached::of(&site.path("run/w.pid"));
    assert!(text.contains(&format!("started (pid {}, log ", program.pid)), "{text}");
    let healthy = site.command(&["healthy", "--alive"]).output().await.unwrap();
    assert_eq!(healthy.status.code(), Some(0), "{}", text_of(&healthy));
    site.wait_until_committed("a").await;
    assert_eq!(site.handled("seen"), [0]);

    // A second one ends, says why, and leaves the files of the first alone.
    let (code, text) = detach(&site, &[]).await;
    assert!(code == Some(69) && text.contains("another event-worker runs with"), "{code:?} {text}");
    assert_eq!(Detached::of(&site.path("run/w.pid")).pid, program.pid, "and now both are killed");
    eventually("it is killed", async || !program.runs()).await;

    // After kill -9 the file is still there, and hinders nobody.
    let (code, text) = detach(&site, &[]).await;
    assert_eq!(code, Some(0), "{text}");
    let program = Detached::of(&site.path("run/w.pid"));
    let mode = |name: &str| site.path(name).metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(["run", "run/w.pid", "run/w.log"].map(mode), [0o700, 0o600, 0o600]);
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", program.pid)).unwrap();
    let session = stat.rsplit_once(") ").unwrap().1.split(' ').nth(3).unwrap();
    assert_eq!(session, program.pid.to_string(), "a session of its own");
    program.stop().await;
    for name in ["run/w.pid", "run/w.pid.id"] {
        assert!(!site.path(name).exists(), "{name} is gone");
    }
}

#[tokio::test]
async fn what_does_not_start_in_the_background_says_why_and_gives_its_code() {
    let site = Site::new().await;
    let _cleanup = cleanup(&site);
    configure(&site, &files_of(&site), "[listeners.a]\nworkers = 0\nhandler = 'print'\n");
    let (code, text) = detach(&site, &[]).await;
    assert!(code == Some(64) && text.contains("listeners.a.workers"), "{code:?} {text}");
    assert!(!site.path("run").exists(), "nothing is begun");

    configure(&site, &files_of(&site), &listener(&site, "seen"));
    let (code, text) = detach(&site, &["-g", "typo"]).await;
    assert!(code == Some(64) && text.contains("the groups are: default"), "{code:?} {text}");

    let taken = std::net::TcpListener::bind(("127.0.0.1", site.api_port)).unwrap();
    let log = site.path("other.log").display().to_string();
    let (code, text) = detach(&site, &["--log-file", &log, "-g", "default"]).await;
    assert_eq!(code, Some(69), "{text}");
    for expected in ["cannot listen on 127.0.0.1:", "[groups.default] address = ", &log] {
        assert!(text.contains(expected), "{expected} is not in {text}");
    }
    assert!(std::fs::read_to_string(&log).unwrap().contains("cannot listen on"));
    drop(taken);
}

/// A folder of the site in which the user may write.
fn folder_of(site: &Site, user: &str, name: &str) {
    let folder = site.path(name);
    std::fs::create_dir(&folder).unwrap();
    let entry = nix::unistd::User::from_name(user).unwrap().unwrap();
    std::os::unix::fs::chown(&folder, Some(entry.uid.as_raw()), Some(entry.gid.as_raw())).unwrap();
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
}

#[tokio::test]
async fn it_becomes_the_user_of_the_config_in_all_threads_and_so_do_its_listeners() {
    let mut site = Site::new().await;
    let _cleanup = cleanup(&site);
    let supervisor = format!("user = 'nobody'\n{}", files_of(&site));
    configure(&site, &supervisor, "[listeners.a]\nhandler = 'print'\n");
    if !geteuid().is_root() {
        // Whoever is that user already has nothing to become.
        let text = std::fs::read_to_string(site.config_file()).unwrap();
        let nobody = nix::unistd::User::from_name("nobody").unwrap().unwrap();
        let user = if nix::unistd::geteuid() == nobody.uid { "daemon" } else { "nobody" };
        std::fs::write(site.config_file(), text.replace("'nobody'", &format!("'{user}'"))).unwrap();
        let output = site.command(&["run"]).output().await.unwrap();
        let text = text_of(&output);
        assert_eq!(output.status.code(), Some(69), "{text}");
        assert!(text.contains("only root can become the user"), "{text}");
        return;
    }
    std::fs::create_dir(site.path("closed")).unwrap();
    set_mode(&site.path("closed"), 0o700);
    std::os::unix::fs::symlink("elsewhere", site.path("link.log")).unwrap();
    let link = site.path("link.log").display().to_string();
    let (code, text) = detach(&site, &["--log-file", &link]).await;
    assert!(code == Some(69) && text.contains("cannot write the log"), "{code:?} {text}");
    let text = std::fs::read_to_string(site.config_file()).unwrap();
    std::fs::write(site.config_file(), text.replace("/state'", "/closed/state'")).unwrap();
    set_mode(&site.path(""), 0o755);
    let (code, text) = detach(&site, &[]).await;
    let remedy = format!("chmod o+x {}", site.path("closed").display());
    assert!(code == Some(69) && text.contains(&remedy), "{code:?} {text}");

    folder_of(&site, "nobody", "seen");
    configure(&site, &supervisor, &listener(&site, "seen/batches"));
    site.append(&["x"]).await;
    set_mode(&site.config_file(), 0o600);
    let (code, text) = detach(&site, &[]).await;
    assert!(code == Some(69) && text.contains("let that user read the config"), "{code:?} {text}");

    set_mode(&site.config_file(), 0o644);
    let (code, text) = detach(&site, &[]).await;
    assert_eq!(code, Some(0), "{text}");
    let program = Detached::of(&site.path("run/w.pid"));
    site.wait_until_committed("a").await;
    assert_eq!(site.handled("seen/batches"), [0]);
    let nobody = nix::unistd::User::from_name("nobody").unwrap().unwrap();
    let uids = format!("Uid:\t{0}\t{0}\t{0}\t{0}\n", nobody.uid);
    let gids = format!("Gid:\t{0}\t{0}\t{0}\t{0}\n", nobody.gid);
    let mut threads = 0;
    for thread in std::fs::read_dir(format!("/proc/{}/task", program.pid)).unwrap() {
        let status = std::fs::read_to_string(thread.unwrap().path().join("status")).unwrap();
        assert!(status.contains(&uids) && status.contains(&gids), "{status}");
        assert!(status.contains("CapPrm:\t0000000000000000\n"), "{status}");
        threads += 1;
    }
    assert!(threads > 1, "the program has {threads} threads");
    let recorded = site.path("seen/batches").metadata().unwrap();
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&recorded), nobody.uid.as_raw());
    // A listener is started again, and the config is read again, as this user.
    signal_process(program.pid, Signal::HUP);
    let restarted = site.command(&["listener", "restart", "-t", "a"]).output().await.unwrap();
    assert_eq!(restarted.status.code(), Some(0), "{}", text_of(&restarted));
    site.append(&["y"]).await;
    site.wait_until_committed("a").await;
    let log = || std::fs::read_to_string(site.path("run/w.log")).unwrap();
    eventually("it reloads", async || log().contains("the config is reloaded")).await;
    let log = log();
    let last = log.rsplit_once("event-worker starts").map(|(_, last)| last).unwrap();
    assert!(!last.contains("ERROR"), "{last}");
    program.stop().await;
    let pid = std::fs::read_to_string(site.path("run/w.pid")).unwrap_or_default();
    assert_eq!(pid, "", "where the user may not remove the pid file, the file names nobody");
}

#[tokio::test]
async fn a_user_that_is_not_there_is_a_mistake_of_the_config() {
    let site = Site::new().await;
    configure(&site, "user = 'no-such-user'\n", &listener(&site, "seen"));
    for arguments in [&["run"][..], &["run", "-d"]] {
        let output = site.command(arguments).output().await.unwrap();
        let text = text_of(&output);
        assert_eq!(output.status.code(), Some(64), "{text}");
        assert!(text.contains("user = \"no-such-user\" is not known here"), "{text}");
    }
    let checked = site.command(&["check"]).output().await.unwrap();
    let text = text_of(&checked);
    assert!(text.contains("wrong user: [supervisor] user = \"no-such-user\""), "{text}");
}
