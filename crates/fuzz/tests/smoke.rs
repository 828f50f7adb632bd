//! Every body is run over its seeds and over mutations of them, the same ones each time, on stable Rust.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests may fail loudly")]

use burgrave_fuzz::{Mutator, TARGETS};

/// Mutations of a target, and bytes in all of them together, at most: the targets with long seeds get fewer.
const MUTATIONS: usize = 4000;
const BYTES: usize = 16 * 1024 * 1024;

#[test]
fn no_decoder_panics_at_its_seeds_or_at_mutations_of_them() {
    for target in TARGETS {
        let seeds = target.seeds().unwrap();
        assert!(!seeds.is_empty(), "{} has no seed", target.name);
        (target.body)(&[]);
        seeds.iter().for_each(|seed| (target.body)(seed));
        let mut mutator = Mutator::new(0x6275_7267_7261_7665);
        let mut bytes = 0;
        for number in 0..MUTATIONS {
            let (seed, other) = (&seeds[number % seeds.len()], &seeds[number * 7 % seeds.len()]);
            let mutated = mutator.mutate(seed, other);
            bytes += mutated.len();
            if bytes > BYTES {
                break;
            }
            (target.body)(&mutated);
        }
    }
}
