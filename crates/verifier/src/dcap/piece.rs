//! Intel's collateral in the forms in which it is handed on: whole or in pieces, as text or not. Nothing here is believed yet.
//!
//! Bytes count by what they are, whatever they are called. The text that Intel signed is taken out exactly as it stands.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use burgrave_types::{Tee, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::collateral::{CollateralError, MOST, error};
use crate::Endorsement;
use crate::x509::{Certificate, Crl};

/// Certificates and lists of one file that are looked at.
const CERTIFICATES: usize = 16;
/// A line of PEM's head, percent-encoded: so chains stand in the headers of Intel's answers.
const ENCODED_PEM: &str = "-----BEGIN%20";

/// A piece of collateral, read and not yet verified.
#[derive(Clone, Debug)]
pub enum CollateralPiece {
    /// TCB info or an identity.
    Statement(Statement),
    /// A revocation list.
    Crl(Box<Crl>),
    /// Certificates in the order in which they stood.
    Chain(Vec<Certificate>),
}

/// TCB info or the identity of a quoting enclave, with its signature.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Statement {
    /// Of what it speaks.
    pub about: About,
    /// `tcbEvaluationDataNumber`.
    pub number: u32,
    /// `issueDate`.
    pub issued: Timestamp,
    /// `nextUpdate`.
    pub ends: Timestamp,
    /// The text that was signed, as it came.
    pub text: String,
    /// In hexadecimal.
    pub signature: String,
    /// The signer's chain in PEM, which may be percent-encoded, where it came along.
    pub chain: Option<String>,
}

/// Of what a [`Statement`] speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum About {
    /// Processors of one kind.
    Platform {
        /// TDX or SGX.
        tee: Tee,
        /// The family, model, stepping, platform and custom SKU of the processor.
        fmspc: [u8; 6],
    },
    /// The quoting enclave for quotes of this TEE.
    QuotingEnclave {
        /// TDX or SGX.
        tee: Tee,
    },
}

/// The nine members of Intel's answers in one JSON object, as `collateral.json` holds them. Others may stand there and are not
/// looked at.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NineMembers {
    /// The chain of the PCK authority, from which its list is: PEM, which may be percent-encoded.
    pub pck_crl_issuer_chain: String,
    /// The list of the root: DER in hexadecimal or base64, or PEM.
    pub root_ca_crl: String,
    /// The list of the PCK authority, likewise.
    pub pck_crl: String,
    /// The chain of the signer of the TCB info.
    pub tcb_info_issuer_chain: String,
    /// The text that was signed, or the whole answer in which it stands.
    pub tcb_info: String,
    /// 64 bytes in hexadecimal; may be absent where the whole answer holds it.
    #[serde(default)]
    pub tcb_info_signature: String,
    /// The chain of the signer of the identity.
    pub qe_identity_issuer_chain: String,
    /// The text that was signed, or the whole answer in which it stands.
    pub qe_identity: String,
    /// 64 bytes in hexadecimal; may be absent where the whole answer holds it.
    #[serde(default)]
    pub qe_identity_signature: String,
}

/// The nine members, read.
#[derive(Debug)]
pub(super) struct Whole {
    pub(super) authority: Vec<Certificate>,
    pub(super) root_crl: Crl,
    pub(super) pck_crl: Crl,
    pub(super) tcb_info: Statement,
    pub(super) qe_identity: Statement,
}

/// An answer of Intel's service: `tcbInfo` or `enclaveIdentity`, and the signature over exactly that text (Intel PCS API v4).
#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(rename = "tcbInfo", borrow)]
    tcb_info: Option<&'a RawValue>,
    #[serde(rename = "enclaveIdentity", borrow)]
    enclave_identity: Option<&'a RawValue>,
    signature: String,
}

/// What is to be known of a statement before it is verified.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Content {
    id: String,
    issue_date: Timestamp,
    next_update: Timestamp,
    tcb_evaluation_data_number: u32,
    fmspc: Option<String>,
}

