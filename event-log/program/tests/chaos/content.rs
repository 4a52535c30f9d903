//! What is in a record.

const PAYLOAD_BYTES: usize = 100;

/// The content of a record follows from its id.
pub(super) fn payload(id: &str) -> String {
    format!("{id} {id:x>PAYLOAD_BYTES$}")
}

/// The id of a record, which must have its content.
pub(super) fn id_of(content: &[u8]) -> String {
    let text = String::from_utf8_lossy(content);
    let mut parts = text.match_indices(' ');
    let end = parts.nth(2).map_or(text.len(), |(at, _)| at);
    let id = text[..end].to_owned();
    assert_eq!(payload(&id), text, "another content");
    id
}
