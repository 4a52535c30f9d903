//! A TCP proxy that a test can cut or freeze in the middle of anything.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::Result;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    task::AbortHandle,
};

/// Passes every byte on, unless one of its limits is set; ends when dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    limits: Arc<Limits>,
    accepting: AbortHandle,
}

#[derive(Debug)]
struct Limits {
    /// How many more bytes of answers pass before connections are cut.
    left: AtomicU64,
    cuts: AtomicU64,
    /// How many bytes of answers pass in a second over each connection.
    rate: AtomicU64,
    /// After so many bytes of answers each connection gets silent, and stays open.
    silent_after: AtomicU64,
    /// Connections over which a binlog was asked for are silent.
    holds_dumps: AtomicBool,
    open: AtomicU64,
    /// Bytes of answers that passed over the connection that was used last.
    answered: AtomicU64,
    /// What is put in place of what in answers.
    damage: Mutex<Option<Damage>>,
}

#[derive(Debug)]
struct Damage {
    whole: Vec<u8>,
    damaged: Vec<u8>,
    /// How often it is still done.
    times: u64,
}

impl Proxy {
    /// Listens on a free port of loopback and connects each caller to `target`.
    ///
    /// # Errors
    ///
    /// When no port is free.
    pub async fn start(target: String) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (left, cuts) = (AtomicU64::new(u64::MAX), AtomicU64::new(0));
        let rate = AtomicU64::new(u64::MAX);
        let limits = Arc::new(Limits {
            left,
            cuts,
            rate,
            silent_after: AtomicU64::new(u64::MAX),
            holds_dumps: AtomicBool::new(false),
            open: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            damage: Mutex::default(),
        });
        let task = tokio::spawn(accept(listener, target, Arc::clone(&limits)));
        Ok(Self { address, limits, accepting: task.abort_handle() })
    }

    /// Where it listens.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// Cuts the connection that carries the next bytes of answers, exactly after so many of them.
    pub fn cut_after(&self, bytes: u64) {
        self.limits.left.store(bytes, Ordering::SeqCst);
    }

    /// Lets no more bytes of answers pass in a second over each connection.
    pub fn slow_down(&self, rate: u64) {
        self.limits.rate.store(rate, Ordering::SeqCst);
    }

    /// Lets so many bytes of answers pass over each connection, and then none; nothing is closed.
    pub fn silence_after(&self, bytes: u64) {
        self.limits.silent_after.store(bytes, Ordering::SeqCst);
    }

    /// Whether connections over which a binlog was asked for are silent. Others go on.
    pub fn hold_dumps(&self, hold: bool) {
        self.limits.holds_dumps.store(hold, Ordering::SeqCst);
    }

    /// How many bytes of answers have passed over the connection that was used last.
    pub fn answered(&self) -> u64 {
        self.limits.answered.load(Ordering::SeqCst)
    }

    /// How many connections are open.
    pub fn open(&self) -> u64 {
        self.limits.open.load(Ordering::SeqCst)
    }

    /// Puts other bytes, as many, in place of some wherever they pass in one read of an answer.
    pub fn damage(&self, whole: &[u8], damaged: &[u8]) {
        self.damage_times((whole, damaged), u64::MAX);
    }

    /// The same so many times only.
    pub fn damage_times(&self, (whole, damaged): (&[u8], &[u8]), times: u64) {
        let (whole, damaged) = (whole.to_owned(), damaged.to_owned());
        *self.limits.damage() = Some(Damage { whole, damaged, times });
    }

    /// How many connections it has cut.
    pub fn cuts(&self) -> u64 {
        self.limits.cuts.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, target: String, limits: Arc<Limits>) {
    while let Ok((caller, _)) = listener.accept().await {
        // The target is down: the caller sees a closed connection, as it would without us.
        let Ok(server) = TcpStream::connect(&target).await else { continue };
        tokio::spawn(pass(caller, server, Arc::clone(&limits)));
    }
}

