//! What is trusted (roots) and what helps (endorsements): bytes that the caller brings, sorted and parsed once.

mod endorsements;

use std::sync::{Arc, LazyLock};

use base64::Engine;

use crate::lists::KnownLists;
use crate::nvidia::KnownChains;
use crate::path::KnownPaths;
use crate::snp::KnownPlatforms;
use crate::tpm::KnownTpms;
use crate::x509::{Certificate, Crl};
use crate::{Cause, cca};
pub use endorsements::Endorsements;

/// The roots: each anchors its vendor's evidence and nothing else. Origin, licence and fingerprints in `roots/README.md`.
const VENDOR_ROOTS: [(Vendor, &[u8]); 6] = [
    (Vendor::Amd, include_bytes!("../roots/milan-ark.der")),
    (Vendor::Amd, include_bytes!("../roots/genoa-ark.der")),
    (Vendor::Amd, include_bytes!("../roots/turin-ark.der")),
    (Vendor::Aws, include_bytes!("../roots/aws-nitro-g1.der")),
    (Vendor::Intel, include_bytes!("../roots/intel-sgx-root-ca.der")),
    (Vendor::Nvidia, include_bytes!("../roots/nvidia-device-identity.der")),
];

/// AMD's intermediates (ASK), one beneath each of its roots.
const AMD_INTERMEDIATES: [&[u8]; 3] = [
    include_bytes!("../roots/milan-ask.der"),
    include_bytes!("../roots/genoa-ask.der"),
    include_bytes!("../roots/turin-ask.der"),
];

static VENDOR: LazyLock<Roots> = LazyLock::new(|| Roots {
    of_vendors: VENDOR_ROOTS.iter().filter_map(|(vendor, der)| Some((*vendor, Certificate::from_der(der)?))).collect(),
    intermediates: AMD_INTERMEDIATES.iter().filter_map(|der| Certificate::from_der(der)).collect(),
    ..Roots::none()
});

/// What a block of PEM begins with, before its label.
const PEM_HEAD: &str = "-----BEGIN ";
/// The label of a revocation list.
const PEM_CRL: &str = "X509 CRL";
/// What a certificate or a list in DER begins with.
const DER_SEQUENCE: u8 = 0x30;
/// More certificates or lists than this are not taken from evidence.
const MOST: usize = 64;

/// A vendor whose pinned roots anchor its own evidence alone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Vendor {
    /// AMD: SEV-SNP.
    Amd,
    /// Amazon Web Services: Nitro Enclaves.
    Aws,
    /// Intel: TDX and SGX.
    Intel,
    /// NVIDIA: GPUs.
    Nvidia,
}

/// The trust anchors. Nothing in evidence or endorsements ever becomes one.
#[derive(Clone, Debug)]
pub struct Roots {
    /// For every TEE's evidence: a caller brought them instead of the vendors'.
    anchors: Vec<Certificate>,
    of_vendors: Vec<(Vendor, Certificate)>,
    /// For TPMs: `anchors`, and the makers' of TPMs.
    tpm_anchors: Arc<Vec<Certificate>>,
    intermediates: Vec<Certificate>,
    cca_anchors: Vec<cca::Anchor>,
    cca_firmware: Vec<cca::Firmware>,
    known_paths: Arc<KnownPaths>,
    known_platforms: Arc<KnownPlatforms>,
    known_tpms: Arc<KnownTpms>,
    known_chains: Arc<KnownChains>,
    known_lists: Arc<KnownLists>,
}

impl Roots {
    /// The vendors' roots that are pinned in this crate: AMD's for Milan, Genoa and Turin, that of AWS Nitro Enclaves, that
    /// of Intel SGX and TDX, and that of NVIDIA's devices. TPM makers' roots are the domain's to configure
    /// ([`Roots::with_tpm_makers`]), as are the keys of Arm CCA platforms ([`Roots::with_cca_anchors`]).
    pub fn vendor() -> Self {
        VENDOR.clone()
    }

    /// These roots and no others, for evidence of every TEE (a test PKI, or one verification for which a person names the
    /// vendor's root). Never for what a node trusts: any certificate beneath a maker of TPMs would make Nitro documents.
    ///
    /// # Errors
    /// [`Cause::FormatMalformed`] where a file is not one that [`Roots::with`] takes, or there is none at all.
    pub fn only<I>(files: I) -> Result<Self, Cause>
    where
        I: IntoIterator<Item: AsRef<[u8]>>,
    {
        let roots = Self::none().with(files)?;
        if roots.anchors.is_empty() && roots.cca_anchors.is_empty() { Err(Cause::FormatMalformed) } else { Ok(roots) }
    }

