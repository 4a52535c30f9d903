//! How values are written into a text of a kind, so that nothing in them can be taken for a part of
//! that text.

use std::fmt::Write as _;

use minijinja::{
    AutoEscape, Environment, Error, ErrorKind, Output, Value, escape_formatter, value::ValueKind,
};

/// The kind of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Escape {
    /// Values as they are.
    Plain,
    /// Each value as JSON, with its quotes.
    Json,
    /// Text of XML or HTML.
    Xml,
    /// Values of a form, `a=b&c=d`.
    Form,
    /// Parts of a URL; before each stands [`VALUE`].
    Url,
}

/// What stands before each value in the text of a URL: no other text can have it.
pub(crate) const VALUE: char = '\0';

/// Lets the templates of an environment make texts of this kind.
pub(super) fn set(environment: &mut Environment<'_>, escape: Escape) {
    let kind = match escape {
        Escape::Plain => AutoEscape::None,
        Escape::Json => AutoEscape::Json,
        Escape::Xml => AutoEscape::Html,
        Escape::Form | Escape::Url => AutoEscape::Custom("percent".into()),
    };
    environment.set_auto_escape_callback(move |_| kind.clone());
    environment.set_formatter(move |output, state, value| match escape {
        Escape::Plain | Escape::Json | Escape::Xml => escape_formatter(output, state, value),
        Escape::Form => percent(output, value),
        Escape::Url => {
            output.write_char(VALUE).map_err(Error::from)?;
            percent(output, value)
        }
    });
}

/// Writes a value with all but letters, digits and `-._~` percent-encoded (RFC 3986 §2.3).
fn percent(output: &mut Output<'_>, value: &Value) -> Result<(), Error> {
    if !matches!(value.kind(), ValueKind::String | ValueKind::Number | ValueKind::Bool) {
        let what = format!("a value of the kind {} has no place here", value.kind());
        return Err(Error::new(ErrorKind::InvalidOperation, what));
    }
    let text = value.to_string();
    if value.is_safe() {
        return output.write_str(&text).map_err(Error::from);
    }
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                output.write_char(char::from(byte))
            }
            other => write!(output, "%{other:02X}"),
        }
        .map_err(Error::from)?;
    }
    Ok(())
}
