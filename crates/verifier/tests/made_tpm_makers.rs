//! Makers whose authorities mark their certificate policies critical, made in the test.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "tests may fail loudly")]

use burgrave_made::pki::{self, Issuer};
use burgrave_made::tpm::{NONCE, Tpm, ek_certificate};
use burgrave_verifier::{Endorsements, Expected, Input, Roots, verify};
use rcgen::{BasicConstraints, CertificateParams, CustomExtension, IsCa, KeyPair, SerialNumber, date_time_ymd};

const AT: &str = "2026-02-01T00:00:00Z";

/// An extension of a certificate, critical.
fn critical(oid: &[u64], content: &[u8]) -> CustomExtension {
    let mut extension = CustomExtension::from_oid_content(oid, content.to_vec());
    extension.set_criticality(true);
    extension
}

/// `certificatePolicies` with one policy.
fn policies() -> CustomExtension {
    critical(&[2, 5, 29, 32], &[0x30, 10, 0x30, 8, 0x06, 6, 0x67, 0x81, 0x05, 0x01, 0x01, 0x01])
}

/// A maker: a root, and an authority below it that certifies endorsement keys.
struct Maker {
    root: CertificateParams,
    authority: CertificateParams,
    lists: Vec<rcgen::CertificateRevocationListParams>,
    /// Another root's key signs the authority.
    is_forged: bool,
}

impl Maker {
    fn new() -> Self {
        let mut authority = pki::authority("EK authority", 0);
        authority.serial_number = Some(SerialNumber::from(7_u64));
        authority.custom_extensions = vec![policies()];
        Self { root: pki::authority("EK root", 1), authority, lists: Vec::new(), is_forged: false }
    }

    /// The cause of a refusal of a TPM of this maker's, and the end of what vouches for it.
    fn judged(&self) -> (&'static str, Option<String>) {
        let root = || Issuer::self_signed(self.root.clone(), KeyPair::generate().unwrap()).unwrap();
        let (trusted, other) = (root(), root());
        let signer = if self.is_forged { &other } else { &trusted };
        let authority = Issuer::signed_by(self.authority.clone(), KeyPair::generate().unwrap(), signer).unwrap();
        let mut tpm = Tpm { maker: authority, ..Tpm::new() }.with_ek(&ek_certificate()).quoted("", 3, 0x000b);
        let authority = tpm.maker.der().to_vec();
        tpm.set("authority.der", authority);
        for (number, list) in self.lists.iter().enumerate() {
            tpm.set(&format!("list{number}.crl"), list.signed_by(&trusted).unwrap().der().to_vec());
        }
        let verification = verify(&Input {
            part: &tpm.part(),
            endorsements: &Endorsements { ak_proof: tpm.activated(), ..Endorsements::default() },
            roots: &Roots::only([trusted.der()]).unwrap(),
            profile: &tpm.profile,
            expected: Expected::Nonce(&NONCE),
            at: AT.parse().unwrap(),
        });
        let until = verification.valid_until.map(|until| until.to_string());
        (verification.cause.map_or("none", |cause| cause.as_str()), until)
    }

    fn cause(&self) -> &'static str {
        self.judged().0
    }
}

#[test]
fn an_authority_that_marks_its_policies_critical_certifies_as_one_that_does_not() {
    let mut maker = Maker::new();
    let marked = maker.judged();
    maker.authority.custom_extensions.clear();
    assert_eq!((marked.0, &marked), ("none", &maker.judged()));
    // What is vouched for ends with the first of all certificates.
    let mut short = Maker::new();
    short.authority.not_after = date_time_ymd(2027, 1, 1);
    assert_eq!(short.judged(), ("none", Some("2027-01-01T00:00:00Z".to_owned())));
}

#[test]
fn such_an_authority_that_its_root_does_not_vouch_for_certifies_nothing() {
    type Change = fn(&mut Maker);
    let changes: [(&str, Change); 8] = [
        ("signed by another of the root's name", |maker| maker.is_forged = true),
        ("over", |maker| maker.authority.not_after = date_time_ymd(2026, 1, 1)),
        ("not yet", |maker| maker.authority.not_before = date_time_ymd(2027, 1, 1)),
        ("no authority", |maker| maker.authority.is_ca = IsCa::ExplicitNoCa),
        ("may not sign certificates", |maker| maker.authority.key_usages.truncate(0)),
        ("below a root that has none below", |maker| {
            maker.root.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        }),
        ("with policies demanded below", |maker| {
            maker.authority.custom_extensions.push(critical(&[2, 5, 29, 36], &[0x30, 3, 0x80, 1, 0]));
        }),
        ("with names constrained below", |maker| {
            let permitted = vec![rcgen::GeneralSubtree::DnsName("example.org".to_owned())];
            maker.authority.name_constraints =
                Some(rcgen::NameConstraints { permitted_subtrees: permitted, excluded_subtrees: Vec::new() });
        }),
    ];
    for (what, change) in changes {
        let mut maker = Maker::new();
        change(&mut maker);
        assert_ne!(maker.cause(), "none", "{what}");
    }
}

#[test]
fn a_roots_list_that_is_at_hand_counts_for_such_an_authority() {
    let with = |lists| Maker { lists, ..Maker::new() }.cause();
    assert_eq!(with(vec![pki::list(1, 2027, &[8])]), "none");
    assert_ne!(with(vec![pki::list(1, 2027, &[7])]), "none", "revoked");
    // An older list beside it hides nothing.
    assert_ne!(with(vec![pki::list(1, 2027, &[8]), pki::list(2, 2028, &[7])]), "none", "revoked since");
    let mut over = pki::list(1, 2027, &[8]);
    over.next_update = date_time_ymd(2026, 1, 15);
    assert_ne!(with(vec![over]), "none", "over");
}
