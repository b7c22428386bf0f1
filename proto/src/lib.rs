//! The wire and disk forms of Bourse, generated from the `.proto` files next to this crate's manifest.
//!
//! This room holds the messages that travel (between schedulers, executors, master, agents and tools) and the
//! ones that are written to disk, and nothing that decides. It promises that every message of [`v1`] has the
//! names, numbers and types of Mesos' v1 API where the concept is the same, so that bytes written by either
//! are read by the other; and that what Mesos requires can be checked by [`Required`]. What the words mean,
//! and whether a message makes sense, is left to the domain types and to the rooms that convert to them.
//!
//! Fields that this build does not know are dropped when a message is decoded. What the master only carries
//! is therefore read by the variants in [`v1::carrier`], which keep it as bytes.

#![warn(missing_docs)]

mod required;

#[allow(missing_docs, clippy::all, clippy::pedantic, rustdoc::all)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/bourse.rs"));
}

pub(crate) use generated::bourse;

/// Between an agent and the master, and what an agent answers on its own port.
pub use bourse::agent::v1 as agent_link;
/// What is written to disk: registry, history, checkpoints, recorded inputs.
pub use bourse::disk::v1 as disk;
/// Seeing and steering the cluster.
pub use bourse::operator::v1 as operator;
/// The bundled service framework.
pub use bourse::services::v1 as services;
/// The messages of Mesos' v1 API; `scheduler`, `executor` and `carrier` are modules inside.
pub use bourse::v1;
pub use required::Required;

/// The descriptors of all messages and services, encoded, with the comments of the `.proto` files: what gRPC
/// reflection serves.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/bourse.fds"));