    /// No root at all: nothing is authentic.
    pub(crate) fn none() -> Self {
        Self {
            anchors: Vec::new(),
            of_vendors: Vec::new(),
            tpm_anchors: Arc::default(),
            intermediates: Vec::new(),
            cca_anchors: Vec::new(),
            cca_firmware: Vec::new(),
            known_paths: Arc::default(),
            known_platforms: Arc::default(),
            known_tpms: Arc::default(),
            known_chains: Arc::default(),
            known_lists: Arc::default(),
        }
    }

    /// The same roots, with nothing known yet of the chains beneath them: what a node that starts has. Answers are the same.
    #[must_use]
    pub fn forgetting(&self) -> Self {
        Self {
            known_paths: Arc::default(),
            known_platforms: Arc::default(),
            known_tpms: Arc::default(),
            known_chains: Arc::default(),
            known_lists: Arc::default(),
            ..self.clone()
        }
    }

    /// These roots beside the ones there are, for evidence of every TEE, as [`Roots::only`].
    ///
    /// # Errors
    /// [`Cause::FormatMalformed`] where a file is neither a certificate (DER or PEM) nor what [`Roots::with_cca_anchors`] or
    /// [`Roots::with_cca_firmware`] takes.
    pub fn with<I>(mut self, files: I) -> Result<Self, Cause>
    where
        I: IntoIterator<Item: AsRef<[u8]>>,
    {
        for file in files {
            let file = file.as_ref();
            self = match Endorsement::read(file) {
                Endorsement::Certificates(certificates) => {
                    self.anchors.extend(certificates);
                    self.with_tpm_makers([file])?
                }
                _ if cca::Anchor::read_all(file).is_some() => self.with_cca_anchors([file])?,
                _ => self.with_cca_firmware([file])?,
            };
        }
        Ok(self)
    }

    /// Certificates of makers of TPMs beside the roots there are, for evidence of TPMs and of nothing else: they sign keys that
    /// sign whatever they are given, which another TEE's evidence could be.
    ///
    /// # Errors
    /// [`Cause::FormatMalformed`] where a file holds no certificates (DER or PEM).
    pub fn with_tpm_makers<I>(mut self, files: I) -> Result<Self, Cause>
    where
        I: IntoIterator<Item: AsRef<[u8]>>,
    {
        for file in files {
            let Endorsement::Certificates(certificates) = Endorsement::read(file.as_ref()) else {
                return Err(Cause::FormatMalformed);
            };
            Arc::make_mut(&mut self.tpm_anchors).extend(certificates);
        }
        Ok(self)
    }

    /// The keys of Arm CCA platforms beside the roots there are: JSON arrays of `implementation-id`, `instance-id` and `pkey`, a JWK.
    ///
    /// # Errors
    /// [`Cause::FormatMalformed`] where a file is something else.
    pub fn with_cca_anchors<I>(mut self, files: I) -> Result<Self, Cause>
    where
        I: IntoIterator<Item: AsRef<[u8]>>,
    {
        for file in files {
            self.cca_anchors.extend(cca::Anchor::read_all(file.as_ref()).ok_or(Cause::FormatMalformed)?);
        }
        Ok(self)
    }

    /// Accepted firmware of Arm CCA platforms beside what there is: JSON objects whose `platform` is an array of
    /// `implementation-id`, `platform-configuration` (may be absent) and `sw-components`, each with `component-type` (may be
    /// absent), `measurement-value` and `signer-id`. A platform of such an implementation is up to date where it runs exactly one
    /// of them, else out of date; of other platforms' firmware each release must say what it takes.
    ///
    /// # Errors
    /// [`Cause::FormatMalformed`] where a file is something else.
    pub fn with_cca_firmware<I>(mut self, files: I) -> Result<Self, Cause>
    where
        I: IntoIterator<Item: AsRef<[u8]>>,
    {
        for file in files {
            self.cca_firmware.extend(cca::Firmware::read_all(file.as_ref()).ok_or(Cause::FormatMalformed)?);
        }
        Ok(self)
    }

    /// The anchors for certificates of TPMs. What is remembered of a path holds on to those that it was found under.
    pub(crate) fn tpm_anchors(&self) -> &Arc<Vec<Certificate>> {
        &self.tpm_anchors
    }

    /// The anchors for evidence of `vendor`: its pinned ones, and those that a caller brought for every TEE.
    pub(crate) fn anchors_of(&self, vendor: Vendor) -> impl Iterator<Item = &Certificate> {
        let pinned = self.of_vendors.iter().filter(move |(of, _)| *of == vendor).map(|(_, anchor)| anchor);
        self.anchors.iter().chain(pinned)
    }

