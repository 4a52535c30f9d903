//! Events as MariaDB packs them.

use std::io::Write as _;

use flate2::{Compression, write::ZlibEncoder};

/// The type of an event with the rows of a plain one, compressed (versions one and two).
pub fn compressed_kind(plain: u8) -> u8 {
    if plain < 30 { plain - 23 + 166 } else { plain - 30 + 169 }
}

/// The body of a compressed rows event that stands for a plain one (version one); `None` when not
/// even the columns that the rows have can be told.
pub fn compressed_rows(is_update: bool, plain: &[u8]) -> Option<Vec<u8>> {
    const COLUMNS_AT: usize = 8;
    let columns = usize::from(*plain.get(COLUMNS_AT).filter(|count| **count < 251)?);
    let bitmaps = columns.div_ceil(8) * if is_update { 2 } else { 1 };
    let (head, rows) = plain.split_at_checked(COLUMNS_AT + 1 + bitmaps)?;
    let mut packed = head.to_vec();
    packed.push(0x84);
    packed.extend_from_slice(&(rows.len() as u32).to_be_bytes());
    let mut encoder = ZlibEncoder::new(packed, Compression::fast());
    encoder.write_all(rows).ok()?;
    encoder.finish().ok()
}
