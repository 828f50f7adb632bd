//! What the attesters make, seen by the verifier: what holds is taken, and what does not is refused with its own cause.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests may fail loudly"
)]

use std::collections::BTreeMap;

use aws_lc_rs::rand::SecureRandom;
use burgrave_attester::swtpm::Swtpm;
use burgrave_attester::{Attester, AttesterError, BindingData, EkKind, SimulatedAttester, TpmAttester};
use burgrave_types::claims::ReferenceValue;
use burgrave_types::{Clock, Evidence, Random, SystemClock, Tee};
use burgrave_verifier::tpm::{AkProof, Public, ek_digest, make_credential};
use burgrave_verifier::{
    Appraisal, Endorsements, Expected, Input, Profile, Roots, TpmProfile, TpmTrust, Verdict, Verification, appraise,
    verify,
};

const BINDING: BindingData = BindingData { report_data: [1; 64], qualifying_data: [2; 32] };

struct LibraryRandom;

impl Random for LibraryRandom {
    fn fill(&self, out: &mut [u8]) {
        aws_lc_rs::rand::SystemRandom::new().fill(out).unwrap();
    }
}

/// A new TPM that ends with the test.
struct Machine {
    attester: TpmAttester,
    _emulator: Swtpm,
    _dir: tempfile::TempDir,
}

impl Machine {
    fn new(ek: EkKind) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let emulator = Swtpm::start(dir.path()).unwrap();
        let attester = TpmAttester::new(emulator.transport()).with_ek(ek).with_pcrs([0, 7, 16]).unwrap();
        Self { attester, _emulator: emulator, _dir: dir }
    }

    fn evidence(&mut self) -> Evidence {
        self.attester.evidence(&BINDING).unwrap()
    }

    /// What a node does: lets the TPM open a credential for the AK that the evidence shows.
    fn activate(&mut self, evidence: &Evidence) -> AkProof {
        let ak_name = ak_name(evidence);
        let ek = evidence.lead.item("ek.pub").unwrap();
        let credential = make_credential(ek, &ak_name, &[42; 32], &LibraryRandom).unwrap();
        let secret = self.attester.activate_credential(&credential.id_object, &credential.encrypted_secret).unwrap();
        assert_eq!(secret.expose(), &[42; 32]);
        AkProof::Activated { ak_name, ek_digest: ek_digest(ek) }
    }
}

fn ak_name(evidence: &Evidence) -> Vec<u8> {
    Public::read(evidence.lead.item("ak.pub").unwrap()).unwrap().name()
}

fn listed(evidence: &Evidence, ak_proof: AkProof) -> Endorsements {
    let platforms = vec![ek_digest(evidence.lead.item("ek.pub").unwrap()).to_vec()];
    Endorsements { ak_proof, platforms, ..Endorsements::default() }
}

fn check(evidence: &Evidence, endorsements: &Endorsements) -> Verification {
    check_for(evidence, endorsements, &BINDING)
}

fn check_for(evidence: &Evidence, endorsements: &Endorsements, binding: &BindingData) -> Verification {
    let tpm = TpmProfile { trust: TpmTrust::Listed, ..TpmProfile::default() };
    verify(&Input {
        part: &evidence.lead,
        endorsements,
        roots: &Roots::vendor(),
        profile: &Profile { tpm, ..Profile::default() },
        expected: Expected::Binding { report_data: &binding.report_data, qualifying_data: &binding.qualifying_data },
        at: SystemClock.now(),
    })
}

fn cause(verification: &Verification) -> &'static str {
    verification.cause.map_or("none", |cause| cause.as_str())
}

#[test]
fn a_quote_of_a_listed_tpm_is_taken_once_its_key_is_activated() {
    for ek in [EkKind::Rsa2048, EkKind::EccP256] {
        let mut machine = Machine::new(ek);
        let evidence = machine.evidence();
        assert_eq!(cause(&check(&evidence, &listed(&evidence, AkProof::None))), "ak.unbound");

        let proof = machine.activate(&evidence);
        let verification = check(&evidence, &listed(&evidence, proof.clone()));
        assert_eq!((verification.verdict, cause(&verification)), (Verdict::Accept, "none"), "{verification:?}");

        // The next quote is by the same key, so the proof goes on holding.
        let next = machine.evidence();
        assert_eq!(check(&next, &listed(&next, proof)).verdict, Verdict::Accept);
    }
}

#[test]
fn a_quote_for_another_binding_is_refused() {
    let mut machine = Machine::new(EkKind::EccP256);
    let evidence = machine.evidence();
    let proof = machine.activate(&evidence);
    let other = BindingData { qualifying_data: [3; 32], ..BINDING };
    assert_eq!(cause(&check_for(&evidence, &listed(&evidence, proof), &other)), "binding.nonce");
}

#[test]
fn a_tpm_that_is_not_listed_is_refused() {
    let (mut machine, mut stranger) = (Machine::new(EkKind::EccP256), Machine::new(EkKind::EccP256));
    let (listed_one, evidence) = (machine.evidence(), stranger.evidence());
    let proof = stranger.activate(&evidence);
    let endorsements = listed(&listed_one, proof);
    assert_eq!(check(&evidence, &endorsements).verdict, Verdict::Reject);
}

