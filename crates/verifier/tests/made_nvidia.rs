//! A GPU made in the test, under a PKI of its own: each rule of report, chain and revocation broken alone.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests may fail loudly"
)]

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair};
use burgrave_types::{EvidencePart, Tee};
use burgrave_verifier::{
    Cause, Endorsements, Expected, Input, Profile, Roots, Verdict, Verification, detect, inspect, verify,
};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, CustomExtension, DnType,
    IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P384_SHA384, PublicKeyData, RevokedCertParams,
    SerialNumber, date_time_ymd,
};

type Issuer = CertifiedIssuer<'static, KeyPair>;

const NONCE: [u8; 32] = [4; 32];
const FIRMWARE: [u8; 48] = [0xf1; 48];
const LEAF_SERIAL: u64 = 7;

/// Everything that goes into a report and its chain.
struct Gpu {
    root: Issuer,
    chip: Issuer,
    leaf: CertificateParams,
    leaf_key: KeyPair,
    request: Vec<u8>,
    response: Vec<u8>,
    blocks: Vec<(u8, Vec<u8>)>,
    /// How many blocks are stated instead of how many there are.
    stated: Option<u8>,
    opaque: Vec<(u16, Vec<u8>)>,
    signer: Option<KeyPair>,
    chain: fn(Vec<String>) -> Vec<String>,
    endorsements: Endorsements,
    expected: Expected<'static>,
}

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    (params.not_before, params.not_after) = (date_time_ymd(2025, 1, 1), date_time_ymd(2030, 1, 1));
    params
}

fn authority(name: &str) -> CertificateParams {
    let mut params = params(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn p384() -> KeyPair {
    KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap()
}

fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = u8::try_from(content.len()).unwrap();
    let head = if length < 128 { vec![tag, length] } else { vec![tag, 0x81, length] };
    [head.as_slice(), content].concat()
}

/// `CompositeDeviceID` with a P-256 key that nobody uses, and a SHA-384 firmware id.
fn composite_device_id(firmware: &[u8]) -> CustomExtension {
    let device = KeyPair::generate().unwrap().subject_public_key_info();
    let algorithm = [0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02];
    let firmware = der(0x30, &[algorithm.as_slice(), &der(0x04, firmware)].concat());
    let content = der(0x30, &[[2, 1, 1].as_slice(), &device, &firmware].concat());
    CustomExtension::from_oid_content(&[2, 23, 133, 5, 4, 1], content)
}

fn block(value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(value.len()).unwrap();
    let content = [[1].as_slice(), &length.to_le_bytes(), value].concat();
    [[1].as_slice(), &(length + 3).to_le_bytes(), &content].concat()
}

impl Gpu {
    fn new() -> Self {
        let root = Issuer::self_signed(authority("Device Identity CA"), p384()).unwrap();
        let chip = Issuer::signed_by(authority("GX100 BROM"), p384(), &root).unwrap();
        let mut leaf = params("GX100 A01 FMC");
        leaf.serial_number = Some(SerialNumber::from(LEAF_SERIAL));
        leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        leaf.not_after = date_time_ymd(2029, 1, 1);
        leaf.custom_extensions = vec![composite_device_id(&FIRMWARE)];
        Self {
            root,
            chip,
            leaf,
            leaf_key: p384(),
            request: vec![0x11, 0xe0, 0x01, 0xff],
            response: vec![0x11, 0x60, 0, 0],
            blocks: vec![(1, block(&[1; 48])), (2, block(&[2; 48]))],
            stated: None,
            opaque: vec![(3, b"590.12\0\0".to_vec()), (6, vec![0, 0xa5, 0, 0x96, 1, 0, 0, 0]), (20, FIRMWARE.to_vec())],
            signer: None,
            chain: |chain| chain,
            endorsements: Endorsements::default(),
            expected: Expected::Nonce(&NONCE),
        }
    }

    fn report(&self) -> Vec<u8> {
        let record: Vec<_> =
            self.blocks.iter().flat_map(|(index, block)| [&[*index], block.as_slice()].concat()).collect();
        let opaque: Vec<_> = self
            .opaque
            .iter()
            .flat_map(|(kind, value)| {
                [&kind.to_le_bytes()[..], &u16::try_from(value.len()).unwrap().to_le_bytes(), value].concat()
            })
            .collect();
        let blocks = self.stated.unwrap_or(u8::try_from(self.blocks.len()).unwrap());
        let message = [
            self.request.as_slice(),
            &NONCE,
            &[0],
            &self.response,
            &[blocks],
            &u32::try_from(record.len()).unwrap().to_le_bytes()[..3],
            &record,
            &[9; 32],
            &u16::try_from(opaque.len()).unwrap().to_le_bytes(),
            &opaque,
        ]
        .concat();
        let key = self.signer.as_ref().unwrap_or(&self.leaf_key);
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, key.serialized_der()).unwrap();
        let signature = key.sign(&SystemRandom::new(), &message).unwrap();
        [message.as_slice(), signature.as_ref()].concat()
    }

    fn part(&self) -> EvidencePart {
        let leaf = self.leaf.signed_by(&self.leaf_key, &self.chip).unwrap();
        let chain = (self.chain)(vec![leaf.pem(), self.chip.pem(), self.root.pem()]).concat();
        EvidencePart::new(Tee::NvidiaGpu, [("report.bin", self.report()), ("chain.pem", chain.into_bytes())])
    }

    fn judge(&self, part: &EvidencePart) -> Verification {
        verify(&Input {
            part,
            endorsements: &self.endorsements,
            roots: &Roots::only([self.root.der()]).unwrap(),
            profile: &Profile::default(),
            expected: self.expected,
            at: "2026-03-01T00:00:00Z".parse().unwrap(),
        })
    }

    fn verify(&self) -> Verification {
        self.judge(&self.part())
    }

    #[track_caller]
    fn accepted(&self) -> Verification {
        let verification = self.verify();
        assert_eq!((verification.verdict, verification.authentic), (Verdict::Accept, true), "{verification:#?}");
        verification
    }

    #[track_caller]
    fn refused(&self, cause: Cause) -> Verification {
        let verification = self.verify();
        assert_eq!((verification.verdict, verification.cause), (Verdict::Reject, Some(cause)), "{verification:#?}");
        verification
    }
}

