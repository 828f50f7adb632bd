//! A machine measured by a TPM, live, where `swtpm` is installed.

use std::collections::BTreeMap;
use std::path::Path;

use burgrave_attester::TpmAttester;
use burgrave_attester::swtpm::Swtpm;
use burgrave_audit::{Kind, Outcome};
use burgrave_control::{AttestStep, EnclaveChange, NewEnclave, NewRelease};
use burgrave_types::claims::{HexBytes, ReferenceValue};
use burgrave_types::{Clock, DomainClass, KeyIdentity, ProblemCode, SystemClock, Tee};
use burgrave_verifier::Roots;
use burgrave_verifier::tpm::ek_digest;

use crate::agent::Agent;
use crate::node::{INTERVAL, Node, hex, release, root};

pub(crate) const GATEWAY: &str = "boot/gateway";

/// A TPM in a folder, or the word that there is none.
pub(crate) fn start(folder: &Path) -> Option<Swtpm> {
    if Swtpm::find().is_none() {
        eprintln!("skipped: `swtpm` is not installed (apt-get install swtpm)");
        return None;
    }
    std::fs::create_dir_all(folder).unwrap();
    Some(Swtpm::start(folder).unwrap())
}

pub(crate) fn attester(tpm: &Swtpm) -> TpmAttester {
    TpmAttester::new(tpm.transport()).with_pcrs(0..24).unwrap()
}

pub(crate) fn registration(attester: &mut TpmAttester) -> NewEnclave {
    let pcrs = attester.read_pcrs().unwrap();
    let registers: BTreeMap<String, HexBytes> = [0, 7].map(|pcr| (format!("pcr{pcr}"), pcrs[&pcr].clone())).into();
    let reference = ReferenceValue { tee: Tee::Tpm, measurement: None, registers, ..crate::node::reference("") };
    NewEnclave {
        name: GATEWAY.parse().unwrap(),
        tee: Tee::Tpm,
        key_identity: KeyIdentity::Measurement,
        reattest_every_secs: INTERVAL,
        releases: vec![NewRelease { reference, ..release("v1", "") }],
        requirements: Default::default(),
        tpm_ek_digests: vec![hex(&ek_digest(&attester.ek_public().unwrap()))],
    }
}

#[tokio::test]
async fn a_listed_tpm_proves_its_key_once_and_attests_in_production() {
    let folder = tempfile::tempdir().unwrap();
    let Some(tpm) = start(folder.path()) else { return };
    let node = Node::new(DomainClass::Production).await;
    node.control.create_enclave(&root(), registration(&mut attester(&tpm))).await.unwrap();
    let mut agent = Agent::with(GATEWAY, attester(&tpm));
    let request = agent.request(&node);
    let AttestStep::Activate(step) = node.control.attest(request).await.unwrap() else {
        panic!("a new attestation key must be proven")
    };
    let secret = agent.attester.activate_credential(&step.id_object, &step.encrypted_secret).unwrap();
    // A guess, another link and a forged ticket prove nothing.
    let wrong = node.control.activate(&step.ticket, &[0; 32], &agent.link()).await.unwrap_err();
    assert_eq!(wrong.cause.as_deref(), Some("tpm.activation"));
    let other = burgrave_control::LinkBinding { exporter: [9; 32], ..agent.link() };
    assert!(node.control.activate(&step.ticket, secret.expose(), &other).await.is_err());
    let mut forged = step.ticket.clone();
    *forged.last_mut().unwrap() ^= 1;
    assert!(node.control.activate(&forged, secret.expose(), &agent.link()).await.is_err());
    let attested = node.control.activate(&step.ticket, secret.expose(), &agent.link()).await.unwrap();
    let again = node.control.activate(&step.ticket, secret.expose(), &agent.link()).await.unwrap_err();
    assert_eq!(again.code, ProblemCode::ChallengeInvalid);
    let events: Vec<_> = node.audit.memory.events().into_iter().map(|(event, _)| event.kind).collect();
    let attestations = || {
        events.iter().filter_map(|kind| match kind {
            Kind::Attestation(attestation) => Some(attestation),
            _ => None,
        })
    };
    let refused = attestations().filter(|one| one.outcome == Outcome::Rejected).filter_map(|one| one.cause.as_deref());
    assert_eq!(refused.collect::<Vec<_>>(), ["tpm.activation", "tpm.activation", "challenge.used"]);
    // What was checked in the first round is on record with what was admitted in the second.
    let accepted = attestations().find(|one| one.outcome == Outcome::Accepted).unwrap();
    assert!(accepted.checks.iter().any(|check| check.name == "tpm.quote.signature" && check.passed));
    agent.instance = Some(attested.instance);
    let shown = node.control.instance(&root(), attested.instance).await.unwrap();
    assert_eq!(shown.claims.platform_id, Some(hex(&ek_digest(&attester(&tpm).ek_public().unwrap()))));
    assert_eq!(shown.claims.registers.len(), 2);
    // The same key in the same boot is proven already.
    let request = agent.request(&node);
    assert!(matches!(node.control.attest(request).await.unwrap(), AttestStep::Attested(_)));
}

