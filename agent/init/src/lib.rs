//! What the agent and the first process of a container say to each other.
//!
//! **For what.** `bourse-init` is pid 1 of every container. This library holds what it shares with the agent:
//! the [`plan`] (agent to init: what to set up and what to run), the [`report`] socket (init to agent: how the
//! set-up went), the [`order`]s (agent to init: end the task) and the [`record`] (init to whoever comes later:
//! how it ended). The program itself is in `main.rs`.
//!
//! **Promises.** No dependency, no I/O, no `unsafe` in here: encode and decode only. A form that was cut off
//! or comes from another version is refused, never half understood.
//!
//! **Left to others.** Where the files lie, who may read them and when they are removed is the
//! containerizer's.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod order;
pub mod plan;
pub mod record;
pub mod report;
pub mod step;
