//! The life of releases: several at once, by signer and version, with an end.

use std::time::Duration;

use burgrave_attester::Attester;
use burgrave_control::{NewEnclave, NewRelease};
use burgrave_types::api::ReleaseStateChange;
use burgrave_types::claims::ReferenceValue;
use burgrave_types::{Clock, KeyIdentity, Problem, ProblemCode, ReleaseState, Standing, Tee};

use crate::agent::Agent;
use crate::made::{Dcap, NitroEnclave, Snp};
use crate::node::{Node, hex, release, root, simulated};
use crate::platform;
use crate::requirements::{node, registration};

const API: &str = "payments/api";

#[tokio::test]
async fn an_upgrade_rolls_over_two_releases_at_once() {
    let node = node().await;
    let (old, new) = (Snp::new(), Snp::new().measured(7));
    let mut enclave = node.control.create_enclave(&root(), registration(&old, serde_json::json!({}))).await.unwrap();
    let (name, v1) = (enclave.name.clone(), "v1".parse().unwrap());
    let mut before = Agent::with(API, old.clone());
    before.attest(&node).await.unwrap();
    let mut v2 = release("v2", "");
    (v2.reference.tee, v2.reference.measurement) = (Tee::Snp, Some(hex(&new.measurement())));
    enclave = node.control.add_release(&root(), &name, Some(enclave.revision), v2).await.unwrap();
    let mut after = Agent::with(API, new);
    after.attest(&node).await.unwrap();
    before.attest(&node).await.unwrap();
    assert_eq!(node.control.instance(&root(), after.id()).await.unwrap().release.as_str(), "v2");
    // The old one goes: what runs may go on for a time, and no longer.
    let until = node.clock.now() + Duration::from_secs(50);
    let change = ReleaseStateChange { state: ReleaseState::Deprecated, valid_until: Some(until) };
    enclave = node.control.set_release_state(&root(), &name, &v1, Some(enclave.revision), change).await.unwrap();
    assert_eq!(enclave.releases[0].valid_until, Some(until));
    assert_eq!(before.attest(&node).await.unwrap().until, until);
    assert!(Agent::with(API, old).attest(&node).await.is_err());
    node.advance(Duration::from_secs(50));
    let shown = node.control.instance(&root(), before.id()).await.unwrap();
    assert_eq!(shown.standing, Standing::Stale { since: until });
    assert_eq!(before.attest(&node).await.unwrap_err().cause.as_deref(), Some("measurement.unknown"));
    after.attest(&node).await.unwrap();
}

#[tokio::test]
async fn the_end_of_a_release_shortens_what_runs_already_and_can_be_moved() {
    let node = Node::dev().await;
    let mut new = simulated(API, KeyIdentity::Name);
    new.releases[0].valid_until = Some(node.clock.now() + Duration::from_secs(3600));
    let mut enclave = node.control.create_enclave(&root(), new).await.unwrap();
    let agent = Agent::attested(&node, API).await;
    let (name, v1) = (enclave.name.clone(), "v1".parse().unwrap());
    for secs in [5, 3600] {
        let until = node.clock.now() + Duration::from_secs(secs);
        let change = ReleaseStateChange { state: ReleaseState::Active, valid_until: Some(until) };
        enclave = node.control.set_release_state(&root(), &name, &v1, Some(enclave.revision), change).await.unwrap();
        let Standing::Fresh { until: deadline } = node.control.instance(&root(), agent.id()).await.unwrap().standing
        else {
            panic!("not fresh")
        };
        assert_eq!(deadline == until, secs == 5);
    }
    // The state alone, unchanged, is still no step.
    let again = node.control.set_release_state(&root(), &name, &v1, Some(enclave.revision), ReleaseState::Active).await;
    assert_eq!(again.unwrap_err().code, ProblemCode::RequestInvalid);
    let revoked = ReleaseStateChange { state: ReleaseState::Revoked, valid_until: Some(node.clock.now()) };
    let again = node.control.set_release_state(&root(), &name, &v1, Some(enclave.revision), revoked).await;
    assert_eq!(again.unwrap_err().code, ProblemCode::RequestInvalid);
}

