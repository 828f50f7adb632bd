//! Machines of each TEE made in the test, under roots of its own: attesters whose evidence carries what it is asked to.

use std::sync::LazyLock;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{
    ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256, RSA_PSS_SHA384,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use burgrave_attester::{Attester, AttesterError, BindingData};
use burgrave_types::{Evidence, EvidencePart, Tee};
use burgrave_verifier::Roots;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, CustomExtension, DnType, IsCa, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P384_SHA384, date_time_ymd,
};

use crate::cbor::{Value, encode, sign1};
use crate::platform::{self, KEYS};

type Issuer = CertifiedIssuer<'static, KeyPair>;

/// The roots of all that is made here.
pub(crate) fn roots() -> Roots {
    Roots::only([AMD.ark.as_slice(), NITRO.root.der(), KEYS.root.der(), GPU.root.der()]).unwrap()
}

/// A file of the packaged evidence.
pub(crate) fn packaged(name: &str) -> Vec<u8> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../verifier/testdata");
    std::fs::read(folder.join(name)).unwrap()
}

// === SEV-SNP ===

/// An authority like AMD's: the certificates of the packaged test authority with other keys.
struct Amd {
    ark: Vec<u8>,
    ask: Vec<u8>,
    vek: Vec<u8>,
    key: EcdsaKeyPair,
}

static AMD: LazyLock<Amd> = LazyLock::new(|| {
    let rsa = RsaKeyPair::generate(KeySize::Rsa4096).unwrap();
    let key = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap();
    // The key's bit string is replaced by another of its length, and the whole is signed anew.
    let certificate = |name: &str, head: &[u8], public: &[u8]| {
        let mut der = packaged(&format!("snp/synthetic/base/{name}"));
        let at = der.windows(head.len()).position(|window| window == head).unwrap() + head.len();
        der[at..at + public.len()].copy_from_slice(public);
        let signed = 8 + usize::from(u16::from_be_bytes([der[6], der[7]]));
        let mut signature = vec![0; rsa.public_modulus_len()];
        rsa.sign(&RSA_PSS_SHA384, &SystemRandom::new(), &der[4..signed], &mut signature).unwrap();
        let end = der.len() - signature.len();
        der[end..].copy_from_slice(&signature);
        der
    };
    let public = rsa.public_key().as_ref().to_vec();
    let rsa_head = [3, 0x82, 2, 0x0f, 0];
    Amd {
        ark: certificate("test-ark.der", &rsa_head, &public),
        ask: certificate("ask.der", &rsa_head, &public),
        vek: certificate("vek.der", &[3, 0x62, 0], key.public_key().as_ref()),
        key,
    }
});

/// A machine with SEV-SNP; what `report` says is signed.
#[derive(Clone)]
pub(crate) struct Snp {
    pub(crate) report: Vec<u8>,
}

impl Snp {
    pub(crate) fn new() -> Self {
        Self { report: packaged("snp/synthetic/base/report.bin") }
    }

    pub(crate) fn measurement(&self) -> Vec<u8> {
        self.report[0x90..0xc0].to_vec()
    }

    pub(crate) fn chip(&self) -> Vec<u8> {
        self.report[0x1a0..0x1e0].to_vec()
    }

    pub(crate) fn signed(mut self, signer: u8, svn: u8) -> Self {
        self.report[0xe0..0x110].fill(signer);
        self.report[4] = svn;
        self
    }

    pub(crate) fn debug(mut self) -> Self {
        self.report[8 + 2] |= 1 << 3;
        self
    }

    pub(crate) fn migratable(mut self) -> Self {
        self.report[8 + 2] |= 1 << 2;
        self
    }

    /// Launched under firmware of that number (LAUNCH_TCB, offset 0x1f0; SNP is its byte 6 on Milan).
    pub(crate) fn launched_under(mut self, snp: u8) -> Self {
        self.report[0x1f6] = snp;
        self
    }

    pub(crate) fn vmpl(mut self, level: u8) -> Self {
        self.report[0x30] = level;
        self
    }

    pub(crate) fn measured(mut self, measurement: u8) -> Self {
        self.report[0x90..0xc0].fill(measurement);
        self
    }
}

impl Attester for Snp {
    fn tee(&self) -> Tee {
        Tee::Snp
    }

    fn evidence(&mut self, binding: &BindingData) -> Result<Evidence, AttesterError> {
        let report = self.report_over(&binding.report_data);
        let items = [("report.bin", report), ("vcek.der", AMD.vek.clone()), ("ask.der", AMD.ask.clone())];
        Ok(Evidence::single(EvidencePart::new(Tee::Snp, items)))
    }
}

impl Snp {
    fn report_over(&self, report_data: &[u8; 64]) -> Vec<u8> {
        let mut report = self.report.clone();
        report[0x50..0x90].copy_from_slice(report_data);
        let signature = AMD.key.sign(&SystemRandom::new(), &report[..0x2a0]).unwrap();
        for (at, half) in [(0x2a0, &signature.as_ref()[..48]), (0x2e8, &signature.as_ref()[48..])] {
            report[at..at + 48].copy_from_slice(&half.iter().rev().copied().collect::<Vec<_>>());
        }
        report
    }
}

