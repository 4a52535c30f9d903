//! Packets of MySQL's protocol over a socket: framed, numbered, and joined if one comes in pieces
//! ("Protocol Basics", "MySQL Packets" in the MySQL source documentation).

use std::{
    io::{self, ErrorKind},
    time::Duration,
};

use bytes::{Buf, Bytes, BytesMut};
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::Instant,
};
use tokio_rustls::TlsConnector;

use crate::replica::Pulse;

/// The largest packet that MySQL may send: its own limit.
pub(crate) const MAX_PACKET_BYTES: usize = 1 << 30;

/// If no byte comes for this long, while one is waited for, the connection counts as dead. An idle
/// server sends heartbeats more often.
pub(crate) const MAX_SILENCE: Duration = Duration::from_secs(15);

/// A piece of this length is followed by another piece.
const MAX_PIECE_BYTES: usize = 0xff_ffff;

/// The length and the number before each piece.
const HEAD_BYTES: usize = 4;

/// The room for one read. Small events come many at a time.
const READ_BYTES: usize = 256 << 10;

/// With less room than this, a read is not worth its system call.
const MIN_ROOM_BYTES: usize = 16 << 10;

/// After a pause in waiting, the time to look for bytes that came meanwhile.
const GRACE: Duration = Duration::from_secs(1);

/// What carries the bytes: TCP, or TLS over it.
pub(super) trait Socket: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Socket for T {}

/// Both directions of a connection.
pub(super) struct Packets {
    socket: Box<dyn Socket>,
    /// Bytes that were read and not taken. Packets are slices of them, so nothing is copied.
    buffer: BytesMut,
    /// Whether the buffer was enlarged for a large packet.
    is_grown: bool,
    /// The number of the next piece, from either side.
    number: u8,
    /// The pieces so far, of a packet with several pieces.
    pieces: BytesMut,
    silence: Silence,
}

/// Since when no byte has come. Only a byte ends the silence; a new wait does not.
struct Silence {
    max: Duration,
    pulse: Pulse,
    /// When the silence was first found to be too long, plus a grace time.
    until: Option<Instant>,
}

impl Silence {
    fn new(max: Duration, now: Instant) -> Self {
        Self { max, pulse: Pulse::new(now), until: None }
    }

    fn ends(&mut self, now: Instant) {
        self.pulse.beat(now);
        self.until = None;
    }

    /// When the silence becomes too long.
    fn deadline(&mut self, now: Instant) -> Instant {
        let due = self.pulse.last() + self.max;
        if now < due {
            return due;
        }
        *self.until.get_or_insert(now + GRACE)
    }
}

impl Packets {
    /// If no byte comes for `max_silence`, while one is waited for, the connection counts as dead.
    pub(super) fn new(socket: impl Socket + 'static, max_silence: Duration) -> Self {
        Self {
            socket: Box::new(socket),
            buffer: BytesMut::new(),
            is_grown: false,
            number: 0,
            pieces: BytesMut::new(),
            silence: Silence::new(max_silence, Instant::now()),
        }
    }

    /// From now on the connection may be silent for this long.
    pub(super) fn allow_silence(&mut self, max: Duration) {
        self.silence.max = max;
    }

    /// When the last bytes came.
    pub(super) fn pulse(&self) -> &Pulse {
        &self.silence.pulse
    }

    /// Continues with encryption.
    pub(super) async fn secure(
        &mut self,
        connector: &TlsConnector,
        name: ServerName<'static>,
    ) -> io::Result<()> {
        if !self.buffer.is_empty() {
            return Err(invalid("the server sent more before TLS than the protocol allows"));
        }
        let plain = std::mem::replace(&mut self.socket, Box::new(tokio::io::empty()));
        self.socket = Box::new(connector.connect(name, plain).await?);
        Ok(())
    }

    /// Sends the first packet of an exchange.
    pub(super) async fn command(&mut self, payload: &[u8]) -> io::Result<()> {
        self.number = 0;
        self.write(payload).await
    }

