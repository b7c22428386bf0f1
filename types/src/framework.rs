//! What a framework says about itself when it subscribes.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::{FrameworkId, Labels, Principal, Quantities, Role};

/// A framework's description.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FrameworkInfo {
    /// Its id; `None` when it subscribes for the first time, and the master gives one.
    pub id: Option<FrameworkId>,
    /// A name for people. Need not be unique.
    pub name: String,
    /// The user its tasks run as, unless a task names another. Empty: the agent's default.
    pub user: String,
    /// Who it authenticated as.
    pub principal: Option<Principal>,
    /// The roles it wants offers for. A subscription without a role means [`Role::any`].
    pub roles: Vec<Role>,
    /// How long its tasks are kept after its scheduler disconnected. Zero means that they are killed at once,
    /// as Mesos clients that leave it out expect.
    pub failover_timeout: Duration,
    /// Whether its tasks survive a restart of their agent.
    pub checkpoint: bool,
    /// The host its scheduler runs on, for people.
    pub hostname: Option<String>,
    /// Its own page, for people.
    pub webui_url: Option<String>,
    /// What it knows how to handle.
    pub capabilities: Capabilities,
    /// Labels, carried and shown.
    pub labels: Labels,
    /// What an offer of a role must at least hold to be worth sending: one of the quantities listed, whole. A
    /// role that is absent goes by the master's own minimum.
    pub min_allocatable: BTreeMap<Role, Vec<Quantities>>,
}

impl FrameworkInfo {
    /// A framework with this name and everything else at the wire's defaults: no id, no role, failover
    /// timeout zero, no checkpoint, no capability.
    pub fn new(name: impl Into<String>) -> FrameworkInfo {
        FrameworkInfo {
            id: None,
            name: name.into(),
            user: String::new(),
            principal: None,
            roles: Vec::new(),
            failover_timeout: Duration::ZERO,
            checkpoint: false,
            hostname: None,
            webui_url: None,
            capabilities: Capabilities::default(),
            labels: Labels::new(),
            min_allocatable: BTreeMap::new(),
        }
    }
}

/// Writes the set and its names in both directions from one list.
macro_rules! capabilities {
    ($($(#[$doc:meta])* $field:ident = $name:literal,)*) => {
        /// What a framework knows how to handle: it is told and offered nothing that it could not understand.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct Capabilities {
            $($(#[$doc])* pub $field: bool,)*
        }

        impl Capabilities {
            /// The names of those it has, as on the wire.
            pub fn names(self) -> impl Iterator<Item = &'static str> {
                [$((self.$field, $name),)*].into_iter().filter(|(has, _)| *has).map(|(_, name)| name)
            }

            /// Adds the one with this wire name. Answers whether there is such a name; one from a newer
            /// release changes nothing.
            pub fn insert(&mut self, name: &str) -> bool {
                match name {
                    $($name => self.$field = true,)*
                    _ => return false,
                }
                true
            }
        }
    };
}

capabilities! {
    /// Hears unreachable, gone, dropped and unknown apart, and not all as lost.
    partition_aware = "PARTITION_AWARE",
    /// Hears of the state killing.
    task_killing = "TASK_KILLING_STATE",
    /// Takes resources that may be taken back.
    revocable = "REVOCABLE_RESOURCES",
    /// Takes agents with GPUs.
    gpu = "GPU_RESOURCES",
    /// Takes shared volumes.
    shared = "SHARED_RESOURCES",
    /// Has several roles.
    multi_role = "MULTI_ROLE",
    /// Reads resources in the form with a stack of reservations.
    reservation_refinement = "RESERVATION_REFINEMENT",
    /// Takes agents of other regions.
    region_aware = "REGION_AWARE",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_are_read_back_from_their_names() {
        let mut all = Capabilities::default();
        for name in [
            "PARTITION_AWARE",
            "TASK_KILLING_STATE",
            "REVOCABLE_RESOURCES",
            "GPU_RESOURCES",
            "SHARED_RESOURCES",
            "MULTI_ROLE",
            "RESERVATION_REFINEMENT",
            "REGION_AWARE",
        ] {
            let mut one = Capabilities::default();
            assert!(one.insert(name));
            assert_eq!(one.names().collect::<Vec<_>>(), [name]);
            all.insert(name);
        }
        assert_eq!(all.names().count(), 8);
        assert!(!all.insert("TELEPATHY"));
        assert_eq!(Capabilities::default().names().count(), 0);
    }
}
