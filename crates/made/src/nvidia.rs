//! GPUs of NVIDIA's: an SPDM report and its chain, under a PKI of their own.

use std::sync::Arc;

use aws_lc_rs::rand::SystemRandom;
use burgrave_types::{EvidencePart, Tee};
use burgrave_verifier::{Cause, Endorsements, Expected, Input, Profile, Roots, Verdict, Verification, verify};
use rcgen::{
    CertificateParams, CrlDistributionPoint, CustomExtension, KeyPair, KeyUsagePurpose, PublicKeyData, SerialNumber,
    date_time_ymd,
};

use crate::pki::{Issuer, authority, named, p384, root, signing};

pub const NONCE: [u8; 32] = [4; 32];
pub const FIRMWARE: [u8; 48] = [0xf1; 48];
pub const LEAF_SERIAL: u64 = 7;
pub const FAMILY_SERIAL: u64 = 21;
pub const PROVISIONER_SERIAL: u64 = 22;

/// Everything that goes into a report and its chain.
#[derive(Clone)]
pub struct Gpu {
    pub root: Arc<Issuer>,
    /// Authorities between root and chip, the one beneath the root first.
    pub between: Vec<Arc<Issuer>>,
    pub chip: Arc<Issuer>,
    pub leaf: CertificateParams,
    pub leaf_key: Arc<KeyPair>,
    pub nonce: [u8; 32],
    pub request: Vec<u8>,
    pub response: Vec<u8>,
    pub blocks: Vec<(u8, Vec<u8>)>,
    /// How many blocks are stated instead of how many there are.
    pub stated: Option<u8>,
    pub opaque: Vec<(u16, Vec<u8>)>,
    /// What stands before the opaque data's fields, each of which then has a type of its value: Rubin's form.
    pub opaque_head: Vec<u8>,
    pub signer: Option<Arc<KeyPair>>,
    pub chain: fn(Vec<String>) -> Vec<String>,
    pub endorsements: Endorsements,
    pub expected: Expected<'static>,
}

pub fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = u8::try_from(content.len()).unwrap();
    let head = if length < 128 { vec![tag, length] } else { vec![tag, 0x81, length] };
    [head.as_slice(), content].concat()
}

/// An authority with a new key.
pub fn beneath(issuer: &Issuer, params: CertificateParams) -> Arc<Issuer> {
    Arc::new(Issuer::signed_by(params, p384(), issuer).unwrap())
}

/// `CompositeDeviceID` with a P-256 key that nobody uses, and a SHA-384 firmware id.
pub fn composite_device_id(firmware: &[u8]) -> CustomExtension {
    let device = KeyPair::generate().unwrap().subject_public_key_info();
    let algorithm = [0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02];
    let firmware = der(0x30, &[algorithm.as_slice(), &der(0x04, firmware)].concat());
    let content = der(0x30, &[[2, 1, 1].as_slice(), &device, &firmware].concat());
    CustomExtension::from_oid_content(&[2, 23, 133, 5, 4, 1], content)
}

/// `DiceTcbInfo` as Blackwell has it: `flags` in the first byte of its operational flags, a second FWID that is zero.
pub fn tcb_info(firmware: &[u8], flags: u8) -> CustomExtension {
    let algorithm = [0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02];
    let fwid = |digest: &[u8]| der(0x30, &[algorithm.as_slice(), &der(0x04, digest)].concat());
    let fields = [
        der(0x80, b"NVIDIA"),
        der(0x83, &[1]),
        der(0xa6, &[fwid(firmware), fwid(&[0; 48])].concat()),
        der(0x87, &[0, flags, 0, 0, 1]),
    ];
    CustomExtension::from_oid_content(&[2, 23, 133, 5, 4, 1, 1], der(0x30, &fields.concat()))
}

pub fn block(value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(value.len()).unwrap();
    let content = [[1].as_slice(), &length.to_le_bytes(), value].concat();
    [[1].as_slice(), &(length + 3).to_le_bytes(), &content].concat()
}

impl Gpu {
    /// A Hopper.
    pub fn new() -> Self {
        Self::of("GH100", composite_device_id(&FIRMWARE))
    }

    /// A Blackwell.
    pub fn blackwell() -> Self {
        Self::of("GB100", tcb_info(&FIRMWARE, 0))
    }

    /// A Rubin: its report has opaque data with a header.
    pub fn rubin() -> Self {
        let opaque_head = b"NVDAOD\0\0\x02\0\0\0".to_vec();
        Self { opaque_head, ..Self::of("GR100", tcb_info(&FIRMWARE, 0x80)) }
    }

    /// No GPU, but a switch beside one, beneath the same root.
    pub fn switch() -> Self {
        Self::of("LS_10", composite_device_id(&FIRMWARE))
    }

    /// A device of that chip, whose certificate has this extension.
    pub fn of(chip: &str, extension: CustomExtension) -> Self {
        Self::provisioned_as(chip, chip, extension)
    }

