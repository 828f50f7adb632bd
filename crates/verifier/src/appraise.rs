//! Which release the claims belong to, or what differed.

mod explain;

use aws_lc_rs::digest::{SHA256, digest};
use burgrave_types::claims::{HexBytes, ReferenceValue, TcbStatus};
use burgrave_types::{Claims, ReferenceDigest, Tee};
use serde::Serialize;

pub use explain::{EventDifference, Known, ReferenceLog};

/// The outcome of comparing claims with a registration's reference values.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Appraisal {
    /// The claims are those of this release.
    Matched {
        /// Its name.
        release: String,
        /// The digest of the reference value that matched: what `measurement` identity derives keys from.
        digest: ReferenceDigest,
    },
    /// They are those of none (`measurement.unknown`).
    Unmatched {
        /// What differed from the nearest release: the one with the fewest differences. Empty where there is no release that
        /// accepts anything.
        differences: Vec<Difference>,
    },
}

/// One claim that is not as a release has it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Difference {
    /// The release.
    pub release: String,
    /// The claim: `tee`, `measurement`, `signer`, `product_id`, `svn`, `config` or a register's name.
    pub claim: String,
    /// What the release has.
    pub expected: String,
    /// What the evidence says.
    pub found: String,
    /// For a register, the first event that is not as in the release's log ([`Appraisal::explained`]).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event: Option<EventDifference>,
    /// Other known releases that have what was found ([`Appraisal::explained`]).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub known_as: Vec<String>,
}

impl Difference {
    fn new(release: &str, claim: &str, expected: String, found: String) -> Self {
        Self {
            release: release.to_owned(),
            claim: claim.to_owned(),
            expected,
            found,
            event: None,
            known_as: Vec::new(),
        }
    }
}

/// Finds the first release whose reference value the claims match. A reference value that names no code
/// ([`ReferenceValue::names_code`]) matches nothing. One of Arm CCA must
/// name the firmware that the platform runs, unless that firmware is accepted of itself (a TCB that is up to date). `references` are those that accept: which state of a release does so is the caller's to know.
///
/// ```
/// use burgrave_types::claims::{Claims, ReferenceValue};
/// use burgrave_verifier::{Appraisal, appraise};
///
/// let claims: Claims = serde_json::from_str(
///     r#"{"tee":"snp","tcb":{"status":"up-to-date"},"launch":{"measurement":"aa"},"proved":["launch"]}"#)?;
/// let reference: ReferenceValue = serde_json::from_str(r#"{"tee":"snp","measurement":"bb"}"#)?;
/// let Appraisal::Unmatched { differences } = appraise(&claims, [("v1", &reference)]) else { panic!() };
/// assert_eq!((differences[0].expected.as_str(), differences[0].found.as_str()), ("bb", "aa"));
/// # Ok::<(), serde_json::Error>(())
/// ```
pub fn appraise<'a>(claims: &Claims, references: impl IntoIterator<Item = (&'a str, &'a ReferenceValue)>) -> Appraisal {
    let mut nearest: Option<Vec<Difference>> = None;
    for (release, reference) in references {
        if !reference.names_code() {
            continue;
        }
        let found = differences(claims, release, reference);
        if found.is_empty() {
            return Appraisal::Matched { release: release.to_owned(), digest: reference_digest(reference) };
        }
        if nearest.as_ref().is_none_or(|nearest| found.len() < nearest.len()) {
            nearest = Some(found);
        }
    }
    Appraisal::Unmatched { differences: nearest.unwrap_or_default() }
}

/// The digest that names a reference value: SHA-256 of its canonical bytes.
pub fn reference_digest(reference: &ReferenceValue) -> ReferenceDigest {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest(&SHA256, &reference.canonical_bytes()).as_ref());
    ReferenceDigest::from_bytes(bytes)
}

/// What of an Arm CCA platform's firmware and added devices the release leaves open. They write what is said of the realm, so that
/// a release which does not name them takes any realm that somebody's firmware makes up. A component is named by its
/// measurement (`platform:RMM`) or by who signed it (`signer:RMM`).
fn unnamed_firmware<'a>(
    claims: &'a Claims,
    reference: &'a ReferenceValue,
) -> impl Iterator<Item = (&'a str, &'a HexBytes)> {
    let is_cca = claims.tee == Tee::Cca && reference.tee == Tee::Cca;
    let vouched = claims.tcb.status == TcbStatus::UpToDate;
    let registers = claims.registers.iter().filter(move |_| is_cca);
    registers.map(|(name, value)| (name.as_str(), value)).filter(move |(name, _)| match name.split_once(':') {
        Some(("platform", component)) => {
            let signer = format!("signer:{component}");
            !vouched && !reference.registers.contains_key(*name) && !reference.registers.contains_key(&signer)
        }
        Some(("extension", _)) => !reference.registers.contains_key(*name),
        _ => false,
    })
}

