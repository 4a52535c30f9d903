//! What a row change is, and its wire formats.

pub mod json;
