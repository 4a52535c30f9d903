//! Takes connections. A process that may open no more files takes none, says so, and goes on when
//! some are closed: tonic would try again at once, and without a word.

use std::{io, time::Duration};

use futures_util::Stream;
use tokio::net::{TcpListener, TcpStream};
use tracing::{error, info};

/// How often it is tried again.
const RETRY: Duration = Duration::from_millis(100);

/// All connections, without end.
pub(super) fn incoming(listener: TcpListener) -> impl Stream<Item = io::Result<TcpStream>> {
    futures_util::stream::unfold((listener, false), async |(listener, mut is_told)| {
        loop {
            match listener.accept().await {
                Ok((connection, _)) => {
                    if is_told {
                        info!("connections are taken again");
                    }
                    // A connection that is gone already is found out when it is read.
                    let _ = connection.set_nodelay(true);
                    return Some((Ok(connection), (listener, false)));
                }
                Err(problem) if is_of_connection(&problem) => {}
                Err(problem) => {
                    if !is_told {
                        let remedy = "close connections, or let this process open more files \
                                      (ulimit -n, LimitNOFILE of systemd)";
                        error!(%problem, remedy, "no connection can be taken now");
                    }
                    is_told = true;
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    })
}

/// Whether only this connection failed, before it was taken.
fn is_of_connection(problem: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(problem.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}
