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
    let mut found = dead_nodes(client).await;
    // Tries of its keys would only fail one after the other.
    if !found.iter().any(|one| one.is_wrong) {
        found.extend(look_at_server(client, plan).await);
    }
    found
}

async fn look_at_server(client: &RedisClient, plan: &Plan) -> Vec<TargetFinding> {
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
    vec![match denied.finding(client) {
        Some(finding) => finding,
        None => {
            let version = version(&mut connection).await;
            TargetFinding::good(format!("{} is {version}, and lets us write", peer.address))
        }
    }]
}

/// The nodes of a cluster that the others take for dead, as far as we may ask.
async fn dead_nodes(client: &RedisClient) -> Vec<TargetFinding> {
    if !client.server.is_cluster {
        return Vec::new();
    }
    let told = client.first_answer(redis::cmd("CLUSTER").arg("NODES")).await.unwrap_or_default();
    told.lines().filter_map(dead_node).collect()
}

/// What a line of `CLUSTER NODES` says of a dead node: `ID ADDRESS FLAGS PRIMARY PING PONG EPOCH
/// LINK SLOTS…`. One that a replica has replaced has no slots.
fn dead_node(line: &str) -> Option<TargetFinding> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let (address, flags) = (words.get(1)?, words.get(2)?);
    if !flags.split(',').any(|flag| matches!(flag, "fail" | "fail?")) {
        return None;
    }
    let address = address.split(['@', ',']).next().unwrap_or(address);
    let what = format!("the node {address} of the cluster is down (CLUSTER NODES: {flags})");
    let slots = words.get(8..).unwrap_or_default();
    if slots.is_empty() {
        return Some(TargetFinding::doubtful(what, "start it: until then the cluster lacks it"));
    }
    let what = format!("{what}, and no replica has taken its slots ({})", slots.join(" "));
    let remedy = "start it, or a replica of it: until then keys in these slots cannot be written";
    Some(TargetFinding::wrong(what, remedy))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_node_is_wrong_only_while_nobody_has_its_slots() {
        let line = |flags: &str, slots: &str| {
            format!("6d5e 10.0.0.3:6379@16379,node-3 {flags} - 0 1764460800000 3 connected{slots}")
        };
        assert_eq!(dead_node(&line("master", " 0-5460")), None);
        assert_eq!(dead_node("garbage"), None);
        let replaced = dead_node(&line("master,fail", "")).unwrap();
        assert!(replaced.is_doubtful && !replaced.is_wrong, "{replaced:?}");
        let lacking = dead_node(&line("master,fail?", " 0-5460 5462")).unwrap();
        assert!(lacking.is_wrong, "{lacking:?}");
        let what = "the node 10.0.0.3:6379 of the cluster is down (CLUSTER NODES: master,fail?), \
                    and no replica has taken its slots (0-5460 5462)";
        assert_eq!(lacking.what, what);
    }
}
