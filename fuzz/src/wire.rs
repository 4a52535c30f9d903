//! What is read of a server's packets before they are events of a binlog.

use std::{
    io::Cursor,
    pin::pin,
    sync::OnceLock,
    task::{Context, Poll, Waker},
    time::Duration,
};

use binlog::{Checksum, EventHeader};
use mysql_common::constants::CapabilityFlags;
use tokio::{
    io::AsyncReadExt as _,
    runtime::{Builder, Runtime},
};

use crate::{Event, decode_all};

// These two files alone: all of `dts` would be ten minutes of building TLS and gRPC with a compiler
// that nothing else uses.
#[path = "../../dts/src/replica/wire/answers.rs"]
mod answers;
#[path = "../../dts/src/replica/wire/packets.rs"]
#[expect(dead_code, reason = "nothing is sent here")]
mod packets;

/// What the packets wait for at most; nothing waits here.
const MAX_SILENCE: Duration = Duration::from_secs(60);

/// Has the timers that a wait with a deadline needs.
fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| Builder::new_current_thread().enable_time().build().expect("a runtime"))
}

/// Reads what a server sends, arriving in two parts, until it is refused; says how many bytes the
/// packets have.
pub fn read_stream(first: &[u8], second: &[u8]) -> usize {
    let _timers = runtime().enter();
    let arriving = Cursor::new(first.to_vec()).chain(Cursor::new(second.to_vec()));
    let socket = tokio::io::join(arriving, tokio::io::sink());
    let mut packets = packets::Packets::new(socket, MAX_SILENCE);
    let mut checksum = Checksum::default();
    let mut read = Vec::new();
    // What is read is there already, so that nothing waits.
    while let Poll::Ready(Ok(packet)) =
        pin!(packets.next()).poll(&mut Context::from_waker(Waker::noop()))
    {
        read_answer(&packet);
        read.push(packet);
    }
    let events = read.iter().filter_map(|packet| event(packet, &mut checksum));
    decode_all(events);
    read.iter().map(|packet| packet.len()).sum()
}

/// As what each packet of a log-in or of an answer could be.
fn read_answer(packet: &[u8]) {
    if let Ok(greeting) = answers::Greeting::read(packet) {
        drop((greeting.challenge.unknown_plugin(), greeting.capabilities));
    }
    if let Ok(challenge) = answers::Challenge::read(packet) {
        assert_eq!(challenge.nonce.len(), 20);
        drop(challenge.unknown_plugin());
    }
    for capabilities in [CapabilityFlags::empty(), CapabilityFlags::CLIENT_PROTOCOL_41] {
        if let Some(answers::Refusal { code, message, state }) =
            answers::Refusal::read(packet, capabilities)
        {
            drop((code, message, state));
        }
    }
    answers::first_text(packet);
}

/// The event of a packet, as the stream takes it.
fn event<'a>(packet: &'a [u8], checksum: &mut Checksum) -> Option<Event<'a>> {
    let event = packet.strip_prefix(b"\0")?;
    let header = EventHeader::read(event).ok()?;
    if header.size as usize != event.len() {
        return None;
    }
    let length = checksum.check(&header, event)?;
    Some((header, event.get(EventHeader::LEN..length)?))
}
