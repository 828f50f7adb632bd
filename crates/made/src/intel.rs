//! TDX and SGX: a maker of platforms: root, authorities, PCK, quoting enclave, collateral and the quote itself, each part of which a test
//! may set before it is signed.

use std::sync::LazyLock;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use burgrave_types::{EvidencePart, Tee, Timestamp};
use burgrave_verifier::{Endorsements, Expected, Input, Profile, Roots, Verification, verify};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, CustomExtension, DnType, IsCa, KeyPair, KeyUsagePurpose,
    SerialNumber, date_time_ymd,
};
use serde_json::{Value, json};

use crate::pki::{self, Issuer};

/// When everything made here is valid.
pub fn now() -> Timestamp {
    "2026-03-01T00:00:00Z".parse().unwrap()
}

/// Which certificate is on its issuer's list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Revoked {
    Nothing,
    Pck,
    Authority,
    Signer,
}

const PCK_SERIAL: u64 = 77;
const SIGNER_SERIAL: u64 = 88;
const AUTHORITY_SERIAL: u64 = 99;

pub struct Keys {
    pub root: Issuer,
    pub other_root: Issuer,
    authority: KeyPair,
    signer: KeyPair,
    pck: KeyPair,
    attestation: KeyPair,
}

pub static KEYS: LazyLock<Keys> = LazyLock::new(|| {
    let key = || KeyPair::generate().unwrap();
    let root = || CertifiedIssuer::self_signed(authority("Intel SGX Root CA", 1), key()).unwrap();
    Keys { root: root(), other_root: root(), authority: key(), signer: key(), pck: key(), attestation: key() }
});

/// A platform with its quote, before it is signed.
#[derive(Clone)]
pub struct Made {
    pub tee: Tee,
    pub header: Vec<u8>,
    /// What stands between header and body: the body's type and length in version 5.
    pub descriptor: Vec<u8>,
    pub body: Vec<u8>,
    pub qe_report: Vec<u8>,
    pub authentication_data: Vec<u8>,
    /// Overrules the digest of the attestation key in the QE's report data.
    pub qe_report_data: Option<Vec<u8>>,
    pub extension: Extension,
    pub authority_name: &'static str,
    pub signer_name: &'static str,
    pub signer_is_authority: bool,
    pub signer_under_authority: bool,
    pub pck_until: i32,
    pub revoked: Revoked,
    pub crl_number: u64,
    pub crl_until: i32,
    pub crl_by_another: bool,
    pub tcb_info: Value,
    pub qe_identity: Value,
    pub edited_after: bool,
    pub trailing: Vec<u8>,
}

/// The extension of the PCK certificate.
#[derive(Clone)]
pub struct Extension {
    pub fmspc: [u8; 6],
    pub pce_id: [u8; 2],
    pub components: [u8; 16],
    pub pce_svn: u8,
    /// Last arcs of the members that stand in it.
    pub members: Vec<u8>,
}

/// The TD report layouts, by the body type that version 5 gives them.
pub fn td(version: u16, body_type: u16) -> Made {
    let length = match body_type {
        2 => 584,
        3 => 648,
        _ => 885,
    };
    let mut body = vec![0; length];
    body[..3].copy_from_slice(&[5, 1, 4]);
    body[123] = 0x10;
    body[136..184].fill(0xaa);
    body[328..376].fill(0xb0);
    body[520..584].fill(0xcc);
    if length > 584 {
        body[584..587].copy_from_slice(&[5, 1, 4]);
    }
    made(Tee::Tdx, version, body_type, body)
}

pub fn sgx() -> Made {
    enclave(3)
}

/// An enclave's quote of any version.
pub fn enclave(version: u16) -> Made {
    made(Tee::Sgx, version, 1, enclave_report(0x05, 0xe1, 0x51, 3, 9))
}

fn enclave_report(flags: u8, enclave: u8, signer: u8, product: u8, svn: u8) -> Vec<u8> {
    let mut report = vec![0; 384];
    report[48] = flags;
    report[64..96].fill(enclave);
    report[128..160].fill(signer);
    report[192..256].fill(0xcf);
    (report[256], report[258]) = (product, svn);
    report[320..384].fill(0xcc);
    report
}

