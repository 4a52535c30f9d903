//! Why a call failed, and what its answer says of the time to wait.

use std::time::{Duration, SystemTime};

use handler::{Failure, shown};
use reqwest::{Response, StatusCode, header::RETRY_AFTER};

/// We never wait longer, even if the server asks for it.
const MAX_RETRY_AFTER: Duration = Duration::from_hours(1);

/// How much we read of a body that is only shown.
const MAX_BEGINNING_BYTES: usize = 64 << 10;

/// Why a call without a status of success failed, with the beginning of its body.
pub(super) async fn refusal(mut response: Response) -> Failure {
    let status = response.status();
    let mut reason = format!("the handler answered {status}");
    if status.is_redirection() {
        reason += "; redirects are not followed: put the final URL into the config";
    }
    let asks_to_wait =
        matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE);
    let header = response.headers().get(RETRY_AFTER).filter(|_| asks_to_wait);
    let retry_after = header
        .and_then(|value| value.to_str().ok())
        .and_then(|text| read_retry_after(text, SystemTime::now()));
    let said = Some(shown(&beginning(&mut response).await)).filter(|said| !said.is_empty());
    let is_too_large = status == StatusCode::PAYLOAD_TOO_LARGE;
    let (is_unclear, remedy) = (is_unclear(status), remedy_of(status));
    Failure { reason, said, retry_after, is_too_large, is_unclear, remedy, is_away: false }
}

/// Whether a status says that we are not let in, whatever we want.
pub(super) fn keeps_out(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::UNAUTHORIZED
            | StatusCode::FORBIDDEN
            | StatusCode::PROXY_AUTHENTICATION_REQUIRED
    )
}

/// What to do where the status is not about the events, but for a redirect.
fn remedy_of(status: StatusCode) -> Option<&'static str> {
    Some(match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            "correct `headers` of the handler (the token or password), or its rights at the server; \
             it is called again by itself"
        }
        StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => {
            "correct `http` (the URL) and `method` of the handler; it is called again by itself"
        }
        StatusCode::PROXY_AUTHENTICATION_REQUIRED => {
            "give user and password in the URL of `proxy`; it is called again by itself"
        }
        StatusCode::TOO_MANY_REQUESTS => {
            "the server asks for fewer calls: set a larger `batchSize` or fewer `workers`; it is \
             called again by itself"
        }
        StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => {
            "see that the server behind the URL runs; it is called again by itself"
        }
        _ => return None,
    })
}

const NOT_REACHED: &str = "see that the server at the URL of the handler runs and can be reached \
                           from this machine; it is called again by itself";

const BROKEN_OFF: &str = "see in the log of the server at the URL of the handler, or of the proxy \
                          before it, why it closes the connection without a whole answer: it ends, \
                          starts again, or has a limit; it is called again by itself";

/// The beginning of an answer's body; of an incomplete body what has come.
pub(super) async fn beginning(response: &mut Response) -> Vec<u8> {
    let mut body = Vec::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        body.extend_from_slice(&chunk);
        if body.len() > MAX_BEGINNING_BYTES {
            break;
        }
    }
    body
}

/// A call that brought no answer: the server is away, or ends while it is called. A call that takes
/// too long may do so because of its events.
pub(super) fn no_answer(error: &reqwest::Error) -> Failure {
    let is_late = error.is_timeout() && !error.is_connect();
    let remedy = match (is_late, error.is_connect()) {
        (true, _) => None,
        (false, true) => Some(NOT_REACHED),
        (false, false) => Some(BROKEN_OFF),
    };
    let is_away = error.is_connect();
    Failure { is_unclear: !is_late, is_away, remedy, ..Failure::new(describe(error)) }
}

/// Whether a status is about the address, the rights or the load of the handler, and so not about
/// the events.
fn is_unclear(status: StatusCode) -> bool {
    status.is_redirection() || remedy_of(status).is_some()
}

/// RFC 9110 §10.2.3: seconds, or a date.
fn read_retry_after(text: &str, now: SystemTime) -> Option<Duration> {
    let wait = match text.trim().parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => httpdate::parse_http_date(text.trim()).ok()?.duration_since(now).ok()?,
    };
    Some(wait.min(MAX_RETRY_AFTER))
}

/// The error with its causes, and of the URL only host and port: its query may contain a secret.
fn describe(error: &reqwest::Error) -> String {
    let at = error.url().and_then(|url| Some((url.host_str()?, url.port_or_known_default()?)));
    let at = at.map_or_else(String::new, |(host, port)| format!(" at {host}:{port}"));
    let mut text = if error.is_timeout() && !error.is_connect() {
        format!("the handler{at} did not answer in time; the call may still run there")
    } else if error.is_connect() {
        format!("cannot connect to the handler{at}")
    } else {
        format!("the handler{at} closed the connection without a whole answer")
    };
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        cause = error.source();
        if cause.is_none() {
            text = format!("{text}: {error}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_read_as_seconds_or_as_a_date_and_never_without_end() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777 - 60);
        let read = |text| read_retry_after(text, now);
        assert_eq!(read("120"), Some(Duration::from_mins(2)));
        assert_eq!(read("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::from_mins(1)));
        assert_eq!(read("99999999"), Some(MAX_RETRY_AFTER));
        assert_eq!(read("soon"), None);
    }
}
