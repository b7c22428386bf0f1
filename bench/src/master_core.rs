//! The master's core by itself, in the sizes of Mesos' own benchmarks and up to fifty thousand agents.
//!
//! No process, no socket and no disk: events in, effects out, and what each takes. So it needs neither root nor the binary,
//! and what is slow here is slow in the rules. What Mesos takes for the same is cited and was not measured here: from
//! `src/tests/hierarchical_allocator_tests.cpp`, `hierarchical_allocator_benchmarks.cpp` and `master_benchmarks.cpp` of
//! apache/mesos come the shapes, from MESOS-4694 the figures of 2,000 agents.

mod floor;
mod world;

mod cluster;
mod decline;
mod failover;
pub mod memory;
mod passes;
mod placements;
mod updates;

#[cfg(test)]
mod tests;

use bourse_types::units::format_count;
use clap::ValueEnum;

use crate::figures::tell;
use world::Did;

/// What is measured of the core, each by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Shape {
    /// Frameworks that decline every offer, until each has refused each agent
    Decline,
    /// As many roles as frameworks, which get everything there is
    Roles,
    /// All agents that have something free are looked at, and nobody refuses
    Full,
    /// Ten tasks end on ten agents, and a pass offers what came free
    Incremental,
    /// A framework that wants any offer again
    Revive,
    /// Updates and acknowledgements of many tasks
    Updates,
    /// Tasks that are launched until all frameworks have theirs
    Placements,
    /// Another master, to which all agents come back
    Failover,
    /// What an agent, an offer and a task take
    Memory,
}

/// How large a cluster is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Agents.
    pub agents: usize,
    /// Frameworks.
    pub frameworks: usize,
}

/// Sizes beyond these are cut to them: for a quick look, and for a machine with less memory.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bounds {
    /// Of agents.
    pub agents: Option<usize>,
    /// Of frameworks.
    pub frameworks: Option<usize>,
}

/// A size, and what somebody else's figure for it is. Empty: nobody's is known.
type Case = (Size, &'static str);

/// Where the allocator's own time is looked at: agents and frameworks.
const GRID: [Case; 12] = [
    (Size { agents: 1_000, frameworks: 1 }, ""),
    (Size { agents: 1_000, frameworks: 10 }, ""),
    (Size { agents: 1_000, frameworks: 100 }, ""),
    (Size { agents: 1_000, frameworks: 1_000 }, ""),
    (Size { agents: 10_000, frameworks: 1 }, ""),
    (Size { agents: 10_000, frameworks: 10 }, ""),
    (Size { agents: 10_000, frameworks: 100 }, ""),
    (Size { agents: 10_000, frameworks: 1_000 }, ""),
    (Size { agents: 50_000, frameworks: 1 }, ""),
    (Size { agents: 50_000, frameworks: 10 }, ""),
    (Size { agents: 50_000, frameworks: 100 }, ""),
    (Size { agents: 50_000, frameworks: 1_000 }, ""),
];

const DECLINE: [Case; 4] = [
    (Size { agents: 1_000, frameworks: 200 }, "Mesos, 1.8 to 2.0 s an allocation"),
    (Size { agents: 2_000, frameworks: 200 }, "Mesos, MESOS-4694: 2.9 s an allocation"),
    (Size { agents: 2_000, frameworks: 2_000 }, "Mesos, MESOS-4694: 28 s an allocation"),
    (Size { agents: 50_000, frameworks: 100 }, ""),
];

/// As many roles as frameworks, or half as many.
const ROLES: [(Case, usize); 2] = [
    (
        (
            Size { agents: 3_000, frameworks: 3_000 },
            "Mesos, 18 s, with a quota for each role, which Bourse does not know",
        ),
        1,
    ),
    ((Size { agents: 2_000, frameworks: 2_000 }, ""), 2),
];

const LARGEST: Size = Size { agents: 50_000, frameworks: 1_000 };

/// Rounds of what is measured again and again on one cluster.
const ROUNDS: usize = 1_000;

/// Tasks whose updates are measured, for each way to look.
const UPDATED: usize = 20_000;

/// Measures and prints these, all of them if none is named.
pub fn measure(shapes: &[Shape], bounds: Bounds) -> anyhow::Result<()> {
    let shapes = if shapes.is_empty() { Shape::value_variants() } else { shapes };
    for shape in shapes {
        match shape {
            Shape::Decline => each(bounds, &DECLINE, "decline", decline::measure)?,
            Shape::Roles => {
                for (case, share) in ROLES {
                    each(bounds, &[case], "roles", |size| passes::roles(size, share))?;
                }
            }
            Shape::Full => {
                for (full_of_ten, what) in
                    [(9, "full, one agent in ten has room"), (0, "full, every agent has room")]
                {
                    each(bounds, &GRID, what, |size| passes::full(size, full_of_ten))?;
                }
            }
            Shape::Incremental => {
                each(bounds, &GRID, "incremental", |size| passes::incremental(size, ROUNDS))?
            }
            Shape::Revive => each(bounds, &GRID, "revive", passes::revive)?,
            Shape::Updates => {
                let aim = (LARGEST, "aim: 2 us or less an update");
                each(bounds, &[aim], "updates, ten tasks an agent", |size| updates::measure(size, UPDATED))?;
            }
            Shape::Placements => {
                for mix in placements::MIXES {
                    let case = (mix.size(), "aim: 100,000 placements a second or more");
                    each(bounds, &[case], mix.what, |size| placements::measure(&mix, size))?;
                }
            }
            Shape::Failover => {
                for cluster in failover::CLUSTERS {
                    let case = (cluster.size, cluster.cited);
                    each(bounds, &[case], cluster.what, |size| failover::measure(&cluster, size))?;
                }
            }
            Shape::Memory => {
                println!("memory, {}", told(bounds.of(LARGEST)));
                memory::measure(bounds.of(LARGEST))?;
            }
        }
    }
    Ok(())
}

impl Bounds {
    fn of(self, size: Size) -> Size {
        Size {
            agents: size.agents.min(self.agents.unwrap_or(usize::MAX)),
            frameworks: size.frameworks.min(self.frameworks.unwrap_or(usize::MAX)),
        }
    }
}

/// Each size once. A figure of somebody else's holds for the size that it is of, and not for one that was cut.
fn each(
    bounds: Bounds,
    cases: &[Case],
    what: &str,
    mut measure: impl FnMut(Size) -> anyhow::Result<Did>,
) -> anyhow::Result<()> {
    let mut done = Vec::new();
    for (whole, cited) in cases {
        let size = bounds.of(*whole);
        if done.contains(&size) {
            continue;
        }
        done.push(size);
        println!("{what}, {}", told(size));
        let did = measure(size)?;
        if size == *whole && !cited.is_empty() {
            tell("  cited, or aimed at", cited);
        }
        tell("  what was done, preparations included", did);
    }
    Ok(())
}

fn told(size: Size) -> String {
    let count = |number: usize, thing| format_count(number as u64, thing);
    format!("{} x {}", count(size.agents, "agent"), count(size.frameworks, "framework"))
}
