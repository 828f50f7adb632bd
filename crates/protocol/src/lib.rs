//! Frames and messages of the agent link, without I/O.
//!
//! The link is one mutually authenticated TLS 1.3 connection between an agent and its node. This crate is what travels
//! in it: [`frame`] cuts bytes into frames and back, [`message`] puts requests and answers together from frames and
//! reads them, [`credit`] counts what a channel may still send, [`pieces`] keeps what waits of one, and [`outbox`]
//! decides what is written next. The same code runs at both ends. `docs/link-protocol.md` specifies it for an agent in
//! another language; its byte vectors are tested here.
//!
//! It leaves to others: sockets, TLS and time (`burgrave-edge`, `burgrave-agent`), what a request means
//! (`burgrave-control`), and the end-to-end protection of a channel's bytes (`burgrave-channel`).
//!
//! ```
//! use burgrave_protocol::frame::{Decoder, Frame, FrameType};
//!
//! let sent = Frame::new(FrameType::Data, 3, b"hello".to_vec());
//! let mut decoder = Decoder::new();
//! for byte in sent.encode() {
//!     decoder.push(&[byte]);
//! }
//! assert_eq!(decoder.next_frame()?, Some(sent));
//! # Ok::<(), burgrave_protocol::frame::FrameError>(())
//! ```
//!
//! Threat notes: the peer is hostile until it is attested, and may be afterwards. A length is checked before anything is
//! buffered for it, messages are bounded in number and bytes while they are put together, credit that a peer did not have is an
//! error at the frame that oversteps it, and no queue grows without a bound. Messages that carry plaintext or secrets show no content
//! in `Debug`, and what [`outbox::Outbox`] holds of them is wiped once it is handed out.

pub mod credit;
pub mod frame;
pub mod message;
pub mod outbox;
pub mod pieces;
pub mod wire;

/// The version of the protocol that this code speaks.
pub const VERSION: u32 = 1;

/// The decoders of what a peer sends, as functions that a fuzzer can call. None may panic or hold more than its bound.
pub mod fuzz {
    use crate::frame::Decoder;
    use crate::message::{Assembler, MAX_MESSAGE, MAX_PARTIAL, PARTIAL_OVERHEAD, decode};
    use crate::wire;

    /// Reads `bytes` as what arrives on a connection: frames, and the messages inside them.
    pub fn connection(bytes: &[u8]) {
        let (mut decoder, mut assembler) = (Decoder::new(), Assembler::new(MAX_MESSAGE));
        decoder.push(bytes);
        while let Ok(Some(frame)) = decoder.next_frame() {
            if let Ok(Some(whole)) = assembler.push(frame.stream, &frame.payload) {
                message(&whole);
            }
            assert!(assembler.held() <= MAX_MESSAGE + PARTIAL_OVERHEAD && assembler.partial() <= MAX_PARTIAL);
            message(&frame.payload);
        }
    }

    /// Reads `bytes` as each message of the link.
    pub fn message(bytes: &[u8]) {
        let _ = decode::<wire::Hello>("Hello", bytes);
        let _ = decode::<wire::HelloAck>("HelloAck", bytes);
        let _ = decode::<wire::Request>("Request", bytes);
        let _ = decode::<wire::Response>("Response", bytes);
        let _ = decode::<wire::Push>("Push", bytes);
        let _ = decode::<wire::ChannelOffer>("ChannelOffer", bytes);
        let _ = decode::<wire::Problem>("Problem", bytes).map(burgrave_types::Problem::from);
    }
}
