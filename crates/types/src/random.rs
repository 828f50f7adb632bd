//! Where randomness comes in.

/// A source of random bytes, given to whatever needs one, so that a test can replay it.
///
/// The product's source is `burgrave_seal::SystemRandom`.
pub trait Random: Send + Sync {
    /// Fills `out` with random bytes. A source that cannot do so aborts the process rather than return weak bytes.
    fn fill(&self, out: &mut [u8]);
}
