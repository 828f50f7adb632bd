//! Evidence of several parts: each verified, bound, asked for, or the whole is refused.

use burgrave_attester::SimulatedAttester;
use burgrave_audit::{Attestation, Kind, Outcome};
use burgrave_control::{NewEnclave, NewPolicy};
use burgrave_identity::jws;
use burgrave_types::{Clock, Concession, DomainClass, EvidencePart, KeyIdentity, Problem, ProblemCode, Tee};

use crate::agent::Agent;
use crate::made::{self, FIRMWARE, Snp, WithGpus, gpu};
use crate::node::{Node, hex, root, simulated};
use crate::requirements::{node, of, registration};

const API: &str = "payments/api";

async fn with_gpu(node: &Node, references: serde_json::Value) {
    let requirements = serde_json::json!({"parts": [{"tee": "nvidia-gpu", "references": references}]});
    let new: NewEnclave = registration(&Snp::new(), requirements);
    node.control.create_enclave(&root(), new).await.unwrap();
}

fn machine(gpus: &[[u8; 2]]) -> Agent {
    Agent::with(API, WithGpus(Snp::new(), gpus.to_vec()))
}

async fn cause(node: &Node, agent: &mut Agent) -> (String, Problem) {
    let problem = agent.attest(node).await.unwrap_err();
    assert_eq!(problem.code, ProblemCode::AttestationRejected, "{problem}");
    assert!(problem.fix.is_some(), "{problem}");
    (problem.cause.clone().unwrap(), problem)
}

#[tokio::test]
async fn parts_that_are_asked_for_are_verified_and_told_of() {
    let node = node().await;
    with_gpu(&node, serde_json::json!([])).await;
    let mut agent = machine(&[[1, 2], [3, 4]]);
    let mut events = node.control.events(&root()).await.unwrap();
    let attested = agent.attest(&node).await.unwrap();
    let told = std::iter::from_fn(|| events.try_recv().ok()).find(|event| event.kind == "instance.attested").unwrap();
    assert!(told.detail.starts_with("payments/api@v1, with nvidia-gpu "), "{}", told.detail);
    assert_eq!(told.detail.matches("nvidia-gpu").count(), 2, "{}", told.detail);
    let shown = node.control.instance(&root(), agent.id()).await.unwrap();
    assert_eq!(shown.parts.iter().map(|part| part.tee).collect::<Vec<_>>(), [Tee::NvidiaGpu; 2]);
    assert_eq!(shown.parts[0].launch.measurement, Some(hex(&FIRMWARE)));
    let now = node.clock.now();
    let (_, result) = jws::verify(&attested.attestation_result, jws::TYP_ATTESTATION_RESULT, &node.trust, now).unwrap();
    for submodule in ["snp", "part1.nvidia-gpu", "part2.nvidia-gpu"] {
        assert_eq!(result["submods"][submodule]["ear.status"], "affirming", "{result}");
    }
    let log = format!("{:?}", node.audit.memory.events());
    assert!(log.contains("parts.1.nvidia.signature"), "{log}");
    let event = attestations(&node).pop().unwrap();
    let told = event.parts.iter().map(|part| (part.tee, part.outcome, part.cause.clone(), part.claims.clone()));
    let expected = shown.parts.iter().map(|claims| (Tee::NvidiaGpu, Outcome::Accepted, None, Some(claims.clone())));
    assert!(told.eq(expected), "{:?}", event.parts);
    // A renewal says the same and is no record.
    assert_eq!(agent.attest(&node).await.unwrap().revision, attested.revision);
    node.make_key("key/payments/pii").await;
    agent.encrypt(&node, "key/payments/pii", b"x").await.unwrap_err();
    let decisions = node.control.decisions(&root(), &Default::default()).await.unwrap();
    let id = agent.id().to_string();
    let decision = decisions.iter().find(|decision| decision.principal == id).unwrap();
    assert_eq!(node.control.why(&root(), decision.id).await.unwrap().parts, shown.parts);
}

