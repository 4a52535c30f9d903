//! A connection to a target, over which one request after the other is sent.

use std::io::Cursor;

use anyhow::{Context, Result, ensure};
use e2e::servers::connect;
use futures_util::SinkExt;
use mysql_async::{Conn, prelude::Queryable};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_postgres::{Client, NoTls};

use super::Bare;

/// Where the requests of a kind go.
pub(super) enum Connection {
    Mysql(Conn),
    Insert(Client),
    Copy(Client),
    Http(TcpStream),
    Redis(TcpStream),
}

impl Connection {
    /// Connects to `host:port`.
    pub(super) async fn open(bare: Bare, address: &str) -> Result<Self> {
        Ok(match bare {
            Bare::MysqlInsert => Self::Mysql(connect(&format!("mysql://root@{address}")).await?),
            Bare::PostgresInsert => Self::Insert(postgres(address).await?),
            Bare::PostgresCopy => Self::Copy(postgres(address).await?),
            Bare::Bulk => Self::Http(tcp(address).await?),
            Bare::RedisSet | Bare::RedisUnlink => Self::Redis(tcp(address).await?),
        })
    }

    /// Sends a request, and waits until the target has done it.
    pub(super) async fn send(&mut self, request: &str) -> Result<()> {
        match self {
            Self::Mysql(conn) => Ok(conn.query_drop(request).await?),
            Self::Insert(client) => Ok(client.batch_execute(request).await?),
            Self::Copy(client) => copy(client, request).await,
            Self::Http(stream) => bulk(stream, request).await,
            Self::Redis(stream) => redis(stream, request).await,
        }
    }
}

async fn tcp(address: &str) -> Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn postgres(address: &str) -> Result<Client> {
    let (host, port) = address.rsplit_once(':').context("not host:port")?;
    let config = format!("host={host} port={port} user=postgres dbname=postgres");
    let (client, connection) = tokio_postgres::connect(&config, NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

async fn copy(client: &Client, rows: &str) -> Result<()> {
    let mut sink = Box::pin(client.copy_in("COPY copy.t FROM STDIN").await?);
    sink.send(Cursor::new(rows.as_bytes().to_vec())).await?;
    sink.as_mut().finish().await?;
    Ok(())
}

/// The answer has a `Content-Length`.
async fn bulk(stream: &mut TcpStream, request: &str) -> Result<()> {
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    loop {
        ensure!(stream.read_buf(&mut answer).await? > 0, "the connection was closed");
        let text = str::from_utf8(&answer)?;
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let head = head.to_lowercase();
        let length = head.split("content-length: ").nth(1).context("no length")?;
        let length: usize = length.lines().next().unwrap_or_default().trim().parse()?;
        if body.len() >= length {
            ensure!(body == "{\"errors\":false}", "{text}");
            return Ok(());
        }
    }
}

/// A pipeline is answered by a line for each command: `+OK`, or a number of keys.
async fn redis(stream: &mut TcpStream, request: &str) -> Result<()> {
    stream.write_all(request.as_bytes()).await?;
    let commands = if request.starts_with("*3\r\n$3\r\nSET") {
        request.matches("\r\nSET\r\n").count()
    } else {
        1
    };
    let (mut answer, mut lines) = (Vec::with_capacity(1 << 14), 0);
    while lines < commands {
        answer.clear();
        ensure!(stream.read_buf(&mut answer).await? > 0, "the connection was closed");
        lines += answer.iter().filter(|byte| **byte == b'\n').count();
        ensure!(!answer.contains(&b'-'), "{}", String::from_utf8_lossy(&answer));
    }
    Ok(())
}
