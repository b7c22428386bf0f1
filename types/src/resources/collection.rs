//! One resource, and the canonical collection of them.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::iter::Sum;
use std::ops::AddAssign;
use std::sync::Arc;

use super::{Name, Quantities, Reservation, ReservationKind, ResourceKey, ResourceValue};
use crate::amount::MAX_AMOUNT;
use crate::{Labels, Milli, Ranges, Role};

/// An identity with a value.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Resource {
    /// Which resource.
    pub key: ResourceKey,
    /// How much of it, or which ones.
    pub value: ResourceValue,
}

impl Resource {
    /// A plain amount: unreserved, not revocable.
    pub fn scalar(name: Name, amount: Milli) -> Resource {
        Resource { key: ResourceKey::plain(name), value: ResourceValue::Scalar(amount) }
    }

    /// Plain numbers, such as ports: unreserved, not revocable.
    pub fn ranges(name: Name, ranges: Ranges) -> Resource {
        Resource { key: ResourceKey::plain(name), value: ResourceValue::Ranges(ranges) }
    }

    /// Compares all that must be equal for two values to be added up: the identity and the kind of the value.
    fn slot_cmp(&self, other: &Resource) -> Ordering {
        self.key.cmp(&other.key).then_with(|| self.value.kind_cmp(&other.value))
    }
}

/// Resources in canonical form: sorted by identity, nothing empty, equal identities added up.
///
/// What is whole ([`ResourceKey::is_whole`]: persistent volumes, mounted disks, ...) is neither added up nor
/// cut: two equal ones are two entries, and one is taken away only by its equal. For shared volumes an entry
/// is one use; sums and quantities count the volume once, and [`Resources::non_shared`] sets them aside where
/// use must not be held against what the machine has.
///
/// A sorted list: a machine has a handful of entries. Clones share it until one of them changes, as an offer, its view
/// and the description of its agent hold the same for long. Sums saturate, which no amounts from a door reach
/// ([`crate::amount::MAX_UNITS`]).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Resources {
    /// Never an empty list: nothing has one form, so that equal collections are equal values.
    entries: Option<Arc<Vec<Resource>>>,
}

impl Resources {
    /// Nothing.
    pub const fn new() -> Resources {
        Resources { entries: None }
    }

    /// From entries in canonical form. They are kept for long, so no more room than they need.
    fn from_entries(mut entries: Vec<Resource>) -> Resources {
        entries.shrink_to_fit();
        Resources { entries: (!entries.is_empty()).then(|| Arc::new(entries)) }
    }

    fn entries(&self) -> &[Resource] {
        match &self.entries {
            Some(entries) => entries,
            None => &[],
        }
    }

    /// The entries to change, no longer shared. The caller leaves at least one.
    fn entries_mut(&mut self) -> &mut Vec<Resource> {
        Arc::make_mut(self.entries.get_or_insert_with(Arc::default))
    }

    #[cfg(test)]
    pub(super) fn shares_with(&self, other: &Resources) -> bool {
        match (&self.entries, &other.entries) {
            (Some(ours), Some(theirs)) => Arc::ptr_eq(ours, theirs),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        }
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.entries.is_none()
    }

