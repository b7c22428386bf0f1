//! Amounts by name, without any identity: for shares, quotas and minimums.

use std::fmt;

use super::Name;
use super::name::{PLAIN, PLAIN_NAMES};
use crate::Milli;

/// How much of each resource, as one number a name. Ranges and sets count their elements.
///
/// Canonical: sorted, and without zeros; so equal quantities are equal values. The amounts that every machine has are in
/// the value itself: the allocator adds up and compares little else, and allocates nothing for it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Quantities {
    /// Of the names in [`PLAIN`], in their order; zero where there is none.
    plain: [Milli; PLAIN_NAMES],
    /// Of other names, sorted, none zero.
    others: Vec<(Name, Milli)>,
}

impl Quantities {
    /// Nothing.
    pub const fn new() -> Quantities {
        Quantities { plain: [Milli::ZERO; PLAIN_NAMES], others: Vec::new() }
    }

    /// How much of this name; zero where there is none.
    pub fn get(&self, name: &str) -> Milli {
        match PLAIN.iter().position(|plain| *plain == *name) {
            Some(at) => self.plain[at],
            None => self.other(name),
        }
    }

    fn other(&self, name: &str) -> Milli {
        self.others.iter().find(|(present, _)| *present == *name).map_or(Milli::ZERO, |(_, amount)| *amount)
    }

    /// Adds so much of a name. Saturates.
    pub fn add(&mut self, name: &Name, amount: Milli) {
        if amount.is_zero() {
            return;
        }
        if let Some(at) = name.plain() {
            self.plain[at] = self.plain[at].saturating_add(amount);
            return;
        }
        match self.others.binary_search_by(|(present, _)| present.cmp(name)) {
            Ok(at) => self.others[at].1 = self.others[at].1.saturating_add(amount),
            Err(at) => self.others.insert(at, (name.clone(), amount)),
        }
    }

    /// Adds all of the other. Saturates.
    pub fn add_all(&mut self, other: &Quantities) {
        for (ours, theirs) in self.plain.iter_mut().zip(&other.plain) {
            *ours = ours.saturating_add(*theirs);
        }
        for (name, amount) in &other.others {
            self.add(name, *amount);
        }
    }

    /// What is left without the other. `None` when some of it is not there.
    pub fn checked_sub(&self, other: &Quantities) -> Option<Quantities> {
        self.contains(other).then(|| self.saturating_sub(other))
    }

    /// What is left without the other, and nothing of what is not there.
    pub fn saturating_sub(&self, other: &Quantities) -> Quantities {
        let mut left = self.clone();
        for (ours, theirs) in left.plain.iter_mut().zip(&other.plain) {
            *ours = ours.saturating_sub(*theirs);
        }
        if !other.others.is_empty() {
            left.others.retain_mut(|(name, amount)| {
                *amount = amount.saturating_sub(other.other(name.as_str()));
                !amount.is_zero()
            });
        }
        left
    }

    /// Whether there is at least as much of everything as in the other.
    pub fn contains(&self, other: &Quantities) -> bool {
        self.plain.iter().zip(&other.plain).all(|(ours, theirs)| ours >= theirs)
            && other.others.iter().all(|(name, amount)| self.other(name.as_str()) >= *amount)
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.others.is_empty() && self.plain.iter().all(|amount| amount.is_zero())
    }

    /// Names and amounts, none of which is zero, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&Name, Milli)> {
        let plain = PLAIN.iter().zip(self.plain).filter(|(_, amount)| !amount.is_zero());
        plain.chain(self.others.iter().map(|(name, amount)| (name, *amount)))
    }
}

/// A name that occurs twice is added up.
impl FromIterator<(Name, Milli)> for Quantities {
    fn from_iter<I: IntoIterator<Item = (Name, Milli)>>(amounts: I) -> Quantities {
        let mut quantities = Quantities::new();
        for (name, amount) in amounts {
            quantities.add(&name, amount);
        }
        quantities
    }
}

/// `cpus:4; mem:1024`.
impl fmt::Display for Quantities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (name, amount)) in self.iter().enumerate() {
            write!(f, "{}{name}:{amount}", if i == 0 { "" } else { "; " })?;
        }
        Ok(())
    }
}

impl fmt::Debug for Quantities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
