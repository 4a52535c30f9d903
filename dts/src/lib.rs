//! Captures MySQL changes from the binlog and publishes them.

pub mod decode;
