//! Passwords and tokens: from the environment or a file, and never printed.

use std::path::PathBuf;

use secrecy::{ExposeSecret, SecretString};

/// A secret value. `Debug` shows `[REDACTED]`; it has no `Display`.
#[derive(Clone, Debug)]
pub struct Secret(SecretString);

/// Where a secret is to be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// It stands in the config file itself.
    Plain(String),
    /// An environment variable holds it.
    Env(String),
    /// A file holds it; a line break at its end is not part of it.
    File(PathBuf),
}

impl PartialEq for Secret {
    /// For comparing two configs, not for checking what a stranger sent: the time it takes tells.
    fn eq(&self, other: &Self) -> bool {
        self.expose() == other.expose()
    }
}

impl Secret {
    /// Wraps a value.
    pub fn new(value: String) -> Self {
        Self(value.into())
    }

    /// The value, for the one call that needs it.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// Fetches the secret.
    ///
    /// # Errors
    ///
    /// What is missing and what to do about it, in words.
    pub fn fetch(origin: Origin) -> Result<Self, String> {
        match origin {
            Origin::Plain(value) => Ok(Self::new(value)),
            Origin::Env(name) => std::env::var(&name).map(Self::new).map_err(|_| {
                format!("environment variable {name} is not set: set it and start again")
            }),
            Origin::File(path) => std::fs::read_to_string(&path)
                .map(|text| Self::new(text.trim_end_matches(['\n', '\r']).to_owned()))
                .map_err(|error| format!("cannot read {}: {error}", path.display())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_does_not_show_the_value() {
        assert!(!format!("{:?}", Secret::new("hunter2".into())).contains("hunter2"));
    }

    #[test]
    fn a_file_gives_its_text_without_the_line_break() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("password");
        std::fs::write(&path, "pa ss\r\n").unwrap();
        assert_eq!(Secret::fetch(Origin::File(path)).unwrap().expose(), "pa ss");
    }

    #[test]
    fn a_missing_variable_is_named() {
        let error = Secret::fetch(Origin::Env("DBEVENT_NOT_SET".into())).unwrap_err();
        assert!(error.contains("DBEVENT_NOT_SET"), "{error}");
    }
}
