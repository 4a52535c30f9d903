//! Tests of the parts of `dts` against real servers.

mod charsets;
mod decode;
mod full_sync;
mod mariadb;
mod mutation;
mod recorded;
mod silent;
mod source;
