//! Intel's word on platforms: TCB info, the quoting enclave's identity and the revocation lists, all signed.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use burgrave_types::{Tee, Timestamp};
use serde::Deserialize;
use x509_cert::ext::pkix::KeyUsages;

use super::chain::{self, Window};
use super::pck::{Pck, PckCa};
use super::piece::{CollateralPiece, NineMembers, Statement};
use super::tcb::{EnclaveIdentity, TcbInfo};
use crate::check::{Checks, Stop};
use crate::trust::Vendor;
use crate::x509::{Certificate, Crl};
use crate::{Cause, Check, Roots};

/// More bytes than Intel's service ever sends for one platform.
pub(super) const MOST: usize = 1024 * 1024;
const PCS: &str = "Intel PCS API v4";
const CRL: &str = "Intel PCK Certificate Profile, section 2; RFC 5280, section 6.3";
pub(super) const SIGNER: &str = "Intel SGX TCB Signing";

/// Which platforms collateral is for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct CollateralId {
    /// TDX or SGX.
    pub tee: Tee,
    /// The family, model, stepping, platform and custom SKU of the processor.
    pub fmspc: [u8; 6],
    /// The authority whose revocation list is in it.
    pub ca: PckCa,
}

/// Why bytes are not collateral.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the collateral is not what Intel's service answers: `{member}` is missing or not {expected}; fetch it again")]
pub struct CollateralError {
    member: &'static str,
    expected: &'static str,
}

pub(super) const fn error(member: &'static str, expected: &'static str) -> CollateralError {
    CollateralError { member, expected }
}

/// What Intel signs as a string.
#[derive(Clone, Debug)]
struct Signed<T> {
    text: String,
    signature: [u8; 64],
    signer: Certificate,
    content: T,
}

/// Collateral for one kind of platform, parsed once and not yet believed.
#[derive(Clone, Debug)]
pub struct Collateral {
    id: CollateralId,
    tcb_info: Signed<TcbInfo>,
    qe_identity: Signed<EnclaveIdentity>,
    pck_ca: Certificate,
    pck_crl: Crl,
    root_crl: Crl,
}

impl Collateral {
    /// Reads the nine members that Intel's service (or a PCCS) answers with, in one JSON object ([`NineMembers`]).
    ///
    /// # Errors
    /// [`CollateralError`], which names the member that cannot be read.
    pub fn parse(json: &[u8]) -> Result<Self, CollateralError> {
        if json.len() > MOST {
            return Err(error("collateral.json", "at most 1 MiB"));
        }
        let members = NineMembers::of(json).ok_or(error("collateral.json", "a JSON object of the nine members"))?;
        let whole = members.read()?;
        let authority = whole.authority.into_iter().next();
        let authority = authority.ok_or(error("pck_crl_issuer_chain", "a chain of certificates in PEM"))?;
        let signer = |statement: &Statement, member| {
            let chain = statement.chain.as_deref().and_then(CollateralPiece::read_chain);
            chain.and_then(|chain| chain.into_iter().next()).ok_or(error(member, "a chain of certificates in PEM"))
        };
        let info_signer = signer(&whole.tcb_info, "tcb_info_issuer_chain")?;
        let identity_signer = signer(&whole.qe_identity, "qe_identity_issuer_chain")?;
        Self::of_pieces(
            (&whole.tcb_info, info_signer),
            (&whole.qe_identity, identity_signer),
            authority,
            [whole.root_crl, whole.pck_crl],
        )
    }

