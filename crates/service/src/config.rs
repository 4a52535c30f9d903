//! Reads a config file, and names *all* its mistakes at once.
//!
//! A program takes its values out of a [`Section`] one by one. A value that is missing, of a wrong
//! kind or out of range is noted, and replaced by a stand-in. Keys that nobody asked for are noted,
//! too. [`File::finish`] then gives the value, or every mistake with file, key and remedy. A key by
//! an old name is no mistake: [`File::old_names`] has them, for a warning.

pub mod commented;
mod section;
mod value;

use std::{
    cell::RefCell,
    collections::BTreeSet,
    fmt,
    io::ErrorKind,
    path::{Path, PathBuf},
    rc::Rc,
};

pub use section::Section;

/// One thing that is wrong in a config file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The dotted key, `source.hosts`; empty when the file as a whole is meant.
    pub key: String,
    /// What is wrong.
    pub problem: String,
    /// What to do about it.
    pub remedy: String,
}

/// Something in a config file that has an old name. It still works; the user gets a warning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OldName {
    /// What has the old name.
    pub what: String,
    /// What to write instead.
    pub remedy: String,
}

/// All that is wrong in one config file.
#[derive(Clone, Debug, thiserror::Error)]
pub struct Mistakes {
    file: PathBuf,
    list: Vec<Mistake>,
}

impl Mistakes {
    /// One, of a file that has no others.
    pub fn one(file: &Path, mistake: Mistake) -> Self {
        Self { file: file.to_owned(), list: vec![mistake] }
    }

    /// The mistakes, in the order in which they were met.
    pub fn list(&self) -> &[Mistake] {
        &self.list
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.list.len();
        let noun = if count == 1 { "mistake" } else { "mistakes" };
        write!(out, "{}: {count} {noun}", self.file.display())?;
        for Mistake { key, problem, remedy } in &self.list {
            let at = if key.is_empty() { "" } else { ": " };
            write!(out, "\n  {key}{at}{problem}; {remedy}")?;
        }
        Ok(())
    }
}

impl fmt::Display for OldName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}; {}", self.what, self.remedy)
    }
}

/// What is noted while a file is read.
#[derive(Debug, Default)]
struct FileNotes {
    mistakes: RefCell<Vec<Mistake>>,
    /// Keys by old names.
    old_names: RefCell<Vec<OldName>>,
    /// The environment variables that secrets were taken from.
    secret_variables: RefCell<BTreeSet<String>>,
    /// Which secrets are fetched.
    fetched: RefCell<Fetched>,
    /// Secrets that are not there, where the caller goes on without them.
    missing: RefCell<Vec<Mistake>>,
}

/// Which secrets are fetched. Tables stand for themselves and all tables in them.
#[derive(Debug, Default)]
enum Fetched {
    /// All, and all must be there.
    #[default]
    All,
    /// Those of these tables.
    Of(Vec<String>),
    /// All. Those outside of these tables may be missing.
    AllThatAreThere(Vec<String>),
}

type Notes = Rc<FileNotes>;

/// A config file that is being read.
#[derive(Debug)]
pub struct File {
    path: PathBuf,
    text: String,
    notes: Notes,
    root: Section,
}

impl File {
    /// Opens and parses a TOML file.
    ///
    /// # Errors
    ///
    /// When the file cannot be read or is not TOML.
    pub fn open(path: &Path) -> Result<Self, Mistakes> {
        let bytes = std::fs::read(path).map_err(|error| {
            let remedy = match error.kind() {
                ErrorKind::NotFound => {
                    "create it, or name another with --config (config/ has commented examples)"
                }
                _ => "let this user read it, or name another file with --config",
            };
            whole(path, format!("cannot read the file: {error}"), remedy)
        })?;
        let text = String::from_utf8(bytes).map_err(|error| {
            let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
            let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
            let problem = format!("line {line} has bytes that are not UTF-8");
            whole(path, problem, "save the file as UTF-8")
        })?;
        Self::parse(path, &text)
    }

