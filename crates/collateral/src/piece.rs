//! Bytes to pieces of collateral, by what they are and never by a name. Nothing here is believed yet.

use std::sync::Arc;

use burgrave_types::{Tee, Timestamp};
use burgrave_verifier::{Certificate, Endorsement};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::floors::{Mark, Number};
use crate::{MOST, Subject};

/// Certificates of one file that are looked at.
const CERTIFICATES: usize = 16;

/// A piece, read and not yet verified.
#[derive(Clone, Debug)]
pub(crate) enum Piece {
    /// TCB info or an identity.
    Signed(Arc<Signed>),
    /// A revocation list.
    Crl(Arc<CrlPiece>),
    /// Certificates in the order in which they stood.
    Chain(Vec<Certificate>),
}

/// TCB info or the identity of a quoting enclave, with its signature.
#[derive(Debug)]
pub(crate) struct Signed {
    pub(crate) subject: Subject,
    pub(crate) mark: Mark,
    pub(crate) ends: Timestamp,
    /// The text that was signed, as it came.
    pub(crate) text: String,
    /// In hexadecimal.
    pub(crate) signature: String,
    /// The signer's chain in PEM, where it came along.
    pub(crate) chain: Option<String>,
}

/// A revocation list.
#[derive(Debug)]
pub(crate) struct CrlPiece {
    pub(crate) issuer: String,
    pub(crate) mark: Mark,
    pub(crate) ends: Timestamp,
    /// As the verifier takes it.
    pub(crate) parsed: burgrave_verifier::Crl,
}

impl CrlPiece {
    pub(crate) fn subject(&self) -> Subject {
        Subject::Crl { issuer: self.issuer.clone() }
    }

    /// A list that names no next one has ended when it was made.
    pub(crate) fn of(parsed: burgrave_verifier::Crl) -> Self {
        let (issued, next) = parsed.validity();
        let mark = Mark { number: Number::from_be_bytes(&parsed.number()), issued };
        Self { issuer: parsed.issuer(), mark, ends: next.unwrap_or(issued), parsed }
    }
}

/// The nine members of Intel's answers in one object, as `burgrave-verifier` reads them.
#[derive(Serialize, Deserialize)]
pub(crate) struct NineMembers {
    pub(crate) pck_crl_issuer_chain: String,
    pub(crate) root_ca_crl: String,
    pub(crate) pck_crl: String,
    pub(crate) tcb_info_issuer_chain: String,
    pub(crate) tcb_info: String,
    pub(crate) tcb_info_signature: String,
    pub(crate) qe_identity_issuer_chain: String,
    pub(crate) qe_identity: String,
    pub(crate) qe_identity_signature: String,
}

/// An answer of Intel's service as it stands in a file: `tcbInfo` or `enclaveIdentity`, and the signature over exactly
/// that text (Intel PCS API v4).
#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(rename = "tcbInfo", borrow)]
    tcb_info: Option<&'a RawValue>,
    #[serde(rename = "enclaveIdentity", borrow)]
    enclave_identity: Option<&'a RawValue>,
    signature: String,
}

/// What the store has to know of TCB info or an identity.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Content {
    id: String,
    issue_date: Timestamp,
    next_update: Timestamp,
    tcb_evaluation_data_number: u32,
    fmspc: Option<String>,
}