    /// As [`Gpu::of`], provisioned under another chip's name.
    pub fn provisioned_as(provisioned: &str, chip: &str, extension: CustomExtension) -> Self {
        let root = root("Device Identity CA", 3);
        let provisioner = beneath(&root, authority(&format!("NVIDIA {provisioned} Provisioner ICA 1"), 1));
        let mut leaf = named(&format!("{chip} A01 GSP FMC LF"));
        let chip = beneath(&provisioner, authority(&format!("{chip} A01 GSP BROM"), 0));
        leaf.serial_number = Some(SerialNumber::from(LEAF_SERIAL));
        leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        leaf.not_after = date_time_ymd(2029, 1, 1);
        leaf.custom_extensions = vec![extension];
        Self {
            root,
            between: vec![provisioner],
            chip,
            leaf,
            leaf_key: Arc::new(p384()),
            nonce: NONCE,
            request: vec![0x11, 0xe0, 0x01, 0xff],
            response: vec![0x11, 0x60, 0, 0],
            blocks: vec![(1, block(&[1; 48])), (2, block(&[2; 48]))],
            stated: None,
            opaque: vec![(3, b"590.12\0\0".to_vec()), (6, vec![0, 0xa5, 0, 0x96, 1, 0, 0, 0]), (20, FIRMWARE.to_vec())],
            opaque_head: Vec::new(),
            signer: None,
            chain: |chain| chain,
            endorsements: Endorsements::default(),
            expected: Expected::Nonce(&NONCE),
        }
    }

    /// Beneath authorities that say where lists are: the root's speaks of the family's authority, and that one's of the
    /// provisioner, as NVIDIA's do. Nothing says where the provisioner's own would be.
    pub fn with_lists() -> Self {
        let gpu = Self::new();
        let listed = |name, below, serial: u64, file: &str| {
            let mut params = authority(name, below);
            params.serial_number = Some(SerialNumber::from(serial));
            let uris = vec![format!("http://crl.example.com/crl/{file}")];
            params.crl_distribution_points = vec![CrlDistributionPoint { uris }];
            params
        };
        let family = beneath(&gpu.root, listed("NVIDIA GH100 Identity", 2, FAMILY_SERIAL, "l1-root.crl"));
        let provisioner =
            beneath(&family, listed("NVIDIA GH100 Provisioner ICA 1", 1, PROVISIONER_SERIAL, "l2-gh100.crl"));
        let chip = beneath(&provisioner, authority("GH100 A01 GSP BROM", 0));
        Self { between: vec![family, provisioner], chip, ..gpu }
    }

    pub fn report(&self) -> Vec<u8> {
        let record: Vec<_> =
            self.blocks.iter().flat_map(|(index, block)| [&[*index], block.as_slice()].concat()).collect();
        let value_type: &[u8] = if self.opaque_head.is_empty() { &[] } else { &[0x86, 0] };
        let field = |(kind, value): &(u16, Vec<u8>)| {
            [&kind.to_le_bytes()[..], value_type, &u16::try_from(value.len()).unwrap().to_le_bytes(), value].concat()
        };
        let opaque = [self.opaque_head.clone(), self.opaque.iter().flat_map(field).collect()].concat();
        let blocks = self.stated.unwrap_or(u8::try_from(self.blocks.len()).unwrap());
        let message = [
            self.request.as_slice(),
            &self.nonce,
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
        let signature = signing(key).sign(&SystemRandom::new(), &message).unwrap();
        [message.as_slice(), signature.as_ref()].concat()
    }

    /// The same, of another Hopper.
    #[must_use]
    pub fn of_another_chip(&self) -> Self {
        let above = self.between.last().unwrap_or(&self.root);
        Self { chip: beneath(above, authority("GH100 A01 GSP BROM", 0)), ..self.clone() }
    }

    pub fn part(&self) -> EvidencePart {
        let leaf = self.leaf.signed_by(&*self.leaf_key, &*self.chip).unwrap();
        let authorities = [&self.chip].into_iter().chain(self.between.iter().rev()).chain([&self.root]);
        let chain = [leaf.pem()].into_iter().chain(authorities.map(|authority| authority.pem())).collect();
        let chain = (self.chain)(chain).concat();
        EvidencePart::new(Tee::NvidiaGpu, [("report.bin", self.report()), ("chain.pem", chain.into_bytes())])
    }

    pub fn judge(&self, part: &EvidencePart) -> Verification {
        verify(&Input {
            part,
            endorsements: &self.endorsements,
            roots: &Roots::only([self.root.der()]).unwrap(),
            profile: &Profile::default(),
            expected: self.expected,
            at: "2026-03-01T00:00:00Z".parse().unwrap(),
        })
    }

    pub fn verify(&self) -> Verification {
        self.judge(&self.part())
    }

    #[track_caller]
    pub fn accepted(&self) -> Verification {
        let verification = self.verify();
        assert_eq!((verification.verdict, verification.authentic), (Verdict::Accept, true), "{verification:#?}");
        verification
    }

    #[track_caller]
    pub fn refused(&self, cause: Cause) -> Verification {
        let verification = self.verify();
        assert_eq!((verification.verdict, verification.cause), (Verdict::Reject, Some(cause)), "{verification:#?}");
        verification
    }
}
