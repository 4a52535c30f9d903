//! What a row must look like as an event: made from a SELECT over the binary protocol.
