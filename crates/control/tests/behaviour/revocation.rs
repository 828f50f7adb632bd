//! When a revocation has returned, it holds.

use burgrave_attester::SimulatedAttester;
use burgrave_control::{EnclaveChange, Notice};
use burgrave_types::{Operation, ProblemCode, Standing};

use crate::agent::Agent;
use crate::node::{Node, hex, release, root};

const STORAGE: &str = "keyspace/payments/storage";
const PII: &str = "key/payments/pii";

async fn node() -> Node {
    let node = Node::dev().await;
    node.register("payments/api").await;
    node.make_key(STORAGE).await;
    node.make_key(PII).await;
    node.allow(&format!("payments/api encrypt,decrypt,derive {STORAGE}")).await;
    node.allow(&format!("payments/api encrypt,decrypt,derive {PII}")).await;
    node
}

async fn gets_nothing(node: &Node, agent: &Agent, sealed: &[u8]) {
    assert_eq!(agent.encrypt(node, STORAGE, b"x").await.unwrap_err().code, ProblemCode::Revoked);
    assert_eq!(agent.decrypt(node, sealed).await.unwrap_err().code, ProblemCode::Revoked);
    assert_eq!(agent.derive(node, STORAGE).await.unwrap_err().code, ProblemCode::Revoked);
    let asked = node.control.evaluate(agent.id(), Operation::Encrypt, &STORAGE.parse().unwrap());
    assert_eq!(asked.unwrap_err().code, ProblemCode::Revoked);
    assert_eq!(node.control.resume(&agent.identity(node)).unwrap_err().code, ProblemCode::Revoked);
}

#[tokio::test]
async fn a_revoked_instance_gets_nothing_at_once_and_what_it_was_given_is_rotated() {
    let node = node().await;
    let mut one = Agent::attested(&node, "payments/api").await;
    let other = Agent::attested_on(&node, "payments/api", 8).await;
    let sealed = one.encrypt(&node, STORAGE, b"old data").await.unwrap();
    let (_, old_key) = one.derive(&node, STORAGE).await.unwrap();
    one.derive(&node, PII).await.unwrap();
    let revoked = node.control.revoke_instance(&root(), one.id(), "stolen").await.unwrap();
    assert_eq!(revoked.instances, [one.id()]);
    let mut rotated: Vec<_> = revoked.rotated.iter().map(|one| (one.resource.to_string(), one.version)).collect();
    rotated.sort();
    assert_eq!(rotated, [(PII.to_owned(), 2), (STORAGE.to_owned(), 2)]);
    assert_eq!(revoked.residual.len(), 2);
    assert!(revoked.residual.iter().all(|left| left.versions == [1] && left.held_by == [one.id()]));
    assert_eq!(revoked.barred_platforms, [hex(&[9; 8])]);
    gets_nothing(&node, &one, &sealed).await;
    assert_eq!(*node.links.disconnected.lock().unwrap(), [one.id()]);
    assert!(node.notices(one.id()).iter().any(|notice| matches!(notice, Notice::Revoked { .. })));
    // The same code goes on elsewhere under the new version, and still reads what was written before.
    assert_eq!(other.decrypt(&node, &sealed).await.unwrap(), b"old data");
    let (version, new_key) = other.derive(&node, STORAGE).await.unwrap();
    assert_eq!(version, 2);
    assert_ne!(new_key, old_key);
    // It does not come back by attesting again, nor does another on its platform.
    assert_eq!(one.attest(&node).await.unwrap_err().code, ProblemCode::Revoked);
    let barred = Agent::new("payments/api").attest(&node).await.unwrap_err();
    assert_eq!(barred.cause.as_deref(), Some("platform.barred"));
    Agent::attested_on(&node, "payments/api", 8).await;
    let enclave = node.control.enclave(&root(), &one.enclave).await.unwrap();
    let lift = EnclaveChange { lift_platforms: vec![hex(&[9; 8])], ..EnclaveChange::default() };
    node.control.update_enclave(&root(), &one.enclave, Some(enclave.revision), lift).await.unwrap();
    Agent::new("payments/api").attest(&node).await.unwrap();
}

