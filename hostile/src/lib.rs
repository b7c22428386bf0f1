//! Bytes and texts as they come from somebody who means harm, or from a disk that has gone bad; and such a disk.
//!
//! **What is this room for?** Tests of readers, and of those whose disk fails under them, [`FragileDisk`], or has quotas,
//! [`quota_folder`]. What is wrong in one place only gets further into a reader than what is random, so valid bytes are
//! damaged here, in the ways that have broken readers before.
//!
//! **What does it promise?** Damage is made of small steps, so that proptest finds the least of them that still breaks the
//! reader. [`judged`] holds of every reader alike that it comes back soon, and that its refusals can be shown to people.
//!
//! **What does it leave to others?** What a reader must make of what it takes: each test says so. How much memory it may
//! use is not seen from here.

#![warn(missing_docs)]

mod bytes;
mod disk;
mod text;

use std::collections::BTreeSet;
use std::fmt::Display;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

pub use bytes::{Damages, damaged, damages};
pub use disk::{FragileDisk, quota_folder};
pub use text::text;

/// A reader that takes longer for a mebibyte does more than to read, on a machine on which a second is [`FLOORS`] floors.
const PATIENCE: Duration = Duration::from_secs(1);

/// On a slower machine, such as an emulated one, a reader may take so many floors.
const FLOORS: u32 = 100;

/// How long this machine takes to sort a hundred thousand numbers.
fn floor() -> Duration {
    static FLOOR: OnceLock<Duration> = OnceLock::new();
    *FLOOR.get_or_init(|| {
        let began = Instant::now();
        let sorted: BTreeSet<u64> = (0..100_000_u64).map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15)).collect();
        assert_eq!(sorted.len(), 100_000);
        began.elapsed()
    })
}

/// The most bytes of a refusal. It may travel as the message of a gRPC status, which is a header: there each byte may
/// become three, and hyper takes 16 KiB of headers in all.
pub const REFUSAL_BYTES_MAX: usize = 4096;

/// What was read, or nothing where it was refused.
///
/// # Panics
///
/// When it took longer than [`soon`] allows, or when the refusal cannot be shown: see [`told`].
pub fn judged<T, E: Display>(read: impl FnOnce() -> Result<T, E>) -> Option<T> {
    soon(read).inspect_err(told).ok()
}

/// What comes of it.
///
/// # Panics
///
/// When it took longer than a second, or on a slow machine than a hundred times what sorting some numbers takes there.
pub fn soon<T>(read: impl FnOnce() -> T) -> T {
    let began = Instant::now();
    let read = read();
    let took = began.elapsed();
    assert!(took <= PATIENCE || took <= floor() * FLOORS, "it took {took:?}, and the floor {:?}", floor());
    read
}

/// Holds of a refusal what everybody may expect who has to show it.
///
/// # Panics
///
/// When it says nothing, has more than [`REFUSAL_BYTES_MAX`] bytes, or holds a control character but the line feed.
pub fn told(refused: &impl Display) {
    let text = refused.to_string();
    let head: String = text.chars().take(200).collect();
    assert!(!text.trim().is_empty(), "it is refused without a word");
    assert!(text.len() <= REFUSAL_BYTES_MAX, "the refusal has {} bytes: {head:?}...", text.len());
    let is_for_terminals = |c: char| c.is_control() && c != '\n';
    assert!(!text.contains(is_for_terminals), "the refusal holds a control character: {head:?}");
}
