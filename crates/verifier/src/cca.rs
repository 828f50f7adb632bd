//! Arm CCA: a platform token and a realm token, bound to each other.
//!
//! Format: Arm DEN0137 (*Realm Management Monitor specification*, 1.0 and 2.0), section A7; *draft-ffm-rats-cca-token*, the profiles
//! up to those of 2024 and both collections (tags 399 and 907); envelope: RFC 9052.
//!
//! Items of a part: `token.cbor`. The platform token is signed by the platform's own key, which [`crate::Roots`] hold by
//! implementation and instance (a file of trust anchors, JSON); its challenge is the hash of the realm attestation key, which
//! signed the realm token. A trust anchor among the part's items counts for nothing.
//!
//! What is said of a realm its platform's firmware writes, and is worth what that firmware is. No vendor says which is good: the
//! roots may hold what is accepted ([`crate::Roots::with_cca_firmware`]), else a release names it ([`crate::appraise()`]), by the
//! registers `platform:RMM` (a measurement) and `signer:RMM` (who signed it).
//!
//! The challenger's bytes are the realm's challenge: 64 bytes.

mod anchor;
mod collection;
mod firmware;
mod token;

use std::collections::{BTreeMap, BTreeSet};

use aws_lc_rs::signature::{ECDSA_P384_SHA384_FIXED, UnparsedPublicKey};
use burgrave_types::claims::{HexBytes, LaunchClaims, Proved, TcbClaims, TcbStatus};
use burgrave_types::{Claims, EvidencePart, Tee};
use serde_json::{Value, json};

use crate::check::{Checks, Stop};
use crate::cose::{ES384, NoSign1, Sign1};
use crate::tpm::Hash;
use crate::verification::Findings;
use crate::{Cause, Expected, Input, policy};
pub(crate) use anchor::Anchor;
pub(crate) use firmware::Firmware;
use token::{Component, Platform, Realm};

const ITEM: &str = "token.cbor";
const DRAFT: &str = "draft-ffm-rats-cca-token, sections 4 and 5";
const COSE: &str = "RFC 9052, section 4.2 (COSE_Sign1)";

/// Both tokens, read and not yet believed.
struct Tokens<'a> {
    platform_message: Sign1<'a>,
    platform: Platform<'a>,
    realm_message: Sign1<'a>,
    realm: Realm<'a>,
}

/// Decodes without judging.
pub(crate) fn inspect(part: &EvidencePart, findings: &mut Findings) -> Result<(), Stop> {
    read(part, findings).map(|_| ())
}

/// Verifies both tokens and what binds them.
pub(crate) fn verify(input: &Input<'_>, findings: &mut Findings) -> Result<(), Stop> {
    let tokens = read(input.part, findings)?;
    let Tokens { platform_message, platform, realm_message, realm } = &tokens;
    if let Some(claims) = &mut findings.claims {
        claims.tcb.status = firmware::status(input.roots.cca_firmware(), platform);
        policy::judge(input.profile, claims, &mut findings.checks);
        accepted_firmware(claims.tcb.status, &mut findings.checks);
    }
    lifecycle(platform, findings);
    binding(input.expected, realm, findings);
    let digest = realm.key_hash.digest(realm.key);
    findings.checks.need(
        ("cca.realm.bound", Cause::BindingPart, "draft-ffm-rats-cca-token, section 4.1 (challenge)"),
        platform.challenge == digest,
        format_args!("platform challenge {}, the {} of the realm's key", hex::encode(&digest), realm.key_hash.as_str()),
        hex::encode(platform.challenge),
    )?;
    platform_signature(input, platform_message, platform, findings)?;
    let key = UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, &realm.point);
    findings.checks.need_that(
        ("cca.realm.signature", Cause::SignatureInvalid, "RFC 9052, section 4.4; RFC 9053, section 2.1"),
        key.verify(&realm_message.to_be_signed(), realm_message.signature).is_ok(),
        "an ECDSA P-384 signature of the realm attestation key over the realm token",
        "a signature that does not verify",
    )
}

/// Whether bytes begin as a collection of tokens.
pub(crate) fn looks_like_token(bytes: &[u8]) -> bool {
    collection::looks_like_collection(bytes)
}