impl CollateralPiece {
    /// Reads bytes as whatever they are: certificates or lists (DER, PEM, either in hexadecimal or base64, or percent-encoded PEM),
    /// an answer of Intel's service, or the nine members. `None` where they are no collateral, or more than is looked at (1 MiB,
    /// 16 certificates).
    pub fn read(bytes: &[u8]) -> Option<Vec<Self>> {
        if bytes.len() > MOST {
            return None;
        }
        let text = std::str::from_utf8(bytes).ok().map(str::trim);
        // Certificates may stand within JSON, which is more than they are.
        let Some(json) = text.filter(|text| text.starts_with('{')) else {
            return Self::endorsing(bytes).or_else(|| Self::endorsing(&decoded(text?)?));
        };
        let Some(members) = NineMembers::of(bytes) else {
            return Statement::read(json).map(|statement| vec![Self::Statement(statement)]);
        };
        let whole = members.read().ok()?;
        Some(vec![
            Self::Crl(Box::new(whole.root_crl)),
            Self::Chain(whole.authority),
            Self::Crl(Box::new(whole.pck_crl)),
            Self::Statement(whole.qe_identity),
            Self::Statement(whole.tcb_info),
        ])
    }

    /// Reads a revocation list: DER, PEM, or either in hexadecimal or base64, and nothing behind it.
    pub fn read_crl(bytes: &[u8]) -> Option<Crl> {
        let read = |bytes: &[u8]| {
            Crl::from_der(bytes).or_else(|| match Endorsement::read(bytes) {
                Endorsement::Crl(list) if !bytes.starts_with(list.der()) => Some(*list),
                _ => None,
            })
        };
        read(bytes).or_else(|| read(&decoded(std::str::from_utf8(bytes).ok()?.trim())?))
    }

    /// Reads a chain of certificates: PEM, which may be percent-encoded.
    pub fn read_chain(text: &str) -> Option<Vec<Certificate>> {
        let read = |text: &str| match Endorsement::read(text.as_bytes()) {
            Endorsement::Certificates(certificates) if certificates.len() <= CERTIFICATES => Some(certificates),
            _ => None,
        };
        read(text).or_else(|| read(&percent_decoded(text)?))
    }

    fn endorsing(bytes: &[u8]) -> Option<Vec<Self>> {
        let list = |list| Self::Crl(Box::new(list));
        match Endorsement::read(bytes) {
            Endorsement::Certificates(certificates) if certificates.len() <= CERTIFICATES => {
                Some(vec![Self::Chain(certificates)])
            }
            Endorsement::Crl(crl) => Some(vec![Self::Crl(crl)]),
            Endorsement::Several(certificates, lists) if certificates.len() + lists.len() <= CERTIFICATES => {
                let chain = (!certificates.is_empty()).then_some(Self::Chain(certificates));
                Some(chain.into_iter().chain(lists.into_iter().map(list)).collect())
            }
            Endorsement::Certificates(_) | Endorsement::Several(..) | Endorsement::Other => None,
        }
    }
}

impl Statement {
    pub(super) fn signature(&self) -> Option<[u8; 64]> {
        let mut bytes = [0; 64];
        hex::decode_to_slice(&self.signature, &mut bytes).ok()?;
        Some(bytes)
    }

    /// An answer of Intel's service.
    fn read(answer: &str) -> Option<Self> {
        let answer: Answer<'_> = serde_json::from_str(answer).ok()?;
        match (answer.tcb_info, answer.enclave_identity) {
            (Some(info), None) => Self::tcb_info(info.get().to_owned(), answer.signature, None),
            (None, Some(identity)) => Self::qe_identity(identity.get().to_owned(), answer.signature, None),
            _ => None,
        }
    }

    fn tcb_info(text: String, signature: String, chain: Option<String>) -> Option<Self> {
        let content: Content = serde_json::from_str(&text).ok()?;
        let mut fmspc = [0; 6];
        hex::decode_to_slice(content.fmspc.as_deref()?, &mut fmspc).ok()?;
        let tee = match content.id.as_str() {
            "TDX" => Tee::Tdx,
            "SGX" => Tee::Sgx,
            _ => return None,
        };
        Some(content.statement(About::Platform { tee, fmspc }, text, signature, chain))
    }

    fn qe_identity(text: String, signature: String, chain: Option<String>) -> Option<Self> {
        let content: Content = serde_json::from_str(&text).ok()?;
        let tee = match content.id.as_str() {
            "TD_QE" => Tee::Tdx,
            "QE" => Tee::Sgx,
            _ => return None,
        };
        Some(content.statement(About::QuotingEnclave { tee }, text, signature, chain))
    }
}

