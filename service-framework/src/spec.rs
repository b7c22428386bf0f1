//! What a service is: a TOML file read into a checked [`ServiceSpec`].
//!
//! Only `name` and `command` are needed; everything else has a default that is safe. What comes out is right: no
//! later room checks a name, a port or a range again. Whatever is wrong is told at once, each with file, line,
//! column, the line itself and, where a word is nearly one of ours, a suggestion. The text itself is kept by the
//! caller as it was written; nothing here writes a file back.

mod fields;
mod parse;
mod problem;
mod suggest;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bourse_types::{Controls, Milli, Name, Namespaces, Resource, Resources, Role, Rootfs, Size, Volume};

pub use parse::parse;
pub use problem::{BadSpec, PROBLEMS_MAX, Problem};

/// Bytes of a service file. Larger ones hold data, not a definition.
pub const FILE_BYTES_MAX: usize = 64 * 1024;
/// Instances of one service.
pub const COUNT_MAX: u32 = 10_000;
/// Ports of one instance.
pub const PORTS_MAX: usize = 64;

/// The name of a service: 1 to 63 of `a-z 0-9 -`, first a letter, last no `-`: usable as a DNS label, and a task id
/// made of it can be read back.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceName(Arc<str>);

/// A text that names no service.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} cannot name a service; take 1 to 63 of a-z, 0-9 and '-', first a letter and last a letter or a digit"
)]
pub struct BadName(pub String);

impl ServiceName {
    /// Checks a name. The error shows at most 64 characters of it.
    pub fn new(text: &str) -> Result<ServiceName, BadName> {
        let bytes = text.as_bytes();
        let right = (1..=63).contains(&bytes.len())
            && bytes[0].is_ascii_lowercase()
            && bytes[bytes.len() - 1] != b'-'
            && bytes.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-');
        if right { Ok(ServiceName(text.into())) } else { Err(BadName(text.chars().take(64).collect())) }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A service as its file defines it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceSpec {
    /// Names the service, and its instances: `web.0`.
    pub name: ServiceName,
    /// Instances, 0 to [`COUNT_MAX`]. `None` where the file leaves it open: 1, or what it was scaled to.
    pub count: Option<u32>,
    /// What is baked into a task: a change of it replaces the instances, or resizes them where that is enough.
    pub template: Template,
    /// How long an instance that ended waits before it is tried again.
    pub restart: Backoff,
    /// Which agents are preferred.
    pub spread: Spread,
    /// An instance that the master cannot reach is replaced after this long; when it returns it is killed.
    pub replace_unreachable_after: Duration,
}

/// What every instance of a service is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    /// What runs.
    pub command: CommandLine,
    /// What it is given, and held to where `limits` says nothing else.
    pub resources: Needs,
    /// Whether its cpus are cores that nobody else runs on; their number is whole then.
    pub exclusive_cpus: bool,
    /// The most that it may use of cpus and mem where that is more than it is given; `None`: no limit.
    pub limits: BTreeMap<Name, Option<Milli>>,
    /// What it asks of the kernel besides.
    pub controls: Controls,
    /// The ports it asks for, in the order of the file; at most [`PORTS_MAX`]. `None`: a port without a name.
    pub ports: Vec<Option<PortName>>,
    /// The file's environment; Bourse adds the ports and the instance's name.
    pub env: BTreeMap<String, String>,
    /// Its own root; `None`: the machine's programs, libraries and settings.
    pub rootfs: Option<Rootfs>,
    /// What it has of the machine's files; at most [`VOLUMES_MAX`](bourse_types::VOLUMES_MAX).
    pub volumes: Vec<Volume>,
    /// What it has of its own where others share the machine's. With a network of its own it is asked for its health by a
    /// command only.
    pub namespaces: Namespaces,
    /// The user it runs as; `None`: the agent decides.
    pub user: Option<String>,
    /// How it is asked whether it is well; `None`: running is well.
    pub health: Option<Health>,
    /// From SIGTERM to SIGKILL.
    pub kill_grace: Duration,
    /// The role whose offers it takes; `None`: the framework's first.
    pub role: Option<Role>,
}

impl Template {
    /// Whether instances of the other one can become instances of this one while they run: it has other amounts and limits,
    /// and all else is the same. Cores of an instance's own stay as many as they are, and its disk stays limited.
    pub fn is_resized(&self, other: &Template) -> bool {
        let sized = Template { resources: other.resources, limits: other.limits.clone(), ..self.clone() };
        let (old, new) = (other.resources, self.resources);
        sized == *other
            && (!self.exclusive_cpus || old.cpus == new.cpus)
            && (old.disk.is_zero() || !new.disk.is_zero())
    }

