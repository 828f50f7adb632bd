//! A process killed while it writes a token leaves a token that opens and holds every key that it reported as made.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests may fail loudly"
)]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use burgrave_hsm::{Hsm, KeyAttributes, KeyId, KeyPurpose, SoftwareToken, Unlock};
use burgrave_types::DomainClass;

const TOKEN: &str = "BURGRAVE_TEST_TOKEN";

/// The child's part: makes keys without end and says which are made.
#[test]
#[ignore = "runs as the child of the test below"]
fn child_makes_keys_until_it_is_killed() {
    let Ok(path) = std::env::var(TOKEN) else { return };
    let token = SoftwareToken::open(Path::new(&path), &Unlock::KeyFile).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        for version in 1.. {
            let id = KeyId::new(KeyPurpose::DomainRoot, version);
            if token.find_key(id).await.is_err() {
                token.generate_key(id, KeyAttributes::TOKEN).await.unwrap();
                println!("\nmade {version}");
            }
        }
    });
}

#[tokio::test]
async fn a_killed_process_loses_no_key_that_it_reported() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("token");
    drop(SoftwareToken::create(&path, DomainClass::Dev, &Unlock::KeyFile).unwrap());
    for reported in [1, 2, 5, 9] {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["child_makes_keys_until_it_is_killed", "--exact", "--ignored", "--nocapture"])
            .env(TOKEN, &path)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let made: Vec<u32> = lines.filter_map(|line| line.strip_prefix("made ")?.parse().ok()).take(reported).collect();
        child.kill().unwrap();
        child.wait().unwrap();

        let token = SoftwareToken::open(&path, &Unlock::KeyFile).unwrap();
        assert_eq!(made.len(), reported, "the child ended before it was killed");
        for version in made {
            token.find_key(KeyId::new(KeyPurpose::DomainRoot, version)).await.unwrap();
        }
        token.health().await.unwrap();
    }
}
