//! What a node keeps between verifications: collateral that was verified, and the platforms that were.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::signature::ParsedPublicKey;
use burgrave_types::Timestamp;

use super::chain::Window;
use super::collateral::{CollateralId, VerifiedCollateral};
use super::pck::Pck;
use super::quote::Quote;
use crate::trust::Vendor;
use crate::x509::Certificate;
use crate::{Check, Roots};

/// Kinds of platform, and platforms, that are kept at most; beyond that those that ended go first.
const COLLATERALS: usize = 256;
const PLATFORMS: usize = 4096;

/// Verified collateral by platform kind, and verified PCK chains by their bytes. Safe to share; put it into
/// [`Endorsements::dcap`](crate::Endorsements::dcap).
///
/// Collateral that is added is kept if none of its numbers is below those of what is there. A PCK chain counts only under
/// the revocation lists and root that it was verified under.
#[derive(Debug, Default)]
pub struct Cache {
    collateral: Mutex<HashMap<CollateralId, Arc<VerifiedCollateral>>>,
    platforms: Mutex<HashMap<[u8; 64], Arc<VerifiedPck>>>,
}

/// Collateral is older than what is known, and is not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "the collateral is older than what is held (TCB evaluation or revocation list number below it); fetch it again, or \
     take the source out of use"
)]
pub struct RolledBack;

/// A PCK certificate under the revocation lists that it was held against.
#[derive(Debug)]
pub(super) struct VerifiedPck {
    /// The chain as it came.
    pub(super) chain: Vec<u8>,
    pub(super) pck: Pck,
    pub(super) checks: Vec<Check>,
    pub(super) windows: Vec<Window>,
    pub(super) root: Certificate,
    pub(super) crl_ids: [[u8; 32]; 2],
    /// The quoting enclave that signed last. It keeps its key until the platform starts anew.
    pub(super) quoting_enclave: Mutex<Option<Arc<QuotingEnclave>>>,
}

/// A quoting enclave whose report the PCK signed, and the attestation key that the report names.
#[derive(Debug)]
pub(super) struct QuotingEnclave {
    report: Vec<u8>,
    signature: Vec<u8>,
    authentication_data: Vec<u8>,
    point: Vec<u8>,
    pub(super) key: ParsedPublicKey,
}

impl QuotingEnclave {
    pub(super) fn new(quote: &Quote<'_>, key: ParsedPublicKey) -> Self {
        Self {
            report: quote.qe_report_bytes.to_vec(),
            signature: quote.qe_report_signature.to_vec(),
            authentication_data: quote.qe_authentication_data.to_vec(),
            point: quote.attestation_key.to_vec(),
            key,
        }
    }

    /// Whether a quote has all of it, byte for byte.
    fn made(&self, quote: &Quote<'_>) -> bool {
        self.report == quote.qe_report_bytes
            && self.signature == quote.qe_report_signature
            && self.authentication_data == quote.qe_authentication_data
            && self.point == quote.attestation_key
    }
}

impl VerifiedPck {
    /// The quoting enclave of a quote, where it is the one that signed last.
    pub(super) fn quoting_enclave(&self, quote: &Quote<'_>) -> Option<Arc<QuotingEnclave>> {
        let held = self.quoting_enclave.lock().unwrap_or_else(PoisonError::into_inner);
        held.as_ref().filter(|held| held.made(quote)).map(Arc::clone)
    }

    /// Keeps a quoting enclave whose report and quote were verified.
    pub(super) fn keep(&self, quoting_enclave: QuotingEnclave) {
        *self.quoting_enclave.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(quoting_enclave));
    }

    pub(super) fn counts(&self, collateral: &VerifiedCollateral, roots: &Roots) -> bool {
        self.crl_ids == collateral.crl_ids && roots.anchors_of(Vendor::Intel).any(|root| root.der() == self.root.der())
    }
}

impl Cache {
    /// A cache with nothing in it.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes collateral in, in the place of what was held for the same kind of platform.
    ///
    /// # Errors
    /// [`RolledBack`] where one of its numbers is below what is held; that stays.
    pub fn add(&self, collateral: VerifiedCollateral) -> Result<(), RolledBack> {
        self.offer(Arc::new(collateral))
    }

    /// What is held for a kind of platform.
    pub fn get(&self, id: CollateralId) -> Option<Arc<VerifiedCollateral>> {
        self.collateral.lock().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()
    }

    /// Every kind of platform and when its collateral ends: what a node shows, and raises alarms by.
    pub fn ends(&self) -> Vec<(CollateralId, Timestamp)> {
        let held = self.collateral.lock().unwrap_or_else(PoisonError::into_inner);
        let mut ends: Vec<_> = held.values().map(|collateral| (collateral.id(), collateral.valid().1)).collect();
        ends.sort_unstable();
        ends
    }

    pub(super) fn offer(&self, collateral: Arc<VerifiedCollateral>) -> Result<(), RolledBack> {
        let mut held = self.collateral.lock().unwrap_or_else(PoisonError::into_inner);
        let id = collateral.id();
        if held.get(&id).is_some_and(|old| !collateral.numbers().are_at_least(&old.numbers())) {
            return Err(RolledBack);
        }
        insert(&mut held, COLLATERALS, id, collateral, |collateral| collateral.valid().1);
        Ok(())
    }

    pub(super) fn platform(&self, chain: &[u8]) -> Option<Arc<VerifiedPck>> {
        let held = self.platforms.lock().unwrap_or_else(PoisonError::into_inner).get(&label(chain)).cloned();
        held.filter(|held| held.chain == chain)
    }

    pub(super) fn keep(&self, pck: Arc<VerifiedPck>) {
        let mut held = self.platforms.lock().unwrap_or_else(PoisonError::into_inner);
        let end = |pck: &VerifiedPck| pck.windows.iter().map(Window::end).min().unwrap_or_default();
        insert(&mut held, PLATFORMS, label(&pck.chain), pck, end);
    }
}

/// Inserts; where the map is full, what ends first makes room.
fn insert<K: Hash + Eq + Copy, V>(
    map: &mut HashMap<K, Arc<V>>,
    most: usize,
    key: K,
    value: Arc<V>,
    end: impl Fn(&V) -> Timestamp,
) {
    if map.len() >= most
        && !map.contains_key(&key)
        && let Some(first) = map.iter().min_by_key(|(_, value)| end(value)).map(|(key, _)| *key)
    {
        map.remove(&first);
    }
    map.insert(key, value);
}

/// What a chain is found by before it is compared: the text in which the first certificate's serial number stands. A digest
/// over kilobytes would cost more than all other lookups together; chains that share a label take each other's place, no more.
fn label(chain: &[u8]) -> [u8; 64] {
    let mut label = [0; 64];
    for (to, from) in label.iter_mut().zip(chain.iter().skip(40)) {
        *to = *from;
    }
    label
}
