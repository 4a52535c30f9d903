//! Handlers that are a program or a service of the user: `exec` keeps a process running, `http`
//! calls a server.
//!
//! Who calls them has its own words for itself: the environment of a process and a header of each
//! call say whose handler it is.

mod choice;
mod exec;
mod http;
mod program;
mod timeout;

pub use self::{
    exec::{Environment, ExecConfig, ExecHandler},
    http::{Caller, HttpConfig, HttpHandler, Proxy},
    program::find as find_program,
};
