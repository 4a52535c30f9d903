//! One relay by the command line alone, without a config file.

use std::path::{Path, PathBuf};

use clap::Args;
use event_log::{ClientConfig, Compress, Error, Start, is_stream_name};
use relay::{Directory, OnGone, RecordChoice, RelayConfig, RelaySource};
use serde_json::{Value, json};
use service::{BackoffConfig, config::File};

use super::{
    super::{Failure, connect, point},
    config::{BATCH_BYTES, NAME_RULE, NamedRelay, default_state},
    handler::RelayHandler,
};

/// What is relayed, and to whom. Without --exec and --http: the relays of the config file.
#[derive(Args)]
pub(crate) struct RelayArguments {
    /// The directory of the log whose files are read: of a stopped log, a running server, a copy.
    #[arg(value_name = "DIR", conflicts_with = "from")]
    directory: Option<PathBuf>,
    /// The server that is read, as host:port.
    #[arg(long, value_name = "HOST:PORT")]
    from: Option<String>,
    /// The name of the relay, by which its place is kept. Without --exec and --http: the only
    /// relay of the config that runs.
    #[arg(long)]
    name: Option<String>,
    /// A program that gets each batch as a line of JSON on its standard input, and answers with a
    /// line; all that follows are its arguments, so this comes last.
    #[arg(long, value_name = "CMD", num_args = 1.., allow_hyphen_values = true,
          conflicts_with = "http")]
    exec: Vec<String>,
    /// A server that gets each batch as a POST.
    #[arg(long, value_name = "URL")]
    http: Option<String>,
    #[command(flatten)]
    more: RelayOptions,
}

/// What a config file says otherwise.
#[derive(Args)]
struct RelayOptions {
    /// The stream; its name is `topicPrefix` in the config of dts [default: dbevents].
    #[arg(long)]
    stream: Option<String>,
    /// How long a call may take [default: 30s].
    #[arg(long)]
    timeout: Option<String>,
    /// Where a relay of this name begins the first time: earliest, latest, an offset (1234), a UTC
    /// day (2026-03-01) or time (2026-03-01T10:00:00Z) [default: earliest].
    #[arg(long, value_parser = point::start)]
    start: Option<Start>,
    /// A regular expression for the whole topic; may be given several times.
    #[arg(long, value_name = "REGEX")]
    topic: Vec<String>,
    /// The type; may be given several times.
    #[arg(long = "type", value_name = "N")]
    kind: Vec<u32>,
    /// The id of the log where the record was first appended; may be given several times.
    #[arg(long, value_name = "N")]
    origin: Vec<u32>,
    /// The id of a log whose records are left out; may be given several times.
    #[arg(long, value_name = "N")]
    not_origin: Vec<u32>,
    /// How many records a call gets at most [default: 128].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    batch: Option<u32>,
    /// With DIR: the file that keeps the place [default: data/event-log-relay/NAME.json].
    #[arg(long, value_name = "FILE", conflicts_with = "from")]
    state: Option<PathBuf>,
    /// What to do when the next records were deleted: `stop`, or `earliest` to go on with the
    /// oldest that is there [default: stop].
    #[arg(long, value_parser = ["stop", "earliest"])]
    on_gone: Option<String>,
    /// A file with the token to show to the server; else that in the variable EVENT_LOG_TOKEN.
    #[arg(long)]
    token_file: Option<PathBuf>,
    /// The certificate to trust (PEM), where the server uses TLS.
    #[arg(long)]
    ca_file: Option<PathBuf>,
    /// The certificate to show (PEM), where the server asks for one.
    #[arg(long, requires = "key_file")]
    cert_file: Option<PathBuf>,
    /// Its key (PEM).
    #[arg(long, requires = "cert_file")]
    key_file: Option<PathBuf>,
}

impl RelayArguments {
    /// Whether the command line says what is called; else a config file does.
    pub(super) fn has_handler(&self) -> bool {
        !self.exec.is_empty() || self.http.is_some()
    }

