//! A connection that a test can cut, slow down, freeze, or lose without a word.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::AbortHandle,
};

/// Passes every byte on both ways, unless it is told otherwise; ends when dropped.
pub(super) struct Proxy {
    pub(super) address: String,
    line: Arc<Line>,
    accepting: AbortHandle,
}

struct Line {
    /// Connections that were made before the last cut end.
    cut: watch::Sender<u64>,
    /// Connections made before this one pass nothing more, and stay open.
    lost: AtomicU64,
    made: AtomicU64,
    frozen: AtomicBool,
    /// Bytes a second over each connection, each way.
    rate: AtomicU64,
}

impl Proxy {
    pub(super) async fn start(target: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let line = Arc::new(Line {
            cut: watch::Sender::new(0),
            lost: AtomicU64::new(0),
            made: AtomicU64::new(0),
            frozen: AtomicBool::new(false),
            rate: AtomicU64::new(u64::MAX),
        });
        let accepting = tokio::spawn(accept(listener, target, Arc::clone(&line))).abort_handle();
        Self { address, line, accepting }
    }

    /// Ends all connections.
    pub(super) fn cut(&self) {
        self.line.cut.send_modify(|cuts| *cuts += 1);
    }

    /// Loses all connections, as a firewall does that forgets them: nobody is told.
    pub(super) fn lose(&self) {
        self.line.lost.store(self.line.made.load(SeqCst), SeqCst);
    }

    pub(super) fn freeze(&self, frozen: bool) {
        self.line.frozen.store(frozen, SeqCst);
    }

    /// At `u64::MAX` nothing is slow.
    pub(super) fn slow_down(&self, rate: u64) {
        self.line.rate.store(rate, SeqCst);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.cut();
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, target: String, line: Arc<Line>) {
    while let Ok((caller, _)) = listener.accept().await {
        // The target is down: the caller sees a closed connection, as it would without us.
        let Ok(server) = TcpStream::connect(&target).await else { continue };
        tokio::spawn(pass((caller, server), Arc::clone(&line)));
    }
}

async fn pass((caller, server): (TcpStream, TcpStream), line: Arc<Line>) {
    let number = line.made.fetch_add(1, SeqCst) + 1;
    let mut cut = line.cut.subscribe();
    let (from_caller, to_caller) = caller.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::select! {
        () = line.carry(number, from_caller, to_server) => {}
        () = line.carry(number, from_server, to_caller) => {}
        // The sender lives in `line`.
        _ = cut.changed() => {}
    }
}

impl Line {
    async fn carry(
        &self,
        number: u64,
        mut from: impl AsyncRead + Unpin,
        mut to: impl AsyncWrite + Unpin,
    ) {
        let mut buffer = vec![0; 16 << 10];
        while let Ok(length @ 1..) = from.read(&mut buffer).await {
            let rate = self.rate.load(SeqCst);
            if rate < u64::MAX {
                let micros = length as u64 * 1_000_000 / rate;
                tokio::time::sleep(Duration::from_micros(micros)).await;
            }
            while self.frozen.load(SeqCst) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            if number <= self.lost.load(SeqCst) {
                // Until the test ends: neither side is told.
                std::future::pending::<()>().await;
            }
            if to.write_all(&buffer[..length]).await.is_err() {
                return;
            }
        }
        // A lost connection is not closed either.
        if number <= self.lost.load(SeqCst) {
            std::future::pending::<()>().await;
        }
    }
}
