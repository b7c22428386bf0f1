//! What is left to chance, the same in every run.

use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};

/// Numbers that look random, from one seed.
pub struct Chance(ChaCha8Rng);

impl Chance {
    /// From the seed that all shapes have.
    pub fn new() -> Chance {
        Chance(ChaCha8Rng::seed_from_u64(4))
    }

    /// A number below this one, which is not 0.
    pub fn below(&mut self, end: usize) -> usize {
        self.0.random_range(0..end)
    }

    /// So many of these, drawn by lot, to the front.
    pub fn draw<'a, T>(&mut self, of: &'a mut [T], count: usize) -> &'a mut [T] {
        let count = count.min(of.len());
        for at in 0..count {
            let other = at + self.below(of.len() - at);
            of.swap(at, other);
        }
        &mut of[..count]
    }
}