#[tokio::test]
async fn a_barred_platform_ends_all_that_runs_on_it_and_rotates_what_any_of_it_was_given() {
    let node = node().await;
    node.register("payments/web").await;
    let one = Agent::attested(&node, "payments/api").await;
    let (beside, elsewhere) =
        (Agent::attested(&node, "payments/api").await, Agent::attested_on(&node, "payments/api", 8).await);
    let sealed = beside.encrypt(&node, STORAGE, b"data").await.unwrap();
    beside.derive(&node, PII).await.unwrap();
    let revoked = node.control.revoke_instance(&root(), one.id(), "stolen").await.unwrap();
    let (mut ended, mut expected) = (revoked.instances.clone(), vec![one.id(), beside.id()]);
    ended.sort();
    expected.sort();
    assert_eq!(ended, expected);
    assert_eq!(revoked.rotated.iter().map(|one| one.resource.to_string()).collect::<Vec<_>>(), [PII]);
    gets_nothing(&node, &one, &sealed).await;
    gets_nothing(&node, &beside, &sealed).await;
    assert!(node.links.disconnected.lock().unwrap().contains(&beside.id()));
    assert_eq!(elsewhere.decrypt(&node, &sealed).await.unwrap(), b"data");
    // A bar is the enclave's own: others go on there.
    Agent::attested(&node, "payments/web").await;
}

#[tokio::test]
async fn an_instance_that_has_ended_already_has_its_platform_barred() {
    let node = node().await;
    let name = "payments/api".parse().unwrap();
    let enclave = node.control.enclave(&root(), &name).await.unwrap();
    node.control.add_release(&root(), &name, Some(enclave.revision), release("v2", "two")).await.unwrap();
    let old = Agent::attested(&node, "payments/api").await;
    let ended = node.control.revoke_release(&root(), &name, &"v1".parse().unwrap(), "flaw").await.unwrap();
    assert!(ended.instances == [old.id()] && ended.barred_platforms.is_empty());
    let other_code = |platform| SimulatedAttester::of_code("two").platform_id(hex(&[platform; 8]));
    let mut beside = Agent::with("payments/api", other_code(9));
    beside.attest(&node).await.unwrap();
    let revoked = node.control.revoke_instance(&root(), old.id(), "and its machine was taken over").await.unwrap();
    assert_eq!((revoked.instances, revoked.barred_platforms), (vec![beside.id()], vec![hex(&[9; 8])]));
    let barred = Agent::with("payments/api", other_code(9)).attest(&node).await.unwrap_err();
    assert_eq!(barred.cause.as_deref(), Some("platform.barred"));
    Agent::with("payments/api", other_code(8)).attest(&node).await.unwrap();
}

#[tokio::test]
async fn a_revocation_survives_a_restart() {
    let node = node().await;
    let agent = Agent::attested(&node, "payments/api").await;
    let sealed = agent.encrypt(&node, STORAGE, b"data").await.unwrap();
    node.control.revoke_instance(&root(), agent.id(), "stolen").await.unwrap();
    let node = node.restart().await;
    gets_nothing(&node, &agent, &sealed).await;
}

#[tokio::test]
async fn a_link_that_comes_with_a_revocation_is_ended() {
    let node = node().await;
    let mut agent = Agent::new("payments/api");
    let attested = agent.attest(&node).await.unwrap();
    // Revoked before the edge knows of the link: there is nothing to end yet.
    node.control.revoke_instance(&root(), attested.instance, "stolen").await.unwrap();
    node.links.disconnected.lock().unwrap().clear();
    node.link(agent.id());
    assert_eq!(node.control.linked(agent.id()).unwrap_err().code, ProblemCode::Revoked);
    assert_eq!(*node.links.disconnected.lock().unwrap(), [agent.id()]);
}

