//! Many seeds on all processors.

use std::num::NonZero;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

/// How many runs this machine does at a time.
pub fn processors() -> NonZero<usize> {
    thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN)
}

/// Does this for each seed in turn, so many at a time, until it says of one that it is enough: those that have begun by
/// then go on to their end.
///
/// # Panics
/// When `work` does, after the other threads have done the rest.
pub fn each(seeds: Range<u64>, jobs: NonZero<usize>, work: impl Fn(u64) -> bool + Sync) {
    let next = AtomicU64::new(seeds.start);
    thread::scope(|scope| {
        for _ in 0..jobs.get() {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end || !work(seed) {
                        next.fetch_max(seeds.end, Ordering::Relaxed);
                        return;
                    }
                }
            });
        }
    });
}
