//! Runs listeners: batches of changes, handlers that are called until they succeed.
