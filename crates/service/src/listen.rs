//! Where a program listens, and who may call it: the section `[listen]`, which all programs share.

use std::io;

use tokio::net::TcpListener;

use crate::{
    Secret,
    address::{Address, NotAnAddress},
    config::Section,
    http::Guard,
};

/// Where a program listens, and who may call it.
#[derive(Clone, Debug, PartialEq)]
pub struct Listen {
    /// The address; port 0 takes a free one.
    pub address: Address,
    /// What callers must show; `None` only on loopback.
    pub token: Option<Secret>,
}

impl Listen {
    /// Reads `address`, on loopback where it is not set, and `token`; mistakes are noted there.
    pub fn read(section: &Section, default_port: u16) -> Self {
        Self::at(Self::address(section, default_port), section)
    }

    /// Reads `address`, on loopback where it is not set.
    pub fn address(section: &Section, default_port: u16) -> Address {
        let default = Address::on_loopback(default_port);
        let text = section.or("address", default.to_string());
        text.parse().unwrap_or_else(|NotAnAddress| {
            let problem = format!("{text:?} is not an address");
            section.note("address", &problem, &format!("write host:port, for example {default}"));
            default
        })
    }

    /// Reads `token`, for a program that listens there.
    pub fn at(address: Address, section: &Section) -> Self {
        let token = Self::token(section);
        if !address.is_loopback() && token.is_none() && !section.has("token") {
            let problem = format!("is missing, while {address} can be reached from outside");
            let remedy = r#"set token = { env = "NAME" }, or listen on 127.0.0.1"#;
            section.note("token", &problem, remedy);
        }
        Self { address, token }
    }

    /// Reads `token` alone, where nothing depends on it.
    pub fn token(section: &Section) -> Option<Secret> {
        let token = section.secret("token");
        if token.as_ref().is_some_and(|token| token.expose().is_empty()) {
            section.note("token", "is empty", "set one that nobody guesses");
        }
        token
    }

    /// Takes the port.
    ///
    /// # Errors
    ///
    /// What the system says, for example when another program has the port. Also when the address
    /// can be reached from outside, and there is no token.
    pub async fn bind(&self) -> io::Result<(TcpListener, Guard)> {
        let listener = TcpListener::bind(self.address.host_and_port()).await?;
        let bound = listener.local_addr()?;
        if !bound.ip().is_loopback() && self.token.is_none() {
            let why = format!("{bound} can be reached from outside, so a token is needed");
            return Err(io::Error::other(why));
        }
        Ok((listener, Guard::new(bound, self.token.as_ref())))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{File, Mistakes};

    fn read(text: &str) -> Result<Listen, Mistakes> {
        let file = File::parse(Path::new("dts.toml"), &format!("[listen]\n{text}")).unwrap();
        let listen = Listen::read(&file.root().section("listen"), 12358);
        file.finish(listen)
    }

    #[test]
    fn an_address_is_a_host_by_name_or_number_and_a_port() {
        for (text, shown) in [
            ("", "127.0.0.1:12358"),
            ("address = 'localhost:1'", "localhost:1"),
            ("address = '[0:0:0:0:0:0:0:1]:65535'", "[::1]:65535"),
            ("address = 'db-1.example:80'\ntoken = 't'", "db-1.example:80"),
            ("address = '0.0.0.0:0'\ntoken = 't'", "0.0.0.0:0"),
        ] {
            assert_eq!(read(text).unwrap().address.to_string(), shown, "{text}");
        }
        for text in ["127.0.0.1", "127.0.0.1:", ":1", "::1:1", "a:65536", "http://a:1", "[a:1"] {
            let said = read(&format!("address = '{text}'")).unwrap_err().to_string();
            assert!(said.contains("write host:port, for example 127.0.0.1:12358"), "{said}");
        }
    }

    #[test]
    fn who_can_be_reached_from_outside_needs_a_token_that_is_not_empty() {
        for address in ["0.0.0.0:1", "[::]:1", "10.0.0.1:1", "localhost.example:1"] {
            let text = format!("address = '{address}'\n");
            let said = read(&text).unwrap_err().to_string();
            let expected = format!("listen.token: is missing, while {address} can be reached");
            assert!(said.contains(&expected), "{said}");
            assert!(read(&format!("{text}token = 't'")).is_ok(), "{address}");
        }
        assert!(read("token = ''").unwrap_err().to_string().contains("listen.token: is empty"));
    }

    #[tokio::test]
    async fn a_name_is_listened_on_and_its_port_is_taken_once() {
        let (listener, _guard) = read("address = 'localhost:0'").unwrap().bind().await.unwrap();
        let taken = listener.local_addr().unwrap();
        let again = read(&format!("address = '{taken}'")).unwrap().bind().await;
        assert_eq!(again.err().unwrap().kind(), io::ErrorKind::AddrInUse);
    }
}
