//! The connections of a server: their number is limited, and none stays open for ever.
//!
//! A client that connects and sends nothing, or half a request, is sent away after a while. When
//! there are too many connections, the oldest idle one is closed, so that one client with many
//! connections does not lock the others out.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use axum::{
    Extension, Router,
    body::{Body, Bytes, HttpBody},
    extract::Request,
    http::{HeaderMap, StatusCode, header},
    middleware::Next,
    response::Response,
};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{debug, warn};

use super::ApiError;

/// What a client may take of a server.
#[derive(Clone, Copy)]
pub(super) struct ConnectionLimits {
    /// How many connections there are at most.
    max_connections: usize,
    /// How long a client may take to send the head of a request, or stay idle.
    head: Duration,
    /// How long a client may then take to send the body.
    body: Duration,
}

pub(super) const LIMITS: ConnectionLimits = ConnectionLimits {
    max_connections: 256,
    head: Duration::from_secs(20),
    body: Duration::from_secs(20),
};

const MAX_HEAD_BYTES: usize = 64 << 10;
const MAX_BODY_BYTES: usize = 2 << 20;

/// Of a body that is too long, so much is read and dropped. A connection that is closed while the
/// client still sends is reset, and the client may not see the answer.
const MAX_DROPPED_BYTES: usize = 256 << 20;

/// After the system refused to accept a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A connection that is open.
pub(super) struct OpenConnection {
    close: CancellationToken,
    /// Requests that are whole, and are being answered.
    answering: AtomicUsize,
    limits: ConnectionLimits,
}

struct Connections {
    limits: ConnectionLimits,
    /// The oldest first.
    open: Mutex<Vec<Arc<OpenConnection>>>,
}

impl Connections {
    fn enter(&self) -> Arc<OpenConnection> {
        let (close, answering) = (CancellationToken::new(), AtomicUsize::new(0));
        let fresh = Arc::new(OpenConnection { close, answering, limits: self.limits });
        self.lock().push(Arc::clone(&fresh));
        fresh
    }

    fn leave(&self, open: &Arc<OpenConnection>) {
        self.lock().retain(|other| !Arc::ptr_eq(open, other));
    }

    /// Closes the oldest idle connection, if there are too many; says whether there is room then.
    fn make_room(&self, max: usize) -> bool {
        let mut open = self.lock();
        if open.len() < max {
            return true;
        }
        let idle = open.iter().position(|open| open.answering.load(Relaxed) == 0);
        idle.map(|idle| open.remove(idle).close.cancel()).is_some()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<OpenConnection>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Serves connections until `stop`, and then until each has its answer.
pub(super) async fn serve(
    listener: TcpListener,
    router: Router,
    limits: ConnectionLimits,
    stop: CancellationToken,
) {
    let connections = Arc::new(Connections { limits, open: Mutex::default() });
    let tasks = TaskTracker::new();
    while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                warn!(%error, "cannot accept a connection");
                connections.make_room(0);
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        if !connections.make_room(limits.max_connections) {
            debug!("all connections are busy: one more is refused");
            continue;
        }
        let (open, connections) = (connections.enter(), Arc::clone(&connections));
        let (router, stop) = (router.clone().layer(Extension(Arc::clone(&open))), stop.clone());
        tasks.spawn(async move {
            attend(stream, router, (&*open, &stop)).await;
            connections.leave(&open);
        });
    }
    tasks.close();
    tasks.wait().await;
}

async fn attend(
    stream: TcpStream,
    router: Router,
    (open, stop): (&OpenConnection, &CancellationToken),
) {
    let _ = stream.set_nodelay(true);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(open.limits.head)
        .max_buf_size(MAX_HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    tokio::pin!(connection);
    tokio::select! {
        // Why a client went away is its own affair.
        _ = &mut connection => {}
        () = open.close.cancelled() => {}
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            let _ = connection.await;
        }
    }
}

/// Reads the whole request before it goes on, so that nothing after this waits for a client.
///
/// # Errors
///
/// The refusal of one that is too long or too slow.
pub(super) async fn take_in(
    Extension(open): Extension<Arc<OpenConnection>>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let (head, body) = request.into_parts();
    let deadline = open.limits.body;
    let body = timeout(deadline, whole(&head.headers, body)).await.map_err(|_| {
        let message = format!("the body of the request did not come within {deadline:?}");
        ApiError::new(StatusCode::REQUEST_TIMEOUT, message, "send it in one go")
    })?;
    let body = body.map_err(|error| {
        let message = format!("the body of the request cannot be read: {error}");
        let remedy =
            format!("send {MAX_BODY_BYTES} bytes at most, and as many as Content-Length says");
        ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, message, remedy)
    })?;
    let _answering = Answering::begin(&open);
    Ok(next.run(Request::from_parts(head, Body::from(body))).await)
}

/// Reads a whole body. One that is too long is read to its end, too, and dropped.
///
/// # Errors
///
/// Why it cannot be read, in words.
async fn whole(headers: &HeaderMap, mut body: Body) -> Result<Vec<u8>, String> {
    let too_long = || format!("it is longer than {MAX_BODY_BYTES} bytes");
    let declared = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok());
    let is_declared = declared.and_then(|length| length.parse().ok()) > Some(MAX_BODY_BYTES);
    // Such a client sends nothing before it is asked to.
    if is_declared && headers.contains_key(header::EXPECT) {
        return Err(too_long());
    }
    let (mut read, mut length) = (Vec::new(), 0_usize);
    while let Some(bytes) = next_bytes(&mut body).await.map_err(|error| error.to_string())? {
        length = length.saturating_add(bytes.len());
        if length > MAX_DROPPED_BYTES {
            break;
        }
        if length > MAX_BODY_BYTES {
            read = Vec::new();
        } else {
            read.extend_from_slice(&bytes);
        }
    }
    if length > MAX_BODY_BYTES { Err(too_long()) } else { Ok(read) }
}

