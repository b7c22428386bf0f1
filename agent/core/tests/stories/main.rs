//! The promises of the agent's core, told as stories: events in, effects out, as text.

mod world;

mod disk;
mod health;
mod killing;
mod launching;
mod link;
mod promises;
mod random;
mod recovery;
mod stopping;
mod updates;
