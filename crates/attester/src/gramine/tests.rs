//! The attester against a folder that behaves as Gramine's pseudo files do.

use std::sync::{Arc, Mutex};

use super::*;
use crate::stand_in::{PseudoFile, take_written};

/// Gramine's folder. The report data is the enclave's, zero until set; each opening of `quote` makes a quote over it.
struct Gramine {
    _quote: PseudoFile,
    dir: tempfile::TempDir,
}

impl Gramine {
    /// `others` sets the report data anew before so many quotes, as another thread of the enclave may.
    fn new(mut others: u32) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (path, written) = (dir.path().join("quote"), dir.path().join("user_report_data"));
        std::fs::write(dir.path().join("attestation_type"), "dcap").unwrap();
        std::fs::write(&written, []).unwrap();
        let report_data = Arc::new(Mutex::new([0; 64]));
        let quote = PseudoFile::serve(path, move || {
            let mut report_data = report_data.lock().unwrap();
            if let Some(written) = take_written(&written) {
                *report_data = written.try_into().expect("user_report_data takes 64 bytes");
            }
            if others > 0 {
                others -= 1;
                *report_data = [0xee; 64];
            }
            // Version 3, ECDSA; report data at the end of the enclave's report, then a signature's length and bytes.
            [&[3, 0, 2, 0][..], &[0; 364], &*report_data, &[4, 0, 0, 0, 1, 2, 3, 4]].concat()
        });
        Self { _quote: quote, dir }
    }

    fn attester(&self) -> Result<GramineAttester, AttesterError> {
        GramineAttester::open(self.dir.path())
    }
}

fn without_quotes() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("attestation_type"), "dcap").unwrap();
    std::fs::write(dir.path().join("user_report_data"), []).unwrap();
    dir
}

fn binding(byte: u8) -> BindingData {
    BindingData { report_data: [byte; 64], qualifying_data: [0; 32] }
}

#[test]
fn a_quote_covers_the_report_data_each_time() {
    let gramine = Gramine::new(0);
    let mut attester = gramine.attester().unwrap();
    for byte in [7, 8] {
        let evidence = attester.evidence(&binding(byte)).unwrap();
        assert_eq!((evidence.lead.tee, evidence.lead.items.len()), (Tee::Sgx, 1));
        assert_eq!(evidence.lead.item("quote.bin").unwrap()[368..432], [byte; 64]);
    }
}

#[test]
fn another_thread_of_the_enclave_is_outlasted_or_named() {
    assert!(Gramine::new(TRIES - 1).attester().unwrap().evidence(&binding(7)).is_ok());
    let error = Gramine::new(TRIES).attester().unwrap().evidence(&binding(7)).unwrap_err();
    assert!(matches!(&error, AttesterError::NotBound { tee: Tee::Sgx, .. }), "{error}");
}

#[test]
fn another_kind_of_attestation_is_no_source_of_evidence() {
    let gramine = Gramine::new(0);
    for kind in ["none", "epid\n"] {
        std::fs::write(gramine.dir.path().join("attestation_type"), kind).unwrap();
        let error = gramine.attester().unwrap_err();
        assert!(error.is_absent() && error.to_string().contains("sgx.remote_attestation"), "{error}");
    }
    let error = GramineAttester::open("/nowhere".as_ref()).unwrap_err();
    assert!(error.is_absent() && error.to_string().contains("under Gramine alone"), "{error}");
}

#[test]
fn a_quote_without_end_is_cut_short() {
    let dir = without_quotes();
    std::os::unix::fs::symlink("/dev/zero", dir.path().join("quote")).unwrap();
    let error = GramineAttester::open(dir.path()).unwrap().evidence(&binding(1)).unwrap_err();
    assert!(matches!(error, AttesterError::TooLong { limit: MAX_QUOTE, .. }));
}

#[test]
fn a_quoting_service_that_is_down_is_named() {
    let dir = without_quotes();
    let error = GramineAttester::open(dir.path()).unwrap().evidence(&binding(1)).unwrap_err().to_string();
    assert!(error.contains("quote`") && error.contains("aesmd"), "{error}");
}
