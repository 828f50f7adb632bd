//! Plaintext that waits to be read; wiped when read or dropped.

use zeroize::{Zeroize, Zeroizing};

#[derive(Default)]
pub(super) struct Unread {
    bytes: Zeroizing<Vec<u8>>,
    /// How many bytes at the start were taken already.
    taken: usize,
}

impl Unread {
    pub(super) fn put(&mut self, bytes: &[u8]) {
        // Where growing would move the bytes, what was taken makes room first and the old place is wiped.
        if self.bytes.len() + bytes.len() > self.bytes.capacity() {
            let mut next = Zeroizing::new(Vec::with_capacity(2 * (self.len() + bytes.len())));
            next.extend_from_slice(self.bytes());
            (self.bytes, self.taken) = (next, 0);
        }
        self.bytes.extend_from_slice(bytes);
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.bytes.get(self.taken..).unwrap_or_default()
    }

    pub(super) fn len(&self) -> usize {
        self.bytes().len()
    }

    /// Moves what fits into `out`; how many bytes.
    pub(super) fn take(&mut self, out: &mut [u8]) -> usize {
        let count = out.len().min(self.len());
        if let (Some(to), Some(from)) = (out.get_mut(..count), self.bytes().get(..count)) {
            to.copy_from_slice(from);
        }
        self.skip(count);
        count
    }

    /// Wipes the first `count` bytes.
    pub(super) fn skip(&mut self, count: usize) {
        if let Some(gone) = self.bytes.get_mut(self.taken..self.taken + count) {
            gone.zeroize();
            self.taken += count;
        }
        if self.taken == self.bytes.len() {
            self.bytes.clear();
            self.taken = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_put_is_taken_in_order(pieces: Vec<(Vec<u8>, u8)>) {
            let (mut unread, mut taken) = (Unread::default(), Vec::new());
            for (piece, room) in &pieces {
                unread.put(piece);
                let mut out = vec![0; usize::from(*room)];
                let count = unread.take(&mut out);
                taken.extend_from_slice(&out[..count]);
            }
            taken.extend_from_slice(unread.bytes());
            prop_assert_eq!(taken, pieces.into_iter().flat_map(|(piece, _)| piece).collect::<Vec<_>>());
        }
    }
}