/// Passes both ways; when either ends, both are closed.
async fn pass(caller: TcpStream, server: TcpStream, limits: Arc<Limits>) {
    let (caller_reads, caller_writes) = caller.into_split();
    let (server_reads, server_writes) = server.into_split();
    let is_dump = AtomicBool::new(false);
    limits.open.fetch_add(1, Ordering::SeqCst);
    tokio::select! {
        () = ask(caller_reads, server_writes, &is_dump) => {}
        () = answer(server_reads, caller_writes, (&limits, &is_dump)) => {}
    }
    limits.open.fetch_sub(1, Ordering::SeqCst);
}

/// Passes requests on.
async fn ask(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, is_dump: &AtomicBool) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        // COM_BINLOG_DUMP and COM_BINLOG_DUMP_GTID
        if matches!(buffer.as_slice(), [_, _, _, 0, 0x12 | 0x1e, ..]) {
            is_dump.store(true, Ordering::SeqCst);
        }
        let Some(bytes) = buffer.get(..length) else { return };
        if to.write_all(bytes).await.is_err() {
            return;
        }
    }
}

/// Passes answers on, as far as they may.
async fn answer(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    (limits, is_dump): (&Limits, &AtomicBool),
) {
    let mut buffer = vec![0; 16 * 1024];
    let mut passed = 0;
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        limits.damage_in(&mut buffer);
        let allowed = limits.take(length);
        let before = limits.before_silence(passed, is_dump).min(allowed);
        let Some((first, rest)) =
            buffer.get(..allowed).and_then(|all| all.split_at_checked(before))
        else {
            return;
        };
        if to.write_all(first).await.is_err() {
            return;
        }
        while limits.before_silence(passed, is_dump) < allowed {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        if to.write_all(rest).await.is_err() || allowed < length {
            return;
        }
        passed += allowed as u64;
        limits.answered.store(passed, Ordering::SeqCst);
        limits.pause(length).await;
    }
}

impl Limits {
    fn damage(&self) -> MutexGuard<'_, Option<Damage>> {
        self.damage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn damage_in(&self, buffer: &mut [u8]) {
        let mut damage = self.damage();
        let Some(Damage { whole, damaged, times: times @ 1.. }) = damage.as_mut() else { return };
        let found = buffer.windows(whole.len()).position(|window| window == whole);
        if let Some(place) = found.and_then(|at| buffer.get_mut(at..at + damaged.len())) {
            place.copy_from_slice(damaged);
            *times -= 1;
        }
    }

    /// How many more bytes of answers may pass over a connection that so many have passed over.
    fn before_silence(&self, passed: u64, is_dump: &AtomicBool) -> usize {
        if self.holds_dumps.load(Ordering::SeqCst) && is_dump.load(Ordering::SeqCst) {
            return 0;
        }
        let left = self.silent_after.load(Ordering::SeqCst).saturating_sub(passed);
        usize::try_from(left).unwrap_or(usize::MAX)
    }

    async fn pause(&self, passed: usize) {
        let rate = self.rate.load(Ordering::SeqCst);
        if rate < u64::MAX {
            let micros = (passed as u64).saturating_mul(1_000_000) / rate.max(1);
            tokio::time::sleep(Duration::from_micros(micros)).await;
        }
    }

    /// How many of `wanted` bytes may pass. Less than asked is a cut, and afterwards all may pass.
    fn take(&self, wanted: usize) -> usize {
        let wanted = wanted as u64;
        let left = self.left.load(Ordering::SeqCst);
        if left >= wanted {
            let rest = if left == u64::MAX { left } else { left - wanted };
            self.left.store(rest, Ordering::SeqCst);
            return wanted as usize;
        }
        self.left.store(u64::MAX, Ordering::SeqCst);
        self.cuts.fetch_add(1, Ordering::SeqCst);
        left as usize
    }
}