    /// The entries, sorted by identity. None is empty.
    pub fn iter(&self) -> std::slice::Iter<'_, Resource> {
        self.entries().iter()
    }

    /// Adds one resource. An empty one changes nothing.
    pub fn insert(&mut self, resource: Resource) {
        if resource.value.is_empty() {
            return;
        }
        if resource.key.is_whole() {
            let at = self.entries().partition_point(|entry| *entry <= resource);
            return self.entries_mut().insert(at, resource);
        }
        match self.entries().binary_search_by(|entry| entry.slot_cmp(&resource)) {
            Ok(at) => self.entries_mut()[at].value.merge(&resource.value),
            Err(at) => self.entries_mut().insert(at, resource),
        }
    }

    /// Adds all of the other.
    ///
    /// Ranges and sets are united: a port that is in both is in the sum once, so what was offered twice by
    /// mistake does not come back as two.
    pub fn add(&mut self, other: &Resources) {
        // Each insert into a long list moves half of it; a sort is cheaper then, and bounds what a message of
        // a hundred thousand entries can cost. The allocator adds a handful.
        const FEW: usize = 16;
        if self.is_empty() {
            self.clone_from(other);
        } else if other.entries().len() <= FEW {
            for resource in other {
                self.insert(resource.clone());
            }
        } else {
            *self = std::mem::take(self).into_iter().chain(other.iter().cloned()).collect();
        }
    }

    /// What is left without the other. `None` when some of it is not there: nothing is taken then, and the
    /// caller decides what that means.
    pub fn checked_sub(&self, other: &Resources) -> Option<Resources> {
        if other.is_empty() {
            return Some(self.clone());
        }
        let mut left = Vec::with_capacity(self.entries().len());
        let complete = self.walk(other, |ours, taken| {
            match taken {
                None => left.push(ours.clone()),
                Some(_) if ours.key.is_whole() => {}
                Some(taken) => match ours.value.checked_sub(&taken.value) {
                    Some(value) if value.is_empty() => {}
                    Some(value) => left.push(Resource { key: ours.key.clone(), value }),
                    None => return false,
                },
            }
            true
        });
        complete.then(|| Resources::from_entries(left))
    }

    /// What is left without the other, and nothing of what is not there: of each amount what is more than the other's,
    /// ports and items that are only here, and of equal whole things as many as are more.
    pub fn saturating_sub(&self, other: &Resources) -> Resources {
        if other.is_empty() {
            return self.clone();
        }
        let mut left = Vec::with_capacity(self.entries().len());
        let mut theirs = other.iter().peekable();
        for ours in self {
            let order = |their: &Resource| match ours.key.is_whole() {
                true => their.cmp(ours),
                false => their.slot_cmp(ours),
            };
            // Both lists are sorted: one that sorts before ours is not here.
            while theirs.next_if(|their| order(their).is_lt()).is_some() {}
            match theirs.next_if(|their| order(their).is_eq()) {
                None => left.push(ours.clone()),
                Some(_) if ours.key.is_whole() => {}
                Some(their) => {
                    let value = ours.value.saturating_sub(&their.value);
                    if !value.is_empty() {
                        left.push(Resource { key: ours.key.clone(), value });
                    }
                }
            }
        }
        Resources::from_entries(left)
    }

    /// The least that contains both: of each amount the greater one, the ports and items of either, and of equal whole
    /// things as many as are in the one that has more.
    pub fn covering(&self, other: &Resources) -> Resources {
        let mut both = self.clone();
        both.add(&other.saturating_sub(self));
        both
    }

    /// Whether all of the other is here; exactly when [`Resources::checked_sub`] would give something.
    pub fn contains(&self, other: &Resources) -> bool {
        self.walk(other, |ours, taken| {
            taken.is_none_or(|taken| ours.key.is_whole() || ours.value.contains(&taken.value))
        })
    }

    /// Goes through our entries in order, each with the entry of `other` that is to be taken from it. Stops
    /// when `visit` says no. Answers whether it never did and everything of `other` found its place.
    fn walk<'a>(
        &'a self,
        other: &'a Resources,
        mut visit: impl FnMut(&'a Resource, Option<&'a Resource>) -> bool,
    ) -> bool {
        let mut wanted = other.iter().peekable();
        for ours in self {
            let fits = |want: &&Resource| match ours.key.is_whole() {
                true => **want == *ours,
                false => want.slot_cmp(ours).is_eq(),
            };
            // Both lists are sorted: one that sorts before ours and did not fit will not fit later either,
            // stays where it is, and is found there at the end.
            let taken = wanted.next_if(|want| fits(want));
            if !visit(ours, taken) {
                return false;
            }
        }
        wanted.next().is_none()
    }

    /// Whether something is in both: a common amount, number, item or whole volume under the same identity.
    pub fn intersects(&self, other: &Resources) -> bool {
        let (mut left, mut right) = (self.iter().peekable(), other.iter().peekable());
        while let (Some(ours), Some(theirs)) = (left.peek(), right.peek()) {
            let order = match ours.key.is_whole() {
                true => ours.cmp(theirs),
                false => ours.slot_cmp(theirs),
            };
            match order {
                Ordering::Less => _ = left.next(),
                Ordering::Greater => _ = right.next(),
                Ordering::Equal if ours.key.is_whole() => return true,
                Ordering::Equal => {
                    if ours.value.intersection(&theirs.value).is_some_and(|both| !both.is_empty()) {
                        return true;
                    }
                    _ = (left.next(), right.next());
                }
            }
        }
        false
    }

    /// The sum of all scalars of this name, whatever their identity.
    pub fn scalar(&self, name: &str) -> Milli {
        self.counted()
            .filter(|entry| entry.key.name == *name)
            .map(|entry| match &entry.value {
                ResourceValue::Scalar(amount) => *amount,
                ResourceValue::Ranges(_) | ResourceValue::Set(_) => Milli::ZERO,
            })
            .sum()
    }

    /// All cpus.
    pub fn cpus(&self) -> Milli {
        self.scalar("cpus")
    }

    /// All memory, in MiB.
    pub fn mem(&self) -> Milli {
        self.scalar("mem")
    }

    /// All disk, in MiB.
    pub fn disk(&self) -> Milli {
        self.scalar("disk")
    }

    /// All GPUs.
    pub fn gpus(&self) -> Milli {
        self.scalar("gpus")
    }

    /// All ports.
    pub fn ports(&self) -> Ranges {
        self.iter().filter(|entry| entry.key.name == Name::ports()).fold(Ranges::new(), |all, entry| {
            match &entry.value {
                ResourceValue::Ranges(ranges) => all.union(ranges),
                ResourceValue::Scalar(_) | ResourceValue::Set(_) => all,
            }
        })
    }

    /// How much of each name, whatever the identity; ranges and sets count their elements.
    pub fn quantities(&self) -> Quantities {
        let mut quantities = Quantities::new();
        for entry in self.counted() {
            quantities.add(&entry.key.name, entry.value.quantity());
        }
        quantities
    }

    /// The entries that count: of the uses of one shared volume only the first.
    fn counted(&self) -> impl Iterator<Item = &Resource> {
        let mut before = None;
        self.iter().filter(move |entry| {
            let repeated = entry.key.shared && before == Some(*entry);
            before = Some(*entry);
            !repeated
        })
    }

    /// The first entry with a greater amount than any that can be read ([`MAX_AMOUNT`]), as the sum of several may be:
    /// who took it in could not write it down for itself.
    pub fn excess(&self) -> Option<&Resource> {
        self.iter().find(|entry| match &entry.value {
            ResourceValue::Scalar(amount) => *amount > MAX_AMOUNT,
            ResourceValue::Ranges(_) | ResourceValue::Set(_) => false,
        })
    }

    /// Those entries that pass a test of their identity. Where all do, shared with these.
    pub fn filter(&self, keep: impl Fn(&ResourceKey) -> bool) -> Resources {
        let passing = || self.iter().filter(|entry| keep(&entry.key));
        let count = passing().count();
        if count == self.entries().len() {
            return self.clone();
        }
        let mut kept = Vec::with_capacity(count);
        kept.extend(passing().cloned());
        Resources::from_entries(kept)
    }

    /// What is reserved to nobody.
    pub fn unreserved(&self) -> Resources {
        self.filter(|key| key.role().is_none())
    }

    /// What is reserved, role by role. A stack of reservations counts for the last one's role.
    pub fn reserved(&self) -> impl Iterator<Item = (Role, Resources)> + use<> {
        let mut roles: BTreeMap<Role, Vec<Resource>> = BTreeMap::new();
        for entry in self {
            if let Some(role) = entry.key.role() {
                // In order of the entries, so each collection is sorted.
                roles.entry(role.clone()).or_default().push(entry.clone());
            }
        }
        roles.into_iter().map(|(role, entries)| (role, Resources::from_entries(entries)))
    }

    /// What is reserved to exactly this role.
    pub fn reserved_to(&self, role: &Role) -> Resources {
        self.filter(|key| key.role() == Some(role))
    }

    /// What a framework in this role may be offered: what is unreserved, and what is reserved to the role or
    /// to one above it.
    pub fn allocatable_to(&self, role: &Role) -> Resources {
        self.filter(|key| key.is_allocatable_to(role))
    }

    /// What may be taken back at any time.
    pub fn revocable(&self) -> Resources {
        self.filter(|key| key.revocable)
    }

    /// What is kept until its task ends.
    pub fn non_revocable(&self) -> Resources {
        self.filter(|key| !key.revocable)
    }

    /// The uses of shared volumes.
    pub fn shared(&self) -> Resources {
        self.filter(|key| key.shared)
    }

    /// Everything but the uses of shared volumes.
    pub fn non_shared(&self) -> Resources {
        self.filter(|key| !key.shared)
    }

    /// The same without reservations, added up.
    pub fn flatten(&self) -> Resources {
        self.with_reservations(&[])
    }

    /// The same as the agent's flags would reserve it to this role; for `*`, unreserved.
    pub fn with_role(&self, role: &Role) -> Resources {
        if role.is_any() {
            return self.flatten();
        }
        self.with_reservations(&[Reservation {
            kind: ReservationKind::Static,
            role: role.clone(),
            principal: None,
            labels: Labels::new(),
        }])
    }

    /// The same with this stack of reservations in the place of its own.
    pub fn with_reservations(&self, reservations: &[Reservation]) -> Resources {
        let replace = |mut entry: Resource| {
            entry.key.reservations = reservations.to_vec();
            entry
        };
        self.iter().cloned().map(replace).collect()
    }
}

