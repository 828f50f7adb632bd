//! Challenges without a memory: the nonce says by itself when, where and for whom it was made.
//!
//! A nonce is `time ‖ random ‖ MAC`, the MAC over these and node, enclave and identity key. (That it
//! is answered over the same link, the evidence's own binding shows.) The MAC's key is derived for one run of one
//! node: a challenge is good at this node alone, and no longer than this process lives, so that a restart, which forgets
//! what was used, ends what could be used again. Only a nonce whose evidence was accepted is
//! remembered, until it expires; asking for challenges costs no memory.

use std::collections::{BTreeSet, HashSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use aws_lc_rs::hmac;
use burgrave_types::encoding::Encoder;
use burgrave_types::{EnclaveName, NodeId, Random, Secret, SpkiHash, Timestamp};

/// How long a challenge can be answered.
pub(crate) const LIFETIME: Duration = Duration::from_secs(60);

const TIME: usize = 8;
const UNIQUE: usize = 16;
const TAG: usize = 32;

/// Makes challenges and recognises them.
pub(crate) struct Challenger {
    key: hmac::Key,
    node: NodeId,
    used: Mutex<Used>,
}

/// What was accepted and has not expired.
#[derive(Default)]
struct Used {
    known: HashSet<[u8; UNIQUE]>,
    by_expiry: BTreeSet<(Timestamp, [u8; UNIQUE])>,
}

/// A nonce that is genuine, in time, and for this enclave and key. Whether it was used, [`Challenger::consume`] says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Open {
    unique: [u8; UNIQUE],
    expires: Timestamp,
}

/// Why a nonce is not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum ChallengeError {
    /// Not made by this process, or for another enclave or key.
    #[error("the nonce is none that this node gave to this key for this enclave")]
    Unknown,
    /// Too old.
    #[error("the challenge expired {} s ago", .0.as_secs())]
    Expired(Duration),
    /// Evidence over it was accepted before.
    #[error("the challenge was answered before")]
    Used,
}

impl ChallengeError {
    /// The stable code of the cause.
    pub(crate) const fn cause(self) -> &'static str {
        match self {
            Self::Unknown => "challenge.unknown",
            Self::Expired(_) => "challenge.expired",
            Self::Used => "challenge.used",
        }
    }
}

