//! What will fail and when, drawn from a seed before anything begins.

use std::fmt;
use std::ops::Range;
use std::time::Duration;

use bourse_tests::chance::Chance;
use bourse_tests::proxy::Weather;

/// Agents of a storm.
pub const AGENTS: usize = 4;

/// All processes: any of them is killed or stopped.
const PARTS: [&str; 8] =
    ["master", "agent-1", "agent-2", "agent-3", "agent-4", "services", "load-1", "load-2"];

/// Who has a host and is not the master; the loads share one.
const HOSTS: [&str; 5] = ["agent-1", "agent-2", "agent-3", "agent-4", "load"];

/// Who reaches the master directly: what he says, or hears, can be lost by itself on his link. Proxies do that for the others.
const DIRECT: [&str; 2] = ["agent-1", "agent-3"];

/// Who reaches the master through a proxy.
const PROXIED: [&str; 3] = ["agent-2", "agent-4", "load"];

/// Who has a clock that can be set.
const CLOCKED: [&str; 5] = ["master", "agent-1", "agent-2", "agent-3", "agent-4"];

/// Where the registry is.
pub const REGISTRY: &str = "master/registry";

/// Other disks that can be filled.
pub const FILLED: [&str; 3] = ["master/history", "agent-2", "services"];

/// Calls of operators that are killed in their middle.
const CALLS: [&str; 4] = ["status", "ps -a", "events -f", "weight hasty 3"];

/// Something fails, and for how long.
#[derive(Debug)]
pub struct Strike {
    /// From the beginning of the storm.
    pub at: Duration,
    /// Then it is over.
    pub lasts: Duration,
    pub act: Act,
}

#[derive(Debug)]
pub enum Act {
    /// `kill -9`; it is started again when the strike is over.
    Kill(&'static str),
    /// SIGSTOP; SIGCONT when it is over.
    Freeze(&'static str),
    /// A cable is pulled.
    Cut(&'static str),
    /// What it says to the master is lost.
    Mute(&'static str),
    /// What the master says to it is lost.
    Deafen(&'static str),
    /// Every second host.
    CutHalf,
    /// Nobody reaches the master, nor it anybody.
    MasterAlone,
    /// On the way through a proxy.
    Weather(&'static str, Weather),
    /// So many kbit in a second.
    Slow(&'static str, u32),
    /// No room on a disk.
    Full(&'static str),
    /// The registry's disk takes no writes.
    ReadOnly,
    /// A wall clock is set by so many seconds, and set right when it is over.
    Jump(&'static str, i64),
    /// A command is called, and killed when it is over.
    Call(&'static str),
}

impl fmt::Display for Strike {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:7.2}s for {:5.2}s {:?}", self.at.as_secs_f64(), self.lasts.as_secs_f64(), self.act)
    }
}

/// Whether the registry of this storm lies on a disk that becomes read-only; else on one that is filled.
pub fn is_registry_fragile(seed: u64) -> bool {
    seed % 2 == 1
}

/// All strikes of a storm, in the order of their times.
pub fn draw(seed: u64, length: Duration) -> Vec<Strike> {
    let mut chance = Chance::new(seed);
    let mut strikes = Vec::new();
    let pauses = [ms(500..3_000), ms(1_000..4_000)];
    for (which, pause) in pauses.iter().enumerate() {
        let mut at = Duration::from_secs(1);
        while at < length {
            let (act, lasts) = match which {
                0 => (Act::Kill(chance.one(&PARTS)), ms(0..3_000)),
                _ => other(&mut chance, is_registry_fragile(seed)),
            };
            let lasts = chance.within(&lasts);
            strikes.push(Strike { at, lasts, act });
            at += chance.within(pause);
        }
    }
    strikes.sort_by_key(|strike| strike.at);
    strikes
}

/// Anything but a kill, and how long it may last: freezes are longer than the time after which agents are missed, 5 s.
fn other(chance: &mut Chance, fragile: bool) -> (Act, Range<Duration>) {
    let cut = ms(1_000..20_000);
    match chance.below(13) {
        0 | 1 => (Act::Freeze(chance.one(&PARTS)), ms(6_000..15_000)),
        2 => (Act::Cut(chance.one(&HOSTS)), cut),
        3 => (Act::Mute(chance.one(&DIRECT)), cut),
        4 => (Act::Deafen(chance.one(&DIRECT)), cut),
        5 => (Act::CutHalf, ms(1_000..10_000)),
        6 => (Act::MasterAlone, ms(1_000..10_000)),
        7 => (Act::Weather(chance.one(&PROXIED), weather(chance)), ms(3_000..15_000)),
        8 => (Act::Slow(chance.one(&HOSTS), 64 << chance.below(5)), ms(3_000..10_000)),
        9 => (Act::Full(chance.one(&FILLED)), ms(2_000..15_000)),
        10 if fragile => (Act::ReadOnly, ms(2_000..8_000)),
        10 => (Act::Full(REGISTRY), ms(2_000..8_000)),
        11 => {
            let seconds = chance.below(7_200) as i64 - 3_600;
            (Act::Jump(chance.one(&CLOCKED), seconds), ms(5_000..20_000))
        }
        _ => (Act::Call(chance.one(&CALLS)), ms(0..400)),
    }
}

fn weather(chance: &mut Chance) -> Weather {
    match chance.below(4) {
        0 => Weather { delay: ms(5..80), loss: 0.02, ..Weather::FAIR },
        1 => Weather { loss: 0.1, reset: 0.02, ..Weather::FAIR },
        2 => Weather { rate: Some(32 << 10), ..Weather::FAIR },
        _ if chance.happens(0.5) => Weather { up: false, ..Weather::FAIR },
        _ => Weather { down: false, ..Weather::FAIR },
    }
}

fn ms(range: Range<u64>) -> Range<Duration> {
    Duration::from_millis(range.start)..Duration::from_millis(range.end)
}

#[test]
fn the_same_seed_strikes_at_the_same_times_and_many_strike_with_everything() {
    use std::collections::BTreeSet;
    let length = Duration::from_secs(120);
    let text = |seed| draw(seed, length).iter().map(Strike::to_string).collect::<Vec<_>>();
    assert_eq!(text(7), text(7));
    assert_ne!(text(7), text(8));
    let kind = |strike: Strike| format!("{:?}", strike.act).split('(').next().map(str::to_owned);
    let kinds: BTreeSet<String> = (0..20).flat_map(|seed| draw(seed, length)).filter_map(kind).collect();
    assert_eq!(kinds.len(), 13, "{kinds:?}");
}
