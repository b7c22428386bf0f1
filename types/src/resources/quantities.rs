//! Amounts by name, without any identity: for shares, quotas and minimums.

use std::fmt;

use super::Name;
use crate::Milli;

/// How much of each resource, as one number a name. Ranges and sets count their elements.
///
/// Canonical: sorted, and without zeros; so equal quantities are equal values.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Quantities(Vec<(Name, Milli)>);

impl Quantities {
    /// Nothing.
    pub const fn new() -> Quantities {
        Quantities(Vec::new())
    }

    /// How much of this name; zero where there is none.
    pub fn get(&self, name: &str) -> Milli {
        self.0.iter().find(|(present, _)| *present == *name).map_or(Milli::ZERO, |(_, amount)| *amount)
    }

    /// Adds so much of a name. Saturates.
    pub fn add(&mut self, name: &Name, amount: Milli) {
        if amount.is_zero() {
            return;
        }
        match self.0.binary_search_by(|(present, _)| present.cmp(name)) {
            Ok(at) => self.0[at].1 = self.0[at].1.saturating_add(amount),
            Err(at) => self.0.insert(at, (name.clone(), amount)),
        }
    }

    /// Adds all of the other. Saturates.
    pub fn add_all(&mut self, other: &Quantities) {
        for (name, amount) in other.iter() {
            self.add(name, amount);
        }
    }

    /// What is left without the other. `None` when some of it is not there.
    pub fn checked_sub(&self, other: &Quantities) -> Option<Quantities> {
        self.contains(other).then(|| self.saturating_sub(other))
    }

    /// What is left without the other, and nothing of what is not there.
    pub fn saturating_sub(&self, other: &Quantities) -> Quantities {
        self.iter()
            .map(|(name, amount)| (name.clone(), amount.saturating_sub(other.get(name.as_str()))))
            .collect()
    }

    /// Whether there is at least as much of everything as in the other.
    pub fn contains(&self, other: &Quantities) -> bool {
        other.iter().all(|(name, amount)| self.get(name.as_str()) >= amount)
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Names and amounts, none of which is zero, sorted by name.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&Name, Milli)> {
        self.0.iter().map(|(name, amount)| (name, *amount))
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
