//! What an agent follows, and where it reports to: `event-log-agent.toml`.

use std::time::Duration;

use bytesize::ByteSize;
use service::{Address, config::Section};

use crate::{AppLog, ClientConfig, Compress, LineForm, LineType, config::is_stream_name};

/// What is compressed has no lines.
const COMPRESSED: [&str; 5] = ["*.gz", "*.zst", "*.bz2", "*.xz", "*.zip"];
const MAX_LINE_BYTES: ByteSize = ByteSize::mib(16);

/// What an agent follows, and where it reports to.
#[derive(Clone, Debug)]
pub struct AgentConfig {
    /// The server.
    pub server: ClientConfig,
    /// What to do about a token that the server does not take: where it comes from.
    pub token_from: String,
    /// The producer at each stream. Places are kept under it: it stays the same for ever.
    pub name: String,
    /// What the header `host` of the records says.
    pub host: String,
    /// How often files are looked at.
    pub poll_interval: Duration,
    /// How often the log says what is behind.
    pub status_interval: Duration,
    /// A longer line is cut in pieces.
    pub max_line_bytes: usize,
    /// A file that is not found under the paths any more is let go when it has not grown for so
    /// long.
    pub close_after: Duration,
    /// What is followed.
    pub files: Vec<FileSet>,
}

/// Files that are followed in the same way.
#[derive(Clone, Debug)]
pub struct FileSet {
    /// Its name in the config. Places are kept under it.
    pub name: String,
    /// Globs.
    pub paths: Vec<String>,
    /// Globs of file names that are not followed.
    pub exclude: Vec<String>,
    /// Where the lines go.
    pub stream: String,
    /// What the lines are.
    pub form: LineForm,
    /// Where files begin that are there when the agent first sees this set.
    pub start: FileStart,
}

/// Where files begin that are there when the agent first sees their set. Later ones are read from
/// their beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileStart {
    /// All of their lines are wanted.
    Beginning,
    /// Only lines that are added from now on.
    End,
}

impl AgentConfig {
    /// Reads `[server]`, `[agent]` and `[files.NAME]`; mistakes are noted there. `host` is what
    /// this machine calls itself.
    pub fn read(root: &Section, host: &str) -> Self {
        let (server, agent) = (root.section("server"), root.section("agent"));
        let max_line_bytes = agent.or("maxLineBytes", ByteSize::mib(1));
        if !(ByteSize::kib(1)..=MAX_LINE_BYTES).contains(&max_line_bytes) {
            let problem = format!("{max_line_bytes} is not possible");
            agent.note("maxLineBytes", &problem, &format!("write 1KiB to {MAX_LINE_BYTES}"));
        }
        let section = root.section("files");
        let names: Vec<String> = section.keys().map(str::to_owned).collect();
        if names.is_empty() {
            let remedy = r#"write [files.NAME] with paths = ["/var/log/app/*.log"]"#;
            root.note("files", "is missing", remedy);
        }
        let files = names.iter().map(|name| FileSet::read(name, &section.section(name)));
        Self {
            server: self::server(&server),
            token_from: token_from(&server),
            name: agent.or("name", format!("agent.{host}")),
            host: host.to_owned(),
            poll_interval: positive(&agent, "pollInterval", Duration::from_millis(500)),
            status_interval: positive(&agent, "statusInterval", Duration::from_mins(1)),
            max_line_bytes: usize::try_from(max_line_bytes.as_u64()).unwrap_or(usize::MAX),
            close_after: agent.or("closeAfter", Duration::from_mins(1)),
            files: files.collect(),
        }
    }
}

fn positive(section: &Section, key: &str, default: Duration) -> Duration {
    let value = section.or(key, default);
    if value.is_zero() {
        section.note(key, "is zero", "write a time that is longer");
    }
    value
}

fn server(section: &Section) -> ClientConfig {
    let address = section.or("address", "127.0.0.1:19288".to_owned());
    if address.parse::<Address>().is_err() {
        let problem = format!("{address:?} is not an address");
        section.note("address", &problem, "write host:port, for example logs.example:19288");
    }
    let identity = match (section.optional("certFile"), section.optional("keyFile")) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (None, None) => None,
        (Some(_), None) => missing(section, "keyFile", "certFile"),
        (None, Some(_)) => missing(section, "certFile", "keyFile"),
    };
    let ca_file = section.optional("caFile");
    if identity.is_some() && ca_file.is_none() {
        let _: Option<()> = missing(section, "caFile", "certFile");
    }
    ClientConfig {
        address,
        token: section.secret("token"),
        ca_file,
        identity,
        compress: match section.choice("compress", ["off", "zstd"]) {
            Some(1) => Compress::Zstd,
            _ => Compress::Off,
        },
    }
}

fn token_from(section: &Section) -> String {
    let of = |key| section.raw("token")?.get(key)?.as_str();
    match (of("env"), of("file"), section.has("token")) {
        (Some(variable), ..) => {
            format!("it comes from the variable {variable}: change that, and start again")
        }
        (_, Some(file), _) => {
            format!("it comes from the file {file}: change that; it is read again at each try")
        }
        (.., true) => "change `token` of [server] in the config, and start again".to_owned(),
        (.., false) => "set `token` of [server] in the config, and start again".to_owned(),
    }
}

fn missing<T>(section: &Section, key: &str, other: &str) -> Option<T> {
    section.note(key, "is missing", &format!("set it together with {other}, or neither"));
    None
}

impl FileSet {
    fn read(name: &str, section: &Section) -> Self {
        let paths: Vec<String> = section.required("paths", Vec::new());
        if paths.is_empty() && section.has("paths") {
            section.note("paths", "is empty", r#"write paths = ["/var/log/app/*.log"]"#);
        }
        let stream = section.required("stream", "logs".to_owned());
        if !is_stream_name(&stream) {
            let problem = format!("{stream:?} cannot name a stream");
            let remedy = "use up to 64 of A-Z a-z 0-9 _ - ., beginning with a letter or digit";
            section.note("stream", &problem, remedy);
        }
        let json = section.or("json", false);
        let line = match section.choice("type", ["text", "json", "app"]) {
            Some(1) => LineType::JSON,
            Some(2) if json => LineType::AppLog,
            Some(2) => LineType::AppMessage,
            _ => LineType::TEXT,
        };
        if json && line != LineType::AppLog {
            let remedy = r#"remove it; lines of JSON have type = "json""#;
            section.note("json", "is only for type = \"app\"", remedy);
        }
        let app = AppLog {
            env: section.or("env", String::new()),
            system: section.or("system", String::new()),
            level: section.or("level", String::new()),
            ..AppLog::default()
        };
        let topic: String = section.or("topic", String::new());
        if topic.len() > 249 {
            section.note("topic", "is longer than 249 bytes", "write a shorter one");
        }
        Self {
            name: name.to_owned(),
            paths,
            exclude: section.or("exclude", COMPRESSED.map(str::to_owned).to_vec()),
            stream,
            form: LineForm { line, topic, key: bytes::Bytes::new(), app },
            start: match section.choice("start", ["beginning", "end"]) {
                Some(1) => FileStart::End,
                _ => FileStart::Beginning,
            },
        }
    }
}
