//! What a listener promises, shown on a bus in memory and with real handlers.

mod bus;
mod listener;
