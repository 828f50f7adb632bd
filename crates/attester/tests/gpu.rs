//! GPUs beside a CPU: a stand-in for NVIDIA's program gives their evidence, and the verifier takes it over the nonces that a node
//! would expect. The GPUs are made in the test, under a root of its own.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests may fail loudly"
)]

use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use burgrave_attester::{Attester, AttesterError, BindingData, PartError, PartSpec, SimulatedAttester, WithParts};
use burgrave_types::{EvidencePart, Tee};
use burgrave_verifier::{Cause, Endorsements, Expected, Input, Profile, Roots, Verdict, Verification, verify};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, CustomExtension, DnType, IsCa, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P384_SHA384, date_time_ymd,
};
use serde_json::{Value, json};

type Issuer = CertifiedIssuer<'static, KeyPair>;

const FIRMWARE: [u8; 48] = [0xf1; 48];

/// As a node and an agent derive it from a challenge: one for each index and kind.
fn nonce(index: usize, tee: Tee) -> [u8; 32] {
    digest(&SHA256, format!("a challenge, {index}, {tee}").as_bytes()).as_ref().try_into().unwrap()
}

// === GPUs ===

static ROOT: LazyLock<Issuer> = LazyLock::new(|| Issuer::self_signed(authority("Device Identity CA"), p384()).unwrap());

/// A GPU: the key of its firmware, and the certificates that lead to it.
struct Gpu {
    key: EcdsaKeyPair,
    chain: String,
}

fn p384() -> KeyPair {
    KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap()
}

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    (params.not_before, params.not_after) = (date_time_ymd(2025, 1, 1), date_time_ymd(2030, 1, 1));
    params
}

fn authority(name: &str) -> CertificateParams {
    let mut params = params(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params
}

impl Gpu {
    fn new() -> Self {
        let chip = Issuer::signed_by(authority("GX100 BROM"), p384(), &*ROOT).unwrap();
        let (mut leaf, key) = (params("GX100 A01 FMC"), p384());
        leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        // TCG DICE, CompositeDeviceID: version, a key (here an Ed25519 one that nobody has), SHA-384 of the firmware.
        let der = |tag: u8, content: &[u8]| [&[tag, u8::try_from(content.len()).unwrap()], content].concat();
        let device = der(0x30, &[der(0x30, &der(6, &[0x2b, 0x65, 0x70])), der(3, &[0; 33])].concat());
        let sha384 = der(6, &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 2]);
        let firmware = der(0x30, &[sha384, der(4, &FIRMWARE)].concat());
        let identity = der(0x30, &[der(2, &[1]), device, firmware].concat());
        leaf.custom_extensions = vec![CustomExtension::from_oid_content(&[2, 23, 133, 5, 4, 1], identity)];
        let chain = [leaf.signed_by(&key, &chip).unwrap().pem(), chip.pem(), ROOT.pem()].concat();
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, key.serialized_der()).unwrap();
        Self { key, chain }
    }

    /// Request and response of DSP0274 1.1, with one measurement, the firmware among the opaque data, and a signature.
    fn report(&self, nonce: &[u8; 32]) -> Vec<u8> {
        let measurement = [&[1, 1, 51, 0, 1, 48, 0][..], &[1; 48]].concat();
        let opaque = [&[20, 0, 48, 0][..], &FIRMWARE].concat();
        let length = u8::try_from(measurement.len()).unwrap();
        let message = [
            &[0x11, 0xe0, 0x01, 0xff][..],
            nonce,
            &[0, 0x11, 0x60, 0, 0, 1, length, 0, 0],
            &measurement,
            &[9; 32],
            &u16::try_from(opaque.len()).unwrap().to_le_bytes(),
            &opaque,
        ]
        .concat();
        let signature = self.key.sign(&SystemRandom::new(), &message).unwrap();
        [message.as_slice(), signature.as_ref()].concat()
    }

    /// As NVIDIA's program prints it.
    fn entry(&self, nonce: &[u8; 32]) -> Value {
        json!({
            "arch": "HOPPER",
            "certificate": STANDARD.encode(&self.chain),
            "driver_version": "590.12",
            "evidence": STANDARD.encode(self.report(nonce)),
            "nonce": hex(nonce),
            "vbios_version": "96.00.A5.00.01",
            "version": "1.0",
        })
    }
}

