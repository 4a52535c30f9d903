//! What one file defines, and which paths it names: read from its words, without its macros.

use std::{
    collections::{BTreeMap, BTreeSet},
    iter::Peekable,
    slice::Iter,
};

/// The names of a path, such as `crate`, `a` and `B`.
type Path = Vec<String>;

/// The words and signs of a text: without white space, comments, strings and lifetimes.
type Tokens<'a> = [&'a str];

/// The keywords that a name is defined after.
const DEFINING: [&str; 8] = ["const", "enum", "fn", "static", "struct", "trait", "type", "union"];

/// What matters of a file's text.
#[derive(Debug, Default)]
pub(super) struct Source {
    /// The names that it defines itself, outside of all braces.
    pub(super) defined: BTreeSet<String>,
    /// The names that it imports or re-exports, and the path of each.
    pub(super) imported: BTreeMap<String, Path>,
    /// The paths whose targets it needs itself: what it only re-exports is not among them.
    pub(super) needed: Vec<Path>,
}

impl Source {
    pub(super) fn parse(text: &str) -> Self {
        let tokens = without_tests(&tokens(text));
        let (mut source, mut reexports, mut used) = (Self::default(), vec![], BTreeSet::new());
        let (mut at, mut depth) = (0, 0_usize);
        while let Some(token) = tokens.get(at) {
            let rest = &tokens[at..];
            let mut length = 1;
            match rest {
                // Not the `use<'a>` of a type.
                ["use", next, ..] if *next != "<" => {
                    length = rest.iter().position(|token| *token == ";").unwrap_or(rest.len());
                    let is_public = is_public(&tokens[..at]);
                    for (name, path) in imports(&rest[1..length]) {
                        let paths = if is_public { &mut reexports } else { &mut source.needed };
                        paths.push(path.clone());
                        source.imported.insert(name, path);
                    }
                }
                ["{", ..] => depth += 1,
                ["}", ..] => depth = depth.saturating_sub(1),
                [keyword, name, ..] if depth == 0 && DEFINING.contains(keyword) => {
                    source.defined.insert((*name).to_owned());
                }
                _ if is_name(token) => {
                    let path = path_at(rest);
                    length = 2 * path.len() - 1;
                    used.insert(path[0].clone());
                    source.needed.extend(Some(path).filter(|path| path.len() > 1));
                }
                // What follows a type in `<T as Trait>::Name` belongs to that type.
                ["::", name, ..] if is_name(name) => length = 2,
                _ => {}
            }
            at += length;
        }
        let uses_itself = |path: &Path| path.last().is_some_and(|name| used.contains(name));
        source.needed.extend(reexports.into_iter().filter(uses_itself));
        source
    }
}

/// The path that the tokens begin with.
fn path_at(tokens: &Tokens<'_>) -> Path {
    let mut names = vec![tokens[0].to_owned()];
    let mut rest = &tokens[1..];
    while let ["::", name, after @ ..] = rest
        && is_name(name)
    {
        names.push((*name).to_owned());
        rest = after;
    }
    names
}

