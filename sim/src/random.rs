//! Everything that is left to chance, from one seed.

use std::time::Duration;

use rand::rngs::ChaCha8Rng;
use rand::{Rng, RngExt, SeedableRng};

/// A source of numbers that look random and are the same for the same seed.
#[derive(Debug)]
pub struct Random(ChaCha8Rng);

impl Random {
    /// Starts at this seed.
    pub fn new(seed: u64) -> Random {
        Random(ChaCha8Rng::seed_from_u64(seed))
    }

    /// The source of one thing out of a row of its kind in the run of this seed, both counted from 1: what one of them
    /// draws, and whether it happens at all, changes nothing for the others.
    pub fn nth(seed: u64, kind: u64, number: u64) -> Random {
        Random::new(seed ^ (kind << 56) ^ (number << 32))
    }

    /// A source of its own for a part of the world, so that one more question there does not change all others.
    pub fn fork(&mut self) -> Random {
        Random::new(self.bits())
    }

    /// 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// Whether something of this probability, from 0 to 1, happens.
    pub fn chance(&mut self, probability: f64) -> bool {
        self.0.random_bool(probability.clamp(0.0, 1.0))
    }

    /// A number from `low` to `high`, both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        self.0.random_range(low..=high.max(low))
    }

    /// A number from 0 up to, but without, `end`, which must not be 0.
    pub fn below(&mut self, end: usize) -> usize {
        self.0.random_range(0..end)
    }

    /// A duration from `low` to `high` milliseconds, to the microsecond.
    pub fn millis(&mut self, low: u64, high: u64) -> Duration {
        Duration::from_micros(self.between(low * 1000, high * 1000))
    }

    /// One of these; `None` of none.
    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> Option<&'a T> {
        if of.is_empty() { None } else { of.get(self.below(of.len())) }
    }
}