    /// Sends a packet.
    pub(super) async fn write(&mut self, payload: &[u8]) -> io::Result<()> {
        if payload.len() >= MAX_PIECE_BYTES {
            return Err(invalid("a request of more than 16 MiB"));
        }
        let [a, b, c, ..] = payload.len().to_le_bytes();
        let mut framed = Vec::with_capacity(HEAD_BYTES + payload.len());
        framed.extend_from_slice(&[a, b, c, self.number]);
        framed.extend_from_slice(payload);
        self.number = self.number.wrapping_add(1);
        self.socket.write_all(&framed).await?;
        self.socket.flush().await
    }

    /// Waits for the next packet. Cancel-safe: bytes that have arrived are kept.
    pub(super) async fn next(&mut self) -> io::Result<Bytes> {
        loop {
            if let Some(packet) = self.buffered()? {
                return Ok(packet);
            }
            self.make_room();
            let deadline = self.silence.deadline(Instant::now());
            let read = self.socket.read_buf(&mut self.buffer);
            match tokio::time::timeout_at(deadline, read).await {
                Ok(Ok(1..)) => self.silence.ends(Instant::now()),
                Ok(Ok(0)) => {
                    let text = "the connection was closed";
                    return Err(io::Error::new(ErrorKind::UnexpectedEof, text));
                }
                Ok(Err(error)) => return Err(error),
                Err(_) => return Err(self.is_silent()),
            }
        }
    }

    fn is_silent(&self) -> io::Error {
        let seconds = self.silence.pulse.last().elapsed().as_secs();
        let text = format!("no event and no heartbeat for {seconds} s: not one byte came");
        io::Error::new(ErrorKind::TimedOut, text)
    }

    /// The next packet, if all of it is in the buffer.
    pub(super) fn buffered(&mut self) -> io::Result<Option<Bytes>> {
        while let Some(length) = self.piece_length()
            && self.buffer.len() >= HEAD_BYTES + length
        {
            if self.buffer[HEAD_BYTES - 1] != self.number {
                return Err(invalid("a packet is missing or came twice"));
            }
            self.number = self.number.wrapping_add(1);
            self.buffer.advance(HEAD_BYTES);
            let piece = self.buffer.split_to(length);
            if length < MAX_PIECE_BYTES && self.pieces.is_empty() {
                return Ok(Some(piece.freeze()));
            }
            if self.pieces.len() + length > MAX_PACKET_BYTES {
                return Err(invalid("a packet of more than 1 GiB"));
            }
            self.pieces.extend_from_slice(&piece);
            if length < MAX_PIECE_BYTES {
                return Ok(Some(std::mem::take(&mut self.pieces).freeze()));
            }
        }
        Ok(None)
    }

    fn piece_length(&self) -> Option<usize> {
        let [a, b, c, _] = *self.buffer.first_chunk::<HEAD_BYTES>()?;
        Some(u32::from_le_bytes([a, b, c, 0]) as usize)
    }

    /// Makes room for the rest of the current piece, and for more bytes that may come with it.
    fn make_room(&mut self) {
        let whole = self.piece_length().map_or(0, |length| HEAD_BYTES + length);
        let missing = whole.saturating_sub(self.buffer.len());
        if self.is_grown && missing < READ_BYTES {
            // The memory of a large packet is given back.
            self.buffer = BytesMut::from(self.buffer.as_ref());
            self.is_grown = false;
        }
        let room = self.buffer.capacity() - self.buffer.len();
        if room < missing.max(MIN_ROOM_BYTES) {
            self.buffer.reserve(missing.max(READ_BYTES));
            self.is_grown |= missing > READ_BYTES;
        }
    }
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framed(payload: &[u8], number: &mut u8) -> Vec<u8> {
        let mut out = Vec::new();
        let mut rest = payload;
        loop {
            let piece = &rest[..rest.len().min(MAX_PIECE_BYTES)];
            out.extend_from_slice(&(piece.len() as u32).to_le_bytes()[..3]);
            out.push(*number);
            out.extend_from_slice(piece);
            *number = number.wrapping_add(1);
            rest = &rest[piece.len()..];
            if piece.len() < MAX_PIECE_BYTES {
                return out;
            }
        }
    }

