//! The values of a column, which go to the server as one array.

use std::error::Error;

use bytes::{BufMut as _, BytesMut};
use tokio_postgres::types::{Format, IsNull, Kind, ToSql, Type, to_sql_checked};

use super::{
    binary::Binary,
    literal::{end_array, push_element},
};

/// The values of a column.
#[derive(Debug)]
pub(super) enum PgArray {
    Text(String),
    /// The elements, each with its length before it.
    Binary {
        bytes: Vec<u8>,
        count: i32,
        has_null: bool,
    },
}

impl PgArray {
    pub(super) fn of<'v>(
        declared: &str,
        cells: impl Iterator<Item = Option<&'v str>> + Clone,
    ) -> Self {
        if let Some(array) = Binary::of(declared).and_then(|of| Self::binary(of, cells.clone())) {
            return array;
        }
        let mut array = String::new();
        cells.for_each(|cell| push_element(&mut array, cell));
        end_array(&mut array);
        Self::Text(array)
    }

    /// `None`: a value is none of the type.
    fn binary<'v>(of: Binary, cells: impl Iterator<Item = Option<&'v str>>) -> Option<Self> {
        let (mut bytes, mut count, mut has_null) = (Vec::new(), 0, false);
        for cell in cells {
            count += 1;
            let Some(text) = cell else {
                has_null = true;
                bytes.extend((-1_i32).to_be_bytes());
                continue;
            };
            let start = bytes.len();
            bytes.extend([0; 4]);
            of.push(&mut bytes, text)?;
            let length = i32::try_from(bytes.len() - start - 4).ok()?;
            bytes[start..start + 4].copy_from_slice(&length.to_be_bytes());
        }
        Some(Self::Binary { bytes, count, has_null })
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Binary { bytes, .. } => bytes.len(),
        }
    }
}

impl ToSql for PgArray {
    fn to_sql(
        &self,
        of: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        match self {
            Self::Text(text) => out.extend_from_slice(text.as_bytes()),
            Self::Binary { bytes, count, has_null } => {
                let Kind::Array(element) = of.kind() else {
                    return Err(format!("{of} is no array").into());
                };
                // One dimension, which begins with 1.
                out.put_i32(1);
                out.put_i32(i32::from(*has_null));
                out.put_u32(element.oid());
                out.put_i32(*count);
                out.put_i32(1);
                out.extend_from_slice(bytes);
            }
        }
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn encode_format(&self, _: &Type) -> Format {
        match self {
            Self::Text(_) => Format::Text,
            Self::Binary { .. } => Format::Binary,
        }
    }

    to_sql_checked!();
}
