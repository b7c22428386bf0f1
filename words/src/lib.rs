//! How things are called, the same on every screen.
//!
//! **What is this room for?** The command line and the status page show the same states, ids, amounts and sentences.
//! What each is called is decided here, once, so that what somebody reads on one can be looked for on the other.
//!
//! **What does it promise?** Pure functions from the API's messages to words. Nothing is coloured, linked or laid out.
//!
//! **What does it leave to others?** How a tone looks and what a name links to: whoever draws it. What the API says: the
//! master.

#![warn(missing_docs)]

mod amounts;
mod ids;
mod sentences;
mod states;
mod usage;

pub use amounts::{amounts, exit, mib, number, share, used};
pub use ids::{is_master, short};
pub use sentences::{Named, bare, named, prose, sentence, time};
pub use states::{Tone, needs_a_look, state};
pub use usage::{memory_bounds, throttled, usage};
