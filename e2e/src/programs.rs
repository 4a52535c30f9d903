//! The programs of this workspace, started as processes and stopped with the test.
