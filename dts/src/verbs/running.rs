//! `dts status`, `dts healthy` and `dts reload`: asks the running `dts` of a config.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytesize::ByteSize;
use serde_json::Value;

use super::arguments::{HealthyArguments, StatusArguments};
use crate::{
    config::Config,
    ended::LastEnd,
    error::{Error, Result},
    reload::Reloaded,
};

const ANSWER_DEADLINE: Duration = Duration::from_secs(5);

/// What to do when an answer does not say it.
const SEE_LOG: &str = "look at the log of dts";

/// The state of a running `dts`: as JSON, or in words.
///
/// # Errors
///
/// Refused, when no `dts` answers.
pub async fn status(arguments: &StatusArguments, config: &Config) -> Result<String> {
    let asked = ask(config, reqwest::Method::GET, "/api/v1/status").await;
    let status = asked.map_err(|error| match LastEnd::noted(config) {
        Some(end) => Error::refused(
            format!("no dts answers at {}; {end}", config.listen.address.from_here()),
            "then start it again",
        ),
        None => error,
    })?;
    Ok(if arguments.json { format!("{status:#}") } else { in_words(&status) })
}

/// Whether a running `dts` is ready, or at least alive; returns its state.
///
/// # Errors
///
/// Refused, when it is not, or no `dts` answers.
pub async fn healthy(arguments: &HealthyArguments, config: &Config) -> Result<String> {
    let path = if arguments.alive { "/healthz" } else { "/readyz" };
    let (code, body) = call(config, reqwest::Method::GET, path).await?;
    if arguments.alive && code.is_success() {
        return Ok("alive".to_owned());
    }
    let status = serde_json::from_str(&body).unwrap_or_default();
    if code.is_success() {
        Ok(format!("ready: {}", state(&status)))
    } else {
        Err(not_ready(&status))
    }
}

fn state(status: &Value) -> &str {
    status["state"].as_str().unwrap_or("in an unknown state (another program may answer there)")
}

fn not_ready(status: &Value) -> Error {
    let why = match status["lastError"]["message"].as_str() {
        Some(error) => format!("; the last error was: {error}"),
        None => String::new(),
    };
    let remedy = "if it has just started, wait; if not, look at `dts status` and at its log";
    Error::refused(format!("dts is not ready: it is {}{why}", state(status)), remedy)
}

/// Makes a running `dts` read its changed config; returns what changed.
///
/// # Errors
///
/// Refused, when no `dts` answers, or the config is wrong.
pub async fn reload(config: &Config) -> Result<String> {
    let answer = ask(config, reqwest::Method::POST, "/api/v1/reload").await?;
    let strange =
        |error| Error::refused(format!("the answer of dts is not understood: {error}"), SEE_LOG);
    let Reloaded { taken, needs_restart } = serde_json::from_value(answer).map_err(strange)?;
    let mut lines = Vec::new();
    if !taken.is_empty() {
        lines.push(format!("takes effect at the end of a transaction: {}", taken.join(", ")));
    }
    if !needs_restart.is_empty() {
        lines.push(format!("takes effect at the next start: {}", needs_restart.join(", ")));
    }
    Ok(if lines.is_empty() { "nothing has changed".to_owned() } else { lines.join("\n") })
}

async fn ask(config: &Config, method: reqwest::Method, path: &str) -> Result<Value> {
    let (code, body) = call(config, method, path).await?;
    let answer: Value = serde_json::from_str(&body).unwrap_or_default();
    if code.is_success() && answer.is_object() {
        return Ok(answer);
    }
    let text = |key: &str| answer["error"][key].as_str().map(str::to_owned);
    let message = text("message")
        .unwrap_or_else(|| format!("{} answered {code}: is that a dts?", config.listen.address));
    Err(Error::refused(message, text("remedy").unwrap_or_else(|| SEE_LOG.to_owned())))
}

/// The answer of the `dts` that listens where the config says.
async fn call(
    config: &Config,
    method: reqwest::Method,
    path: &str,
) -> Result<(reqwest::StatusCode, String)> {
    let address = config.listen.address.from_here();
    let _ = rustls::crypto::ring::default_provider().install_default();
    let failed = |error: reqwest::Error| {
        if error.is_timeout() {
            return Error::refused(
                format!("the dts at {address} does not answer within {ANSWER_DEADLINE:?}"),
                "its process hangs, or somebody stopped it (SIGSTOP): look at the process, and \
                 kill it if it does not go on; nothing is lost",
            );
        }
        let reason = if error.is_connect() {
            "nothing listens there".to_owned()
        } else {
            error.without_url().to_string()
        };
        Error::refused(
            format!("no dts answers at {address}: {reason}"),
            "start it (scripts/startDts.sh start), or name its config with --config",
        )
    };
    let client = reqwest::Client::builder().no_proxy().timeout(ANSWER_DEADLINE).build();
    let mut request = client.map_err(failed)?.request(method, format!("http://{address}{path}"));
    if let Some(token) = &config.listen.token {
        request = request.bearer_auth(token.expose());
    }
    let response = request.send().await.map_err(failed)?;
    let code = response.status();
    Ok((code, response.text().await.map_err(failed)?))
}

