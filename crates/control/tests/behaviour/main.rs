//! The services of a node over a real token and a real store, with simulated enclaves (and a TPM where `swtpm` is there).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "tests may fail loudly"
)]

mod admin;
mod agent;
mod attestation;
mod channels;
mod concurrency;
mod held;
mod keys;
mod node;
mod policies;
mod record;
mod results;
mod revocation;
mod standing;
mod tpm;
