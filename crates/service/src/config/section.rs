//! A table of a config file, whose values are asked for by key.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    rc::Rc,
};

use serde_json::Value;

use super::{Fetched, Mistake, Notes, OldName, is_within, value::FromConfig};
use crate::secret::{Secret, SecretOrigin};

/// A table. Asking for a key marks it as known; what is wrong with it is noted.
#[derive(Debug)]
pub struct Section {
    path: String,
    entries: BTreeMap<String, Value>,
    present: bool,
    asked: RefCell<Vec<String>>,
    children: RefCell<Vec<Rc<Section>>>,
    all_known: Cell<bool>,
    notes: Notes,
}

impl Section {
    pub(super) fn new(path: String, entries: BTreeMap<String, Value>, notes: Notes) -> Self {
        Self {
            path,
            entries,
            present: true,
            asked: RefCell::default(),
            children: RefCell::default(),
            all_known: Cell::new(false),
            notes,
        }
    }

    /// Whether the file has this table at all.
    pub fn is_present(&self) -> bool {
        self.present
    }

    /// Whether the key is there, without asking for it.
    pub fn has(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    /// The keys that are there, in alphabetical order.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// The value of `key`, if it is there. A value of a wrong kind is noted, and `None` too.
    pub fn optional<T: FromConfig>(&self, key: &str) -> Option<T> {
        let value = self.ask(key)?;
        T::from_config(value).map_err(|remedy| self.note_kind(key, value, remedy)).ok()
    }

    /// The value of `key`, or `default` when it is not there.
    pub fn or<T: FromConfig>(&self, key: &str, default: T) -> T {
        self.optional(key).unwrap_or(default)
    }

    /// The value of `key`; where it is missing, that is noted, and `stand_in` is the value.
    pub fn required<T: FromConfig>(&self, key: &str, stand_in: T) -> T {
        if !self.has(key) {
            let example = T::EXAMPLE;
            self.note(key, "is missing", &format!("set it, for example {key} = {example}"));
        }
        self.or(key, stand_in)
    }

    /// A secret: plain text, `{ env = "NAME" }` or `{ file = "path" }`.
    pub fn secret(&self, key: &str) -> Option<Secret> {
        const FORMS: &str = r#"write { env = "NAME" }, { file = "path" } or "text""#;
        let Some(origin) = secret_origin(self.ask(key)?) else {
            self.note(key, "is not a secret", FORMS);
            return None;
        };
        if let SecretOrigin::Env(name) = &origin {
            self.notes.secret_variables.borrow_mut().insert(name.clone());
        }
        if !self.fetches_secrets() {
            return Some(Secret::new("not fetched".to_owned()));
        }
        Secret::fetch(origin).map_err(|problem| self.note_missing(key, &problem)).ok()
    }

    /// Whether the secrets of this table are fetched. If not, files that the table names need not
    /// be there either.
    pub fn fetches_secrets(&self) -> bool {
        match &*self.notes.fetched.borrow() {
            Fetched::All | Fetched::AllThatAreThere(_) => true,
            Fetched::Of(tables) => is_within(&self.path, tables),
        }
    }

    /// One of `words`, as its index.
    pub fn choice<const N: usize>(&self, key: &str, words: [&str; N]) -> Option<usize> {
        let text: String = self.optional(key)?;
        let found = words.iter().position(|word| *word == text);
        if found.is_none() {
            let problem = format!("{text:?} is not known");
            self.note(key, &problem, &format!("write one of {}", words.join(", ")));
        }
        found
    }

    /// The table under `key`; an empty one when it is not there.
    pub fn section(&self, key: &str) -> Rc<Section> {
        let mut child = Self::new(self.full_key(key), BTreeMap::new(), Rc::clone(&self.notes));
        match self.ask(key) {
            Some(Value::Object(table)) => child.entries = table.clone().into_iter().collect(),
            Some(value) => self.note_kind(key, value, "write a table".to_owned()),
            None => child.present = false,
        }
        let child = Rc::new(child);
        self.children.borrow_mut().push(Rc::clone(&child));
        child
    }

    /// Takes the whole table as it is: any key in it is known.
    pub fn entries(&self) -> &BTreeMap<String, Value> {
        self.all_known.set(true);
        &self.entries
    }

    /// The raw value of `key`, for a value that has several forms.
    pub fn raw(&self, key: &str) -> Option<&Value> {
        self.ask(key)
    }

    /// Notes a mistake that the caller found.
    pub fn note(&self, key: &str, problem: &str, remedy: &str) {
        self.notes.mistakes.borrow_mut().push(self.mistake(key, problem, remedy));
    }

    fn mistake(&self, key: &str, problem: &str, remedy: &str) -> Mistake {
        let (problem, remedy) = (problem.to_owned(), remedy.to_owned());
        Mistake { key: self.full_key(key), problem, remedy }
    }

    /// Notes that a secret is missing.
    fn note_missing(&self, key: &str, problem: &str) {
        let may_miss = match &*self.notes.fetched.borrow() {
            Fetched::All | Fetched::Of(_) => false,
            Fetched::AllThatAreThere(needed) => !is_within(&self.path, needed),
        };
        let list = if may_miss { &self.notes.missing } else { &self.notes.mistakes };
        list.borrow_mut().push(self.mistake(key, problem, "or name another variable or file"));
    }

    /// Notes that keys have old names: a warning, with what to write instead. `key` is the name
    /// now; if the file has that, too, the old names are a mistake.
    pub fn note_old(&self, old: &[&str], key: &str, instead: &str) {
        let found: Vec<&str> = old.iter().copied().filter(|old| self.has(old)).collect();
        let Some((first, others)) = found.split_first() else { return };
        let (names, work) = match others.is_empty() {
            true => ("is an old name".to_owned(), "works"),
            false => (format!("and {} are old names", others.join(" and ")), "work"),
        };
        if self.has(key) {
            let remedy = format!("keep {key}, and remove the old names");
            self.note(first, &format!("{names} of {key}, which is there too"), &remedy);
            return;
        }
        self.notes.old_names.borrow_mut().push(OldName {
            what: format!("{} {names} that still {work}", self.full_key(first)),
            remedy: format!("write {instead} instead"),
        });
    }

    pub(super) fn note_unknown_keys(&self) {
        let asked = self.asked.borrow();
        if !self.all_known.get() {
            for key in self.entries.keys().filter(|key| !asked.contains(key)) {
                self.note(key, "is not a known key", &unknown_key_remedy(key, &asked));
            }
        }
        for child in self.children.borrow().iter() {
            child.note_unknown_keys();
        }
    }

    fn ask(&self, key: &str) -> Option<&Value> {
        let mut asked = self.asked.borrow_mut();
        if !asked.iter().any(|known| known == key) {
            asked.push(key.to_owned());
        }
        self.entries.get(key)
    }

    fn note_kind(&self, key: &str, value: &Value, remedy: String) {
        self.note(key, &format!("{value} does not fit"), &remedy);
    }

    fn full_key(&self, key: &str) -> String {
        match (self.path.is_empty(), key.is_empty()) {
            (true, _) => key.to_owned(),
            (_, true) => self.path.clone(),
            _ => format!("{}.{key}", self.path),
        }
    }
}

fn secret_origin(value: &Value) -> Option<SecretOrigin> {
    let table = match value {
        Value::String(text) => return Some(SecretOrigin::Plain(text.clone())),
        Value::Object(table) if table.len() == 1 => table,
        _ => return None,
    };
    match table.iter().next()? {
        (kind, Value::String(name)) if kind == "env" => Some(SecretOrigin::Env(name.clone())),
        (kind, Value::String(name)) if kind == "file" => Some(SecretOrigin::File(name.into())),
        _ => None,
    }
}

fn unknown_key_remedy(key: &str, asked: &[String]) -> String {
    let nearest = asked.iter().map(|known| (distance(key, known), known)).min();
    match nearest {
        Some((distance, known)) if distance <= 1 + known.len() / 4 => {
            format!("did you mean {known}?")
        }
        _ if asked.is_empty() => "remove it".to_owned(),
        _ => format!("remove it (known here: {})", asked.join(", ")),
    }
}

/// The Levenshtein distance, without regard to ASCII case.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.to_ascii_lowercase().chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.to_ascii_lowercase().chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, b) in right.iter().enumerate() {
            let replaced = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[right.len()]
}
