//! What an agent decides, without the machine that it decides about.
//!
//! **What is this room for?** The lives of tasks on one agent: launched, checked for health, killed with grace, ended,
//! told to the master until acknowledged, recovered after the agent was gone; and the agent's link to its master.
//!
//! **What does it promise?** [`Agent::apply`] is the only way in, and it is pure: the same state, time and event give
//! the same effects on any machine. What must survive the agent is a [`Record`] that stands in the effects before
//! everything that relies on it. A task is launched at most once, has at most one update in flight, and its end is
//! told until the master acknowledges it. [`Agent::violations`] says what must hold after every event.
//!
//! **What does it leave to others?** The shell (`bourse-agent`) writes the records, opens the link, runs probes and
//! drives the containerizer; `bourse-containerizer` knows what a container is.

#![warn(missing_docs)]

mod agent;
mod config;
mod effect;
mod event;

mod checkpoint;
mod description;
mod recovery;

mod cores;
mod disk;
mod health;
mod kill;
mod link;
mod resize;
mod task;
mod updates;

mod ids;
mod invariants;

pub use agent::Agent;
pub use checkpoint::{ENDED_KEPT, Health, Kill, KillCause, Record, State, Task};
pub use config::Config;
pub use cores::Cores;
pub use description::{Description, Less};
pub use disk::{Held, OWN_INODES, Shortage, inodes_of, limit_of as disk_limit_of};
pub use effect::{
    Effect, FromAgent, Launch, Registration, Resize, Signal, StatusUpdate, TaskReport, TaskResized,
};
pub use event::{Assignment, Checked, End, Event, FromMaster, Limitation, LinkId, TaskKey, Work};
pub use recovery::{Condition, Found, Start};