impl Challenger {
    /// A challenger whose MACs are under `key`.
    pub(crate) fn new(key: &Secret<[u8; 32]>, node: NodeId) -> Self {
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, key.expose()), node, used: Mutex::default() }
    }

    /// A nonce for who has this identity key and wants to be this enclave, and its expiry.
    pub(crate) fn issue(
        &self,
        now: Timestamp,
        random: &dyn Random,
        enclave: &EnclaveName,
        identity: &SpkiHash,
    ) -> (Vec<u8>, Timestamp) {
        let mut unique = [0; UNIQUE];
        random.fill(&mut unique);
        let tag = hmac::sign(&self.key, &self.covered(now, unique, enclave, identity));
        let mut nonce = Vec::with_capacity(TIME + UNIQUE + TAG);
        nonce.extend_from_slice(&now.unix_millis().to_be_bytes());
        nonce.extend_from_slice(&unique);
        nonce.extend_from_slice(tag.as_ref());
        (nonce, now + LIFETIME)
    }

    /// Recognises a nonce.
    pub(crate) fn open(
        &self,
        now: Timestamp,
        nonce: &[u8],
        enclave: &EnclaveName,
        identity: &SpkiHash,
    ) -> Result<Open, ChallengeError> {
        let (time, rest) = nonce.split_first_chunk::<TIME>().ok_or(ChallengeError::Unknown)?;
        let (unique, tag) = rest.split_first_chunk::<UNIQUE>().ok_or(ChallengeError::Unknown)?;
        let made = Timestamp::from_unix_millis(i64::from_be_bytes(*time));
        hmac::verify(&self.key, &self.covered(made, *unique, enclave, identity), tag)
            .map_err(|_| ChallengeError::Unknown)?;
        let expires = made + LIFETIME;
        // A nonce from the future is one from before the clock was set back: as good as expired.
        if now >= expires || now < made {
            return Err(ChallengeError::Expired(now.since(expires)));
        }
        if self.lock().known.contains(unique) {
            return Err(ChallengeError::Used);
        }
        Ok(Open { unique: *unique, expires })
    }

    /// Uses the nonce up: of all who come with it, the first.
    pub(crate) fn consume(&self, open: Open) -> Result<(), ChallengeError> {
        let mut used = self.lock();
        if !used.known.insert(open.unique) {
            return Err(ChallengeError::Used);
        }
        used.by_expiry.insert((open.expires, open.unique));
        Ok(())
    }

    /// Forgets what has expired.
    pub(crate) fn forget_expired(&self, now: Timestamp) {
        let mut used = self.lock();
        while let Some((expires, unique)) = used.by_expiry.first().copied()
            && expires <= now
        {
            used.by_expiry.pop_first();
            used.known.remove(&unique);
        }
    }

    /// A MAC under the same key over something else: `label` keeps it apart from nonces.
    pub(crate) fn seal(&self, label: &str, content: &[u8]) -> Vec<u8> {
        let tag = hmac::sign(&self.key, &Encoder::new().text(label).bytes(content).finish());
        [tag.as_ref(), content].concat()
    }

    /// What [`Challenger::seal`] sealed, where it is genuine.
    pub(crate) fn unseal<'a>(&self, label: &str, sealed: &'a [u8]) -> Option<&'a [u8]> {
        let (tag, content) = sealed.split_at_checked(TAG)?;
        let covered = Encoder::new().text(label).bytes(content).finish();
        hmac::verify(&self.key, &covered, tag).ok()?;
        Some(content)
    }

    /// Uses up something that is not a nonce (an activation ticket), known by its digest.
    pub(crate) fn consume_digest(&self, digest: [u8; 32], expires: Timestamp) -> Result<(), ChallengeError> {
        let mut unique = [0; UNIQUE];
        unique.iter_mut().zip(digest).for_each(|(to, from)| *to = from);
        self.consume(Open { unique, expires })
    }

    /// How many used nonces are remembered.
    #[cfg(test)]
    fn remembered(&self) -> usize {
        self.lock().known.len()
    }

    fn covered(&self, made: Timestamp, unique: [u8; UNIQUE], enclave: &EnclaveName, identity: &SpkiHash) -> Vec<u8> {
        Encoder::new()
            .text("burgrave-challenge-v1")
            .i64(made.unix_millis())
            .bytes(&unique)
            .bytes(self.node.as_bytes())
            .text(&enclave.to_string())
            .bytes(identity.as_bytes())
            .finish()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Used> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    /// Counts up, so that each value differs.
    #[derive(Default)]
    struct Counter(AtomicU64);

    impl Random for Counter {
        fn fill(&self, out: &mut [u8]) {
            for chunk in out.chunks_mut(8) {
                let bytes = self.0.fetch_add(1, Ordering::Relaxed).to_be_bytes();
                chunk.copy_from_slice(&bytes[..chunk.len()]);
            }
        }
    }

    fn challenger() -> (Challenger, Counter) {
        let random = Counter::default();
        (Challenger::new(&Secret::new([7; 32]), NodeId::from_bytes([1; 16])), random)
    }

    fn enclave() -> EnclaveName {
        "payments/api".parse().unwrap()
    }

    fn key(byte: u8) -> SpkiHash {
        SpkiHash::from_bytes([byte; 32])
    }

    const NOW: Timestamp = Timestamp::from_unix_secs(1000);

    #[test]
    fn a_challenge_is_taken_once() {
        let (challenger, random) = challenger();
        let (nonce, _) = challenger.issue(NOW, &random, &enclave(), &key(1));
        let open = challenger.open(NOW, &nonce, &enclave(), &key(1)).unwrap();
        challenger.consume(open).unwrap();
        assert_eq!(challenger.consume(open), Err(ChallengeError::Used));
        assert_eq!(challenger.open(NOW, &nonce, &enclave(), &key(1)), Err(ChallengeError::Used));
    }

    #[test]
    fn a_challenge_expires() {
        let (challenger, random) = challenger();
        let (nonce, expires) = challenger.issue(NOW, &random, &enclave(), &key(1));
        assert!(challenger.open(expires - Duration::from_millis(1), &nonce, &enclave(), &key(1)).is_ok());
        let late = challenger.open(expires + Duration::from_secs(3), &nonce, &enclave(), &key(1));
        assert_eq!(late, Err(ChallengeError::Expired(Duration::from_secs(3))));
    }

    #[test]
    fn a_challenge_of_another_key_enclave_or_process_is_unknown() {
        let (challenger, random) = challenger();
        let (nonce, _) = challenger.issue(NOW, &random, &enclave(), &key(1));
        let unknown = Err(ChallengeError::Unknown);
        assert_eq!(challenger.open(NOW, &nonce, &enclave(), &key(2)), unknown);
        assert_eq!(challenger.open(NOW, &nonce, &"payments/web".parse().unwrap(), &key(1)), unknown);
        let restarted = Challenger::new(&Secret::new([8; 32]), NodeId::from_bytes([1; 16]));
        assert_eq!(restarted.open(NOW, &nonce, &enclave(), &key(1)), unknown);
        for at in 0..nonce.len() {
            let mut altered = nonce.clone();
            altered[at] ^= 1;
            assert_eq!(challenger.open(NOW, &altered, &enclave(), &key(1)), unknown, "byte {at}");
        }
    }

    #[test]
    fn a_million_unanswered_challenges_cost_no_memory() {
        let (challenger, random) = challenger();
        for _ in 0..1_000_000 {
            challenger.issue(NOW, &random, &enclave(), &key(1));
        }
        let used = challenger.lock();
        assert_eq!((used.known.capacity(), used.by_expiry.len()), (0, 0));
    }

    #[test]
    fn used_challenges_are_forgotten_when_they_expire() {
        let (challenger, random) = challenger();
        let (nonce, expires) = challenger.issue(NOW, &random, &enclave(), &key(1));
        challenger.consume(challenger.open(NOW, &nonce, &enclave(), &key(1)).unwrap()).unwrap();
        challenger.forget_expired(expires - Duration::from_millis(1));
        assert_eq!(challenger.remembered(), 1);
        challenger.forget_expired(expires);
        assert_eq!(challenger.remembered(), 0);
    }

    #[test]
    fn what_was_sealed_under_one_label_is_not_taken_under_another() {
        let (challenger, _) = challenger();
        let sealed = challenger.seal("a", b"content");
        assert_eq!(challenger.unseal("a", &sealed), Some(b"content".as_slice()));
        assert_eq!(challenger.unseal("b", &sealed), None);
        assert_eq!(challenger.unseal("a", &sealed[1..]), None);
    }
}
