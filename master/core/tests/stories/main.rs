//! Stories: events in, effects out, as text. One story a promise, and its name is the promise.
//!
//! `promises.txt` lists the ★ lines of Mesos' semantics that the core keeps, each with its stories; `promises` holds
//! the list and the names of the stories together. `stars.txt` lists all ★ lines there are, with what holds each.

mod text;
mod world;

mod agents;
mod draining;
mod explaining;
mod fairness;
mod frameworks;
mod launching;
mod liars;
mod offers;
mod reading;
mod reconciling;
mod resizing;
mod restarts;
mod updates;

mod lines;
mod promises;
mod random;
mod stars;
mod state;
