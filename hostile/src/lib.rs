//! Bytes and texts as they come from somebody who means harm, or from a disk that has gone bad.
//!
//! **What is this room for?** Tests of readers. What is wrong in one place only gets further into a reader than what is
//! random, so valid bytes are damaged here, in the ways that have broken readers before.
//!
//! **What does it promise?** Damage is made of small steps, so that proptest finds the least of them that still breaks the
//! reader. [`judged`] holds of every reader alike that it comes back soon, and that its refusals can be shown to people.
//!
//! **What does it leave to others?** What a reader must make of what it takes: each test says so. How much memory it may
//! use is not seen from here.

#![warn(missing_docs)]

mod bytes;
mod text;

use std::fmt::Display;
use std::time::{Duration, Instant};

pub use bytes::{Damages, damaged, damages};
pub use text::text;

/// A reader that takes longer for a mebibyte does more than to read.
const PATIENCE: Duration = Duration::from_secs(1);

/// The most bytes of a refusal. It may travel as the message of a gRPC status, which is a header: there each byte may
/// become three, and hyper takes 16 KiB of headers in all.
pub const REFUSAL_BYTES_MAX: usize = 4096;

/// What was read, or nothing where it was refused.
///
/// # Panics
///
/// When it took longer than a second, or when the refusal cannot be shown: see [`told`].
pub fn judged<T, E: Display>(read: impl FnOnce() -> Result<T, E>) -> Option<T> {
    soon(read).inspect_err(told).ok()
}

/// What comes of it.
///
/// # Panics
///
/// When it took longer than a second.
pub fn soon<T>(read: impl FnOnce() -> T) -> T {
    let began = Instant::now();
    let read = read();
    let took = began.elapsed();
    assert!(took <= PATIENCE, "it took {took:?}");
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
