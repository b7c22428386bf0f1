//! A container is launched or removed, and not both at once: a launch would make anew what is removed meanwhile.

use std::collections::BTreeSet;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use bourse_types::ContainerId;

/// Whose turns are taken.
#[derive(Debug, Default)]
pub struct Turns {
    taken: Mutex<BTreeSet<ContainerId>>,
    /// Told when one is over.
    over: Condvar,
}

/// The turn with one container, as long as this value lives.
#[derive(Debug)]
pub struct Turn<'a> {
    turns: &'a Turns,
    id: &'a ContainerId,
}

impl Turns {
    /// Waits, blocking this thread, until nobody else has the turn with this container.
    pub fn take<'a>(&'a self, id: &'a ContainerId) -> Turn<'a> {
        let taken = self.over.wait_while(self.taken(), |taken| taken.contains(id));
        taken.unwrap_or_else(PoisonError::into_inner).insert(id.clone());
        Turn { turns: self, id }
    }

    fn taken(&self) -> MutexGuard<'_, BTreeSet<ContainerId>> {
        // Only inserts and removals happen under the lock: a panic elsewhere leaves it whole.
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.turns.taken().remove(self.id);
        self.turns.over.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;

    use super::*;

    #[test]
    fn a_turn_begins_when_the_one_before_is_over_and_does_not_wait_for_other_containers() {
        let (turns, is_over) = (Turns::default(), AtomicBool::new(false));
        let [one, other] = ["c1", "c2"].map(|id| ContainerId::new(id).expect("a good id"));
        let first = turns.take(&one);
        drop(turns.take(&other));
        thread::scope(|scope| {
            scope.spawn(|| {
                let _second = turns.take(&one);
                assert!(is_over.load(Ordering::SeqCst));
            });
            is_over.store(true, Ordering::SeqCst);
            drop(first);
        });
        drop(turns.take(&one));
    }
}
