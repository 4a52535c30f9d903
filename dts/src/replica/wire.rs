//! The replication connection, which is our own code: log-in, a few statements, then packets.
//!
//! We do not use mysql_async here: it unpacks a whole compressed transaction into memory, and hides
//! errors of that, before anybody sees the event (`docs/decisions/replication-connection.md`).

mod answers;
mod login;
mod packets;
mod tls;

use std::{io, time::Duration};

use bytes::Bytes;
use mysql_async::{DriverError, IoError, ServerError, consts::CapabilityFlags};
use mysql_common::packets::{ComRegisterSlave, binlog_request::BinlogRequest};
use tokio::net::TcpStream;

use self::{answers::Refusal, login::serialized, packets::Packets};
use super::pulse::Pulse;
use crate::config::SourceConfig;

pub(super) use self::packets::{MAX_PACKET_BYTES, MAX_SILENCE};

type Result<T> = std::result::Result<T, mysql_async::Error>;

/// A connection that has logged in.
pub(super) struct Wire {
    packets: Packets,
}

impl Wire {
    /// Connects to an address, with user, password and TLS of the config.
    pub(super) async fn connect((host, port): (&str, u16), config: &SourceConfig) -> Result<Self> {
        let socket = TcpStream::connect((host, port)).await.map_err(io_error)?;
        socket.set_nodelay(true).map_err(io_error)?;
        let mut packets = Packets::new(socket, MAX_SILENCE);
        login::log_in(&mut packets, host, config).await?;
        Ok(Self { packets })
    }

    /// Runs a statement without result rows.
    pub(super) async fn execute(&mut self, statement: &str) -> Result<()> {
        self.query(statement).await?;
        Ok(())
    }

    /// Runs a statement whose result is one text.
    pub(super) async fn text(&mut self, statement: &str) -> Result<String> {
        let first = self.query(statement).await?;
        let mut ends = 0;
        let mut text = None;
        // Columns, an end, rows, an end.
        while first.as_ref() == [1] && ends < 2 {
            let packet = self.next().await?;
            match packet.as_ref() {
                [0xfe, rest @ ..] if rest.len() < 8 => ends += 1,
                [0xff, ..] => return Err(server_error(&packet)),
                row if ends == 1 => text = answers::first_text(row),
                _ => {}
            }
        }
        text.ok_or_else(|| DriverError::UnexpectedPacket { payload: first.to_vec() }.into())
    }

    /// Registers as a replica.
    pub(super) async fn register(&mut self, server_id: u32) -> Result<()> {
        let register = serialized(&ComRegisterSlave::new(server_id));
        self.answered(&register).await.map(drop)
    }

    /// Registers as a replica and requests the binlog. [`Self::next`] then returns what comes.
    pub(super) async fn dump(&mut self, request: &BinlogRequest<'_>) -> Result<()> {
        self.register(request.server_id()).await?;
        self.packets.command(&serialized(&request.as_cmd())).await.map_err(io_error)
    }

    /// From now on the connection may be silent for this long.
    pub(super) fn allow_silence(&mut self, max: Duration) {
        self.packets.allow_silence(max);
    }

    /// When the last bytes came.
    pub(super) fn pulse(&self) -> &Pulse {
        self.packets.pulse()
    }

    /// The next packet. Cancel-safe.
    pub(super) async fn next(&mut self) -> Result<Bytes> {
        self.packets.next().await.map_err(io_error)
    }

    /// The next packet, if all of it is in the buffer.
    pub(super) fn buffered(&mut self) -> Result<Option<Bytes>> {
        self.packets.buffered().map_err(io_error)
    }

    async fn query(&mut self, statement: &str) -> Result<Bytes> {
        const QUERY: &[u8] = &[3];
        self.answered(&[QUERY, statement.as_bytes()].concat()).await
    }

    async fn answered(&mut self, command: &[u8]) -> Result<Bytes> {
        self.packets.command(command).await.map_err(io_error)?;
        let answer = self.next().await?;
        if answer.first() == Some(&0xff) { Err(server_error(&answer)) } else { Ok(answer) }
    }
}

/// The error in a packet that begins with 0xff.
pub(super) fn server_error(packet: &[u8]) -> mysql_async::Error {
    error_of(packet, CapabilityFlags::CLIENT_PROTOCOL_41)
}

fn error_of(packet: &[u8], capabilities: CapabilityFlags) -> mysql_async::Error {
    match Refusal::read(packet, capabilities) {
        Some(Refusal { code, message, state }) => {
            mysql_async::Error::Server(ServerError { code, message, state })
        }
        None => DriverError::UnexpectedPacket { payload: packet.to_vec() }.into(),
    }
}

fn io_error(error: io::Error) -> mysql_async::Error {
    mysql_async::Error::Io(IoError::Io(error))
}
