//! The simulated TEE: software that says what it is.

use aws_lc_rs::digest::{SHA384, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
use burgrave_types::claims::HexBytes;
use burgrave_types::simulated::{REPORT_ITEM, SIGNATURE_ITEM, SimulatedReport, VERSION, WORTHLESS_SIGNING_KEY_PKCS8};
use burgrave_types::{Evidence, EvidencePart, Tee};

use crate::{Attester, AttesterError, BindingData};

/// An attester that pretends to be a TEE. Its evidence proves nothing and is taken in `dev` domains alone.
///
/// ```
/// use burgrave_attester::SimulatedAttester;
///
/// let attester = SimulatedAttester::of_code("ledger-2.1").svn(3).debug(true);
/// assert_eq!(attester.measurement(), &SimulatedAttester::measurement_of("ledger-2.1"));
/// ```
#[derive(Clone, Debug)]
pub struct SimulatedAttester {
    report: SimulatedReport,
    parts: Vec<SimulatedAttester>,
}

impl SimulatedAttester {
    /// The simulated TEE that runs the code called `name`: other names have other measurements.
    pub fn of_code(name: &str) -> Self {
        Self::with_measurement(Self::measurement_of(name))
    }

    /// The simulated TEE with this launch measurement.
    pub fn with_measurement(measurement: HexBytes) -> Self {
        Self {
            report: SimulatedReport {
                version: VERSION,
                measurement,
                signer: None,
                product_id: None,
                svn: None,
                debug: false,
                platform_id: None,
                config: None,
                registers: Default::default(),
                report_data: HexBytes::default(),
            },
            parts: Vec::new(),
        }
    }

    /// The measurement of the code called `name`: SHA-384 of `burgrave-simulated` and the name. It is what a reference
    /// value for [`SimulatedAttester::of_code`] holds.
    pub fn measurement_of(name: &str) -> HexBytes {
        HexBytes::from(digest(&SHA384, &[b"burgrave-simulated", name.as_bytes()].concat()).as_ref())
    }

    /// The launch measurement.
    pub fn measurement(&self) -> &HexBytes {
        &self.report.measurement
    }

    /// Pretends that the key with this digest signed the code.
    #[must_use]
    pub fn signer(mut self, signer: HexBytes) -> Self {
        self.report.signer = Some(signer);
        self
    }

    /// Pretends that the signer called the product so.
    #[must_use]
    pub fn product_id(mut self, product_id: &str) -> Self {
        self.report.product_id = Some(product_id.to_owned());
        self
    }

    /// Pretends to have this security version number.
    #[must_use]
    pub fn svn(mut self, svn: u64) -> Self {
        self.report.svn = Some(svn);
        self
    }

    /// Pretends to be open to its host, or not.
    #[must_use]
    pub fn debug(mut self, debug: bool) -> Self {
        self.report.debug = debug;
        self
    }

    /// Pretends to run on this chip.
    #[must_use]
    pub fn platform_id(mut self, platform_id: HexBytes) -> Self {
        self.report.platform_id = Some(platform_id);
        self
    }

    /// Pretends that the launcher set this configuration digest.
    #[must_use]
    pub fn config(mut self, config: HexBytes) -> Self {
        self.report.config = Some(config);
        self
    }

    /// Pretends that `device` stands beside it, as a further part of its evidence.
    #[must_use]
    pub fn with_part(mut self, device: Self) -> Self {
        self.parts.push(device);
        self
    }

    /// Pretends that the register `name` holds `value`.
    #[must_use]
    pub fn register(mut self, name: &str, value: HexBytes) -> Self {
        self.report.registers.insert(name.to_owned(), value);
        self
    }
}

impl Attester for SimulatedAttester {
    fn tee(&self) -> Tee {
        Tee::Simulated
    }

    fn evidence(&mut self, binding: &BindingData) -> Result<Evidence, AttesterError> {
        self.report_over(binding.report_data).map(Evidence::single)
    }

    fn parts(&mut self, nonce: &dyn Fn(Tee) -> [u8; 32]) -> Result<Vec<EvidencePart>, AttesterError> {
        let mut report_data = [0; 64];
        report_data.iter_mut().zip(nonce(Tee::Simulated)).for_each(|(to, from)| *to = from);
        self.parts.iter().map(|device| device.report_over(report_data)).collect()
    }
}

impl SimulatedAttester {
    fn report_over(&self, report_data: [u8; 64]) -> Result<EvidencePart, AttesterError> {
        let report = SimulatedReport { report_data: HexBytes(report_data.to_vec()), ..self.report.clone() };
        let json = serde_json::to_vec(&report).map_err(|_| AttesterError::Simulated("write its report"))?;
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &WORTHLESS_SIGNING_KEY_PKCS8)
            .map_err(|_| AttesterError::Simulated("read its key"))?;
        let signature =
            key.sign(&SystemRandom::new(), &json).map_err(|_| AttesterError::Simulated("sign its report"))?;
        let items = [(REPORT_ITEM, json), (SIGNATURE_ITEM, signature.as_ref().to_vec())];
        Ok(EvidencePart::new(Tee::Simulated, items))
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
    use burgrave_types::simulated::WORTHLESS_PUBLIC_KEY;

    use super::*;

    fn binding() -> BindingData {
        BindingData { report_data: [5; 64], qualifying_data: [6; 32] }
    }

    #[test]
    fn a_report_carries_the_binding_under_the_published_key() {
        let evidence = SimulatedAttester::of_code("a").svn(2).evidence(&binding()).unwrap();
        let json = evidence.lead.item(REPORT_ITEM).unwrap();
        let report: SimulatedReport = serde_json::from_slice(json).unwrap();
        assert_eq!(report.report_data.as_bytes(), [5; 64]);
        assert_eq!((report.svn, report.debug), (Some(2), false));

        let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, WORTHLESS_PUBLIC_KEY);
        key.verify(json, evidence.lead.item(SIGNATURE_ITEM).unwrap()).unwrap();
    }

    #[test]
    fn other_code_has_another_measurement() {
        assert_ne!(SimulatedAttester::measurement_of("a"), SimulatedAttester::measurement_of("b"));
        assert_eq!(SimulatedAttester::measurement_of("a").as_bytes().len(), 48);
    }

    #[test]
    fn a_simulated_tee_activates_no_credential() {
        let error = SimulatedAttester::of_code("a").activate_credential(&[], &[]).unwrap_err();
        assert_eq!(error.to_string(), "simulated has no credential activation; only a TPM does that");
    }
}
