//! Labels: words that people and tools attach to frameworks, tasks, statuses and reservations.
//!
//! Bourse carries and shows them and never interprets them. On a reservation they are part of its identity,
//! where their order must not matter; so they are kept sorted. A key may occur more than once, as in Mesos.

use std::fmt;
use std::sync::Arc;

/// Pairs of a key and, maybe, a value; sorted.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Labels(Vec<(Arc<str>, Option<Arc<str>>)>);

impl Labels {
    /// No labels.
    pub const fn new() -> Labels {
        Labels(Vec::new())
    }

    /// Adds a label. A repeat is kept, as Mesos keeps it.
    pub fn insert(&mut self, key: impl AsRef<str>, value: Option<&str>) {
        let label = (Arc::from(key.as_ref()), value.map(Arc::from));
        let at = self.0.partition_point(|present| *present <= label);
        self.0.insert(at, label);
    }

    /// The value of the first label with this key: `Some(None)` for a label without a value.
    pub fn get(&self, key: &str) -> Option<Option<&str>> {
        self.iter().find(|(present, _)| *present == key).map(|(_, value)| value)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Keys and values, sorted.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, Option<&str>)> {
        self.0.iter().map(|(key, value)| (&**key, value.as_deref()))
    }
}

impl<K: AsRef<str>, V: AsRef<str>> FromIterator<(K, Option<V>)> for Labels {
    fn from_iter<I: IntoIterator<Item = (K, Option<V>)>>(labels: I) -> Labels {
        let mut labels: Vec<_> = labels
            .into_iter()
            .map(|(key, value)| (Arc::from(key.as_ref()), value.map(|v| Arc::from(v.as_ref()))))
            .collect();
        labels.sort();
        Labels(labels)
    }
}

/// `{team: web, canary}`.
impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (i, (key, value)) in self.iter().enumerate() {
            write!(f, "{}{key}", if i == 0 { "" } else { ", " })?;
            if let Some(value) = value {
                write!(f, ": {value}")?;
            }
        }
        f.write_str("}")
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_label_without_a_value_is_not_an_absent_label() {
        let labels = Labels::from_iter([("canary", None), ("team", Some("web"))]);
        assert_eq!(labels.get("canary"), Some(None));
        assert_eq!(labels.get("team"), Some(Some("web")));
        assert_eq!(labels.get("owner"), None);
        assert_eq!(labels.to_string(), "{canary, team: web}");
    }

    proptest! {
        #[test]
        fn the_order_of_labels_does_not_matter(
            labels in proptest::collection::vec(("[a-c]", proptest::option::of("[x-z]")), 0..6),
        ) {
            let forward = Labels::from_iter(labels.clone());
            let backward = Labels::from_iter(labels.iter().rev().cloned());
            let mut inserted = Labels::new();
            for (key, value) in &labels {
                inserted.insert(key, value.as_deref());
            }
            prop_assert_eq!(&forward, &backward);
            prop_assert_eq!(&forward, &inserted);
        }
    }
}
