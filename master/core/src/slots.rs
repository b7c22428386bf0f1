//! A table whose records have small numbers beside their keys.
//!
//! A clone shares all records with the original, as that of a [`Table`](crate::table::Table) does. Keys of agents and
//! frameworks are texts on the heap, and each look by one compares a dozen of them. What is kept of a record beside it
//! goes by the record's slot: slots are compared as numbers, and a change behind a clone copies no keys.
//!
//! A slot that became free is given again, and a master that is put together from its parts gives all of them anew. So
//! nothing that has an effect may go by the order of slots.

use std::borrow::Borrow;
use std::fmt;
use std::ops::Bound;
use std::sync::Arc;

use imbl::{OrdMap, OrdSet};

use crate::table::beyond;

/// The number of a record, from its insertion to its removal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Slot(u32);

/// Records by key, in the order of their keys, and by slot.
#[derive(Clone)]
pub(crate) struct SlotTable<K, V> {
    slots: OrdMap<K, Slot>,
    records: OrdMap<Slot, Arc<V>>,
    /// Slots that were in use; with those that are, all from 0 on.
    free: OrdSet<Slot>,
}

impl<K: Ord + Clone, V: Clone> SlotTable<K, V> {
    /// A table without records.
    pub(crate) fn new() -> SlotTable<K, V> {
        SlotTable { slots: OrdMap::new(), records: OrdMap::new(), free: OrdSet::new() }
    }

    /// How many records there are.
    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// The slot of the record with this key.
    pub(crate) fn slot<Q: Ord + ?Sized>(&self, key: &Q) -> Option<Slot>
    where
        K: Borrow<Q>,
    {
        self.slots.get(key).copied()
    }

    /// The record in this slot.
    pub(crate) fn at(&self, slot: Slot) -> Option<&V> {
        self.records.get(&slot).map(|record| &**record)
    }

    /// The record with this key.
    pub(crate) fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.at(self.slot(key)?)
    }

    /// Whether there is a record with this key.
    pub(crate) fn contains<Q: Ord + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.slots.contains_key(key)
    }

    /// Keys, slots and records, in the order of the keys.
    pub(crate) fn with_slots(&self) -> impl ExactSizeIterator<Item = (&K, Slot, &V)> {
        self.slots.iter().map(|(key, slot)| (key, *slot, self.at(*slot).expect("a slot in use has a record")))
    }

    /// Keys and records, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.with_slots().map(|(key, _, record)| (key, record))
    }

    /// The keys, in order.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &K> {
        self.slots.keys()
    }

    /// The records, in the order of their keys.
    pub(crate) fn values(&self) -> impl ExactSizeIterator<Item = &V> {
        self.with_slots().map(|(_, _, record)| record)
    }

    /// The records after this key, or all, in the order of their keys: for lists that are read page by page.
    pub(crate) fn after<Q: Ord + ?Sized>(&self, key: Option<&Q>) -> impl Iterator<Item = &V>
    where
        K: Borrow<Q>,
    {
        let slots = self.slots.range::<_, Q>((beyond(key), Bound::Unbounded));
        slots.map(|(_, slot)| self.at(*slot).expect("a slot in use has a record"))
    }

    pub(crate) fn get_mut<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        let slot = self.slot(key)?;
        self.records.get_mut(&slot).map(Arc::make_mut)
    }

    pub(crate) fn insert(&mut self, key: K, record: V) {
        self.put(key, Arc::new(record));
    }

    /// Puts a record there that is shared. Answers whether there was none with this key; one that was keeps its slot.
    pub(crate) fn put(&mut self, key: K, record: Arc<V>) -> bool {
        let before = self.slot(&key);
        let slot = before.unwrap_or_else(|| self.give());
        if before.is_none() {
            self.slots.insert(key, slot);
        }
        self.records.insert(slot, record);
        before.is_none()
    }

    /// A slot that is not in use, the lowest one.
    fn give(&mut self) -> Slot {
        let next = u32::try_from(self.records.len()).expect("so many records have no room in any memory");
        self.free.remove_min().unwrap_or(Slot(next))
    }

    pub(crate) fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<Arc<V>>
    where
        K: Borrow<Q>,
    {
        let slot = self.slots.remove(key)?;
        self.free.insert(slot);
        self.records.remove(&slot)
    }
}

/// As of a map by key: slots are nobody's business.
impl<K: Ord + Clone + fmt::Debug, V: Clone + fmt::Debug> fmt::Debug for SlotTable<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

/// What is kept of records beside them, by their slots. Who removes a record removes this, too.
#[derive(Clone)]
pub(crate) struct Beside<T>(OrdMap<Slot, T>);

impl<T: Clone> Beside<T> {
    /// Nothing of any record.
    pub(crate) fn new() -> Beside<T> {
        Beside(OrdMap::new())
    }

    pub(crate) fn get(&self, slot: &Slot) -> Option<&T> {
        self.0.get(slot)
    }

    pub(crate) fn get_mut(&mut self, slot: &Slot) -> Option<&mut T> {
        self.0.get_mut(slot)
    }

    pub(crate) fn insert(&mut self, slot: Slot, kept: T) {
        self.0.insert(slot, kept);
    }

    pub(crate) fn remove(&mut self, slot: &Slot) {
        self.0.remove(slot);
    }

    /// The slots of which something is kept.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &Slot> {
        self.0.keys()
    }
}

/// What is kept, in an order of its own: slots are nobody's business.
impl<T: fmt::Debug> fmt::Debug for Beside<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut kept: Vec<String> = self.0.values().map(|kept| format!("{kept:?}")).collect();
        kept.sort();
        write!(f, "[{}]", kept.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    #[test]
    fn a_change_behind_a_clone_copies_one_record() {
        let mut table = SlotTable::new();
        for key in ["a", "b", "c"] {
            table.insert(key, vec![key]);
        }
        let before = table.clone();
        table.get_mut("b").expect("it was put there").push("more");
        let same = |key: &str| match (before.get(key), table.get(key)) {
            (Some(was), Some(is)) => std::ptr::eq(was, is),
            _ => false,
        };
        assert_eq!(["a", "b", "c"].map(same), [true, false, true]);
        assert_eq!((before.get("b"), table.get("b")), (Some(&vec!["b"]), Some(&vec!["b", "more"])));
    }

    proptest! {
        #[test]
        fn a_slot_is_one_records_until_that_is_removed_and_then_given_again(
            steps in proptest::collection::vec((0..12u8, any::<bool>()), 0..64),
        ) {
            let mut table: SlotTable<u8, usize> = SlotTable::new();
            let mut naive = BTreeMap::new();
            let mut most = 0;
            for (at, (key, put)) in steps.into_iter().enumerate() {
                let before = table.slot(&key);
                if put {
                    prop_assert_eq!(table.put(key, Arc::new(at)), naive.insert(key, at).is_none());
                    prop_assert!(before.is_none() || table.slot(&key) == before);
                } else {
                    prop_assert_eq!(table.remove(&key).map(|record| *record), naive.remove(&key));
                }
                most = most.max(naive.len());
                prop_assert_eq!(table.len(), naive.len());
                prop_assert!(table.iter().eq(naive.iter()));
                let mut slots: Vec<Slot> = table.with_slots().map(|(_, slot, _)| slot).collect();
                slots.sort();
                slots.dedup();
                prop_assert_eq!(slots.len(), naive.len());
                prop_assert!(slots.iter().all(|slot| (slot.0 as usize) < most));
                prop_assert!(table.with_slots().all(|(key, slot, _)| table.slot(key) == Some(slot)));
            }
        }
    }
}
