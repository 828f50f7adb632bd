//! What waits of one channel.

use std::collections::VecDeque;

use bytes::{Buf, Bytes, BytesMut};

use super::TURN;

/// Pieces smaller than this are copied together, so that a peer that sends single bytes fills no memory with bookkeeping.
const SMALL: usize = 4 * 1024;

/// The bytes of a channel, and its end.
#[derive(Default)]
pub(super) struct Queue {
    pieces: VecDeque<Bytes>,
    /// Small pieces that came after `pieces`, copied together.
    tail: BytesMut,
    /// Whether its end follows.
    pub(super) closing: bool,
}

impl Queue {
    pub(super) fn push(&mut self, bytes: Bytes) {
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

    pub(super) fn take(&mut self, most: usize) -> Bytes {
        if self.pieces.is_empty() {
            return self.tail.split_to(self.tail.len().min(most)).freeze();
        }
        let Some(first) = self.pieces.front_mut() else { return Bytes::new() };
        if first.len() > most {
            return first.split_to(most);
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

    pub(super) fn len(&self) -> usize {
        self.tail.len() + self.pieces.iter().map(Bytes::len).sum::<usize>()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pieces.is_empty() && self.tail.is_empty()
    }
}
