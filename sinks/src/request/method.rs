//! The method of a request.

use change_event::Action;
use reqwest::Method;
use serde_json::Value;
use service::config::Section;

use super::Per;

/// The methods that the config may name; PURGE is what caches know.
const KNOWN: [&str; 6] = ["POST", "PUT", "PATCH", "DELETE", "GET", "PURGE"];

/// The methods for inserts, updates and deletes.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Methods([Method; 3]);

impl Methods {
    /// Reads one method, or a table of them by action; mistakes are noted.
    pub(super) fn read(section: &Section, per: Per) -> Self {
        if !matches!(section.raw("method"), Some(Value::Object(_))) {
            let method = read_one(section, "method");
            return Self([method.clone(), method.clone(), method]);
        }
        if per == Per::Batch {
            let remedy = "write one method, or per = \"event\"";
            section.note("method", "goes by the action, which a batch has several of", remedy);
        }
        let table = section.section("method");
        Self(["insert", "update", "delete"].map(|action| read_one(&table, action)))
    }

    pub(super) fn of(&self, action: Action) -> Method {
        let [insert, update, delete] = &self.0;
        match action {
            Action::Insert => insert.clone(),
            Action::Update => update.clone(),
            Action::Delete => delete.clone(),
        }
    }

    pub(super) fn of_batch(&self) -> Method {
        self.of(Action::Insert)
    }

    /// Whether one of the methods has a body.
    pub(super) fn have_body(&self) -> bool {
        self.0.iter().any(has_body)
    }
}

/// Of the others a body has no meaning (RFC 9110 §9.3), and some servers refuse it.
pub(super) fn has_body(method: &Method) -> bool {
    matches!(*method, Method::POST | Method::PUT | Method::PATCH)
}

fn read_one(section: &Section, key: &str) -> Method {
    let known = section.choice(key, KNOWN).and_then(|known| KNOWN.get(known));
    known.and_then(|name| name.parse().ok()).unwrap_or(Method::POST)
}
