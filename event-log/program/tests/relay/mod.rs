//! `event-log relay` as a process: what reaches the callback, in which order, and how often.

mod calls;
mod gone;
mod kills;
mod names;
mod refused;
mod runner;
mod targets;
mod token_file;
