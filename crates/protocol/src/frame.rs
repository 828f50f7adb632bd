//! Frames: u24 length, u8 type, u32 stream id, payload; numbers are big endian.
//!
//! Which question this answers: where does one frame end and the next begin, and may it be what it says it is?

use std::ops::RangeInclusive;

use bytes::{Buf, Bytes, BytesMut};

/// Bytes of a frame before its payload.
pub const HEADER: usize = 8;

/// The longest payload, in bytes.
pub const MAX_PAYLOAD: usize = 64 * 1024;

/// The longest payload of a frame that carries one small message (HELLO, OPEN, CUT, GOAWAY) in one piece, in bytes.
const MAX_CONTROL: usize = 16 * 1024;

/// What a frame is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[repr(u8)]
pub enum FrameType {
    /// First frame each way: `Hello`, answered by `HelloAck`.
    Hello = 1,
    /// A piece of a `Request`.
    Request = 2,
    /// A piece of a `Response`.
    Response = 3,
    /// A `Push`: what the node tells unasked.
    Push = 4,
    /// A `ChannelOffer` to the side that is to accept the channel.
    Open = 5,
    /// Bytes of a channel.
    Data = 6,
    /// Bytes (u32) that the receiver of a channel takes beyond what it took before.
    Credit = 7,
    /// The sender of this frame is done with the channel; what it sent before still arrives.
    Close = 8,
    /// The channel is ended now, with a `Problem`; what is under way is discarded.
    Cut = 9,
    /// A sign of life: u8 0 (asks) or 1 (answers), then 8 bytes that the answer repeats.
    Ping = 10,
    /// The connection ends, with a `Problem`.
    GoAway = 11,
}

impl FrameType {
    /// All types.
    pub const ALL: [Self; 11] = [
        Self::Hello,
        Self::Request,
        Self::Response,
        Self::Push,
        Self::Open,
        Self::Data,
        Self::Credit,
        Self::Close,
        Self::Cut,
        Self::Ping,
        Self::GoAway,
    ];

    /// The type with that code.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.code() == code)
    }

    /// The code on the wire.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// How long the payload may be.
    pub fn payload(self) -> RangeInclusive<usize> {
        match self {
            Self::Hello | Self::Open | Self::Cut | Self::GoAway => 0..=MAX_CONTROL,
            Self::Push => 0..=MAX_PAYLOAD,
            Self::Request | Self::Response | Self::Data => 1..=MAX_PAYLOAD,
            Self::Credit => 4..=4,
            Self::Close => 0..=0,
            Self::Ping => 9..=9,
        }
    }

    /// Whether it belongs to a stream; what does not stands on stream 0.
    pub const fn has_stream(self) -> bool {
        !matches!(self, Self::Hello | Self::Push | Self::Ping | Self::GoAway)
    }
}

/// One frame.
#[derive(Clone, PartialEq, Eq)]
pub struct Frame {
    /// What it is.
    pub kind: FrameType,
    /// The request or channel it belongs to: odd where the agent began it, even where the node did, 0 for the connection.
    pub stream: u32,
    /// Its content.
    pub payload: Bytes,
}

impl Frame {
    /// A frame of these parts. It is up to the caller that the payload is of a length that [`FrameType::payload`] allows;
    /// a peer refuses another.
    pub fn new(kind: FrameType, stream: u32, payload: impl Into<Bytes>) -> Self {
        Self { kind, stream, payload: payload.into() }
    }

    /// The bytes on the wire.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER + self.payload.len());
        write(&mut out, self.kind, self.stream, &self.payload);
        out
    }
}

impl std::fmt::Debug for Frame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}(stream {}, {} bytes)", self.kind, self.stream, self.payload.len())
    }
}

/// Appends a frame's bytes to `out`.
pub(crate) fn write(out: &mut Vec<u8>, kind: FrameType, stream: u32, payload: &[u8]) {
    // INVARIANT: every caller keeps payloads within `MAX_PAYLOAD`, so the length fits 24 bits.
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX) & 0x00ff_ffff;
    out.extend_from_slice(&(length << 8 | u32::from(kind.code())).to_be_bytes());
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
}

/// Why bytes are no frame. Each ends the connection.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FrameError {
    /// The type is not known.
    #[error("a frame has the unknown type {code:#04x}; known are 0x01 to 0x0b")]
    Type {
        /// The code that stands there.
        code: u8,
    },
    /// The length is not one that the type may have.
    #[error("a {kind:?} frame says it has {found} bytes; it may have {} to {}", .kind.payload().start(), .kind.payload().end())]
    Length {
        /// The frame's type.
        kind: FrameType,
        /// The length that stands in its header.
        found: usize,
    },
    /// A frame of the connection stands on a stream, or one of a stream on none.
    #[error("a {kind:?} frame stands on stream {stream}, where it cannot be")]
    Stream {
        /// The frame's type.
        kind: FrameType,
        /// The stream in its header.
        stream: u32,
    },
}

