//! What attestation must take, and above all what it must refuse.

use std::time::Duration;

use burgrave_attester::SimulatedAttester;
use burgrave_control::{AttestStep, NewEnclave, NewRelease};
use burgrave_identity::{ProfileKind, jws, verify_chain};
use burgrave_types::claims::ReferenceValue;
use burgrave_types::{Clock, DomainClass, GenesisHash, KeyIdentity, Problem, ProblemCode, ReleaseState, Standing, Tee};

use crate::agent::Agent;
use crate::node::{INTERVAL, Node, hex, release, root};

const API: &str = "payments/api";

async fn refusal(node: &Node, agent: &mut Agent) -> Problem {
    agent.attest(node).await.unwrap_err()
}

fn is_rejected(problem: &Problem, cause: &str) {
    assert_eq!(problem.code, ProblemCode::AttestationRejected, "{problem}");
    assert_eq!(problem.cause.as_deref(), Some(cause), "{problem}");
    assert!(problem.fix.is_some(), "{problem}");
}

#[tokio::test]
async fn an_enclave_attests_and_gets_an_identity_that_lives_no_longer_than_its_attestation() {
    let node = Node::dev().await;
    node.register(API).await;
    let mut agent = Agent::new(API);
    let attested = agent.attest(&node).await.unwrap();
    let now = node.clock.now();
    assert_eq!(attested.until, now + Duration::from_secs(INTERVAL * 3 / 2));
    let identity = agent.identity(&node);
    assert_eq!(identity.spiffe_id.to_string(), "spiffe://example.org/payments/api");
    assert_eq!(identity.spki_hash, agent.identity.spki_hash());
    assert!(identity.not_after <= attested.until);
    let (signer, result) =
        jws::verify(&attested.attestation_result, jws::TYP_ATTESTATION_RESULT, &node.trust, now).unwrap();
    assert_eq!(signer.profile, ProfileKind::NodeSigning);
    assert_eq!(result["submods"]["simulated"]["ear.status"], "affirming");
    assert_eq!(result["burgrave"]["release"], "v1");
    assert!(agent.instance_key.is_some());
    let shown = node.control.instance(&root(), agent.id()).await.unwrap();
    assert_eq!(shown.standing, Standing::Fresh { until: attested.until });
    assert_eq!(shown.release.as_str(), "v1");
}

#[tokio::test]
async fn a_nonce_is_taken_once() {
    let node = Node::dev().await;
    node.register(API).await;
    let mut agent = Agent::new(API);
    let request = agent.request(&node);
    node.control.attest(request.clone()).await.unwrap();
    let problem = node.control.attest(request).await.unwrap_err();
    assert_eq!(problem.code, ProblemCode::ChallengeInvalid);
    assert_eq!(problem.cause.as_deref(), Some("challenge.used"));
}

#[tokio::test]
async fn an_expired_nonce_is_refused() {
    let node = Node::dev().await;
    node.register(API).await;
    let request = Agent::new(API).request(&node);
    node.advance(Duration::from_secs(61));
    let problem = node.control.attest(request).await.unwrap_err();
    assert_eq!(problem.code, ProblemCode::ChallengeInvalid);
    assert_eq!(problem.cause.as_deref(), Some("challenge.expired"));
    assert!(problem.detail.contains("1 s"), "{problem}");
}

#[tokio::test]
async fn a_nonce_of_another_key_or_run_is_refused() {
    let node = Node::dev().await;
    node.register(API).await;
    let stolen = Agent::new(API).request(&node).nonce;
    let mut agent = Agent::new(API);
    let request = agent.answer(node.trust.genesis_hash(), &stolen);
    let problem = node.control.attest(request).await.unwrap_err();
    assert_eq!(problem.cause.as_deref(), Some("challenge.unknown"));
    let request = agent.request(&node);
    let node = node.restart().await;
    let problem = node.control.attest(request).await.unwrap_err();
    assert_eq!(problem.cause.as_deref(), Some("challenge.unknown"));
}

#[tokio::test]
async fn evidence_bound_to_another_link_is_refused() {
    let node = Node::dev().await;
    node.register(API).await;
    let mut agent = Agent::new(API);
    let mut request = agent.request(&node);
    request.link.exporter = [4; 32];
    let problem = node.control.attest(request).await.unwrap_err();
    is_rejected(&problem, "binding.report_data");
    assert!(problem.detail.contains("expected") && problem.detail.contains("found"), "{problem}");
}