    /// Whether an instance with this size is as large as this says.
    pub fn is_size(&self, size: &Size) -> bool {
        let Needs { cpus, mem, disk } = self.resources;
        let has = &size.resources;
        (has.cpus(), has.mem(), has.disk()) == (cpus, mem, disk) && size.limits == self.limits
    }
}

/// What runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommandLine {
    /// Written as a string: a line for `/bin/sh -c`.
    Shell(String),
    /// Written as an array: a program and its arguments, no shell; never empty.
    Argv(Vec<String>),
}

/// What one instance needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Needs {
    /// Processors, at least a hundredth of one.
    pub cpus: Milli,
    /// MiB, at least 4.
    pub mem: Milli,
    /// MiB; zero asks for none.
    pub disk: Milli,
}

impl Needs {
    /// As resources that no role has reserved.
    pub fn resources(self) -> Resources {
        let Needs { cpus, mem, disk } = self;
        let amounts = [(Name::cpus(), cpus), (Name::mem(), mem), (Name::disk(), disk)];
        amounts.into_iter().map(|(name, amount)| Resource::scalar(name, amount)).collect()
    }
}

/// The name of a port: 1 to 31 of `a-z 0-9 - _`, first a letter. Its variable is `PORT_` and the name in capitals.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PortName(Arc<str>);

impl PortName {
    /// `None` where the text names no port.
    pub fn new(text: &str) -> Option<PortName> {
        let bytes = text.as_bytes();
        let right = (1..=31).contains(&bytes.len())
            && bytes[0].is_ascii_lowercase()
            && bytes.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_'));
        right.then(|| PortName(text.into()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// `PORT_HTTP` for `http`, `PORT_MY_ADMIN` for `my-admin`.
    pub fn variable(&self) -> String {
        format!("PORT_{}", self.0.to_uppercase().replace('-', "_"))
    }
}

impl fmt::Debug for PortName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How an instance is asked whether it is well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// What is asked.
    pub probe: Probe,
    /// Between two questions.
    pub interval: Duration,
    /// A question without an answer has failed after this long.
    pub timeout: Duration,
    /// Failures do not count for this long after the start.
    pub grace: Duration,
    /// After this many failures in a row, at least 1, the instance is killed.
    pub failures: u32,
}

/// What is asked; the ports are indices into [`Template::ports`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probe {
    /// GET this path, which starts with `/`; 200 to 399 is well.
    Http {
        /// With its leading `/`.
        path: String,
        /// Index of the port.
        port: usize,
    },
    /// A connection that is taken is well.
    Tcp {
        /// Index of the port.
        port: usize,
    },
    /// Exit status 0, inside the container, is well.
    Command(CommandLine),
}

/// How long an instance that ended waits: `start`, then `factor` times longer for each end in a row, up to `max`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// After the first end.
    pub start: Duration,
    /// 1 to 10, in thousandths.
    pub factor: Milli,
    /// The longest.
    pub max: Duration,
    /// An instance that ran this long starts to count anew.
    pub reset_after: Duration,
}

impl Backoff {
    /// The wait after so many ends in a row; none after none.
    pub fn wait(&self, ends: u32) -> Duration {
        if ends == 0 {
            return Duration::ZERO;
        }
        let mut wait = self.start.min(self.max);
        for _ in 1..ends {
            let longer = wait.as_nanos().saturating_mul(u128::from(self.factor.thousandths())) / 1000;
            let longer = Duration::from_nanos(u64::try_from(longer).unwrap_or(u64::MAX));
            // Ends the loop: a factor of 1, or the longest wait reached. A slot may have ended a million times.
            if longer <= wait || longer >= self.max {
                return longer.min(self.max);
            }
            wait = longer;
        }
        wait
    }
}

/// Which agents are preferred for the instances of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spread {
    /// The agent that has the fewest instances of this service, so that losing one costs the least.
    Agents {
        /// Never more on one agent, at least 1; `None`: as many as fit.
        max_per_agent: Option<u32>,
    },
    /// The fullest agent that still has room, so that large tasks find room elsewhere.
    None,
}

#[cfg(test)]
mod tests;
