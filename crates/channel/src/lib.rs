//! Grant, end-to-end handshake and confirmation between two enclaves, without I/O.
