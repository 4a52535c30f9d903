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
    request(port, (method, path), "").await
}

/// The same with a body in JSON, which may be empty.
///
/// # Errors
///
/// When nobody answers.
pub async fn request(port: u16, (method, path): (&str, &str), body: &str) -> Result<(u16, String)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let kind = if body.is_empty() { "" } else { "Content-Type: application/json\r\n" };
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{kind}Content-Length: {}\r\n\
         Connection: close\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no end of the headers")?;
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    let is_chunked = head.to_lowercase().contains("transfer-encoding: chunked");
    let body = if is_chunked { without_chunks(body)? } else { body.to_owned() };
    Ok((status.context("no status")?, body))
}

/// A body that came in chunks, each with its size before it (RFC 9112, section 7.1).
fn without_chunks(mut body: &str) -> Result<String> {
    let mut whole = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).context("the size of a chunk")?;
        if size == 0 {
            break;
        }
        whole.push_str(rest.get(..size).context("a chunk is cut off")?);
        body = rest.get(size + 2..).context("a chunk has no end")?;
    }
    Ok(whole)
}
