//! Whose keys are whose.

use burgrave_attester::SimulatedAttester;
use burgrave_control::NewEnclave;
use burgrave_types::{KeyIdentity, ProblemCode};

use crate::agent::Agent;
use crate::node::{Node, hex, release, root, simulated};

const STORAGE: &str = "keyspace/payments/storage";
const PII: &str = "key/payments/pii";

async fn node() -> Node {
    let node = Node::dev().await;
    for enclave in ["payments/api", "payments/web"] {
        node.register(enclave).await;
    }
    node.make_key(STORAGE).await;
    node.make_key(PII).await;
    for who in ["payments/api", "payments/web"] {
        node.allow(&format!("{who} encrypt,decrypt,derive {STORAGE}")).await;
    }
    node
}

#[tokio::test]
async fn two_enclaves_get_different_keys_from_the_same_request() {
    let node = node().await;
    let (api, web) = (Agent::attested(&node, "payments/api").await, Agent::attested(&node, "payments/web").await);
    let (_, of_api) = api.derive(&node, STORAGE).await.unwrap();
    let (_, of_web) = web.derive(&node, STORAGE).await.unwrap();
    assert_ne!(of_api, of_web);
    let sealed = api.encrypt(&node, STORAGE, b"secret").await.unwrap();
    assert_eq!(api.decrypt(&node, &sealed).await.unwrap(), b"secret");
    assert_eq!(web.decrypt(&node, &sealed).await.unwrap_err().code, ProblemCode::CiphertextInvalid);
}

#[tokio::test]
async fn an_enclave_gets_the_same_key_in_another_instance_and_after_a_restart() {
    let node = node().await;
    let first = Agent::attested(&node, "payments/api").await;
    let (version, key) = first.derive(&node, STORAGE).await.unwrap();
    let node = node.restart().await;
    let second = Agent::attested(&node, "payments/api").await;
    assert_ne!(first.id(), second.id());
    assert_eq!(second.derive(&node, STORAGE).await.unwrap(), (version, key));
}

#[tokio::test]
async fn an_enclave_made_again_under_its_name_gets_another_key() {
    let node = node().await;
    let old = Agent::attested(&node, "payments/api").await;
    let (_, key) = old.derive(&node, STORAGE).await.unwrap();
    let sealed = old.encrypt(&node, STORAGE, b"secret").await.unwrap();
    let name = "payments/api".parse().unwrap();
    let enclave = node.control.enclave(&root(), &name).await.unwrap();
    node.control.delete_enclave(&root(), &name, Some(enclave.revision)).await.unwrap();
    let ended = old.encrypt(&node, STORAGE, b"more").await.unwrap_err();
    assert_eq!(ended.code, ProblemCode::NotAttested);
    node.register("payments/api").await;
    let new = Agent::attested(&node, "payments/api").await;
    assert_ne!(new.derive(&node, STORAGE).await.unwrap().1, key);
    assert_eq!(new.decrypt(&node, &sealed).await.unwrap_err().code, ProblemCode::CiphertextInvalid);
}

#[tokio::test]
async fn measurement_bound_keys_change_with_the_code_and_name_bound_ones_do_not() {
    let node = node().await;
    for (name, identity) in [("payments/pinned", KeyIdentity::Measurement), ("payments/loose", KeyIdentity::Name)] {
        let releases = vec![release("v1", "one"), release("v2", "two")];
        node.control.create_enclave(&root(), NewEnclave { releases, ..simulated(name, identity) }).await.unwrap();
        node.allow(&format!("{name} encrypt,decrypt,derive {STORAGE}")).await;
        let mut keys = Vec::new();
        for code in ["one", "two"] {
            let mut agent = Agent::with(name, SimulatedAttester::of_code(code));
            agent.attest(&node).await.unwrap();
            keys.push(agent.derive(&node, STORAGE).await.unwrap().1);
        }
        assert_eq!(keys[0] == keys[1], identity == KeyIdentity::Name, "{name}");
    }
}

#[tokio::test]
async fn signer_bound_keys_follow_the_signer() {
    let node = node().await;
    let signed = |name: &str, code: &str, signer: u8| {
        let mut release = release(name, code);
        release.reference.signer = Some(hex(&[signer; 32]));
        release
    };
    let releases = vec![signed("v1", "one", 1), signed("v2", "two", 1), signed("v3", "three", 2)];
    let registration = NewEnclave { releases, ..simulated("payments/signed", KeyIdentity::Signer) };
    node.control.create_enclave(&root(), registration).await.unwrap();
    node.allow(&format!("payments/signed derive {STORAGE}")).await;
    let mut keys = Vec::new();
    for (code, signer) in [("one", 1), ("two", 1), ("three", 2)] {
        let mut agent = Agent::with("payments/signed", SimulatedAttester::of_code(code).signer(hex(&[signer; 32])));
        agent.attest(&node).await.unwrap();
        keys.push(agent.derive(&node, STORAGE).await.unwrap().1);
    }
    assert_eq!(keys[0], keys[1]);
    assert_ne!(keys[0], keys[2]);
}

