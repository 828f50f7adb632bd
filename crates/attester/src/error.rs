//! Why there is no evidence.

use std::io;

use burgrave_types::Tee;

use crate::PartError;
use crate::sev_guest::GuestError;
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
    /// A kernel interface is not there, or not for this machine: another source may be.
    #[error("{interface} gives no evidence here: {why}")]
    Absent {
        /// The interface, e.g. `configfs-tsm`.
        interface: &'static str,
        /// What is missing and what would bring it.
        why: String,
    },
    /// A kernel interface failed.
    #[error("cannot {doing} `{at}`: {source}{}", what_to_do(source, .advice))]
    Kernel {
        /// What was being done, e.g. `read`.
        doing: &'static str,
        /// The path.
        at: String,
        /// What the system said.
        source: io::Error,
        /// What to do about it, where that is known.
        advice: &'static str,
    },
    /// The SEV-SNP firmware, or the host on the way to it, gave no report.
    #[error("no SEV-SNP report from `{at}`: {error}")]
    SevGuest {
        /// The device.
        at: String,
        /// What the driver told.
        error: GuestError,
    },
    /// The Nitro Secure Module refused.
    #[error("the Nitro Secure Module refused to attest: `{code}`, {}", crate::nsm::meaning(code))]
    Nsm {
        /// Its error code.
        code: String,
    },
    /// What an interface gave is not what its specification says.
    #[error("{what} is malformed: {why}")]
    Answer {
        /// What was given.
        what: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// More than evidence may hold.
    #[error("`{at}` holds more than {limit} bytes, the most that is taken as evidence")]
    TooLong {
        /// The path.
        at: String,
        /// The bound, in bytes.
        limit: usize,
    },
    /// Somebody else used the interface at the same time, again and again.
    #[error(
        "another program changed the request in `{at}` during each of {tries} tries; let it use an entry of its own"
    )]
    Interfered {
        /// The path.
        at: String,
        /// How often it was tried.
        tries: u32,
    },
    /// The evidence does not carry what was asked for.
    #[error(
        "the {tee} evidence from `{at}` covers other report data than asked for; another program may use the interface"
    )]
    NotBound {
        /// The TEE.
        tee: Tee,
        /// Where it came from.
        at: String,
    },
    /// The kernel names a TEE that this program does not know.
    #[error("the kernel's TEE driver is `{provider}`; this release knows sev_guest, tdx_guest and arm_cca_guest")]
    Provider {
        /// What the kernel named.
        provider: String,
    },
    /// A command gave no evidence of a part.
    #[error("no {tee} evidence from `{command}`: {error}")]
    Part {
        /// The kind of the part.
        tee: Tee,
        /// The command, as it was given.
        command: String,
        /// What went wrong, and what to do about it.
        error: Box<PartError>,
    },
    /// No source of evidence was found.
    #[error("no TEE was found: {looked}; name one with --attester where it is elsewhere")]
    NoTee {
        /// Where was looked, and what to do.
        looked: String,
    },
    /// The simulated TEE failed inside.
    #[error("the simulated TEE could not {0}")]
    Simulated(&'static str),
    /// The TPM emulator could not be started.
    #[error("the TPM emulator could not be started: {0}")]
    Emulator(String),
}

impl AttesterError {
    /// Whether the interface is not there at all, so that another may be tried.
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::Absent { .. })
    }
}

/// What to do: permissions say it by themselves, the rest is the interface's own.
fn what_to_do(source: &io::Error, advice: &str) -> String {
    match source.kind() {
        io::ErrorKind::PermissionDenied => "; run the agent as root, or give its user access".to_owned(),
        _ if advice.is_empty() => String::new(),
        _ => format!("; {advice}"),
    }
}