fn made(tee: Tee, version: u16, body_type: u16, body: Vec<u8>) -> Made {
    let is_td = tee == Tee::Tdx;
    let vendor = [0x93, 0x9a, 0x72, 0x33, 0xf7, 0x9c, 0x4c, 0xa9, 0x94, 0x0a, 0x0d, 0xb3, 0x95, 0x7f, 0x06, 0x07];
    let header = [
        &version.to_le_bytes()[..],
        &2u16.to_le_bytes(),
        &(if is_td { 0x81u32 } else { 0 }).to_le_bytes(),
        &[0; 4],
        &vendor,
        &[0; 20],
    ]
    .concat();
    let length = u32::try_from(body.len()).unwrap();
    let descriptor = match version {
        5 => [&body_type.to_le_bytes()[..], &length.to_le_bytes()].concat(),
        _ => Vec::new(),
    };
    let mut qe_report = enclave_report(0x11, 0xee, 0x9e, if is_td { 2 } else { 1 }, 8);
    qe_report[192..256].fill(0);
    Made {
        tee,
        header,
        descriptor,
        body,
        qe_report,
        authentication_data: (0..32).collect(),
        qe_report_data: None,
        extension: Extension {
            fmspc: [0x50, 0x80, 0x6f, 0, 0, 0],
            pce_id: [0, 0],
            components: [7, 7, 2, 2, 3, 1, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0],
            pce_svn: 13,
            members: vec![1, 2, 3, 4, 5],
        },
        authority_name: "Intel SGX PCK Platform CA",
        signer_name: "Intel SGX TCB Signing",
        signer_is_authority: false,
        signer_under_authority: false,
        pck_until: 2030,
        revoked: Revoked::Nothing,
        crl_number: 300,
        crl_until: 2027,
        crl_by_another: false,
        tcb_info: tcb_info(tee),
        qe_identity: qe_identity(is_td),
        edited_after: false,
        trailing: Vec::new(),
    }
}

fn components(values: [u8; 16]) -> Value {
    values.iter().map(|svn| json!({"svn": svn, "category": "BIOS"})).collect()
}

/// Two levels: up to date, and below it out of date.
fn tcb_info(tee: Tee) -> Value {
    let level = |early: u8, pce: u8, tdx: u8, status: &str, advisories: &[&str]| {
        let mut tcb = json!({"sgxtcbcomponents": components([early, 7, 2, 2, 3, 1, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0]), "pcesvn": pce});
        if tee == Tee::Tdx {
            tcb["tdxtcbcomponents"] = components([9, 9, tdx, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        }
        json!({"tcb": tcb, "tcbDate": "2025-08-13T00:00:00Z", "tcbStatus": status, "advisoryIDs": advisories})
    };
    let mut info = json!({
        "id": if tee == Tee::Tdx { "TDX" } else { "SGX" },
        "version": 3,
        "issueDate": "2026-02-20T00:00:00Z",
        "nextUpdate": "2026-03-22T00:00:00Z",
        "fmspc": "50806F000000",
        "pceId": "0000",
        "tcbType": 0,
        "tcbEvaluationDataNumber": 18,
        "tcbLevels": [
            level(7, 13, 4, "UpToDate", &[]),
            level(5, 11, 3, "OutOfDate", &["INTEL-SA-00001"]),
        ],
    });
    if tee == Tee::Tdx {
        let signer = "00".repeat(48);
        let module =
            json!({"mrsigner": signer, "attributes": "0000000000000000", "attributesMask": "FFFFFFFFFFFFFFFF"});
        let mut identity = module.clone();
        identity["id"] = "TDX_01".into();
        identity["tcbLevels"] = json!([
            {"tcb": {"isvsvn": 5}, "tcbDate": "2025-08-13T00:00:00Z", "tcbStatus": "UpToDate"},
            {"tcb": {"isvsvn": 3}, "tcbDate": "2024-08-13T00:00:00Z", "tcbStatus": "OutOfDate", "advisoryIDs": ["INTEL-SA-00002"]},
        ]);
        info["tdxModule"] = module;
        info["tdxModuleIdentities"] = json!([identity]);
    }
    info
}

fn qe_identity(is_td: bool) -> Value {
    json!({
        "id": if is_td { "TD_QE" } else { "QE" },
        "version": 2,
        "issueDate": "2026-02-20T00:00:00Z",
        "nextUpdate": "2026-03-22T00:00:00Z",
        "tcbEvaluationDataNumber": 18,
        "miscselect": "00000000",
        "miscselectMask": "FFFFFFFF",
        "attributes": "11000000000000000000000000000000",
        "attributesMask": "FBFFFFFFFFFFFFFF0000000000000000",
        "mrsigner": "9E".repeat(32),
        "isvprodid": if is_td { 2 } else { 1 },
        "tcbLevels": [
            {"tcb": {"isvsvn": 8}, "tcbDate": "2025-08-13T00:00:00Z", "tcbStatus": "UpToDate"},
            {"tcb": {"isvsvn": 6}, "tcbDate": "2024-08-13T00:00:00Z", "tcbStatus": "OutOfDate", "advisoryIDs": ["INTEL-SA-00003"]},
        ],
    })
}

fn authority(name: &str, below: u8) -> CertificateParams {
    let mut params = named(name, AUTHORITY_SERIAL);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(below));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn named(name: &str, serial: u64) -> CertificateParams {
    let mut params = pki::named(name);
    params.distinguished_name.push(DnType::OrganizationName, "Test");
    params.serial_number = Some(SerialNumber::from(serial));
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::ContentCommitment];
    params
}

fn copy(key: &KeyPair) -> KeyPair {
    KeyPair::from_pkcs8_der_and_sign_algo(&key.serialize_der().into(), &rcgen::PKCS_ECDSA_P256_SHA256).unwrap()
}

fn sign(key: &KeyPair, message: &[u8]) -> Vec<u8> {
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &key.serialize_der()).unwrap();
    pair.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec()
}

