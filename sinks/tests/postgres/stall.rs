//! A connection that stalls, and delivers what was sent over it when all has gone on without it.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU32, Ordering::Relaxed},
};

use handler::Outcome;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};

use super::{ADDRESS, Target, change, give};

/// Stands between the sink and the server.
struct Proxy {
    port: u16,
    /// Whether connections that were there before wait with what they are sent.
    stalls: watch::Sender<bool>,
    held: Arc<AtomicBool>,
    /// How many connections have ended at both sides.
    ended: Arc<AtomicU32>,
    task: JoinHandle<()>,
}

impl Proxy {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (stalls, stalled) = watch::channel(false);
        let (held, ended) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
        let of_all = (Arc::clone(&held), Arc::clone(&ended));
        let task = tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let (stalled, (held, ended)) = (stalled.clone(), of_all.clone());
                tokio::spawn(async move {
                    carry(client, stalled, held).await;
                    ended.fetch_add(1, Relaxed);
                });
            }
        });
        Self { port, stalls, held, ended, task }
    }
}

/// Carries bytes until the server has ended the connection.
async fn carry(client: TcpStream, mut stalled: watch::Receiver<bool>, held: Arc<AtomicBool>) {
    let server = TcpStream::connect(ADDRESS).await.unwrap();
    let can_stall = !*stalled.borrow();
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let sent = tokio::spawn(async move {
        let mut bytes = vec![0; 1 << 16];
        while let Ok(count @ 1..) = from_client.read(&mut bytes).await {
            if can_stall && *stalled.borrow() {
                held.store(true, Relaxed);
                let _ = stalled.wait_for(|stalled| !stalled).await;
            }
            if to_server.write_all(&bytes[..count]).await.is_err() {
                break;
            }
        }
    });
    let _ = tokio::io::copy(&mut from_server, &mut to_client).await;
    let _ = sent.await;
}

#[tokio::test]
async fn what_a_stalled_connection_brings_late_is_written_nowhere() {
    let target = Target::new(&[("id", "int"), ("v", "int")]).await;
    target.run("CREATE TABLE S.item (id int PRIMARY KEY, v int)").await;
    let proxy = Proxy::start().await;
    let sink = target.sink_at(&format!("127.0.0.1:{}", proxy.port), "timeout = '1s'");
    let update = |v: u64| {
        let (now, before) = (format!("\"v\":{v}"), format!("\"v\":{}", v - 1));
        [change(v, "update", 1, &now, Some(&before))]
    };
    assert_eq!(give(&sink, &update(6)).await, Outcome::Done);
    proxy.stalls.send_replace(true);
    let Outcome::Failed(failure) = give(&sink, &update(7)).await else { panic!("it stalls") };
    assert!(failure.is_unclear && proxy.held.load(Relaxed), "{failure:?}");
    assert!(failure.reason.contains(&format!("127.0.0.1:{} has not answered", proxy.port)));
    assert_eq!(give(&sink, &update(7)).await, Outcome::Done);
    assert_eq!(give(&sink, &update(8)).await, Outcome::Done);
    assert_eq!(proxy.ended.load(Relaxed), 0, "the bytes are still held");
    proxy.stalls.send_replace(false);
    while proxy.ended.load(Relaxed) == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(target.rows("SELECT v FROM S.item").await, ["(8)"]);
    proxy.task.abort();
    target.end().await;
}
