//! `burgrave node`: a domain is made once, logs in by certificate, and survives the death of its node.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests may fail loudly"
)]

mod common;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use common::{Serving, burgrave, exits};

#[test]
fn a_domain_keeps_its_state_over_kill_9_and_lets_its_administrator_in() {
    let folder = tempfile::tempdir().unwrap();
    let (here, data) = (folder.path(), folder.path().join("data"));
    let made = exits(0, &mut init(here, &data, &["--class", "dev", "--key-file"]));
    let genesis = made.lines().find_map(|line| line.strip_prefix("genesis hash")).unwrap().trim().to_owned();
    let again = exits(2, &mut init(here, &data, &["--class", "dev", "--key-file"]));
    assert!(again.contains("is not empty"), "{again}");

    let (node, url) = serve(here, &data);
    let admin = [data.join("admin-alice.pem"), data.join("admin-alice-key.pem")];
    let mut create = burgrave(here);
    create.args(["context", "create", "main", "--server", &url, "--genesis", &genesis, "--certificate"]);
    exits(0, create.arg(&admin[0]).arg("--key").arg(&admin[1]));
    exits(0, burgrave(here).args(["enclave", "create", "payments/api", "--simulate", "code"]));
    node.kill();

    let (node, url) = serve(here, &data);
    let mut list = burgrave(here);
    list.args(["enclave", "list", "--server", &url, "--genesis", &genesis, "--certificate"]);
    let listed = exits(0, list.arg(&admin[0]).arg("--key").arg(&admin[1]));
    assert!(listed.contains("payments/api"), "{listed}");
    let nobody = exits(4, burgrave(here).args(["enclave", "list", "--server", &url, "--genesis", &genesis]));
    assert!(nobody.contains("fix: "), "{nobody}");
    assert!(node.stop());
}

#[test]
fn a_production_domain_says_its_quorum_and_has_a_passphrase() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let passphrase = here.join("passphrase");
    std::fs::write(&passphrase, "correct horse battery staple\n").unwrap();
    std::fs::set_permissions(&passphrase, std::fs::Permissions::from_mode(0o600)).unwrap();
    let passphrase = passphrase.to_str().unwrap();

    let silent = exits(2, &mut init(here, &here.join("a"), &["--passphrase-file", passphrase]));
    assert!(silent.contains("--quorum 1"), "{silent}");
    let keyed = exits(2, &mut init(here, &here.join("b"), &["--key-file", "--quorum", "1"]));
    assert!(keyed.contains("passphrase"), "{keyed}");
    exits(2, &mut init(here, &here.join("c"), &[]));

    let data = here.join("d");
    exits(0, &mut init(here, &data, &["--passphrase-file", passphrase, "--quorum", "1"]));
    let (node, url) = serve(here, &data);
    let genesis = std::fs::read_to_string(data.join("node.toml")).unwrap();
    let genesis =
        genesis.lines().find_map(|line| line.strip_prefix("genesis = ")).unwrap().trim_matches('"').to_owned();
    let proven = exits(0, burgrave(here).args(["domain", "verify", &url, "--genesis", &genesis]));
    assert!(proven.contains("production") && proven.contains("1 of 1 operators"), "{proven}");
    assert!(node.stop());
}

fn init(here: &Path, data: &Path, more: &[&str]) -> Command {
    let mut command = burgrave(here);
    command.args(["node", "init", "--trust-domain", "example.org", "--admin", "alice", "--data"]).arg(data);
    command.args(["--link", "tcp://127.0.0.1:0", "--rest", "127.0.0.1:0"]).args(more);
    command
}

/// Starts the node, and waits until it serves: its REST address.
fn serve(here: &Path, data: &Path) -> (Serving, String) {
    let mut node = Serving::start(burgrave(here).args(["node", "run", "--config"]).arg(data.join("node.toml")));
    let lines = node.stderr_until("serving REST at ");
    let url = lines.last().unwrap().split("serving REST at ").nth(1).unwrap().split(',').next().unwrap().to_owned();
    (node, url)
}
