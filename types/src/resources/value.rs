//! The value of a resource, and the arithmetic of one value.

use std::cmp::Ordering;
use std::fmt;

use crate::{ItemSet, Milli, Ranges};

/// How much of a resource, or which ones.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ResourceValue {
    /// An amount.
    Scalar(Milli),
    /// Certain numbers.
    Ranges(Ranges),
    /// Certain items.
    Set(ItemSet),
}

use ResourceValue::{Ranges as Numbers, Scalar, Set};

impl ResourceValue {
    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        match self {
            Scalar(amount) => amount.is_zero(),
            Numbers(ranges) => ranges.is_empty(),
            Set(items) => items.is_empty(),
        }
    }

    /// How much there is, as one number: the amount of a scalar, the count of ranges and sets.
    pub fn quantity(&self) -> Milli {
        match self {
            Scalar(amount) => *amount,
            Numbers(ranges) => Milli::whole(ranges.len()),
            Set(items) => Milli::whole(items.len()),
        }
    }

    /// What is left without `other`. `None` when some of it is not there, or is of another kind.
    pub fn checked_sub(&self, other: &ResourceValue) -> Option<ResourceValue> {
        match (self, other) {
            (Scalar(ours), Scalar(theirs)) => ours.checked_sub(*theirs).map(Scalar),
            (Numbers(ours), Numbers(theirs)) => ours.checked_sub(theirs).map(Numbers),
            (Set(ours), Set(theirs)) => ours.checked_sub(theirs).map(Set),
            (Scalar(_) | Numbers(_) | Set(_), _) => None,
        }
    }

    /// What is left without `other`, and nothing of what is not there. A value of another kind takes nothing.
    pub fn saturating_sub(&self, other: &ResourceValue) -> ResourceValue {
        match (self, other) {
            (Scalar(ours), Scalar(theirs)) => Scalar(ours.saturating_sub(*theirs)),
            (Numbers(ours), Numbers(theirs)) => Numbers(ours.difference(theirs)),
            (Set(ours), Set(theirs)) => {
                let both = ours.intersection(theirs);
                Set(ours.checked_sub(&both).expect("an intersection is contained in both"))
            }
            (Scalar(_) | Numbers(_) | Set(_), _) => self.clone(),
        }
    }

    /// Whether all of `other` is there. A value of another kind is not.
    pub fn contains(&self, other: &ResourceValue) -> bool {
        match (self, other) {
            (Scalar(ours), Scalar(theirs)) => ours >= theirs,
            (Numbers(ours), Numbers(theirs)) => ours.contains_all(theirs),
            (Set(ours), Set(theirs)) => ours.contains_all(theirs),
            (Scalar(_) | Numbers(_) | Set(_), _) => false,
        }
    }

    /// What is in both: the smaller amount, the shared numbers or items. `None` for values of different
    /// kinds.
    pub fn intersection(&self, other: &ResourceValue) -> Option<ResourceValue> {
        match (self, other) {
            (Scalar(ours), Scalar(theirs)) => Some(Scalar(*ours.min(theirs))),
            (Numbers(ours), Numbers(theirs)) => Some(Numbers(ours.intersection(theirs))),
            (Set(ours), Set(theirs)) => Some(Set(ours.intersection(theirs))),
            (Scalar(_) | Numbers(_) | Set(_), _) => None,
        }
    }

    /// Adds values of the same kind, all at once: each list of ranges that comes by itself would move all that are there.
    pub(super) fn merge_all(&mut self, others: &[ResourceValue]) {
        match self {
            Scalar(_) => others.iter().for_each(|other| self.merge(other)),
            Numbers(ours) => {
                let theirs = others.iter().filter_map(|other| match other {
                    Numbers(ranges) => Some(ranges),
                    Scalar(_) | Set(_) => None,
                });
                let all = theirs.chain([&*ours]).flat_map(Ranges::iter).collect();
                *ours = all;
            }
            Set(ours) => {
                let theirs = others.iter().filter_map(|other| match other {
                    Set(items) => Some(items),
                    Scalar(_) | Numbers(_) => None,
                });
                let all = theirs.chain([&*ours]).collect();
                *ours = all;
            }
        }
    }

    /// Adds a value of the same kind. One of another kind changes nothing: the collection never asks for it.
    pub(super) fn merge(&mut self, other: &ResourceValue) {
        match (self, other) {
            (Scalar(ours), Scalar(theirs)) => *ours = ours.saturating_add(*theirs),
            (Numbers(ours), Numbers(theirs)) => *ours = ours.union(theirs),
            (Set(ours), Set(theirs)) => *ours = ours.union(theirs),
            (Scalar(_) | Numbers(_) | Set(_), _) => {}
        }
    }

    /// Compares the kinds only, so that values of different kinds stay apart under one key.
    pub(super) fn kind_cmp(&self, other: &ResourceValue) -> Ordering {
        let rank = |value: &ResourceValue| match value {
            Scalar(_) => 0,
            Numbers(_) => 1,
            Set(_) => 2,
        };
        rank(self).cmp(&rank(other))
    }
}

impl fmt::Display for ResourceValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Scalar(amount) => fmt::Display::fmt(amount, f),
            Numbers(ranges) => fmt::Display::fmt(ranges, f),
            Set(items) => fmt::Display::fmt(items, f),
        }
    }
}

impl fmt::Debug for ResourceValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
