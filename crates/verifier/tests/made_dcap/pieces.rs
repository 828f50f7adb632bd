//! Collateral in pieces, as Intel's service hands it out, and in the other forms in which it is handed on.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use burgrave_made::intel::{Case, Made, Revoked, now, sgx, td};
use burgrave_verifier::dcap::{Collateral, CollateralPiece};
use burgrave_verifier::{Cause, Endorsements, Roots, Verification};
use serde_json::Value;

use crate::{accepted, each_refuses, refused};

/// What a person fetches by docs/collateral.md: tcb.json, qe.json, pck.crl, root.crl and the signer's chain.
#[derive(Clone)]
struct Fetched {
    tcb: Vec<u8>,
    qe: Vec<u8>,
    pck_crl: Vec<u8>,
    root_crl: Vec<u8>,
    signer: Vec<u8>,
}

fn text<'a>(collateral: &'a Value, member: &str) -> &'a str {
    collateral[member].as_str().unwrap()
}

/// The service's answer around a member.
fn answer(collateral: &Value, member: &str) -> String {
    let name = if member == "tcb_info" { "tcbInfo" } else { "enclaveIdentity" };
    let signature = text(collateral, &format!("{member}_signature"));
    format!("{{\"{name}\":{},\"signature\":\"{signature}\"}}", text(collateral, member))
}

impl Fetched {
    fn of(made: &Made) -> Self {
        let whole = made.collateral();
        let list = |member| hex::decode(text(&whole, member)).unwrap();
        Self {
            tcb: answer(&whole, "tcb_info").into_bytes(),
            qe: answer(&whole, "qe_identity").into_bytes(),
            pck_crl: list("pck_crl"),
            root_crl: list("root_ca_crl"),
            signer: text(&whole, "tcb_info_issuer_chain").as_bytes().to_vec(),
        }
    }

    fn files(&self) -> [&[u8]; 5] {
        [&self.signer, &self.root_crl, &self.tcb, &self.pck_crl, &self.qe]
    }

    fn with(&self, change: impl FnOnce(&mut Self)) -> Self {
        let mut fetched = self.clone();
        change(&mut fetched);
        fetched
    }
}

fn judged<'a>(made: &Made, files: impl IntoIterator<Item = &'a [u8]>) -> Verification {
    let mut case = Case::of(made.tee, made.quote(), None);
    for file in files {
        assert!(case.endorsements.add(file));
    }
    case.verify()
}

/// What is asked for and what is said to be missing.
fn missing(verification: &Verification) -> (&str, &str) {
    let check = verification.checks.iter().find(|check| check.name == "dcap.collateral.present").unwrap();
    (&check.expected, &check.found)
}

fn percent_encoded(pem: &str) -> String {
    pem.replace('\n', "%0A").replace(' ', "%20").replace('+', "%2B").replace('=', "%3D")
}

#[test]
fn pieces_as_they_are_fetched_make_collateral_in_any_order() {
    for (what, made) in crate::every_layout() {
        let fetched = Fetched::of(&made);
        accepted(&what, &judged(&made, fetched.files()));
        accepted(&what, &judged(&made, fetched.files().into_iter().rev()));
    }
}

#[test]
fn what_is_missing_is_told_piece_by_piece() {
    let made = td(5, 3);
    let fetched = Fetched::of(&made);
    let none = judged(&made, []);
    refused("nothing at all", &none, Cause::CollateralValidity, false);
    let (expected, found) = missing(&none);
    for told in ["tdx", "50806f000000", "TD_QE", "Intel SGX Root CA", "PCK Platform CA", "docs/collateral.md"] {
        assert!(expected.contains(told), "{told}: {expected}");
    }
    assert!(found.starts_with("none"), "{found}");
    let names = ["`Intel SGX TCB Signing`", "Intel SGX Root CA", "TCB info", "Intel SGX PCK Platform CA", "TD_QE"];
    for (left_out, name) in names.into_iter().enumerate() {
        let files = fetched.files().into_iter().enumerate().filter(|(at, _)| *at != left_out).map(|(_, file)| file);
        let verification = judged(&made, files);
        refused(name, &verification, Cause::CollateralValidity, false);
        let found = missing(&verification).1;
        assert!(names.iter().all(|one| found.contains(one) == (*one == name)), "{name}: {found}");
    }
}

