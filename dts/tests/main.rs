//! Tests of the parts of `dts` against real servers.

mod binlog;
mod charsets;
mod decode;
mod mutation;
mod recorded;
