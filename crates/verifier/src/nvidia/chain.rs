//! The certificates of a GPU, read; and those that were read before.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aws_lc_rs::digest::{SHA256, digest};
use burgrave_types::EvidencePart;
use burgrave_types::claims::HexBytes;
use der::Decode;

use super::{COMPOSITE_DEVICE_ID, CompositeDeviceId};
use crate::x509::Certificate;
use crate::{Endorsement, Endorsements};

const ITEM: &str = "chain.pem";
/// More chains than this are not remembered.
const CHAINS: usize = 1024;
/// Chains of more bytes than this are not remembered: NVIDIA's take 5000.
const MOST_BYTES: usize = 16 * 1024;

/// A chain as far as a verification asks of it. Nobody vouches for it yet.
#[derive(Debug, Default)]
pub(super) struct Chain {
    /// The certificates in DER, the one nearest to the root first.
    pub(super) ders: Vec<Vec<u8>>,
    /// The first, where another issued it: the root is then to be found elsewhere.
    pub(super) beneath_root: Option<Certificate>,
    /// The digest of the key above the firmware's, which is the chip's own and stays when the firmware changes.
    pub(super) chip_key: Option<HexBytes>,
    /// The leaf's name.
    pub(super) name: Option<String>,
    /// The firmware that the leaf was made for.
    pub(super) firmware: Option<Vec<u8>>,
}

impl Chain {
    /// Of certificates, the leaf first.
    fn of(mut certificates: Vec<Certificate>) -> Self {
        certificates.reverse();
        let chip_key = certificates.iter().rev().nth(1);
        let leaf = certificates.last();
        let identity = leaf.and_then(|leaf| leaf.extension(COMPOSITE_DEVICE_ID));
        let identity = identity.and_then(|der| CompositeDeviceId::from_der(der).ok());
        Self {
            chip_key: chip_key.map(|authority| digest(&SHA256, authority.key()).as_ref().into()),
            name: leaf.and_then(Certificate::common_name),
            firmware: identity.map(|identity| identity.firmware.digest.as_bytes().to_vec()),
            ders: certificates.iter().map(|certificate| certificate.der().to_vec()).collect(),
            beneath_root: certificates.into_iter().next().filter(|first| !first.is_issued_by_name_of(first)),
        }
    }

    /// That of `chain.pem`, else of the first item or the endorsements that have several certificates.
    pub(super) fn read(part: &EvidencePart, endorsements: &Endorsements) -> Self {
        let several = || part.items.values().filter_map(|bytes| certificates(bytes)).find(|found| found.len() > 1);
        let found = match part.item(ITEM) {
            Some(bytes) => certificates(bytes),
            None => several(),
        };
        Self::of(found.unwrap_or_else(|| endorsements.certificates.clone()))
    }
}

fn certificates(bytes: &[u8]) -> Option<Vec<Certificate>> {
    match Endorsement::read(bytes) {
        Endorsement::Certificates(certificates) => Some(certificates),
        _ => None,
    }
}

/// Chains by the SHA-256 of the `chain.pem` that they were read from: what such a digest names never changes. Only those of
/// GPUs whose evidence was accepted are kept.
#[derive(Debug, Default)]
pub(crate) struct KnownChains(Mutex<HashMap<[u8; 32], Arc<Chain>>>);

/// The digest under which a chain that was read anew may be remembered.
pub(super) type New = Option<[u8; 32]>;

impl KnownChains {
    /// As [`Chain::read`].
    pub(super) fn read(&self, part: &EvidencePart, endorsements: &Endorsements) -> (Arc<Chain>, New) {
        let Some(bytes) = part.item(ITEM).filter(|bytes| bytes.len() <= MOST_BYTES) else {
            return (Arc::new(Chain::read(part, endorsements)), None);
        };
        let mut label = [0; 32];
        label.copy_from_slice(digest(&SHA256, bytes).as_ref());
        if let Some(known) = self.lock().get(&label) {
            return (Arc::clone(known), None);
        }
        match certificates(bytes) {
            Some(certificates) => (Arc::new(Chain::of(certificates)), Some(label)),
            None => (Arc::new(Chain::read(part, endorsements)), None),
        }
    }

    /// Remembers a chain. A full memory begins anew, which costs some reading and nothing else.
    pub(super) fn remember(&self, label: [u8; 32], chain: Arc<Chain>) {
        let mut chains = self.lock();
        if chains.len() >= CHAINS {
            chains.clear();
        }
        chains.insert(label, chain);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<[u8; 32], Arc<Chain>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use burgrave_types::Tee;

    use super::*;
    use crate::{Expected, Input, Profile, Roots, Verdict, verify};

    const REPORT: &[u8] = include_bytes!("../../testdata/nvidia-gpu/hopper-sample/report.bin");
    const CHAIN: &[u8] = include_bytes!("../../testdata/nvidia-gpu/hopper-sample/chain.pem");

    #[test]
    fn a_chain_is_known_after_its_gpu_was_accepted_and_not_before() {
        let roots = Roots::vendor().forgetting();
        let count = || roots.known_chains().lock().len();
        let judge = |part: &EvidencePart| {
            let (endorsements, profile) = (Endorsements::default(), Profile::default());
            let (at, expected) = ("2026-03-01T00:00:00Z".parse().unwrap(), Expected::None);
            let input = Input { part, endorsements: &endorsements, roots: &roots, profile: &profile, expected, at };
            verify(&input).verdict
        };
        let items = [("report.bin", REPORT.to_vec()), (ITEM, CHAIN.to_vec())];
        let mut part = EvidencePart::new(Tee::NvidiaGpu, items);
        part.items.get_mut("report.bin").unwrap()[5] ^= 1;
        assert_eq!((judge(&part), count()), (Verdict::Reject, 0));
        part.items.get_mut("report.bin").unwrap()[5] ^= 1;
        assert_eq!((judge(&part), count()), (Verdict::Accept, 1));
        assert_eq!((judge(&part), count()), (Verdict::Accept, 1));
        let mut long = CHAIN.to_vec();
        long.resize(MOST_BYTES + 1, b'\n');
        part.items.insert(ITEM.to_owned(), long);
        assert_eq!((judge(&part), count()), (Verdict::Accept, 1));
    }
}
