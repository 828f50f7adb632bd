//! Evidence from inside a TEE: the attester of RFC 9334.
//!
//! An [`Attester`] asks the TEE it runs in to vouch for the bytes of a [`BindingData`], and hands back the evidence as
//! named items, under the names that evidence folders and `burgrave-verifier` use. [`TpmAttester`] speaks to a TPM 2.0 by
//! raw commands over a device or a socket; [`ConfigfsTsm`], [`SevGuestAttester`], [`NsmAttester`] and [`GramineAttester`]
//! ask the kernel, or what stands in its place, for reports of SEV-SNP, TDX, Arm CCA, Nitro and SGX; [`AzureAttester`] asks
//! Azure's paravisor through its vTPM; [`SimulatedAttester`] is software that pretends, for `dev` domains. An
//! [`AttesterSpec`] chooses among them, by name or by [`detect`]. [`WithParts`] puts the evidence of other devices beside it, such as
//! GPUs, which a [`PartSpec`]'s command gives.
//!
//! What goes into the binding (genesis, enclave, nonce, exporter, keys) is the caller's, in `burgrave-seal`; whether the
//! evidence is to be believed is the verifier's. Calls block: an asynchronous caller gives them a thread of their own.
//!
//! ```
//! use burgrave_attester::{Attester, BindingData, SimulatedAttester};
//!
//! let mut attester = SimulatedAttester::of_code("payments-api-1.0");
//! let evidence = attester.evidence(&BindingData { report_data: [7; 64], qualifying_data: [7; 32] })?;
//! assert!(evidence.lead.item("simulated.json").is_some());
//! # Ok::<(), burgrave_attester::AttesterError>(())
//! ```
//!
//! Threat notes: answers of a TPM, a firmware, a driver or a metadata service are parsed as hostile input (bounded, nothing
//! allocated by a length that the answer does not hold), since the host may stand between. Evidence that does not carry the
//! binding that was asked for is never handed on. The command for a part is the operator's, who trusts it as the agent; it gets
//! nothing of the agent's environment, and what it prints is bounded in bytes and time, and believed by the verifier alone. No key is held here: the TPM keeps its own, and the simulated TEE's key is
//! public and worthless. A TPM alone protects nothing from whoever is root after boot.

mod bound;
mod choice;
mod configfs;
mod error;
mod files;
mod gramine;
mod log;
mod metadata;
pub mod nsm;
mod parts;
pub mod sev_guest;
mod simulated;
mod snp;
#[cfg(test)]
mod stand_in;
pub mod swtpm;
pub mod tpm;

pub use choice::{AttesterSpec, Source, TpmSpec, detect};
pub use configfs::ConfigfsTsm;
pub use error::AttesterError;
pub use gramine::GramineAttester;
pub use log::{EventLogs, fuzz_run_time_log};
pub use metadata::fuzz_answer as fuzz_metadata_answer;
pub use nsm::NsmAttester;
pub use parts::{PartError, PartSpec, Said, StopParts, WithParts, fuzz_answer as fuzz_part_answer};
pub use sev_guest::SevGuestAttester;
pub use simulated::SimulatedAttester;
pub use snp::fuzz_certificate_table;
pub use tpm::azure::AzureAttester;
pub use tpm::{EkKind, TpmAttester, Transport};

use burgrave_types::{Evidence, EvidencePart, Secret, Tee};

/// The caller's bytes that evidence must cover: two digests of the same attestation binding.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BindingData {
    /// SHA-512 of the binding, for TEEs with 64 bytes of report data.
    pub report_data: [u8; 64],
    /// SHA-256 of the binding, for a TPM quote's qualifying data.
    pub qualifying_data: [u8; 32],
}

/// The TEE that this process runs in, as a source of evidence.
pub trait Attester: Send {
    /// The TEE that leads the evidence.
    fn tee(&self) -> Tee;

    /// Fresh evidence over `binding`. Blocks while the TEE works: microseconds to seconds.
    ///
    /// # Errors
    /// [`AttesterError`] where the TEE cannot be reached, refuses, or answers what it must not.
    fn evidence(&mut self, binding: &BindingData) -> Result<Evidence, AttesterError>;

    /// The parts of evidence beside the lead, in the order in which the lead's binding covers their digests. `nonce` gives
    /// what parts of a kind must answer. None unless the machine has such devices.
    ///
    /// # Errors
    /// As [`Attester::evidence`].
    fn parts(&mut self, nonce: &dyn Fn(Tee) -> [u8; 32]) -> Result<Vec<EvidencePart>, AttesterError> {
        let _ = nonce;
        Ok(Vec::new())
    }

    /// Tells that a verifier took the last evidence and keeps what it saw of the run-time log in it: the next evidence carries
    /// only what was logged since. Without this, each carries the log from its start.
    fn log_taken(&mut self) {}

    /// Tells that the verifier of the next evidence knows nothing of the run-time log, e.g. on a link to another node: that
    /// evidence carries it from its start.
    fn log_forgotten(&mut self) {}

    /// Opens what a verifier sealed to the TPM's endorsement key and to the name of the attestation key, which proves that
    /// both live in one TPM (TPM 2.0 Part 1, 24; Part 3, TPM2_ActivateCredential). `id_object` is a `TPM2B_ID_OBJECT` and
    /// `encrypted_secret` a `TPM2B_ENCRYPTED_SECRET`, each with its size in front.
    ///
    /// # Errors
    /// [`AttesterError::Unsupported`] for a TEE without such keys; otherwise as [`Attester::evidence`].
    fn activate_credential(
        &mut self,
        id_object: &[u8],
        encrypted_secret: &[u8],
    ) -> Result<Secret<Vec<u8>>, AttesterError> {
        let _ = (id_object, encrypted_secret);
        Err(AttesterError::Unsupported { tee: self.tee(), operation: "credential activation" })
    }
}
