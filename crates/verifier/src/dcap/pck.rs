//! The PCK certificate: which platform, at which TCB, and who vouches for it (*Intel SGX PCK Certificate and Certificate
//! Revocation List Profile Specification*, section 1.3).

use std::fmt;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ParsedPublicKey};
use const_oid::ObjectIdentifier;
use der::asn1::{AnyRef, OctetStringRef};
use der::{Decode, Sequence};

use super::chain::{self, Window};
use super::collateral::VerifiedCollateral;
use super::tcb::PlatformSvn;
use crate::Cause;
use crate::check::{Checks, Stop};
use crate::x509::{Certificate, EC_PUBLIC_KEY, SECP256R1};
use crate::{Endorsement, Roots};

const PROFILE: &str = "Intel PCK Certificate Profile, section 1.3";
/// The extension that holds all of the platform's.
const SGX: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113741.1.13.1");
/// The last arc of the members of the extension, and of its TCB.
const PPID: u32 = 1;
const TCB: u32 = 2;
const PCE_ID: u32 = 3;
const FMSPC: u32 = 4;
const PCE_SVN: u32 = 17;
const CPU_SVN: u32 = 18;

/// Which of Intel's two authorities issued a PCK certificate.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum PckCa {
    /// For processors that Intel registered itself: one package, no platform manifest.
    Processor,
    /// For platforms that registered themselves, as all servers with several packages do.
    Platform,
}

impl PckCa {
    /// The authority of that common name.
    pub(crate) fn of_name(name: Option<&str>) -> Option<Self> {
        match name? {
            "Intel SGX PCK Processor CA" => Some(Self::Processor),
            "Intel SGX PCK Platform CA" => Some(Self::Platform),
            _ => None,
        }
    }
}

impl fmt::Display for PckCa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Processor => "processor",
            Self::Platform => "platform",
        })
    }
}

/// A member of the extension, or of its TCB.
#[derive(Sequence)]
struct Member<'a> {
    id: ObjectIdentifier,
    value: AnyRef<'a>,
}

/// What the extension says of the platform.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Platform {
    pub(crate) ppid: [u8; 16],
    pub(crate) svn: PlatformSvn,
    pub(crate) cpu_svn: [u8; 16],
    pub(crate) pce_id: [u8; 2],
    pub(crate) fmspc: [u8; 6],
}

/// A PCK certificate whose extension has been read; whether anybody vouches for it is another question.
#[derive(Debug)]
pub(crate) struct Pck {
    pub(crate) platform: Platform,
    pub(crate) ca: PckCa,
    pub(crate) key: ParsedPublicKey,
    leaf: Certificate,
    authority: Certificate,
}

impl Pck {
    /// Reads the chain that a quote carries: the PCK certificate first, its authority behind it. What else stands there (the
    /// root) is not looked at.
    pub(crate) fn read(pem: &[u8], checks: &mut Checks) -> Result<Self, Stop> {
        let certificates = match Endorsement::read(pem) {
            Endorsement::Certificates(certificates) if (2..=4).contains(&certificates.len()) => certificates,
            _ => {
                let rule = ("dcap.pck.certificate", Cause::FormatMalformed, PROFILE);
                return Err(checks.stop(rule, "the PCK certificate and its authorities in PEM", "something else"));
            }
        };
        let mut certificates = certificates.into_iter();
        let (Some(leaf), Some(authority)) = (certificates.next(), certificates.next()) else {
            return Err(Stop);
        };
        let key = ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, leaf.key()).ok();
        let is_p256 = leaf.key_algorithm() == (EC_PUBLIC_KEY, Some(SECP256R1)) && !leaf.claims_authority();
        let ca = PckCa::of_name(authority.common_name().as_deref());
        let (Some(key), Some(ca), true) = (key, ca, is_p256) else {
            return Err(checks.stop(
                ("dcap.pck.kind", Cause::CertificateKind, PROFILE),
                "a P-256 certificate of a PCK Processor CA or PCK Platform CA, which is no authority itself",
                format_args!("`{}` of `{}`", leaf.subject(), leaf.issuer()),
            ));
        };
        let Some(platform) = leaf.extension(SGX).and_then(read_extension) else {
            return Err(checks.stop(
                ("dcap.pck.extension", Cause::CertificateExtension, PROFILE),
                "PPID, TCB, PCEID and FMSPC, each once",
                "not all of them",
            ));
        };
        Ok(Self { platform, ca, key, leaf, authority })
    }

    /// Verifies that the certificate chains to a pinned root; returns when it is valid and which root that is.
    pub(crate) fn verify(
        &self,
        roots: &Roots,
        collateral: &VerifiedCollateral,
        checks: &mut Checks,
    ) -> Result<(Vec<Window>, Certificate), Stop> {
        let root = match collateral.root_of(&self.authority) {
            Some(verified) => verified.clone(),
            None => {
                let root = chain::issued_by_root(&self.authority, roots, checks)?;
                chain::is_issuing_authority(&self.authority, &root, checks)?;
                root
            }
        };
        checks.need_that(
            ("dcap.pck.chain", Cause::ChainSignature, chain::RFC_5280),
            self.leaf.is_issued_by_name_of(&self.authority) && self.leaf.is_ecdsa_signed_by(&self.authority),
            format_args!("`{}`, signed by `{}`", self.leaf.subject(), self.authority.subject()),
            "another issuer, or a signature that does not verify",
        )?;
        checks.need_that(
            ("dcap.pck.constraints", Cause::ChainConstraint, chain::RFC_5280),
            !self.leaf.has_unknown_critical_extension(),
            "no critical extension that is not known",
            "an unknown one",
        )?;
        let windows = [&self.leaf, &self.authority, &root].map(Window::of_certificate);
        Ok((windows.into(), root))
    }

    pub(crate) fn leaf(&self) -> &Certificate {
        &self.leaf
    }

    pub(crate) fn authority(&self) -> &Certificate {
        &self.authority
    }
}

pub(super) fn read_extension(der: &[u8]) -> Option<Platform> {
    let members = Vec::<Member<'_>>::from_der(der).ok()?;
    let tcb = member(&members, SGX, TCB)?.decode_as::<Vec<Member<'_>>>().ok()?;
    let tcb_arc = SGX.push_arc(TCB).ok()?;
    let mut components = [0; 16];
    for (arc, component) in (1..).zip(&mut components) {
        *component = member(&tcb, tcb_arc, arc)?.decode_as::<u8>().ok()?;
    }
    let pce = member(&tcb, tcb_arc, PCE_SVN)?.decode_as::<u16>().ok()?;
    Some(Platform {
        ppid: octets(&members, SGX, PPID)?,
        svn: PlatformSvn { components, pce },
        cpu_svn: octets(&tcb, tcb_arc, CPU_SVN)?,
        pce_id: octets(&members, SGX, PCE_ID)?,
        fmspc: octets(&members, SGX, FMSPC)?,
    })
}

/// The value of a member that stands exactly once.
fn member<'a>(members: &[Member<'a>], base: ObjectIdentifier, arc: u32) -> Option<AnyRef<'a>> {
    let id = base.push_arc(arc).ok()?;
    let mut found = members.iter().filter(|member| member.id == id);
    match (found.next(), found.next()) {
        (Some(member), None) => Some(member.value),
        _ => None,
    }
}

fn octets<const N: usize>(members: &[Member<'_>], base: ObjectIdentifier, arc: u32) -> Option<[u8; N]> {
    let value = member(members, base, arc)?;
    value.decode_as::<&OctetStringRef>().ok()?.as_bytes().try_into().ok()
}
