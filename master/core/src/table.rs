//! A table of records that is cheap to clone.
//!
//! A clone shares all records with the original; changing one copies that record and the few tree nodes above it,
//! once for each clone that is still held. So a picture for readers costs the writer nothing that grows with the
//! number of tasks.

use std::borrow::Borrow;
use std::fmt;
use std::ops::Bound;
use std::sync::Arc;

use imbl::OrdMap;

/// Records by key, in the order of their keys.
#[derive(Clone)]
pub struct Table<K, V>(OrdMap<K, Arc<V>>);

impl<K: Ord + Clone, V: Clone> Table<K, V> {
    /// A table without records.
    pub fn new() -> Table<K, V> {
        Table(OrdMap::new())
    }

    /// How many records there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The record with this key.
    pub fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.0.get(key).map(|record| &**record)
    }

    /// The record with this key, shared: to keep it while the table changes.
    pub fn share<Q: Ord + ?Sized>(&self, key: &Q) -> Option<Arc<V>>
    where
        K: Borrow<Q>,
    {
        self.0.get(key).cloned()
    }

    /// Whether there is a record with this key.
    pub fn contains<Q: Ord + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.0.contains_key(key)
    }

    /// Keys and records, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.0.iter().map(|(key, record)| (key, &**record))
    }

    /// The keys, in order.
    pub fn keys(&self) -> impl Iterator<Item = &K> {
        self.0.keys()
    }

    /// The records, in the order of their keys.
    pub fn values(&self) -> impl ExactSizeIterator<Item = &V> {
        self.0.values().map(|record| &**record)
    }

    /// The records after this key, or all, in the order of their keys: for lists that are read page by page.
    pub fn after<Q: Ord + ?Sized>(&self, key: Option<&Q>) -> impl Iterator<Item = &V>
    where
        K: Borrow<Q>,
    {
        self.0.range::<_, Q>((beyond(key), Bound::Unbounded)).map(|(_, record)| &**record)
    }

    /// The records themselves, in the order of their keys: to keep them while the table changes.
    pub(crate) fn shared(&self) -> impl Iterator<Item = &Arc<V>> {
        self.0.values()
    }

    pub(crate) fn get_mut<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        self.0.get_mut(key).map(Arc::make_mut)
    }

    pub(crate) fn insert(&mut self, key: K, record: V) {
        self.0.insert(key, Arc::new(record));
    }

    /// Puts a record there that is shared. Answers whether there was none with this key.
    pub(crate) fn put(&mut self, key: K, record: Arc<V>) -> bool {
        self.0.insert(key, record).is_none()
    }

    pub(crate) fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<Arc<V>>
    where
        K: Borrow<Q>,
    {
        self.0.remove(key)
    }
}

/// Where a list goes on after this key; at its beginning without one.
pub(crate) fn beyond<Q: ?Sized>(key: Option<&Q>) -> Bound<&Q> {
    key.map_or(Bound::Unbounded, Bound::Excluded)
}

impl<K: Ord + Clone, V: Clone> Default for Table<K, V> {
    fn default() -> Table<K, V> {
        Table::new()
    }
}

impl<K: Ord + Clone + fmt::Debug, V: Clone + fmt::Debug> fmt::Debug for Table<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}