/// The lines of `/api/v1/status` for a human.
fn in_words(status: &Value) -> String {
    let text = |at: &Value| at.as_str().unwrap_or("-").to_owned();
    let mut rows = vec![
        ("dts", text(&status["name"])),
        ("why", text(&status["why"])),
        ("state", format!("{}, {}", text(&status["state"]), text(&status["role"]))),
    ];
    let source = &status["source"];
    if source.is_object() {
        rows.push((
            "source",
            format!("{} ({})", text(&source["address"]), text(&source["version"])),
        ));
    }
    let position = &status["position"];
    if position.is_object() {
        let gtids = position["gtidSet"].as_str().map(|set| format!(", {set}")).unwrap_or_default();
        rows.push(("position", format!("{}:{}{gtids}", text(&position["file"]), position["pos"])));
    }
    let binlog = &status["binlog"];
    if binlog.is_object() {
        let known = |at: &Value, unit: &str| match at.as_f64() {
            Some(number) => format!("{number:.0} {unit}"),
            None => format!("unknown {unit}"),
        };
        let seconds = known(&binlog["secondsBehindSource"], "seconds");
        rows.push(("behind", format!("{seconds}, {}", known(&binlog["bytesBehind"], "bytes"))));
    }
    let accounting = &status["accounting"];
    if accounting.is_object() {
        rows.push(("published", format!("{} records", accounting["published"])));
    }
    if let Some(books) = books(&status["books"]) {
        rows.push(("books", books));
    }
    let log = &status["log"];
    if let (Some(bytes), Some(max)) = (log["bytes"].as_u64(), log["maxBytes"].as_u64()) {
        rows.push(("log", format!("{} of {}{}", ByteSize::b(bytes), ByteSize::b(max), most(log))));
    }
    let open = status["fullSyncs"].as_array().map_or(0, Vec::len);
    rows.push(("full syncs", format!("{open} not ended")));
    let last = &status["lastError"];
    if let Some(error) = last["message"].as_str() {
        let at = last["atMs"].as_u64().map(|at| UNIX_EPOCH + Duration::from_millis(at));
        let age = at.and_then(|at| SystemTime::now().duration_since(at).ok());
        let ago = age.map(|age| format!(" ({} s ago)", age.as_secs())).unwrap_or_default();
        rows.push(("last error", format!("{error}{ago}")));
    }
    let lines = rows.iter().map(|(head, value)| format!("{head:<11} {value}"));
    lines.collect::<Vec<_>>().join("\n")
}

/// Whether the books balance; if not, the first difference.
fn books(books: &Value) -> Option<String> {
    if books["balanced"].as_bool()? {
        return Some("balanced".to_owned());
    }
    let all = books["differences"].as_array()?;
    let text = |at: &Value| at.as_str().unwrap_or("-").to_owned();
    let first = all.first()?;
    let more = match all.len() {
        1 => String::new(),
        more => format!(" (and {} more: dts status --json)", more - 1),
    };
    Some(format!("DO NOT BALANCE: {}; {}{more}", text(&first["message"]), text(&first["remedy"])))
}

/// The group that most of the log is kept for.
fn most(log: &Value) -> String {
    let groups = log["groups"].as_array().into_iter().flatten();
    let held = groups.filter_map(|group| Some((group["heldBytes"].as_u64()?, &group["name"])));
    match held.max_by_key(|(held, _)| *held) {
        Some((held, name)) if held > 0 => {
            let name = name.as_str().unwrap_or("-");
            format!("; most of it for {name}, which has not finished {}", ByteSize::b(held))
        }
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_dts_that_is_not_ready_says_its_state_and_why() {
        let waiting = json!({ "state": "waiting", "lastError": { "message": "db:3306 is away" } });
        let said = not_ready(&waiting).to_string();
        assert!(said.contains("it is waiting; the last error was: db:3306 is away"), "{said}");
        let connecting = not_ready(&json!({ "state": "connecting", "lastError": null }));
        assert!(
            connecting.to_string().starts_with("dts is not ready: it is connecting; if it has")
        );
    }

    #[test]
    fn a_status_has_lines_and_unknown_values_are_left_out() {
        let group = |name: &str, held: u64| json!({ "name": name, "heldBytes": held });
        let status = json!({
            "name": "shop", "why": "idle: nothing", "role": "leader", "state": "streaming",
            "source": { "address": "db:3306", "version": "8.0.31" },
            "position": { "file": "b.000003", "pos": 1234, "gtidSet": "u:1-7" },
            "binlog": { "bytesBehind": 12, "secondsBehindSource": null },
            "accounting": { "published": 42 },
            "log": { "bytes": 2048, "maxBytes": 4096, "groups": [group("a", 1), group("b", 1024)] },
            "fullSyncs": [{}], "lastError": { "message": "away" },
        });
        let text = in_words(&status);
        for line in [
            "dts         shop",
            "why         idle: nothing",
            "state       streaming, leader",
            "source      db:3306 (8.0.31)",
            "position    b.000003:1234, u:1-7",
            "behind      unknown seconds, 12 bytes",
            "published   42 records",
            "log         2.0 KiB of 4.0 KiB; most of it for b, which has not finished 1.0 KiB",
            "full syncs  1 not ended",
            "last error  away",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
        let standby = json!({ "name": "shop", "role": "standby", "state": "standby", "log": null });
        assert_eq!(in_words(&standby).lines().count(), 4);
    }
}
