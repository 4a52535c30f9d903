//! The URL of a request.

use minijinja::Value;
use reqwest::Url;
use service::config::Section;

use super::Per;
use crate::template::{Escape, Template, VALUE};

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Address {
    Fixed(Url),
    Template {
        template: Template,
        /// Scheme, host and port, which are the same for all events.
        origin: Url,
    },
}

const EXAMPLE: &str = "write one, for example https://host/items/{{ PK.id }}";

impl Address {
    /// Reads a URL; mistakes are noted.
    pub(super) fn read((section, key): (&Section, &str), text: &str, per: Per) -> Option<Self> {
        let note = |problem: &str, remedy: &str| section.note(key, problem, remedy);
        if !Template::is_meant_by(text) {
            let url = read_url(text);
            if url.is_none() && section.has(key) {
                note(&format!("{text:?} is not an http or https URL"), EXAMPLE);
            }
            return url.map(Self::Fixed);
        }
        if per == Per::Batch {
            let remedy = "write per = \"event\", or no template";
            note("has a template, and a batch has no single event", remedy);
            return None;
        }
        match Template::escaped(text, per.scope(), Escape::Url) {
            Err(why) => note(&format!("is no template: {why}"), "correct it"),
            Ok(template) => match origin_of(template.beginning()) {
                Some(origin) => return Some(Self::Template { template, origin }),
                None => {
                    note("must begin with scheme and host, and those with no template", EXAMPLE);
                }
            },
        }
        None
    }

    pub(super) fn origin(&self) -> &Url {
        match self {
            Self::Fixed(url) => url,
            Self::Template { origin, .. } => origin,
        }
    }

    pub(super) fn sees(&self, member: &str) -> bool {
        match self {
            Self::Fixed(_) => false,
            Self::Template { template, .. } => template.sees(member),
        }
    }

    /// The URL for what the template sees.
    pub(super) fn fill(&self, context: &Value) -> Result<Url, String> {
        let (template, origin) = match self {
            Self::Fixed(url) => return Ok(url.clone()),
            Self::Template { template, origin } => (template, origin),
        };
        let text = template.render_in(context)?;
        check_path(&text)?;
        let url = text.replace(VALUE, "").parse::<Url>().map_err(|error| error.to_string())?;
        match url.origin() == origin.origin() {
            true => Ok(url),
            false => Err("it leads to another server".to_owned()),
        }
    }
}

fn read_url(text: &str) -> Option<Url> {
    text.parse::<Url>().ok().filter(|url| matches!(url.scheme(), "http" | "https"))
}

/// The beginning of a URL, which must hold all of its host and port.
fn origin_of(beginning: &str) -> Option<Url> {
    let (_, after) = beginning.split_once("://")?;
    after.contains(['/', '?', '#']).then(|| read_url(beginning)).flatten()
}

/// A value in the path must not make it another one: an empty value, `.` or `..` would. A DELETE of
/// all items is not the DELETE of one.
fn check_path(text: &str) -> Result<(), String> {
    let path = text.split(['?', '#']).next().unwrap_or_default();
    for segment in path.split('/').filter(|segment| segment.contains(VALUE)) {
        match &*segment.replace(VALUE, "").to_ascii_lowercase() {
            "" => return Err("a value of its path is an empty text".to_owned()),
            "." | ".." | "%2e" | "%2e%2e" | ".%2e" | "%2e." => {
                return Err("a part of its path is only dots".to_owned());
            }
            _ => {}
        }
    }
    Ok(())
}
