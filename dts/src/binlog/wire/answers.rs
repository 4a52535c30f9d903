//! What a server's packets say while it lets us in and answers statements: bytes to fields, no
//! more ("Connection Phase" and "Text Resultset" in the MySQL source documentation).

use std::io;

use mysql_common::{
    constants::CapabilityFlags,
    io::ParseBuf,
    packets::{AuthPlugin, AuthSwitchRequest, ErrPacket, HandshakePacket},
};

/// Bytes of the server's challenge.
const NONCE_BYTES: usize = 20;

/// What the server says first.
#[derive(Debug)]
pub(crate) struct Greeting {
    pub(crate) capabilities: CapabilityFlags,
    pub(crate) challenge: Challenge,
}

/// How the server wants to know us.
#[derive(Debug)]
pub(crate) struct Challenge {
    pub(crate) plugin: AuthPlugin<'static>,
    pub(crate) nonce: Vec<u8>,
}

/// Why the server refuses.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) code: u16,
    pub(crate) message: String,
    pub(crate) state: String,
}

impl Greeting {
    /// Reads the first packet of a connection.
    pub(crate) fn read(packet: &[u8]) -> io::Result<Self> {
        let greeting: HandshakePacket<'_> = ParseBuf(packet).parse(())?;
        let plugin = match greeting.auth_plugin() {
            Some(AuthPlugin::CachingSha2Password) => AuthPlugin::CachingSha2Password,
            _ => AuthPlugin::MysqlNativePassword,
        };
        let second = greeting.scramble_2_ref().unwrap_or_default();
        let nonce = nonce(&[greeting.scramble_1_ref(), second].concat());
        let challenge = Challenge { plugin, nonce };
        Ok(Self { capabilities: greeting.capabilities(), challenge })
    }
}

impl Challenge {
    /// Reads an AuthSwitchRequest: another plugin than the one that the greeting named.
    pub(crate) fn read(packet: &[u8]) -> io::Result<Self> {
        let request: AuthSwitchRequest<'_> = ParseBuf(packet).parse(())?;
        let (plugin, nonce) = (request.auth_plugin().into_owned(), nonce(request.plugin_data()));
        Ok(Self { plugin, nonce })
    }

    /// The name of a plugin that we do not have.
    pub(crate) fn unknown_plugin(&self) -> Option<String> {
        match &self.plugin {
            AuthPlugin::CachingSha2Password | AuthPlugin::MysqlNativePassword => None,
            other => Some(String::from_utf8_lossy(other.as_bytes()).into_owned()),
        }
    }
}

impl Refusal {
    /// Reads a packet that begins with 0xff; `None` when it is damaged.
    pub(crate) fn read(packet: &[u8], capabilities: CapabilityFlags) -> Option<Self> {
        let ErrPacket::Error(error) = ParseBuf(packet).parse(capabilities).ok()? else {
            return None;
        };
        let state = error.sql_state_ref().map(|state| state.as_str().into_owned());
        let (code, message) = (error.error_code(), error.message_str().into_owned());
        Some(Self { code, message, state: state.unwrap_or_default() })
    }
}

/// The first value of a row that is no NULL.
pub(crate) fn first_text(row: &[u8]) -> Option<String> {
    let value = ParseBuf(row).checked_eat_lenenc_str()?;
    Some(String::from_utf8_lossy(value).into_owned())
}

/// The challenge without the zero at its end.
fn nonce(bytes: &[u8]) -> Vec<u8> {
    let mut nonce = bytes.to_vec();
    nonce.resize(NONCE_BYTES, 0);
    nonce
}
