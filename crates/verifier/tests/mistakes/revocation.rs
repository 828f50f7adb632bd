//! What evidence brings hides nothing that its judge has.

use burgrave_made::packaged;
use burgrave_made::pki::list;
use burgrave_made::tpm::{Tpm, ek_certificate};
use burgrave_verifier::Cause;

use super::{refused, row};

#[test]
fn older_lists_beside_the_evidence_hide_no_newer_one_however_many_they_are() {
    let (clean, revoking) =
        ["crl-clean", "crl-revokes-ask"].map(|name| packaged(&format!("snp/synthetic/{name}/crl.der"))).into();
    let mut case = row("snp/synthetic/base");
    for copy in 0..60 {
        case.part.items.insert(format!("{copy}.crl"), clean.clone());
    }
    case.profile.snp.require_crl = true;
    super::taken("the older list alone", &case.verify());
    assert!(case.endorsements.add(&revoking));
    refused("with the newer one", &case.verify(), &[Cause::CertificateRevoked]);
}

#[test]
fn an_older_list_of_a_maker_of_tpms_hides_no_newer_one() {
    let mut tpm = Tpm::new().with_ek(&ek_certificate()).with_crl(41, 2027).quoted("", 3, 0x000b);
    assert_eq!(tpm.cause(), "none");
    let mut newer = list(2, 2027, &[41, 42]);
    newer.this_update = rcgen::date_time_ymd(2025, 7, 1);
    assert!(tpm.endorsements.add(newer.signed_by(&tpm.maker).unwrap().der()));
    assert_eq!(tpm.cause(), "certificate.revoked");
}

#[test]
fn no_form_in_which_a_list_is_given_makes_it_none() {
    let tpm = || Tpm::new().with_ek(&ek_certificate()).quoted("", 3, 0x000b);
    let lists = |tpm: &Tpm| {
        [(1, 41), (2, 42)].map(|(number, serial)| list(number, 2027, &[serial]).signed_by(&tpm.maker).unwrap())
    };
    let at = "2026-06-01T00:00:00Z";
    type Form = fn(&[rcgen::CertificateRevocationList; 2], String) -> Vec<u8>;
    let forms: [Form; 4] = [
        |[one, two], _| [one.pem().unwrap(), two.pem().unwrap()].concat().into_bytes(),
        |[_, two], maker| [maker, two.pem().unwrap()].concat().into_bytes(),
        |[_, two], _| [&two.der()[..], &[0; 40]].concat(),
        |[one, two], _| [&one.der()[..], two.der(), &[0xff; 7]].concat(),
    ];
    for (which, form) in forms.into_iter().enumerate() {
        let mut tpm = tpm();
        assert_eq!(tpm.verify(at).cause, None);
        let bytes = form(&lists(&tpm), tpm.maker.pem());
        tpm.items.push(("lists".to_owned(), bytes));
        assert_eq!(tpm.verify(at).cause, Some(Cause::CertificateRevoked), "{which}");
    }
}