fn differences(claims: &Claims, release: &str, reference: &ReferenceValue) -> Vec<Difference> {
    let mut out = Vec::new();
    let mut compare = |claim: &str, expected: Option<String>, found: Option<String>| {
        if let Some(expected) = expected
            && found.as_ref() != Some(&expected)
        {
            let found = found.unwrap_or_else(|| "nothing".to_owned());
            out.push(Difference::new(release, claim, expected, found));
        }
    };
    let (launch, hex) = (&claims.launch, |bytes: &Option<HexBytes>| bytes.as_ref().map(ToString::to_string));
    compare("tee", Some(reference.tee.to_string()), Some(claims.tee.to_string()));
    compare("measurement", hex(&reference.measurement), hex(&launch.measurement));
    compare("signer", hex(&reference.signer), hex(&launch.signer));
    compare("product_id", reference.product_id.clone(), launch.product_id.clone());
    compare("config", hex(&reference.config), hex(&claims.config));
    for (name, value) in &reference.registers {
        compare(name, Some(value.to_string()), claims.registers.get(name).map(ToString::to_string));
    }
    for (name, value) in unnamed_firmware(claims, reference) {
        compare(
            name,
            Some("one that the release names, or firmware that is accepted".to_owned()),
            Some(value.to_string()),
        );
    }
    if let Some(minimum) = reference.min_svn
        && launch.svn.is_none_or(|svn| svn < minimum)
    {
        let found = launch.svn.map_or_else(|| "nothing".to_owned(), |svn| svn.to_string());
        out.push(Difference::new(release, "svn", format!("at least {minimum}"), found));
    }
    out
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use burgrave_types::Tee;

    use super::*;

    fn claims() -> Claims {
        serde_json::from_value(serde_json::json!({
            "tee": "snp", "tcb": {"status": "up-to-date"}, "config": "cc", "proved": ["launch"],
            "launch": {"measurement": "aa", "signer": "bb", "product_id": "p", "svn": 4},
            "registers": {"rtmr0": "dd"}
        }))
        .unwrap()
    }

    fn reference() -> ReferenceValue {
        ReferenceValue {
            tee: Tee::Snp,
            measurement: Some(HexBytes(vec![0xaa])),
            signer: Some(HexBytes(vec![0xbb])),
            product_id: Some("p".to_owned()),
            min_svn: Some(4),
            registers: BTreeMap::from([("rtmr0".to_owned(), HexBytes(vec![0xdd]))]),
            config: Some(HexBytes(vec![0xcc])),
        }
    }

    #[test]
    fn claims_match_the_release_whose_values_they_all_have() {
        let other = ReferenceValue { measurement: Some(HexBytes(vec![1])), ..reference() };
        let found = appraise(&claims(), [("v1", &other), ("v2", &reference())]);
        assert_eq!(found, Appraisal::Matched { release: "v2".to_owned(), digest: reference_digest(&reference()) });
    }

    #[test]
    fn each_single_difference_is_refused_and_named() {
        type Change = (&'static str, fn(&mut ReferenceValue));
        let changes: [Change; 7] = [
            ("tee", |reference| reference.tee = Tee::Tdx),
            ("measurement", |reference| reference.measurement = Some(HexBytes(vec![1]))),
            ("signer", |reference| reference.signer = Some(HexBytes(vec![1]))),
            ("product_id", |reference| reference.product_id = Some("q".to_owned())),
            ("svn", |reference| reference.min_svn = Some(5)),
            ("config", |reference| reference.config = Some(HexBytes(vec![1]))),
            ("rtmr1", |reference| drop(reference.registers.insert("rtmr1".to_owned(), HexBytes(vec![0])))),
        ];
        for (claim, change) in changes {
            let mut wrong = reference();
            change(&mut wrong);
            let Appraisal::Unmatched { differences } = appraise(&claims(), [("v1", &wrong)]) else { panic!("{claim}") };
            assert_eq!(differences.iter().map(|found| found.claim.as_str()).collect::<Vec<_>>(), [claim]);
        }
    }

    #[test]
    fn an_empty_reference_value_matches_nothing() {
        let empty =
            ReferenceValue { measurement: None, signer: None, registers: BTreeMap::new(), config: None, ..reference() };
        assert_eq!(appraise(&claims(), [("v1", &empty)]), Appraisal::Unmatched { differences: Vec::new() });
    }

    #[test]
    fn registers_of_an_azure_machine_count_only_beside_its_paravisor() {
        let claims = Claims { tee: Tee::AzVtpm, ..claims() };
        let registers =
            ReferenceValue { tee: Tee::AzVtpm, measurement: None, signer: None, product_id: None, ..reference() };
        assert_eq!(appraise(&claims, [("v1", &registers)]), Appraisal::Unmatched { differences: Vec::new() });
        for whole in [
            ReferenceValue { measurement: Some(HexBytes(vec![0xaa])), ..registers.clone() },
            ReferenceValue { signer: Some(HexBytes(vec![0xbb])), ..registers.clone() },
        ] {
            assert!(matches!(appraise(&claims, [("v1", &whole)]), Appraisal::Matched { .. }));
        }
    }

    #[test]
    fn the_nearest_release_is_the_one_that_is_explained() {
        let far =
            ReferenceValue { measurement: Some(HexBytes(vec![1])), config: Some(HexBytes(vec![1])), ..reference() };
        let near = ReferenceValue { config: Some(HexBytes(vec![2])), ..reference() };
        let Appraisal::Unmatched { differences } = appraise(&claims(), [("far", &far), ("near", &near)]) else {
            panic!()
        };
        assert_eq!((differences.len(), differences[0].release.as_str()), (1, "near"));
        assert_eq!((differences[0].expected.as_str(), differences[0].found.as_str()), ("02", "cc"));
    }
}