    /// The anchors for evidence of SEV-SNP: the pinned ones, and those that a caller brought for every TEE.
    pub fn amd_anchors(&self) -> impl Iterator<Item = &Certificate> {
        self.anchors_of(Vendor::Amd)
    }

    /// The anchors for evidence of NVIDIA's GPUs, likewise.
    pub fn gpu_anchors(&self) -> impl Iterator<Item = &Certificate> {
        self.anchors_of(Vendor::Nvidia)
    }

    /// The firmware of Arm CCA platforms that is accepted.
    pub(crate) fn cca_firmware(&self) -> &[cca::Firmware] {
        &self.cca_firmware
    }

    /// The keys of Arm CCA platforms.
    pub(crate) fn cca_anchors(&self) -> &[cca::Anchor] {
        &self.cca_anchors
    }

    /// The paths whose signatures were verified under any of these roots.
    pub(crate) fn known_paths(&self) -> &KnownPaths {
        &self.known_paths
    }

    /// The SEV-SNP platforms whose certificates were verified under any of these roots.
    pub(crate) fn known_platforms(&self) -> &KnownPlatforms {
        &self.known_platforms
    }

    /// The TPMs whose certificates were verified under any of these roots.
    pub(crate) fn known_tpms(&self) -> &KnownTpms {
        &self.known_tpms
    }

    /// The chains of GPUs that were read.
    pub(crate) fn known_chains(&self) -> &KnownChains {
        &self.known_chains
    }

    /// The revocation lists whose signatures were verified.
    pub(crate) fn known_lists(&self) -> &KnownLists {
        &self.known_lists
    }

    pub(crate) fn intermediates(&self) -> &[Certificate] {
        &self.intermediates
    }
}

impl Default for Roots {
    fn default() -> Self {
        Self::vendor()
    }
}

/// What a file beside the evidence is.
#[derive(Clone, Debug)]
pub enum Endorsement {
    /// One certificate in DER, or all those of a PEM file.
    Certificates(Vec<Certificate>),
    /// A revocation list, DER or PEM.
    Crl(Box<Crl>),
    /// Several lists, or certificates and lists.
    Several(Vec<Certificate>, Vec<Crl>),
    /// Something else: evidence, or of another format.
    Other,
}

impl Endorsement {
    /// Looks at the bytes, never at a name. DER may be followed by more of it, and by the padding (00 or ff) that TPMs write
    /// behind a certificate.
    pub fn read(bytes: &[u8]) -> Self {
        let (mut certificates, mut crls) = (Vec::new(), Vec::new());
        let read = match pem_blocks(bytes) {
            Some(blocks) => blocks.iter().all(|(label, der)| match label.as_str() {
                "CERTIFICATE" => Certificate::from_der(der).map(|one| certificates.push(one)).is_some(),
                PEM_CRL => Crl::from_der(der).map(|one| crls.push(one)).is_some(),
                _ => false,
            }),
            None => der_values(bytes).is_some_and(|values| {
                values.into_iter().all(|der| match Certificate::from_der(der) {
                    Some(one) => {
                        certificates.push(one);
                        true
                    }
                    None => Crl::from_der(der).map(|one| crls.push(one)).is_some(),
                })
            }),
        };
        match (certificates.is_empty(), crls.len()) {
            _ if !read => Self::Other,
            (true, 0) => Self::Other,
            (false, 0) => Self::Certificates(certificates),
            (true, 1) => crls.pop().map_or(Self::Other, |crl| Self::Crl(Box::new(crl))),
            _ => Self::Several(certificates, crls),
        }
    }
}

/// The values in DER that stand one behind the other, each a SEQUENCE; padding may follow the last.
fn der_values(bytes: &[u8]) -> Option<Vec<&[u8]>> {
    let (mut rest, mut values) = (bytes, Vec::new());
    let is_padding = |rest: &[u8]| [0, 0xff].iter().any(|padding| rest.iter().all(|byte| byte == padding));
    while values.is_empty() || !is_padding(rest) {
        let (head, body) = match *rest {
            [DER_SEQUENCE, length @ 0..=0x7f, ..] => (2, usize::from(length)),
            [DER_SEQUENCE, 0x81, length, ..] => (3, usize::from(length)),
            [DER_SEQUENCE, 0x82, high, low, ..] => (4, usize::from(u16::from_be_bytes([high, low]))),
            [DER_SEQUENCE, 0x83, high, middle, low, ..] => {
                (5, usize::try_from(u32::from_be_bytes([0, high, middle, low])).ok()?)
            }
            _ => return None,
        };
        let (value, after) = rest.split_at_checked(head + body)?;
        values.push(value);
        rest = after;
        if values.len() > MOST {
            return None;
        }
    }
    Some(values)
}

