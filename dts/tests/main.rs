//! Tests of the parts of `dts` against real servers.

mod binlog;
mod charsets;
mod decode;
mod mariadb;
mod mutation;
mod recorded;
