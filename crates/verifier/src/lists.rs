//! Revocation lists whose signatures were verified: the same few come with every verification.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use aws_lc_rs::digest::{Context, SHA256};

use crate::x509::{Certificate, Crl};

/// More lists than this are not remembered.
const LISTS: usize = 64;

/// Lists by the SHA-256 of the issuer's certificate and the list: what such a digest names never changes. Whether a list is
/// current is asked each time.
#[derive(Debug, Default)]
pub(crate) struct KnownLists(Mutex<HashSet<[u8; 32]>>);

impl KnownLists {
    /// Whether `issuer` signed `list`, by the vendor's algorithm: `signed`.
    pub(crate) fn is_signed(&self, list: &Crl, issuer: &Certificate, signed: fn(&Crl, &Certificate) -> bool) -> bool {
        let mut context = Context::new(&SHA256);
        for der in [issuer.der(), list.der()] {
            context.update(&u64::try_from(der.len()).unwrap_or(u64::MAX).to_be_bytes());
            context.update(der);
        }
        let mut digest = [0; 32];
        digest.copy_from_slice(context.finish().as_ref());
        if self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(&digest) {
            return true;
        }
        let signed = signed(list, issuer);
        if signed {
            let mut lists = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if lists.len() >= LISTS {
                lists.clear();
            }
            lists.insert(digest);
        }
        signed
    }
}