#[test]
fn pieces_of_something_else_do_not_count() {
    let made = td(5, 3);
    let fetched = Fetched::of(&made);
    let other = Fetched::of(&made.with(|made| made.tcb_info["fmspc"] = "50806F000001".into()));
    let verification = judged(&made, fetched.with(|fetched| fetched.tcb = other.tcb.clone()).files());
    refused("another FMSPC", &verification, Cause::CollateralValidity, false);
    assert!(missing(&verification).1.ends_with("TCB info at hand is for tdx of FMSPC 50806f000001"));
    let enclaves = Fetched::of(&sgx());
    for (what, wrong) in [
        ("SGX's TCB info", fetched.with(|fetched| fetched.tcb = enclaves.tcb.clone())),
        ("SGX's identity", fetched.with(|fetched| fetched.qe = enclaves.qe.clone())),
    ] {
        refused(what, &judged(&made, wrong.files()), Cause::CollateralValidity, false);
    }
    let other = Fetched::of(&made.with(|made| made.authority_name = "Intel SGX PCK Processor CA"));
    let verification = judged(&made, fetched.with(|fetched| fetched.pck_crl = other.pck_crl.clone()).files());
    refused("the list of another authority", &verification, Cause::CollateralValidity, false);
    assert!(missing(&verification).1.contains("Intel SGX PCK Platform CA"));
}

#[test]
fn pieces_that_intel_did_not_sign_are_refused() {
    let made = td(4, 2);
    let fetched = Fetched::of(&made);
    let whole = made.collateral();
    let swapped =
        answer(&whole, "tcb_info").replace(text(&whole, "tcb_info_signature"), text(&whole, "qe_identity_signature"));
    let altered = |file: &[u8], from: &str, to: &str| {
        let file = String::from_utf8(file.to_vec()).unwrap();
        assert!(file.contains(from));
        file.replacen(from, to, 1).into_bytes()
    };
    let signature = Cause::CollateralSignature;
    for (what, wrong) in [
        ("the identity's signature", fetched.with(|fetched| fetched.tcb = swapped.into_bytes())),
        ("an altered TCB info", fetched.with(|it| it.tcb = altered(&it.tcb, "\"OutOfDate\"", "\"UpToDate\""))),
        ("white space in it", fetched.with(|it| it.tcb = altered(&it.tcb, "\"TDX\",", "\"TDX\", "))),
        ("an altered identity", fetched.with(|it| it.qe = altered(&it.qe, "\"OutOfDate\"", "\"UpToDate\""))),
    ] {
        refused(what, &judged(&made, wrong.files()), signature, false);
    }
    let broken = |list: &[u8]| {
        let mut list = list.to_vec();
        *list.last_mut().unwrap() ^= 1;
        list
    };
    for (what, wrong) in [
        ("a broken list", fetched.with(|it| it.pck_crl = broken(&it.pck_crl))),
        ("a broken list of the root", fetched.with(|it| it.root_crl = broken(&it.root_crl))),
    ] {
        refused(what, &judged(&made, wrong.files()), Cause::CrlSignature, false);
    }
    // Nobody's own signer vouches for anything.
    let own = made.with(|made| made.signer_under_authority = true);
    refused("a signer beneath another", &judged(&own, Fetched::of(&own).files()), Cause::ChainUntrusted, false);
    let mut case = Case::of(made.tee, made.quote(), None);
    fetched.files().iter().for_each(|file| assert!(case.endorsements.add(file)));
    case.roots = Roots::only([burgrave_made::intel::KEYS.other_root.der()]).unwrap();
    refused("another root", &case.verify(), Cause::ChainUntrusted, false);
    for (what, revoked) in [("PCK", Revoked::Pck), ("signer", Revoked::Signer), ("authority", Revoked::Authority)] {
        let made = made.with(|made| made.revoked = revoked);
        refused(what, &judged(&made, Fetched::of(&made).files()), Cause::CertificateRevoked, false);
    }
}

