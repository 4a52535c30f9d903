//! Tests of the parts of `dts` against real servers.

mod full_sync;
mod silent;
