//! The pure core of the master: the rules by which resources are offered, taken, and run as tasks.
//!
//! **What is this room for?** [`Master`] is a value. [`Master::apply`] takes the time and one [`Event`] and queues
//! [`Effect`]s; nothing else goes in, nothing else comes out. Agents, frameworks, tasks and offers are a table and
//! its handlers each; the allocator is a room of the master and not a second actor, so that there is one account of
//! what is offered and what is allocated.
//!
//! **What does it promise?** The same state, time and event give the same effects on any machine: there is no
//! clock, no I/O, no random source and nothing that iterates in an order which differs from run to run.
//! [`Master::violations`] says what must hold after every event. A clone of a whole master is cheap, as its tables
//! share what did not change: [`View`] is such a clone for readers, and a what-if is one with a few more events.
//! [`Master::parts`] are the whole of it as plain data, from which [`Master::restore`] makes the same master.
//!
//! **What does it leave to others?** The shell reads clocks and sockets, makes durable what [`Effect::Persist`]
//! says before any other effect of the batch is let out, stamps and stores the [history](history::Entry), and calls
//! [`Event::Tick`] when [`Master::next_deadline`] is due.

#![warn(missing_docs)]

pub mod effect;
pub mod event;

pub mod config;
pub mod history;
pub mod registry;
pub mod state;
pub mod text;

mod master;
mod operate;

pub mod agents;
pub mod frameworks;
pub mod offers;
pub mod tasks;

mod account;
mod allocator;
mod maintenance;

pub mod explain;
mod invariants;
pub mod view;

mod deadlines;
mod ids;
mod random;
mod slots;
mod standstill;
mod table;

pub use agents::{Agent, AgentState, Drain};
pub use allocator::Unserved;
pub use config::Config;
pub use effect::{AgentRefused, Done, Effect, Effects, OfferMade, Refused, ToAgent, ToScheduler};
pub use event::{
    Accept, Call, Command, Event, Launch, LinkId, Registration, RequestId, Resize, StatusUpdate, StreamId,
    Subscription, TaskInfo, TaskReport, TaskResized,
};
pub use explain::{AgentVerdict, Explanation, Obstacle, Subject};
pub use frameworks::{Framework, FrameworkState};
pub use master::Master;
pub use offers::Offer;
pub use registry::{Change, Snapshot};
pub use table::Table;
pub use tasks::Task;
pub use view::{FrameworkPicture, Problem, RolePicture, Severity, Totals, View};
