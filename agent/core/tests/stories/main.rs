//! The promises of the agent's core, told as stories: events in, effects out, as text.

mod world;

mod cores;
mod disk;
mod health;
mod killing;
mod launching;
mod link;
mod promises;
mod random;
mod recovery;
mod resizing;
mod stopping;
mod updates;