/// The next bytes of a body; `None` at its end.
async fn next_bytes(body: &mut Body) -> Result<Option<Bytes>, axum::Error> {
    while let Some(frame) = poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await {
        if let Ok(bytes) = frame?.into_data() {
            return Ok(Some(bytes));
        }
    }
    Ok(None)
}

/// A request that is being answered, until this is dropped.
struct Answering<'a>(&'a OpenConnection);

impl<'a> Answering<'a> {
    fn begin(open: &'a OpenConnection) -> Self {
        open.answering.fetch_add(1, Relaxed);
        Self(open)
    }
}

impl Drop for Answering<'_> {
    fn drop(&mut self) {
        self.0.answering.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    const FEW: ConnectionLimits = ConnectionLimits { max_connections: 20, ..LIMITS };

    async fn start(
        router: Router,
        limits: ConnectionLimits,
    ) -> (std::net::SocketAddr, CancellationToken) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
        let router = router.layer(axum::middleware::from_fn(take_in));
        tokio::spawn(serve(listener, router, limits, stop.clone()));
        (address, stop)
    }

    async fn send(address: std::net::SocketAddr, text: &str) -> TcpStream {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        stream
    }

    async fn answer(mut stream: TcpStream) -> String {
        let mut text = String::new();
        let read = stream.read_to_string(&mut text);
        timeout(PATIENCE, read).await.expect("it answers or is closed").unwrap_or_default();
        text
    }

    const WHOLE: &str = "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    const HALF: &str = "GET / HTTP/1.1\r\nHost: x\r\nX: ";

    #[tokio::test]
    async fn who_takes_all_places_with_half_a_request_does_not_lock_others_out() {
        let (address, _stop) = start(Router::new().route("/", get(|| async { "here" })), FEW).await;
        let mut halves = Vec::new();
        for _ in 0..2 * FEW.max_connections {
            halves.push(send(address, HALF).await);
        }
        for _ in 0..3 {
            assert!(answer(send(address, WHOLE).await).await.ends_with("here"));
        }
        let oldest = halves.swap_remove(0);
        assert_eq!(answer(oldest).await, "", "its place was given away");
    }

    #[tokio::test]
    async fn one_that_is_being_answered_keeps_its_place() {
        let (began, go_on) = (CancellationToken::new(), CancellationToken::new());
        let (begins, waits) = (began.clone(), go_on.clone());
        let slow = get(move || async move {
            begins.cancel();
            waits.cancelled().await;
            "done"
        });
        let (address, _stop) = start(Router::new().route("/", slow), FEW).await;
        let slow = send(address, WHOLE).await;
        timeout(PATIENCE, began.cancelled()).await.expect("it is answered");
        let mut halves = Vec::new();
        for _ in 0..2 * FEW.max_connections {
            halves.push(send(address, HALF).await);
        }
        go_on.cancel();
        assert!(answer(slow).await.ends_with("done"));
    }

    #[tokio::test]
    async fn half_a_request_ends_after_a_while_wherever_it_stops() {
        let post = axum::routing::post(|| async { "here" });
        let soon = Duration::from_millis(200);
        let limits = ConnectionLimits { head: soon, body: soon, ..LIMITS };
        let (address, _stop) = start(Router::new().route("/", post), limits).await;
        assert_eq!(answer(send(address, HALF).await).await, "");
        let half = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nxxx";
        let text = answer(send(address, half).await).await;
        assert!(text.contains("408") && text.contains("did not come within"), "{text}");
    }

    #[tokio::test]
    async fn a_body_that_is_too_long_is_answered_and_the_connection_is_not_reset() {
        let post = axum::routing::post(|| async { "here" });
        let (address, _stop) = start(Router::new().route("/", post), FEW).await;
        const LENGTH: usize = 50 << 20;
        let head = format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {LENGTH}\r\n");
        for _ in 0..20 {
            let mut stream = send(address, &format!("{head}\r\n")).await;
            stream.write_all(&vec![b'x'; LENGTH]).await.expect("it is read");
            let mut answer = vec![0; 1000];
            let read = stream.read(&mut answer).await.expect("it is not reset");
            let text = String::from_utf8_lossy(&answer[..read]).into_owned();
            assert!(text.contains("413") && text.contains("is longer than"), "{text}");
        }
        let asks = format!("{head}Expect: 100-continue\r\nConnection: close\r\n\r\n");
        let text = answer(send(address, &asks).await).await;
        assert!(text.starts_with("HTTP/1.1 413 "), "{text}");
    }

    #[tokio::test]
    async fn at_a_stop_idle_connections_end_at_once() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
        let serving = tokio::spawn(serve(listener, Router::new(), LIMITS, stop.clone()));
        let idle = TcpStream::connect(address).await.unwrap();
        stop.cancel();
        timeout(PATIENCE, serving).await.expect("it does not wait for them").unwrap();
        drop(idle);
    }
}
