//! Requests to the programs, by hand: small ones need no client library.

use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// What is answered to a GET, as JSON.
pub(crate) async fn get(port: u16, path: &str) -> Result<Value> {
    const LIMIT: Duration = Duration::from_secs(10);
    let body = tokio::time::timeout(LIMIT, fetch(port, path)).await??;
    serde_json::from_str(&body).with_context(|| format!("{path} answered {body}"))
}

/// What is answered to a GET, as text.
pub(crate) async fn fetch(port: u16, path: &str) -> Result<String> {
    Ok(call(port, "GET", path).await?.1)
}

/// What is answered to a request: the status, and the body.
///
/// # Errors
///
/// When nobody answers.
pub async fn call(port: u16, method: &str, path: &str) -> Result<(u16, String)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Length: 0\r\n\
         Connection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no end of the headers")?;
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    Ok((status.context("no status")?, body.to_owned()))
}
