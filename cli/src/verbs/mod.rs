//! One file a verb.

pub mod agent;
pub mod agents;
pub mod completion;
pub mod drain;
pub mod events;
pub mod frameworks;
pub mod gone;
pub mod kill;
pub mod logs;
pub mod master;
pub mod offers;
pub mod ps;
pub mod reactivate;
pub mod replay;
pub mod roles;
pub mod run;
pub mod service;
pub mod services;
pub mod status;
pub mod task;
pub mod teardown;
pub mod weight;
pub mod why;

mod check;
mod follow;
mod list;
mod patience;
mod watch;