/// Cuts a stream of bytes into frames.
///
/// The header is checked as soon as its 8 bytes are there, before anything is reserved for the payload. After an error
/// the decoder gives the same error again: there is no way to find the next frame.
#[derive(Default)]
pub struct Decoder {
    buffer: BytesMut,
}

impl Decoder {
    /// A decoder that has seen nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes bytes as they arrived.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Where a reader may put bytes as they arrive, saving the copy that [`Decoder::push`] makes. Only append to it.
    pub fn buffer_mut(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    /// The next whole frame, or `None` until more bytes have come.
    ///
    /// # Errors
    /// [`FrameError`] for a header that no frame may have.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        let Some((head, _)) = self.buffer.split_first_chunk::<HEADER>() else { return Ok(None) };
        let [l2, l1, l0, code, s3, s2, s1, s0] = *head;
        let length = u32::from_be_bytes([0, l2, l1, l0]) as usize;
        let stream = u32::from_be_bytes([s3, s2, s1, s0]);
        let kind = FrameType::from_code(code).ok_or(FrameError::Type { code })?;
        if !kind.payload().contains(&length) {
            return Err(FrameError::Length { kind, found: length });
        }
        if kind.has_stream() != (stream != 0) {
            return Err(FrameError::Stream { kind, stream });
        }
        if self.buffer.len() < HEADER + length {
            self.buffer.reserve(HEADER + length - self.buffer.len());
            return Ok(None);
        }
        self.buffer.advance(HEADER);
        Ok(Some(Frame { kind, stream, payload: self.buffer.split_to(length).freeze() }))
    }
}

impl std::fmt::Debug for Decoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Decoder({} bytes wait)", self.buffer.len())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_frame() -> impl Strategy<Value = Frame> {
        (0..FrameType::ALL.len(), 1u32.., any::<proptest::sample::Index>(), any::<u8>()).prop_map(
            |(kind, stream, length, fill)| {
                let kind = FrameType::ALL[kind];
                let stream = if kind.has_stream() { stream } else { 0 };
                let (least, most) = (*kind.payload().start(), (*kind.payload().end()).min(300));
                let length = least + length.index(most - least + 1);
                Frame::new(kind, stream, vec![fill; length])
            },
        )
    }

    proptest! {
        #[test]
        fn frames_read_back_however_they_are_cut(
            frames in proptest::collection::vec(any_frame(), 0..12),
            sizes in proptest::collection::vec(1usize..40, 1..20),
        ) {
            let bytes: Vec<u8> = frames.iter().flat_map(Frame::encode).collect();
            let mut decoder = Decoder::new();
            let mut read = Vec::new();
            let mut rest = bytes.as_slice();
            for size in sizes.iter().cycle() {
                if rest.is_empty() { break }
                let (piece, after) = rest.split_at((*size).min(rest.len()));
                decoder.push(piece);
                rest = after;
                while let Some(frame) = decoder.next_frame().unwrap() { read.push(frame) }
            }
            prop_assert_eq!(read, frames);
        }

        #[test]
        fn arbitrary_bytes_never_panic_and_an_error_stays(bytes: Vec<u8>) {
            let mut decoder = Decoder::new();
            decoder.push(&bytes);
            loop {
                match decoder.next_frame() {
                    Ok(Some(_)) => {}
                    Ok(None) => break,
                    Err(error) => {
                        prop_assert_eq!(decoder.next_frame(), Err(error));
                        break;
                    }
                }
            }
        }
    }

    #[test]
    fn an_oversized_frame_is_refused_at_its_header() {
        let mut decoder = Decoder::new();
        decoder.push(&[0x01, 0x00, 0x01, FrameType::Data.code(), 0, 0, 0, 1]);
        assert_eq!(decoder.next_frame(), Err(FrameError::Length { kind: FrameType::Data, found: 65_537 }));
        assert!(decoder.buffer.capacity() < MAX_PAYLOAD);
    }

    #[test]
    fn an_unknown_type_is_refused_by_name() {
        let mut decoder = Decoder::new();
        decoder.push(&[0, 0, 0, 0x7f, 0, 0, 0, 1]);
        assert_eq!(
            decoder.next_frame().unwrap_err().to_string(),
            "a frame has the unknown type 0x7f; known are 0x01 to 0x0b"
        );
    }

    #[test]
    fn data_on_no_stream_and_hello_on_one_are_refused() {
        for (kind, stream) in [(FrameType::Data, 0), (FrameType::Hello, 2)] {
            let mut decoder = Decoder::new();
            decoder.push(&Frame::new(kind, stream, vec![0]).encode());
            assert_eq!(decoder.next_frame(), Err(FrameError::Stream { kind, stream }));
        }
    }

    #[test]
    fn debug_shows_no_payload() {
        let shown = format!("{:?}", Frame::new(FrameType::Request, 1, b"secret".to_vec()));
        assert_eq!(shown, "Request(stream 1, 6 bytes)");
        let mut decoder = Decoder::new();
        decoder.push(b"secret");
        assert_eq!(format!("{decoder:?}"), "Decoder(6 bytes wait)");
    }
}
