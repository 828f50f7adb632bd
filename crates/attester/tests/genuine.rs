//! Genuine evidence, played back through the kernel's interfaces, comes out as the verifier takes it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests may fail loudly"
)]

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use burgrave_attester::nsm::NsmDevice;
use burgrave_attester::sev_guest::SevGuestDevice;
use burgrave_attester::{Attester, AttesterError, BindingData, GramineAttester, NsmAttester, SevGuestAttester};
use burgrave_sys::GuestFailure;
use burgrave_types::{Evidence, Tee};
use burgrave_verifier::{Endorsements, Expected, Input, Profile, Roots, Verdict, Verification, inspect, verify};

fn testdata(path: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../verifier/testdata").join(path);
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The vectors that the project may not copy, where they are.
fn vectors() -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors");
    let folder = std::env::var_os("BURGRAVE_VECTORS").map_or_else(beside, PathBuf::from);
    folder.is_dir().then_some(folder)
}

fn binding(report_data: &[u8]) -> BindingData {
    BindingData { report_data: report_data.try_into().unwrap(), qualifying_data: [0; 32] }
}

fn judge(evidence: &Evidence, binding: &BindingData, at: &str) -> Verification {
    verify(&Input {
        part: &evidence.lead,
        endorsements: &Endorsements::default(),
        roots: &Roots::vendor(),
        profile: &Profile::default(),
        expected: Expected::Binding { report_data: &binding.report_data, qualifying_data: &binding.qualifying_data },
        at: at.parse().unwrap(),
    })
}

/// A guest that has one report and the certificate that goes with it.
struct Snp {
    report: Vec<u8>,
    table: Vec<u8>,
}

impl SevGuestDevice for Snp {
    fn report(&mut self, _: &[u8; 96], response: &mut [u8; 4000]) -> Result<(), GuestFailure> {
        response.fill(0);
        response[4..8].copy_from_slice(&u32::try_from(self.report.len()).unwrap().to_le_bytes());
        response[32..32 + self.report.len()].copy_from_slice(&self.report);
        Ok(())
    }

    fn extended_report(
        &mut self,
        request: &[u8; 96],
        certificates: &mut [u8],
        response: &mut [u8; 4000],
    ) -> Result<(), GuestFailure> {
        certificates[..self.table.len()].copy_from_slice(&self.table);
        self.report(request, response)
    }
}

#[test]
fn an_snp_report_with_the_hosts_certificate_is_accepted() {
    let report = testdata("snp/milan-v2-virtee/report.bin");
    let vcek = testdata("snp/milan-v2-virtee/vcek.der");
    let guid = b"\x63\xda\x75\x8d\xe6\x64\x45\x64\xad\xc5\xf4\xb9\x3b\xe8\xac\xcd";
    let length = u32::try_from(vcek.len()).unwrap().to_le_bytes();
    let table = [&guid[..], &[48, 0, 0, 0], &length, &[0; 24], &vcek].concat();
    let binding = binding(&report[0x50..0x90]);
    let device = Box::new(Snp { report, table });
    let mut attester = SevGuestAttester::with_device(device, "/dev/sev-guest".as_ref());

    let evidence = attester.evidence(&binding).unwrap();
    let verification = judge(&evidence, &binding, "2026-03-01T00:00:00Z");
    assert_eq!(verification.verdict, Verdict::Accept, "{:?}", verification.checks);
    assert_eq!(verification.claims.unwrap().tee, Tee::Snp);

    let other = BindingData { report_data: [1; 64], ..binding };
    assert!(matches!(attester.evidence(&other), Err(AttesterError::NotBound { .. })));
}

/// A module that has one document.
struct Nitro(Vec<u8>);

impl NsmDevice for Nitro {
    fn exchange(&mut self, _: &[u8], response: &mut [u8]) -> io::Result<usize> {
        let length = u16::try_from(self.0.len()).unwrap().to_be_bytes();
        let answer = [&b"\xa1\x6bAttestation\xa1\x68document\x59"[..], &length, &self.0].concat();
        response[..answer.len()].copy_from_slice(&answer);
        Ok(answer.len())
    }
}

#[test]
fn a_nitro_document_over_the_report_data_is_accepted() {
    let Some(vectors) = vectors() else {
        eprintln!("skipped: no folder of vectors (BURGRAVE_VECTORS)");
        return;
    };
    let document = fs::read(vectors.join("nitro/prod-2025-dstack/document.cose")).unwrap();
    let mut attester = NsmAttester::with_device(Box::new(Nitro(document)), "/dev/nsm".as_ref());
    let binding = binding(&[0; 64]);
    let evidence = attester.evidence(&binding).unwrap();
    let verification = judge(&evidence, &binding, "2025-12-25T13:15:38Z");
    assert_eq!(verification.verdict, Verdict::Accept, "{:?}", verification.checks);
}

#[test]
fn a_gramine_quote_is_read_as_sgx_over_the_report_data() {
    let quote = testdata("sgx/v3-00a067-config-sw/quote.bin");
    let dir = tempfile::tempdir().unwrap();
    for (name, content) in [("attestation_type", &b"dcap"[..]), ("user_report_data", b""), ("quote", &quote)] {
        fs::write(dir.path().join(name), content).unwrap();
    }
    let binding = binding(&quote[368..432]);
    let evidence = GramineAttester::open(dir.path()).unwrap().evidence(&binding).unwrap();
    assert_eq!(fs::read(dir.path().join("user_report_data")).unwrap(), binding.report_data);
    let inspected = inspect(&evidence.lead).unwrap();
    assert_eq!(inspected.tee, Tee::Sgx);
    assert_eq!(inspected.claims.unwrap().binding.unwrap().as_bytes(), binding.report_data);
}