/// The blocks of a PEM file (RFC 7468), or `None` where the bytes are not PEM.
fn pem_blocks(bytes: &[u8]) -> Option<Vec<(String, Vec<u8>)>> {
    let text = std::str::from_utf8(bytes).ok()?;
    let mut rest = text.split_once(PEM_HEAD)?.1;
    let mut blocks = Vec::new();
    loop {
        let (label, after) = rest.split_once("-----")?;
        let (body, after) = after.split_once(&format!("-----END {label}-----"))?;
        let body: String = body.chars().filter(|character| !character.is_ascii_whitespace()).collect();
        blocks.push((label.to_owned(), base64::engine::general_purpose::STANDARD.decode(body).ok()?));
        match after.split_once(PEM_HEAD) {
            Some((_, next)) => rest = next,
            None => return Some(blocks),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fingerprint(certificate: &Certificate) -> String {
        hex::encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, certificate.der()))
    }

    #[test]
    fn the_pinned_roots_are_the_ones_whose_fingerprints_are_known() {
        let roots = Roots::vendor();
        let found: Vec<_> = roots.amd_anchors().chain(roots.intermediates()).map(fingerprint).collect();
        assert_eq!(
            found,
            [
                "69d063b45344d26a2e94e1f4210de49ef555308287d4c174445c95639a540bcd",
                "4c6598d19c18719c5dfd4a7d335f674e5bfe1d8f800cea2cf270c10d103db2f1",
                "1f084161a44bb6d93778a904877d4819cafa5d05ef4193b2ded9dd9c73dd3f6a",
                "67d303bd3905fd38db8b20e0793699870e7fa612eaad5dec358293fd8c0bac1b",
                "5464738c1546aed5f2cecf1dc98c5c960a92e8913238a61711bc90ec6e828521",
                "5b77ef5fe7a7a004fd9032668fba9d0fda22f88c4442069a479636a6ae3b3185",
            ]
        );
    }

    #[test]
    fn the_root_of_intel_is_the_one_whose_fingerprint_is_known_and_signs_itself() {
        let roots = Roots::vendor();
        let intel: Vec<_> = roots.of_vendors.iter().filter(|(vendor, _)| *vendor == Vendor::Intel).collect();
        let [(_, root)] = intel.as_slice() else { panic!("{} roots", intel.len()) };
        assert_eq!(fingerprint(root), "44a0196b2b99f889b8e149e95b807a350e7424964399e885a7cbb8ccfab674d3");
        assert!(root.is_ecdsa_signed_by(root));
    }

    #[test]
    fn the_root_of_nvidia_is_the_one_whose_fingerprint_is_known_and_signs_itself() {
        let roots = Roots::vendor();
        let nvidia: Vec<_> = roots.of_vendors.iter().filter(|(vendor, _)| *vendor == Vendor::Nvidia).collect();
        let [(_, root)] = nvidia.as_slice() else { panic!("{} roots", nvidia.len()) };
        assert_eq!(fingerprint(root), "102bf659d5419614c9d8e6aecebc80454eb26b1df6a769ac720b9a690b167b48");
        assert!(root.is_ecdsa_signed_by(root));
    }

    #[test]
    fn the_root_of_nitro_is_the_one_whose_fingerprint_is_known_and_signs_itself() {
        let roots = Roots::vendor();
        let aws: Vec<_> = roots.of_vendors.iter().filter(|(vendor, _)| *vendor == Vendor::Aws).collect();
        let [(_, root)] = aws.as_slice() else { panic!("{} roots", aws.len()) };
        assert_eq!(fingerprint(root), "641a0321a3e244efe456463195d606317ed7cdcc3c1756e09893f3c68f79bb5b");
        assert!(root.is_ecdsa_signed_by(root));
    }

    #[test]
    fn every_pinned_root_and_intermediate_is_signed_by_its_root() {
        let roots = Roots::vendor();
        for certificate in roots.amd_anchors().chain(roots.intermediates()) {
            let root = roots.amd_anchors().find(|root| certificate.is_issued_by_name_of(root)).unwrap();
            assert!(certificate.is_pss_signed_by(root), "{}", certificate.subject());
        }
    }

    #[test]
    fn what_is_not_a_certificate_becomes_no_root() {
        assert!(Roots::only([b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]).is_err());
        assert!(Roots::only(Vec::<Vec<u8>>::new()).is_err());
    }
}
