//! Cutting what a task wants out of an offer.

use super::{Resource, ResourceKey, Resources};
use crate::Role;

impl Resources {
    /// Finds what is wanted in these resources, as the pieces that they consist of.
    ///
    /// An entry that says only name, value and revocability is taken from what is reserved to the role, then
    /// from what is reserved to the roles above it (the nearest first), then from what is unreserved; one
    /// amount may be put together from several. Volumes and other whole things are never cut up for it. An
    /// entry that says more (a reservation, a disk, shared, a provider) is taken as it is.
    ///
    /// `None` when something is missing. The answer is contained in these resources, and without its
    /// reservations is what was wanted.
    pub fn find(&self, wanted: &Resources, role: &Role) -> Option<Resources> {
        let (plain, exact): (Resources, Resources) = {
            let (plain, exact): (Vec<Resource>, Vec<Resource>) =
                wanted.iter().cloned().partition(|want| is_plain(&want.key));
            (plain.into_iter().collect(), exact.into_iter().collect())
        };
        let left = self.checked_sub(&exact)?;
        let mut found = exact;
        for want in plain {
            found.extend(left.find_one(want, role)?);
        }
        Some(found)
    }

    /// Finds one plain entry. Different entries ask for different names or kinds, so none takes from another.
    fn find_one(&self, mut want: Resource, role: &Role) -> Option<Vec<Resource>> {
        let mut candidates: Vec<&Resource> = self
            .iter()
            .filter(|have| {
                have.key.name == want.key.name
                    && have.key.revocable == want.key.revocable
                    && have.key.disk.is_none()
                    && have.key.provider.is_none()
                    && !have.key.shared
                    && have.key.is_allocatable_to(role)
            })
            .collect();
        // Stable: within a role in canonical order. All reserved ones are for this role or above it, so the
        // deeper one is the nearer one; what is unreserved has no depth.
        candidates.sort_by_key(|have| std::cmp::Reverse(have.key.role().map(Role::depth)));
        let mut found = Vec::new();
        for have in candidates {
            let Some(part) = have.value.intersection(&want.value).filter(|part| !part.is_empty()) else {
                continue;
            };
            want.value = want.value.checked_sub(&part).expect("an intersection is contained in both");
            found.push(Resource { key: have.key.clone(), value: part });
            if want.value.is_empty() {
                return Some(found);
            }
        }
        None
    }
}

fn is_plain(key: &ResourceKey) -> bool {
    let ResourceKey { name: _, reservations, disk, revocable: _, shared, provider } = key;
    reservations.is_empty() && disk.is_none() && !shared && provider.is_none()
}
