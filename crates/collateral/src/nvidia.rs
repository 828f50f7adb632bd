//! NVIDIA's revocation lists: the root's, which speaks of the authorities of families (`NVIDIA GH100 Identity`), and theirs, which
//! speak of the provisioners beneath.
//!
//! A GPU's chain says itself where they are. Of single GPUs there is no list: NVIDIA tells over OCSP alone, which nobody asks
//! here. Which list is whose is learned from chains that were verified, so after a start the lists are refreshed from the first
//! attestation of each family on.

use std::collections::BTreeMap;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use burgrave_types::EvidencePart;
use burgrave_verifier::{Certificate, Endorsement, Roots};

use crate::piece::CrlPiece;
use crate::{Mark, Number, Want};

/// Authorities that are held at most; NVIDIA has one for each family.
const MOST_AUTHORITIES: usize = 64;
/// Chains longer than this are not looked at: NVIDIA's take 5000 bytes.
const MOST_CHAIN: usize = 16 * 1024;
/// Characters of a list's name.
const LONGEST: usize = 64;

/// The item of a GPU's evidence that holds its chain.
pub(crate) const CHAIN: &str = "chain.pem";

/// What is held of NVIDIA's.
#[derive(Clone, Debug, Default)]
pub(crate) struct Nvidia {
    /// Those that a root signed, by name.
    pub(crate) authorities: BTreeMap<String, Certificate>,
    /// By issuer.
    pub(crate) crls: BTreeMap<String, Arc<CrlPiece>>,
    /// By issuer the name under which its list is published.
    files: BTreeMap<String, String>,
}

impl Nvidia {
    /// Keeps the authorities of a chain that a root signed; says which, and which of them are new. No such one: the chain is not a
    /// GPU's.
    pub(crate) fn adopt(&mut self, chain: &[Certificate], roots: &Roots) -> Vec<(Certificate, bool)> {
        let mut found = Vec::new();
        for certificate in chain.iter().filter(|certificate| is_beneath_root(certificate, roots)) {
            let name = certificate.subject();
            let held = self.authorities.get(&name);
            let is_new = held.is_none_or(|held| held.validity().0 < certificate.validity().0);
            if is_new && (held.is_some() || self.authorities.len() < MOST_AUTHORITIES) {
                self.authorities.insert(name, certificate.clone());
            }
            found.push((certificate.clone(), is_new));
        }
        found
    }

    /// Whether a root or an authority that is held signed a list, which names it as its issuer.
    pub(crate) fn vouches_for(&self, list: &CrlPiece, roots: &Roots) -> bool {
        let mut issuers = roots.gpu_anchors().chain(self.authorities.values());
        list.parsed.is_whole()
            && issuers.any(|issuer| list.parsed.is_issued_by_name_of(issuer) && list.parsed.is_ecdsa_signed_by(issuer))
    }

    /// Notes where lists are published. Says whether anything is new.
    pub(crate) fn note(&mut self, lists: &[GpuList]) -> bool {
        let notes = lists.iter().map(|list| self.files.insert(list.issuer.clone(), list.file.clone()));
        notes.fold(false, |new, before| new | before.is_none())
    }

    /// The lists that are held, and where they are published.
    pub(crate) fn wants(&self) -> impl Iterator<Item = Want> {
        let published = self.files.iter().filter(|(issuer, _)| self.crls.contains_key(*issuer));
        published.map(|(issuer, file)| Want::GpuCrl(GpuList { issuer: issuer.clone(), file: file.clone() }))
    }
}

/// How new an authority's certificate is.
pub(crate) fn mark(certificate: &Certificate) -> Mark {
    Mark { number: Number::default(), issued: certificate.validity().0 }
}

/// Whether a certificate is an authority's that a root signed.
pub(crate) fn is_beneath_root(certificate: &Certificate, roots: &Roots) -> bool {
    let mut named = roots.gpu_anchors().filter(|root| certificate.is_issued_by_name_of(root));
    certificate.is_authority(0)
        && !certificate.is_issued_by_name_of(certificate)
        && named.any(|root| certificate.is_ecdsa_signed_by(root))
}

/// A list that speaks of a certificate in GPUs' chains.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct GpuList {
    /// The distinguished name of the authority whose list it is.
    pub issuer: String,
    /// The name under which it is published, e.g. `l2-gh100.crl`.
    pub file: String,
}

/// A chain with the lists that its certificates name.
#[derive(Debug, Default)]
pub(crate) struct GpuChain {
    pub(crate) certificates: Vec<Certificate>,
    pub(crate) lists: Vec<GpuList>,
}

impl GpuChain {
    /// The chain of a GPU's evidence by its digest, before it is read.
    pub(crate) fn label(part: &EvidencePart) -> Option<[u8; 32]> {
        let bytes = part.item(CHAIN).filter(|bytes| bytes.len() <= MOST_CHAIN)?;
        let mut label = [0; 32];
        label.copy_from_slice(digest(&SHA256, bytes).as_ref());
        Some(label)
    }

    /// Reads it.
    pub(crate) fn read(part: &EvidencePart) -> Self {
        let Some(Endorsement::Certificates(certificates)) = part.item(CHAIN).map(Endorsement::read) else {
            return Self::default();
        };
        let list = |certificate: &Certificate| {
            let mut files = certificate.distribution_points().into_iter().filter_map(|address| file_name(&address));
            Some(GpuList { issuer: certificate.issuer(), file: files.next()? })
        };
        let lists = certificates.iter().filter_map(list).collect();
        Self { certificates, lists }
    }
}

/// The last segment of an address, where it is a name and nothing else.
fn file_name(address: &str) -> Option<String> {
    let (_, name) = address.rsplit_once('/')?;
    let is_name = (1..=LONGEST).contains(&name.len())
        && !name.starts_with('.')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte));
    is_name.then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_asked_for_by_a_plain_name_alone() {
        assert_eq!(file_name("http://crl.ndis.nvidia.com/crl/l2-gh100.crl").as_deref(), Some("l2-gh100.crl"));
        for address in
            ["l1.crl", "http://h/", "http://h/..", "http://h/a?b", "http://h/a%2fb", "http://h/a b", "http://h/a\r"]
        {
            assert_eq!(file_name(address), None, "{address:?}");
        }
        assert_eq!(file_name(&format!("http://h/{}", "a".repeat(65))), None);
    }
}