fn hex(bytes: &[u8]) -> String {
    burgrave_types::claims::HexBytes::from(bytes).to_string()
}

// === A machine ===

/// A machine's folder, with a stand-in for `nvattest`: it takes the same words, and gives the answer over a nonce that lies
/// in the folder under the nonce's name.
struct Machine {
    folder: tempfile::TempDir,
}

impl Machine {
    /// One whose program answers over the nonces of these indices with all of these GPUs, as NVIDIA's does.
    fn new(gpus: &[&Gpu], indices: std::ops::Range<usize>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let script = format!(
            r#"case "$*" in
                "collect-evidence --device gpu --nonce $5 --format json") ;;
                *) echo "The following arguments were not expected: $*" >&2; exit 109 ;;
            esac
            cat "{}/$5.json" && exit
            echo '{{"evidences": null, "result_code": 201, "result_message": "NVML error"}}'
            exit 201"#,
            folder.path().display()
        );
        fs::write(folder.path().join("nvattest"), script).unwrap();
        let machine = Self { folder };
        for index in indices {
            machine.answer(index, gpus, &nonce(index, Tee::NvidiaGpu));
        }
        machine
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Answers over the nonce of `index` with these GPUs' reports over `nonce`.
    fn answer(&self, index: usize, gpus: &[&Gpu], nonce_of_reports: &[u8; 32]) {
        let evidences: Vec<_> = gpus.iter().map(|gpu| gpu.entry(nonce_of_reports)).collect();
        let answer = json!({"evidences": evidences, "result_code": 0, "result_message": "Ok"});
        let name = format!("{}.json", hex(&nonce(index, Tee::NvidiaGpu)));
        fs::write(self.path(&name), serde_json::to_vec_pretty(&answer).unwrap()).unwrap();
    }

    fn spec(&self) -> PartSpec {
        let script = self.path("nvattest");
        let words = ["/bin/sh", script.to_str().unwrap(), "collect-evidence", "--device", "gpu", "--nonce", "{nonce}"];
        let words = words.into_iter().chain(["--format", "json"]).map(str::to_owned);
        PartSpec::new(Tee::NvidiaGpu, words.collect()).unwrap()
    }

    fn parts(&self) -> Result<Vec<EvidencePart>, AttesterError> {
        self.parts_behind(SimulatedAttester::of_code("a"))
    }

    fn parts_behind(&self, lead: SimulatedAttester) -> Result<Vec<EvidencePart>, AttesterError> {
        WithParts::new(Box::new(lead), vec![self.spec()]).unwrap().parts(&nonce)
    }

    fn why_not(&self) -> PartError {
        match self.parts() {
            Err(AttesterError::Part { tee: Tee::NvidiaGpu, error, .. }) => *error,
            other => panic!("{other:?}"),
        }
    }
}

fn judge(part: &EvidencePart, index: usize) -> Verification {
    verify(&Input {
        part,
        endorsements: &Endorsements::default(),
        roots: &Roots::only([ROOT.der()]).unwrap(),
        profile: &Profile::default(),
        expected: Expected::Nonce(&nonce(index, Tee::NvidiaGpu)),
        at: "2026-03-01T00:00:00Z".parse().unwrap(),
    })
}

#[test]
fn a_gpus_evidence_is_accepted_over_its_own_nonce() {
    let gpu = Gpu::new();
    let parts = Machine::new(&[&gpu], 0..1).parts().unwrap();
    assert_eq!(parts.len(), 1);
    let verification = judge(&parts[0], 0);
    assert_eq!(verification.verdict, Verdict::Accept, "{verification:#?}");
    assert_eq!(verification.claims.unwrap().launch.measurement.unwrap().as_bytes(), FIRMWARE);
    assert_eq!(judge(&parts[0], 1).cause, Some(Cause::BindingNonce));
}

