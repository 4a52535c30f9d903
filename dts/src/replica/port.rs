//! Whether a server that was down is up again: its port answers.

use std::time::Duration;

use tokio::net::TcpStream;

/// The time between two looks.
const INTERVAL: Duration = Duration::from_millis(500);

/// How long a port may take to answer.
const MAX_WAIT: Duration = Duration::from_secs(1);

/// Waits until an address answers that did not answer before. An address that answers all the time
/// is not looked at again: its server is not down.
pub(super) async fn opened(addresses: &[(String, u16)]) {
    let mut were_closed = vec![false; addresses.len()];
    loop {
        for ((host, port), was_closed) in addresses.iter().zip(&mut were_closed) {
            let connecting = TcpStream::connect((host.as_str(), *port));
            let is_open = matches!(tokio::time::timeout(MAX_WAIT, connecting).await, Ok(Ok(_)));
            if is_open && *was_closed {
                return;
            }
            *was_closed |= !is_open;
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn only_a_port_that_was_closed_counts_when_it_opens() {
        let open = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (one, other) = (open.local_addr().unwrap(), closed.local_addr().unwrap());
        drop(closed);
        let of = |address: std::net::SocketAddr| (address.ip().to_string(), address.port());
        let addresses = [of(one), of(other)];
        let waiting = opened(&addresses);
        tokio::pin!(waiting);
        let looked = tokio::time::timeout(INTERVAL * 4, &mut waiting).await;
        assert!(looked.is_err(), "one was open all the time, the other is closed");
        let _open_now = TcpListener::bind(other).await.unwrap();
        tokio::time::timeout(Duration::from_secs(60), waiting).await.unwrap();
    }
}
