//! Partial JSON updates: from a document and the differences that the server logged to the new
//! document (`json_diff.h` in the server's source).
//!
//! The differences are applied to the text: a container is taken apart only where a path leads into
//! it.

use std::{borrow::Cow, cmp::Ordering};

use change_event::json;

use super::{
    super::{
        error::{Fault, corrupt},
        reader::FieldReader,
    },
    json_text,
};

mod operation {
    pub(super) const REPLACE: u8 = 0;
    pub(super) const INSERT: u8 = 1;
    pub(super) const REMOVE: u8 = 2;
}

/// Writes the document as it is after the differences.
pub(super) fn write(out: &mut Vec<u8>, document: &[u8], diffs: &[u8]) -> Result<(), Fault> {
    let mut root = Node::of_document(document)?;
    let mut reader = FieldReader::new(diffs);
    while !reader.is_empty() {
        apply(&mut root, &mut reader)?;
    }
    root.write(out);
    Ok(())
}

/// Applies one difference: operation, path, and a value where it needs one.
fn apply(root: &mut Node, reader: &mut FieldReader<'_>) -> Result<(), Fault> {
    let operation = reader.u8()?;
    let mut path = read_path(reader.string()?)?;
    let last = path.pop();
    let mut at = root;
    for leg in &path {
        at = at.child(leg)?.ok_or_else(nowhere)?;
    }
    match (operation, last) {
        (operation::REPLACE, None) => *at = Node::of_document(reader.string()?)?,
        (operation::REPLACE, Some(leg)) => {
            *at.child(&leg)?.ok_or_else(nowhere)? = Node::of_document(reader.string()?)?;
        }
        (operation::INSERT, Some(leg)) => at.insert(&leg, Node::of_document(reader.string()?)?)?,
        (operation::REMOVE, Some(leg)) => at.remove(&leg)?,
        _ => return Err(corrupt("a JSON difference of an unknown kind")),
    }
    Ok(())
}

/// A step of a path.
#[derive(Debug, PartialEq, Eq)]
enum Leg {
    Member(Vec<u8>),
    Cell(usize),
}

/// Reads a path as the server writes it: `$.name[3]."odd name"`. Its length is limited: an endless
/// path would make an endlessly deep document, which does not fit on a stack.
fn read_path(text: &[u8]) -> Result<Vec<Leg>, Fault> {
    /// The depth of the deepest document (`JSON_DOCUMENT_MAX_DEPTH`).
    const MAX_LEGS: usize = 100;
    let mut rest = text.strip_prefix(b"$").ok_or_else(wrong_path)?;
    let mut legs = Vec::new();
    while let Some((first, after)) = rest.split_first() {
        let (leg, after) = match first {
            b'.' if after.first() == Some(&b'"') => {
                let (name, after) = split_string(after).ok_or_else(wrong_path)?;
                (Leg::Member(unescaped(name).into_owned()), after)
            }
            b'.' => {
                let end = after.iter().position(|byte| matches!(byte, b'.' | b'['));
                let (name, after) =
                    after.split_at_checked(end.unwrap_or(after.len())).unwrap_or_default();
                (Leg::Member(name.to_vec()), after)
            }
            b'[' => {
                let end = after.iter().position(|byte| *byte == b']').ok_or_else(wrong_path)?;
                let (digits, after) = after.split_at_checked(end).unwrap_or_default();
                let digits = std::str::from_utf8(digits).map_err(|_| wrong_path())?;
                let cell = digits.parse().map_err(|_| wrong_path())?;
                (Leg::Cell(cell), after.get(1..).unwrap_or_default())
            }
            _ => return Err(wrong_path()),
        };
        if legs.len() >= MAX_LEGS {
            return Err(corrupt("a JSON difference is deeper than any document"));
        }
        legs.push(leg);
        rest = after;
    }
    Ok(legs)
}

/// A part of the document.
#[derive(Debug)]
enum Node {
    /// As JSON text.
    Text(Vec<u8>),
    /// Each member's name as a JSON string, and its value.
    Object(Vec<(Vec<u8>, Node)>),
    Array(Vec<Node>),
}

impl Node {
    fn of_document(document: &[u8]) -> Result<Self, Fault> {
        let mut text = Vec::new();
        json_text::write(&mut text, document)?;
        Ok(Self::Text(text))
    }

