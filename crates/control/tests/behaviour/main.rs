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
mod collateral;
mod concurrency;
mod held;
mod keys;
mod made;
mod node;
mod parts;
mod policies;
mod record;
mod releases;
mod requirements;
mod results;
mod revocation;
mod run_time;
mod standing;
mod tees;
mod tpm;
mod trust_domains;

use burgrave_made::intel as platform;
