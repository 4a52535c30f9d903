//! Passwords and tokens: from the environment or a file, and never printed.

use std::path::PathBuf;

use secrecy::{ExposeSecret, SecretString};

/// A secret value. `Debug` shows `[REDACTED]`; it has no `Display`.
#[derive(Clone, Debug)]
pub struct Secret {
    value: SecretString,
    /// The file that holds it, if one does. Its content may change.
    file: Option<PathBuf>,
}

/// Where a secret comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretOrigin {
    /// It stands in the config file itself.
    Plain(String),
    /// An environment variable holds it.
    Env(String),
    /// A file holds it; a line break at its end is not part of it.
    File(PathBuf),
}

impl PartialEq for Secret {
    /// For comparing two configs. Not for checking what a stranger sent: the time that it takes
    /// says something about the secret.
    fn eq(&self, other: &Self) -> bool {
        self.expose() == other.expose()
    }
}

impl Secret {
    /// Wraps a value.
    pub fn new(value: String) -> Self {
        Self { value: value.into(), file: None }
    }

    /// The value, for the one call that needs it.
    pub fn expose(&self) -> &str {
        self.value.expose_secret()
    }

    /// The secret that its file holds now: secrets change while programs run. Without a file, or
    /// when the file cannot be read, the earlier value.
    #[must_use]
    pub fn renewed(&self) -> Self {
        let read = self.file.clone().map(|file| Self::fetch(SecretOrigin::File(file)));
        read.and_then(Result::ok).unwrap_or_else(|| self.clone())
    }

    /// Fetches the secret.
    ///
    /// # Errors
    ///
    /// What is missing and what to do about it, in words.
    pub fn fetch(origin: SecretOrigin) -> Result<Self, String> {
        match origin {
            SecretOrigin::Plain(value) => Ok(Self::new(value)),
            SecretOrigin::Env(name) => std::env::var(&name).map(Self::new).map_err(|_| {
                format!("environment variable {name} is not set: set it and start again")
            }),
            SecretOrigin::File(path) => match std::fs::read_to_string(&path) {
                Ok(text) => {
                    let value = text.trim_end_matches(['\n', '\r']).to_owned();
                    Ok(Self { value: value.into(), file: Some(path) })
                }
                Err(error) => Err(format!("cannot read {}: {error}", path.display())),
            },
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
        assert_eq!(Secret::fetch(SecretOrigin::File(path)).unwrap().expose(), "pa ss");
    }

    #[test]
    fn what_a_file_holds_is_read_again_and_kept_when_the_file_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("password");
        std::fs::write(&path, "old").unwrap();
        let secret = Secret::fetch(SecretOrigin::File(path.clone())).unwrap();
        std::fs::write(&path, "new\n").unwrap();
        let renewed = secret.renewed();
        assert_eq!((secret.expose(), renewed.expose()), ("old", "new"));
        std::fs::remove_file(&path).unwrap();
        assert_eq!(renewed.renewed().expose(), "new");
        assert_eq!(Secret::new("plain".into()).renewed().expose(), "plain");
    }

    #[test]
    fn a_missing_variable_is_named() {
        let error = Secret::fetch(SecretOrigin::Env("DBEVENT_NOT_SET".into())).unwrap_err();
        assert!(error.contains("DBEVENT_NOT_SET"), "{error}");
    }
}