/// The attestations on record.
fn attestations(node: &Node) -> Vec<Attestation> {
    let events = node.audit.memory.events().into_iter();
    let attestations = events.filter_map(|(event, _)| match event.kind {
        Kind::Attestation(attestation) => Some(*attestation),
        _ => None,
    });
    attestations.collect()
}

#[tokio::test]
async fn the_record_of_a_refusal_tells_of_each_part_how_far_it_came() {
    let node = node().await;
    let one = serde_json::json!({"tee": "nvidia-gpu", "measurement": hex(&FIRMWARE), "registers": {"measurement1": hex(&[1; 48])}});
    with_gpu(&node, serde_json::json!([one])).await;
    machine(&[[1, 2], [5, 2], [1, 3]]).attest(&node).await.unwrap_err();
    let event = attestations(&node).pop().unwrap();
    assert_eq!((event.outcome, event.claims.map(|claims| claims.tee)), (Outcome::Rejected, Some(Tee::Snp)));
    let told: Vec<_> = event.parts.iter().map(|part| (part.outcome, part.cause.as_deref())).collect();
    assert_eq!(told, [(Outcome::Accepted, None), (Outcome::Rejected, Some("measurement.unknown"))]);
    // What the registration takes is kept of the first, all that it says of the one that it does not take.
    let registers = |at: usize| event.parts[at].claims.as_ref().unwrap().registers.clone();
    assert_eq!((registers(0).len(), registers(1).len()), (1, 2));
    assert_eq!(registers(1)["measurement1"], hex(&[5; 48]));
    assert!(event.checks.iter().any(|check| check.name == "snp.report.signature"), "{:?}", event.checks);
    // Of a part that is not genuine, nothing that it says.
    let spoilt =
        swapped(&node, true, |_, parts| *parts[0].items.get_mut("report.bin").unwrap().last_mut().unwrap() ^= 1);
    spoilt.await;
    let event = attestations(&node).pop().unwrap();
    assert_eq!(event.parts.len(), 1);
    assert_eq!((event.parts[0].cause.as_deref(), &event.parts[0].claims), (Some("signature.invalid"), &None));
    // A refusal by the policy tells of the whole.
    let text = "forbid (principal, action == Burgrave::Action::\"attest\", resource);".to_owned();
    let policy = NewPolicy { namespace: None, name: "nobody".to_owned(), text, description: String::new() };
    node.control.create_policy(&root(), policy).await.unwrap();
    assert_eq!(machine(&[[1, 2]]).attest(&node).await.unwrap_err().code, ProblemCode::PolicyDenied);
    let event = attestations(&node).pop().unwrap();
    assert_eq!((event.cause.as_deref(), event.parts.len()), (Some("policy.denied"), 1));
}

#[tokio::test]
async fn a_part_must_say_what_the_registration_says_of_it() {
    let node = node().await;
    let one = |value: u8| serde_json::json!({"tee": "nvidia-gpu", "measurement": hex(&FIRMWARE), "registers": {"measurement1": hex(&[value; 48])}});
    with_gpu(&node, serde_json::json!([one(1), one(7)])).await;
    machine(&[[1, 2]]).attest(&node).await.unwrap();
    machine(&[[7, 2], [1, 3]]).attest(&node).await.unwrap();
    let (cause, problem) = cause(&node, &mut machine(&[[1, 2], [5, 2]])).await;
    assert_eq!(cause, "measurement.unknown");
    assert!(problem.detail.contains("part 1") && problem.detail.contains("measurement1"), "{problem}");
}

#[tokio::test]
async fn a_part_that_is_missing_or_unasked_is_refused() {
    let node = node().await;
    node.control.create_enclave(&root(), registration(&Snp::new(), serde_json::json!({}))).await.unwrap();
    assert_eq!(cause(&node, &mut machine(&[[1, 2]])).await.0, "part.unasked");
    let node = crate::requirements::node().await;
    with_gpu(&node, serde_json::json!([])).await;
    assert_eq!(cause(&node, &mut machine(&[])).await.0, "part.missing");
}