/// The body of a fuzz target: reads bytes as a collection, as the claims of either token, as trust anchors and as accepted
/// firmware. Returns of how many of them they are one.
pub fn fuzz_decode(bytes: &[u8]) -> usize {
    let read = [
        collection::split(bytes).is_some(),
        Platform::read(bytes).is_ok(),
        Realm::read(bytes).is_ok(),
        Anchor::read_all(bytes).is_some(),
        Firmware::read_all(bytes).is_some(),
    ];
    read.into_iter().filter(|read| *read).count()
}

fn platform_signature(
    input: &Input<'_>,
    message: &Sign1<'_>,
    platform: &Platform<'_>,
    findings: &mut Findings,
) -> Result<(), Stop> {
    let checks = &mut findings.checks;
    let anchors = input.roots.cca_anchors().iter();
    // A platform may have several: its key is rolled, or somebody's list is old.
    let anchors: Vec<_> = anchors.filter(|anchor| anchor.is_of(platform.implementation, platform.instance)).collect();
    let rule = ("cca.platform.anchor", Cause::ChainUntrusted, "trust anchors, implementation-id and instance-id");
    let expected = "a trust anchor for the platform's implementation and instance";
    if anchors.is_empty() {
        return Err(checks.stop(rule, expected, format_args!("none for instance {}", hex::encode(platform.instance))));
    }
    let keys: Vec<_> = anchors.into_iter().filter_map(|anchor| Some((anchor.algorithm(), anchor.key()?))).collect();
    let Some((algorithm, _)) = keys.first() else {
        return Err(checks.stop(rule, expected, "one whose key is no point of its curve"));
    };
    checks.record(rule, true, true, expected, "such an anchor");
    let fits = |algorithm: i64| message.algorithm == Some(algorithm);
    checks.need(
        ("cca.platform.algorithm", Cause::FormatAlgorithm, "RFC 9053, section 2.1"),
        keys.iter().any(|(algorithm, _)| fits(*algorithm)),
        format_args!("{algorithm}, which goes with the trust anchor's curve"),
        message.algorithm.map_or_else(|| "none".to_owned(), |algorithm| algorithm.to_string()),
    )?;
    let signed = message.to_be_signed();
    checks.need_that(
        ("cca.platform.signature", Cause::SignatureInvalid, "RFC 9052, section 4.4; RFC 9053, section 2.1"),
        keys.iter().any(|(algorithm, key)| fits(*algorithm) && key.verify_sig(&signed, message.signature).is_ok()),
        "an ECDSA signature of the trust anchor's key over the platform token",
        "a signature that does not verify",
    )
}

/// Whether anybody but a release vouches for the platform's firmware: told, since what is out of date the profile judges, and
/// what nobody speaks of each release.
fn accepted_firmware(status: TcbStatus, checks: &mut Checks) {
    checks.record(
        ("cca.platform.firmware", Cause::TcbStatus, "accepted firmware, implementation-id and sw-components"),
        status == TcbStatus::UpToDate,
        false,
        "firmware that is accepted for the platform's implementation",
        match status {
            TcbStatus::UpToDate => "as expected",
            TcbStatus::OutOfDate => "other firmware",
            _ => "nothing said of this implementation's: a release must name it",
        },
    );
}

/// Only a secured platform keeps its promises: the key of one that is not yet or no longer in service may be anybody's. Whether
/// debug states are taken is the profile's to say (`allow_debug`).
fn lifecycle(platform: &Platform<'_>, findings: &mut Findings) {
    let state = Lifecycle::of(platform.lifecycle);
    findings.checks.fatal(
        ("cca.lifecycle", Cause::CertificateKind, "draft-ffm-rats-cca-token, section 4.2.4 (lifecycle)"),
        matches!(state, Lifecycle::Secured | Lifecycle::Debug),
        "0x3000 to 0x30ff (secured)",
        format_args!("{:#06x} ({})", platform.lifecycle, state.as_str()),
    );
}

/// The platform's state, as far as trust hangs on it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Lifecycle {
    Secured,
    /// Debug of the platform, or of what is not CCA in it.
    Debug,
    /// Not yet or no longer in service, or not known.
    Other(&'static str),
}