fn sha256(parts: &[&[u8]]) -> Vec<u8> {
    digest(&SHA256, &parts.concat()).as_ref().to_vec()
}

fn counted(bytes: &[u8]) -> Vec<u8> {
    [&u32::try_from(bytes.len()).unwrap().to_le_bytes()[..], bytes].concat()
}

impl Made {
    /// Alters it.
    pub fn with(&self, change: impl FnOnce(&mut Self)) -> Self {
        let mut made = self.clone();
        change(&mut made);
        made
    }

    fn authority(&self) -> Issuer {
        let params = authority(self.authority_name, 0);
        CertifiedIssuer::signed_by(params, copy(&KEYS.authority), &KEYS.root).unwrap()
    }

    /// The quote, signed.
    pub fn quote(&self) -> Vec<u8> {
        let authority = self.authority();
        let mut pck = named("Intel SGX PCK Certificate", PCK_SERIAL);
        pck.not_after = date_time_ymd(self.pck_until, 1, 1);
        pck.custom_extensions = vec![self.extension.to_certificate()];
        let pck = pck.signed_by(&KEYS.pck, &authority).unwrap();
        let chain = [pck.pem(), authority.pem(), KEYS.root.pem()].concat() + "\0";

        let public =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &KEYS.attestation.serialize_der()).unwrap();
        let key = &public.public_key().as_ref()[1..];
        let mut qe_report = self.qe_report.clone();
        let named = sha256(&[key, &self.authentication_data]);
        qe_report[320..352].copy_from_slice(self.qe_report_data.as_deref().unwrap_or(&named));
        qe_report[352..].fill(0);
        let signed = [&self.header[..], &self.descriptor, &self.body].concat();
        let length = u16::try_from(self.authentication_data.len()).unwrap();
        let certification = [
            &qe_report[..],
            &sign(&KEYS.pck, &qe_report),
            &length.to_le_bytes(),
            &self.authentication_data,
            &5u16.to_le_bytes(),
            &counted(chain.as_bytes()),
        ]
        .concat();
        let certification = match self.header[0] {
            3 => certification,
            _ => [&6u16.to_le_bytes()[..], &counted(&certification)].concat(),
        };
        let section = [&sign(&KEYS.attestation, &signed)[..], key, &certification].concat();
        [signed, counted(&section), self.trailing.clone()].concat()
    }

    /// The collateral, signed.
    pub fn collateral(&self) -> Value {
        let authority = self.authority();
        let mut signer = named(self.signer_name, SIGNER_SERIAL);
        if self.signer_is_authority {
            signer.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        }
        let issuer = if self.signer_under_authority { &authority } else { &KEYS.root };
        let signer = signer.signed_by(&KEYS.signer, issuer).unwrap();
        let chain = [signer.pem(), KEYS.root.pem()].concat();
        let authority_chain = [authority.pem(), KEYS.root.pem()].concat();
        let list = |issuer: &Issuer, revoked: Option<u64>| {
            let list = pki::list(self.crl_number, self.crl_until, revoked.as_slice());
            hex::encode(list.signed_by(issuer).unwrap().der())
        };
        let on_roots = match self.revoked {
            Revoked::Authority => Some(AUTHORITY_SERIAL),
            Revoked::Signer => Some(SIGNER_SERIAL),
            Revoked::Nothing | Revoked::Pck => None,
        };
        let on_pcks = (self.revoked == Revoked::Pck).then_some(PCK_SERIAL);
        let of_root = if self.crl_by_another { &KEYS.other_root } else { &KEYS.root };
        let (tcb_info, qe_identity) = (self.tcb_info.to_string(), self.qe_identity.to_string());
        let tcb_info_signature = hex::encode(sign(&KEYS.signer, tcb_info.as_bytes()));
        let tcb_info = if self.edited_after { tcb_info.replace("OutOfDate", "UpToDate") } else { tcb_info };
        json!({
            "pck_crl_issuer_chain": authority_chain,
            "root_ca_crl": list(of_root, on_roots),
            "pck_crl": list(&authority, on_pcks),
            "tcb_info_issuer_chain": chain,
            "tcb_info": tcb_info,
            "tcb_info_signature": tcb_info_signature,
            "qe_identity_issuer_chain": chain,
            "qe_identity": qe_identity,
            "qe_identity_signature": hex::encode(sign(&KEYS.signer, qe_identity.as_bytes())),
        })
    }

    pub fn case(&self) -> Case {
        Case::of(self.tee, self.quote(), Some(self.collateral().to_string().into_bytes()))
    }
}

