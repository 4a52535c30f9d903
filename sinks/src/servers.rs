//! The servers of a target as its config names them, for messages.

use std::{
    fmt,
    sync::{Mutex, PoisonError},
};

use serde_json::Value;
use service::config::Section;
use tracing::warn;

/// The kind of a target, and its servers; none for files.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Servers {
    sink: String,
    names: Vec<String>,
}

impl Servers {
    /// Reads what the config of the sink `name` says of them.
    pub(crate) fn read(name: &str, section: &Section) -> Self {
        let given = ["hosts", "url", "brokers"].iter().find_map(|key| section.raw(key));
        let texts = match given {
            Some(Value::Array(list)) => list.iter().filter_map(Value::as_str).collect(),
            Some(Value::String(text)) => vec![text.as_str()],
            _ => Vec::new(),
        };
        // A URL may have a password before the host, and in its query.
        let server = |text: &str| {
            let host = text.rsplit_once('@').map_or(text, |(_, host)| host);
            let host = host.rsplit_once("://").map_or(host, |(_, host)| host);
            host.split(['/', '?']).next().unwrap_or_default().to_owned()
        };
        Self { sink: name.to_owned(), names: texts.into_iter().map(server).collect() }
    }

    /// What somebody says of a server, with its address, unless that is said already.
    pub(crate) fn named(&self, said: String) -> String {
        match self.names.is_empty() || self.names.iter().any(|server| said.contains(server)) {
            true => said,
            false => format!("{}: {said}", self.names.join(", ")),
        }
    }
}

impl fmt::Display for Servers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.names[..] {
            [] => write!(f, "the target ({})", self.sink),
            _ => write!(f, "the target ({} at {})", self.sink, self.names.join(", ")),
        }
    }
}

/// Which of several hosts is written to.
#[derive(Debug, Default)]
pub(crate) struct LastHost {
    address: Mutex<Option<String>>,
}

impl LastHost {
    /// Tells when it is another one than before.
    pub(crate) fn note(&self, address: &str) {
        let mut last = self.address.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(before) = last.replace(address.to_owned()).filter(|before| before != address) {
            warn!(
                address,
                before,
                remedy = "see that the host before takes no more writes, and is a replica of this \
                          one or read-only when it comes back",
                "writes go to another host of the target now"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_named_once_and_never_with_a_password() {
        let text = "url = 'redis://me:se@cret@10.0.0.7:6379/1?x=y'";
        let file = service::config::File::parse(std::path::Path::new("test"), text).unwrap();
        let servers = Servers::read("redis", file.root());
        assert_eq!(servers.named("no answer".into()), "10.0.0.7:6379: no answer");
        assert_eq!(servers.named("10.0.0.7:6379 is full".into()), "10.0.0.7:6379 is full");
        assert_eq!(Servers::default().named("no answer".into()), "no answer");
    }
}