// === Azure ===

/// The vTPM's attestation key.
static AZURE_AK: LazyLock<RsaKeyPair> = LazyLock::new(|| RsaKeyPair::generate(KeySize::Rsa2048).unwrap());

/// An Azure machine over SEV-SNP, whose PCRs 0 to 2 have these values.
pub(crate) struct Azure(pub(crate) Snp, pub(crate) [u8; 3]);

impl Attester for Azure {
    fn tee(&self) -> Tee {
        Tee::AzVtpm
    }

    fn evidence(&mut self, binding: &BindingData) -> Result<Evidence, AttesterError> {
        // The attestation key stands in the runtime data, whose hash the hardware's report covers. An RSAPublicKey of 2048
        // bits is a header, the modulus with a leading zero, and the exponent.
        let modulus = URL_SAFE_NO_PAD.encode(&AZURE_AK.public_key().as_ref()[9..265]);
        let key = serde_json::json!({"kid": "HCLAkPub", "kty": "RSA", "e": "AQAB", "n": modulus});
        let runtime = serde_json::json!({"keys": [key], "vm-configuration": {}, "user-data": "00"}).to_string();
        let mut report_data = [0; 64];
        report_data[..32].copy_from_slice(digest(&SHA256, runtime.as_bytes()).as_ref());
        let length = u32::try_from(runtime.len()).unwrap();
        let words = |words: &[u32]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<_>>();
        let hcl = [
            b"HCLA".to_vec(),
            words(&[1, 1236 + length, 2, 0, 0, 0, 0]),
            self.0.report_over(&report_data),
            words(&[20 + length, 1, 2, 1, length]),
            runtime.into_bytes(),
        ]
        .concat();
        let sized = |bytes: &[u8]| [&u16::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat();
        let quoted: Vec<u8> = self.1.iter().flat_map(|value| [*value; 32]).collect();
        let quote = [
            vec![0xff, 0x54, 0x43, 0x47, 0x80, 0x18],
            sized(&[0; 34]),
            sized(&binding.qualifying_data),
            vec![0; 17],
            vec![7; 8],
            vec![0, 0, 0, 1, 0, 0x0b, 3, 0b111, 0, 0],
            sized(digest(&SHA256, &quoted).as_ref()),
        ]
        .concat();
        let mut signature = vec![0; AZURE_AK.public_modulus_len()];
        AZURE_AK.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), &quote, &mut signature).unwrap();
        let pcrs =
            self.1.iter().enumerate().map(|(index, value)| (index.to_string(), hex::encode([*value; 32]).into()));
        let pcrs: serde_json::Map<_, _> = pcrs.collect();
        let items = [
            ("hcl-report.bin", hcl),
            ("quote.msg", quote),
            ("quote.sig", signature),
            ("pcrs-sha256.json", serde_json::to_vec(&pcrs).unwrap()),
            ("vcek.der", AMD.vek.clone()),
            ("ask.der", AMD.ask.clone()),
        ];
        Ok(Evidence::single(EvidencePart::new(Tee::AzVtpm, items)))
    }
}

// === TDX and SGX ===

/// A platform of Intel's with its collateral.
pub(crate) struct Dcap(pub(crate) platform::Made);

impl Attester for Dcap {
    fn tee(&self) -> Tee {
        self.0.tee
    }

    fn evidence(&mut self, binding: &BindingData) -> Result<Evidence, AttesterError> {
        let at = if self.0.tee == Tee::Tdx { 520 } else { 320 };
        let made = self.0.with(|made| made.body[at..at + 64].copy_from_slice(&binding.report_data));
        Ok(Evidence::single(made.case().part))
    }
}

// === Nitro ===

struct Nitro {
    root: Issuer,
    leaf: Vec<u8>,
    key: EcdsaKeyPair,
}

fn p384() -> KeyPair {
    KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap()
}

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    (params.not_before, params.not_after) = (date_time_ymd(2025, 1, 1), date_time_ymd(2027, 1, 1));
    params
}

fn authority(name: &str, below: u8) -> CertificateParams {
    let mut params = params(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(below));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params
}

fn fixed(key: &KeyPair) -> EcdsaKeyPair {
    EcdsaKeyPair::from_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, key.serialized_der()).unwrap()
}

static NITRO: LazyLock<Nitro> = LazyLock::new(|| {
    let root = Issuer::self_signed(authority("a cloud's root", 1), p384()).unwrap();
    let key = p384();
    let mut leaf = params("i-0123-enc4567.example");
    leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    let leaf = leaf.signed_by(&key, &root).unwrap().der().to_vec();
    Nitro { root, leaf, key: fixed(&key) }
});

/// A Nitro enclave with these PCR 0, 4 and 8.
#[derive(Clone)]
pub(crate) struct NitroEnclave {
    pub(crate) image: u8,
    pub(crate) parent: u8,
    pub(crate) signer: u8,
}