impl Extension {
    fn to_certificate(&self) -> CustomExtension {
        let tcb: Vec<_> = (1u8..).zip(self.components).map(|(arc, svn)| member(&[2, arc], &integer(svn))).collect();
        let tcb = [tcb.concat(), member(&[2, 17], &integer(self.pce_svn)), member(&[2, 18], &der(4, &self.components))]
            .concat();
        let members = self.members.iter().map(|arc| match arc {
            1 => member(&[1], &der(4, &[0x1d; 16])),
            2 => member(&[2], &der(0x30, &tcb)),
            3 => member(&[3], &der(4, &self.pce_id)),
            4 => member(&[4], &der(4, &self.fmspc)),
            _ => member(&[5], &der(10, &[1])),
        });
        let content = der(0x30, &members.collect::<Vec<_>>().concat());
        CustomExtension::from_oid_content(&[1, 2, 840, 113_741, 1, 13, 1], content)
    }
}

fn member(arcs: &[u8], value: &[u8]) -> Vec<u8> {
    let base = [0x2a, 0x86, 0x48, 0x86, 0xf8, 0x4d, 0x01, 0x0d, 0x01];
    der(0x30, &[&der(6, &[&base, arcs].concat()), value].concat())
}

fn integer(value: u8) -> Vec<u8> {
    if value < 0x80 { der(2, &[value]) } else { der(2, &[0, value]) }
}

fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let header = match u8::try_from(length) {
        Ok(short @ 0..0x80) => vec![tag, short],
        Ok(byte) => vec![tag, 0x81, byte],
        Err(_) => [&[tag, 0x82][..], &u16::try_from(length).unwrap().to_be_bytes()].concat(),
    };
    [header, content.to_vec()].concat()
}

/// Evidence and the circumstances it is judged in.
#[derive(Clone)]
pub struct Case {
    pub part: EvidencePart,
    pub endorsements: Endorsements,
    pub roots: Roots,
    pub profile: Profile,
    pub report_data: Option<Vec<u8>>,
    pub at: Timestamp,
}

impl Case {
    pub fn of(tee: Tee, quote: Vec<u8>, collateral: Option<Vec<u8>>) -> Self {
        let mut part = EvidencePart::new(tee, [("quote.bin", quote)]);
        part.items.extend(collateral.map(|json| ("collateral.json".to_owned(), json)));
        Self {
            part,
            endorsements: Endorsements::default(),
            roots: Roots::only([KEYS.root.der()]).unwrap(),
            profile: Profile::default(),
            report_data: Some(vec![0xcc; 64]),
            at: now(),
        }
    }

    pub fn verify(&self) -> Verification {
        verify(&Input {
            part: &self.part,
            endorsements: &self.endorsements,
            roots: &self.roots,
            profile: &self.profile,
            expected: self.report_data.as_deref().map_or(Expected::None, Expected::ReportData),
            at: self.at,
        })
    }
}
