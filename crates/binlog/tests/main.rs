//! Tests of the decoder against recorded binlog files and real servers.

mod charsets;
mod decode;
mod mariadb;
mod mutation;
mod recorded;