    /// Puts pieces together: each statement with its signer, the PCK authority, the root's list and the authority's.
    pub(super) fn of_pieces(
        tcb_info: (&Statement, Certificate),
        qe_identity: (&Statement, Certificate),
        pck_ca: Certificate,
        [root_crl, pck_crl]: [Crl; 2],
    ) -> Result<Self, CollateralError> {
        let tcb_info = Signed::<TcbInfo>::read(tcb_info, ("tcb_info", "tcb_info_signature"))?;
        let qe_identity = Signed::<EnclaveIdentity>::read(qe_identity, ("qe_identity", "qe_identity_signature"))?;
        let tee = match tcb_info.content.id.as_str() {
            "TDX" => Tee::Tdx,
            "SGX" => Tee::Sgx,
            _ => return Err(error("tcb_info", "for TDX or SGX")),
        };
        if (tcb_info.content.version, tcb_info.content.tcb_type) != (3, 0) {
            return Err(error("tcb_info", "of version 3 and type 0"));
        }
        if qe_identity.content.version != 2 {
            return Err(error("qe_identity", "of version 2"));
        }
        let ca = PckCa::of_name(pck_ca.common_name().as_deref())
            .ok_or(error("pck_crl_issuer_chain", "of a PCK Processor CA or PCK Platform CA"))?;
        let id = CollateralId { tee, fmspc: tcb_info.content.fmspc.0, ca };
        Ok(Self { id, tcb_info, qe_identity, pck_ca, pck_crl, root_crl })
    }

    /// Which platforms it is for.
    pub fn id(&self) -> CollateralId {
        self.id
    }

    pub(super) fn tcb_info(&self) -> &TcbInfo {
        &self.tcb_info.content
    }

    pub(super) fn qe_identity(&self) -> &EnclaveIdentity {
        &self.qe_identity.content
    }

    /// The lower of the two numbers of TCB evaluation.
    pub(super) fn evaluation_number(&self) -> u32 {
        self.tcb_info().tcb_evaluation_data_number.min(self.qe_identity().tcb_evaluation_data_number)
    }

    /// Verifies signers, signatures and revocation lists up to a pinned root. Whether it is valid at a given time is asked
    /// when it is used ([`VerifiedCollateral::valid`]).
    ///
    /// # Errors
    /// The checks that were made, the last of which failed.
    pub fn verify(self, roots: &Roots) -> Result<VerifiedCollateral, Vec<Check>> {
        let mut checks = Checks::default();
        match self.windows(roots, &mut checks) {
            Ok((windows, root)) => Ok(VerifiedCollateral {
                crl_ids: [&self.root_crl, &self.pck_crl].map(|crl| sha256(crl.der())),
                collateral: self,
                checks: checks.into_shared(),
                windows,
                root,
            }),
            Err(Stop) => Err(checks.into_vec()),
        }
    }

    fn windows(&self, roots: &Roots, checks: &mut Checks) -> Result<(Vec<Window>, Certificate), Stop> {
        let root = chain::issued_by_root(&self.pck_ca, roots, checks)?;
        chain::is_issuing_authority(&self.pck_ca, &root, checks)?;
        is_signed_list(&self.root_crl, &root, checks)?;
        is_signed_list(&self.pck_crl, &self.pck_ca, checks)?;
        is_signer(&self.tcb_info.signer, roots, &self.root_crl, checks)?;
        self.tcb_info.verify("dcap.tcb_info.signature", checks)?;
        // Intel signs both with one key.
        if self.qe_identity.signer.der() != self.tcb_info.signer.der() {
            is_signer(&self.qe_identity.signer, roots, &self.root_crl, checks)?;
        }
        self.qe_identity.verify("dcap.qe_identity.signature", checks)?;
        is_not_revoked(&self.pck_ca, &self.root_crl, checks)?;
        let (tcb_info, identity) = (&self.tcb_info.content, &self.qe_identity.content);
        let certificates = [&root, &self.pck_ca, &self.tcb_info.signer, &self.qe_identity.signer];
        let mut windows: Vec<_> = certificates.map(Window::of_certificate).into();
        windows.extend([&self.root_crl, &self.pck_crl].map(Window::of_crl));
        windows.push(Window::of_collateral("the TCB info", tcb_info.issue_date, tcb_info.next_update));
        windows.push(Window::of_collateral("the QE identity", identity.issue_date, identity.next_update));
        Ok((windows, root))
    }
}

