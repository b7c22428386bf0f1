//! Chance by seed: the same seed, the same choices.

use std::ops::Range;
use std::time::Duration;

/// A source of choices. A step is Steele's, Lea's and Flood's SplitMix64: good enough to choose whom to kill next.
#[derive(Clone, Debug)]
pub struct Chance(u64);

impl Chance {
    /// The choices of this seed.
    pub fn new(seed: u64) -> Chance {
        Chance(seed)
    }

    /// Any number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below this one, which is not 0.
    pub fn below(&mut self, end: usize) -> usize {
        (self.number() % end as u64) as usize
    }

    /// One of these; there is one at least.
    pub fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    /// Whether what has this probability, from 0 to 1, happens.
    pub fn happens(&mut self, probability: f64) -> bool {
        // 53 bits are what a float can tell apart.
        ((self.number() >> 11) as f64) < probability * (1_u64 << 53) as f64
    }

    /// A time in this range, to the millisecond; the lower end where the range is empty.
    pub fn within(&mut self, range: &Range<Duration>) -> Duration {
        let width = range.end.saturating_sub(range.start).as_millis() as usize;
        let more = if width == 0 { 0 } else { self.below(width) };
        range.start + Duration::from_millis(more as u64)
    }
}