    /// Parses TOML; `path` is only for messages.
    ///
    /// # Errors
    ///
    /// When the text is not TOML.
    pub fn parse(path: &Path, text: &str) -> Result<Self, Mistakes> {
        let source = config::File::from_str(text, config::FileFormat::Toml);
        let tree = config::Config::builder()
            .add_source(source)
            .build()
            .and_then(config::Config::try_deserialize)
            .map_err(|error| whole(path, syntax(&error.to_string()), "correct it there"))?;
        let notes = Notes::default();
        let root = Section::new(String::new(), tree, Rc::clone(&notes));
        Ok(Self { path: path.to_owned(), text: text.to_owned(), notes, root })
    }

    /// Fetches only the secrets of these tables, for a caller that may not have the others. A text
    /// without a meaning stands for those.
    #[must_use]
    pub fn with_secrets_of(self, tables: &[&str]) -> Self {
        self.notes.fetched.replace(Fetched::Of(owned(tables)));
        self
    }

    /// Goes on without secrets that are missing, except those of these tables:
    /// [`Self::missing_secrets`] has them.
    #[must_use]
    pub fn with_missing_secrets_except_of(self, tables: &[&str]) -> Self {
        self.notes.fetched.replace(Fetched::AllThatAreThere(owned(tables)));
        self
    }

    /// The secrets that were asked for until now, are missing, and are no mistake.
    pub fn missing_secrets(&self) -> Vec<Mistake> {
        self.notes.missing.borrow().clone()
    }

    /// The top of the file.
    pub fn root(&self) -> &Section {
        &self.root
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The text as it was read. It may hold secrets.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The environment variables of the secrets that were asked for until now.
    pub fn secret_variables(&self) -> BTreeSet<String> {
        self.notes.secret_variables.borrow().clone()
    }

    /// The keys with old names that were asked for until now.
    pub fn old_names(&self) -> Vec<OldName> {
        self.notes.old_names.borrow().clone()
    }

    /// Gives `value` if nothing was wrong in these tables and keys.
    ///
    /// # Errors
    ///
    /// Every mistake in them.
    pub fn finish_of<T>(self, parts: &[&str], value: T) -> Result<T, Mistakes> {
        self.root.note_unknown_keys();
        let mut list = self.notes.mistakes.take();
        list.retain(|mistake| is_within(&mistake.key, &owned(parts)));
        if list.is_empty() { Ok(value) } else { Err(Mistakes { file: self.path, list }) }
    }

    /// Gives `value` if nothing was wrong.
    ///
    /// # Errors
    ///
    /// Every mistake noted while reading, and every key that was never asked for.
    pub fn finish<T>(self, value: T) -> Result<T, Mistakes> {
        self.root.note_unknown_keys();
        let list = self.notes.mistakes.take();
        if list.is_empty() { Ok(value) } else { Err(Mistakes { file: self.path, list }) }
    }
}

fn owned(tables: &[&str]) -> Vec<String> {
    tables.iter().map(|table| (*table).to_owned()).collect()
}

/// Whether a table is one of these, or in one of these.
fn is_within(path: &str, tables: &[String]) -> bool {
    tables.iter().any(|table| {
        let rest = path.strip_prefix(table.as_str());
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    })
}

/// What a TOML error says, without the line of the file, which may hold a secret.
fn syntax(error: &str) -> String {
    let place = error.lines().next().unwrap_or_default();
    let place = place.split_once(" at line ").map(|(_, place)| format!(" at line {place}"));
    // The reason comes after the line that points at the place.
    let is_pointer = |line: &&str| line.trim_start().starts_with('|') && line.contains('^');
    let lines: Vec<&str> = error.lines().collect();
    let after = lines.iter().rposition(is_pointer).map_or(lines.len(), |at| at + 1);
    let reason: Vec<&str> =
        lines[after..].iter().map(|line| line.trim()).filter(|line| !line.is_empty()).collect();
    let reason = if reason.is_empty() { String::new() } else { format!(": {}", reason.join(", ")) };
    format!("is not TOML{}{reason}", place.unwrap_or_default())
}

fn whole(path: &Path, problem: String, remedy: &str) -> Mistakes {
    Mistakes::one(path, Mistake { key: String::new(), problem, remedy: remedy.to_owned() })
}

#[cfg(test)]
mod tests;
