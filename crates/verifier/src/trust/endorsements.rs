//! What helps evidence to reach a root: sorted by what it is.

use std::sync::Arc;

use burgrave_types::{EvidencePart, Tee};

use super::{DER_SEQUENCE, Endorsement, MOST, PEM_CRL, PEM_HEAD};
use crate::dcap;
use crate::ima::ImaState;
use crate::tpm::AkProof;
use crate::x509::{Certificate, Crl};

/// Certificates, revocation lists and proofs that come with evidence or from a collateral store. They help to reach a
/// root and are believed only as far as a root vouches for them (the last two fields excepted: they are the node's own).
#[derive(Clone, Debug, Default)]
pub struct Endorsements {
    /// Intermediates and leaves.
    pub certificates: Vec<Certificate>,
    /// Revocation lists.
    pub crls: Vec<Crl>,
    /// Collateral of Intel's platforms, for evidence that comes without.
    pub collateral: Vec<Arc<dcap::Collateral>>,
    /// TCB infos and identities of Intel's, which make collateral with the lists and certificates here.
    pub statements: Vec<Arc<dcap::Statement>>,
    /// What is kept between verifications of TDX and SGX evidence; none: each verification stands alone.
    pub dcap: Option<Arc<dcap::Cache>>,
    /// What the node knows about the bond between a TPM's attestation key and its endorsement key.
    pub ak_proof: AkProof,
    /// How far the node replayed the instance's run-time log: what [`crate::Verification::ima`] said of its last evidence.
    pub ima: Option<ImaState>,
    /// Platforms that the registration lists: `platform_id` of the claims must be one of them. For a TPM this is the
    /// endorsement key's digest ([`crate::tpm::ek_digest`]). Empty: any.
    pub platforms: Vec<Vec<u8>>,
}

impl Endorsements {
    /// What stands among a part's own items, up to a number that no honest evidence reaches.
    pub(crate) fn beside(part: &EvidencePart) -> Self {
        Self::among(part.items.values())
    }

    /// The revocation lists of [`Endorsements::beside`], without reading more than these.
    pub(crate) fn lists_beside(part: &EvidencePart) -> Vec<Crl> {
        let may_be_list = |bytes: &&Vec<u8>| match std::str::from_utf8(bytes) {
            Ok(text) => !text.contains(PEM_HEAD) || text.split(PEM_HEAD).any(|block| block.starts_with(PEM_CRL)),
            Err(_) => bytes.starts_with(&[DER_SEQUENCE]),
        };
        let read = part.items.values().filter(may_be_list).flat_map(|bytes| match Endorsement::read(bytes) {
            Endorsement::Crl(list) => vec![*list],
            Endorsement::Several(_, lists) => lists,
            Endorsement::Certificates(_) | Endorsement::Other => Vec::new(),
        });
        read.take(MOST).collect()
    }

    /// As [`Endorsements::beside`], for some of a part's items.
    pub(crate) fn among<'a>(items: impl Iterator<Item = &'a Vec<u8>>) -> Self {
        let mut found = Self::default();
        for bytes in items {
            found.add_whole(bytes);
        }
        found.certificates.truncate(MOST);
        found.crls.truncate(MOST);
        found.collateral.truncate(MOST);
        found
    }

    /// These and those others; proofs and lists of platforms are the others'.
    pub(crate) fn and(mut self, others: &Self) -> Self {
        self.certificates.extend_from_slice(&others.certificates);
        self.crls.extend_from_slice(&others.crls);
        self.collateral.extend_from_slice(&others.collateral);
        self.statements.extend_from_slice(&others.statements);
        Self {
            ak_proof: others.ak_proof.clone(),
            ima: others.ima.clone(),
            platforms: others.platforms.clone(),
            dcap: others.dcap.clone(),
            ..self
        }
    }

    /// Sorts a file in, whatever it is called: certificates and lists, collateral of Intel's platforms, whole or in pieces. Says
    /// whether it was an endorsement.
    pub fn add(&mut self, bytes: &[u8]) -> bool {
        self.add_whole(bytes) || self.add_pieces(bytes)
    }

    fn add_whole(&mut self, bytes: &[u8]) -> bool {
        match Endorsement::read(bytes) {
            Endorsement::Certificates(certificates) => self.certificates.extend(certificates),
            Endorsement::Crl(crl) => self.crls.push(*crl),
            Endorsement::Several(certificates, crls) => {
                self.certificates.extend(certificates);
                self.crls.extend(crls);
            }
            Endorsement::Other => match dcap::Collateral::parse(bytes) {
                Ok(collateral) => self.collateral.push(Arc::new(collateral)),
                Err(_) => return false,
            },
        }
        true
    }

    fn add_pieces(&mut self, bytes: &[u8]) -> bool {
        let pieces = dcap::CollateralPiece::read(bytes);
        let are_some = pieces.is_some();
        for piece in pieces.unwrap_or_default() {
            match piece {
                dcap::CollateralPiece::Statement(statement) => self.statements.push(Arc::new(statement)),
                dcap::CollateralPiece::Crl(list) => self.crls.push(*list),
                dcap::CollateralPiece::Chain(certificates) => self.certificates.extend(certificates),
            }
        }
        are_some
    }

    /// Sorts in the collateral of Intel's platforms that lies in pieces beside evidence, for somebody who has this evidence alone to
    /// judge. Never for a node, whose floors know `collateral.json` alone.
    pub fn add_pieces_beside(&mut self, part: &EvidencePart) {
        if matches!(part.tee, Tee::Tdx | Tee::Sgx | Tee::AzVtpm) {
            let beside = part.items.iter().filter(|(name, _)| name.as_str() != dcap::COLLATERAL);
            for (_, bytes) in beside {
                self.add_pieces(bytes);
            }
        }
    }
}
