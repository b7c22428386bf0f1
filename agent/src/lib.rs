//! The agent: what its core decides, done on this machine.
//!
//! **What is this room for?** Settings, what the machine has, the link to the master, the checkpoint on disk, launching
//! and watching containers, health probes, measuring, and the agent's own API. One task, the driver, owns the core;
//! everybody else sends it events and carries out its effects.
//!
//! **What does it promise?** What the core wants written down is written before anything that relies on it is said or
//! done. The agent may be killed at any instant: its tasks run on, and the next agent with the same work directory is
//! the same agent, with the same tasks. Two agents never share a work directory. Nobody reads a log without a token.
//!
//! **What does it leave to others?** Every decision about tasks, updates and the link is `bourse-agent-core`'s; what a
//! container is, `bourse-containerizer`'s.

#![warn(missing_docs)]

pub mod config;
pub mod resources;
pub mod tree;
pub mod trial;

mod clock;
mod collect;
mod identity;

mod checkpoint;
mod driver;
mod view;

mod session;
mod wire;

mod cores;
mod disk;
mod du;
mod launcher;
mod mount;
mod probe;
mod sandbox;
mod unpacked;
mod usage;

mod serve;

mod run;

/// What reads bytes of others, for whoever tries it with all kinds of them. No part of what an agent is to anybody else.
#[doc(hidden)]
pub mod readers {
    pub use crate::checkpoint::{read_records, write_records};
    pub use crate::wire::read as message;
}

pub use config::{AgentArgs, Config};
pub use run::{EXIT_DISK_FAILED, exit_code, run};
