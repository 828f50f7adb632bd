//! Mutations that are the same on every machine and every day.

/// Numbers that lengths and counts go wrong at.
const ODD: [u64; 8] = [0, 1, 0x7f, 0x80, 0xff, 0x7fff_ffff, 0xffff_ffff, u64::MAX];

/// A source of mutated bytes, which a seed number determines.
#[derive(Clone, Debug)]
pub struct Mutator(u64);

impl Mutator {
    /// The mutations of this number.
    pub fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    /// One to four changes of `bytes`; `other` gives what is spliced in.
    pub fn mutate(&mut self, bytes: &[u8], other: &[u8]) -> Vec<u8> {
        let mut out = bytes.to_vec();
        for _ in 0..=self.below(4) {
            self.change(&mut out, other);
        }
        out
    }

    fn change(&mut self, bytes: &mut Vec<u8>, other: &[u8]) {
        let at = self.below(bytes.len());
        match self.below(8) {
            0 | 1 => {
                let bit = self.below(8);
                bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << bit);
            }
            2 => {
                let value = self.next().to_le_bytes();
                bytes.iter_mut().skip(at).zip(value).take(1).for_each(|(to, from)| *to = from);
            }
            3 => {
                let (width, little) = (1 << self.below(4), self.below(2) == 0);
                let odd = ODD.get(self.below(ODD.len())).copied().unwrap_or_default();
                let value = if little { odd.to_le_bytes() } else { odd.swap_bytes().to_le_bytes() };
                let skip = if little { 0 } else { 8 - width };
                let value = value.into_iter().skip(skip).take(width);
                bytes.iter_mut().skip(at).zip(value).for_each(|(to, from)| *to = from);
            }
            4 => bytes.truncate(at),
            5 => {
                let end = at + self.below(bytes.len() - at + 1).min(64);
                bytes.drain(at..end);
            }
            6 => {
                let length = self.below(64).min(bytes.len() - at);
                let again: Vec<u8> = bytes.iter().skip(at).take(length).copied().collect();
                bytes.splice(at..at, again);
            }
            _ => {
                let from = self.below(other.len());
                let length = self.below(256);
                bytes.splice(at..at, other.iter().skip(from).take(length).copied());
            }
        }
    }

    /// A number below `bound`; zero where that is zero.
    fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound).unwrap_or(u64::MAX).max(1);
        usize::try_from(self.next() % bound).unwrap_or_default()
    }

    /// xorshift64 (Marsaglia, 2003).
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_gives_the_same_mutations_each_time_and_another_gives_others() {
        let made = |seed| {
            let mut mutator = Mutator::new(seed);
            (0..100).map(|_| mutator.mutate(b"some bytes to begin from", b"others")).collect::<Vec<_>>()
        };
        assert_eq!(made(4), made(4));
        assert_ne!(made(4), made(8));
    }

    #[test]
    fn no_bytes_at_all_can_be_mutated() {
        let mut mutator = Mutator::new(3);
        for _ in 0..1000 {
            assert!(mutator.mutate(&[], &[]).is_empty());
        }
    }
}
