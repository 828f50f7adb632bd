//! Bytes to pieces of collateral, by what they are and never by a name. Nothing here is believed yet. The verifier's reader reads
//! them, so that what a floor is held against is what evidence would be judged by.

use std::sync::Arc;

use burgrave_types::Timestamp;
use burgrave_verifier::Certificate;
use burgrave_verifier::dcap::{About, CollateralPiece, Statement};

use crate::Subject;
use crate::floors::{Mark, Number};

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

impl Signed {
    fn of(statement: Statement) -> Self {
        let Statement { about, number, issued, ends, text, signature, chain } = statement;
        let subject = match about {
            About::Platform { tee, fmspc } => Subject::TcbInfo { tee, fmspc },
            About::QuotingEnclave { tee } => Subject::QeIdentity { tee },
        };
        Self { subject, mark: Mark { number: Number::from(number), issued }, ends, text, signature, chain }
    }
}

/// Reads bytes as whatever they are; `None` where they are no collateral, or more than is taken.
pub(crate) fn read(bytes: &[u8]) -> Option<Vec<Piece>> {
    let pieces = CollateralPiece::read(bytes)?.into_iter().map(|piece| match piece {
        CollateralPiece::Statement(statement) => Piece::Signed(Arc::new(Signed::of(statement))),
        CollateralPiece::Crl(list) => Piece::Crl(Arc::new(CrlPiece::of(*list))),
        CollateralPiece::Chain(certificates) => Piece::Chain(certificates),
    });
    Some(pieces.collect())
}