#[tokio::test]
async fn evidence_bound_to_another_key_is_refused() {
    let node = Node::dev().await;
    node.register(API).await;
    // The identity key of another link: the nonce is this link's own, the evidence somebody else's.
    let (mut victim, mut thief) = (Agent::new(API), Agent::new(API));
    let mut request = thief.request(&node);
    request.evidence = victim.answer(node.trust.genesis_hash(), &request.nonce).evidence;
    is_rejected(&node.control.attest(request).await.unwrap_err(), "binding.report_data");
    // Another sealing key than the one in the evidence.
    let mut request = thief.request(&node);
    request.sealing_key = victim.sealing.public();
    is_rejected(&node.control.attest(request).await.unwrap_err(), "binding.report_data");
}

#[tokio::test]
async fn evidence_bound_to_another_genesis_or_enclave_is_refused() {
    let node = Node::dev().await;
    node.register(API).await;
    node.register("payments/web").await;
    let mut agent = Agent::new(API);
    let nonce = agent.request(&node).nonce;
    let request = agent.answer(GenesisHash::from_bytes([7; 32]), &nonce);
    is_rejected(&node.control.attest(request).await.unwrap_err(), "binding.report_data");
    let mut web = Agent::new("payments/web");
    let mut request = web.request(&node);
    web.enclave = API.parse().unwrap();
    request.evidence = web.answer(node.trust.genesis_hash(), &request.nonce).evidence;
    is_rejected(&node.control.attest(request).await.unwrap_err(), "binding.report_data");
}

#[tokio::test]
async fn an_unknown_measurement_is_refused_with_what_differed() {
    let node = Node::dev().await;
    node.register(API).await;
    let mut agent = Agent::with(API, SimulatedAttester::of_code("something else"));
    let problem = refusal(&node, &mut agent).await;
    is_rejected(&problem, "measurement.unknown");
    let (expected, found) =
        (SimulatedAttester::measurement_of(API), SimulatedAttester::measurement_of("something else"));
    assert!(problem.detail.contains(&expected.to_string()) && problem.detail.contains(&found.to_string()), "{problem}");
}

#[tokio::test]
async fn a_debug_enclave_is_refused() {
    let node = Node::dev().await;
    node.register(API).await;
    is_rejected(&refusal(&node, &mut Agent::with(API, SimulatedAttester::of_code(API).debug(true))).await, "debug");
}

#[tokio::test]
async fn an_unknown_enclave_is_refused_as_a_revoked_one_is() {
    let node = Node::dev().await;
    node.register(API).await;
    node.control.revoke_enclave(&root(), &API.parse().unwrap(), "test").await.unwrap();
    let revoked = refusal(&node, &mut Agent::new(API)).await;
    let unknown = refusal(&node, &mut Agent::new("payments/nobody")).await;
    is_rejected(&revoked, "enclave.rejected");
    is_rejected(&unknown, "enclave.rejected");
    assert_eq!(revoked.detail.replace(API, "X"), unknown.detail.replace("payments/nobody", "X"));
    // Junk gets one answer, whoever it says it is.
    let junk = |enclave: &str| {
        let mut request = Agent::new(enclave).request(&node);
        request.link.exporter = [8; 32];
        request
    };
    let known = node.control.attest(junk(API)).await.unwrap_err();
    let unknown = node.control.attest(junk("payments/nobody")).await.unwrap_err();
    assert_eq!((known.code, known.cause), (unknown.code, unknown.cause));
}

#[tokio::test]
async fn a_production_domain_takes_nothing_simulated() {
    let node = Node::new(DomainClass::Production).await;
    let problem =
        node.control.create_enclave(&root(), crate::node::simulated(API, KeyIdentity::Name)).await.unwrap_err();
    assert_eq!(problem.code, ProblemCode::RequestInvalid);
    assert!(problem.errors.iter().any(|error| error.at == "/tee"), "{problem}");
    let reference = ReferenceValue { tee: Tee::Snp, ..crate::node::reference(API) };
    let releases = vec![NewRelease { reference, ..release("v1", API) }];
    let registration = NewEnclave { tee: Tee::Snp, releases, ..crate::node::simulated(API, KeyIdentity::Name) };
    node.control.create_enclave(&root(), registration).await.unwrap();
    is_rejected(&refusal(&node, &mut Agent::new(API)).await, "simulated.refused");
}

