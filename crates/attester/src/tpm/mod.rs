//! A TPM 2.0 as a source of evidence: quotes by an attestation key (AK) that the endorsement key (EK) vouches for.
//!
//! Both keys are primary keys of the endorsement hierarchy: the same template gives the same key for the life of the TPM's
//! seed, so nothing is stored and a restart changes nothing. They are made for each call and flushed after it; between
//! calls nothing is held, neither a connection nor one of the TPM's few slots.
//!
//! Commands are marshalled by hand (TPM 2.0 Library Part 2 and Part 3, revision 1.59): ten of them, over a reader and
//! writer of a few lines.

pub(crate) mod azure;
mod code;
mod command;
mod ops;
mod template;
mod transport;

use std::collections::{BTreeMap, BTreeSet};

use aws_lc_rs::digest::{SHA256, digest};
use burgrave_types::claims::HexBytes;
use burgrave_types::{Evidence, EvidencePart, Secret, Tee};

use crate::{Attester, AttesterError, BindingData, EventLogs};
pub use code::ResponseCode;
use ops::Tpm;
pub use template::EkKind;
pub use transport::Transport;

/// How often a quote is tried while the PCRs move under it.
const QUOTE_TRIES: u32 = 3;

/// PCRs of a TPM: 0 to 23 (PC Client Platform TPM Profile, section 3.7.1).
const PCR_COUNT: u8 = 24;

/// The PCRs that are quoted unless others are chosen: firmware, its configuration, boot manager, Secure Boot state, and the
/// operating system loader's (0 to 9), and the machine owner keys (14).
const DEFAULT_PCRS: [u8; 11] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 14];

/// The PCR that the kernel's integrity measurement architecture extends (CONFIG_IMA_MEASURE_PCR_IDX).
const RUN_TIME_PCR: u8 = 10;

/// An attester that talks to a TPM 2.0.
///
/// ```no_run
/// use burgrave_attester::{Attester, BindingData, TpmAttester, Transport};
///
/// let mut attester = TpmAttester::new(Transport::Device("/dev/tpmrm0".into())).with_pcrs([0, 4, 7])?;
/// let evidence = attester.evidence(&BindingData { report_data: [0; 64], qualifying_data: [1; 32] })?;
/// assert!(evidence.lead.item("quote.msg").is_some());
/// # Ok::<(), burgrave_attester::AttesterError>(())
/// ```
#[derive(Debug)]
pub struct TpmAttester {
    transport: Transport,
    ek: EkKind,
    pcrs: BTreeSet<u8>,
    logs: Option<EventLogs>,
    endorsement: Option<Endorsement>,
}

/// What is known of the EK: it does not change while the TPM's seed does not.
#[derive(Clone, Debug)]
struct Endorsement {
    public: Vec<u8>,
    certificate: Option<Vec<u8>>,
}

impl TpmAttester {
    /// An attester over `transport` with the RSA-2048 endorsement key and the PCRs 0 to 9 and 14. Nothing is opened yet.
    pub fn new(transport: Transport) -> Self {
        Self { transport, ek: EkKind::Rsa2048, pcrs: DEFAULT_PCRS.into(), logs: None, endorsement: None }
    }

    /// Chooses the endorsement key.
    #[must_use]
    pub fn with_ek(mut self, ek: EkKind) -> Self {
        self.ek = ek;
        self.endorsement = None;
        self
    }

    /// Chooses the PCRs (SHA-256 bank) that the quote covers.
    ///
    /// # Errors
    /// [`AttesterError::Argument`] for an empty choice or an index above 23.
    pub fn with_pcrs(mut self, pcrs: impl IntoIterator<Item = u8>) -> Result<Self, AttesterError> {
        self.pcrs = choice_of_pcrs(pcrs)?;
        Ok(self)
    }

    /// Adds the machine's boot event log to the evidence, and, where the chosen PCRs cover it, the run-time log.
    #[must_use]
    pub fn with_logs(mut self, logs: EventLogs) -> Self {
        self.logs = Some(logs);
        self
    }

    /// The endorsement key's public area (`TPMT_PUBLIC`), whose digest a registration lists. Asks the TPM the first time.
    ///
    /// # Errors
    /// As [`Attester::evidence`].
    pub fn ek_public(&mut self) -> Result<Vec<u8>, AttesterError> {
        let mut tpm = Tpm::connect(&self.transport)?;
        Ok(self.endorsement(&mut tpm)?.public)
    }

    /// The chosen PCRs as they stand now, by index.
    ///
    /// # Errors
    /// As [`Attester::evidence`].
    pub fn read_pcrs(&mut self) -> Result<BTreeMap<u8, HexBytes>, AttesterError> {
        let pcrs = Tpm::connect(&self.transport)?.read_pcrs(&self.pcrs)?;
        Ok(pcrs.into_iter().map(|(index, value)| (index, HexBytes(value))).collect())
    }

    /// Extends a PCR of the SHA-256 bank with a digest: the TPM then holds SHA-256(old value ‖ digest), until it is reset.
    ///
    /// # Errors
    /// [`AttesterError::Argument`] for an index above 23; otherwise as [`Attester::evidence`].
    pub fn extend_pcr(&mut self, pcr: u8, digest: &[u8; 32]) -> Result<(), AttesterError> {
        if pcr >= PCR_COUNT {
            return Err(pcr_out_of_range(pcr));
        }
        Tpm::connect(&self.transport)?.extend_pcr(pcr, digest)
    }

