//! What bytes are, by what only such bytes have.

use burgrave_types::Tee;

use crate::{Endorsement, azure, cca, dcap, nitro, nvidia, snp, tpm};

/// What bytes were recognised as.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Shape {
    /// Evidence of this TEE.
    Evidence(Tee),
    /// Certificates, or a revocation list.
    Endorsement,
    /// Collateral of one of Intel's platforms.
    Collateral,
    /// A piece of it: an answer of Intel's service.
    CollateralPiece,
    /// A boot event log.
    BootLog,
    /// None of these.
    Other,
}

impl Shape {
    /// Looks at bytes.
    pub(super) fn of(bytes: &[u8]) -> Self {
        if let Some(tee) = tee(bytes) {
            Self::Evidence(tee)
        } else if is_boot_log(bytes) {
            Self::BootLog
        } else if !matches!(Endorsement::read(bytes), Endorsement::Other) {
            Self::Endorsement
        } else if dcap::Collateral::parse(bytes).is_ok() {
            Self::Collateral
        } else if bytes.trim_ascii_start().starts_with(b"{") && dcap::CollateralPiece::read(bytes).is_some() {
            Self::CollateralPiece
        } else {
            Self::Other
        }
    }
}

fn tee(bytes: &[u8]) -> Option<Tee> {
    let shapes = [
        (Tee::AzVtpm, azure::looks_like_report(bytes)),
        (Tee::Nitro, nitro::looks_like_document(bytes)),
        (Tee::Cca, cca::looks_like_token(bytes)),
        (Tee::NvidiaGpu, nvidia::looks_like_report(bytes)),
        (Tee::Tpm, tpm::looks_like_quote(bytes)),
        (Tee::Snp, snp::looks_like_report(bytes)),
    ];
    dcap::looks_like_quote(bytes).or_else(|| shapes.into_iter().find(|(_, fits)| *fits).map(|(tee, _)| tee))
}

/// Whether bytes begin as a crypto-agile log (TCG PC Client Platform Firmware Profile, section 10.4.5.1): its first event has
/// this signature behind the head of 32 bytes that every event of the older form has.
fn is_boot_log(bytes: &[u8]) -> bool {
    bytes.get(32..).is_some_and(|event| event.starts_with(b"Spec ID Event03\0"))
}
