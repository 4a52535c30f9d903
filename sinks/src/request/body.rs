//! The body of a request.

use handler::{Event, json_array};
use minijinja::Value as Seen;
use serde::de::IgnoredAny;
use serde_json::Value;
use service::config::Section;

use super::Per;
use crate::template::{Escape, Scope, Template};

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Body {
    /// The event, or the events as a list.
    Events,
    /// A text.
    Text { template: Template, kind: Kind },
    /// JSON in which texts may be templates.
    Json(Node),
}

/// What a text must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Any,
    /// One value of JSON.
    Json,
    /// Several of them, one after the other.
    JsonLines,
}

/// A value of JSON.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Node {
    /// JSON text in which nothing is a template.
    Constant(String),
    Template(Template),
    List(Vec<Node>),
    Table(Vec<(String, Node)>),
}

impl Body {
    /// Reads the key `body`; mistakes are noted.
    pub(super) fn read(section: &Section, per: Per, content_type: &str) -> Self {
        let (kind, escape) = kind_of(content_type);
        let read = match section.raw("body") {
            None => return Self::Events,
            Some(Value::String(text)) => Template::escaped(text, per.scope(), escape)
                .map(|template| Self::Text { template, kind })
                .map_err(|why| (String::new(), why)),
            Some(value @ (Value::Object(_) | Value::Array(_))) if kind == Kind::Json => {
                Node::read(value, per.scope()).map(Self::Json)
            }
            Some(Value::Object(_) | Value::Array(_)) => {
                let remedy = "write a text as the body, or a contentType of JSON";
                section.note("body", &format!("is JSON, which is not {content_type}"), remedy);
                return Self::Events;
            }
            Some(_) => {
                let remedy = "write a table of what the JSON is to have, or a text";
                section.note("body", "is neither a table nor a text", remedy);
                return Self::Events;
            }
        };
        read.unwrap_or_else(|(place, why)| {
            section.note(&format!("body{place}"), &format!("is no template: {why}"), "correct it");
            Self::Events
        })
    }

    pub(super) fn sees(&self, member: &str) -> bool {
        match self {
            Self::Events => false,
            Self::Text { template, .. } => template.sees(member),
            Self::Json(node) => node.sees(member),
        }
    }

    /// The body for what the templates see.
    pub(super) fn fill(
        &self,
        context: &Seen,
        (per, events): (Per, &[&Event]),
    ) -> Result<Vec<u8>, String> {
        match self {
            Self::Events if per == Per::Batch => Ok(json_array(events)),
            Self::Events => Ok(events.iter().flat_map(|event| event.json().bytes()).collect()),
            Self::Text { template, kind } => {
                let text = template.render_in(context).map_err(|why| format!("body: {why}"))?;
                kind.check(&text).map_err(|error| format!("body: it is no JSON: {error}"))?;
                Ok(text.into_bytes())
            }
            Self::Json(node) => {
                let mut json = String::new();
                node.write(context, &mut json)
                    .map_err(|(place, why)| format!("body{place}: {why}"))?;
                Ok(json.into_bytes())
            }
        }
    }
}

/// A place in a body, and what is wrong there.
type Misplaced = (String, String);

impl Node {
    fn read(value: &Value, scope: Scope) -> Result<Self, Misplaced> {
        let node = match value {
            Value::String(text) if Template::is_meant_by(text) => {
                Self::Template(Template::of(text, scope).map_err(|why| (String::new(), why))?)
            }
            Value::Array(list) => {
                let nodes = list.iter().enumerate().map(|(index, value)| {
                    Self::read(value, scope).map_err(|wrong| within(&format!("[{index}]"), wrong))
                });
                Self::List(nodes.collect::<Result<_, _>>()?)
            }
            Value::Object(table) => {
                let nodes = table.iter().map(|(name, value)| {
                    let node = Self::read(value, scope);
                    let node = node.map_err(|wrong| within(&format!(".{name}"), wrong));
                    node.map(|node| (name.clone(), node))
                });
                Self::Table(nodes.collect::<Result<_, _>>()?)
            }
            constant => Self::Constant(constant.to_string()),
        };
        Ok(node)
    }

    fn sees(&self, member: &str) -> bool {
        match self {
            Self::Constant(_) => false,
            Self::Template(template) => template.sees(member),
            Self::List(list) => list.iter().any(|node| node.sees(member)),
            Self::Table(table) => table.iter().any(|(_, node)| node.sees(member)),
        }
    }

    fn write(&self, context: &Seen, json: &mut String) -> Result<(), Misplaced> {
        match self {
            Self::Constant(constant) => json.push_str(constant),
            Self::Template(template) => {
                json.push_str(&template.value_in(context).map_err(|why| (String::new(), why))?);
            }
            Self::List(list) => {
                json.push('[');
                for (index, node) in list.iter().enumerate() {
                    if index > 0 {
                        json.push(',');
                    }
                    let written = node.write(context, json);
                    written.map_err(|wrong| within(&format!("[{index}]"), wrong))?;
                }
                json.push(']');
            }
            Self::Table(table) => {
                json.push('{');
                for (index, (name, node)) in table.iter().enumerate() {
                    if index > 0 {
                        json.push(',');
                    }
                    json.push_str(&Value::from(&**name).to_string());
                    json.push(':');
                    let written = node.write(context, json);
                    written.map_err(|wrong| within(&format!(".{name}"), wrong))?;
                }
                json.push('}');
            }
        }
        Ok(())
    }
}

fn within(place: &str, (inner, why): Misplaced) -> Misplaced {
    (format!("{place}{inner}"), why)
}

impl Kind {
    fn check(self, text: &str) -> serde_json::Result<()> {
        match self {
            Self::Any => Ok(()),
            Self::Json => serde_json::from_str::<IgnoredAny>(text).map(drop),
            Self::JsonLines => {
                let mut values = serde_json::Deserializer::from_str(text).into_iter::<IgnoredAny>();
                values.try_for_each(|value| value.map(drop))
            }
        }
    }
}

/// What a body of this type must be, and how values are written into it.
fn kind_of(content_type: &str) -> (Kind, Escape) {
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match &*essence {
        "application/x-www-form-urlencoded" => (Kind::Any, Escape::Form),
        "application/x-ndjson" | "application/ndjson" | "application/jsonl" => {
            (Kind::JsonLines, Escape::Json)
        }
        json if json.ends_with("json") => (Kind::Json, Escape::Json),
        xml if xml.ends_with("xml") || xml.ends_with("html") => (Kind::Any, Escape::Xml),
        _ => (Kind::Any, Escape::Plain),
    }
}
