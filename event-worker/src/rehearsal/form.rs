//! The handler of a rehearsal, as it is written on the command line.

use std::{str::FromStr, sync::Arc, time::Duration};

use service::Secret;

use crate::config::{ExecConfig, HandlerConfig, HttpConfig, Proxy};

/// What tells a handler that this is a rehearsal: a variable of its environment,
const VARIABLE: &str = "DBEVENT_REHEARSAL";

/// or a header of each call.
const HEADER: &str = "dbevent-rehearsal";

/// Where the listener has a handler of another kind, a call may take so long.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);

const FORMS: &str = "write 'exec PROGRAM ARGUMENT …', 'http URL' or print";

/// The handler that is tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RehearsedHandler {
    /// A program and its arguments.
    Exec(Vec<String>),
    /// The URL that is called.
    Http(reqwest::Url),
    /// One line per event on standard output.
    Print,
}

impl FromStr for RehearsedHandler {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let (kind, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
        match kind {
            "print" if rest.is_empty() => Ok(Self::Print),
            "exec" => match words(rest)? {
                words if words.first().is_none_or(String::is_empty) => Err(FORMS.to_owned()),
                words => Ok(Self::Exec(words)),
            },
            "http" => {
                let url = rest.trim().parse::<reqwest::Url>().ok();
                let url = url.filter(|url| matches!(url.scheme(), "http" | "https"));
                url.map(Self::Http).ok_or_else(|| format!("{rest:?} is not an http or https URL"))
            }
            _ => Err(FORMS.to_owned()),
        }
    }
}

impl RehearsedHandler {
    /// Its config: all else is as in the config of the listener's own handler, if that is of the
    /// same kind.
    pub(super) fn config(self, own: &HandlerConfig) -> HandlerConfig {
        match self {
            Self::Print => HandlerConfig::Print,
            Self::Exec(command) => {
                let mut exec = match own {
                    HandlerConfig::Exec(own) => ExecConfig { command, ..own.clone() },
                    _ => ExecConfig {
                        command,
                        timeout: DEFAULT_TIMEOUT,
                        environment: Vec::new(),
                        selection: None,
                    },
                };
                exec.environment.push((VARIABLE.to_owned(), Secret::new("1".to_owned())));
                HandlerConfig::Exec(exec)
            }
            Self::Http(url) => {
                let mut http = match own {
                    HandlerConfig::Http(own) => {
                        let form =
                            own.form.as_ref().map(|form| Arc::new(form.sent_to(url.clone())));
                        HttpConfig { url, form, ..own.clone() }
                    }
                    _ => HttpConfig {
                        url,
                        form: None,
                        selection: None,
                        timeout: DEFAULT_TIMEOUT,
                        headers: Vec::new(),
                        hmac_secret: None,
                        proxy: Proxy::Environment,
                        ca: None,
                    },
                };
                http.headers.push((HEADER.to_owned(), Secret::new("1".to_owned())));
                HandlerConfig::Http(http)
            }
        }
    }
}

/// The words of a command, as a shell reads them: quotes keep spaces together, and a backslash
/// keeps the next character as it is, but not between single quotes.
fn words(text: &str) -> Result<Vec<String>, String> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (Some(open), c) if open == c => quote = None,
            (None | Some('"'), '\\') => {
                let next = chars.next().ok_or("it ends with a backslash")?;
                word.get_or_insert_default().push(next);
            }
            _ => word.get_or_insert_default().push(c),
        }
    }
    if quote.is_some() {
        return Err("a quote is not closed".to_owned());
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handler_is_a_command_a_url_or_print() {
        let read = |text: &str| text.parse::<RehearsedHandler>();
        let exec = |words: &[&str]| {
            Ok(RehearsedHandler::Exec(words.iter().map(|word| (*word).to_owned()).collect()))
        };
        assert_eq!(read("exec python3 new_handler.py"), exec(&["python3", "new_handler.py"]));
        assert_eq!(
            read(r#"exec sh -c 'echo "a b"' "x\" y" a\ b """#),
            exec(&["sh", "-c", r#"echo "a b""#, "x\" y", "a b", ""])
        );
        assert_eq!(read(" print "), Ok(RehearsedHandler::Print));
        assert!(
            matches!(read("http http://h/x"), Ok(RehearsedHandler::Http(url)) if url.path() == "/x")
        );
        for wrong in ["", "exec", "exec ''", "exec 'a", "exec a\\", "http", "http ftp://h", "other"]
        {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn all_else_is_as_in_the_listeners_own_handler_and_it_is_told_that_this_is_a_rehearsal() {
        let secret = |text: &str| Secret::new(text.to_owned());
        let own = HandlerConfig::Exec(ExecConfig {
            command: vec!["old".to_owned()],
            timeout: Duration::from_secs(7),
            environment: vec![("A".to_owned(), secret("b"))],
            selection: None,
        });
        let HandlerConfig::Exec(exec) = RehearsedHandler::Exec(vec!["new".into()]).config(&own)
        else {
            panic!("another kind")
        };
        assert_eq!((exec.command, exec.timeout), (vec!["new".to_owned()], Duration::from_secs(7)));
        let names: Vec<&str> = exec.environment.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["A", VARIABLE]);
        let http = RehearsedHandler::Http("http://h/".parse().unwrap()).config(&own);
        assert!(matches!(http, HandlerConfig::Http(http) if http.headers[0].0 == HEADER));
    }
}
