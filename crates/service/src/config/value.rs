//! The kinds of values that a config file may hold.

use std::{path::PathBuf, time::Duration};

use bytesize::ByteSize;
use serde_json::Value;

/// A kind of value. The error is the remedy: what to write instead.
pub trait FromConfig: Sized {
    /// How such a value is written, for messages.
    const EXAMPLE: &'static str;

    /// Takes the value, or says what to write.
    ///
    /// # Errors
    ///
    /// The remedy, in words.
    fn from_config(value: &Value) -> Result<Self, String>;
}

fn or_example<T: FromConfig>(value: Option<T>, kind: &str) -> Result<T, String> {
    value.ok_or_else(|| format!("write {kind}, for example {}", T::EXAMPLE))
}

impl FromConfig for bool {
    const EXAMPLE: &'static str = "true";
    fn from_config(value: &Value) -> Result<Self, String> {
        or_example(value.as_bool(), "true or false")
    }
}

impl FromConfig for String {
    const EXAMPLE: &'static str = "\"text\"";
    fn from_config(value: &Value) -> Result<Self, String> {
        or_example(value.as_str().map(str::to_owned), "a text")
    }
}

impl FromConfig for PathBuf {
    const EXAMPLE: &'static str = "\"data/event-log\"";
    fn from_config(value: &Value) -> Result<Self, String> {
        or_example(value.as_str().map(PathBuf::from), "a path")
    }
}

impl FromConfig for u16 {
    const EXAMPLE: &'static str = "3";
    fn from_config(value: &Value) -> Result<Self, String> {
        whole_number(value, u64::from(Self::MAX))
    }
}

impl FromConfig for u32 {
    const EXAMPLE: &'static str = "3";
    fn from_config(value: &Value) -> Result<Self, String> {
        whole_number(value, u64::from(Self::MAX))
    }
}

impl FromConfig for u64 {
    const EXAMPLE: &'static str = "3";
    fn from_config(value: &Value) -> Result<Self, String> {
        whole_number(value, Self::MAX)
    }
}

impl FromConfig for usize {
    const EXAMPLE: &'static str = "3";
    fn from_config(value: &Value) -> Result<Self, String> {
        whole_number(value, u64::from(u32::MAX))
    }
}

fn whole_number<T: FromConfig + TryFrom<u64>>(value: &Value, max: u64) -> Result<T, String> {
    let number = value.as_u64().and_then(|number| number.try_into().ok());
    or_example(number, &format!("a whole number from 0 to {max}"))
}

impl FromConfig for f64 {
    const EXAMPLE: &'static str = "2.0";
    fn from_config(value: &Value) -> Result<Self, String> {
        or_example(value.as_f64().filter(|number| number.is_finite()), "a number")
    }
}

impl FromConfig for Duration {
    const EXAMPLE: &'static str = "\"5s\"";
    fn from_config(value: &Value) -> Result<Self, String> {
        let parsed = value.as_str().and_then(|text| humantime::parse_duration(text).ok());
        or_example(parsed, "a time with its unit (ms, s, m, h, d)")
    }
}

impl FromConfig for ByteSize {
    const EXAMPLE: &'static str = "\"16MiB\"";
    fn from_config(value: &Value) -> Result<Self, String> {
        let parsed = value.as_str().and_then(|text| text.parse().ok());
        or_example(parsed, "a size with its unit (KiB, MiB, GiB)")
    }
}

impl FromConfig for Vec<String> {
    const EXAMPLE: &'static str = "[\"a\", \"b\"]";
    fn from_config(value: &Value) -> Result<Self, String> {
        let items = value.as_array().and_then(|items| {
            items.iter().map(|item| item.as_str().map(str::to_owned)).collect::<Option<Self>>()
        });
        or_example(items, "a list of texts")
    }
}