impl Lifecycle {
    fn of(value: u16) -> Self {
        match value >> 8 {
            0x10 => Self::Other("assembly and test"),
            0x20 => Self::Other("provisioning of the platform's root of trust"),
            0x30 => Self::Secured,
            0x40 | 0x50 => Self::Debug,
            0x60 => Self::Other("decommissioned"),
            _ => Self::Other("unknown"),
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Secured => "secured",
            Self::Debug => "debug",
            Self::Other(name) => name,
        }
    }
}

fn binding(expected: Expected<'_>, realm: &Realm<'_>, findings: &mut Findings) {
    let Some((bytes, cause)) = expected.report_data() else { return };
    let carried = realm.challenge.split_at_checked(bytes.len());
    findings.checks.fatal(
        ("cca.challenge", cause, "draft-ffm-rats-cca-token, section 5.1 (challenge)"),
        carried.is_some_and(|(head, rest)| head == bytes && rest.iter().all(|byte| *byte == 0)),
        format_args!("{}, then zeros to 64 bytes", hex::encode(bytes)),
        hex::encode(realm.challenge),
    );
}

fn read<'a>(part: &'a EvidencePart, findings: &mut Findings) -> Result<Tokens<'a>, Stop> {
    let checks = &mut findings.checks;
    let Some(bytes) = part.item(ITEM) else {
        let rule = ("cca.token.present", Cause::FormatMalformed, DRAFT);
        return Err(checks.stop(rule, "the item `token.cbor`", "no such item"));
    };
    let Some((platform, realm)) = collection::split(bytes) else {
        let rule = ("cca.collection", Cause::FormatMalformed, DRAFT);
        let expected = "a collection (tag 399 or 907) of a platform and a realm token, and nothing else";
        return Err(checks.stop(rule, expected, "something else"));
    };
    let mut message = |name, bytes| {
        let expected = "a COSE_Sign1 with a payload of bytes, and nothing after it";
        Sign1::read(bytes).map_err(|error| match error {
            NoSign1::Malformed(at) => {
                let found = format_args!("something else at about its byte {at}");
                checks.stop((name, Cause::FormatMalformed, COSE), expected, found)
            }
            NoSign1::Trailing(count) => {
                checks.stop((name, Cause::FormatLength, COSE), expected, format_args!("{count} more bytes"))
            }
        })
    };
    let platform_message = message("cca.platform.cose", platform)?;
    let realm_message = message("cca.realm.cose", realm)?;
    checks.need(
        ("cca.realm.algorithm", Cause::FormatAlgorithm, "RFC 9053, section 2.1"),
        realm_message.algorithm == Some(ES384),
        "-35 (ES384), which goes with the realm attestation key's curve",
        realm_message.algorithm.map_or_else(|| "none".to_owned(), |algorithm| algorithm.to_string()),
    )?;
    let refused = |name, refusal: token::Refusal| ((name, refusal.cause, DRAFT), refusal.expected, refusal.found);
    let platform = Platform::read(platform_message.payload).map_err(|refusal| {
        let (rule, expected, found) = refused("cca.platform.claims", refusal);
        checks.stop(rule, expected, found)
    })?;
    let realm = Realm::read(realm_message.payload).map_err(|refusal| {
        let (rule, expected, found) = refused("cca.realm.claims", refusal);
        checks.stop(rule, expected, found)
    })?;
    checks.need(
        ("cca.profiles", Cause::FormatVersion, DRAFT),
        realm.edition.is_none_or(|edition| edition == platform.edition),
        "a realm token of the platform token's edition",
        if realm.edition.is_none() { "a realm token that states no profile" } else { "two profiles" },
    )?;
    hashes(&platform, &realm, checks);
    findings.raw = raw(&platform, &realm).into();
    findings.claims = Some(claims(&platform, &realm));
    Ok(Tokens { platform_message, platform, realm_message, realm })
}