#[tokio::test]
async fn a_release_lets_in_by_its_state() {
    let node = Node::dev().await;
    let mut enclave = node.register(API).await;
    let (name, v1) = (enclave.name.clone(), "v1".parse().unwrap());
    let mut running = Agent::attested(&node, API).await;
    let deprecated = ReleaseState::Deprecated;
    enclave = node.control.set_release_state(&root(), &name, &v1, Some(enclave.revision), deprecated).await.unwrap();
    running.attest(&node).await.unwrap();
    is_rejected(&refusal(&node, &mut Agent::new(API)).await, "measurement.unknown");
    let next = NewRelease { state: ReleaseState::Provisional, ..release("v2", "next") };
    enclave = node.control.add_release(&root(), &name, Some(enclave.revision), next).await.unwrap();
    let mut next = Agent::with(API, SimulatedAttester::of_code("next"));
    is_rejected(&refusal(&node, &mut next).await, "measurement.unknown");
    let v2 = "v2".parse().unwrap();
    node.control.set_release_state(&root(), &name, &v2, Some(enclave.revision), ReleaseState::Active).await.unwrap();
    next.attest(&node).await.unwrap();
}

#[tokio::test]
async fn a_forbid_on_attest_keeps_an_enclave_out() {
    let node = Node::dev().await;
    node.register(API).await;
    let policy = node.rule(burgrave_control::RuleEffect::Forbid, "payments/api attest payments/api").await;
    let problem = refusal(&node, &mut Agent::new(API)).await;
    assert_eq!(problem.code, ProblemCode::PolicyDenied);
    let why = node.control.why(&root(), problem.decision_id.unwrap()).await.unwrap();
    assert_eq!(why.decision.determining, [policy.id.to_string()]);
}

#[tokio::test]
async fn a_renewal_is_no_ledger_record_and_a_changed_claim_is_one() {
    let node = Node::dev().await;
    node.register(API).await;
    let mut agent = Agent::new(API);
    let first = agent.attest(&node).await.unwrap();
    node.advance(Duration::from_secs(30));
    let renewed = agent.attest(&node).await.unwrap();
    assert_eq!((renewed.instance, renewed.revision), (first.instance, first.revision));
    assert!(renewed.until > first.until && renewed.sealed_instance_key.is_none());
    agent.attester = Box::new(SimulatedAttester::of_code(API).platform_id(hex(&[9; 8])).svn(7));
    let changed = agent.attest(&node).await.unwrap();
    assert!(changed.revision > renewed.revision);
    let shown = node.control.instance(&root(), agent.id()).await.unwrap();
    assert_eq!(shown.claims.launch.svn, Some(7));
    assert_eq!(shown.first_attested_at, first.until - Duration::from_secs(INTERVAL * 3 / 2));
}

#[tokio::test]
async fn an_identity_key_bears_one_enclave_alone() {
    let node = Node::dev().await;
    node.register(API).await;
    node.register("payments/web").await;
    let mut agent = Agent::attested(&node, API).await;
    // Nobody renews an instance with another key.
    let mut other = Agent::new(API);
    other.instance = agent.instance;
    assert_eq!(refusal(&node, &mut other).await.cause.as_deref(), Some("renewal.mismatch"));
    agent.enclave = "payments/web".parse().unwrap();
    agent.attester = Box::new(SimulatedAttester::of_code("payments/web"));
    agent.instance = None;
    assert_eq!(refusal(&node, &mut agent).await.cause.as_deref(), Some("renewal.mismatch"));
}

#[tokio::test]
async fn evidence_with_parts_that_nothing_verifies_is_refused() {
    let node = Node::dev().await;
    node.register(API).await;
    let mut request = Agent::new(API).request(&node);
    let extra = request.evidence.lead.clone();
    request.evidence.others.push(extra);
    let problem = node.control.attest(request).await.unwrap_err();
    assert_eq!(problem.code, ProblemCode::AttestationRejected, "{problem}");
}

#[tokio::test]
async fn nothing_is_given_where_the_audit_log_cannot_be_written() {
    let node = Node::dev().await;
    node.register(API).await;
    let mut agent = Agent::new(API);
    node.audit.fail_after(0);
    let problem = refusal(&node, &mut agent).await;
    assert_eq!(problem.code, ProblemCode::Unavailable);
    node.audit.repair();
    agent.attest(&node).await.unwrap();
}

#[tokio::test]
async fn an_svid_is_issued_to_the_key_of_the_link() {
    let node = Node::dev().await;
    node.register(API).await;
    let mut agent = Agent::new(API);
    let request = agent.request(&node);
    let AttestStep::Attested(attested) = node.control.attest(request).await.unwrap() else { panic!("no TPM here") };
    let chain: Vec<_> = attested.svid_chain.into_iter().map(Into::into).collect();
    let identity = verify_chain(&chain, &node.trust, node.clock.now(), ProfileKind::Enclave).unwrap();
    assert_eq!(identity.spki, agent.identity.spki());
}
