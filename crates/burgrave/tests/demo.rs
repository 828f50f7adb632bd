//! The demo is a test of the whole: it must succeed, and it must notice what is broken.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests may fail loudly"
)]

mod common;

use common::{burgrave, exits};

#[test]
fn the_whole_story_holds() {
    let folder = tempfile::tempdir().unwrap();
    let told = exits(0, burgrave(folder.path()).arg("demo"));
    for step in 1..=9 {
        assert!(told.contains(&format!("\n{step}. ")), "step {step} is missing: {told}");
    }
    assert!(told.contains("expectations held"), "{told}");
    let tpm = std::env::split_paths(&std::env::var_os("PATH").unwrap()).any(|folder| folder.join("swtpm").is_file());
    assert!(told.contains(if tpm { "boot/gateway is fresh: tpm" } else { "no TPM plays" }), "{told}");
    assert!(!folder.path().join("contexts.toml").exists(), "the demo leaves the person's contexts alone");
}

#[test]
fn a_registered_patch_is_noticed() {
    breaks("attest", 3);
}

#[test]
fn a_key_for_everybody_is_noticed() {
    breaks("key", 4);
}

#[test]
fn a_conversation_that_is_not_cut_is_noticed() {
    breaks("cut", 7);
}

#[test]
fn an_access_that_is_not_ended_is_noticed() {
    breaks("revoke", 8);
}

#[test]
fn a_node_that_comes_back_as_another_domain_is_noticed() {
    breaks("restart", 9);
}

/// Leaves something out, and expects the demo to fail in that step.
fn breaks(what: &str, step: usize) {
    let folder = tempfile::tempdir().unwrap();
    let told = exits(1, burgrave(folder.path()).args(["demo", "--break", what]));
    assert!(told.contains(&format!("error: step {step} (")), "{told}");
    assert!(!told.contains("expectations held"), "{told}");
}