#[test]
fn a_changed_pcr_matches_no_release_and_is_named() {
    let mut machine = Machine::new(EkKind::EccP256);
    let before = machine.evidence();
    let proof = machine.activate(&before);
    let claims = check(&before, &listed(&before, proof.clone())).claims.unwrap();
    assert_eq!(claims.registers.keys().map(String::as_str).collect::<Vec<_>>(), ["pcr0", "pcr16", "pcr7"]);
    let release: ReferenceValue = ReferenceValue {
        tee: Tee::Tpm,
        measurement: None,
        signer: None,
        product_id: None,
        min_svn: None,
        registers: claims.registers.clone().into_iter().collect(),
        config: None,
    };
    assert!(matches!(appraise(&claims, [("v1", &release)]), Appraisal::Matched { .. }));

    machine.attester.extend_pcr(16, &[9; 32]).unwrap();
    let after = machine.evidence();
    let verification = check(&after, &listed(&after, proof));
    assert_eq!(verification.verdict, Verdict::Accept, "the quote itself is genuine");
    let Appraisal::Unmatched { differences } = appraise(&verification.claims.unwrap(), [("v1", &release)]) else {
        panic!("the changed PCR was taken");
    };
    assert_eq!(differences.iter().map(|difference| difference.claim.as_str()).collect::<Vec<_>>(), ["pcr16"]);
}

#[test]
fn pcr_values_that_the_quote_does_not_cover_are_refused() {
    let mut machine = Machine::new(EkKind::EccP256);
    let mut evidence = machine.evidence();
    let proof = machine.activate(&evidence);
    let json = evidence.lead.item("pcrs.json").unwrap();
    let mut banks: BTreeMap<String, BTreeMap<String, String>> = serde_json::from_slice(json).unwrap();
    banks.get_mut("sha256").unwrap().insert("16".to_owned(), "ab".repeat(32));
    evidence.lead.items.insert("pcrs.json".to_owned(), serde_json::to_vec(&banks).unwrap());
    assert_eq!(cause(&check(&evidence, &listed(&evidence, proof))), "pcr.digest");
}

#[test]
fn a_credential_for_another_key_or_another_tpm_does_not_open() {
    for ek in [EkKind::Rsa2048, EkKind::EccP256] {
        let (mut machine, mut other) = (Machine::new(ek), Machine::new(ek));
        let (evidence, foreign) = (machine.evidence(), other.evidence());
        let mut wrong_name = ak_name(&evidence);
        wrong_name[5] ^= 1;
        for (ek, name) in [
            (evidence.lead.item("ek.pub"), &wrong_name),
            (evidence.lead.item("ek.pub"), &ak_name(&foreign)),
            (foreign.lead.item("ek.pub"), &ak_name(&evidence)),
        ] {
            let credential = make_credential(ek.unwrap(), name, &[42; 32], &LibraryRandom).unwrap();
            let refused = machine.attester.activate_credential(&credential.id_object, &credential.encrypted_secret);
            let error = refused.unwrap_err();
            assert!(matches!(error, AttesterError::Refused { command: "TPM2_ActivateCredential", .. }), "{error}");
        }
    }
}

#[test]
fn a_factory_made_tpm_is_trusted_through_its_maker() {
    let dir = tempfile::tempdir().unwrap();
    let [root, issuer] =
        <[_; 2]>::from(Swtpm::manufacture(dir.path()).unwrap()).map(|file| std::fs::read(file).unwrap());
    let emulator = Swtpm::start(dir.path()).unwrap();
    let attester = TpmAttester::new(emulator.transport());
    let mut machine = Machine { attester, _emulator: emulator, _dir: dir };
    let evidence = machine.evidence();
    let mut endorsements = Endorsements { ak_proof: machine.activate(&evidence), ..Endorsements::default() };
    assert!(endorsements.add(&issuer));
    let verdict = |roots: &Roots| {
        let verification = verify(&Input {
            part: &evidence.lead,
            endorsements: &endorsements,
            roots,
            profile: &Profile::default(),
            expected: Expected::Nonce(&BINDING.qualifying_data),
            at: SystemClock.now(),
        });
        (verification.verdict, cause(&verification))
    };
    assert_eq!(verdict(&Roots::only([&root]).unwrap()), (Verdict::Accept, "none"));
    assert_eq!(verdict(&Roots::vendor()), (Verdict::Reject, "chain.untrusted"));
}

#[test]
fn simulated_evidence_is_taken_only_where_it_is_allowed() {
    let evidence = SimulatedAttester::of_code("payments-api").svn(4).evidence(&BINDING).unwrap();
    let verdict = |allow_simulated, binding: &BindingData| {
        let verification = verify(&Input {
            part: &evidence.lead,
            endorsements: &Endorsements::default(),
            roots: &Roots::vendor(),
            profile: &Profile { allow_simulated, ..Profile::default() },
            expected: Expected::Binding {
                report_data: &binding.report_data,
                qualifying_data: &binding.qualifying_data,
            },
            at: SystemClock.now(),
        });
        (cause(&verification), verification.claims.unwrap())
    };
    let (outcome, claims) = verdict(true, &BINDING);
    assert_eq!((outcome, claims.launch.svn), ("none", Some(4)));
    assert_eq!(claims.launch.measurement, Some(SimulatedAttester::measurement_of("payments-api")));
    assert_eq!(verdict(false, &BINDING).0, "simulated.refused");
    assert_eq!(verdict(true, &BindingData { report_data: [3; 64], ..BINDING }).0, "binding.report_data");
}
