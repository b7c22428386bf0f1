//! How long to wait before the next try.

use std::time::Duration;

/// A source of numbers that look random and are the same for the same seed: SplitMix64
/// (<https://prng.di.unimi.it/splitmix64.c>), which is small, passes the usual tests, and is never asked for secrets.
#[derive(Clone, Debug)]
pub struct Seeded(u64);

impl Seeded {
    /// Starts at this seed.
    pub fn new(seed: u64) -> Seeded {
        Seeded(seed)
    }

    /// The next number.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// Delays that double from a first to a longest one. Each is shortened by up to half, by chance, so that a thousand
/// frameworks that lost the same master do not come back in step.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    next: Duration,
}

impl Backoff {
    /// `first` must not be longer than `longest`.
    pub fn new(first: Duration, longest: Duration) -> Backoff {
        Backoff { first, longest, next: first }
    }

    /// The delay before the next try.
    pub fn delay(&mut self, random: &mut Seeded) -> Duration {
        let whole = self.next;
        self.next = whole.saturating_mul(2).min(self.longest);
        let half = whole / 2;
        // In 1,024 steps: as fine as anybody could notice.
        half + half * (random.draw() % 1025) as u32 / 1024
    }

    /// All is well again: the next delay is the first one.
    pub fn reset(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn delays_double_up_to_the_longest_and_are_never_less_than_half(seed in any::<u64>()) {
            let (first, longest) = (Duration::from_millis(100), Duration::from_secs(30));
            let mut backoff = Backoff::new(first, longest);
            let mut random = Seeded::new(seed);
            let mut whole = first;
            for _ in 0..12 {
                let delay = backoff.delay(&mut random);
                prop_assert!(whole / 2 <= delay && delay <= whole, "{delay:?} of {whole:?}");
                whole = (whole * 2).min(longest);
            }
            backoff.reset();
            prop_assert!(backoff.delay(&mut random) <= first);
        }
    }
}
