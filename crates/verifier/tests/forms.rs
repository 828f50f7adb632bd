//! Evidence as tools and hosts hand it out: it is judged as what it is, or not at all.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests may fail loudly"
)]

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use burgrave_made::amd::{AUTHORITY, base, sign_report};
use burgrave_made::nitro::Maker;
use burgrave_made::nvidia::Gpu;
use burgrave_made::packaged;
use burgrave_types::Tee;
use burgrave_types::certificate_table::{ARK, ASK, VCEK, write};
use burgrave_verifier::files::{self, Brought, NotBrought};
use burgrave_verifier::{Cause, Endorsements, Expected, Input, Profile, Roots, Verdict, Verification, verify};
use serde_json::{Value, json};

/// Files by their names.
type Files<'a> = &'a [(&'a str, Vec<u8>)];

fn bring(given: Files<'_>, tee: Option<Tee>) -> Result<Brought, NotBrought> {
    files::part(given.iter().map(|(name, bytes)| ((*name).to_owned(), bytes.clone())), tee)
}

/// A report of the test authority's chip.
fn report(change: impl FnOnce(&mut [u8])) -> Vec<u8> {
    let mut report = base("report.bin");
    change(&mut report);
    sign_report(&mut report);
    report
}

fn table() -> Vec<u8> {
    write(&[(VCEK, &AUTHORITY.vek), (ASK, &AUTHORITY.ask), (ARK, &AUTHORITY.ark)])
}

fn pem(ders: &[&[u8]]) -> String {
    let block =
        |der: &&[u8]| format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", STANDARD.encode(der));
    ders.iter().map(block).collect()
}

/// Judges files under the test authority, as `burgrave evidence verify` would.
#[track_caller]
fn judged(given: Files<'_>) -> Verification {
    let brought = bring(given, None).unwrap();
    verify(&Input {
        part: &brought.part,
        endorsements: &Endorsements::default(),
        roots: &Roots::only([&AUTHORITY.ark]).unwrap(),
        profile: &Profile::default(),
        expected: Expected::None,
        at: "2026-03-01T00:00:00Z".parse().unwrap(),
    })
}

#[track_caller]
fn taken(given: Files<'_>) {
    let verification = judged(given);
    assert_eq!(verification.verdict, Verdict::Accept, "{:#?}", verification.checks);
}

#[track_caller]
fn refused(given: Files<'_>, cause: Cause) {
    let verification = judged(given);
    assert_eq!(
        (verification.verdict, verification.cause),
        (Verdict::Reject, Some(cause)),
        "{:#?}",
        verification.checks
    );
}

/// The chip's and its signer's certificates.
fn beside() -> [(&'static str, Vec<u8>); 2] {
    [("vcek.der", AUTHORITY.vek.clone()), ("ask.der", AUTHORITY.ask.clone())]
}

#[test]
fn a_folder_with_a_report_of_any_name_is_judged_by_the_report() {
    let [vek, ask] = beside();
    for name in ["report.bin", "attestation_report.bin", "outblob", "a.hex"] {
        taken(&[(name, report(|_| ())), vek.clone(), ask.clone()]);
        let mut forged = report(|_| ());
        forged[0x90] ^= 1;
        refused(&[(name, forged), vek.clone(), ask.clone()], Cause::SignatureInvalid);
    }
}

#[test]
fn a_certificate_is_judged_alone_only_where_nothing_else_is_there() {
    let [vek, ask] = beside();
    let alone = judged(&[vek.clone(), ask.clone()]);
    assert_eq!((alone.verdict, alone.claims), (Verdict::Accept, None));
    for odd in [report(|_| ())[..1183].to_vec(), b"something else".to_vec(), Vec::new()] {
        refused(&[("odd", odd), vek.clone(), ask.clone()], Cause::FormatMalformed);
    }
}

#[test]
fn text_is_decoded_where_it_holds_evidence() {
    let [vek, ask] = beside();
    let bytes = report(|_| ());
    let lines =
        |text: &str| text.as_bytes().chunks(64).map(|line| String::from_utf8_lossy(line) + "\n").collect::<String>();
    let texts = [
        hex::encode(&bytes),
        format!("0x{}\n", hex::encode_upper(&bytes)),
        lines(&hex::encode(&bytes)),
        STANDARD.encode(&bytes),
        lines(&STANDARD.encode(&bytes)),
        URL_SAFE_NO_PAD.encode(&bytes),
        json!({ "nested": [{ "report": STANDARD.encode(&bytes) }], "nonce": "ab" }).to_string(),
        json!({ "report": bytes }).to_string(),
        URL_SAFE_NO_PAD.encode(json!({ "report": hex::encode(&bytes) }).to_string()),
    ];
    for text in texts {
        taken(&[("any.txt", text.clone().into_bytes()), vek.clone(), ask.clone()]);
        taken(&[("report.bin", text.into_bytes()), vek.clone(), ask.clone()]);
    }
    let mut altered = bytes.clone();
    altered[0x2a0] ^= 1;
    refused(&[("any.txt", hex::encode(altered).into_bytes()), vek.clone(), ask.clone()], Cause::SignatureInvalid);
    // One digit too few is no hexadecimal text, and a byte too many no report.
    let odd = &hex::encode(&bytes)[1..];
    refused(&[("report.bin", odd.as_bytes().to_vec()), vek.clone(), ask.clone()], Cause::FormatLength);
    let long = hex::encode([bytes.as_slice(), &[0]].concat());
    refused(&[("report.bin", long.into_bytes()), vek, ask], Cause::FormatLength);
}

#[test]
fn certificates_come_in_the_hosts_table_behind_the_report_or_beside_it() {
    let bytes = report(|_| ());
    taken(&[("extended.bin", [bytes.clone(), table()].concat())]);
    taken(&[("outblob", bytes.clone()), ("auxblob", table()), ("provider", b"sev_guest\n".to_vec())]);
    taken(&[("extended.hex", hex::encode([bytes.clone(), table()].concat()).into_bytes())]);
    let mut forged = bytes.clone();
    forged[0x90] ^= 1;
    refused(&[("extended.bin", [forged, table()].concat())], Cause::SignatureInvalid);
    // What is no table, or one without certificates, are bytes too many.
    let [vek, ask] = beside();
    for rest in [vec![0], vec![0; 4096], vec![7; 24], table()[..table().len() - 1].to_vec()] {
        refused(&[("report.bin", [bytes.clone(), rest].concat()), vek.clone(), ask.clone()], Cause::FormatLength);
    }
}

#[test]
fn the_header_of_the_firmwares_answer_is_taken_off() {
    let [vek, ask] = beside();
    let answer = |head: [u32; 8], rest: &[u8]| {
        [head.iter().flat_map(|word| word.to_le_bytes()).collect(), report(|_| ()), rest.to_vec()].concat()
    };
    let good = [0, 1184, 0, 0, 0, 0, 0, 0];
    taken(&[("response.bin", answer(good, &[])), vek.clone(), ask.clone()]);
    taken(&[("report.bin", answer(good, &[0; 4000 - 32 - 1184])), vek.clone(), ask.clone()]);
    let failed = [22, 1184, 0, 0, 0, 0, 0, 0];
    let short = [0, 1183, 0, 0, 0, 0, 0, 0];
    let reserved = [0, 1184, 0, 0, 0, 0, 0, 1];
    for odd in [
        answer(failed, &[]),
        answer(short, &[]),
        answer(reserved, &[]),
        answer(good, &[0, 1]),
        answer(good, &[0; 4000]),
    ] {
        refused(&[("report.bin", odd), vek.clone(), ask.clone()], Cause::FormatLength);
    }
}

#[test]
fn the_certificate_that_fits_the_report_counts_whatever_stands_beside_it() {
    let bytes = ("report.bin", report(|_| ()));
    let chain = |ders: &[&[u8]]| pem(ders).into_bytes();
    taken(&[bytes.clone(), ("vcek.pem", chain(&[&AUTHORITY.vek, &AUTHORITY.ask, &AUTHORITY.ark]))]);
    taken(&[bytes.clone(), ("vcek.pem", chain(&[&AUTHORITY.ark, &AUTHORITY.vek, &AUTHORITY.ask]))]);
    // A certificate of another chip, and an empty file, under the name that is looked for.
    let other = packaged("snp/milan-v2-virtee/vcek.der");
    let [vek, ask] = beside();
    let right = ("chip.der", vek.1);
    taken(&[bytes.clone(), ("vcek.der", other.clone()), right.clone(), ask.clone()]);
    taken(&[bytes.clone(), ("vcek.der", Vec::new()), right, ask.clone()]);
    let unread = judged(&[bytes.clone(), ("vcek.der", b"<html>".to_vec()), ask.clone()]);
    assert_eq!(unread.cause, Some(Cause::FormatMalformed));
    assert!(unread.checks.iter().any(|check| check.found.contains("`vcek.der` is no certificate")), "{unread:#?}");
    assert_eq!(judged(&[bytes, ("vcek.der", other), ask]).verdict, Verdict::Reject);
}

#[test]
fn the_answer_of_azures_certificate_service_endorses() {
    let answer = json!({
        "vcekCert": pem(&[&AUTHORITY.vek]), "certificateChain": pem(&[&AUTHORITY.ask, &AUTHORITY.ark]),
        "tcbm": "DB18000000000004", "cacheControl": "86400",
    });
    let thim = ("thim.json", answer.to_string().into_bytes());
    taken(&[("report.bin", report(|_| ())), thim.clone()]);
    let mut forged = report(|_| ());
    forged[0x50] ^= 1;
    refused(&[("report.bin", forged), thim], Cause::SignatureInvalid);
}

#[test]
fn a_report_of_version_4_is_read_and_later_ones_are_not() {
    let [vek, ask] = beside();
    for version in 2..=5 {
        let cpuid = |report: &mut [u8]| report[0x188..0x18a].copy_from_slice(&[0x19, 0x01]);
        let of_version = report(|report| {
            report[0] = version;
            cpuid(report);
        });
        taken(&[("report.bin", of_version), vek.clone(), ask.clone()]);
    }
    for version in [0, 1, 6] {
        refused(
            &[("report.bin", report(|report| report[0] = version)), vek.clone(), ask.clone()],
            Cause::FormatVersion,
        );
    }
}

#[test]
fn a_gpus_report_and_chain_are_taken_out_of_the_vendors_json() {
    let gpu = Gpu::new();
    let part = gpu.part();
    let text = |name| STANDARD.encode(part.item(name).unwrap());
    let one =
        json!({ "arch": "HOPPER", "certificate": text("chain.pem"), "evidence": text("report.bin"), "nonce": "04" });
    let brought = bring(&[("evidence.json", json!([one]).to_string().into_bytes())], None).unwrap();
    assert_eq!(brought.part.tee, Tee::NvidiaGpu);
    assert_eq!(gpu.judge(&brought.part).verdict, Verdict::Accept);
    let told = brought.origins.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    assert!(told.contains("`report.bin` from `evidence.json`: JSON member `0.evidence`, base64"), "{told}");
    // Of two GPUs nobody says which is meant.
    let mut other = Gpu::new();
    other.nonce = [9; 32];
    let other = json!({ "evidence": STANDARD.encode(other.report()), "certificate": text("chain.pem") });
    let error = bring(&[("evidence.json", json!([one, other]).to_string().into_bytes())], None).unwrap_err();
    assert!(matches!(&error, NotBrought::Several(places) if places.len() == 2), "{error}");
    assert!(error.to_string().contains("`evidence.json#0.evidence`, `evidence.json#1.evidence`"), "{error}");
}

#[test]
fn a_document_is_found_under_any_name_and_within_json() {
    let maker = Maker::new();
    let document = maker.document();
    let text = STANDARD.encode(&document);
    for given in [
        vec![("attestation.bin", document.clone()), ("readme.txt", b"read me".to_vec())],
        vec![("answer.json", json!({ "document": text }).to_string().into_bytes())],
        vec![("document.cose", text.clone().into_bytes())],
        vec![("document.txt", hex::encode(&document).into_bytes())],
    ] {
        let brought = bring(&given, None).unwrap();
        assert_eq!(brought.part.item("document.cose"), Some(document.as_slice()));
        assert_eq!(maker.judge(brought.part.item("document.cose").unwrap().to_vec()).verdict, Verdict::Accept);
    }
}

#[test]
fn a_quote_and_its_collateral_are_found_by_their_shape() {
    let (quote, collateral) =
        (packaged("sgx/v3-00a067-config-sw/quote.bin"), packaged("sgx/v3-00a067-config-sw/collateral.json"));
    let head =
        |kind: u32, length: usize| [&1u32.to_le_bytes()[..], &kind.to_le_bytes(), &length.to_le_bytes()].concat();
    let report = [head(2, quote.len()), quote.clone()].concat();
    for given in [
        vec![("hw_quote.dat", quote.clone()), ("platform.json", collateral.clone())],
        vec![("report.oe", report.clone()), ("platform.json", collateral.clone())],
        vec![
            ("both.json", json!({ "quote": hex::encode(&quote) }).to_string().into_bytes()),
            ("collateral.json", collateral.clone()),
        ],
    ] {
        let brought = bring(&given, None).unwrap();
        assert_eq!(brought.part.tee, Tee::Sgx);
        assert_eq!(brought.part.item("quote.bin"), Some(quote.as_slice()));
        assert_eq!(brought.part.item("collateral.json"), Some(collateral.as_slice()));
    }
    // A header of another kind, or whose length is not that of what follows, is none.
    for odd in [head(1, quote.len()), head(2, quote.len() - 1), head(2, quote.len() + 1)] {
        let error = bring(&[("report.oe", [odd, quote.clone()].concat())], None).unwrap_err();
        assert!(matches!(error, NotBrought::Unknown(_)), "{error}");
    }
    // Of two platforms' collateral none is chosen.
    let other = [collateral.as_slice(), b"\n"].concat();
    let brought = bring(&[("quote", quote), ("one.json", collateral), ("other.json", other)], None).unwrap();
    assert_eq!(brought.part.item("collateral.json"), None);
}

#[test]
fn pieces_of_collateral_keep_their_names_and_endorse() {
    let whole: Value = serde_json::from_slice(&packaged("sgx/v3-00a067-config-sw/collateral.json")).unwrap();
    let text = |member: &str| whole[member].as_str().unwrap();
    let tcb = format!("{{\"tcbInfo\":{},\"signature\":\"{}\"}}", text("tcb_info"), text("tcb_info_signature"));
    let headers =
        format!("TCB-Info-Issuer-Chain: {}", text("tcb_info_issuer_chain").replace('\n', "%0A").replace(' ', "%20"));
    let given = [
        ("quote", packaged("sgx/v3-00a067-config-sw/quote.bin")),
        ("tcb.json", tcb.clone().into_bytes()),
        ("tcb.headers", headers.clone().into_bytes()),
        ("pck.crl", text("pck_crl").as_bytes().to_vec()),
    ];
    let brought = bring(&given, None).unwrap();
    assert_eq!((brought.part.item("collateral.json"), brought.unused.as_slice()), (None, [].as_slice()));
    assert_eq!(brought.part.item("tcb.json"), Some(tcb.as_bytes()), "the text that was signed");
    let told: Vec<_> = brought.origins.iter().map(ToString::to_string).collect();
    assert!(told.contains(&"`tcb.headers` from `tcb.headers`: percent-encoded".to_owned()), "{told:?}");
    for (name, bytes) in given {
        let found: Vec<_> = files::endorsements(name.to_owned(), bytes).collect();
        let taken = found.iter().all(|bytes| Endorsements::default().add(bytes));
        assert!(taken && found.is_empty() == (name == "quote"), "{name}");
    }
    for odd in [headers.replace("%20", "%2"), tcb.replace("signature", "sign")] {
        assert_eq!(files::endorsements("odd".to_owned(), odd.into_bytes()).count(), 0);
    }
}

#[test]
fn where_it_is_not_clear_what_is_meant_nothing_is_chosen() {
    let (one, other) = (report(|_| ()), report(|report| report[0x50] ^= 1));
    let error = bring(&[("one.bin", one.clone()), ("other.bin", other.clone())], None).unwrap_err();
    assert_eq!(error, NotBrought::Several(vec!["one.bin".to_owned(), "other.bin".to_owned()]));
    // The usual name says it, and so do equal bytes.
    let named = bring(&[("one.bin", one.clone()), ("report.bin", other.clone())], None).unwrap();
    assert_eq!(named.part.item("report.bin"), Some(other.as_slice()));
    assert_eq!(
        bring(&[("a", one.clone()), ("b", one.clone())], None).unwrap().part.item("report.bin"),
        Some(one.as_slice())
    );
    // Two TEEs: one of them could be accepted in the place of the other.
    let document = Maker::new().document();
    let both = [("a.bin", one.clone()), ("b.bin", document.clone())];
    assert!(matches!(bring(&both, None), Err(NotBrought::Several(places)) if places.len() == 2));
    assert_eq!(bring(&both, Some(Tee::Nitro)).unwrap().part.item("document.cose"), Some(document.as_slice()));
}

#[test]
fn what_is_not_recognised_is_told_with_what_to_do() {
    for given in [vec![], vec![("notes.txt", b"nothing".to_vec())], vec![("a.json", b"{\"quote\":\"QUJD\"}".to_vec())]]
    {
        let error = bring(&given, None).unwrap_err();
        assert!(matches!(error, NotBrought::Unknown(_)), "{error}");
        assert!(error.to_string().contains("Nitro document") && error.to_string().contains("base64"), "{error}");
        assert!(error.fix().contains("--tee"));
    }
    // Whoever names the TEE of a file is told what is wrong with it.
    let named = bring(&[("notes.txt", b"nothing".to_vec())], Some(Tee::Snp)).unwrap();
    assert_eq!(named.part.item("report.bin"), Some(&b"nothing"[..]));
}

#[test]
fn evidence_under_its_own_names_stays_as_it_is() {
    let [vek, ask] = beside();
    let given = [("report.bin", report(|_| ())), vek, ask, ("other", b"kept".to_vec())];
    let brought = bring(&given, None).unwrap();
    assert!(brought.origins.is_empty());
    assert_eq!(brought.unused, ["other"]);
    assert_eq!(brought.part.items.len(), given.len());
    assert!(given.iter().all(|(name, bytes)| brought.part.item(name) == Some(bytes)));
}
