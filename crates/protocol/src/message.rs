//! Messages: requests and answers, which may be longer than a frame.
//!
//! A REQ or RESP frame's payload is one byte, 0 for the last piece of its message or 1 where more follow on the same
//! stream, then the piece. Pieces of different messages may stand between each other. All other messages stand whole in
//! one frame.

use std::collections::HashMap;

use burgrave_types::evidence;
use bytes::Bytes;
use prost::Message;
use zeroize::{Zeroize, Zeroizing};

use crate::frame::{FrameType, MAX_PAYLOAD, write};

/// The longest message, in bytes: the largest evidence, and room for what stands beside it. (A node takes no plaintext of
/// more than 1 MiB; larger data is encrypted in parts by its owner.)
pub const MAX_MESSAGE: usize = evidence::limits::BYTES + 64 * 1024;

/// Messages that may be unfinished on one connection at a time.
pub const MAX_PARTIAL: usize = 64;

/// What an unfinished message counts beyond its bytes: about what keeping track of it takes.
pub const PARTIAL_OVERHEAD: usize = 128;

const LAST: u8 = 0;
const MORE: u8 = 1;

/// Why frames make no message.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum MessageError {
    /// Longer than may be.
    #[error("a message of {found} bytes or more is over the limit of {limit}; send large data in parts")]
    TooLong {
        /// Bytes so far.
        found: usize,
        /// Bytes that are taken.
        limit: usize,
    },
    /// The byte that says whether more follows is neither 0 nor 1.
    #[error("a piece of a message begins with {0:#04x}; expected 0x00 (last) or 0x01 (more follows)")]
    Continuation(u8),
    /// A piece of nothing, with more to follow: it could go on for ever.
    #[error("a piece of a message is empty although more follows; only the last piece may be")]
    EmptyPiece,
    /// One more message is begun before those that are are ended.
    #[error("{limit} messages are unfinished, as many as may be; end one before beginning another")]
    TooMany {
        /// Messages that may be unfinished.
        limit: usize,
    },
    /// The bytes are not the message that they should be.
    #[error("a {what} cannot be read: {reason}")]
    Malformed {
        /// Which message was expected.
        what: &'static str,
        /// What is wrong.
        reason: String,
    },
}

impl MessageError {
    /// The error for a field that does not hold what it must.
    pub fn malformed(what: &'static str, reason: impl std::fmt::Display) -> Self {
        Self::Malformed { what, reason: reason.to_string() }
    }
}

/// Reads the protobuf message `what` from all of `bytes`.
///
/// # Errors
/// [`MessageError::Malformed`].
pub fn decode<M: Message + Default>(what: &'static str, bytes: &[u8]) -> Result<M, MessageError> {
    M::decode(bytes).map_err(|error| MessageError::malformed(what, error))
}

/// Cuts `message` into the frames of a REQ or RESP, each with its header, wiped when dropped.
///
/// # Errors
/// [`MessageError::TooLong`] where the peer would refuse it.
pub fn frames(kind: FrameType, stream: u32, message: &impl Message) -> Result<Vec<Zeroizing<Vec<u8>>>, MessageError> {
    let bytes = Zeroizing::new(message.encode_to_vec());
    if bytes.len() > MAX_MESSAGE {
        return Err(MessageError::TooLong { found: bytes.len(), limit: MAX_MESSAGE });
    }
    let mut rest = bytes.as_slice();
    let mut frames = Vec::with_capacity(bytes.len() / MAX_PAYLOAD + 1);
    loop {
        let (piece, after) = rest.split_at(rest.len().min(MAX_PAYLOAD - 1));
        rest = after;
        let mut payload = Zeroizing::new(Vec::with_capacity(piece.len() + 1));
        payload.push(if rest.is_empty() { LAST } else { MORE });
        payload.extend_from_slice(piece);
        let mut frame = Zeroizing::new(Vec::with_capacity(payload.len() + crate::frame::HEADER));
        write(&mut frame, kind, stream, &payload);
        frames.push(frame);
        if rest.is_empty() {
            return Ok(frames);
        }
    }
}

/// Puts messages together from their pieces, under bounds over all that are under way: at most [`MAX_PARTIAL`], and a limit on
/// their bytes, where each counts [`PARTIAL_OVERHEAD`] more.
pub struct Assembler {
    partial: HashMap<u32, Zeroizing<Vec<u8>>>,
    held: usize,
    limit: usize,
}

