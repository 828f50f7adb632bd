//! The certificates of a GPU, read; and those that were read before.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aws_lc_rs::digest::{SHA256, digest};
use burgrave_types::EvidencePart;
use burgrave_types::claims::HexBytes;

use super::dice::Layer;
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
    /// The GPU's chip, where the certificates are those of one.
    pub(super) gpu: Option<String>,
    /// What the leaf says of the firmware that it was made for.
    pub(super) layer: Option<Layer>,
}

impl Chain {
    /// Of certificates, the leaf first.
    fn of(mut certificates: Vec<Certificate>) -> Self {
        certificates.reverse();
        let chip_key = certificates.iter().rev().nth(1);
        let leaf = certificates.last();
        Self {
            chip_key: chip_key.map(|authority| digest(&SHA256, authority.key()).as_ref().into()),
            name: leaf.and_then(Certificate::common_name),
            gpu: gpu(&certificates),
            layer: leaf.and_then(Layer::of),
            ders: certificates.iter().map(|certificate| certificate.der().to_vec()).collect(),
            beneath_root: certificates.into_iter().next().filter(|first| !first.is_issued_by_name_of(first)),
        }
    }

    /// The digest of the firmware that the leaf was made for.
    pub(super) fn firmware(&self) -> Option<&[u8]> {
        self.layer.as_ref().map(|layer| layer.firmware.as_slice())
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

/// The chip, where the last three certificates are those of one GPU: that of the authority which provisioned it, that of its
/// boot ROM, and that of its firmware. A switch's authority is also beneath the one of GPUs.
fn gpu(certificates: &[Certificate]) -> Option<String> {
    let [.., provisioner, boot, leaf] = certificates else { return None };
    let chip_of =
        |certificate: &Certificate| certificate.common_name()?.split_once(' ').map(|(chip, _)| chip.to_owned());
    let chip = chip_of(leaf).filter(|chip| is_gpu(chip))?;
    let provisioner = provisioner.common_name()?;
    let provisioned = provisioner.strip_prefix("NVIDIA ")?.split_once(" Provisioner ")?.0;
    (is_one_of(provisioned, &chip) && chip_of(boot).as_ref() == Some(&chip)).then_some(chip)
}

/// Whether it is the name of a GPU's chip, or of chips that differ in the last digit: Hopper (GH100), Blackwell (GB100, GB20X) or
/// Rubin (GR100).
fn is_gpu(chip: &str) -> bool {
    let [b'G', b'H' | b'B' | b'R', tens @ .., last] = chip.as_bytes() else { return false };
    tens.len() == 2 && tens.iter().all(u8::is_ascii_digit) && (last.is_ascii_digit() || *last == b'X')
}

/// Whether `one` is this chip, or among those: GB202 is one of GB20X.
fn is_one_of(one: &str, chip: &str) -> bool {
    let last_differs = chip.strip_suffix('X').and_then(|tens| one.strip_prefix(tens));
    one == chip || last_differs.is_some_and(|last| matches!(last.as_bytes(), [digit] if digit.is_ascii_digit()))
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