#[tokio::test]
async fn a_named_key_is_shared_by_whom_policy_lets_use_it() {
    let node = node().await;
    node.allow(&format!("payments/api encrypt {PII}")).await;
    let (api, web) = (Agent::attested(&node, "payments/api").await, Agent::attested(&node, "payments/web").await);
    let sealed = api.encrypt(&node, PII, b"secret").await.unwrap();
    let denied = web.decrypt(&node, &sealed).await.unwrap_err();
    assert_eq!(denied.code, ProblemCode::PolicyDenied);
    assert!(denied.decision_id.is_some() && denied.fix.is_some());
    node.allow(&format!("payments/web decrypt {PII}")).await;
    assert_eq!(web.decrypt(&node, &sealed).await.unwrap(), b"secret");
    assert_eq!(api.decrypt(&node, &sealed).await.unwrap_err().code, ProblemCode::PolicyDenied);
}

#[tokio::test]
async fn ciphertext_is_bound_to_its_associated_data_and_to_every_byte() {
    let node = node().await;
    let api = Agent::attested(&node, "payments/api").await;
    let sealed = api.encrypt(&node, STORAGE, b"secret").await.unwrap();
    let other = node.control.decrypt(api.id(), &sealed, b"row 2").await.unwrap_err();
    assert_eq!(other.code, ProblemCode::CiphertextInvalid);
    let mut altered = sealed.clone();
    *altered.last_mut().unwrap() ^= 1;
    assert_eq!(api.decrypt(&node, &altered).await.unwrap_err().code, ProblemCode::CiphertextInvalid);
    assert_eq!(api.decrypt(&node, b"junk").await.unwrap_err().code, ProblemCode::CiphertextInvalid);
}

#[tokio::test]
async fn a_key_that_is_allowed_but_not_made_is_said_to_be_missing() {
    let node = node().await;
    node.allow("payments/api encrypt key/payments/typo").await;
    let api = Agent::attested(&node, "payments/api").await;
    let missing = api.encrypt(&node, "key/payments/typo", b"x").await.unwrap_err();
    assert_eq!(missing.code, ProblemCode::NotFound);
    assert!(missing.fix.unwrap().contains("key create"));
    assert_eq!(api.encrypt(&node, "key/payments/other", b"x").await.unwrap_err().code, ProblemCode::PolicyDenied);
    assert_eq!(api.encrypt(&node, "enclave/payments/api", b"x").await.unwrap_err().code, ProblemCode::RequestInvalid);
}

#[tokio::test]
async fn a_key_has_a_namespace_and_a_name_and_no_more() {
    let node = Node::dev().await;
    for resource in ["key/payments/pii/eu", "keyspace/payments/storage/a/b"] {
        let new = burgrave_control::NewKey { resource: resource.parse().unwrap() };
        let refused = node.control.create_key(&root(), new).await.unwrap_err();
        assert_eq!(refused.code, ProblemCode::RequestInvalid, "{resource}: {refused}");
        assert!(refused.fix.unwrap().contains("/<namespace>/<name>"));
    }
}

#[tokio::test]
async fn a_rotated_key_writes_the_new_version_and_reads_the_old() {
    let node = node().await;
    node.allow(&format!("payments/api encrypt,decrypt {PII}")).await;
    let api = Agent::attested(&node, "payments/api").await;
    for (resource, enclave) in [(PII, None), (STORAGE, Some("payments/api".parse().unwrap()))] {
        let old = api.encrypt(&node, resource, b"old").await.unwrap();
        let rotated = node.control.rotate_key(&root(), &resource.parse().unwrap(), enclave.as_ref()).await.unwrap();
        assert_eq!(rotated.version, 2);
        let new = api.encrypt(&node, resource, b"new").await.unwrap();
        assert_eq!(api.decrypt(&node, &old).await.unwrap(), b"old");
        assert_eq!(api.decrypt(&node, &new).await.unwrap(), b"new");
        let versions = node.control.key_versions(&root(), &resource.parse().unwrap()).await.unwrap();
        let states: Vec<_> = versions.iter().map(|version| (version.version, version.state.as_str())).collect();
        assert_eq!(states, [(1, "deactivated"), (2, "active")]);
    }
}

#[tokio::test]
async fn what_was_under_a_deleted_keyspace_stays_unreadable_when_it_is_made_again() {
    let node = node().await;
    let api = Agent::attested(&node, "payments/api").await;
    let sealed = api.encrypt(&node, STORAGE, b"secret").await.unwrap();
    let resource = STORAGE.parse().unwrap();
    let key = node.control.key(&root(), &resource).await.unwrap();
    node.control.delete_key(&root(), &resource, Some(key.revision)).await.unwrap();
    assert_eq!(api.decrypt(&node, &sealed).await.unwrap_err().code, ProblemCode::NotFound);
    node.make_key(STORAGE).await;
    assert_eq!(api.decrypt(&node, &sealed).await.unwrap_err().code, ProblemCode::KeyState);
    let again = api.encrypt(&node, STORAGE, b"again").await.unwrap();
    assert_eq!(api.decrypt(&node, &again).await.unwrap(), b"again");
}
