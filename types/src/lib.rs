//! The words that every part of Bourse shares.
//!
//! **What is this room for?** Ids, exact amounts, the resource algebra, roles, attributes, task states and
//! their one transition function, statuses, and what a framework says about itself and its tasks. Master,
//! agent, SDK, simulator and command line all speak in these types.
//!
//! **What does it promise?** It is pure: no clock, no I/O, no randomness, nothing that iterates in an order
//! that differs from run to run. Amounts are whole thousandths, so sums are exact and their order does not
//! matter. A value that exists is valid: whatever could be wrong (an id with a slash, a negative amount) is
//! refused where it is made, with a text that says what to do.
//!
//! **What does it leave to others?** The wire and disk forms (`bourse-proto`, `bourse-wire`), every decision
//! about offers and tasks (the cores), and anything that touches the machine (the shells).

#![warn(missing_docs)]

pub mod ids;
pub mod time;
pub mod units;

pub mod amount;
pub mod items;
pub mod ranges;
pub mod resources;

pub mod attributes;
pub mod labels;
pub mod role;

pub mod reason;
pub mod said;
pub mod status;
pub mod task_state;

pub mod agent;
pub mod capability;
pub mod command;
pub mod controls;
pub mod framework;
pub mod health;
pub mod namespaces;
pub mod rootfs;
pub mod size;
pub mod task;
pub mod volume;

#[cfg(test)]
mod damaged;

pub use agent::{Address, AgentInfo};
pub use amount::{BadAmount, Milli};
pub use attributes::{AttributeValue, Attributes, BadAttributes};
pub use capability::AgentCapability;
pub use command::{Argv, BadCommand, Command};
pub use controls::{BadControl, Controls, IO_WEIGHT_MAX, IoWeight, OOM_SCORE_MAX, OomScore, PageSize, Pids};
pub use framework::{Capabilities, FrameworkInfo};
pub use health::{HealthCheck, HealthKind, KillPolicy, Scheme};
pub use ids::{
    AgentId, BadId, ContainerId, Epoch, ExecutorId, FrameworkId, MasterId, OfferId, OperationId, Principal,
    TaskId,
};
pub use items::{BadItems, ItemSet};
pub use labels::Labels;
pub use namespaces::{BadNetwork, Namespaces, Network, Users};
pub use ranges::{BadRanges, Ranges};
pub use reason::{Reason, Source, UnknownName};
pub use resources::{
    BadName, BadResources, Disk, DiskSource, DiskSourceKind, Name, Persistence, Quantities, Reservation,
    ReservationKind, Resource, ResourceKey, ResourceValue, Resources,
};
pub use role::{BadRole, Role};
pub use rootfs::{BadRootfs, Rootfs};
pub use said::in_short;
pub use size::Size;
pub use status::{ContainerStatus, Exit, TaskStatus};
pub use task::TaskSpec;
pub use task_state::TaskState;
pub use time::{Deadline, Mono, Now, Wall};
pub use volume::{BadVolume, VOLUMES_MAX, Volume, VolumeMode};
