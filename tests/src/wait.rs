//! Waiting for the outside world: for a condition, and never for luck.

use std::fmt::Display;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long something may take that takes well under a second on an idle machine: all tests run at once, on few cores.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// Waits until `look` finds what is waited for; what it said last, if it does not come in time, is in the panic.
///
/// # Panics
/// When it does not come within `patience`.
#[track_caller]
pub fn wait_for<T, E: Display>(what: &str, patience: Duration, mut look: impl FnMut() -> Result<T, E>) -> T {
    let deadline = Instant::now() + patience;
    loop {
        match look() {
            Ok(found) => return found,
            Err(seen) if Instant::now() >= deadline => {
                panic!("waited {patience:?} for {what}; last seen: {seen}")
            }
            Err(_) => sleep(LOOK),
        }
    }
}

/// As [`wait_for`], where there is nothing to find but that it is so.
///
/// # Panics
/// When it is not so within [`PATIENCE`].
#[track_caller]
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    wait_for(what, PATIENCE, || if condition() { Ok(()) } else { Err("it is not so") });
}
