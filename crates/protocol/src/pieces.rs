//! The bytes of a channel that wait, in pieces as they came.

use std::collections::VecDeque;

use bytes::{Buf, Bytes, BytesMut};

use crate::outbox::TURN;

/// Pieces smaller than this are copied together, so that a peer that sends single bytes fills no memory with bookkeeping.
const SMALL: usize = 4 * 1024;

/// Bytes that wait, first in, first out.
///
/// What came in large pieces is not copied. Small ones are: a piece keeps all of the buffer that it was read into, so that many
/// of a single byte would keep many times what they hold.
#[derive(Default)]
pub struct Pieces {
    pieces: VecDeque<Bytes>,
    /// Small pieces that came after `pieces`, copied together.
    tail: BytesMut,
}

impl Pieces {
    /// Appends bytes.
    pub fn push(&mut self, bytes: Bytes) {
        if bytes.len() < SMALL {
            self.tail.extend_from_slice(&bytes);
            if self.tail.len() < TURN {
                return;
            }
            self.pieces.push_back(self.tail.split().freeze());
        } else {
            if !self.tail.is_empty() {
                self.pieces.push_back(self.tail.split().freeze());
            }
            self.pieces.push_back(bytes);
        }
    }

    /// Takes the first bytes, up to `most`.
    pub fn take(&mut self, most: usize) -> Bytes {
        if self.pieces.is_empty() {
            return self.tail.split_to(self.tail.len().min(most)).freeze();
        }
        let Some(first) = self.pieces.front_mut() else { return Bytes::new() };
        if first.len() >= most {
            let taken = first.split_to(most);
            if first.is_empty() {
                self.pieces.pop_front();
            }
            return taken;
        }
        let mut whole = BytesMut::new();
        while let Some(piece) = self.pieces.front_mut() {
            let take = piece.len().min(most - whole.len());
            whole.extend_from_slice(piece.get(..take).unwrap_or_default());
            piece.advance(take);
            if !piece.is_empty() {
                break;
            }
            self.pieces.pop_front();
        }
        whole.freeze()
    }

    /// Forgets all of them.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.tail.len() + self.pieces.iter().map(Bytes::len).sum::<usize>()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty() && self.tail.is_empty()
    }
}

impl std::fmt::Debug for Pieces {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pieces({} bytes)", self.len())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn bytes_come_out_as_they_went_in(
            pieces in proptest::collection::vec((any::<u8>(), 1usize..40_000), 0..20),
            takes in proptest::collection::vec(1usize..40_000, 1..20),
        ) {
            let mut waiting = Pieces::default();
            let mut expected = Vec::new();
            for (byte, length) in pieces {
                waiting.push(vec![byte; length].into());
                expected.extend(std::iter::repeat_n(byte, length));
            }
            prop_assert_eq!(waiting.len(), expected.len());
            let mut out = Vec::new();
            for most in takes.iter().cycle() {
                if waiting.is_empty() { break }
                let taken = waiting.take(*most);
                prop_assert!(!taken.is_empty() && taken.len() <= *most);
                out.extend_from_slice(&taken);
            }
            prop_assert_eq!(out, expected);
        }
    }

    #[test]
    fn small_pieces_keep_nothing_of_the_buffers_that_they_came_in() {
        let mut waiting = Pieces::default();
        let buffers: Vec<Bytes> = (0..100).map(|_| vec![7; 16 * 1024].into()).collect();
        buffers.iter().for_each(|buffer| waiting.push(buffer.slice(..1)));
        assert!(buffers.iter().all(Bytes::is_unique));
        assert_eq!(waiting.take(1000).to_vec(), [7; 100]);
    }
}
