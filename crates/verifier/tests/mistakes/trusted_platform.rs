//! Mistakes about TPMs.

use burgrave_verifier::tpm::{AkProof, ek_digest};
use burgrave_verifier::{Cause, TpmTrust};
use rcgen::KeyUsagePurpose;

use super::{each_refused, refused, row, taken};
use burgrave_made::tpm::{CERTIFY, QUOTE, RESTRICTED_SIGNING, Tpm, ek_certificate, key_certificate};

const AT: &str = "2026-01-01T00:00:00Z";

fn quoted(tpm: Tpm) -> Tpm {
    tpm.with_ek(&ek_certificate()).quoted("", 3, 0x000b)
}

#[test]
fn registers_that_a_quote_does_not_cover_are_nobodys_word() {
    each_refused(&["tpm/neg-pcr23-only"], &[Cause::PcrSelection]);
    each_refused(&["tpm/neg-pcr-values-altered"], &[Cause::PcrDigest]);
    // Beside the quoted ones another value is shown: it makes no claim.
    let case = row("tpm/swtpm-rsa").with("pcrs.json", |json| {
        let mut values: serde_json::Value = serde_json::from_slice(json).unwrap();
        values["sha256"]["9"] = "ab".repeat(32).into();
        *json = values.to_string().into_bytes();
    });
    let verification = case.verify();
    assert!(!verification.claims.unwrap_or_else(|| panic!("no claims")).registers.contains_key("pcr9"));
    let mut demanded = row("tpm/swtpm-rsa");
    demanded.profile.tpm.pcrs = [9].into();
    refused("PCR 9 demanded", &demanded.verify(), &[Cause::PcrSelection]);
}

#[test]
fn a_key_that_signs_what_it_is_given_is_no_attestation_key() {
    each_refused(&["tpm/neg-unrestricted-key-forged"], &[Cause::AkAttributes]);
    let unrestricted = Tpm { ak_attributes: RESTRICTED_SIGNING & !(1 << 16), ..Tpm::new() };
    refused("unrestricted", &quoted(unrestricted).verify(AT), &[Cause::AkAttributes]);
}

#[test]
fn what_the_key_signed_must_be_a_quote_that_a_tpm_made() {
    taken("a quote", &quoted(Tpm::new()).verify(AT));
    let certify = Tpm { kind: CERTIFY, ..Tpm::new() };
    refused("a certification", &quoted(certify).verify(AT), &[Cause::QuoteStructure]);
    let foreign = Tpm { magic: 0x4142_4344, kind: QUOTE, ..Tpm::new() };
    refused("without the TPM's mark", &quoted(foreign).verify(AT), &[Cause::QuoteStructure]);
    each_refused(&["tpm/neg-signature-of-other-quote"], &[Cause::SignatureInvalid]);
}

#[test]
fn an_endorsement_key_is_validated_and_names_one_tpm() {
    let nobodys = Tpm::new().quoted("", 3, 0x000b);
    refused("no endorsement key", &nobodys.verify(AT), &[Cause::ChainUntrusted]);
    let mut foreign = quoted(Tpm::new());
    foreign.maker = burgrave_made::tpm::maker();
    refused("another maker", &foreign.verify(AT), &[Cause::ChainUntrusted, Cause::ChainSignature]);

    // Another TPM of the same maker is genuine, and not the one that is registered.
    let (own, other) = (quoted(Tpm::new()), quoted(Tpm::new()));
    let listed = ek_digest(own.part().item("ek.pub").unwrap()).to_vec();
    for (mut tpm, is_own) in [(own, true), (other, false)] {
        tpm.endorsements.platforms = vec![listed.clone()];
        tpm.endorsements.ak_proof = tpm.activated();
        tpm.profile.tpm.trust = TpmTrust::Listed;
        let verification = tpm.verify(AT);
        if is_own {
            taken("the registered TPM", &verification);
        } else {
            refused("another TPM", &verification, &[Cause::PlatformUnlisted]);
        }
    }
}

#[test]
fn an_attestation_key_is_proven_to_stand_in_the_endorsement_keys_tpm() {
    let mut tpm = quoted(Tpm::new());
    tpm.endorsements.ak_proof = AkProof::None;
    refused("unproven", &tpm.verify(AT), &[Cause::AkUnbound]);
    let ek_digest = ek_digest(tpm.part().item("ek.pub").unwrap());
    tpm.endorsements.ak_proof = AkProof::Activated { ak_name: vec![0; 34], ek_digest };
    refused("another key was proven", &tpm.verify(AT), &[Cause::AkUnbound]);
}

#[test]
fn a_certificate_that_anybody_can_bring_vouches_for_nobodys_key() {
    // A key made in software, beside the public certificate of somebody's TPM: offline, nothing tells it from the TPM's.
    let verification = quoted(Tpm::new()).verify(AT);
    assert_eq!(verification.unproven, [Cause::AkUnbound]);
    let claims = verification.claims.unwrap();
    assert_eq!((claims.platform_id, claims.product), (None, None));
    let mut listed = quoted(Tpm::new());
    listed.endorsements.platforms = vec![ek_digest(listed.part().item("ek.pub").unwrap()).to_vec()];
    refused("a listed TPM's EK", &listed.verify(AT), &[Cause::AkUnbound]);
    let mut demanding = quoted(Tpm::new());
    demanding.profile.tpm.require_bound = true;
    refused("proof is demanded", &demanding.verify(AT), &[Cause::AkUnbound]);

    // A genuine TPM's quote that borrows another TPM's name.
    let certificate = key_certificate(KeyUsagePurpose::DigitalSignature, 3);
    let alone = Tpm::new().with_ak_certificate(&certificate).quoted("", 3, 0x000b);
    assert_eq!(alone.verify(AT).unproven, []);
    let borrowed = alone.with_ek(&ek_certificate());
    let verification = borrowed.verify(AT);
    let claims = verification.claims.unwrap();
    assert_eq!((claims.platform_id, claims.product), (None, None));
    assert_eq!(verification.unproven, [Cause::AkUnbound]);
}

#[test]
fn a_log_explains_registers_and_never_states_them() {
    // PCR 7 extended by nothing: the quote says otherwise.
    let event = [&[7, 0, 0, 0, 4, 0, 0, 0][..], &[0; 20], &[0; 4]].concat();
    let header = [b"Spec ID Event03\0".as_slice(), &[0, 0, 0, 0, 0, 2, 0, 2, 1, 0, 0, 0, 0x0b, 0, 32, 0, 0]].concat();
    let length = u32::try_from(header.len()).unwrap().to_le_bytes();
    let agile = [&[0, 0, 0, 0, 3, 0, 0, 0][..], &[0; 20], &length, &header].concat();
    let mut tpm = quoted(Tpm::new());
    tpm.set("eventlog.bin", agile);
    let verification = tpm.verify(AT);
    refused("a log without events", &verification, &[Cause::LogReplay]);
    assert_eq!(verification.claims.unwrap().registers["pcr7"].0, [7; 32]);
    tpm.set("eventlog.bin", event);
    taken("a log of digests that nobody quoted says nothing", &tpm.verify(AT));
}
