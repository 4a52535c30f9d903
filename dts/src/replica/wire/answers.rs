//! What a server's packets say while it lets us in and answers statements: only the reading of
//! bytes into fields ("Connection Phase" and "Text Resultset" in the MySQL source documentation).

use std::io::{self, ErrorKind};

use mysql_common::{
    constants::CapabilityFlags,
    io::ParseBuf,
    packets::{AuthPlugin, AuthSwitchRequest, ErrPacket},
};

/// Bytes of the server's challenge.
const NONCE_BYTES: usize = 20;

/// The server's first packet.
#[derive(Debug)]
pub(crate) struct Greeting {
    pub(crate) capabilities: CapabilityFlags,
    pub(crate) challenge: Challenge,
}

/// How the server wants us to prove who we are.
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
    /// Reads the first packet of a connection ("Protocol::HandshakeV10"). mysql_common could do
    /// this, but its arithmetic overflows on an impossible length of the challenge.
    pub(crate) fn read(packet: &[u8]) -> io::Result<Self> {
        let wrong =
            || io::Error::new(ErrorKind::InvalidData, "the server's greeting is not MySQL's");
        Self::read_fields(packet).ok_or_else(wrong)
    }

    fn read_fields(packet: &[u8]) -> Option<Self> {
        const VERSION: u8 = 10;
        const AFTER_CAPABILITIES: usize = 3;
        const RESERVED: usize = 10;
        let rest = packet.strip_prefix(&[VERSION])?;
        let version_end = rest.iter().position(|byte| *byte == 0)?;
        let mut rest = ParseBuf(rest.get(version_end + 1..)?);
        rest.checked_eat_u32_le()?;
        let first = rest.checked_eat(8)?;
        rest.checked_eat_u8()?;
        let low = rest.checked_eat_u16_le()?;
        rest.checked_eat(AFTER_CAPABILITIES)?;
        let high = rest.checked_eat_u16_le()?;
        let capabilities =
            CapabilityFlags::from_bits_truncate(u32::from(low) | (u32::from(high) << 16));
        let length = usize::from(rest.checked_eat_u8()?);
        rest.checked_eat(RESERVED)?;
        // At least twelve bytes and a zero, if the server knows challenges of that length.
        let is_long = capabilities.contains(CapabilityFlags::CLIENT_SECURE_CONNECTION);
        let second =
            rest.checked_eat(if is_long { length.saturating_sub(8).max(13) } else { 0 })?;
        let named = rest.eat_all();
        let plugin = match named.strip_suffix(&[0]).unwrap_or(named) {
            b"caching_sha2_password" => AuthPlugin::CachingSha2Password,
            _ => AuthPlugin::MysqlNativePassword,
        };
        let challenge = Challenge { plugin, nonce: nonce(&[first, second].concat()) };
        Some(Self { capabilities, challenge })
    }
}

impl Challenge {
    /// Reads an AuthSwitchRequest: the server wants another plugin than the greeting named.
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

/// The first value of a row that is not NULL.
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

#[cfg(test)]
mod tests {
    use super::*;

    /// What MySQL 9.7 and MariaDB 11.8 sent.
    const MYSQL: &[u8] =
        b"\n9.7.4-2\0\t\0\0\0ri5,6y]\x1c\0\xff\xff\xff\x02\0\xff\xdf\x15\0\0\0\0\0\0\
        \0\0\0\0/kY]z@\x0b\x7f]H+.\0caching_sha2_password\0";
    const MARIADB: &[u8] = b"\n11.8.6-MariaDB-0+deb13u1 from Debian-log\0\x05\0\0\0+WX5=sMf\0\
        \xfe\xff-\x02\0\xff\x81\x15\0\0\0\0\0\0=\0\0\09)a0h>:H;1!R\0mysql_native_password\0";

    #[test]
    fn a_greeting_has_the_servers_capabilities_and_its_challenge() {
        let Greeting { capabilities, challenge } = Greeting::read(MYSQL).unwrap();
        assert!(capabilities.contains(CapabilityFlags::CLIENT_SSL));
        assert_eq!(challenge.plugin, AuthPlugin::CachingSha2Password);
        assert_eq!(challenge.nonce, b"ri5,6y]\x1c/kY]z@\x0b\x7f]H+.");
        let Greeting { challenge, .. } = Greeting::read(MARIADB).unwrap();
        assert_eq!(challenge.plugin, AuthPlugin::MysqlNativePassword);
        assert_eq!(challenge.nonce, b"+WX5=sMf9)a0h>:H;1!R");
    }

    #[test]
    fn a_greeting_that_is_cut_or_lies_about_its_length_is_refused() {
        for length in 0..MYSQL.len() - "caching_sha2_password\0".len() {
            assert!(Greeting::read(&MYSQL[..length]).is_err(), "{length}");
        }
        let at = MYSQL.iter().position(|byte| *byte == 0x15).unwrap();
        for length in 0..=255 {
            let mut lying = MYSQL.to_vec();
            lying[at] = length;
            assert_eq!(Greeting::read(&lying).is_ok(), length <= 43, "{length}");
        }
    }
}