impl Content {
    fn statement(&self, about: About, text: String, signature: String, chain: Option<String>) -> Statement {
        let number = self.tcb_evaluation_data_number;
        Statement { about, number, issued: self.issue_date, ends: self.next_update, text, signature, chain }
    }
}

impl NineMembers {
    /// The members in bytes, for whoever judges by the whole and for whoever holds its pieces against floors: a JSON object, and text
    /// throughout, even where nothing is read.
    pub(super) fn of(bytes: &[u8]) -> Option<Self> {
        let json = std::str::from_utf8(bytes).ok()?.trim();
        json.starts_with('{').then(|| serde_json::from_str(json).ok()).flatten()
    }

    /// Reads the members.
    pub(super) fn read(self) -> Result<Whole, CollateralError> {
        const CHAIN: &str = "a chain of certificates in PEM";
        const LIST: &str = "a revocation list in hexadecimal, base64 or PEM";
        let list = |text: &str, member| CollateralPiece::read_crl(text.as_bytes()).ok_or(error(member, LIST));
        let chain = |text: &str, member| CollateralPiece::read_chain(text).ok_or(error(member, CHAIN));
        chain(&self.tcb_info_issuer_chain, "tcb_info_issuer_chain")?;
        chain(&self.qe_identity_issuer_chain, "qe_identity_issuer_chain")?;
        Ok(Whole {
            authority: chain(&self.pck_crl_issuer_chain, "pck_crl_issuer_chain")?,
            root_crl: list(&self.root_ca_crl, "root_ca_crl")?,
            pck_crl: list(&self.pck_crl, "pck_crl")?,
            tcb_info: member(
                (self.tcb_info, self.tcb_info_signature, self.tcb_info_issuer_chain),
                ("tcb_info", "tcb_info_signature"),
                Statement::tcb_info,
            )?,
            qe_identity: member(
                (self.qe_identity, self.qe_identity_signature, self.qe_identity_issuer_chain),
                ("qe_identity", "qe_identity_signature"),
                Statement::qe_identity,
            )?,
        })
    }
}

/// Reads a statement that stands in a member, by itself or within the answer that holds it.
fn member(
    (text, signature, chain): (String, String, String),
    (member, signature_member): (&'static str, &'static str),
    read: fn(String, String, Option<String>) -> Option<Statement>,
) -> Result<Statement, CollateralError> {
    let unreadable = error(member, "the JSON that Intel's API describes");
    let whole = serde_json::from_str::<Answer<'_>>(&text).ok();
    let Some(answer) = whole else {
        return read(text, signature, Some(chain)).ok_or(unreadable);
    };
    if !signature.is_empty() && !signature.eq_ignore_ascii_case(&answer.signature) {
        return Err(error(signature_member, "the signature in the answer"));
    }
    let inner = if member == "tcb_info" { answer.tcb_info } else { answer.enclave_identity };
    let inner = inner.ok_or_else(|| unreadable.clone())?;
    read(inner.get().to_owned(), answer.signature, Some(chain)).ok_or(unreadable)
}

/// What text encodes: hexadecimal, base64, or percent-encoded PEM.
fn decoded(text: &str) -> Option<Vec<u8>> {
    in_percent_encoding(text).or_else(|| {
        let digits: String = text.chars().filter(|character| !character.is_ascii_whitespace()).collect();
        hex::decode(&digits).ok().or_else(|| STANDARD.decode(&digits).ok())
    })
}

/// The PEM that stands percent-encoded in lines, behind the names of headers or not.
pub(crate) fn in_percent_encoding(text: &str) -> Option<Vec<u8>> {
    let chains = text.lines().filter_map(|line| line.find(ENCODED_PEM).and_then(|at| line.get(at..)));
    let pem = chains.map(percent_decoded).collect::<Option<String>>()?;
    (!pem.is_empty()).then(|| pem.into_bytes())
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first == b'%' {
            let (digits, after) = rest.split_at_checked(2)?;
            bytes.extend(hex::decode(digits).ok()?);
            rest = after;
        } else {
            bytes.push(*first);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_signs_stand_before_two_digits() {
        assert_eq!(percent_decoded("a%0Ab%20c+d").as_deref(), Some("a\nb c+d"));
        assert_eq!((percent_decoded("%4"), percent_decoded("%zz"), percent_decoded("%ff")), (None, None, None));
    }
}