/// Attests with parts that something else than the machine's own hand put there; whether the lead covers them, `bound` says.
async fn swapped(
    node: &Node,
    bound: bool,
    swap: impl Fn(&[u8], &mut Vec<EvidencePart>) + Send + Sync + 'static,
) -> Problem {
    let mut agent = machine(&[[1, 2]]);
    let nonce = agent.try_challenge(node).unwrap().nonce;
    let genesis = node.trust.genesis_hash();
    let request = match bound {
        true => agent.answer_with(genesis, &nonce, |parts| swap(&nonce, parts)),
        false => {
            let mut request = agent.answer(genesis, &nonce);
            swap(&nonce, &mut request.evidence.others);
            request
        }
    };
    node.control.attest(request).await.unwrap_err()
}

#[tokio::test]
async fn a_device_that_passes_for_two_is_refused() {
    use burgrave_seal::binding::part_nonce;
    let node = node().await;
    with_gpu(&node, serde_json::json!([])).await;
    let again = swapped(&node, true, |nonce, parts| parts.push(gpu(&part_nonce(nonce, Tee::NvidiaGpu), [3, 4])));
    let copy = swapped(&node, true, |_, parts| parts.push(parts[0].clone()));
    for problem in [again.await, copy.await] {
        assert_eq!(problem.cause.as_deref(), Some("part.twice"), "{problem}");
    }
}

#[tokio::test]
async fn a_part_that_is_not_bound_to_lead_and_challenge_is_refused() {
    use burgrave_seal::binding::part_nonce;
    let node = node().await;
    with_gpu(&node, serde_json::json!([])).await;
    let is = |problem: Problem, cause: &str| assert_eq!(problem.cause.as_deref(), Some(cause), "{problem}");
    // The lead does not cover it.
    is(
        swapped(&node, false, |nonce, parts| parts[0] = gpu(&part_nonce(nonce, Tee::NvidiaGpu), [1, 2])).await,
        "binding.report_data",
    );
    is(swapped(&node, false, |_, parts| parts.push(parts[0].clone())).await, "binding.report_data");
    // The lead covers it, and it is not fresh: of another challenge, for another kind, over the lead's own nonce.
    is(swapped(&node, true, |_, parts| parts[0] = gpu(&[7; 32], [1, 2])).await, "binding.part");
    is(
        swapped(&node, true, |nonce, parts| parts[0] = gpu(nonce[..32].try_into().unwrap(), [1, 2])).await,
        "binding.part",
    );
    is(swapped(&node, true, |nonce, parts| parts[0] = gpu(&part_nonce(nonce, Tee::Snp), [1, 2])).await, "binding.part");
    // It is bound and fresh, and not genuine.
    let spoilt =
        swapped(&node, true, |_, parts| *parts[0].items.get_mut("report.bin").unwrap().last_mut().unwrap() ^= 1);
    is(spoilt.await, "signature.invalid");
}

#[tokio::test]
async fn what_only_a_part_needs_conceded_is_told_and_open_to_policies_as_the_wholes() {
    let node = Node::with(DomainClass::Dev, "2026-03-01T00:00:00Z".parse().unwrap(), made::roots()).await;
    let requirements = serde_json::json!({"allow_debug": true, "parts": [{"tee": "simulated"}]});
    let new = NewEnclave { requirements: of(requirements), ..simulated(API, KeyIdentity::Name) };
    node.control.create_enclave(&root(), new).await.unwrap();
    for (debug, conceded) in [(false, vec![]), (true, vec![Concession::Debug])] {
        let device = SimulatedAttester::of_code("a device").debug(debug);
        let mut agent = Agent::with(API, SimulatedAttester::of_code(API).with_part(device));
        agent.attest(&node).await.unwrap();
        let shown = node.control.instance(&root(), agent.id()).await.unwrap();
        assert_eq!(shown.conceded, conceded.into_iter().collect(), "{debug}");
    }
}
