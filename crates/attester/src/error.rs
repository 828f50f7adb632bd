//! Why there is no evidence.

use std::io;

use burgrave_types::Tee;

use crate::tpm::ResponseCode;

/// Why an attester could not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AttesterError {
    /// The TEE has no such operation.
    #[error("{tee} has no {operation}; only a TPM does that")]
    Unsupported {
        /// The TEE that was asked.
        tee: Tee,
        /// What was asked of it.
        operation: &'static str,
    },
    /// The TPM cannot be reached.
    #[error("cannot reach the TPM at `{at}`: {source}; check that it exists and that this user may open it")]
    Connect {
        /// The path or address.
        at: String,
        /// What the system said.
        source: io::Error,
    },
    /// The connection to the TPM broke.
    #[error("the connection to the TPM at `{at}` broke during {command}: {source}")]
    Io {
        /// The path or address.
        at: String,
        /// The command in flight, e.g. `TPM2_Quote`.
        command: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The TPM refused a command.
    #[error("the TPM refused {command}: {code}")]
    Refused {
        /// The command, e.g. `TPM2_ActivateCredential`.
        command: &'static str,
        /// Its answer.
        code: ResponseCode,
    },
    /// The TPM's answer is not what the specification says.
    #[error("the TPM's answer to {command} is malformed: {why}")]
    Malformed {
        /// The command.
        command: &'static str,
        /// What is wrong with the answer.
        why: &'static str,
    },
    /// The PCRs changed between reading and quoting, again and again.
    #[error("the chosen PCRs changed during each of {tries} quotes; choose PCRs that rest after boot")]
    Unsteady {
        /// How often it was tried.
        tries: u32,
    },
    /// An argument that no TPM would take.
    #[error("{what} is not valid: found {found}, expected {expected}")]
    Argument {
        /// The argument.
        what: &'static str,
        /// What was given.
        found: String,
        /// What would do.
        expected: &'static str,
    },
    /// The simulated TEE failed inside.
    #[error("the simulated TEE could not {0}")]
    Simulated(&'static str),
    /// The TPM emulator could not be started.
    #[error("the TPM emulator could not be started: {0}")]
    Emulator(String),
}
