//! Write a framework: a scheduler as plain functions, driven over gRPC.
//!
//! ```no_run
//! use bourse_sdk::{Calls, Event, Framework, Scheduler, Task};
//! use bourse_types::{Milli, Now};
//!
//! struct Hello { left: u32 }
//!
//! impl Scheduler for Hello {
//!     type Message = ();
//!     fn on(&mut self, _now: Now, event: Event<()>, calls: &mut Calls) {
//!         match event {
//!             Event::Offer(mut offer) if self.left > 0 => {
//!                 let task = Task::new(calls.task_id("hello")).command("echo hello").cpus(Milli::new(100)).mem_mib(32);
//!                 if offer.launch(task).is_ok() {
//!                     self.left -= 1;
//!                 }
//!                 calls.accept(offer);
//!             }
//!             Event::Update(status) if status.state.is_terminal() => calls.teardown(),
//!             _ => {}
//!         }
//!     }
//! }
//!
//! # async fn example() -> Result<(), bourse_sdk::RunError> {
//! Framework::new("hello").run(Hello { left: 1 }).await?;
//! # Ok(())
//! # }
//! ```
//!
//! **What is this room for?** It connects a [`Scheduler`] with a master: it carries out what the session of
//! `bourse-sdk-core` decides, over gRPC, with real clocks and files.
//!
//! **What does it promise?** Calls leave in order, one at a time, and none before what it rests on is durable. A master
//! that is lost is looked for, for ever. Every queue is bounded. What an operator would ask about is told by `tracing`.
//!
//! **What does it leave to others?** Every rule about offers, updates, reconnecting and reconciling is in
//! `bourse-sdk-core`, so that it is the same in the simulator. Addresses, tokens and TLS are in `bourse-client`.

#![warn(missing_docs)]

mod driver;
mod framework;
mod handle;
mod state;
mod subscription;
mod wire;

pub use bourse_sdk_core::{
    Acknowledgement, Calls, Event, NotLaunched, NotResized, Offer, Placed, Scheduler, Task, TaskIds, WhyNot,
};
pub use driver::RunError;
pub use framework::Framework;
pub use handle::Handle;
pub use state::{StateDir, StateError};

/// How many things a session hears by an event, for whoever tries all kinds of them. No part of what authors use.
///
/// # Errors
///
/// What is wrong with it.
#[doc(hidden)]
pub fn read_event(event: &bourse_proto::v1::scheduler::Event) -> Result<usize, String> {
    wire::read(event).map(|heard| heard.len()).map_err(|why| why.to_string())
}
