//! Gives the program the commit that it is built from: `DBEVENT_COMMIT`, if that is set (in an
//! image without a repository), otherwise the answer of git.

use std::process::Command;

fn main() {
    println!("cargo:rerun-if-env-changed=DBEVENT_COMMIT");
    // Git writes this file at each commit and checkout.
    if let Some(log) = git(&["rev-parse", "--git-path", "logs/HEAD"]) {
        println!("cargo:rerun-if-changed={log}");
    }
    let named = std::env::var("DBEVENT_COMMIT").ok().filter(|commit| !commit.is_empty());
    let commit = named.or_else(|| git(&["rev-parse", "--short=12", "HEAD"]));
    println!("cargo:rustc-env=DBEVENT_COMMIT={}", commit.unwrap_or_else(|| "unknown".to_owned()));
}

/// The answer of git, if this is a repository.
fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned()).filter(|text| !text.is_empty())
}