    fn packets_of(bytes: Vec<u8>) -> Packets {
        let socket = tokio::io::join(io::Cursor::new(bytes), tokio::io::sink());
        Packets::new(socket, Duration::from_secs(15))
    }

    #[test]
    fn silence_counts_from_the_last_byte_and_a_new_wait_has_a_moment_to_look() {
        let seconds = Duration::from_secs;
        let begun = Instant::now();
        let mut silence = Silence::new(seconds(15), begun);
        for passed in [0, 4, 8, 12, 14] {
            assert_eq!(silence.deadline(begun + seconds(passed)), begun + seconds(15));
        }
        let late = begun + seconds(60);
        for passed in [0, 300, 600, 900] {
            let now = late + Duration::from_millis(passed);
            assert_eq!(silence.deadline(now), late + GRACE, "it is not renewed by looking");
        }
        silence.ends(late);
        assert_eq!(silence.deadline(late + seconds(1)), late + seconds(15));
    }

    #[tokio::test]
    async fn a_dead_connection_is_noticed_however_often_its_wait_is_cancelled() {
        let (ours, _theirs) = tokio::io::duplex(64);
        let mut packets = Packets::new(ours, Duration::from_millis(300));
        // As the other branches of a select do.
        let called_off = async {
            loop {
                let step = Duration::from_millis(20);
                if let Ok(packet) = tokio::time::timeout(step, packets.next()).await {
                    return packet;
                }
            }
        };
        let noticed = tokio::time::timeout(Duration::from_secs(60), called_off).await;
        assert_eq!(noticed.unwrap().unwrap_err().kind(), ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn a_packet_may_take_longer_than_silence_may_last() {
        let (ours, mut theirs) = tokio::io::duplex(64);
        let max = Duration::from_secs(2);
        let mut packets = Packets::new(ours, max);
        let begun = Instant::now();
        let sent = framed(b"slow", &mut 0);
        tokio::spawn(async move {
            for byte in sent {
                tokio::time::sleep(max / 6).await;
                theirs.write_all(&[byte]).await.unwrap();
            }
        });
        assert_eq!(packets.next().await.unwrap(), "slow");
        assert!(begun.elapsed() > max, "{:?}", begun.elapsed());
    }

    #[tokio::test]
    async fn packets_of_every_length_arrive_whole_and_in_order() {
        let lengths = [0, 1, 4, 300, 70_000, MAX_PIECE_BYTES - 1, MAX_PIECE_BYTES, 40_000_000, 5];
        let mut number = 0;
        let mut bytes = Vec::new();
        for (at, length) in lengths.iter().enumerate() {
            bytes.extend(framed(&vec![at as u8; *length], &mut number));
        }
        let mut packets = packets_of(bytes);
        for (at, length) in lengths.iter().enumerate() {
            let packet = packets.next().await.unwrap();
            assert_eq!(packet.len(), *length);
            assert!(packet.iter().all(|byte| *byte == at as u8));
        }
        assert_eq!(packets.next().await.unwrap_err().kind(), ErrorKind::UnexpectedEof);
        assert!(!packets.is_grown);
    }

    #[tokio::test]
    async fn a_packet_that_is_missing_is_noticed() {
        let bytes = [framed(b"a", &mut 0), framed(b"b", &mut 2)].concat();
        let mut packets = packets_of(bytes);
        assert_eq!(packets.next().await.unwrap(), "a");
        assert_eq!(packets.next().await.unwrap_err().kind(), ErrorKind::InvalidData);
    }
}
