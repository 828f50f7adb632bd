//! The machine's randomness.

use aws_lc_rs::rand::SecureRandom;
use burgrave_types::Random;

/// Random bytes from aws-lc-rs, seeded by the operating system. Aborts the process where there are none.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemRandom;

impl Random for SystemRandom {
    fn fill(&self, out: &mut [u8]) {
        if aws_lc_rs::rand::SystemRandom::new().fill(out).is_err() {
            // Going on would mean weak keys; unwinding could be caught.
            std::process::abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_draws_differ() {
        let (mut a, mut b) = ([0; 32], [0; 32]);
        SystemRandom.fill(&mut a);
        SystemRandom.fill(&mut b);
        assert_ne!(a, b);
    }
}
