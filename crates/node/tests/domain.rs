//! A domain is made, served, stopped and served again; what contradicts itself is refused with what to do.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests may fail loudly"
)]

use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use burgrave_node::{
    Address, AttestationConfig, CollateralConfig, DataDir, InitOptions, Initialized, LinkConfig, Node, NodeConfig,
    NodeOptions, RestConfig, TokenConfig, init, issue_admin,
};
use burgrave_seal::SystemRandom;
use burgrave_types::api::AdminIdentity;
use burgrave_types::{DomainClass, GenesisHash, SystemClock};

fn free_port() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

fn options(folder: &Path, class: DomainClass) -> InitOptions {
    InitOptions {
        trust_domain: "test.example".parse().unwrap(),
        class,
        operators: Vec::new(),
        quorum: None,
        data_dir: folder.join("data"),
        token: TokenConfig::KeyFile,
        admin: "root".parse().unwrap(),
    }
}

fn config(folder: &Path) -> NodeConfig {
    NodeConfig {
        data_dir: folder.join("data"),
        genesis: None,
        token: TokenConfig::KeyFile,
        link: LinkConfig { listen: vec![Address::Tcp(free_port()), Address::Unix(folder.join("link.sock"))] },
        rest: RestConfig { listen: free_port(), names: Vec::new(), token_file: None, token_name: None },
        attestation: AttestationConfig::default(),
        collateral: CollateralConfig::default(),
    }
}

async fn make(options: InitOptions) -> anyhow::Result<Initialized> {
    init(options, Arc::new(SystemClock), Arc::new(SystemRandom)).await
}

async fn start(config: NodeConfig) -> anyhow::Result<Node> {
    let (clock, random) = (Arc::new(SystemClock), Arc::new(SystemRandom));
    Node::start(NodeOptions { config, clock, random, tap: None }).await
}