fn is_name(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// Whether the tokens end with `pub`, or with `pub(…)`.
fn is_public(before: &Tokens<'_>) -> bool {
    match before {
        [.., "pub"] => true,
        [inside @ .., ")"] => {
            let open = inside.iter().rposition(|token| *token == "(").unwrap_or_default();
            inside[..open].last() == Some(&"pub")
        }
        _ => false,
    }
}

/// What the tree of a `use` imports: each path, and the name that it has in the file.
fn imports(tree: &Tokens<'_>) -> Vec<(String, Path)> {
    let mut found = Vec::new();
    read_tree(&mut tree.iter().peekable(), &[], &mut found);
    found
}

fn read_tree(
    tree: &mut Peekable<Iter<'_, &str>>,
    prefix: &[String],
    found: &mut Vec<(String, Path)>,
) {
    let (mut path, mut name) = (prefix.to_vec(), None);
    while let Some(token) = tree.next_if(|token| ![",", "}"].contains(*token)) {
        match *token {
            "::" => {}
            "as" => name = tree.next().map(|name| (*name).to_owned()),
            "{" => {
                while tree.next_if(|token| **token == "}").is_none() && tree.peek().is_some() {
                    read_tree(tree, &path, found);
                    tree.next_if(|token| **token == ",");
                }
                return;
            }
            name => path.push(name.to_owned()),
        }
    }
    if path.len() > 1 && path.last().is_some_and(|last| last == "self") {
        path.pop();
    }
    found.extend(name.or_else(|| path.last().cloned()).map(|name| (name, path)));
}

/// The tokens without the items that are only there in a test build.
fn without_tests<'a>(tokens: &Tokens<'a>) -> Vec<&'a str> {
    const TEST_ONLY: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
    let (mut kept, mut rest) = (Vec::new(), tokens);
    while let Some((first, after)) = rest.split_first() {
        rest = match rest.strip_prefix(&TEST_ONLY) {
            Some(item) => &item[item_length(item)..],
            None => {
                kept.push(*first);
                after
            }
        };
    }
    kept
}

/// Up to the first `;` or the last `}` of the item that the tokens begin with.
fn item_length(tokens: &Tokens<'_>) -> usize {
    let mut depth = 0_usize;
    let ends = |token: &&str| {
        match *token {
            "{" => depth += 1,
            "}" => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth == 0 && ["}", ";"].contains(token)
    };
    tokens.iter().position(ends).map_or(tokens.len(), |last| last + 1)
}

fn tokens(text: &str) -> Vec<&str> {
    let (mut tokens, mut rest) = (Vec::new(), text);
    while !rest.is_empty() {
        let silent = silent_length(rest);
        let length = if silent > 0 { silent } else { token_length(rest) };
        let (token, after) = rest.split_at(length);
        if silent == 0 {
            tokens.push(token);
        }
        rest = after;
    }
    tokens
}

fn token_length(text: &str) -> usize {
    let word = word_length(text);
    match text.chars().next() {
        _ if word > 0 => word,
        Some(':') if text.starts_with("::") => 2,
        other => other.map_or(0, char::len_utf8),
    }
}

fn word_length(text: &str) -> usize {
    text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len())
}

/// How long the white space, comment, string, character or lifetime is that a text begins with.
fn silent_length(text: &str) -> usize {
    let up_to = |end: &str, from: usize| {
        text.get(from..).and_then(|rest| rest.find(end)).map_or(text.len(), |at| from + at)
    };
    match text.as_bytes() {
        [b'/', b'/', ..] => up_to("\n", 0),
        [b'/', b'*', ..] => (up_to("*/", 2) + 2).min(text.len()),
        [b'"', ..] => string_length(text),
        [b'\'', b'\\', ..] => (up_to("'", 3) + 1).min(text.len()),
        [b'\'', ..] => {
            let character = text[1..].chars().next().map_or(0, char::len_utf8);
            let is_closed = text.as_bytes().get(1 + character) == Some(&b'\'');
            if is_closed { character + 2 } else { 1 + word_length(&text[1..]) }
        }
        _ => raw_string_length(text).unwrap_or(text.len() - text.trim_start().len()),
    }
}

fn string_length(text: &str) -> usize {
    let mut is_escaped = true;
    let ends = |c: char| {
        let is_end = c == '"' && !is_escaped;
        is_escaped = c == '\\' && !is_escaped;
        is_end
    };
    text.find(ends).map_or(text.len(), |at| at + 1)
}

/// Of `r"…"`, `r#"…"#` and so on.
fn raw_string_length(text: &str) -> Option<usize> {
    let body = text.trim_start_matches(['b', 'c']).strip_prefix('r')?;
    let hashes = body.len() - body.trim_start_matches('#').len();
    let content = body[hashes..].strip_prefix('"')?;
    let end = format!("\"{}", &body[..hashes]);
    let begun = text.len() - content.len();
    Some(content.find(&end).map_or(text.len(), |at| begun + at + end.len()))
}
