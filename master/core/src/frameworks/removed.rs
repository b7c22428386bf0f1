//! Frameworks that were torn down, by id: these are refused from then on.

use bourse_types::{FrameworkId, Wall};
use imbl::{OrdMap, OrdSet};

/// Ids that are refused, each with the time from which on it is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Removed {
    since: OrdMap<FrameworkId, Wall>,
    /// The same, the oldest first.
    order: OrdSet<(Wall, FrameworkId)>,
}

impl Removed {
    pub(crate) fn contains(&self, id: &FrameworkId) -> bool {
        self.since.contains_key(id)
    }

    /// Ids and times, by id.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&FrameworkId, &Wall)> {
        self.since.iter()
    }

    /// Answers whether it was not there.
    pub(crate) fn put(&mut self, id: FrameworkId, since: Wall) -> bool {
        let before = self.since.insert(id.clone(), since);
        if let Some(before) = before {
            self.order.remove(&(before, id.clone()));
        }
        self.order.insert((since, id));
        before.is_none()
    }

    /// Forgets the oldest one, if there are more than so many.
    pub(crate) fn forget_beyond(&mut self, max: usize) {
        if self.since.len() <= max {
            return;
        }
        if let Some((_, oldest)) = self.order.remove_min() {
            self.since.remove(&oldest);
        }
    }
}

impl FromIterator<(FrameworkId, Wall)> for Removed {
    fn from_iter<I: IntoIterator<Item = (FrameworkId, Wall)>>(all: I) -> Removed {
        let mut removed = Removed::default();
        for (id, since) in all {
            removed.put(id, since);
        }
        removed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_one_that_was_removed_first_makes_room() {
        let id = |id: &str| FrameworkId::new(id).expect("a literal of the test");
        let mut removed = Removed::from_iter([(id("a"), Wall(3)), (id("b"), Wall(2)), (id("c"), Wall(5))]);
        // Removed once more, by a registry that was replayed: the later time counts.
        assert!(!removed.put(id("b"), Wall(4)));
        assert!(removed.put(id("d"), Wall(5)));
        for left in [vec!["b", "c", "d"], vec!["c", "d"], vec!["d"], vec!["d"]] {
            removed.forget_beyond(1);
            assert_eq!(removed.iter().map(|(id, _)| id.as_str()).collect::<Vec<_>>(), left);
        }
    }
}
