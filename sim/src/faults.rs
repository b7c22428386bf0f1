//! What goes wrong, how often, and how the seed decides on it.
//!
//! Not every run has every fault: what a run lacks lets other things happen more often, and a run with few faults gets
//! further.

use std::fmt;
use std::time::Duration;

use crate::net::Weather;
use crate::random::Random;

/// One thing that goes wrong at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// The master is killed; another one starts later.
    MasterCrash,
    /// The master stands still for a while, and goes on as if nothing had been.
    MasterFreeze,
    /// Another master takes over while the old one goes on: it does not know yet.
    MasterReplaced,
    /// An agent is killed, and starts later; its tasks go on.
    AgentCrash,
    /// An agent's machine loses power.
    AgentReboot,
    /// An operator stops an agent with all that it runs, and starts it later.
    AgentStop,
    /// An agent is restarted, and its machine is not what it was.
    AgentChanges,
    /// A scheduler is killed, and starts later.
    SchedulerCrash,
    /// A scheduler is asked to stop, and starts later.
    SchedulerStop,
    /// An agent stands still for a while, and its tasks do not.
    AgentFreeze,
    /// A scheduler stands still for a while.
    SchedulerFreeze,
    /// A connection breaks.
    LinkBreak,
    /// Somebody is cut off from the master for a while.
    Cut,
    /// In one direction only.
    CutOneWay,
    /// For longer than anybody waits for anybody: a master for the agents of its predecessor, too.
    CutLong,
    /// The master is cut off from everybody.
    CutAll,
    /// The master is cut off from every other one.
    CutHalf,
    /// Somebody sets a calendar.
    WallJump,
    /// A disk is slow for a while, or all are.
    SlowDisk,
    /// An agent's disk has room for a few words only.
    DiskLow,
    /// A disk is full to the last byte for a while.
    DiskFull,
}

impl Fault {
    /// All of them.
    pub const ALL: [Fault; 21] = [
        Fault::MasterCrash,
        Fault::MasterFreeze,
        Fault::MasterReplaced,
        Fault::AgentCrash,
        Fault::AgentReboot,
        Fault::AgentStop,
        Fault::AgentChanges,
        Fault::SchedulerCrash,
        Fault::SchedulerStop,
        Fault::AgentFreeze,
        Fault::SchedulerFreeze,
        Fault::LinkBreak,
        Fault::Cut,
        Fault::CutOneWay,
        Fault::CutLong,
        Fault::CutAll,
        Fault::CutHalf,
        Fault::WallJump,
        Fault::SlowDisk,
        Fault::DiskLow,
        Fault::DiskFull,
    ];
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// The misfortunes of one run.
#[derive(Clone, Debug)]
pub struct Faults {
    enabled: Vec<Fault>,
    /// The longest time between two of them, in milliseconds.
    pause: u64,
    /// The network, all the time.
    pub weather: Weather,
    /// The longest time between two commands of operators, in milliseconds.
    pub operators_pause: u64,
    /// How long act one lasts.
    pub act_one: Duration,
}

impl Faults {
    /// Draws the misfortunes of a run.
    pub fn draw(random: &mut Random) -> Faults {
        // A run that is over before such a cut would only be a run without somebody.
        let long = random.chance(0.1);
        let enabled = |fault: &Fault, random: &mut Random| match fault {
            Fault::CutLong => long,
            _ => random.chance(0.5),
        };
        let enabled: Vec<Fault> = Fault::ALL.into_iter().filter(|fault| enabled(fault, random)).collect();
        let sometimes = |random: &mut Random, most: f64| match random.chance(0.5) {
            true => most * random.between(1, 100) as f64 / 100.0,
            false => 0.0,
        };
        Faults {
            enabled,
            pause: random.between(5_000, 50_000),
            weather: Weather {
                slow: sometimes(random, 0.1),
                loss: sometimes(random, 0.01),
                repeat: sometimes(random, 0.1),
                refuse: sometimes(random, 0.3),
            },
            operators_pause: random.between(20_000, 200_000),
            act_one: Duration::from_secs(match long {
                true => random.between(1_500, 2_400),
                false => random.between(100, 900),
            }),
        }
    }

    /// The next one, and how long it is until then.
    pub fn next(&self, random: &mut Random) -> (Duration, Option<Fault>) {
        (random.millis(100, self.pause), random.pick(&self.enabled).copied())
    }
}
