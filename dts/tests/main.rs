//! Tests of the parts of `dts` against real servers.

mod binlog;
mod decode;
mod mutation;
mod recorded;
