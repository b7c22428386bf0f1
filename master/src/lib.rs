//! The master's shell: it reads clocks, sockets and disks for the core, and does what the core decides.
//!
//! **What is this room for?** One process that is a master: settings, a driver that owns the core, the registry and the
//! history behind traits, a recording of all that the core was told, and every door on one port.
//!
//! **What does it promise?** Nothing is spoken before what it rests on is on the disk. A master that was killed at any
//! moment starts again from its registry, with a higher epoch, and its agents and frameworks come back to it.
//!
//! **What does it leave to others?** Every decision about offers, tasks, agents and frameworks is the core's
//! ([`bourse_master_core`]). Which database keeps the registry is for the binary to choose.

#![warn(missing_docs)]

pub mod config;

pub mod registry;

pub mod history;

pub mod disk;

pub mod recording;

mod clock;
pub mod driver;
mod keeper;
mod metrics;
mod sessions;
mod story;
mod usage;

pub mod wire;

pub mod serve;

mod run;

pub use config::{Config, MasterArgs};
pub use keeper::KeepError;
pub use run::{EXIT_PANICKED, EXIT_SYNC_FAILED, Master, MasterError, Stores, exit_code, run};