#[test]
fn each_of_several_gpus_is_accepted_over_a_nonce_of_its_own_and_no_other() {
    let gpus = [Gpu::new(), Gpu::new(), Gpu::new()];
    let parts = Machine::new(&gpus.each_ref(), 0..3).parts().unwrap();
    let chips: Vec<_> = parts
        .iter()
        .enumerate()
        .map(|(index, part)| {
            let verification = judge(part, index);
            assert_eq!(verification.verdict, Verdict::Accept, "{index}: {verification:#?}");
            assert_eq!(judge(part, (index + 1) % 3).cause, Some(Cause::BindingNonce));
            verification.claims.unwrap().platform_id.unwrap()
        })
        .collect();
    assert!(chips[0] != chips[1] && chips[1] != chips[2] && chips[0] != chips[2]);
    let certificates = parts.iter().map(|part| part.item("chain.pem").unwrap());
    assert!(certificates.eq(gpus.iter().map(|gpu| gpu.chain.as_bytes())), "in the driver's order");
}

#[test]
fn parts_that_the_lead_has_by_itself_stand_before_them() {
    let (first, second) = (Gpu::new(), Gpu::new());
    let lead = SimulatedAttester::of_code("a").with_part(SimulatedAttester::of_code("b"));
    let parts = Machine::new(&[&first, &second], 1..3).parts_behind(lead).unwrap();
    assert_eq!(parts.iter().map(|part| part.tee).collect::<Vec<_>>(), [Tee::Simulated, Tee::NvidiaGpu, Tee::NvidiaGpu]);
    for index in [1, 2] {
        assert_eq!(judge(&parts[index], index).verdict, Verdict::Accept);
    }
}

#[test]
fn the_lead_is_asked_as_if_there_were_no_parts() {
    let machine = Machine::new(&[], 0..0);
    let mut lead = SimulatedAttester::of_code("a");
    let mut both = WithParts::new(Box::new(lead.clone()), vec![machine.spec()]).unwrap();
    let binding = BindingData { report_data: [1; 64], qualifying_data: [2; 32] };
    let json = |evidence: burgrave_types::Evidence| evidence.lead.item("simulated.json").unwrap().to_vec();
    assert_eq!(json(both.evidence(&binding).unwrap()), json(lead.evidence(&binding).unwrap()));
    assert_eq!(both.tee(), Tee::Simulated);
    both.log_taken();
    both.log_forgotten();
    assert!(matches!(both.activate_credential(&[], &[]), Err(AttesterError::Unsupported { .. })));
}

#[test]
fn reports_over_another_nonce_are_not_handed_on() {
    let gpu = Gpu::new();
    let machine = Machine::new(&[], 0..0);
    machine.answer(0, &[&gpu], &nonce(7, Tee::NvidiaGpu));
    let error = machine.why_not();
    assert!(matches!(error, PartError::Nonce { device: 0, .. }), "{error}");
    assert!(error.to_string().contains(&hex(&nonce(7, Tee::NvidiaGpu))), "{error}");
}

#[test]
fn gpus_that_change_while_they_are_asked_give_no_evidence() {
    let gpus = [Gpu::new(), Gpu::new()];
    let machine = Machine::new(&gpus.each_ref(), 0..2);
    machine.answer(1, &[&gpus[1], &gpus[0]], &nonce(1, Tee::NvidiaGpu));
    assert!(matches!(machine.why_not(), PartError::Changed));
}

#[test]
fn more_gpus_than_evidence_has_room_for_are_refused_at_the_first_run() {
    let gpus: Vec<_> = (0..8).map(|_| Gpu::new()).collect();
    let machine = Machine::new(&gpus.iter().collect::<Vec<_>>(), 0..1);
    assert!(matches!(machine.why_not(), PartError::Devices { found: 8, most: 7 }));
}

#[test]
fn a_failure_names_the_command_and_says_what_the_program_said() {
    let error = Machine::new(&[], 0..0).parts().unwrap_err().to_string();
    assert!(error.starts_with("no nvidia-gpu evidence from `/bin/sh "), "{error}");
    assert!(
        error.contains("--nonce {nonce} --format json`: it failed (exit status: 201): `NVML error`; run it"),
        "{error}"
    );
}
