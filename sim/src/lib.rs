//! The whole cluster in one thread and virtual time, by seed.
//!
//! **What is this room for?** The real cores of master, agents and SDK, and the service framework on it, each in a shell
//! as thin as the real one, on machines, disks and a network that go wrong as the seed has it. One seed is one run: the
//! same on any machine, so that a seed is a bug report.
//!
//! **What does it promise?** A run has two acts. In the first everything goes wrong, and after each event it is checked
//! that nothing is broken that must always hold; the checkers (`checks`) believe only what goes in and comes out, and
//! what the machines really did, and each core is asked for what of its own promises is broken. In the second the faults stop, and within bounded time everybody must know the same and
//! have what they want (`convergence`). Checkers are proven by bugs on purpose ([`Plant`]), and what was reached is
//! counted ([`Coverage`]). A run that fails is made shorter: what it can go without ([`Less`]) is left out ([`shrink()`]).
//!
//! **What does it leave to others?** Wire and disk forms, real shells, real kernels: those have tests of their own.

#![warn(missing_docs)]

mod world;

mod clock;
mod disk;
mod machine;
mod net;
mod random;

mod letter;
mod nodes;
mod translate;
mod vintage;
mod workload;

mod cast;
mod faults;
mod less;
mod plant;

mod jobs;
mod run;
mod shrink;

mod checks;
mod convergence;
mod coverage;
mod lifecycle;
mod text;
mod trace;

pub use coverage::Coverage;
pub use faults::Fault;
pub use jobs::{each, processors};
pub use less::{Less, Part, numbers, seconds};
pub use plant::Plant;
pub use run::run;
pub use shrink::shrink;

use std::collections::BTreeMap;
use std::time::Duration;

/// How to run.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Print what happens.
    pub trace: bool,
    /// Grow this bug.
    pub plant: Option<Plant>,
    /// Go without this.
    pub less: Less,
}

impl Options {
    /// The command that runs this seed like this.
    pub fn replay(&self, seed: u64) -> String {
        let plant = self.plant.map_or_else(String::new, |plant| format!(" --plant {plant}"));
        format!("bourse-sim --seed {seed}{plant}{}", self.less)
    }
}

/// What came of a run.
#[derive(Debug)]
pub struct Report {
    /// Which run.
    pub seed: u64,
    /// Stands for everything that happened, in order.
    pub hash: u64,
    /// How many lines the trace has.
    pub lines: u64,
    /// How much virtual time passed.
    pub lasted: Duration,
    /// How long act one is, if nothing is broken before its end.
    pub act_one: Duration,
    /// The faults that struck, by their numbers.
    pub strikes: BTreeMap<u64, Fault>,
    /// How many frameworks the seed has, also those that the run went without.
    pub frameworks: u64,
    /// What was reached.
    pub coverage: Coverage,
    /// Every broken promise; empty when all is well.
    pub broken: Vec<String>,
    /// The last lines of the trace.
    pub tail: Vec<String>,
}
