//! GPUs beside a CPU: a stand-in for NVIDIA's program gives their evidence, and the verifier takes it over the nonces that a node
//! would expect.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests may fail loudly"
)]

use std::fs;
use std::path::PathBuf;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use burgrave_attester::{Attester, AttesterError, BindingData, PartError, PartSpec, SimulatedAttester, WithParts};
use burgrave_made::nvidia::{self, FIRMWARE};
use burgrave_types::claims::HexBytes;
use burgrave_types::{EvidencePart, Tee};
use burgrave_verifier::{Cause, Endorsements, Expected, Input, Profile, Roots, Verdict, Verification, verify};
use serde_json::{Value, json};

/// As a node and an agent derive it from a challenge: one for each kind.
fn nonce(tee: Tee) -> [u8; 32] {
    digest(&SHA256, format!("a challenge, {tee}").as_bytes()).as_ref().try_into().unwrap()
}

fn hex(bytes: &[u8]) -> String {
    HexBytes::from(bytes).to_string()
}

/// A GPU under a root of its own, whose certificates stay as they are while the machine runs.
struct Gpu {
    made: nvidia::Gpu,
    chain: Vec<u8>,
}

impl Gpu {
    fn new() -> Self {
        let made = nvidia::Gpu::new();
        let chain = made.part().item("chain.pem").unwrap().to_vec();
        Self { made, chain }
    }

    /// As NVIDIA's program prints it.
    fn entry(&self, nonce: &[u8; 32]) -> Value {
        let report = nvidia::Gpu { nonce: *nonce, ..self.made.clone() }.report();
        json!({
            "arch": "HOPPER",
            "certificate": STANDARD.encode(&self.chain),
            "driver_version": "590.12",
            "evidence": STANDARD.encode(report),
            "nonce": hex(nonce),
            "vbios_version": "96.00.A5.00.01",
            "version": "1.0",
        })
    }

    /// Judges a part as a node that expects this GPU, over this nonce.
    fn judge(&self, part: &EvidencePart, nonce: [u8; 32]) -> Verification {
        verify(&Input {
            part,
            endorsements: &Endorsements::default(),
            roots: &Roots::only([self.made.root.der()]).unwrap(),
            profile: &Profile::default(),
            expected: Expected::Nonce(&nonce),
            at: "2026-03-01T00:00:00Z".parse().unwrap(),
        })
    }
}

// === A machine ===

/// A machine's folder, with a stand-in for `nvattest`: it takes the same words, and gives the answer over a nonce that lies
/// in the folder under the nonce's name.
struct Machine {
    folder: tempfile::TempDir,
}

impl Machine {
    /// One whose program answers with all of these GPUs, as NVIDIA's does; with none, it fails.
    fn new(gpus: &[&Gpu]) -> Self {
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
        if !gpus.is_empty() {
            machine.answer(gpus, &nonce(Tee::NvidiaGpu));
        }
        machine
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Answers with these GPUs' reports over `nonce_of_reports`, whatever was asked.
    fn answer(&self, gpus: &[&Gpu], nonce_of_reports: &[u8; 32]) {
        let evidences: Vec<_> = gpus.iter().map(|gpu| gpu.entry(nonce_of_reports)).collect();
        let answer = json!({"evidences": evidences, "result_code": 0, "result_message": "Ok"});
        let name = format!("{}.json", hex(&nonce(Tee::NvidiaGpu)));
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

#[test]
fn each_gpus_evidence_is_accepted_over_the_nonce_of_gpus_and_no_other() {
    let gpus = [Gpu::new(), Gpu::new(), Gpu::new()];
    let parts = Machine::new(&gpus.each_ref()).parts().unwrap();
    assert_eq!(parts.len(), 3);
    // In the driver's order.
    for (index, (gpu, part)) in gpus.iter().zip(&parts).enumerate() {
        let verification = gpu.judge(part, nonce(Tee::NvidiaGpu));
        assert_eq!(verification.verdict, Verdict::Accept, "{index}: {verification:#?}");
        assert_eq!(verification.claims.unwrap().launch.measurement.unwrap().as_bytes(), FIRMWARE);
        assert_eq!(gpu.judge(part, nonce(Tee::Snp)).cause, Some(Cause::BindingNonce));
        assert!(!gpus[(index + 1) % 3].judge(part, nonce(Tee::NvidiaGpu)).authentic);
    }
}

#[test]
fn parts_that_the_lead_has_by_itself_stand_before_them() {
    let gpu = Gpu::new();
    let lead = SimulatedAttester::of_code("a").with_part(SimulatedAttester::of_code("b"));
    let parts = Machine::new(&[&gpu]).parts_behind(lead).unwrap();
    assert_eq!(parts.iter().map(|part| part.tee).collect::<Vec<_>>(), [Tee::Simulated, Tee::NvidiaGpu]);
    assert_eq!(gpu.judge(&parts[1], nonce(Tee::NvidiaGpu)).verdict, Verdict::Accept);
}

#[test]
fn the_lead_is_asked_as_if_there_were_no_parts() {
    let machine = Machine::new(&[]);
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
    let machine = Machine::new(&[]);
    machine.answer(&[&gpu], &nonce(Tee::Snp));
    let error = machine.why_not();
    assert!(matches!(error, PartError::Nonce { device: 0, .. }), "{error}");
    assert!(error.to_string().contains(&hex(&nonce(Tee::Snp))), "{error}");
}

#[test]
fn the_gpus_of_a_large_machine_have_room_and_more_than_evidence_takes_are_refused() {
    let gpus: Vec<_> = (0..17).map(|_| Gpu::new()).collect();
    let of = |count| Machine::new(&gpus.iter().take(count).collect::<Vec<_>>());
    assert_eq!(of(16).parts().unwrap().len(), 16);
    assert!(matches!(of(17).why_not(), PartError::Devices { found: 17, most: 16 }));
}

#[test]
fn a_failure_names_the_command_and_says_what_the_program_said() {
    let error = Machine::new(&[]).parts().unwrap_err().to_string();
    assert!(error.starts_with("no nvidia-gpu evidence from `/bin/sh "), "{error}");
    assert!(
        error.contains("--nonce {nonce} --format json`: it failed (exit status: 201): `NVML error`; run it"),
        "{error}"
    );
}
