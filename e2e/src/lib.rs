//! What the tests of whole programs share: real servers, the programs as processes, the oracle.

pub mod oracle;
pub mod programs;
pub mod servers;
