//! A proxy before the broker: it counts what is asked, keeps questions back, and cuts connections.
//!
//! Answers name the broker by host and port. The proxy puts its own port there, so that clients
//! that know only the proxy stay with it.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
};
use tokio_util::task::AbortOnDropHandle;

/// Kinds of requests, by their keys (https://kafka.apache.org/protocol).
pub(crate) const FETCH: i16 = 1;
pub(crate) const LIST_OFFSETS: i16 = 2;
pub(crate) const METADATA: i16 = 3;

pub(crate) struct Proxy {
    address: String,
    shared: Arc<SharedProxy>,
    _accepting: AbortOnDropHandle<()>,
}

struct SharedProxy {
    state: Mutex<ProxyState>,
    /// Counts how often all connections were cut.
    cuts: watch::Sender<u64>,
    ports: (Vec<u8>, Vec<u8>),
}

#[derive(Default)]
struct ProxyState {
    held: HashSet<i16>,
    asked: HashMap<i16, u64>,
    hidden: Option<Vec<u8>>,
    /// What a hidden topic was called instead, and its name.
    renamed: Option<(Vec<u8>, Vec<u8>)>,
    hidings: u64,
    is_frozen: bool,
    is_closed: bool,
}

impl ProxyState {
    fn hide(&mut self, request: &mut [u8]) {
        let Some(topic) = &self.hidden else { return };
        if let Some(at) = request.windows(topic.len()).position(|one| one == topic) {
            request[at + topic.len() - 1] = b'-';
            let other = request[at..at + topic.len()].to_vec();
            self.renamed = Some((other, topic.clone()));
            self.hidings += 1;
        }
    }
}

impl SharedProxy {
    fn lock(&self) -> MutexGuard<'_, ProxyState> {
        self.state.lock().unwrap()
    }
}

impl Proxy {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let target = super::address();
        let (host, port) = target.split_once(':').unwrap();
        let place = |port: u16| [host.as_bytes(), &u32::from(port).to_be_bytes()].concat();
        let ports = (place(port.parse().unwrap()), place(address.port()));
        let shared =
            Arc::new(SharedProxy { state: Mutex::default(), cuts: watch::Sender::new(0), ports });
        let accepting = tokio::spawn(accept(listener, target.clone(), Arc::clone(&shared)));
        let address = address.to_string();
        Self { address, shared, _accepting: AbortOnDropHandle::new(accepting) }
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Questions of these kinds get no answer, for now.
    pub(crate) fn hold(&self, kinds: &[i16]) {
        self.shared.lock().held = kinds.iter().copied().collect();
    }

    /// No question gets an answer, for now: as of a broker that is frozen.
    pub(crate) fn freeze(&self, is_frozen: bool) {
        self.shared.lock().is_frozen = is_frozen;
    }

    /// Cuts all connections, and lets none in until it is opened.
    pub(crate) fn close(&self) {
        self.shared.lock().is_closed = true;
        self.shared.cuts.send_modify(|cuts| *cuts += 1);
    }

    pub(crate) fn open(&self) {
        self.shared.lock().is_closed = false;
    }

    /// A topic's metadata are asked for by another name, so that the broker does not know it.
    pub(crate) fn hide(&self, topic: Option<&str>) {
        self.shared.lock().hidden = topic.map(|topic| topic.as_bytes().to_vec());
    }

    /// How often that was done.
    pub(crate) fn hidden(&self) -> u64 {
        self.shared.lock().hidings
    }

    /// How often a kind of question was asked.
    pub(crate) fn asked(&self, kind: i16) -> u64 {
        self.shared.lock().asked.get(&kind).copied().unwrap_or_default()
    }
}

async fn accept(listener: TcpListener, target: String, shared: Arc<SharedProxy>) {
    while let Ok((caller, _)) = listener.accept().await {
        if shared.lock().is_closed {
            continue;
        }
        let Ok(broker) = TcpStream::connect(&target).await else { continue };
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            let mut cuts = shared.cuts.subscribe();
            let (caller_reads, caller_writes) = caller.into_split();
            let (broker_reads, broker_writes) = broker.into_split();
            tokio::select! {
                _ = ask(caller_reads, broker_writes, &shared) => {}
                _ = answer(broker_reads, caller_writes, &shared) => {}
                _ = cuts.changed() => {}
            }
        });
    }
}

async fn frame(from: &mut OwnedReadHalf) -> std::io::Result<Vec<u8>> {
    let length = from.read_u32().await?;
    let mut frame = length.to_be_bytes().to_vec();
    frame.resize(4 + length as usize, 0);
    from.read_exact(&mut frame[4..]).await?;
    Ok(frame)
}

async fn ask(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    shared: &SharedProxy,
) -> std::io::Result<()> {
    loop {
        let mut request = frame(&mut from).await?;
        let kind = i16::from_be_bytes([request[4], request[5]]);
        let is_held = {
            let mut state = shared.lock();
            *state.asked.entry(kind).or_default() += 1;
            if kind == METADATA {
                state.hide(&mut request);
            }
            state.is_frozen || state.held.contains(&kind)
        };
        if !is_held {
            to.write_all(&request).await?;
        }
    }
}

async fn answer(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    shared: &SharedProxy,
) -> std::io::Result<()> {
    loop {
        let mut answer = frame(&mut from).await?;
        replace(&mut answer, &shared.ports);
        let renamed = shared.lock().renamed.clone();
        if let Some(renamed) = renamed {
            // The library does not live through an answer about a topic that it did not ask for.
            replace(&mut answer, &renamed);
        }
        to.write_all(&answer).await?;
    }
}

/// Puts one text in place of another, which is as long.
fn replace(answer: &mut [u8], (from, to): &(Vec<u8>, Vec<u8>)) {
    let mut at = 0;
    while let Some(found) = answer[at..].windows(from.len()).position(|one| one == from) {
        at += found;
        answer[at..at + to.len()].copy_from_slice(to);
    }
}
