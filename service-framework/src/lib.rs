//! The bundled framework for long-running services: an ordinary framework, on the SDK, in its own process.
//!
//! **What is this room for?** An application team writes a small TOML file; this framework keeps as many instances of
//! it running as the file wants, spread over the agents, restarted when they end, replaced when their agent is lost
//! or drained or their definition changes, and says why whenever something does not run.
//!
//! **What does it promise?** What it decides is a pure function of what is wanted, what is seen, the offers in hand and
//! the time ([`plan`]). A `kill -9` at any moment neither loses a definition nor runs an instance twice.
//!
//! **What does it leave to others?** Reconnecting, acknowledging and durable writes: the SDK. Isolation, health checks
//! and kills with grace: the agents. Who may call its API beside its own framework: the master, which forwards.
#![warn(missing_docs)]

pub mod spec;
pub mod wanted;

pub mod plan;
pub mod seen;

pub mod explain;
pub mod picture;

pub mod disk;
pub mod scheduler;
pub mod task;

pub mod api;
pub mod config;
pub mod run;

pub use config::ServicesArgs;
pub use run::{EXIT_STATE_FAILED, RunError, exit_code, run};