impl Assembler {
    /// An assembler that takes messages of at most `limit` bytes. What is under way of other streams counts against it.
    pub fn new(limit: usize) -> Self {
        Self { partial: HashMap::new(), held: 0, limit }
    }

    /// Takes the payload of a REQ or RESP; gives the message when it is whole.
    ///
    /// # Errors
    /// [`MessageError::TooLong`], [`MessageError::Continuation`], [`MessageError::EmptyPiece`], [`MessageError::TooMany`]. Each
    /// ends the connection; what was held of the stream is forgotten.
    pub fn push(&mut self, stream: u32, payload: &Bytes) -> Result<Option<Zeroizing<Vec<u8>>>, MessageError> {
        let mut message = match self.partial.remove(&stream) {
            Some(message) => {
                self.held -= message.len() + PARTIAL_OVERHEAD;
                message
            }
            None => Zeroizing::default(),
        };
        let (flag, piece) = payload.split_first().ok_or(MessageError::Continuation(u8::MAX))?;
        let found = self.held + message.len() + piece.len();
        if found > self.limit {
            return Err(MessageError::TooLong { found, limit: self.limit });
        }
        match *flag {
            LAST => {
                append(&mut message, piece);
                Ok(Some(message))
            }
            MORE if piece.is_empty() => Err(MessageError::EmptyPiece),
            MORE if self.partial.len() >= MAX_PARTIAL => Err(MessageError::TooMany { limit: MAX_PARTIAL }),
            MORE => {
                append(&mut message, piece);
                self.held += message.len() + PARTIAL_OVERHEAD;
                self.partial.insert(stream, message);
                Ok(None)
            }
            other => Err(MessageError::Continuation(other)),
        }
    }

    /// What the messages under way count: their bytes, and [`PARTIAL_OVERHEAD`] each. At most the limit and one overhead.
    pub fn held(&self) -> usize {
        self.held
    }

    /// Messages that are under way.
    pub fn partial(&self) -> usize {
        self.partial.len()
    }
}

impl std::fmt::Debug for Assembler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Assembler({} messages under way, {} of {} bytes)", self.partial.len(), self.held, self.limit)
    }
}

