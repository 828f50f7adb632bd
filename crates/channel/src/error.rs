//! Why a channel did not come about, or ended.

use burgrave_identity::IdentityError;
use burgrave_types::{ChannelId, Timestamp};

use crate::{AcceptError, GrantError, Role};

/// Why an endpoint refuses. An endpoint that has met one of the peer's or the grant's making stays with it for good.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ChannelError {
    /// The grant is not valid now.
    #[error(transparent)]
    Grant(#[from] GrantError),
    /// The channel id is not taken.
    #[error(transparent)]
    Accept(#[from] AcceptError),
    /// The grant is for another instance than this one.
    #[error(
        "the grant's {role} has the {what} `{expected}`, this instance has `{found}`; another instance must use it"
    )]
    NotOurs {
        /// The role that this endpoint was to play.
        role: Role,
        /// What differs.
        what: &'static str,
        /// What the grant names.
        expected: String,
        /// What this instance has.
        found: String,
    },
    /// This instance's own certificate or key cannot be used.
    #[error("this instance's own identity cannot be used: {0}; attest again")]
    OwnIdentity(IdentityError),
    /// The peer is not the one that the grant names.
    #[error("the peer is not the one that the grant names: {0}")]
    Peer(IdentityError),
    /// The peer ended the handshake with an alert.
    #[error("the peer refused the channel with the TLS alert `{0}`; its log says why")]
    PeerRefused(String),
    /// What arrived is not what the peer sent.
    #[error("what arrived was altered on the way or is no TLS 1.3 of ours: {0}")]
    Tls(rustls::Error),
    /// The peer means another channel.
    #[error("the peer opened the channel `{found}` where `{expected}` was granted")]
    OtherChannel {
        /// The channel of the grant.
        expected: ChannelId,
        /// What the peer named.
        found: String,
    },
    /// Data came before both sides had confirmed.
    #[error("the peer sent data before both sides had confirmed the channel")]
    Unconfirmed,
    /// The confirmation does not verify.
    #[error("the peer's confirmation does not verify: it holds another grant or channel secret")]
    Confirmation,
    /// The grant has ended.
    #[error("the grant of channel `{channel}` ended at {not_after}, and it is {now}; ask for a new channel")]
    Expired {
        /// The channel.
        channel: ChannelId,
        /// When it ended.
        not_after: Timestamp,
        /// The time of the check.
        now: Timestamp,
    },
    /// As many bytes as the grant allows have passed.
    #[error("the channel has carried the {0} bytes that its grant allows in a direction; ask for a new channel")]
    ByteLimit(u64),
    /// The peer sends more than this side reads.
    #[error("the peer sent over {0} bytes that were not read; whoever relays must hold it to its credit")]
    Overrun(usize),
    /// The bytes ended without the peer saying so.
    #[error("the channel was cut: its bytes ended before the peer closed it")]
    Truncated,
    /// This side closed the channel already.
    #[error("this side has closed the channel; nothing more can be written")]
    Closed,
}
