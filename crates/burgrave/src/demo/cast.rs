//! Who plays: the enclaves of the demo and what they may touch.

use anyhow::Result;
use burgrave_attester::swtpm::Swtpm;
use burgrave_attester::{SimulatedAttester, TpmAttester};
use burgrave_types::api::{NewEnclave, NewRelease};
use burgrave_types::claims::{HexBytes, ReferenceValue};
use burgrave_types::{EnclaveName, KeyIdentity, ReleaseState, ResourceId, Tee};
use burgrave_verifier::tpm::ek_digest;

/// The code that the demo's enclaves run, by name.
pub(super) const API_CODE: &str = "payments-api-1.0";
pub(super) const LEDGER_CODE: &str = "payments-ledger-2.3";
pub(super) const REPORT_CODE: &str = "analytics-report-0.9";
/// The same enclave as the first, patched by somebody.
pub(super) const ROGUE_CODE: &str = "payments-api-1.0-patched";

/// The names that play.
pub(super) struct Cast {
    pub(super) api: EnclaveName,
    pub(super) ledger: EnclaveName,
    pub(super) report: EnclaveName,
    pub(super) gateway: EnclaveName,
    pub(super) storage: ResourceId,
}

impl Cast {
    pub(super) fn new() -> Result<Self> {
        Ok(Self {
            api: "payments/api".parse()?,
            ledger: "payments/ledger".parse()?,
            report: "analytics/report".parse()?,
            gateway: "boot/gateway".parse()?,
            storage: "keyspace/payments/storage".parse()?,
        })
    }
}

/// A simulated enclave whose one release runs this code.
pub(super) fn simulated(name: &EnclaveName, code: &str) -> Result<NewEnclave> {
    let reference = ReferenceValue {
        tee: Tee::Simulated,
        measurement: Some(SimulatedAttester::measurement_of(code)),
        signer: None,
        product_id: None,
        min_svn: None,
        registers: Default::default(),
        config: None,
    };
    enclave(name, reference, Vec::new())
}

/// An enclave on the machine with this TPM, booted as it is now.
pub(super) fn measured(name: &EnclaveName, emulator: &Swtpm) -> Result<NewEnclave> {
    let mut attester = TpmAttester::new(emulator.transport());
    let registers = attester.read_pcrs()?.into_iter().map(|(index, value)| (format!("pcr{index}"), value)).collect();
    let reference = ReferenceValue {
        tee: Tee::Tpm,
        measurement: None,
        signer: None,
        product_id: None,
        min_svn: None,
        registers,
        config: None,
    };
    enclave(name, reference, vec![HexBytes(ek_digest(&attester.ek_public()?).to_vec())])
}

fn enclave(name: &EnclaveName, reference: ReferenceValue, tpm_ek_digests: Vec<HexBytes>) -> Result<NewEnclave> {
    let tee = reference.tee;
    let release = NewRelease {
        name: "v1".parse()?,
        reference,
        state: ReleaseState::Active,
        origin: "the demo".to_owned(),
        log: Default::default(),
        valid_until: None,
    };
    Ok(NewEnclave {
        name: name.clone(),
        tee,
        key_identity: KeyIdentity::Name,
        reattest_every_secs: 60,
        releases: vec![release],
        tpm_ek_digests,
        requirements: Default::default(),
    })
}