impl<T: for<'de> Deserialize<'de>> Signed<T> {
    fn read(
        (statement, signer): (&Statement, Certificate),
        (member, signature_member): (&'static str, &'static str),
    ) -> Result<Self, CollateralError> {
        let text = statement.text.clone();
        let content = serde_json::from_str(&text).map_err(|_| error(member, "the JSON that Intel's API describes"))?;
        let signature = statement.signature().ok_or(error(signature_member, "64 bytes in hexadecimal"))?;
        Ok(Self { text, signature, signer, content })
    }
}

impl<T> Signed<T> {
    fn verify(&self, name: &'static str, checks: &mut Checks) -> Result<(), Stop> {
        checks.need_that(
            (name, Cause::CollateralSignature, PCS),
            is_signed(self.text.as_bytes(), &self.signature, &self.signer),
            "a signature by the signer over the string as it came",
            "a signature that does not verify",
        )
    }
}

/// Collateral that a pinned root vouches for. Holds the outcome of its checks, so that verifying with it costs none of
/// them again.
#[derive(Clone, Debug)]
pub struct VerifiedCollateral {
    collateral: Collateral,
    pub(super) checks: Vec<Check>,
    pub(super) windows: Vec<Window>,
    root: Certificate,
    pub(super) crl_ids: [[u8; 32]; 2],
}

impl VerifiedCollateral {
    /// Which platforms it is for.
    pub fn id(&self) -> CollateralId {
        self.collateral.id
    }

    /// From when until when all of it holds: certificates, revocation lists, TCB info and identity. The first may lie behind
    /// the last.
    pub fn valid(&self) -> (Timestamp, Timestamp) {
        let from = self.windows.iter().map(Window::start).max().unwrap_or_default();
        let to = self.windows.iter().map(Window::end).min().unwrap_or_default();
        (from, to)
    }

    /// The numbers that never go back: of the TCB info's and the identity's evaluation, and of the two revocation lists.
    pub fn numbers(&self) -> CollateralNumbers {
        CollateralNumbers {
            tcb_evaluation: self.collateral.tcb_info().tcb_evaluation_data_number,
            qe_evaluation: self.collateral.qe_identity().tcb_evaluation_data_number,
            root_crl: self.collateral.root_crl.number(),
            pck_crl: self.collateral.pck_crl.number(),
        }
    }

    pub(super) fn get(&self) -> &Collateral {
        &self.collateral
    }

    /// The root that signed a PCK authority, where that is the one whose list is in the collateral.
    pub(super) fn root_of(&self, authority: &Certificate) -> Option<&Certificate> {
        (authority.der() == self.collateral.pck_ca.der()).then_some(&self.root)
    }

    pub(super) fn is_under(&self, roots: &Roots) -> bool {
        roots.anchors_of(Vendor::Intel).any(|root| root.der() == self.root.der())
    }

    pub(super) fn holds_at(&self, at: Timestamp) -> bool {
        self.windows.iter().all(|window| window.holds_at(at))
    }

    /// Whether it is for the platform of a PCK certificate.
    pub(super) fn fits(&self, tee: Tee, pck: &Pck, checks: &mut Checks) -> Result<(), Stop> {
        let Collateral { id, qe_identity, tcb_info, pck_ca, .. } = &self.collateral;
        let rule = ("dcap.collateral.platform", Cause::CollateralMismatch, PCS);
        let identity = if tee == Tee::Tdx { "TD_QE" } else { "QE" };
        let (fmspc, pce_id) = (pck.platform.fmspc, pck.platform.pce_id);
        let (theirs, their_pce) = (id.fmspc, tcb_info.content.pce_id.0);
        let stop = if id.tee != tee || qe_identity.content.id != identity {
            let found = format!("{} and `{}`", id.tee, qe_identity.content.id);
            (format!("TCB info for {tee} and the identity of `{identity}`"), found)
        } else if theirs != fmspc || their_pce != pce_id {
            let text =
                |fmspc: [u8; 6], pce: [u8; 2]| format!("FMSPC {}, PCEID {}", hex::encode(fmspc), hex::encode(pce));
            (text(fmspc, pce_id), text(theirs, their_pce))
        } else if pck.authority().key() != pck_ca.key() || !pck.leaf().is_issued_by_name_of(pck_ca) {
            let expected = format!("the revocation list of the PCK {} CA that issued the certificate", pck.ca);
            (expected, format!("that of the PCK {} CA", id.ca))
        } else {
            return checks.need_that(rule, true, "collateral for this kind of platform", "");
        };
        Err(checks.stop(rule, stop.0, stop.1))
    }