#[tokio::test]
async fn a_deprecated_release_is_renewed_by_what_runs_it_and_by_nothing_else() {
    let node = node().await;
    let (old, new) = (Snp::new(), Snp::new().measured(7));
    let mut enclave = node.control.create_enclave(&root(), registration(&old, serde_json::json!({}))).await.unwrap();
    let mut v2 = release("v2", "");
    (v2.reference.tee, v2.reference.measurement) = (Tee::Snp, Some(hex(&new.measurement())));
    enclave = node.control.add_release(&root(), &enclave.name, Some(enclave.revision), v2).await.unwrap();
    let (mut before, mut after) = (Agent::with(API, old.clone()), Agent::with(API, new));
    before.attest(&node).await.unwrap();
    after.attest(&node).await.unwrap();
    let (name, v1) = (enclave.name, "v1".parse().unwrap());
    let deprecated = ReleaseState::Deprecated;
    node.control.set_release_state(&root(), &name, &v1, Some(enclave.revision), deprecated).await.unwrap();
    before.attest(&node).await.unwrap();
    // What ran the new one does not go back to the old one by a renewal.
    after.attester = Box::new(old);
    assert_eq!(after.attest(&node).await.unwrap_err().cause.as_deref(), Some("measurement.unknown"));
    assert_eq!(node.control.instance(&root(), after.id()).await.unwrap().release.as_str(), "v2");
}

#[tokio::test]
async fn a_release_that_would_be_over_already_is_not_taken() {
    let node = Node::dev().await;
    let now = node.clock.now();
    let ends = |until| NewRelease { valid_until: Some(until), ..release("v2", API) };
    let refused = |problem: Problem, at: &str| {
        assert_eq!(problem.code, ProblemCode::RequestInvalid, "{problem}");
        assert_eq!(problem.errors.iter().map(|error| error.at.as_str()).collect::<Vec<_>>(), [at]);
        assert!(problem.errors[0].reason.contains(&node.clock.now().to_string()), "{problem}");
        assert!(problem.errors[0].reason.contains("--until"), "{problem}");
    };
    let new = |until| NewEnclave { releases: vec![ends(until)], ..simulated(API, KeyIdentity::Name) };
    for until in [now, now - Duration::from_secs(86_400)] {
        refused(node.control.create_enclave(&root(), new(until)).await.unwrap_err(), "/releases/0/valid_until");
    }
    let made = node.control.create_enclave(&root(), simulated(API, KeyIdentity::Name)).await.unwrap();
    let (name, at) = (made.name, Some(made.revision));
    refused(node.control.add_release(&root(), &name, at, ends(now)).await.unwrap_err(), "/valid_until");
    let v1 = "v1".parse().unwrap();
    for state in [ReleaseState::Active, ReleaseState::Deprecated] {
        let change = ReleaseStateChange { state, valid_until: Some(now) };
        refused(node.control.set_release_state(&root(), &name, &v1, at, change).await.unwrap_err(), "/valid_until");
    }
    // One that has ended goes on only with another end.
    let change =
        ReleaseStateChange { state: ReleaseState::Deprecated, valid_until: Some(now + Duration::from_secs(5)) };
    let at = Some(node.control.set_release_state(&root(), &name, &v1, at, change).await.unwrap().revision);
    node.advance(Duration::from_secs(5));
    let again = node.control.set_release_state(&root(), &name, &v1, at, ReleaseState::Active).await.unwrap_err();
    refused(again, "/valid_until");
    let change = ReleaseStateChange { state: ReleaseState::Active, valid_until: Some(now + Duration::from_secs(60)) };
    node.control.set_release_state(&root(), &name, &v1, at, change).await.unwrap();
    Agent::new(API).attest(&node).await.unwrap();
}

fn by_signer(tee: Tee, signer: &[u8], min_svn: Option<u64>) -> NewEnclave {
    let reference =
        ReferenceValue { tee, measurement: None, signer: Some(hex(signer)), min_svn, ..crate::node::reference("") };
    let releases = vec![NewRelease { reference, ..release("v1", "") }];
    let name = format!("payments/{tee}").parse().unwrap();
    NewEnclave { name, tee, releases, ..simulated(API, KeyIdentity::Signer) }
}

