//! HTTP requests that are made of events: the method, the URL, headers and the body, by templates.
//!
//! This computes only; who sends the requests is the handler `http`. What is put into a URL is
//! percent-encoded, and what is put into JSON is JSON, so that no value of a row can change
//! anything else of a request.

mod address;
mod body;
mod method;

use std::collections::BTreeSet;

use handler::Event;
use minijinja::Value;
use reqwest::{
    Method, Url,
    header::{CONTENT_TYPE, HeaderName, HeaderValue},
};
use service::{Secret, config::Section};

use self::{address::Address, body::Body, method::Methods};
use crate::{
    change::{Change, too_large},
    template::{Scope, Template, member},
};

/// What one request is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Per {
    /// One event.
    Event,
    /// All events of a call.
    Batch,
}

/// A request.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// The whole URL.
    pub url: Url,
    /// Headers, that of the body's type included.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Only some methods have a body.
    pub body: Option<Vec<u8>>,
}

/// How requests are made.
#[derive(Clone, Debug, PartialEq)]
pub struct RequestForm {
    per: Per,
    address: Address,
    methods: Methods,
    headers: Vec<(HeaderName, Template)>,
    body: Body,
    content_type: HeaderValue,
    secrets: Vec<(String, Secret)>,
    also_done: BTreeSet<u16>,
    /// The members of events that the templates see.
    seen: BTreeSet<&'static str>,
}

/// The keys that make a form, besides a URL with a template.
const KEYS: [&str; 6] = ["body", "per", "method", "contentType", "secrets", "alsoDone"];

impl RequestForm {
    /// Whether a handler, whose URL stands under `url_key`, has a form.
    pub fn is_meant_by(section: &Section, url_key: &str) -> bool {
        // All are known keys, whether one asks for a form or not.
        let given = KEYS.iter().filter_map(|key| section.raw(key));
        given.count() > 0 || section.raw(url_key).is_some_and(is_template)
    }

    /// Reads the keys of a handler; mistakes are noted. `None` when the URL is wrong.
    pub fn read(section: &Section, url_key: &str) -> Option<Self> {
        let url: String = section.required(url_key, String::new());
        let per = match section.choice("per", ["batch", "event"]) {
            Some(1) => Per::Event,
            _ => Per::Batch,
        };
        let address = Address::read((section, url_key), &url, per);
        let (methods, content_type) = (Methods::read(section, per), read_content_type(section));
        let body = Body::read(section, per, &content_type);
        if body != Body::Events && !methods.have_body() {
            let remedy = "remove it, or use POST, PUT or PATCH";
            section.note("body", "is never sent with this method", remedy);
        }
        let headers = read_headers(section, per);
        let also_done = read_also_done(section);
        let secrets = read_secrets(&section.section("secrets"));
        let (address, seen) = (address?, BTreeSet::new());
        let content_type = HeaderValue::from_str(&content_type).ok()?;
        let mut form =
            Self { per, address, methods, headers, body, content_type, secrets, also_done, seen };
        form.seen = per.scope().members().iter().copied().filter(|name| form.sees(name)).collect();
        Some(form)
    }

    fn sees(&self, member: &str) -> bool {
        let in_headers = self.headers.iter().any(|(_, template)| template.sees(member));
        in_headers || self.address.sees(member) || self.body.sees(member)
    }

    /// The same requests, but all to this URL.
    #[must_use]
    pub fn sent_to(&self, url: Url) -> Self {
        Self { address: Address::Fixed(url), ..self.clone() }
    }

    /// What one request is of.
    pub fn per(&self) -> Per {
        self.per
    }

    /// Whether the requests are the events as they are, so that their answer may name events.
    pub fn is_plain(&self) -> bool {
        self.per == Per::Batch && self.body == Body::Events
    }

    /// The URL without what differs from event to event: its scheme, host and port are right.
    pub fn origin(&self) -> &Url {
        self.address.origin()
    }

    /// Whether a status that is no success means that the work of a request is done.
    pub fn is_done(&self, method: &Method, status: u16) -> bool {
        let is_gone = self.per == Per::Event && *method == Method::DELETE;
        self.also_done.contains(&status) || (is_gone && matches!(status, 404 | 410))
    }

    /// Whether the URL is the same for all events.
    pub fn has_one_url(&self) -> bool {
        matches!(self.address, Address::Fixed(_))
    }

    /// The request for an event.
    ///
    /// # Errors
    ///
    /// What the event lacks for it. It may hold values of the row.
    pub fn of_event(&self, event: &Event) -> Result<Request, String> {
        let change = Change::read(event).map_err(|unusable| unusable.why)?;
        self.refuse_parts(&change)?;
        let context = Value::from_pairs(self.seen.iter().map(|name| match *name {
            "Secrets" => (*name, self.secrets()),
            name => (name, member(&change, name)),
        }));
        let mut request = self.fill(self.methods.of(change.read.action), &context, &[event])?;
        for (name, template) in &self.headers {
            let value = template.render_in(&context).and_then(|text| header_value(&text));
            let value = value.map_err(|why| format!("headers.{name}: {why}"))?;
            request.headers.push((name.clone(), value));
        }
        Ok(request)
    }

