//! A log server as a child process, and clients of it.

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Mutex, mpsc::Receiver},
    time::Duration,
};

use event_log::{
    Client, ClientConfig, Compress, Error, Event, RemoteSubscription, Start, Subscribe,
    proto::{
        AppendRequest, AppendResponse, NewRecord, OpenProducerRequest,
        event_log_client::EventLogClient,
    },
};
use tonic::{
    Status,
    transport::{Channel, Endpoint},
};

/// Nothing that a test waits for may take longer.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);
pub(crate) const STREAM: &str = "s";

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_event-log");

/// The smaller size, or the full one where `DBEVENT_TEST_SIZE=full`.
pub(crate) fn size(small: usize, full: usize) -> usize {
    if std::env::var("DBEVENT_TEST_SIZE").is_ok_and(|size| size == "full") { full } else { small }
}

/// A server; killed when it is dropped.
pub(crate) struct ServerProcess {
    child: Child,
    pub(crate) address: String,
    pub(crate) http: String,
    /// The lines that it writes after it listens.
    lines: Mutex<Receiver<String>>,
}

impl ServerProcess {
    pub(crate) fn start(directory: &Path) -> Self {
        let config = write_config(directory, "", "");
        Self::start_by(Command::new(PROGRAM).arg("serve").arg("--config").arg(config))
    }

    /// Starts it where another one was before: its clients find it there.
    pub(crate) fn start_at(directory: &Path, address: &str) -> Self {
        let config = write_config(directory, &format!("address = {address:?}"), "");
        Self::start_by(Command::new(PROGRAM).arg("serve").arg("--config").arg(config))
    }

    /// Starts a command that becomes the server, and waits until it listens.
    pub(crate) fn start_by(command: &mut Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut seen = String::new();
        let address = loop {
            let before = seen.len();
            assert!(log.read_line(&mut seen).unwrap() > 0, "the server ended: {seen}");
            if let Some(address) = address_after(&seen[before..], "the event log listens address=")
            {
                break address;
            }
        };
        let http = address_after(&seen, "over HTTP address=").unwrap_or_default();
        // A child must not stop at a full pipe.
        let (to, lines) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            log.lines().map_while(Result::ok).for_each(|line| drop(to.send(line)));
        });
        Self { child, address, http, lines: Mutex::new(lines) }
    }

    /// Waits until it says this.
    pub(crate) fn says(&self, text: &str) {
        let lines = self.lines.lock().unwrap();
        while !lines.recv_timeout(DEADLINE).unwrap().contains(text) {}
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The memory that it takes now.
    pub(crate) fn resident_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// `kill -9`, and waits until it is dead.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) fn client(&self) -> Client {
        client(&self.address, None)
    }

    pub(crate) async fn raw(&self) -> Result<EventLogClient<Channel>, tonic::transport::Error> {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.address))?;
        Ok(EventLogClient::new(endpoint.connect().await?))
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn address_after(text: &str, words: &str) -> Option<String> {
    let (_, rest) = text.split_once(words)?;
    Some(rest.split_whitespace().next()?.trim_matches('"').to_owned())
}

/// A config for a directory; `listen` and `storage` are more lines of these tables.
pub(crate) fn write_config(directory: &Path, listen: &str, storage: &str) -> PathBuf {
    let path = directory.join("event-log.toml");
    let address = if listen.contains("address") { "" } else { "address = \"127.0.0.1:0\"" };
    let data = directory.join("data");
    let text = format!(
        "[listen]\n{address}\n{listen}\n[http]\naddress = '127.0.0.1:0'\n\
         [storage]\ndirectory = {data:?}\n{storage}\n"
    );
    std::fs::write(&path, text).unwrap();
    path
}

/// Subscribes as soon as somebody has made the stream.
pub(crate) async fn subscribed(client: &Client, wanted: Subscribe) -> RemoteSubscription {
    loop {
        match client.subscribe(STREAM, wanted.clone()).await {
            Err(Error::NoStream(_)) => tokio::time::sleep(Duration::from_millis(10)).await,
            opened => return opened.unwrap(),
        }
    }
}

/// Makes the stream, which reading alone does not.
pub(crate) async fn make_stream(client: &Client) {
    client.open_producer(STREAM, "maker").await.unwrap();
}

pub(crate) fn client(address: &str, token: Option<&str>) -> Client {
    let config = ClientConfig {
        address: address.to_owned(),
        token: token.map(|token| service::Secret::new(token.to_owned())),
        ca_file: None,
        identity: None,
        compress: Compress::Off,
    };
    Client::new(&config).unwrap()
}

pub(crate) fn record(payload: Vec<u8>) -> NewRecord {
    NewRecord {
        r#type: 1001,
        topic: "t".to_owned(),
        payload: payload.into(),
        ..NewRecord::default()
    }
}

pub(crate) fn subscribe(group: &str, client: &str) -> Subscribe {
    Subscribe {
        group: group.to_owned(),
        start: Start::Earliest,
        topics: Vec::new(),
        kinds: Vec::new(),
        origins: Vec::new(),
        addressee: None,
        max_bytes: 0,
        client: client.to_owned(),
    }
}

/// Waits until it is the active member.
pub(crate) async fn assigned(subscription: &mut RemoteSubscription) -> Result<(u64, u64), Error> {
    match subscription.next().await? {
        Event::Assigned { member, position, .. } => Ok((member, position)),
        Event::Records { .. } => panic!("records before the assignment"),
    }
}

/// Everything in the stream, as text.
pub(crate) async fn read_all(client: &Client) -> Vec<String> {
    let mut subscription = client.subscribe(STREAM, subscribe("", "reader")).await.unwrap();
    assigned(&mut subscription).await.unwrap();
    let mut all = Vec::new();
    loop {
        if let Event::Records { records, next_offset, end_offset } =
            subscription.next().await.unwrap()
        {
            let text =
                |record: event_log::Record| String::from_utf8(record.payload.to_vec()).unwrap();
            all.extend(records.into_iter().map(text));
            if next_offset == end_offset {
                return all;
            }
        }
    }
}

/// A producer that sends a sequence again as often as the test likes.
pub(crate) struct Sender {
    pub(crate) epoch: u64,
}

impl Sender {
    pub(crate) async fn open(server: &ServerProcess) -> Self {
        let request = OpenProducerRequest { stream: STREAM.to_owned(), producer: "p".to_owned() };
        let answer = server.raw().await.unwrap().open_producer(request).await.unwrap();
        Self { epoch: answer.into_inner().epoch }
    }

    /// Sends one batch over a call of its own.
    pub(crate) async fn send(
        &self,
        server: &ServerProcess,
        sequence: u64,
        records: Vec<NewRecord>,
    ) -> Result<AppendResponse, Status> {
        let request = AppendRequest {
            stream: STREAM.to_owned(),
            producer: "p".to_owned(),
            epoch: self.epoch,
            sequence,
            records,
            checkpoint: Vec::new(),
        };
        let unavailable = |error: tonic::transport::Error| Status::unavailable(error.to_string());
        let mut service = server.raw().await.map_err(unavailable)?;
        let requests = tokio_stream::once(request);
        let mut responses = service.append(requests).await?.into_inner();
        let answer = responses.message().await?;
        answer.ok_or_else(|| Status::unavailable("the call ended without an answer"))
    }
}