    /// Takes a container apart into its members or cells.
    fn open(&mut self) -> Result<(), Fault> {
        let Self::Text(text) = self else { return Ok(()) };
        let opened = match text.first() {
            Some(b'{') => {
                Self::Object(items(text)?.into_iter().map(member).collect::<Result<_, _>>()?)
            }
            Some(b'[') => {
                let cells = items(text)?;
                Self::Array(cells.into_iter().map(|cell| Self::Text(cell.to_vec())).collect())
            }
            _ => return Err(nowhere()),
        };
        *self = opened;
        Ok(())
    }

    fn child(&mut self, leg: &Leg) -> Result<Option<&mut Self>, Fault> {
        self.open()?;
        Ok(match (self, leg) {
            (Self::Object(members), Leg::Member(name)) => {
                let found = members.iter_mut().find(|(known, _)| *unescaped(known) == **name);
                found.map(|(_, value)| value)
            }
            (Self::Array(cells), Leg::Cell(at)) => cells.get_mut(*at),
            _ => None,
        })
    }

    fn insert(&mut self, leg: &Leg, value: Self) -> Result<(), Fault> {
        self.open()?;
        match (self, leg) {
            (Self::Object(members), Leg::Member(name)) => {
                let at = members.partition_point(|(known, _)| order(known, name).is_lt());
                if members.get(at).is_some_and(|(known, _)| order(known, name).is_eq()) {
                    return Err(corrupt(
                        "a JSON difference inserts a member that is there already",
                    ));
                }
                let mut quoted = Vec::new();
                if !json::write_utf8(&mut quoted, name) {
                    return Err(wrong_path());
                }
                members.insert(at, (quoted, value));
            }
            (Self::Array(cells), Leg::Cell(at)) => cells.insert((*at).min(cells.len()), value),
            _ => return Err(nowhere()),
        }
        Ok(())
    }

    fn remove(&mut self, leg: &Leg) -> Result<(), Fault> {
        self.open()?;
        match (self, leg) {
            (Self::Object(members), Leg::Member(name)) => {
                let at = members.iter().position(|(known, _)| *unescaped(known) == **name);
                members.remove(at.ok_or_else(nowhere)?);
            }
            (Self::Array(cells), Leg::Cell(at)) if *at < cells.len() => {
                cells.remove(*at);
            }
            _ => return Err(nowhere()),
        }
        Ok(())
    }

    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Text(text) => out.extend_from_slice(text),
            Self::Object(members) => {
                out.push(b'{');
                for (n, (name, value)) in members.iter().enumerate() {
                    out.extend_from_slice(if n > 0 { b"," } else { b"" });
                    out.extend_from_slice(name);
                    out.push(b':');
                    value.write(out);
                }
                out.push(b'}');
            }
            Self::Array(cells) => {
                out.push(b'[');
                for (n, cell) in cells.iter().enumerate() {
                    out.extend_from_slice(if n > 0 { b"," } else { b"" });
                    cell.write(out);
                }
                out.push(b']');
            }
        }
    }
}

/// The server keeps the members of an object sorted by length, then by bytes.
fn order(known: &[u8], name: &[u8]) -> Ordering {
    let known = unescaped(known);
    known.len().cmp(&name.len()).then_with(|| (*known).cmp(name))
}

/// `"name":value` taken apart.
fn member(text: &[u8]) -> Result<(Vec<u8>, Node), Fault> {
    let (name, rest) = split_string(text).ok_or_else(broken)?;
    let value = rest.strip_prefix(b":").ok_or_else(broken)?;
    Ok((name.to_vec(), Node::Text(value.to_vec())))
}

/// The texts between the commas of a container, one level deep. The text is our own: it has no
/// blanks, and every string ends.
fn items(text: &[u8]) -> Result<Vec<&[u8]>, Fault> {
    let inner = text.get(1..text.len().saturating_sub(1)).ok_or_else(broken)?;
    let mut items = Vec::new();
    let (mut start, mut at, mut depth) = (0_usize, 0_usize, 0_u32);
    while let Some(byte) = inner.get(at) {
        match byte {
            b'"' => {
                let rest = inner.get(at..).unwrap_or_default();
                let (string, _) = split_string(rest).ok_or_else(broken)?;
                at = at.saturating_add(string.len());
                continue;
            }
            b'{' | b'[' => depth = depth.saturating_add(1),
            b'}' | b']' => depth = depth.saturating_sub(1),
            b',' if depth == 0 => {
                items.push(inner.get(start..at).unwrap_or_default());
                start = at.saturating_add(1);
            }
            _ => {}
        }
        at = at.saturating_add(1);
    }
    if !inner.is_empty() {
        items.push(inner.get(start..).unwrap_or_default());
    }
    Ok(items)
}