    /// The request for a batch.
    ///
    /// # Errors
    ///
    /// What one of the events lacks for it. It may hold values of the row.
    pub fn of_batch(&self, events: &[&Event]) -> Result<Request, String> {
        let mut context = Vec::new();
        if self.seen.contains("Events") {
            let list: Result<Vec<Value>, String> =
                events.iter().map(|event| self.whole(event)).collect();
            context.push(("Events", Value::from(list?)));
        }
        if self.seen.contains("Secrets") {
            context.push(("Secrets", self.secrets()));
        }
        self.fill(self.methods.of_batch(), &Value::from_pairs(context), events)
    }

    /// An event of a batch, as templates see it.
    fn whole(&self, event: &Event) -> Result<Value, String> {
        let told = |why: String| format!("{}: {why}", event.ev_id());
        let change = Change::read(event).map_err(|unusable| told(unusable.why))?;
        self.refuse_parts(&change).map_err(told)?;
        let members = Scope::Event.members().iter();
        Ok(Value::from_pairs(members.map(|name| (*name, member(&change, name)))))
    }

    /// A row that was too large for its event is not there.
    fn refuse_parts(&self, change: &Change<'_>) -> Result<(), String> {
        let needs_row = ["Data", "Old", "Events"].iter().any(|name| self.seen.contains(name));
        match change.read.oversized {
            Some(bytes) if needs_row => Err(too_large(&change.read, bytes)),
            _ => Ok(()),
        }
    }

    fn fill(&self, method: Method, context: &Value, events: &[&Event]) -> Result<Request, String> {
        let url = self.address.fill(context).map_err(|why| format!("url: {why}"))?;
        let (mut headers, mut body) = (Vec::new(), None);
        if method::has_body(&method) {
            headers.push((CONTENT_TYPE, self.content_type.clone()));
            body = Some(self.body.fill(context, (self.per, events))?);
        }
        Ok(Request { method, url, headers, body })
    }

    fn secrets(&self) -> Value {
        Value::from_pairs(self.secrets.iter().map(|(name, secret)| (&**name, secret.expose())))
    }
}

impl Per {
    fn scope(self) -> Scope {
        match self {
            Self::Event => Scope::EventAndSecrets,
            Self::Batch => Scope::Batch,
        }
    }
}

/// Whether the value of a header is a template for a handler that has a form.
pub fn is_template(value: &serde_json::Value) -> bool {
    value.as_str().is_some_and(Template::is_meant_by)
}

/// The headers that are templates; the others are the same for all requests.
fn read_headers(section: &Section, per: Per) -> Vec<(HeaderName, Template)> {
    let headers = section.section("headers");
    let mut templates = Vec::new();
    for name in headers.keys() {
        if name.eq_ignore_ascii_case("content-type") {
            headers.note(name, "is the type of the body", "use contentType");
        }
        let Some(text) = headers.raw(name).filter(|value| is_template(value)) else { continue };
        if per == Per::Batch {
            let remedy = "write per = \"event\", or no template";
            headers.note(name, "has a template, and a batch has no single event", remedy);
            continue;
        }
        match Template::of(text.as_str().unwrap_or_default(), per.scope()) {
            Ok(template) => templates.extend(name.parse().ok().map(|name| (name, template))),
            Err(why) => headers.note(name, &format!("is no template: {why}"), "correct it"),
        }
    }
    templates
}

fn read_secrets(section: &Section) -> Vec<(String, Secret)> {
    section.keys().filter_map(|key| Some((key.to_owned(), section.secret(key)?))).collect()
}

fn header_value(text: &str) -> Result<HeaderValue, String> {
    HeaderValue::from_str(text)
        .map_err(|_| "has a character that no header may have: use printable ASCII".to_owned())
}

fn read_content_type(section: &Section) -> String {
    const JSON: &str = "application/json";
    let content_type = section.or("contentType", JSON.to_owned());
    if HeaderValue::from_str(&content_type).is_ok() && content_type.contains('/') {
        return content_type;
    }
    section.note("contentType", "is no type of content", "write one, for example text/plain");
    JSON.to_owned()
}

/// Statuses that are done as a success is.
fn read_also_done(section: &Section) -> BTreeSet<u16> {
    let Some(value) = section.raw("alsoDone") else { return BTreeSet::new() };
    let status = |value: &serde_json::Value| {
        value
            .as_u64()
            .and_then(|number| u16::try_from(number).ok())
            .filter(|s| (300..600).contains(s))
    };
    let statuses = value.as_array().and_then(|list| list.iter().map(status).collect());
    statuses.unwrap_or_else(|| {
        section.note("alsoDone", "is no list of statuses", "write one, for example [404, 409]");
        BTreeSet::new()
    })
}

#[cfg(test)]
mod tests;
