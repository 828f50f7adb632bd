//! The decoders of bytes that anybody may have made, as bodies of fuzz targets, with seeds to begin from.
//!
//! The bodies themselves stand beside the decoders, in each crate; here is the one table of them, so that a fuzzer
//! (`fuzz/`, with nightly Rust), the replay on stable Rust in `./test` (`tests/smoke.rs`) and the generator of seeds
//! (`src/main.rs`) agree on what there is. A body must not panic, hang or take memory out of proportion to its input,
//! whatever the bytes are.
//!
//! Threat notes: seeds come from the evidence and vectors that stand in the repository, and from nowhere else.

#![cfg_attr(
    test,
    allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests may fail loudly")
)]

mod bodies;
mod domain;
mod mutate;
mod seeds;
mod targets;

pub use mutate::Mutator;
pub use targets::{TARGETS, Target};

/// Runs the body of the target of that name.
///
/// # Panics
/// Where there is no such target, or the body finds a fault.
#[expect(clippy::panic, reason = "a fuzzer is told of a fault by a panic")]
pub fn run(name: &str, bytes: &[u8]) {
    match TARGETS.iter().find(|target| target.name == name) {
        Some(target) => (target.body)(bytes),
        None => panic!("`{name}` is no target; `crates/fuzz/src/targets.rs` lists them"),
    }
}