/// A JSON string at the beginning, with its quotes, and what follows.
fn split_string(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut escaped = false;
    let end = text.iter().skip(1).position(|byte| {
        let ends = *byte == b'"' && !escaped;
        escaped = *byte == b'\\' && !escaped;
        ends
    })?;
    text.split_at_checked(end.saturating_add(2))
}

/// The text of a JSON string. Only control characters are written as `\u`.
fn unescaped(string: &[u8]) -> Cow<'_, [u8]> {
    let inner = string.get(1..string.len().saturating_sub(1)).unwrap_or_default();
    if !inner.contains(&b'\\') {
        return Cow::Borrowed(inner);
    }
    let mut plain = Vec::with_capacity(inner.len());
    let mut rest = inner;
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        if *byte != b'\\' {
            plain.push(*byte);
            continue;
        }
        let Some((escape, after)) = rest.split_first() else { break };
        rest = after;
        plain.push(match escape {
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'b' => 8,
            b'f' => 12,
            b'u' => {
                let (digits, after) = rest.split_at_checked(4).unwrap_or_default();
                rest = after;
                let digits = std::str::from_utf8(digits).unwrap_or_default();
                u8::from_str_radix(digits, 16).unwrap_or(b'?')
            }
            other => *other,
        });
    }
    Cow::Owned(plain)
}

#[cold]
fn nowhere() -> Fault {
    corrupt("a JSON difference leads to a place that the document does not have")
}

#[cold]
fn wrong_path() -> Fault {
    corrupt("a JSON difference has an invalid path")
}

#[cold]
fn broken() -> Fault {
    corrupt("JSON text cannot be taken apart")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(text: &str) -> Node {
        Node::Text(text.as_bytes().to_vec())
    }

    fn path(text: &str) -> Vec<Leg> {
        read_path(text.as_bytes()).unwrap()
    }

    fn text(node: &Node) -> String {
        let mut out = Vec::new();
        node.write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn paths_are_read_as_the_server_writes_them() {
        let member = |name: &str| Leg::Member(name.as_bytes().to_vec());
        assert_eq!(path("$"), []);
        assert_eq!(path("$.a[12].bc"), [member("a"), Leg::Cell(12), member("bc")]);
        assert_eq!(path(r#"$."b c"."x\"].y"[0]"#), [member("b c"), member("x\"].y"), Leg::Cell(0)]);
        assert_eq!(path("$.größe"), [member("größe")]);
        for wrong in ["", "a", "$a", "$[", "$[x]", "$[-1]", "$.\"a"] {
            assert!(read_path(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_path_is_at_most_as_long_as_a_document_is_deep() {
        let of = |legs| [&b"$"[..], &b"[0]".repeat(legs)].concat();
        assert_eq!(read_path(&of(100)).unwrap().len(), 100);
        assert!(read_path(&of(101)).is_err());
    }

    #[test]
    fn containers_are_taken_apart_and_put_together() {
        let whole = r#"{"a":1,"b":[{"x":"],}"},2,[]],"c\"d":{"e":{}}}"#;
        let mut root = node(whole);
        assert_eq!(text(root.child(&path("$.b")[0]).unwrap().unwrap()), r#"[{"x":"],}"},2,[]]"#);
        assert_eq!(text(root.child(&path(r#"$."c\"d""#)[0]).unwrap().unwrap()), r#"{"e":{}}"#);
        assert_eq!(text(&root), whole);
        assert!(root.child(&Leg::Cell(0)).unwrap().is_none());
        assert!(node("1").child(&Leg::Cell(0)).is_err());
    }

    #[test]
    fn members_and_cells_come_and_go_in_their_order() {
        let mut object = node(r#"{"b":1,"aa":2}"#);
        for (at, value) in [("$.a", "3"), ("$.c", "4"), ("$.ab", "5"), (r#"$."\n""#, "6")] {
            object.insert(&path(at)[0], node(value)).unwrap();
        }
        assert_eq!(text(&object), r#"{"\n":6,"a":3,"b":1,"c":4,"aa":2,"ab":5}"#);
        assert!(object.insert(&path("$.a")[0], node("7")).is_err());
        object.remove(&path("$.b")[0]).unwrap();
        assert!(object.remove(&path("$.b")[0]).is_err());
        let mut array = node("[1,2]");
        for (at, value) in [(0, "0"), (99, "3")] {
            array.insert(&Leg::Cell(at), node(value)).unwrap();
        }
        array.remove(&Leg::Cell(1)).unwrap();
        assert_eq!(text(&array), "[0,2,3]");
        let mut empty = node("[]");
        assert!(empty.remove(&Leg::Cell(0)).is_err());
        assert_eq!(text(&empty), "[]");
    }
}