/// Appends without leaving an unwiped copy behind when the vector must grow.
fn append(message: &mut Zeroizing<Vec<u8>>, piece: &[u8]) {
    if message.capacity() - message.len() < piece.len() {
        let mut grown = Vec::with_capacity((message.len() + piece.len()).max(message.capacity() * 2));
        grown.extend_from_slice(message);
        let mut old = std::mem::replace(&mut **message, grown);
        old.zeroize();
    }
    message.extend_from_slice(piece);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::frame::Decoder;
    use crate::wire;

    fn payloads(frames: &[Zeroizing<Vec<u8>>]) -> Vec<Bytes> {
        let mut decoder = Decoder::new();
        frames.iter().for_each(|frame| decoder.push(frame));
        std::iter::from_fn(|| decoder.next_frame().unwrap()).map(|frame| frame.payload).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn messages_read_back_when_their_pieces_are_interleaved(
            lengths in proptest::collection::vec(0usize..200_000, 1..6),
            order in proptest::collection::vec(any::<proptest::sample::Index>(), 0..64),
        ) {
            let messages: Vec<_> = lengths.iter().enumerate()
                .map(|(at, length)| wire::Encrypted { ciphertext: vec![at as u8; *length] })
                .collect();
            let mut pieces: Vec<_> = messages.iter()
                .map(|message| payloads(&frames(FrameType::Response, 1, message).unwrap()).into_iter().collect::<std::collections::VecDeque<_>>())
                .collect();
            let mut assembler = Assembler::new(MAX_MESSAGE);
            let mut read = vec![None; messages.len()];
            let picks = order.iter().map(|index| index.index(messages.len())).chain((0..messages.len()).cycle());
            for at in picks {
                let piece = pieces[at].pop_front();
                if let Some(whole) = piece.and_then(|piece| assembler.push(at as u32 + 1, &piece).unwrap()) {
                    read[at] = Some(decode::<wire::Encrypted>("answer", &whole).unwrap());
                }
                if pieces.iter().all(std::collections::VecDeque::is_empty) { break }
            }
            prop_assert_eq!(assembler.held, 0);
            prop_assert_eq!(read.into_iter().map(Option::unwrap).collect::<Vec<_>>(), messages);
        }

        #[test]
        fn arbitrary_pieces_never_panic_and_never_exceed_the_bound(
            pieces in proptest::collection::vec((1u32..4, proptest::collection::vec(0u8..3, 0..50)), 0..50),
        ) {
            let mut assembler = Assembler::new(100);
            for (stream, piece) in pieces {
                if let Ok(Some(whole)) = assembler.push(stream, &piece.into()) {
                    let _ = decode::<wire::Request>("request", &whole);
                    let _ = decode::<wire::Response>("answer", &whole);
                }
                prop_assert!(assembler.held <= 100 + PARTIAL_OVERHEAD);
                let counted = assembler.partial.values().map(|p| p.len() + PARTIAL_OVERHEAD);
                prop_assert_eq!(assembler.held, counted.sum::<usize>());
            }
        }
    }

    #[test]
    fn a_message_over_the_limit_is_refused_at_both_ends() {
        let message = wire::Encrypted { ciphertext: vec![0; MAX_MESSAGE + 1] };
        assert!(matches!(frames(FrameType::Request, 1, &message), Err(MessageError::TooLong { .. })));
        let mut assembler = Assembler::new(10);
        assert_eq!(assembler.push(1, &vec![1; 6].into()), Ok(None));
        let error = assembler.push(3, &vec![1; 8].into()).unwrap_err();
        assert_eq!(error, MessageError::TooLong { found: 12 + PARTIAL_OVERHEAD, limit: 10 });
    }

    #[test]
    fn the_longest_message_passes_in_pieces_of_any_size() {
        for size in [1, 100, MAX_PAYLOAD - 1] {
            let limit = if size == MAX_PAYLOAD - 1 { MAX_MESSAGE } else { 1000 };
            let (mut assembler, message) = (Assembler::new(limit), vec![7; limit]);
            let pieces: Vec<_> = message.chunks(size).collect();
            for (at, piece) in pieces.iter().enumerate() {
                let flag = if at + 1 == pieces.len() { LAST } else { MORE };
                let whole = assembler.push(1, &[&[flag], *piece].concat().into()).unwrap();
                assert_eq!(whole.is_some(), flag == LAST);
            }
            assert_eq!(assembler.held(), 0);
        }
    }

    #[test]
    fn a_piece_of_nothing_may_only_be_the_last() {
        let mut assembler = Assembler::new(MAX_MESSAGE);
        assert_eq!(assembler.push(1, &vec![MORE].into()), Err(MessageError::EmptyPiece));
        assert_eq!(assembler.push(1, &vec![MORE, 7].into()), Ok(None));
        assert_eq!(assembler.push(1, &vec![LAST].into()).unwrap().unwrap().to_vec(), [7]);
        assert!(assembler.push(1, &vec![LAST].into()).unwrap().unwrap().is_empty());
    }

    #[test]
    fn messages_that_are_begun_and_never_ended_are_few() {
        let mut assembler = Assembler::new(MAX_MESSAGE);
        let begin = |assembler: &mut Assembler, n: usize| assembler.push(2 * n as u32 + 1, &vec![MORE, 0].into());
        for n in 0..MAX_PARTIAL {
            assert_eq!(begin(&mut assembler, n), Ok(None));
        }
        assert_eq!(begin(&mut assembler, MAX_PARTIAL), Err(MessageError::TooMany { limit: MAX_PARTIAL }));
        assert_eq!(begin(&mut assembler, 0), Ok(None), "one that is begun goes on");
        assert_eq!(assembler.push(1, &vec![LAST].into()).unwrap().unwrap().len(), 2);
        assert_eq!(begin(&mut assembler, MAX_PARTIAL), Ok(None), "there is room again");
    }

    #[test]
    fn a_message_that_is_begun_counts_more_than_its_bytes() {
        let mut assembler = Assembler::new(3 * PARTIAL_OVERHEAD);
        for stream in [1, 3] {
            assert_eq!(assembler.push(stream, &vec![MORE, 0].into()), Ok(None));
        }
        assert_eq!(assembler.held(), 2 * (PARTIAL_OVERHEAD + 1));
        assert_eq!(assembler.push(5, &vec![MORE, 0].into()), Ok(None));
        assert!(matches!(assembler.push(7, &vec![MORE, 0].into()), Err(MessageError::TooLong { .. })));
    }

    #[test]
    fn debug_shows_no_bytes() {
        let mut assembler = Assembler::new(1000);
        assembler.push(1, &b"\x01hunter2".to_vec().into()).unwrap();
        assert_eq!(format!("{assembler:?}"), "Assembler(1 messages under way, 135 of 1000 bytes)");
    }
}
