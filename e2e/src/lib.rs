//! What the tests of whole programs share: real servers, the programs as processes, the oracle.

pub mod charsets;
pub mod http;
pub mod imports;
pub mod mysqlbinlog;
pub mod oracle;
pub mod pair;
pub mod picture;
pub mod processes;
pub mod programs;
pub mod proxy;
pub mod rebuilt;
pub mod recording;
pub mod replays;
pub mod replication;
pub mod running;
pub mod servers;
pub mod sessions;
pub mod source;
pub mod topics;
pub mod workload;
pub mod writers;
