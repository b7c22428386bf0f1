//! The identity of a resource: everything by which two amounts of one name may not be added up.

use std::cmp::Ordering;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use super::Name;
use crate::volume::Volume;
use crate::{Labels, Principal, Role};

/// What makes one resource another than its namesake.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResourceKey {
    /// What it is.
    pub name: Name,
    /// The stack of reservations: each refines the one before it, and the last one says whose it is now.
    /// Empty for what is unreserved.
    pub reservations: Vec<Reservation>,
    /// Which disk, and which volume on it. `None` for everything but disk, and for the machine's plain disk.
    pub disk: Option<Disk>,
    /// Whether it may be taken back from its task at any time.
    pub revocable: bool,
    /// Whether several tasks may hold it at once: a shared persistent volume.
    pub shared: bool,
    /// The resource provider it comes from; `None` for the agent itself.
    pub provider: Option<Arc<str>>,
}

impl ResourceKey {
    /// Unreserved, not revocable, of the agent itself.
    pub fn plain(name: Name) -> ResourceKey {
        ResourceKey {
            name,
            reservations: Vec::new(),
            disk: None,
            revocable: false,
            shared: false,
            provider: None,
        }
    }

    /// Whose it is: the role of the last reservation. `None` for what is unreserved.
    pub fn role(&self) -> Option<&Role> {
        self.reservations.last().map(|reservation| &reservation.role)
    }

    /// Whether a framework in this role may be offered it: it is unreserved, or reserved to the role or to
    /// one above it.
    pub fn is_allocatable_to(&self, role: &Role) -> bool {
        self.role().is_none_or(|reserved| role.is_within(reserved))
    }

    /// Whether it is one thing that neither melts with its like nor can be cut: a persistent volume, a disk
    /// that is mounted or a block device as a whole, a created disk of a storage provider, anything shared.
    pub fn is_whole(&self) -> bool {
        self.shared
            || self.disk.as_ref().is_some_and(|disk| {
                disk.persistence.is_some()
                    || disk.source.as_ref().is_some_and(|source| match source.kind {
                        DiskSourceKind::Path => false,
                        DiskSourceKind::Mount | DiskSourceKind::Block => true,
                        DiskSourceKind::Raw => source.id.is_some(),
                    })
            })
    }
}

/// Who a resource is set aside for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reservation {
    /// How it came about.
    pub kind: ReservationKind,
    /// For whom; never `*`.
    pub role: Role,
    /// Who made it.
    pub principal: Option<Principal>,
    /// Labels of the maker's choice. Part of the identity: reservations that differ here stay apart.
    pub labels: Labels,
}

/// How a reservation came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ReservationKind {
    /// By the agent's flags. Cannot be undone while the agent runs.
    Static,
    /// By an operation of a framework or an operator, which another operation undoes.
    Dynamic,
}

/// Which disk, and what is on it.
///
/// Two of these are equal when source and persistence id are, as in Mesos: where a task wants a volume
/// mounted, and who once made it, do not make it another volume. Both travel along.
#[derive(Debug, Clone)]
pub struct Disk {
    /// The persistent volume on it.
    pub persistence: Option<Persistence>,
    /// Where a task finds the volume.
    pub volume: Option<Volume>,
    /// The disk; `None` for the one that holds the agent's work directory.
    pub source: Option<Box<DiskSource>>,
}

impl Disk {
    fn identity(&self) -> (Option<&DiskSource>, Option<&str>) {
        (self.source.as_deref(), self.persistence.as_ref().map(|persistence| &*persistence.id))
    }
}

impl PartialEq for Disk {
    fn eq(&self, other: &Disk) -> bool {
        self.identity() == other.identity()
    }
}

impl Eq for Disk {}

impl PartialOrd for Disk {
    fn partial_cmp(&self, other: &Disk) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Disk {
    fn cmp(&self, other: &Disk) -> Ordering {
        self.identity().cmp(&other.identity())
    }
}

impl Hash for Disk {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.identity().hash(state);
    }
}

/// A persistent volume: its content outlives tasks, executors and the agent's restarts until it is destroyed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Persistence {
    /// Its id, unique for its role on its agent.
    pub id: Arc<str>,
    /// Who made it. Not part of the identity.
    pub principal: Option<Principal>,
}

/// A disk beside the one that holds the agent's work directory.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DiskSource {
    /// What kind of disk.
    pub kind: DiskSourceKind,
    /// Where it is mounted: a path, absolute or relative to the agent's work directory.
    pub root: Option<Arc<str>>,
    /// The id that a storage provider gave it.
    pub id: Option<Arc<str>>,
    /// The storage provider's vendor.
    pub vendor: Option<Arc<str>>,
    /// The profile it was made by.
    pub profile: Option<Arc<str>>,
    /// What the storage provider says about it.
    pub metadata: Labels,
}

/// What kind of disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DiskSourceKind {
    /// A directory that many may share: can be cut.
    Path,
    /// A file system of its own: one task has it whole.
    Mount,
    /// A block device: one task has it whole.
    Block,
    /// Space that a storage provider can make disks of.
    Raw,
}