impl FromIterator<Resource> for Resources {
    fn from_iter<I: IntoIterator<Item = Resource>>(resources: I) -> Resources {
        let mut sorted: Vec<Resource> =
            resources.into_iter().filter(|resource| !resource.value.is_empty()).collect();
        // Stable, so that whole things that are equal by identity keep the order they came in.
        sorted.sort();
        let mut entries: Vec<Resource> = Vec::with_capacity(sorted.len());
        // What the last entry is still to be given.
        let mut more: Vec<ResourceValue> = Vec::new();
        for resource in sorted {
            match entries.last_mut() {
                Some(last) if !resource.key.is_whole() && last.slot_cmp(&resource).is_eq() => {
                    more.push(resource.value);
                }
                last => {
                    give(last, &mut more);
                    entries.push(resource);
                }
            }
        }
        give(entries.last_mut(), &mut more);
        Resources::from_entries(entries)
    }
}

/// Adds these values to an entry, and leaves none.
fn give(entry: Option<&mut Resource>, more: &mut Vec<ResourceValue>) {
    if let Some(entry) = entry.filter(|_| !more.is_empty()) {
        entry.value.merge_all(more);
        more.clear();
    }
}

impl Extend<Resource> for Resources {
    fn extend<I: IntoIterator<Item = Resource>>(&mut self, resources: I) {
        self.add(&resources.into_iter().collect());
    }
}

impl IntoIterator for Resources {
    type Item = Resource;
    type IntoIter = std::vec::IntoIter<Resource>;
    fn into_iter(self) -> Self::IntoIter {
        self.entries.map(Arc::unwrap_or_clone).unwrap_or_default().into_iter()
    }
}

impl<'a> IntoIterator for &'a Resources {
    type Item = &'a Resource;
    type IntoIter = std::slice::Iter<'a, Resource>;
    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// The same as [`Resources::add`].
impl AddAssign<&Resources> for Resources {
    fn add_assign(&mut self, other: &Resources) {
        self.add(other);
    }
}

impl<'a> Sum<&'a Resources> for Resources {
    fn sum<I: Iterator<Item = &'a Resources>>(all: I) -> Resources {
        all.fold(Resources::new(), |mut sum, resources| {
            sum.add(resources);
            sum
        })
    }
}