/// The whole refusal in a line.
fn refusal<T>(result: anyhow::Result<T>) -> String {
    match result {
        Ok(_) => panic!("it was taken"),
        Err(error) => format!("{error:#}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_domain_is_served_and_served_again_after_a_stop() {
    let folder = tempfile::tempdir().unwrap();
    let made = make(options(folder.path(), DomainClass::Dev)).await.unwrap();
    for _ in 0..2 {
        let mut config = config(folder.path());
        config.genesis = Some(made.genesis);
        let node = start(config).await.unwrap();
        assert_eq!(node.genesis(), made.genesis);
        assert_ne!(node.addresses().rest.port(), 0);
        assert_eq!(node.addresses().link.len(), 2);
        node.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_secret_file_of_a_domain_is_its_owners_alone() {
    let folder = tempfile::tempdir().unwrap();
    make(options(folder.path(), DomainClass::Dev)).await.unwrap();
    let data = folder.path().join("data");
    assert_eq!(std::fs::metadata(&data).unwrap().permissions().mode() & 0o777, 0o700);
    for entry in std::fs::read_dir(&data).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o077, 0, "{}", entry.path().display());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_holds_something_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    make(options(folder.path(), DomainClass::Dev)).await.unwrap();
    let ledger = std::fs::read(DataDir::new(folder.path().join("data")).ledger()).unwrap();
    let error = refusal(make(options(folder.path(), DomainClass::Dev)).await);
    assert!(error.contains("is not empty"), "{error}");
    assert_eq!(std::fs::read(DataDir::new(folder.path().join("data")).ledger()).unwrap(), ledger);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_production_domain_takes_no_shortcut() {
    let folder = tempfile::tempdir().unwrap();
    let error = refusal(make(options(folder.path(), DomainClass::Production)).await);
    assert!(error.contains("passphrase"), "{error}");

    let passphrase = folder.path().join("passphrase");
    std::fs::write(&passphrase, "correct horse battery staple\n").unwrap();
    std::fs::set_permissions(&passphrase, std::fs::Permissions::from_mode(0o600)).unwrap();
    let token = TokenConfig::PassphraseFile { path: passphrase };
    let mut without_quorum = options(folder.path(), DomainClass::Production);
    without_quorum.token = token.clone();
    let error = refusal(make(without_quorum).await);
    assert!(error.contains("--quorum 1"), "{error}");

    let mut whole = options(folder.path(), DomainClass::Production);
    (whole.token, whole.quorum) = (token.clone(), Some(1));
    make(whole).await.unwrap();
    let mut config = config(folder.path());
    (config.token, config.rest.token_file, config.rest.token_name) =
        (token, Some("token.txt".into()), Some("dev".parse().unwrap()));
    let error = refusal(start(config).await);
    assert!(error.contains("client certificates"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quorum_that_cannot_be_met_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut options = options(folder.path(), DomainClass::Dev);
    options.quorum = Some(2);
    let error = refusal(make(options).await);
    assert!(error.contains("quorum of 2") && error.contains("1 operator"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_of_another_domain_is_not_served() {
    let folder = tempfile::tempdir().unwrap();
    let made = make(options(folder.path(), DomainClass::Dev)).await.unwrap();
    let mut config = config(folder.path());
    config.genesis = Some(GenesisHash::from_bytes([1; 32]));
    let error = refusal(start(config).await);
    assert!(error.contains(&made.genesis.to_string()), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_folder_that_others_can_enter_is_not_served() {
    let folder = tempfile::tempdir().unwrap();
    make(options(folder.path(), DomainClass::Dev)).await.unwrap();
    let data = folder.path().join("data");
    std::fs::set_permissions(&data, std::fs::Permissions::from_mode(0o755)).unwrap();
    let error = refusal(start(config(folder.path())).await);
    assert!(error.contains("chmod 700"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_node_on_the_same_folder_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    make(options(folder.path(), DomainClass::Dev)).await.unwrap();
    let first = start(config(folder.path())).await.unwrap();
    let error = refusal(start(config(folder.path())).await);
    assert!(error.contains("in use") || error.contains("another process"), "{error}");
    first.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_further_administrator_gets_a_certificate_of_the_domain() {
    let folder = tempfile::tempdir().unwrap();
    make(options(folder.path(), DomainClass::Dev)).await.unwrap();
    let out = folder.path().join("out");
    std::fs::DirBuilder::new().mode(0o700).create(&out).unwrap();
    let name = "alice".parse().unwrap();
    let (clock, random) = (Arc::new(SystemClock), Arc::new(SystemRandom));
    let (certificate, key) = issue_admin(&config(folder.path()), &name, &out, clock, random).await.unwrap();
    let pem = std::fs::read_to_string(certificate).unwrap();
    assert_eq!(pem.matches("BEGIN CERTIFICATE").count(), 2, "the leaf and the CA that carries the trust chain");
    assert!(std::fs::read_to_string(key).unwrap().contains("PRIVATE KEY"));
}

#[tokio::test]
async fn a_node_with_a_folder_of_collateral_holds_what_is_in_it() {
    let folder = tempfile::tempdir().unwrap();
    make(options(folder.path(), DomainClass::Dev)).await.unwrap();
    let collateral = folder.path().join("collateral");
    std::fs::create_dir(&collateral).unwrap();
    let vcek = concat!(env!("CARGO_MANIFEST_DIR"), "/../verifier/testdata/snp/milan-v2-virtee/vcek.der");
    std::fs::copy(vcek, collateral.join("chip")).unwrap();
    let mut config = config(folder.path());
    config.collateral.directories = vec![collateral];
    let node = start(config).await.unwrap();
    let admin = AdminIdentity { name: "root".parse().unwrap(), roles: vec!["admin".to_owned()] };
    let held = async {
        while node.control().status(&admin).await.unwrap().collateral.is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), held).await.unwrap();
    node.shutdown().await;
}

#[tokio::test]
async fn a_node_says_which_address_of_a_service_is_none() {
    let folder = tempfile::tempdir().unwrap();
    make(options(folder.path(), DomainClass::Dev)).await.unwrap();
    let mut config = config(folder.path());
    config.collateral.kds_url = Some("kdsintf.amd.com".to_owned());
    let refusal = refusal(start(config).await);
    assert!(refusal.contains("collateral.kds_url") && refusal.contains("https://"), "{refusal}");
}