#[tokio::test]
async fn where_no_platform_is_named_revoke_says_what_else_helps() {
    let node = node().await;
    let mut agent = Agent::with("payments/api", SimulatedAttester::of_code("payments/api"));
    agent.attest(&node).await.unwrap();
    let revoked = node.control.revoke_instance(&root(), agent.id(), "stolen").await.unwrap();
    assert!(revoked.barred_platforms.is_empty());
    assert!(revoked.advice[0].fix.contains("--release v1"), "{:?}", revoked.advice);
}

#[tokio::test]
async fn a_revoked_enclave_ends_with_all_its_instances() {
    let node = node().await;
    let (one, two) = (Agent::attested(&node, "payments/api").await, Agent::attested(&node, "payments/api").await);
    let sealed = one.encrypt(&node, STORAGE, b"data").await.unwrap();
    let revoked = node.control.revoke_enclave(&root(), &one.enclave, "over").await.unwrap();
    assert_eq!(revoked.instances.len(), 2);
    for agent in [&one, &two] {
        gets_nothing(&node, agent, &sealed).await;
    }
    let twice = node.control.revoke_enclave(&root(), &one.enclave, "over").await.unwrap();
    assert!(twice.instances.is_empty());
}

#[tokio::test]
async fn a_revoked_release_ends_those_who_run_it_and_no_others() {
    let node = node().await;
    let name = "payments/api".parse().unwrap();
    let enclave = node.control.enclave(&root(), &name).await.unwrap();
    node.control.add_release(&root(), &name, Some(enclave.revision), release("v2", "two")).await.unwrap();
    let old = Agent::attested(&node, "payments/api").await;
    let mut new = Agent::with("payments/api", SimulatedAttester::of_code("two"));
    new.attest(&node).await.unwrap();
    let revoked = node.control.revoke_release(&root(), &name, &"v1".parse().unwrap(), "flaw").await.unwrap();
    assert_eq!(revoked.instances, [old.id()]);
    assert_eq!(old.encrypt(&node, STORAGE, b"x").await.unwrap_err().code, ProblemCode::Revoked);
    new.encrypt(&node, STORAGE, b"x").await.unwrap();
    let again = Agent::new("payments/api").attest(&node).await.unwrap_err();
    assert_eq!(again.cause.as_deref(), Some("measurement.unknown"));
    let shown = node.control.instance(&root(), old.id()).await.unwrap();
    assert!(matches!(shown.standing, Standing::Revoked { .. }));
}

#[tokio::test]
async fn a_revocation_cuts_channels_on_the_way() {
    let node = node().await;
    node.register("payments/ledger").await;
    node.allow("payments/api send payments/ledger").await;
    node.allow("payments/ledger receive payments/ledger").await;
    let (api, ledger) = (Agent::attested(&node, "payments/api").await, Agent::attested(&node, "payments/ledger").await);
    let opened = node.control.open_channel(api.id(), &ledger.enclave).await.unwrap();
    let revoked = node.control.revoke_instance(&root(), ledger.id(), "stolen").await.unwrap();
    assert_eq!(revoked.channels, [opened.channel]);
    assert_eq!(node.cuts().len(), 1);
}

#[tokio::test]
async fn a_deleted_enclave_leaves_no_shared_key_behind() {
    let node = node().await;
    let agent = Agent::attested(&node, "payments/api").await;
    agent.derive(&node, PII).await.unwrap();
    agent.derive(&node, STORAGE).await.unwrap();
    let enclave = node.control.enclave(&root(), &agent.enclave).await.unwrap();
    let deleted = node.control.delete_enclave(&root(), &agent.enclave, Some(enclave.revision)).await.unwrap();
    assert_eq!(deleted.instances, [agent.id()]);
    let rotated: Vec<_> = deleted.rotated.iter().map(|one| (one.resource.to_string(), one.version)).collect();
    assert_eq!(rotated, [(PII.to_owned(), 2)]);
    let mut left: Vec<_> = deleted.residual.iter().map(|left| left.resource.to_string()).collect();
    left.sort();
    assert_eq!(left, [PII, STORAGE]);
    assert_eq!(*node.links.disconnected.lock().unwrap(), [agent.id()]);
}
