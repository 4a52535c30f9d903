//! Logging in: the server's greeting, TLS, and the answers for the authentication plugins
//! ("Connection Phase" in the MySQL source documentation).

use std::panic::{AssertUnwindSafe, catch_unwind};

use mysql_async::{DriverError, consts::CapabilityFlags};
use mysql_common::{
    crypto,
    packets::{HandshakeResponse, SslRequest},
    proto::MySerialize,
};

use service::Secret;

use super::{
    Result,
    answers::{Challenge, Greeting},
    error_of, io_error,
    packets::{MAX_PACKET_BYTES, Packets},
    tls,
};
use crate::config::{SourceConfig, TlsMode};

/// utf8mb4_general_ci
const COLLATION: u8 = 45;

/// Logs in over a new connection to `host`.
pub(super) async fn log_in(packets: &mut Packets, host: &str, config: &SourceConfig) -> Result<()> {
    let greeting = packets.next().await.map_err(io_error)?;
    if greeting.first() == Some(&0xff) {
        return Err(error_of(&greeting, CapabilityFlags::empty()));
    }
    let greeting = Greeting::read(&greeting).map_err(io_error)?;
    let mut wanted = CapabilityFlags::CLIENT_PROTOCOL_41
        | CapabilityFlags::CLIENT_SECURE_CONNECTION
        | CapabilityFlags::CLIENT_LONG_PASSWORD
        | CapabilityFlags::CLIENT_TRANSACTIONS
        | CapabilityFlags::CLIENT_PLUGIN_AUTH;
    wanted.set(CapabilityFlags::CLIENT_SSL, config.tls.mode != TlsMode::Off);
    let capabilities = greeting.capabilities & wanted;
    if wanted.contains(CapabilityFlags::CLIENT_SSL) {
        encrypt(packets, capabilities, host, config).await?;
    }
    let password = config.password.as_ref().map(Secret::renewed);
    let mut login = Login {
        packets,
        password: password.as_ref().map(Secret::expose),
        challenge: greeting.challenge,
        is_secure: config.tls.mode != TlsMode::Off,
    };
    login.respond(&config.user, capabilities).await?;
    login.finish().await
}

async fn encrypt(
    packets: &mut Packets,
    capabilities: CapabilityFlags,
    host: &str,
    config: &SourceConfig,
) -> Result<()> {
    if !capabilities.contains(CapabilityFlags::CLIENT_SSL) {
        return Err(DriverError::NoClientSslFlagFromServer.into());
    }
    let (connector, name) = (tls::connector(&config.tls)?, tls::server_name(host)?);
    let request = SslRequest::new(capabilities, MAX_PACKET_BYTES as u32, COLLATION);
    packets.write(&serialized(&request)).await.map_err(io_error)?;
    packets.secure(&connector, name).await.map_err(io_error)
}

struct Login<'a> {
    packets: &'a mut Packets,
    password: Option<&'a str>,
    challenge: Challenge,
    is_secure: bool,
}

impl Login<'_> {
    async fn respond(&mut self, user: &str, capabilities: CapabilityFlags) -> Result<()> {
        let answer = self.answer();
        let response = HandshakeResponse::new(
            Some(answer),
            (8, 0, 0),
            Some(user.as_bytes()),
            None::<&[u8]>,
            Some(self.challenge.plugin.borrow()),
            capabilities,
            None,
            MAX_PACKET_BYTES as u32,
        );
        self.packets.write(&serialized(&response)).await.map_err(io_error)
    }

    /// Answers until the server lets us in or refuses.
    async fn finish(&mut self) -> Result<()> {
        const SWITCH: u8 = 0xfe;
        const MORE: u8 = 1;
        const FAST_WAY_DONE: u8 = 3;
        const PASSWORD_WANTED: u8 = 4;
        loop {
            let packet = self.packets.next().await.map_err(io_error)?;
            match packet.as_ref() {
                [0, ..] => return Ok(()),
                [0xff, ..] => return Err(error_of(&packet, CapabilityFlags::CLIENT_PROTOCOL_41)),
                [SWITCH, _, ..] => self.switch(&packet).await?,
                [MORE, FAST_WAY_DONE] => {}
                [MORE, PASSWORD_WANTED] => self.send_password().await?,
                other => {
                    return Err(DriverError::UnexpectedPacket { payload: other.to_vec() }.into());
                }
            }
        }
    }

    async fn switch(&mut self, packet: &[u8]) -> Result<()> {
        self.challenge = Challenge::read(packet).map_err(io_error)?;
        if let Some(name) = self.challenge.unknown_plugin() {
            return Err(DriverError::UnknownAuthPlugin { name }.into());
        }
        let answer = self.answer();
        self.packets.write(&answer).await.map_err(io_error)
    }

    fn answer(&self) -> Vec<u8> {
        let Challenge { plugin, nonce } = &self.challenge;
        let answer = plugin.gen_data(self.password, nonce);
        answer.map(|answer| answer.to_vec()).unwrap_or_default()
    }

    /// The server does not have the password's hash: the password goes in clear under TLS, or else
    /// encrypted with the server's public key.
    async fn send_password(&mut self) -> Result<()> {
        const KEY_WANTED: &[u8] = &[2];
        let mut password = self.password.unwrap_or_default().as_bytes().to_vec();
        password.push(0);
        if !self.is_secure {
            self.packets.write(KEY_WANTED).await.map_err(io_error)?;
            let answer = self.packets.next().await.map_err(io_error)?;
            let key = answer.get(1..).unwrap_or_default();
            let nonce = self.challenge.nonce.iter().cycle();
            password.iter_mut().zip(nonce).for_each(|(to, with)| *to ^= with);
            // The library panics on bytes that are not a key.
            let sealed = catch_unwind(AssertUnwindSafe(|| crypto::encrypt(&password, key)));
            password = sealed.map_err(|_| {
                mysql_async::Error::from(DriverError::UnexpectedPacket { payload: answer.to_vec() })
            })?;
        }
        self.packets.write(&password).await.map_err(io_error)
    }
}

pub(super) fn serialized(packet: &impl MySerialize) -> Vec<u8> {
    let mut bytes = Vec::new();
    packet.serialize(&mut bytes);
    bytes
}