#[test]
fn of_several_the_newest_that_is_genuine_and_in_force_counts() {
    let made = td(5, 3);
    let fetched = Fetched::of(&made);
    let newer = made.with(|made| {
        made.tcb_info["tcbEvaluationDataNumber"] = 19.into();
        made.tcb_info["tcbLevels"][0]["tcbStatus"] = "Revoked".into();
        (made.crl_number, made.revoked) = (301, Revoked::Pck);
    });
    let newer = Fetched::of(&newer);
    for files in [[&fetched.tcb, &newer.tcb], [&newer.tcb, &fetched.tcb]] {
        let files = fetched.files().into_iter().chain(files.map(Vec::as_slice));
        refused("newer TCB info", &judged(&made, files), Cause::TcbStatus, false);
    }
    let files = fetched.files().into_iter().chain([newer.pck_crl.as_slice()]);
    refused("a newer list", &judged(&made, files), Cause::CertificateRevoked, false);
    // What is newer and altered, or of the future, hides nothing.
    let altered = String::from_utf8(newer.tcb).unwrap().replace("2026-02-20", "2026-02-21").into_bytes();
    let early = made.with(|made| {
        made.tcb_info["issueDate"] = "2026-03-02T00:00:00Z".into();
        made.tcb_info["tcbEvaluationDataNumber"] = 20.into();
    });
    let files = [altered, Fetched::of(&early).tcb];
    accepted("beside", &judged(&made, fetched.files().into_iter().chain(files.iter().map(Vec::as_slice))));
    let stale = Fetched::of(&made.with(|made| made.tcb_info["nextUpdate"] = "2026-02-28T00:00:00Z".into()));
    refused("stale alone", &judged(&made, stale.files()), Cause::CollateralValidity, false);
}

#[test]
fn members_count_in_every_form_in_which_they_are_handed_on() {
    let made = td(5, 3);
    let whole = made.collateral();
    let der = |member| hex::decode(text(&whole, member)).unwrap();
    let pem = |member| {
        let body = STANDARD.encode(der(member));
        format!("-----BEGIN X509 CRL-----\n{body}\n-----END X509 CRL-----\n")
    };
    let mut forms = vec![whole.clone(); 5];
    for list in ["root_ca_crl", "pck_crl"] {
        forms[0][list] = STANDARD.encode(der(list)).into();
        forms[1][list] = pem(list).into();
    }
    for chain in ["pck_crl_issuer_chain", "tcb_info_issuer_chain", "qe_identity_issuer_chain"] {
        forms[2][chain] = percent_encoded(text(&whole, chain)).into();
    }
    for member in ["tcb_info", "qe_identity"] {
        forms[3][member] = answer(&whole, member).into();
        forms[4][member] = answer(&whole, member).into();
        forms[4].as_object_mut().unwrap().remove(&format!("{member}_signature"));
    }
    for (number, form) in forms.iter().enumerate() {
        let mut case = Case::of(made.tee, made.quote(), Some(form.to_string().into_bytes()));
        accepted(&format!("form {number} beside the quote"), &case.verify());
        case = Case::of(made.tee, made.quote(), None);
        assert!(case.endorsements.add(form.to_string().as_bytes()));
        accepted(&format!("form {number} at hand"), &case.verify());
    }
    // A failing twin for each.
    let refuse = |what: &str, form: &Value, cause| {
        let case = Case::of(made.tee, made.quote(), Some(form.to_string().into_bytes()));
        refused(what, &case.verify(), cause, false);
    };
    let other = made.with(|made| made.crl_by_another = true).collateral();
    let other_list = hex::decode(text(&other, "root_ca_crl")).unwrap();
    forms[0]["root_ca_crl"] = STANDARD.encode(other_list).into();
    refuse("base64 of another's list", &forms[0], Cause::CrlSignature);
    forms[1]["pck_crl"] = pem("root_ca_crl").into();
    refuse("PEM of the root's list", &forms[1], Cause::CrlSignature);
    forms[2]["tcb_info_issuer_chain"] = percent_encoded(text(&whole, "pck_crl_issuer_chain")).into();
    refuse("the chain of another", &forms[2], Cause::CertificateKind);
    forms[3]["tcb_info_signature"] = whole["qe_identity_signature"].clone();
    refuse("two signatures", &forms[3], Cause::FormatMalformed);
    forms[4]["tcb_info"] = answer(&whole, "qe_identity").into();
    refuse("the other answer", &forms[4], Cause::FormatMalformed);
    let altered = answer(&whole, "tcb_info").replacen("\"OutOfDate\"", "\"UpToDate\"", 1);
    forms[4]["tcb_info"] = altered.into();
    refuse("an altered answer", &forms[4], Cause::CollateralSignature);
}