/// Measurements are as long as what they are said to be computed with gives. Some tokens are not so, and it changes nothing:
/// values are compared whole.
fn hashes(platform: &Platform<'_>, realm: &Realm<'_>, checks: &mut Checks) {
    let expected = "measurements as long as their algorithm's";
    let mut told = |name, odd: Option<usize>, algorithm: Hash| {
        let found = odd.map_or("as expected".to_owned(), |length| format!("{length} bytes by {}", algorithm.as_str()));
        checks.record((name, Cause::FormatLength, DRAFT), odd.is_none(), false, expected, found);
    };
    told("cca.platform.hash", platform.odd_component().map(|odd| odd.measurement.len()), platform.hash);
    told("cca.realm.hash", Some(realm.initial.len()).filter(|length| *length != realm.hash.length()), realm.hash);
}

fn claims(platform: &Platform<'_>, realm: &Realm<'_>) -> Claims {
    let extensible = realm.extensible.iter().enumerate();
    let mut registers: BTreeMap<String, HexBytes> =
        extensible.map(|(index, value)| (format!("rem{index}"), (*value).into())).collect();
    for (name, component) in components(platform) {
        registers.insert(format!("platform:{name}"), component.measurement.into());
        registers.insert(format!("signer:{name}"), component.signer.into());
    }
    let extensions = platform.extensions.iter().enumerate();
    registers.extend(extensions.map(|(index, digest)| (format!("extension:{index}"), (*digest).into())));
    registers.extend(realm.devices.map(|digest| ("devices".to_owned(), digest.into())));
    Claims {
        tee: Tee::Cca,
        product: Some(hex::encode(platform.implementation)),
        platform_id: Some(platform.instance.into()),
        tcb: TcbClaims::new(TcbStatus::VendorManaged),
        debug: Some(Lifecycle::of(platform.lifecycle) == Lifecycle::Debug),
        migratable: None,
        privilege: None,
        launch: LaunchClaims { measurement: Some(realm.initial.into()), ..LaunchClaims::default() },
        registers: registers.into(),
        config: Some(realm.personalization.into()),
        binding: Some(realm.challenge.into()),
        boot: None,
        td: None,
        proved: BTreeSet::from([Proved::Launch]),
    }
}

/// The platform's firmware by name; what has no name of its own, or one that another has or that looks like a place, by its
/// place: `#1`.
fn components<'a>(platform: &'a Platform<'a>) -> impl Iterator<Item = (String, &'a Component<'a>)> {
    let count = |name: &str| platform.components.iter().filter(|other| other.name == Some(name)).count();
    platform.components.iter().enumerate().map(move |(index, component)| match component.name {
        Some(name) if count(name) == 1 && !name.starts_with('#') => (name.to_owned(), component),
        _ => (format!("#{index}"), component),
    })
}

fn raw(platform: &Platform<'_>, realm: &Realm<'_>) -> Value {
    let component = |(name, component): (String, &Component<'_>)| {
        let described = json!({
            "measurement": hex::encode(component.measurement),
            "signer": hex::encode(component.signer),
            "version": component.version,
        });
        (format!("platform:{name}"), described)
    };
    json!({
        "platform": {
            "profile": platform.profile,
            "challenge": hex::encode(platform.challenge),
            "implementation_id": hex::encode(platform.implementation),
            "instance_id": hex::encode(platform.instance),
            "config": hex::encode(platform.config),
            "lifecycle": platform.lifecycle,
            "lifecycle_state": Lifecycle::of(platform.lifecycle).as_str(),
            "hash": platform.hash.as_str(),
            "components": components(platform).map(component).collect::<serde_json::Map<_, _>>(),
            "extensions": platform.extensions.iter().map(hex::encode).collect::<Vec<_>>(),
            "verification_service": platform.verification_service,
        },
        "realm": {
            "challenge": hex::encode(realm.challenge),
            "personalization": hex::encode(realm.personalization),
            "initial_measurement": hex::encode(realm.initial),
            "extensible_measurements": realm.extensible.iter().map(hex::encode).collect::<Vec<_>>(),
            "hash": realm.hash.as_str(),
            "memory_key": realm.private_memory_key.map(|private| if private { "private" } else { "shared" }),
            "devices": realm.devices.map(hex::encode),
            "key": hex::encode(realm.key),
            "key_hash": realm.key_hash.as_str(),
        },
    })
}