async fn attest(node: &Node, machine: impl Attester + 'static) -> Result<(), Option<String>> {
    let enclave = format!("payments/{}", machine.tee());
    Agent::with(&enclave, machine).attest(node).await.map(drop).map_err(|problem| problem.cause)
}

#[tokio::test]
async fn code_is_known_by_its_signer_and_version_where_hardware_proves_them() {
    let node = node().await;
    let unknown = || Err(Some("measurement.unknown".to_owned()));
    node.control.create_enclave(&root(), by_signer(Tee::Snp, &[5; 48], Some(3))).await.unwrap();
    assert_eq!(attest(&node, Snp::new().signed(5, 3)).await, Ok(()));
    assert_eq!(attest(&node, Snp::new().signed(5, 4).measured(9)).await, Ok(()));
    assert_eq!(attest(&node, Snp::new().signed(5, 2)).await, unknown());
    assert_eq!(attest(&node, Snp::new().signed(6, 3)).await, unknown());
    assert_eq!(attest(&node, Snp::new()).await, unknown());

    node.control.create_enclave(&root(), by_signer(Tee::Sgx, &[0x51; 32], Some(9))).await.unwrap();
    let sgx = |change: fn(&mut platform::Made)| Dcap(platform::sgx().with(change));
    assert_eq!(attest(&node, sgx(|_| {})).await, Ok(()));
    assert_eq!(attest(&node, sgx(|made| made.body[64] ^= 1)).await, Ok(()), "other code of the same signer");
    assert_eq!(attest(&node, sgx(|made| made.body[258] = 8)).await, unknown());
    assert_eq!(attest(&node, sgx(|made| made.body[128] ^= 1)).await, unknown());

    node.control.create_enclave(&root(), by_signer(Tee::Nitro, &[8; 48], None)).await.unwrap();
    let nitro = |image, signer| NitroEnclave { image, parent: 4, signer };
    assert_eq!(attest(&node, nitro(1, 8)).await, Ok(()));
    assert_eq!(attest(&node, nitro(2, 8)).await, Ok(()));
    assert_eq!(attest(&node, nitro(1, 9)).await, unknown());
    assert_eq!(attest(&node, nitro(1, 0)).await, unknown());
}

#[tokio::test]
async fn a_signer_that_no_hardware_proves_is_refused_when_it_is_registered() {
    let node = node().await;
    for tee in [Tee::Tdx, Tee::Cca, Tee::Tpm] {
        let problem = node.control.create_enclave(&root(), by_signer(tee, &[1; 48], None)).await.unwrap_err();
        let at: Vec<_> = problem.errors.iter().map(|error| error.at.as_str()).collect();
        assert!(at.contains(&"/key_identity") && at.contains(&"/releases/0/reference/signer"), "{tee}: {problem}");
    }
}

#[tokio::test]
async fn a_release_that_names_only_what_its_launcher_chooses_is_refused() {
    let node = node().await;
    let value = "aa".repeat(48);
    for (tee, chosen) in [
        ("snp", serde_json::json!({"config": value})),
        ("sgx", serde_json::json!({"config": value, "product_id": "1", "min_svn": 2})),
        ("tdx", serde_json::json!({"config": value, "registers": {"rtmr1": value, "rtmr2": value}})),
        ("cca", serde_json::json!({"registers": {"rem0": value}})),
        ("nitro", serde_json::json!({"registers": {"pcr3": value, "pcr8": value}})),
        ("az-vtpm", serde_json::json!({"registers": {"pcr4": value}})),
        ("tpm", serde_json::json!({"config": value})),
    ] {
        let mut reference = chosen.clone();
        reference["tee"] = serde_json::json!(tee);
        let new = serde_json::json!({"name": "payments/open", "tee": tee, "key_identity": "name", "reattest_every_secs": 300, "releases": [{"name": "v1", "state": "active", "reference": reference}]});
        let new = serde_json::from_value(new).unwrap();
        let problem = node.control.create_enclave(&root(), new).await.unwrap_err();
        let found = problem.errors.iter().find(|error| error.at == "/releases/0/reference");
        assert!(found.is_some_and(|error| error.reason.contains("any code")), "{tee}: {problem}");
    }
}
