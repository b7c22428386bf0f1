//! The whole cluster in one thread and virtual time, by seed.
//!
//! **What is this room for?** The real cores of master, agents and SDK, and the service framework on it, each in a shell
//! as thin as the real one, on machines, disks and a network that go wrong as the seed has it. One seed is one run: the
//! same on any machine, so that a seed is a bug report.
//!
//! **What does it promise?** A run has two acts. In the first everything goes wrong, and after each event it is checked
//! that nothing is broken that must always hold; the checkers (`checks`) believe only what goes in and comes out, and
//! what the machines really did. In the second the faults stop, and within bounded time everybody must know the same and
//! have what they want (`convergence`). Checkers are proven by bugs on purpose ([`Plant`]), and what was reached is
//! counted ([`Coverage`]).
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
mod plant;

mod checks;
mod convergence;
mod coverage;
mod text;
mod trace;

pub use coverage::Coverage;
pub use plant::Plant;

use world::World;

/// How to run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Print what happens.
    pub trace: bool,
    /// Grow this bug.
    pub plant: Option<Plant>,
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
    pub lasted: std::time::Duration,
    /// What was reached.
    pub coverage: Coverage,
    /// Every broken promise; empty when all is well.
    pub broken: Vec<String>,
    /// The last lines of the trace.
    pub tail: Vec<String>,
}

/// Runs one seed. A core whose own assertion fails panics: say the seed before.
pub fn run(seed: u64, options: Options) -> Report {
    World::new(seed, options).run()
}
