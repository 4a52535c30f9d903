//! Who may call the API: whoever has the token. On loopback, web pages of other origins may not.

use std::{net::SocketAddr, sync::Arc};

use axum::{
    extract::{Request, State},
    http::{HeaderMap, Method, StatusCode, Uri, header},
    middleware::Next,
    response::Response,
};

use super::ApiError;
use crate::{Secret, address::is_loopback, token::Token};

/// What a request is checked against.
pub struct Guard {
    token: Option<Token>,
    is_on_loopback: bool,
}

impl Guard {
    /// For a server that listens at `address` and, if there is a token, asks for it.
    pub fn new(address: SocketAddr, token: Option<&Secret>) -> Self {
        Self { token: token.map(Token::new), is_on_loopback: address.ip().is_loopback() }
    }

    fn check(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<(), ApiError> {
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
        let host = host.or(uri.authority().map(axum::http::uri::Authority::as_str));
        // A name that an attacker has pointed at 127.0.0.1 (DNS rebinding).
        if self.is_on_loopback && !host.is_some_and(is_loopback_host) {
            let message = "the Host header does not name this machine";
            return Err(forbidden(message, "call http://127.0.0.1 or http://localhost"));
        }
        let changes_state = !method.is_safe() || uri.path() == "/";
        if changes_state && is_cross_site(headers, host) {
            let message = "a web page of another origin may not change anything here";
            return Err(forbidden(message, "call it from a program, or from its own pages"));
        }
        let is_probe = matches!(uri.path(), "/healthz" | "/readyz");
        match &self.token {
            Some(token) if !is_probe && !token.is_shown_by(authorization(headers)) => {
                Err(ApiError::new(
                    StatusCode::UNAUTHORIZED,
                    "the token is missing or wrong",
                    "send Authorization: Bearer TOKEN, with the token of [listen]",
                ))
            }
            _ => Ok(()),
        }
    }
}

/// Lets a request through, or refuses it: to be layered over all routes.
///
/// # Errors
///
/// The refusal.
pub async fn check(
    State(guard): State<Arc<Guard>>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    guard.check(request.method(), request.uri(), request.headers())?;
    Ok(next.run(request).await)
}

fn forbidden(message: &str, remedy: &str) -> ApiError {
    ApiError::new(StatusCode::FORBIDDEN, message, remedy)
}

fn authorization(headers: &HeaderMap) -> &[u8] {
    headers.get(header::AUTHORIZATION).map_or(b"", header::HeaderValue::as_bytes)
}

/// The `Origin` and `Sec-Fetch-Site` headers that browsers set, and that pages cannot change.
fn is_cross_site(headers: &HeaderMap, host: Option<&str>) -> bool {
    let text =
        |name| headers.get(name).map(|value: &header::HeaderValue| value.to_str().unwrap_or(""));
    let foreign_origin = text(header::ORIGIN.as_str())
        .is_some_and(|origin| origin.split_once("://").map(|(_, authority)| authority) != host);
    let foreign_site =
        text("sec-fetch-site").is_some_and(|site| !matches!(site, "same-origin" | "none"));
    foreign_origin || foreign_site
}

fn is_loopback_host(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(rest),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    is_loopback(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard(address: &str, token: Option<&str>) -> Guard {
        let token = token.map(|token| Secret::new(token.to_owned()));
        Guard::new(address.parse().unwrap(), token.as_ref())
    }

    fn allows(guard: &Guard, request: &str, headers: &[(&str, &str)]) -> bool {
        let (method, path) = request.split_once(' ').unwrap();
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(name.parse::<header::HeaderName>().unwrap(), value.parse().unwrap());
        }
        guard.check(&method.parse().unwrap(), &path.parse().unwrap(), &map).is_ok()
    }

    #[test]
    fn on_loopback_only_names_of_this_machine_are_answered() {
        let guard = guard("127.0.0.1:1", None);
        for host in ["localhost:1", "127.0.0.1:1", "127.9.9.9", "[::1]:80", "LOCALHOST"] {
            assert!(allows(&guard, "GET /api/v1/listeners", &[("host", host)]), "{host}");
        }
        for host in ["evil.example:1", "localhost.evil.example", "10.0.0.1", ""] {
            assert!(!allows(&guard, "GET /api/v1/listeners", &[("host", host)]), "{host}");
        }
        assert!(!allows(&guard, "GET /healthz", &[]));
    }

    #[test]
    fn pages_of_other_origins_may_not_change_anything() {
        let guard = guard("127.0.0.1:1", None);
        let host = ("host", "127.0.0.1:1");
        for request in ["POST /api/v1/reload", "GET /?table=t"] {
            assert!(allows(&guard, request, &[host]));
            assert!(allows(&guard, request, &[host, ("origin", "http://127.0.0.1:1")]));
            assert!(allows(&guard, request, &[host, ("sec-fetch-site", "same-origin")]));
            assert!(!allows(&guard, request, &[host, ("origin", "http://evil.example")]));
            assert!(!allows(&guard, request, &[host, ("origin", "http://127.0.0.1:2")]));
            assert!(!allows(&guard, request, &[host, ("origin", "null")]));
            assert!(!allows(&guard, request, &[host, ("sec-fetch-site", "cross-site")]));
        }
        assert!(allows(&guard, "GET /metrics", &[host, ("origin", "http://evil.example")]));
    }

    #[test]
    fn with_a_token_only_its_holders_and_the_probes_are_answered() {
        let guard = guard("0.0.0.0:1", Some("secret"));
        assert!(allows(&guard, "GET /metrics", &[("authorization", "Bearer secret")]));
        for wrong in ["Bearer secre", "Bearer secrets", "Basic secret", "secret"] {
            assert!(!allows(&guard, "GET /metrics", &[("authorization", wrong)]), "{wrong}");
        }
        assert!(!allows(&guard, "GET /metrics", &[]));
        assert!(allows(&guard, "GET /healthz", &[]) && allows(&guard, "GET /readyz", &[]));
    }
}
