//! Wire messages become the core's causes, and its consequences wire messages: the master's own part of it.
//!
//! **What is this room for?** What only a master says or hears: calls and events of schedulers, registrations and
//! commands of agents. Nouns that others share are read and written by `bourse-wire`.
//!
//! **What does it promise?** What comes out of a `read` is well formed, or the error says by path what is not. A task
//! travels on as the bytes that its framework sent, beside what the master owns of it.
//!
//! **What does it leave to others?** Whether a call makes sense now: the core. How an error is said at a door (a gRPC
//! code, an HTTP status): [`serve`](crate::serve).

pub mod agent;
pub mod scheduler;

#[cfg(test)]
mod damaged;
