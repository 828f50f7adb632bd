//! Transactions as they are committed, in order.

use burgrave_types::encoding::{DecodeError, Decoder, Encoder};

use crate::{BoxFuture, WatchError};

/// A committed transaction.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Event {
    /// Its revision.
    pub revision: u64,
    /// What it changed, in the order of the keys.
    pub changes: Vec<Change>,
}

/// What a transaction did to one record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// It was written.
    Put {
        /// Its key.
        key: Vec<u8>,
        /// Its new value.
        value: Vec<u8>,
    },
    /// It was deleted.
    Delete {
        /// Its key.
        key: Vec<u8>,
    },
}

impl Change {
    /// The record's key.
    pub fn key(&self) -> &[u8] {
        match self {
            Self::Put { key, .. } | Self::Delete { key } => key,
        }
    }

    /// The canonical bytes of a list of changes, as a change log keeps them.
    pub fn encode_all(changes: &[Self]) -> Vec<u8> {
        changes
            .iter()
            .fold(Encoder::new().u64(changes.len() as u64), |encoder, change| match change {
                Self::Put { key, value } => encoder.bytes(key).list([value]),
                Self::Delete { key } => encoder.bytes(key).list::<[&[u8]; 0]>([]),
            })
            .finish()
    }

    /// Reads what [`Change::encode_all`] wrote.
    ///
    /// # Errors
    /// [`DecodeError`] for anything else.
    pub fn decode_all(bytes: &[u8]) -> Result<Vec<Self>, DecodeError> {
        let mut decoder = Decoder::new(bytes);
        let mut changes = Vec::new();
        for _ in 0..decoder.u64()? {
            let key = decoder.bytes()?.to_vec();
            changes.push(match decoder.list()?.as_slice() {
                [] => Self::Delete { key },
                [value] => Self::Put { key, value: value.to_vec() },
                _ => return Err(DecodeError::Value("value or none")),
            });
        }
        decoder.finish()?;
        Ok(changes)
    }
}

/// Where a watch gets its events: each store has its own.
pub trait EventSource: Send {
    /// The next event. Cancellation safe: a call that is dropped loses nothing.
    fn next(&mut self) -> BoxFuture<'_, Result<Event, WatchError>>;
}

/// The transactions after a revision: every one, once, in order.
pub struct Watch(Box<dyn EventSource>);

impl Watch {
    /// A watch over a store's own source of events.
    pub fn new(source: Box<dyn EventSource>) -> Self {
        Self(source)
    }

    /// The next transaction; waits until there is one. Cancellation safe.
    ///
    /// # Errors
    /// [`WatchError`]; after [`WatchError::Compacted`] or [`WatchError::Closed`] nothing more comes.
    pub async fn next(&mut self) -> Result<Event, WatchError> {
        self.0.next().await
    }
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Watch")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn changes_read_back(items: Vec<(Vec<u8>, Option<Vec<u8>>)>) {
            let changes: Vec<_> = items
                .into_iter()
                .map(|(key, value)| match value {
                    Some(value) => Change::Put { key, value },
                    None => Change::Delete { key },
                })
                .collect();
            prop_assert_eq!(Change::decode_all(&Change::encode_all(&changes)), Ok(changes));
        }

        #[test]
        fn arbitrary_bytes_never_panic_and_what_decodes_is_canonical(bytes: Vec<u8>) {
            if let Ok(changes) = Change::decode_all(&bytes) {
                prop_assert_eq!(Change::encode_all(&changes), bytes);
            }
        }
    }
}