/// Reads bytes as whatever they are; `None` where they are no collateral, or more than is taken.
pub(crate) fn read(bytes: &[u8]) -> Option<Vec<Piece>> {
    if bytes.len() > MOST {
        return None;
    }
    match Endorsement::read(bytes) {
        Endorsement::Certificates(certificates) if certificates.len() <= CERTIFICATES => {
            return Some(vec![Piece::Chain(certificates)]);
        }
        Endorsement::Certificates(_) => return None,
        Endorsement::Crl(list) => return Some(vec![crl(*list)]),
        Endorsement::Several(certificates, lists) if certificates.len() + lists.len() <= CERTIFICATES => {
            let chain = (!certificates.is_empty()).then_some(Piece::Chain(certificates));
            return Some(chain.into_iter().chain(lists.into_iter().map(crl)).collect());
        }
        Endorsement::Several(..) => return None,
        Endorsement::Other => {}
    }
    let text = std::str::from_utf8(bytes).ok()?.trim();
    // A caching service answers with lists in hexadecimal.
    if let Ok(der) = hex::decode(text) {
        return read_crl(&der).map(|piece| vec![piece]);
    }
    if let Ok(members) = serde_json::from_str::<NineMembers>(text) {
        return nine_members(members);
    }
    let answer: Answer<'_> = serde_json::from_str(text).ok()?;
    let signed = match (answer.tcb_info, answer.enclave_identity) {
        (Some(info), None) => tcb_info(info.get().to_owned(), answer.signature, None),
        (None, Some(identity)) => qe_identity(identity.get().to_owned(), answer.signature, None),
        _ => None,
    };
    signed.map(|signed| vec![Piece::Signed(Arc::new(signed))])
}

/// What an answer of Intel's service holds, `tcbInfo` or `enclaveIdentity`: the signed text and its signature.
pub(crate) fn signed_text(body: &[u8]) -> Option<(String, String)> {
    let answer: Answer<'_> = serde_json::from_slice(body).ok()?;
    let text = answer.tcb_info.or(answer.enclave_identity)?;
    Some((text.get().to_owned(), answer.signature))
}

/// A list in whatever form a service sends it: DER, PEM, or DER in hexadecimal.
pub(crate) fn read_crl(bytes: &[u8]) -> Option<Piece> {
    if let Endorsement::Crl(list) = Endorsement::read(bytes) {
        return Some(crl(*list));
    }
    let der = hex::decode(std::str::from_utf8(bytes).ok()?.trim()).ok()?;
    match Endorsement::read(&der) {
        Endorsement::Crl(list) => Some(crl(*list)),
        _ => None,
    }
}

fn crl(list: burgrave_verifier::Crl) -> Piece {
    Piece::Crl(Arc::new(CrlPiece::of(list)))
}

fn nine_members(members: NineMembers) -> Option<Vec<Piece>> {
    let Endorsement::Certificates(authority) = Endorsement::read(members.pck_crl_issuer_chain.as_bytes()) else {
        return None;
    };
    let info = tcb_info(members.tcb_info, members.tcb_info_signature, Some(members.tcb_info_issuer_chain))?;
    let identity =
        qe_identity(members.qe_identity, members.qe_identity_signature, Some(members.qe_identity_issuer_chain))?;
    Some(vec![
        read_crl(members.root_ca_crl.as_bytes())?,
        Piece::Chain(authority),
        read_crl(members.pck_crl.as_bytes())?,
        Piece::Signed(Arc::new(identity)),
        Piece::Signed(Arc::new(info)),
    ])
}

fn tcb_info(text: String, signature: String, chain: Option<String>) -> Option<Signed> {
    let content: Content = serde_json::from_str(&text).ok()?;
    let mut fmspc = [0; 6];
    hex::decode_to_slice(content.fmspc.as_deref()?, &mut fmspc).ok()?;
    let tee = match content.id.as_str() {
        "TDX" => Tee::Tdx,
        "SGX" => Tee::Sgx,
        _ => return None,
    };
    Some(content.signed(Subject::TcbInfo { tee, fmspc }, text, signature, chain))
}

fn qe_identity(text: String, signature: String, chain: Option<String>) -> Option<Signed> {
    let content: Content = serde_json::from_str(&text).ok()?;
    let tee = match content.id.as_str() {
        "TD_QE" => Tee::Tdx,
        "QE" => Tee::Sgx,
        _ => return None,
    };
    Some(content.signed(Subject::QeIdentity { tee }, text, signature, chain))
}

impl Content {
    fn signed(&self, subject: Subject, text: String, signature: String, chain: Option<String>) -> Signed {
        let mark = Mark { number: Number::from(self.tcb_evaluation_data_number), issued: self.issue_date };
        Signed { subject, mark, ends: self.next_update, text, signature, chain }
    }
}
