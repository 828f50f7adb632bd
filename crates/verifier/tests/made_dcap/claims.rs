//! What a genuine quote says, in every layout and version.

use burgrave_types::Tee;
use burgrave_types::claims::{Proved, TcbStatus};
use burgrave_verifier::{detect, inspect};

use crate::{accepted, every_layout};
use burgrave_made::intel::{sgx, td};

#[test]
fn every_layout_in_every_version_that_has_it_is_accepted() {
    for (what, made) in every_layout() {
        let case = made.case();
        assert_eq!(detect(&case.part.items), Some(made.tee), "{what}");
        let verification = case.verify();
        accepted(&what, &verification);
        assert_eq!(verification.valid_until, Some("2026-03-22T00:00:00Z".parse().unwrap()), "{what}");
        assert_eq!(inspect(&case.part).unwrap().raw["report"], verification.raw["report"], "{what}");
    }
}

#[test]
fn an_enclaves_claims_are_its_reports() {
    let claims = sgx().case().verify().claims.unwrap();
    let launch = &claims.launch;
    assert_eq!((claims.tee, claims.product.as_deref()), (Tee::Sgx, Some("sgx")));
    assert_eq!(launch.measurement.as_ref().unwrap().0, [0xe1; 32]);
    assert_eq!(launch.signer.as_ref().unwrap().0, [0x51; 32]);
    assert_eq!((launch.product_id.as_deref(), launch.svn), (Some("3"), Some(9)));
    assert_eq!(claims.config.unwrap().0, [0xcf; 64]);
    assert_eq!(claims.binding.unwrap().0, [0xcc; 64]);
    assert_eq!(claims.platform_id.unwrap().0, [0x1d; 16]);
    assert_eq!((claims.debug, claims.migratable), (Some(false), None));
    assert_eq!((claims.tcb.status, claims.tcb.svn["pce"], claims.tcb.svn["sgx8"]), (TcbStatus::UpToDate, 13, 5));
    assert_eq!(claims.proved, [Proved::Launch].into());
}

#[test]
fn a_tds_product_is_the_module_that_launched_it_however_much_a_quote_shows() {
    for (version, body) in [(4, 2), (5, 2), (5, 3), (5, 4)] {
        for (major, product) in [(0, "tdx-1.0"), (1, "tdx-1.5"), (3, "tdx-2.0"), (2, "tdx"), (0xff, "tdx")] {
            let made = td(version, body).with(|made| made.body[1] = major);
            let claims = made.case().verify().claims.unwrap();
            assert_eq!(claims.product.as_deref(), Some(product), "version {version}, body {body}, {major}");
        }
    }
}

#[test]
fn a_tds_claims_are_its_reports_and_never_name_a_signer() {
    let made = td(5, 3).with(|made| made.body[232..280].fill(7));
    let claims = made.case().verify().claims.unwrap();
    assert_eq!((claims.tee, claims.product.as_deref()), (Tee::Tdx, Some("tdx-1.5")));
    assert_eq!(claims.launch.measurement.unwrap().0, [0xaa; 48]);
    assert_eq!((claims.launch.signer, claims.launch.svn), (None, None));
    assert_eq!(claims.registers["rtmr0"].0, [0xb0; 48]);
    assert_eq!(claims.registers["rtmr3"].0, [0; 48]);
    assert_eq!((claims.debug, claims.migratable), (Some(false), Some(false)));
    assert_eq!((claims.tcb.svn["tdx1"], claims.tcb.svn["tdx3"]), (5, 4));
}
