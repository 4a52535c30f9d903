//! What a full sync asks MySQL: describes tables, selects pages of them in the order of their key,
//! and turns each row into the JSON that the decoder writes for the same row.

pub(super) mod bound;
pub(super) mod cursor;
pub(super) mod error;
pub(super) mod key;
pub(super) mod page;
pub(super) mod row;
pub(super) mod session;
pub(super) mod shape;
pub(super) mod table;
pub(super) mod value;
pub(super) mod watermark;
