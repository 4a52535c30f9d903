//! A reporter and its spools, without a server.