#[tokio::test]
async fn an_unlisted_tpm_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (Some(listed), Some(other)) = (start(&folder.path().join("a")), start(&folder.path().join("b"))) else {
        return;
    };
    let node = Node::dev().await;
    node.control.create_enclave(&root(), registration(&mut attester(&listed))).await.unwrap();
    let mut agent = Agent::with(GATEWAY, attester(&other));
    let problem = agent.attest(&node).await.unwrap_err();
    assert_eq!(problem.cause.as_deref(), Some("platform.unlisted"));
    assert!(problem.detail.contains(&hex(&ek_digest(&attester(&other).ek_public().unwrap())).to_string()), "{problem}");
}

#[tokio::test]
async fn no_answer_to_a_tpm_tells_whether_the_enclave_is_registered_or_the_tpm_listed() {
    let folder = tempfile::tempdir().unwrap();
    let Some(tpm) = start(folder.path()) else { return };
    let node = Node::dev().await;
    let listed = registration(&mut attester(&tpm));
    let unlisted = NewEnclave {
        name: "boot/other".parse().unwrap(),
        tpm_ek_digests: vec![hex(&[1; 32])],
        ..registration(&mut attester(&tpm))
    };
    for enclave in [listed, unlisted] {
        node.control.create_enclave(&root(), enclave).await.unwrap();
    }
    // The public part of an endorsement key is no secret: beside it, anybody may show a quote of anything.
    let mut answers = Vec::new();
    for enclave in [GATEWAY, "boot/other", "boot/nobody"] {
        let mut request = Agent::with(enclave, attester(&tpm)).request(&node);
        request.link.exporter = [7; 32];
        let junk = node.control.attest(request).await.unwrap_err();
        answers.push((junk.code, junk.cause, junk.fix));
    }
    assert_eq!(answers[0].1.as_deref(), Some("binding.nonce"));
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    let unlisted = Agent::with("boot/other", attester(&tpm)).attest(&node).await.unwrap_err();
    let unknown = Agent::with("boot/nobody", attester(&tpm)).attest(&node).await.unwrap_err();
    assert_eq!((unlisted.cause.as_deref(), &unlisted), (Some("platform.unlisted"), &unknown));
}

#[tokio::test]
async fn a_wrong_pcr_is_refused_with_what_differed() {
    let folder = tempfile::tempdir().unwrap();
    let Some(tpm) = start(folder.path()) else { return };
    let node = Node::dev().await;
    let registered = registration(&mut attester(&tpm));
    let expected = registered.releases[0].reference.registers["pcr7"].clone();
    node.control.create_enclave(&root(), registered).await.unwrap();
    attester(&tpm).extend_pcr(7, &[1; 32]).unwrap();
    let problem = Agent::with(GATEWAY, attester(&tpm)).attest(&node).await.unwrap_err();
    assert_eq!(problem.cause.as_deref(), Some("measurement.unknown"));
    assert!(problem.detail.contains("pcr7") && problem.detail.contains(&expected.to_string()), "{problem}");
}

#[tokio::test]
async fn a_quote_over_another_nonce_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let Some(tpm) = start(folder.path()) else { return };
    let node = Node::dev().await;
    node.control.create_enclave(&root(), registration(&mut attester(&tpm))).await.unwrap();
    let mut agent = Agent::with(GATEWAY, attester(&tpm));
    let mut request = agent.request(&node);
    request.link.exporter = [7; 32];
    let problem = node.control.attest(request).await.unwrap_err();
    assert_eq!(problem.cause.as_deref(), Some("binding.nonce"));
}

