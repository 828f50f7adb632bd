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

/// As a node and an agent derive it from a challenge: one for each index and kind.
fn nonce(index: usize, tee: Tee) -> [u8; 32] {
    digest(&SHA256, format!("a challenge, {index}, {tee}").as_bytes()).as_ref().try_into().unwrap()
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

    /// Judges a part as a node that expects this GPU at `index`.
    fn judge(&self, part: &EvidencePart, index: usize) -> Verification {
        verify(&Input {
            part,
            endorsements: &Endorsements::default(),
            roots: &Roots::only([self.made.root.der()]).unwrap(),
            profile: &Profile::default(),
            expected: Expected::Nonce(&nonce(index, Tee::NvidiaGpu)),
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

#[test]
fn a_gpus_evidence_is_accepted_over_its_own_nonce() {
    let gpu = Gpu::new();
    let parts = Machine::new(&[&gpu], 0..1).parts().unwrap();
    assert_eq!(parts.len(), 1);
    let verification = gpu.judge(&parts[0], 0);
    assert_eq!(verification.verdict, Verdict::Accept, "{verification:#?}");
    assert_eq!(verification.claims.unwrap().launch.measurement.unwrap().as_bytes(), FIRMWARE);
    assert_eq!(gpu.judge(&parts[0], 1).cause, Some(Cause::BindingNonce));
}

#[test]
fn each_of_several_gpus_is_accepted_over_a_nonce_of_its_own_and_no_other() {
    let gpus = [Gpu::new(), Gpu::new(), Gpu::new()];
    let parts = Machine::new(&gpus.each_ref(), 0..3).parts().unwrap();
    assert_eq!(parts.len(), 3);
    // In the driver's order.
    for (index, (gpu, part)) in gpus.iter().zip(&parts).enumerate() {
        let verification = gpu.judge(part, index);
        assert_eq!(verification.verdict, Verdict::Accept, "{index}: {verification:#?}");
        let next = (index + 1) % 3;
        assert_eq!(gpu.judge(part, next).cause, Some(Cause::BindingNonce));
        assert!(!gpus[next].judge(part, index).authentic);
    }
}

#[test]
fn parts_that_the_lead_has_by_itself_stand_before_them() {
    let (first, second) = (Gpu::new(), Gpu::new());
    let lead = SimulatedAttester::of_code("a").with_part(SimulatedAttester::of_code("b"));
    let parts = Machine::new(&[&first, &second], 1..3).parts_behind(lead).unwrap();
    assert_eq!(parts.iter().map(|part| part.tee).collect::<Vec<_>>(), [Tee::Simulated, Tee::NvidiaGpu, Tee::NvidiaGpu]);
    assert_eq!(first.judge(&parts[1], 1).verdict, Verdict::Accept);
    assert_eq!(second.judge(&parts[2], 2).verdict, Verdict::Accept);
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
