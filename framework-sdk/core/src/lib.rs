//! What a framework's scheduler is, and the rules that keep it right.
//!
//! **What is this room for?** An author writes a [`Scheduler`]: plain functions from events to calls. [`Session`] stands
//! between it and the master and does what every framework of Mesos had to get right by hand: it reconnects with
//! backoff, subscribes again with its id, acknowledges after the handler returned, reconciles after every gap, declines
//! what is not wanted, repeats a kill until the task has ended, keeps the states of a task in order, and shows no update
//! twice.
//!
//! **What does it promise?** It is pure: no clock, no socket, no randomness but a seed. The very same code runs over
//! gRPC (`bourse-sdk`) and in the simulator under virtual time. An offer is used at most once, by type; no task that was
//! put into an offer is silent; nothing is acknowledged before the handler returned and its writes are durable.
//! [`Session::violations`] says what must hold after every input.
//!
//! **What does it leave to others?** Connections, clocks, files and logs: the driver carries out what [`Output`] says and
//! reports what happened as [`Input`].

#![warn(missing_docs)]

pub mod backoff;
pub mod calls;
pub mod offer;
pub mod scheduler;
pub mod session;
pub mod task;
pub mod task_ids;
pub mod text;

pub use calls::{Acknowledgement, Call, Calls, Resize, Write};
pub use offer::{NotLaunched, NotResized, Offer, OfferMade, Placed, WhyNot, resized};
pub use scheduler::{Event, Scheduler};
pub use session::{Attempt, Config, End, FromMaster, Input, Note, Output, Session};
pub use task::Task;
pub use task_ids::TaskIds;
