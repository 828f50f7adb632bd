//! Whose TPM it is: certificates of AK and EK, the registration's list, and the bond between the two.

use std::sync::Arc;

use super::chain::{Outcome, Role};
use super::known::{CertifiedKeys, Keys, KnownTpm, endorsing_items};
use super::{AkProof, OBJECT};
use crate::check::Stop;
use crate::verification::Findings;
use crate::{Cause, Endorsements, Input, TpmTrust};

/// Whether AK and EK are ones to believe, and whether they stand in one TPM. Returns what is to be remembered of it.
pub(super) fn trust(
    input: &Input<'_>,
    keys: &Arc<Keys>,
    known: Option<&KnownTpm>,
    findings: &mut Findings,
) -> Result<Option<Arc<CertifiedKeys>>, Stop> {
    let known = known.filter(|known| Arc::ptr_eq(&known.keys, keys) && known.certified.counts(input));
    let at_hand = match known {
        Some(_) => Endorsements::default(),
        None => Endorsements::among(endorsing_items(input.part).map(|(_, bytes)| bytes)).and(input.endorsements),
    };
    let listed = input.profile.tpm.trust == TpmTrust::Listed
        && keys.ek_digest.is_some_and(|digest| input.endorsements.platforms.iter().any(|one| *one == digest));

    let new_ak = match known {
        Some(_) => Outcome::None,
        None => Outcome::of(Role::Attestation, &keys.ak, &at_hand, input),
    };
    let ak_outcome = known.map_or(&new_ak, |known| &known.certified.ak);
    let ak_certified = ak_outcome.record(Role::Attestation, true, findings)?.is_some();
    if let Some(ek) = &keys.ek {
        findings.checks.need(
            ("tpm.ek.attributes", Cause::AkAttributes, OBJECT),
            ek.attributes.are_of_endorsement_key(),
            "fixedTPM, fixedParent, sensitiveDataOrigin, restricted and decrypt, not sign",
            &keys.attributes[1],
        )?;
    }
    let new_ek = match (known, &keys.ek) {
        (None, Some(ek)) => Outcome::of(Role::Endorsement, ek, &at_hand, input),
        _ => Outcome::None,
    };
    let ek_outcome = known.map_or(&new_ek, |known| &known.certified.ek);
    let ek_certificate = ek_outcome.record(Role::Endorsement, !listed, findings)?;
    let ek_certified = ek_certificate.is_some();
    findings.checks.need(
        ("tpm.trust", Cause::ChainUntrusted, "TCG EK Credential Profile, section 3"),
        ak_certified || ek_certified || listed,
        "a certificate of the EK or AK that chains to a root, or an EK that the registration lists",
        match (ek_certified, ak_certified, listed) {
            (true, ..) => "a certificate of the EK",
            (_, true, _) => "a certificate of the AK",
            (_, _, true) => "a listed EK",
            _ => "none",
        },
    )?;
    let activated = match &input.endorsements.ak_proof {
        AkProof::Activated { ak_name, ek_digest } => {
            *ak_name == keys.ak_name && keys.ek_digest.as_ref() == Some(ek_digest)
        }
        _ => false,
    };
    let bound = activated || (ak_certified && keys.ek.is_none());
    let found = match &input.endorsements.ak_proof {
        _ if activated => "such a credential",
        _ if ak_certified && keys.ek.is_none() => "an AK certificate",
        AkProof::Activated { .. } => "a credential for another AK or EK",
        AkProof::Offline => "no proof; offline nobody can ask the TPM",
        AkProof::Pending => "no proof yet; the TPM is asked next",
        AkProof::None => "no proof",
    };
    // An AK certificate vouches for the AK alone: where an EK is shown, only its own TPM can say that both are its.
    findings.checks.record(
        ("tpm.ak.bound", Cause::AkUnbound, "TPM 2.0 part 1, section 24 (credential protection)"),
        bound,
        is_proof_demanded(input),
        "a credential that the EK's TPM opened for this AK; without an EK, an AK certificate",
        found,
    );
    // An endorsement key and its certificate are public: without the bond, they say nothing about who signed.
    if (bound || input.endorsements.ak_proof == AkProof::Pending)
        && let Some(claims) = &mut findings.claims
    {
        claims.platform_id = keys.ek_digest.map(|digest| digest.as_slice().into());
        claims.product = ek_certificate.and_then(|found| found.manufacturer.as_deref()).map(str::to_owned);
    }
    Ok(match known {
        Some(known) => Some(Arc::clone(&known.certified)),
        None => CertifiedKeys::new(new_ak, new_ek, &at_hand, input).map(Arc::new),
    })
}

/// Whether an attestation key that is not bound refuses the evidence. A list of platforms demands the bond as well: that the
/// endorsement key stands on it says nothing of a key that is not proven to be of its TPM.
fn is_proof_demanded(input: &Input<'_>) -> bool {
    match input.endorsements.ak_proof {
        AkProof::Offline => input.profile.tpm.require_bound || !input.endorsements.platforms.is_empty(),
        AkProof::Pending => false,
        AkProof::None | AkProof::Activated { .. } => true,
    }
}