    fn endorsement(&mut self, tpm: &mut Tpm) -> Result<Endorsement, AttesterError> {
        if let Some(known) = &self.endorsement {
            return Ok(known.clone());
        }
        let public = tpm.with_primary(self.ek.template(), |_, key| Ok(key.public.clone()))?;
        let known = Endorsement { public, certificate: tpm.read_certificate(self.ek.certificate_index())? };
        self.endorsement = Some(known.clone());
        Ok(known)
    }
}

impl Attester for TpmAttester {
    fn tee(&self) -> Tee {
        Tee::Tpm
    }

    fn evidence(&mut self, binding: &BindingData) -> Result<Evidence, AttesterError> {
        let mut tpm = Tpm::connect(&self.transport)?;
        let ek = self.endorsement(&mut tpm)?;
        let pcrs = &self.pcrs;
        let mut part = tpm.with_primary(template::AK.to_vec(), |tpm, ak| {
            let mut part = quoted(tpm, ak.handle, pcrs, &binding.qualifying_data)?;
            part.items.insert("ak.pub".to_owned(), ak.public.clone());
            Ok(part)
        })?;
        part.items.insert("ek.pub".to_owned(), ek.public);
        if let Some(certificate) = ek.certificate {
            part.items.insert(self.ek.certificate_item().to_owned(), certificate);
        }
        add_logs(&mut self.logs, &self.pcrs, &mut part)?;
        Ok(Evidence::single(part))
    }

    fn log_taken(&mut self) {
        self.logs.iter_mut().for_each(EventLogs::taken);
    }

    fn log_forgotten(&mut self) {
        self.logs.iter_mut().for_each(EventLogs::forgotten);
    }

    fn activate_credential(
        &mut self,
        id_object: &[u8],
        encrypted_secret: &[u8],
    ) -> Result<Secret<Vec<u8>>, AttesterError> {
        let mut tpm = Tpm::connect(&self.transport)?;
        tpm.with_primary(self.ek.template(), |tpm, ek| {
            tpm.with_primary(template::AK.to_vec(), |tpm, ak| {
                tpm.activate_credential(ak.handle, ek.handle, id_object, encrypted_secret)
            })
        })
    }
}

/// Adds the logs that explain a quote. They are read after it: a log may be ahead of its PCR, never behind it.
fn add_logs(logs: &mut Option<EventLogs>, pcrs: &BTreeSet<u8>, part: &mut EvidencePart) -> Result<(), AttesterError> {
    if let Some(logs) = logs {
        part.items.extend(logs.boot()?);
        if pcrs.contains(&RUN_TIME_PCR) {
            part.items.extend(logs.run_time()?);
        }
    }
    Ok(())
}

fn choice_of_pcrs(pcrs: impl IntoIterator<Item = u8>) -> Result<BTreeSet<u8>, AttesterError> {
    let pcrs: BTreeSet<u8> = pcrs.into_iter().collect();
    match pcrs.last() {
        Some(last) if *last < PCR_COUNT => Ok(pcrs),
        Some(last) => Err(pcr_out_of_range(*last)),
        None => Err(AttesterError::Argument {
            what: "the choice of PCRs",
            found: "none".to_owned(),
            expected: "at least one",
        }),
    }
}

/// A quote by a key, and the values that it covers: taken again where a PCR changed between reading and quoting.
fn quoted(tpm: &mut Tpm, ak: u32, pcrs: &BTreeSet<u8>, data: &[u8]) -> Result<EvidencePart, AttesterError> {
    for _ in 0..QUOTE_TRIES {
        let values = tpm.read_pcrs(pcrs)?;
        let (message, signature) = tpm.quote(ak, pcrs, data)?;
        let read = digest(&SHA256, &values.values().flatten().copied().collect::<Vec<_>>());
        // The digest of the quoted PCRs is the last field of TPMS_ATTEST (Part 2, 10.12.4 and 10.12.12).
        if message.ends_with(read.as_ref()) {
            let items = [("quote.msg", message), ("quote.sig", signature), ("pcrs.json", pcrs_json(&values)?)];
            return Ok(EvidencePart::new(Tee::Tpm, items));
        }
    }
    Err(AttesterError::Unsteady { tries: QUOTE_TRIES })
}

/// The PCR values as evidence folders hold them: bank, index, hexadecimal value.
fn pcrs_json(values: &BTreeMap<u8, Vec<u8>>) -> Result<Vec<u8>, AttesterError> {
    let bank: BTreeMap<&u8, String> =
        values.iter().map(|(index, value)| (index, HexBytes::from(value.as_slice()).to_string())).collect();
    serde_json::to_vec(&BTreeMap::from([("sha256", bank)]))
        .map_err(|_| AttesterError::Malformed { command: "TPM2_PCR_Read", why: "the values cannot be written as JSON" })
}

fn pcr_out_of_range(pcr: u8) -> AttesterError {
    AttesterError::Argument { what: "the PCR index", found: pcr.to_string(), expected: "0 to 23" }
}

/// The body of a fuzz target: reads `bytes` as the answer to every command that is used here. It must not panic.
pub fn fuzz_response(bytes: &[u8]) {
    ops::fuzz(bytes);
}