#[test]
fn a_gpu_is_accepted_and_its_measurements_are_registers() {
    let gpu = Gpu::new();
    let part = gpu.part();
    assert_eq!(detect(&part.items), Some(Tee::NvidiaGpu));
    let verification = gpu.accepted();
    assert_eq!(verification.valid_until, Some("2029-01-01T00:00:00Z".parse().unwrap()));
    assert_eq!(verification.raw["driver_version"], "590.12");
    assert_eq!(verification.raw["vbios_version"], "96.00.A5.00.01");
    let claims = verification.claims.unwrap();
    assert_eq!((claims.product.as_deref(), claims.debug), (Some("GX100"), None));
    assert_eq!(claims.launch.measurement.unwrap().0, FIRMWARE);
    assert_eq!(claims.registers["measurement2"].0, [2; 48]);
    assert_eq!(claims.binding.unwrap().0, NONCE);
    let chip = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, gpu.chip.key().der_bytes());
    assert_eq!(claims.platform_id.unwrap().0, chip.as_ref());
    assert_eq!(inspect(&part).unwrap().raw["measurements"]["1"]["type"], 1);
}

#[test]
fn a_chain_comes_with_its_root_or_without_and_is_never_its_own_root() {
    let mut gpu = Gpu::new();
    gpu.chain = |mut chain| {
        chain.pop();
        chain
    };
    gpu.accepted();
    let part = gpu.part();
    // The same names under another root.
    let other = Gpu::new();
    assert_eq!(other.judge(&part).cause, Some(Cause::ChainSignature));
    assert_eq!(other.judge(&Gpu::new().part()).cause, Some(Cause::ChainUntrusted));
    let chains: [fn(Vec<String>) -> Vec<String>; 5] = [
        |chain| chain.into_iter().rev().collect(),
        |chain| vec![chain[0].clone()],
        |chain| vec![chain[0].clone(), chain[2].clone()],
        |_| Vec::new(),
        |chain| vec![chain[2].clone()],
    ];
    for chain in chains {
        gpu.chain = chain;
        let verification = gpu.verify();
        let causes = [Cause::ChainUntrusted, Cause::ChainConstraint];
        assert!(causes.contains(&verification.cause.unwrap()), "{verification:#?}");
    }
}

#[test]
fn only_the_key_of_the_firmware_that_runs_signs() {
    let mut gpu = Gpu::new();
    gpu.signer = Some(p384());
    assert!(!gpu.refused(Cause::SignatureInvalid).authentic);
    let mut gpu = Gpu::new();
    gpu.opaque[2].1 = vec![0xf2; 48];
    gpu.refused(Cause::CertificateExtension);
    gpu.opaque.pop();
    gpu.accepted();
    let mut gpu = Gpu::new();
    gpu.leaf.custom_extensions.clear();
    gpu.refused(Cause::CertificateExtension);
    let mut gpu = Gpu::new();
    gpu.leaf.not_after = date_time_ymd(2026, 1, 1);
    gpu.refused(Cause::CertificateValidity);
    let mut gpu = Gpu::new();
    gpu.leaf.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    gpu.refused(Cause::ChainConstraint);
}

#[test]
fn the_nonce_of_the_request_is_what_binds() {
    const OTHER: [u8; 32] = [5; 32];
    let mut gpu = Gpu::new();
    gpu.expected = Expected::Binding { report_data: &[0; 64], qualifying_data: &NONCE };
    gpu.accepted();
    gpu.expected = Expected::Nonce(&OTHER);
    assert!(gpu.refused(Cause::BindingNonce).authentic);
    gpu.expected = Expected::ReportData(&OTHER);
    gpu.refused(Cause::BindingReportData);
}

