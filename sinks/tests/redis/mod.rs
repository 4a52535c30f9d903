//! The sink `redis`, on real servers.

mod access;
mod outages;
mod rows;
mod server;
