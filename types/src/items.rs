//! Sets of names: the third kind of resource value beside scalars and ranges, such as a machine's licences.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// A set of items, sorted. An item is a text without spaces around it, commas, semicolons, braces and control
/// characters, so that the text form can be read back.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ItemSet(BTreeSet<Arc<str>>);

/// A text that cannot be a set of items.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadItems {
    /// No braces around it.
    #[error("the set {0:?} has no braces; write it as {{a, b}}")]
    NoBraces(String),
    /// An item that could not be read back from the text form.
    #[error("the item {0:?} is empty or holds a comma, semicolon, brace or control character; rename it")]
    BadItem(String),
}

impl ItemSet {
    /// The empty set.
    pub const fn new() -> ItemSet {
        ItemSet(BTreeSet::new())
    }

    /// A set of these items. A repeat changes nothing.
    pub fn of<T: AsRef<str>>(items: impl IntoIterator<Item = T>) -> Result<ItemSet, BadItems> {
        let mut set = ItemSet::new();
        for item in items {
            set.insert(item)?;
        }
        Ok(set)
    }

    /// Adds an item; spaces around it are dropped. A repeat changes nothing.
    pub fn insert(&mut self, item: impl AsRef<str>) -> Result<(), BadItems> {
        let item = item.as_ref().trim();
        let forbidden = |c: char| matches!(c, ',' | ';' | '{' | '}') || c.is_control();
        if item.is_empty() || item.chars().any(forbidden) {
            return Err(BadItems::BadItem(crate::ids::shown(item)));
        }
        self.0.insert(item.into());
        Ok(())
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many items are in it.
    pub fn len(&self) -> u64 {
        self.0.len() as u64
    }

    /// Whether the item is in it.
    pub fn contains(&self, item: &str) -> bool {
        self.0.contains(item)
    }

    /// Whether every item of `other` is in it.
    pub fn contains_all(&self, other: &ItemSet) -> bool {
        other.0.is_subset(&self.0)
    }

    /// Whether some item is in both.
    pub fn intersects(&self, other: &ItemSet) -> bool {
        !self.0.is_disjoint(&other.0)
    }

    /// The items that are in one or the other.
    pub fn union(&self, other: &ItemSet) -> ItemSet {
        ItemSet(self.0.union(&other.0).cloned().collect())
    }

    /// The items that are in both.
    pub fn intersection(&self, other: &ItemSet) -> ItemSet {
        ItemSet(self.0.intersection(&other.0).cloned().collect())
    }

    /// What is left without the items of `other`. `None` when one of them is not there.
    pub fn checked_sub(&self, other: &ItemSet) -> Option<ItemSet> {
        self.contains_all(other).then(|| ItemSet(self.0.difference(&other.0).cloned().collect()))
    }

    /// The items, sorted.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &str> {
        self.0.iter().map(|item| &**item)
    }
}

/// The items that are in any of them.
impl<'a> FromIterator<&'a ItemSet> for ItemSet {
    fn from_iter<I: IntoIterator<Item = &'a ItemSet>>(sets: I) -> ItemSet {
        ItemSet(sets.into_iter().flat_map(|set| set.0.iter().cloned()).collect())
    }
}

/// `{a, b}`, Mesos' text form.
impl fmt::Display for ItemSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (i, item) in self.iter().enumerate() {
            write!(f, "{}{item}", if i == 0 { "" } else { ", " })?;
        }
        f.write_str("}")
    }
}

impl fmt::Debug for ItemSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Reads Mesos' text form.
impl FromStr for ItemSet {
    type Err = BadItems;
    fn from_str(text: &str) -> Result<ItemSet, BadItems> {
        let inside = text
            .trim()
            .strip_prefix('{')
            .and_then(|rest| rest.strip_suffix('}'))
            .ok_or_else(|| BadItems::NoBraces(crate::ids::shown(text.trim())))?;
        if inside.trim().is_empty() {
            return Ok(ItemSet::new());
        }
        ItemSet::of(inside.split(','))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_set_that_could_not_be_read_back_is_refused() {
        for text in ["a, b", "{a,,b}", "{a;b}", "{{a}}"] {
            assert!(text.parse::<ItemSet>().is_err(), "{text}");
        }
        assert_eq!(
            "a".parse::<ItemSet>().expect_err("no braces").to_string(),
            r#"the set "a" has no braces; write it as {a, b}"#
        );
    }

    proptest! {
        #[test]
        fn the_text_form_round_trips(
            items in proptest::collection::vec("[a-z][a-z0-9_. -]{0,6}[a-z0-9]", 0..6),
        ) {
            let set = ItemSet::of(&items).expect("plain items");
            prop_assert_eq!(set.to_string().parse::<ItemSet>(), Ok(set));
        }

        #[test]
        fn adding_then_taking_gives_back_the_same(
            left in proptest::collection::btree_set("[a-d]", 0..4),
            right in proptest::collection::btree_set("[e-h]", 0..4),
        ) {
            let (a, b) = (ItemSet::of(&left).expect("plain"), ItemSet::of(&right).expect("plain"));
            prop_assert_eq!(a.union(&b).checked_sub(&b), Some(a.clone()));
            prop_assert_eq!(a.checked_sub(&b).is_some(), b.is_empty());
        }
    }
}