#[test]
fn a_report_of_another_form_is_refused() {
    type Change = fn(&mut Gpu);
    let changes: [(Cause, Change); 13] = [
        (Cause::FormatVersion, |gpu| gpu.request[0] = 0x12),
        (Cause::FormatVersion, |gpu| gpu.response[0] = 0x12),
        (Cause::FormatMalformed, |gpu| gpu.request[1] = 0xe1),
        (Cause::FormatMalformed, |gpu| gpu.request[2] = 0),
        (Cause::FormatMalformed, |gpu| gpu.response[1] = 0x7f),
        (Cause::FormatMalformed, |gpu| gpu.stated = Some(1)),
        (Cause::FormatMalformed, |gpu| gpu.stated = Some(3)),
        (Cause::FormatMalformed, |gpu| gpu.blocks[1].0 = 1),
        (Cause::FormatMalformed, |gpu| gpu.blocks[1].1[0] = 2),
        (Cause::FormatMalformed, |gpu| gpu.blocks[1].1[1] = 52),
        (Cause::FormatMalformed, |gpu| gpu.blocks[1].1[4] = 49),
        (Cause::FormatMalformed, |gpu| gpu.blocks[1].1[2] = 0xff),
        (Cause::FormatMalformed, |gpu| gpu.opaque.push((3, Vec::new()))),
    ];
    for (which, (cause, change)) in changes.into_iter().enumerate() {
        let mut gpu = Gpu::new();
        change(&mut gpu);
        let verification = gpu.verify();
        assert_eq!(verification.cause, Some(cause), "{which}: {verification:#?}");
    }
    let gpu = Gpu::new();
    let part = gpu.part();
    let with = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut part = part.clone();
        change(part.items.get_mut("report.bin").unwrap());
        gpu.judge(&part)
    };
    for length in 0..part.item("report.bin").unwrap().len() {
        assert_eq!(with(&|bytes| bytes.truncate(length)).verdict, Verdict::Reject, "{length}");
    }
    assert_eq!(with(&|bytes| bytes.push(0)).cause, Some(Cause::FormatLength));
    assert_eq!(with(&|bytes| bytes.resize(65 * 1024, 0)).cause, Some(Cause::FormatLength));
    // A record, and opaque data, longer than the report.
    assert_eq!(with(&|bytes| bytes[42..45].fill(0xff)).cause, Some(Cause::FormatLength));
    let opaque = part.item("report.bin").unwrap().len() - 96 - 76;
    assert_eq!(with(&|bytes| bytes[opaque - 2..opaque].fill(0xff)).cause, Some(Cause::FormatLength));
}

#[test]
fn a_revocation_list_that_is_at_hand_counts() {
    let list = |gpu: &Gpu, by: &Issuer, serial: u64, until: i32| {
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2026, 1, 1),
            next_update: date_time_ymd(until, 2, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: vec![RevokedCertParams {
                serial_number: SerialNumber::from(serial),
                revocation_time: date_time_ymd(2026, 1, 1),
                reason_code: None,
                invalidity_date: None,
            }],
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let mut endorsements = Endorsements::default();
        assert!(endorsements.add(params.signed_by(by).unwrap().der()));
        let gpu = Gpu { endorsements, chain: gpu.chain, ..Gpu::new_like(gpu) };
        gpu.verify()
    };
    let gpu = Gpu::new();
    let clean = list(&gpu, &gpu.chip, 1234, 2027);
    assert_eq!(clean.verdict, Verdict::Accept, "{clean:#?}");
    assert_eq!(clean.valid_until, Some("2027-02-01T00:00:00Z".parse().unwrap()));
    assert_eq!(list(&gpu, &gpu.chip, LEAF_SERIAL, 2027).cause, Some(Cause::CertificateRevoked));
    assert_eq!(list(&gpu, &gpu.chip, 1234, 2026).cause, Some(Cause::CrlValidity));
    // A list of the same name, by another key; and one of an authority that did not issue the leaf.
    assert_eq!(list(&gpu, &Gpu::new().chip, LEAF_SERIAL, 2027).cause, Some(Cause::CrlSignature));
    assert_eq!(list(&gpu, &gpu.root, LEAF_SERIAL, 2027).verdict, Verdict::Accept);
}

impl Gpu {
    /// The same GPU under the same authorities.
    fn new_like(other: &Self) -> Self {
        let copy = |key: &KeyPair| KeyPair::try_from(key.serialized_der()).unwrap();
        let again = |name: &str, issuer: &Issuer| (authority(name), copy(issuer.key()));
        let (params, key) = again("Device Identity CA", &other.root);
        let root = Issuer::self_signed(params, key).unwrap();
        let (params, key) = again("GX100 BROM", &other.chip);
        let chip = Issuer::signed_by(params, key, &root).unwrap();
        Self { root, chip, ..Self::new() }
    }
}