impl Attester for NitroEnclave {
    fn tee(&self) -> Tee {
        Tee::Nitro
    }

    fn evidence(&mut self, binding: &BindingData) -> Result<Evidence, AttesterError> {
        let pcr = |index, value| (Value::Number(index), Value::Bytes(vec![value; 48]));
        let pcrs = vec![pcr(0, self.image), pcr(4, self.parent), pcr(8, self.signer)];
        let payload = Value::Map(vec![
            (Value::Text("module_id"), Value::Text("i-0123-enc4567")),
            (Value::Text("timestamp"), Value::Number(1_772_323_200_000)),
            (Value::Text("digest"), Value::Text("SHA384")),
            (Value::Text("pcrs"), Value::Map(pcrs)),
            (Value::Text("certificate"), Value::Bytes(NITRO.leaf.clone())),
            (Value::Text("cabundle"), Value::Array(vec![Value::Bytes(NITRO.root.der().to_vec())])),
            (Value::Text("public_key"), Value::Null),
            (Value::Text("user_data"), Value::Bytes(binding.report_data.to_vec())),
            (Value::Text("nonce"), Value::Null),
        ]);
        let document = sign1(&[0xa1, 0x01, 0x38, 0x22], &Value::Map(Vec::new()), encode(&payload), |message| {
            NITRO.key.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec()
        });
        Ok(Evidence::single(EvidencePart::new(Tee::Nitro, [("document.cose", document)])))
    }
}

// === A GPU beside a CPU ===

struct Gpu {
    root: Issuer,
    chain: String,
    key: EcdsaKeyPair,
}

/// The digest of the GPU's firmware.
pub(crate) const FIRMWARE: [u8; 48] = [0xf1; 48];

static GPU: LazyLock<Gpu> = LazyLock::new(|| {
    let der = |tag: u8, content: &[u8]| [&[tag, u8::try_from(content.len()).unwrap()], content].concat();
    let root = Issuer::self_signed(authority("Device Identity CA", 2), p384()).unwrap();
    let chip = Issuer::signed_by(authority("GX100 BROM", 1), p384(), &root).unwrap();
    let (mut leaf, key) = (params("GX100 A01 FMC"), p384());
    leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    // TCG DICE, CompositeDeviceID: version, a key, and the firmware's digest.
    let ed25519 = der(0x30, &[der(0x30, &der(6, &[0x2b, 0x65, 0x70])), der(3, &[0; 33])].concat());
    let sha384 = der(6, &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 2]);
    let firmware = der(0x30, &[sha384, der(4, &FIRMWARE)].concat());
    let content = der(0x30, &[der(2, &[1]), ed25519, firmware].concat());
    leaf.custom_extensions = vec![CustomExtension::from_oid_content(&[2, 23, 133, 5, 4, 1], content)];
    let chain = [leaf.signed_by(&key, &chip).unwrap().pem(), chip.pem(), root.pem()].concat();
    Gpu { root, chain, key: fixed(&key) }
});

/// A GPU's report over a nonce, with SPDM measurements 1 and 2.
pub(crate) fn gpu(nonce: &[u8; 32], measurements: [u8; 2]) -> EvidencePart {
    let record = (1..)
        .zip(measurements)
        .flat_map(|(index, value): (u8, u8)| [&[index, 1, 51, 0, 1, 48, 0][..], &[value; 48]].concat());
    let record: Vec<u8> = record.collect();
    let opaque = [&20u16.to_le_bytes()[..], &48u16.to_le_bytes(), &FIRMWARE].concat();
    let message = [
        &[0x11, 0xe0, 0x01, 0xff][..],
        nonce,
        &[0, 0x11, 0x60, 0, 0, 2],
        &u32::try_from(record.len()).unwrap().to_le_bytes()[..3],
        &record,
        &[9; 32],
        &u16::try_from(opaque.len()).unwrap().to_le_bytes(),
        &opaque,
    ]
    .concat();
    let signature = GPU.key.sign(&SystemRandom::new(), &message).unwrap();
    let report = [message.as_slice(), signature.as_ref()].concat();
    EvidencePart::new(Tee::NvidiaGpu, [("report.bin", report), ("chain.pem", GPU.chain.clone().into_bytes())])
}

/// A machine with GPUs beside its CPU, each with these measurements.
pub(crate) struct WithGpus<A>(pub(crate) A, pub(crate) Vec<[u8; 2]>);

impl<A: Attester> Attester for WithGpus<A> {
    fn tee(&self) -> Tee {
        self.0.tee()
    }

    fn evidence(&mut self, binding: &BindingData) -> Result<Evidence, AttesterError> {
        self.0.evidence(binding)
    }

    fn parts(&mut self, nonce: &dyn Fn(usize, Tee) -> [u8; 32]) -> Result<Vec<EvidencePart>, AttesterError> {
        let gpus = self.1.iter().enumerate();
        Ok(gpus.map(|(index, measurements)| gpu(&nonce(index, Tee::NvidiaGpu), *measurements)).collect())
    }
}
