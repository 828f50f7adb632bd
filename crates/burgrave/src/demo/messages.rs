//! What the demo asks its enclaves, and what they answer: JSON, a line each, over the child's stdin and stdout.

use burgrave_types::{ChannelId, EnclaveName, InstanceId, Problem, ResourceId};
use serde::{Deserialize, Serialize};

/// A question with its number, which the answer bears as well: answers come as they are ready.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Numbered<T> {
    pub(super) number: u64,
    pub(super) body: T,
}

/// What an enclave is asked to do.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Ask {
    /// Wait until it is attested, or refused.
    Attested,
    /// How its link is.
    Link,
    /// Encrypt a text.
    Encrypt { resource: ResourceId, text: String },
    /// Decrypt what was encrypted to a text.
    Decrypt { ciphertext: String },
    /// Get the key itself, and tell its fingerprint.
    Key { resource: ResourceId },
    /// Open a channel.
    Connect { peer: EnclaveName },
    /// Take the next channel that somebody opens.
    Accept,
    /// Send a text on a channel.
    Send { channel: ChannelId, text: String },
    /// Receive so many bytes of text.
    Receive { channel: ChannelId, bytes: usize },
    /// Wait until a channel ends, and tell why.
    Ended { channel: ChannelId },
    /// Encrypt again and again from now on.
    Work { resource: ResourceId },
    /// Stop that, and tell how it went.
    Rest,
}

/// What an enclave answers.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Answer {
    Done,
    Attested { instance: InstanceId },
    Link { attestations: u64, lost: u64 },
    Ciphertext(String),
    Text(String),
    Fingerprint(String),
    Channel { id: ChannelId, peer: String },
    Ended(Problem),
    Worked { calls: u64, failures: u64, longest_ms: u64 },
}

/// An answer, or why there is none.
pub(super) type Answered = Result<Answer, Problem>;