    /// The one relay of the config that shall run; `None`: all.
    pub(super) fn only(self) -> Result<Option<String>, Failure> {
        if self.directory.is_some() || self.from.is_some() || self.more.is_said() {
            return Err(wrong(
                "who is called is missing: add --exec CMD or --http URL; or give all by a config \
                 file, and nothing here but --config and --name",
            ));
        }
        Ok(self.name)
    }

    /// The relay of the command line.
    pub(super) fn relay(self) -> Result<NamedRelay, Failure> {
        let Some(name) = self.name.clone() else {
            return Err(wrong("--name is missing: the relay's place is kept by its name"));
        };
        if !is_stream_name(&name) {
            return Err(wrong(&format!("{name:?} cannot be the name of a relay: {NAME_RULE}")));
        }
        let handler = self.handler()?;
        let source = self.source(&name)?;
        let more = self.more;
        let config = RelayConfig {
            name,
            stream: more.stream.unwrap_or_else(|| "dbevents".to_owned()),
            source,
            start: more.start.unwrap_or(Start::Earliest),
            choice: RecordChoice {
                topics: more.topic,
                kinds: more.kind,
                origins: more.origin,
                not_origins: more.not_origin,
            },
            batch_size: more.batch.map_or(handler.batch_size(), |batch| batch as usize),
            batch_bytes: BATCH_BYTES,
            retry: BackoffConfig::default(),
            on_gone: match more.on_gone.as_deref() {
                Some("earliest") => OnGone::Earliest,
                _ => OnGone::Stop,
            },
            show_output: true,
        };
        Ok(NamedRelay { config, handler })
    }

    fn source(&self, name: &str) -> Result<RelaySource, Failure> {
        let more = &self.more;
        match (&self.from, &self.directory) {
            (Some(address), _) => Ok(RelaySource::Server(ClientConfig {
                address: address.clone(),
                token: connect::token(more.token_file.as_deref())?,
                ca_file: more.ca_file.clone(),
                identity: more.cert_file.clone().zip(more.key_file.clone()),
                compress: Compress::Off,
            })),
            (None, Some(log)) => {
                let state = more.state.clone().unwrap_or_else(|| default_state(name));
                Ok(RelaySource::Directory(Directory { log: log.clone(), state }))
            }
            (None, None) => Err(wrong(
                "what to read is missing: name the directory of a log, or a server with --from",
            )),
        }
    }

    /// As a config file would say it: the same checks, the same messages.
    fn handler(&self) -> Result<RelayHandler, Failure> {
        let mut keys: Vec<(&str, Value)> = Vec::new();
        if let Some(url) = &self.http {
            keys.push(("http", json!(url)));
        } else {
            keys.push(("exec", json!(self.exec)));
        }
        keys.extend(self.more.timeout.as_ref().map(|timeout| ("timeout", json!(timeout))));
        let lines = keys.iter().map(|(key, value)| format!("{key} = {value}\n"));
        let file = File::parse(Path::new("the command line"), &lines.collect::<String>())?;
        let handler = RelayHandler::read_table(file.root());
        match file.finish(handler)? {
            Some(handler) => Ok(handler),
            None => Err(wrong("who is called is missing: add --exec CMD or --http URL")),
        }
    }
}

impl RelayOptions {
    fn is_said(&self) -> bool {
        let lists = [&self.kind, &self.origin, &self.not_origin];
        self.stream.is_some()
            || self.timeout.is_some()
            || self.start.is_some()
            || self.batch.is_some()
            || self.state.is_some()
            || self.on_gone.is_some()
            || self.token_file.is_some()
            || self.ca_file.is_some()
            || !self.topic.is_empty()
            || lists.iter().any(|list| !list.is_empty())
    }
}

fn wrong(what: &str) -> Failure {
    Error::Rejected(what.to_owned()).into()
}
