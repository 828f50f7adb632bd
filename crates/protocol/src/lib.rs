//! Frames and messages of the agent link, without I/O.
//!
//! The link is one mutually authenticated TLS 1.3 connection between an agent and its node. This crate is what travels
//! in it: [`frame`] cuts bytes into frames and back, [`message`] puts requests and answers together from frames and
//! reads them, [`credit`] counts what a channel may still send, and [`outbox`] decides what is written next. The same
//! code runs at both ends. `docs/link-protocol.md` specifies it for an agent in another language; its byte vectors are
//! tested here.
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
//! buffered for it, a message is bounded while it is put together, credit that a peer did not have is an error at the
//! frame that oversteps it, and no queue grows without a bound. Messages that carry plaintext or secrets show no content
//! in `Debug`, and what [`outbox::Outbox`] holds of them is wiped once it is handed out.

pub mod credit;
pub mod frame;
pub mod message;
pub mod outbox;
pub mod wire;

/// The version of the protocol that this code speaks.
pub const VERSION: u32 = 1;