    /// Whether neither the PCK certificate nor its authority is revoked.
    pub(super) fn has_not_revoked(&self, pck: &Pck, checks: &mut Checks) -> Result<(), Stop> {
        is_not_revoked(pck.authority(), &self.collateral.root_crl, checks)?;
        is_not_revoked(pck.leaf(), &self.collateral.pck_crl, checks)
    }
}

/// Numbers of collateral that only grow. Revocation lists number themselves in big endian, without leading zeros.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CollateralNumbers {
    /// `tcbEvaluationDataNumber` of the TCB info.
    pub tcb_evaluation: u32,
    /// `tcbEvaluationDataNumber` of the quoting enclave's identity.
    pub qe_evaluation: u32,
    /// The number of the root's list.
    pub root_crl: Vec<u8>,
    /// The number of the PCK authority's list.
    pub pck_crl: Vec<u8>,
}

impl CollateralNumbers {
    /// Whether none of these is below `floor`'s.
    pub fn are_at_least(&self, floor: &Self) -> bool {
        let number = |bytes: &[u8]| (bytes.len(), bytes.to_vec());
        self.tcb_evaluation >= floor.tcb_evaluation
            && self.qe_evaluation >= floor.qe_evaluation
            && number(&self.root_crl) >= number(&floor.root_crl)
            && number(&self.pck_crl) >= number(&floor.pck_crl)
    }
}

/// Whether a certificate is one of Intel's for TCB info and identities: issued by the root itself, for signatures alone.
fn is_signer(signer: &Certificate, roots: &Roots, root_crl: &Crl, checks: &mut Checks) -> Result<(), Stop> {
    chain::issued_by_root(signer, roots, checks)?;
    checks.need(
        ("dcap.collateral.signer", Cause::CertificateKind, PCS),
        signer.common_name().as_deref() == Some(SIGNER)
            && signer.allows(KeyUsages::DigitalSignature)
            && !signer.claims_authority()
            && !signer.has_unknown_critical_extension(),
        format_args!("`{SIGNER}`, for digital signatures and no authority"),
        signer.subject(),
    )?;
    is_not_revoked(signer, root_crl, checks)
}

fn is_signed_list(crl: &Crl, issuer: &Certificate, checks: &mut Checks) -> Result<(), Stop> {
    checks.need(
        ("dcap.crl.signature", Cause::CrlSignature, CRL),
        crl.is_issued_by_name_of(issuer) && crl.is_ecdsa_signed_by(issuer) && crl.is_whole(),
        format_args!("a whole list of `{}`, signed by it", issuer.subject()),
        format_args!("one of `{}`", crl.issuer()),
    )
}

fn is_not_revoked(certificate: &Certificate, crl: &Crl, checks: &mut Checks) -> Result<(), Stop> {
    checks.need_that(
        ("dcap.crl.revoked", Cause::CertificateRevoked, CRL),
        !crl.revokes(certificate),
        format_args!("`{}` not on its issuer's list", certificate.subject()),
        "revoked",
    )
}

/// Whether a signer signed this text.
pub(super) fn is_signed(text: &[u8], signature: &[u8; 64], signer: &Certificate) -> bool {
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, signer.key()).verify(text, signature).is_ok()
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest(&SHA256, bytes).as_ref());
    out
}
