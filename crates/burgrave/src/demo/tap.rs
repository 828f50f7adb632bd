//! What the node relayed, kept for a look at it.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use burgrave_node::RelayTap;
use burgrave_types::ChannelId;

/// Keeps all that the node relays.
#[derive(Default)]
pub(super) struct Tap(Mutex<HashMap<ChannelId, Vec<u8>>>);

impl RelayTap for Tap {
    fn relayed(&self, channel: ChannelId, _from_initiator: bool, bytes: &[u8]) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.entry(channel).or_default().extend_from_slice(bytes);
    }
}

impl Tap {
    /// The bytes that were relayed on a channel, both directions.
    pub(super) fn seen(&self, channel: ChannelId) -> Vec<u8> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&channel).cloned().unwrap_or_default()
    }
}

/// Whether `text` stands anywhere in `bytes`.
pub(super) fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len().max(1)).any(|window| window == text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_relayed_in_clear_would_be_found() {
        let (tap, channel) = (Tap::default(), ChannelId::from_bytes([1; 16]));
        tap.relayed(channel, true, b"..the se");
        tap.relayed(channel, true, b"cret..");
        assert!(contains(&tap.seen(channel), "the secret"));
        assert!(!contains(&tap.seen(ChannelId::from_bytes([2; 16])), "the secret"));
    }
}
