//! Whether the server is there, and what its user may not do that the listener needs.

use redis::{Cmd, RedisError, Value};

use super::{
    client::{Connection, RedisClient},
    commands::Plan,
    key::version_key,
    refusal::finding,
};
use crate::{target::TargetFinding, template::Template};

/// How the names end that are tried. Nobody has such keys, and no try changes anything.
const PROBE: &str = "dbevent-check";

/// A command in a form that changes nothing, with the key that it is tried with.
struct Probe {
    command: &'static str,
    /// What the user must be able to use: `~item:*`. Empty where a template begins with a value.
    pattern: String,
    cmd: Cmd,
}

/// What the server does not let our user do.
#[derive(Default)]
struct Denied {
    commands: Vec<&'static str>,
    patterns: Vec<String>,
}

pub(super) async fn look(client: &RedisClient, plan: &Plan) -> Vec<TargetFinding> {
    let peer = client.peer();
    let wrong = |error: &RedisError| vec![finding(&peer, error)];
    let mut connection = match client.connected().await {
        Ok(connection) => connection,
        Err(error) => return wrong(&error),
    };
    match connection.ask::<Value>(&redis::cmd("PING")).await {
        Err(error) if error.code() != Some("NOPERM") => return wrong(&error),
        _ => {}
    }
    let mut denied = Denied::default();
    for probe in probes(plan) {
        let Err(error) = connection.ask::<Value>(&probe.cmd).await else { continue };
        match error.code() {
            Some("NOPERM") => denied.note(probe, &error),
            // What is wrong with the try itself.
            Some("ERR" | "NOSCRIPT" | "WRONGTYPE") => {}
            _ => return wrong(&error),
        }
    }
    let mut found = dead_nodes(&mut connection, client.server.is_cluster).await;
    found.push(match denied.finding(client) {
        Some(finding) => finding,
        None => {
            let version = version(&mut connection).await;
            TargetFinding::good(format!("{} is {version}, and lets us write", peer.address))
        }
    });
    found
}

/// The nodes of a cluster that the others take for dead, as far as we may ask.
async fn dead_nodes(connection: &mut Connection, is_cluster: bool) -> Vec<TargetFinding> {
    if !is_cluster {
        return Vec::new();
    }
    let mut cmd = redis::cmd("CLUSTER");
    cmd.arg("NODES");
    let nodes = connection.ask::<String>(&cmd).await.unwrap_or_default();
    let dead = nodes.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(1);
        let (address, flags) = (words.next()?, words.next()?);
        let is_dead = flags.split(',').any(|flag| matches!(flag, "fail" | "fail?"));
        is_dead.then(|| {
            let address = address.split('@').next().unwrap_or(address);
            TargetFinding::doubtful(
                format!("the node {address} of the cluster is down (CLUSTER NODES: {flags})"),
                "start it; its keys cannot be written until it or a replica of it is there",
            )
        })
    });
    dead.collect()
}

impl Denied {
    fn note(&mut self, probe: Probe, error: &RedisError) {
        let is_command = error.detail().is_some_and(|detail| detail.contains(" command"));
        if is_command && !self.commands.contains(&probe.command) {
            self.commands.push(probe.command);
        }
        // A user that may not call the command may not use the key either, as a rule.
        let is_known = probe.pattern.is_empty() || self.patterns.contains(&probe.pattern);
        if !is_known {
            self.patterns.push(probe.pattern);
        }
    }

    fn finding(&self, client: &RedisClient) -> Option<TargetFinding> {
        let commands = self.commands.iter().map(|command| format!("+{command}"));
        let grants: Vec<String> = commands.chain(self.patterns.iter().cloned()).collect();
        if grants.is_empty() {
            return None;
        }
        let user = client.server.user.as_deref().unwrap_or("default");
        let address = client.peer().address;
        let what = match self.commands[..] {
            [] => format!("{address}: the user {user} may not use all keys that it needs"),
            _ => format!("{address}: the user {user} may not call {}", self.commands.join(", ")),
        };
        Some(TargetFinding::wrong(what, format!("ACL SETUSER {user} {}", grants.join(" "))))
    }
}

fn probes(plan: &Plan) -> Vec<Probe> {
    let mut probes = Vec::new();
    for row in plan.set.iter().chain(&plan.hset) {
        let key = format!("{}{PROBE}", row.beginning());
        probes.push(probe("eval", row, &["return 1", "1", &key]));
        // Of a hash that is not known: the answer is NOSCRIPT.
        probes.push(probe("evalsha", row, &["0", "1", &key]));
        probes.push(probe("set", row, &[&key, "", "XX"]));
        probes.push(probe("unlink", row, &[&key]));
    }
    if let Some(row) = &plan.set {
        let key = format!("{}{PROBE}", row.beginning());
        // A key without a value: an error, and nothing is written.
        probes.push(probe("mset", row, &[&key, "", &key]));
        probes.push(of_version("mget", row, &key));
    }
    if let Some(row) = &plan.hset {
        let key = format!("{}{PROBE}", row.beginning());
        // A field without a value.
        probes.push(probe("hset", row, &[&key, "a", "b", "c"]));
        probes.push(probe("hdel", row, &[&key, "a"]));
        probes.push(probe("pexpire", row, &[&key, "1"]));
        probes.push(of_version("get", row, &key));
    }
    for row in &plan.delete {
        probes.push(probe("unlink", row, &[&format!("{}{PROBE}", row.beginning())]));
    }
    if let Some(stream) = &plan.xadd {
        let key = format!("{}{PROBE}", stream.beginning());
        probes.push(probe("xadd", stream, &[&key, "NOMKSTREAM", "*", "check", "1"]));
    }
    if let Some(channel) = &plan.publish {
        let name = format!("{}{PROBE}", channel.beginning());
        let publish = probe("publish", channel, &[&name, ""]);
        probes.push(Probe { pattern: publish.pattern.replacen('~', "&", 1), ..publish });
    }
    probes
}

/// A command that reads the version of a row with this key.
fn of_version(command: &'static str, row: &Template, key: &str) -> Probe {
    let version = version_key(key, false).unwrap_or_default();
    let read = probe(command, row, &[&version]);
    match row.beginning() {
        beginning if !beginning.is_empty() && version.starts_with(&format!("{{{beginning}")) => {
            Probe { pattern: format!("~{{{beginning}*"), ..read }
        }
        _ => read,
    }
}

fn probe(command: &'static str, template: &Template, arguments: &[&str]) -> Probe {
    let mut cmd = redis::cmd(&command.to_uppercase());
    cmd.arg(arguments);
    let pattern = match template.beginning() {
        "" => String::new(),
        beginning => format!("~{beginning}*"),
    };
    Probe { command, pattern, cmd }
}

async fn version(connection: &mut Connection) -> String {
    let mut cmd = redis::cmd("INFO");
    cmd.arg("server");
    let text = connection.ask::<String>(&cmd).await.unwrap_or_default();
    let found = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        Some(line.trim().to_owned())
    };
    match (found("valkey_version:"), found("redis_version:")) {
        (Some(version), _) => format!("Valkey {version}"),
        (None, Some(version)) => format!("Redis {version}"),
        (None, None) => "there".to_owned(),
    }
}
