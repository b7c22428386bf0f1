//! The resource algebra: what a machine has, what is offered, what a task holds.
//!
//! **What is this room for?** [`Resources`] is a canonical collection of [`Resource`]s, each an identity
//! ([`ResourceKey`]: name, reservations, disk, revocability, ...) with a value (scalar, ranges or set). It
//! can be added, taken away, compared, filtered by role, read from and written as Mesos' text form.
//!
//! **What does it promise?** Equal collections are equal values, whatever the order of the steps that made
//! them. Nothing is ever negative or empty in it. `a.contains(b)` exactly when `a.checked_sub(b)` is
//! something. What has a different identity never melts together: unreserved cpus do not serve for reserved
//! ones.
//!
//! **What does it leave to others?** Who may use or reserve what, and in which order machines are offered:
//! the master. The wire forms: `bourse-wire`.

mod collection;
mod find;
mod key;
mod name;
mod quantities;
mod text;
mod value;

pub use collection::{Resource, Resources};
pub use key::{Disk, DiskSource, DiskSourceKind, Persistence, Reservation, ReservationKind, ResourceKey};
pub use name::{BadName, Name};
pub use quantities::Quantities;
pub use text::BadResources;
pub use value::ResourceValue;

#[cfg(test)]
mod tests;