#[tokio::test]
async fn a_machine_that_was_reset_proves_its_key_again() {
    let folder = tempfile::tempdir().unwrap();
    let Some(tpm) = start(folder.path()) else { return };
    let node = Node::dev().await;
    node.control.create_enclave(&root(), registration(&mut attester(&tpm))).await.unwrap();
    let mut agent = Agent::with(GATEWAY, attester(&tpm));
    agent.attest(&node).await.unwrap();
    drop(tpm);
    let tpm = start(folder.path()).unwrap();
    agent.attester = Box::new(attester(&tpm));
    let request = agent.request(&node);
    assert!(matches!(node.control.attest(request).await.unwrap(), AttestStep::Activate(_)));
    let first = agent.id();
    agent.attest(&node).await.unwrap();
    assert_eq!(agent.id(), first);
}

#[tokio::test]
async fn a_tpm_that_is_struck_off_the_list_is_ended() {
    let folder = tempfile::tempdir().unwrap();
    let Some(tpm) = start(folder.path()) else { return };
    let node = Node::dev().await;
    let enclave = node.control.create_enclave(&root(), registration(&mut attester(&tpm))).await.unwrap();
    let mut agent = Agent::with(GATEWAY, attester(&tpm));
    agent.attest(&node).await.unwrap();
    let others = EnclaveChange { tpm_ek_digests: Some(vec![hex(&[1; 32])]), ..EnclaveChange::default() };
    node.control.update_enclave(&root(), &enclave.name, Some(enclave.revision), others).await.unwrap();
    assert_eq!(node.control.resume(&agent.identity(&node)).unwrap_err().code, ProblemCode::Revoked);
    assert_eq!(agent.attest(&node).await.unwrap_err().code, ProblemCode::Revoked);
}

#[tokio::test]
async fn a_tpm_that_is_struck_off_the_list_while_it_proves_its_key_is_not_let_in() {
    let folder = tempfile::tempdir().unwrap();
    let Some(tpm) = start(folder.path()) else { return };
    let node = Node::dev().await;
    let enclave = node.control.create_enclave(&root(), registration(&mut attester(&tpm))).await.unwrap();
    let mut agent = Agent::with(GATEWAY, attester(&tpm));
    let request = agent.request(&node);
    let AttestStep::Activate(step) = node.control.attest(request).await.unwrap() else {
        panic!("a new attestation key must be proven")
    };
    let secret = agent.attester.activate_credential(&step.id_object, &step.encrypted_secret).unwrap();
    let others = EnclaveChange { tpm_ek_digests: Some(vec![hex(&[1; 32])]), ..EnclaveChange::default() };
    node.control.update_enclave(&root(), &enclave.name, Some(enclave.revision), others).await.unwrap();
    let refused = node.control.activate(&step.ticket, secret.expose(), &agent.link()).await.unwrap_err();
    assert_eq!(refused.cause.as_deref(), Some("platform.unlisted"));
}

#[tokio::test]
async fn where_makers_are_configured_a_listed_tpm_needs_a_certificate_that_leads_to_one_of_them() {
    let folder = tempfile::tempdir().unwrap();
    let Some(bare) = start(&folder.path().join("bare")) else { return };
    let (certified, strange) = (folder.path().join("certified"), folder.path().join("strange"));
    let Ok((root, issuer)) = Swtpm::manufacture(&certified) else {
        eprintln!("skipped: `swtpm_setup` is not installed (apt-get install swtpm-tools)");
        return;
    };
    Swtpm::manufacture(&strange).unwrap();
    let roots = Roots::vendor().with_tpm_makers([root, issuer].map(|path| std::fs::read(path).unwrap())).unwrap();
    let node = Node::with_tpm_makers(SystemClock.now(), roots).await;
    for (folder, cause) in
        [(None, Some("chain.untrusted")), (Some(&strange), Some("chain.signature")), (Some(&certified), None)]
    {
        let tpm = folder.map(|folder| Swtpm::start(folder).unwrap());
        let tpm = tpm.as_ref().unwrap_or(&bare);
        let name = format!("boot/m{}", tpm.pid());
        let new = NewEnclave { name: name.parse().unwrap(), ..registration(&mut attester(tpm)) };
        node.control.create_enclave(&crate::node::root(), new).await.unwrap();
        let outcome = Agent::with(&name, attester(tpm)).attest(&node).await;
        let problem = outcome.err();
        assert_eq!(problem.as_ref().and_then(|problem| problem.cause.as_deref()), cause, "{folder:?}: {problem:?}");
    }
}