#[test]
fn files_count_in_every_form_in_which_they_are_handed_on() {
    let made = sgx();
    let fetched = Fetched::of(&made);
    let header = |pem: &[u8]| {
        let chain = percent_encoded(std::str::from_utf8(pem).unwrap());
        format!("HTTP/1.1 200 OK\r\nRequest-ID: 1\r\nTCB-Info-Issuer-Chain: {chain}\r\n\r\n").into_bytes()
    };
    let forms = [
        fetched.with(|it| it.pck_crl = hex::encode(&it.pck_crl).into_bytes()),
        fetched.with(|it| it.root_crl = STANDARD.encode(&it.root_crl).into_bytes()),
        fetched.with(|it| it.signer = header(&it.signer)),
    ];
    for form in &forms {
        accepted("a form", &judged(&made, form.files()));
    }
    for none in ["zz", "", "{}", "-----BEGIN%20CERTIFICATE-----%0", "{\"tcbInfo\":{},\"signature\":\"00\"}"] {
        assert!(CollateralPiece::read(none.as_bytes()).is_none() && !Endorsements::default().add(none.as_bytes()));
    }
    assert!(CollateralPiece::read(&vec![b' '; 2 << 20]).is_none());
}

#[test]
fn whoever_reads_pieces_reads_of_a_whole_what_counts() {
    // A floor is held against the pieces, and evidence is judged by the whole: an answer or a chain beside the members hides none.
    let made = td(5, 3);
    let mut whole = made.collateral();
    whole["tcbInfo"] = serde_json::from_str(text(&whole, "tcb_info")).unwrap();
    whole["signature"] = "00".into();
    for chain in ["pck_crl_issuer_chain", "tcb_info_issuer_chain", "qe_identity_issuer_chain"] {
        whole[chain] = text(&whole, chain).replace('\n', "").into();
    }
    let json = whole.to_string();
    assert!(Collateral::parse(json.as_bytes()).is_ok());
    let pieces = CollateralPiece::read(json.as_bytes()).unwrap();
    let statements = pieces.iter().filter(|piece| matches!(piece, CollateralPiece::Statement(_))).count();
    let lists = pieces.iter().filter(|piece| matches!(piece, CollateralPiece::Crl(_))).count();
    assert_eq!((statements, lists), (2, 2));
    // Of an array, or with bytes that are no text where nobody looks, nothing is read by anyone.
    let members = made.collateral();
    let array = Value::Array(members.as_object().unwrap().values().cloned().collect()).to_string().into_bytes();
    let no_text = [b"{\"note\":\"\xff\",", &members.to_string().as_bytes()[1..]].concat();
    for odd in [array, no_text] {
        assert!(Collateral::parse(&odd).is_err() && CollateralPiece::read(&odd).is_none());
    }
}

#[test]
fn pieces_beside_a_quote_count_where_the_judge_says_so() {
    let made = td(5, 3);
    let mut case = Case::of(made.tee, made.quote(), None);
    for (name, file) in ["a", "b", "c", "d", "e"].into_iter().zip(Fetched::of(&made).files()) {
        case.part.items.insert(name.to_owned(), file.to_vec());
    }
    refused("not in a node", &case.verify(), Cause::CollateralValidity, false);
    case.endorsements.add_pieces_beside(&case.part);
    accepted("offline", &case.verify());
    case.at = now() + std::time::Duration::from_secs(60 * 86400);
    refused("later", &case.verify(), Cause::CollateralValidity, false);
}

#[test]
fn rules_of_pieces_are_those_of_a_whole() {
    each_refuses(
        &sgx(),
        &[("a signer that is an authority", |made| made.signer_is_authority = true, Cause::CertificateKind, false)],
    );
    let made = sgx().with(|made| made.signer_is_authority = true);
    refused("in pieces", &judged(&made, Fetched::of(&made).files()), Cause::CertificateKind, false);
}
