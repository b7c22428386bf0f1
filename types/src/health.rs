//! How to tell whether a task is well, and how to end it.
//!
//! These are descriptions; asking the task, counting failures and killing is left to the agent.

use std::time::Duration;

use crate::Command;

/// A check that is repeated while a task runs. Defaults are Mesos'.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthCheck {
    /// What is asked.
    pub kind: HealthKind,
    /// How long after the start the first check is made; 15 seconds by default.
    pub delay: Duration,
    /// From the end of one check to the start of the next; 10 seconds by default.
    pub interval: Duration,
    /// How long an answer may take before it counts as a failure; 20 seconds by default. Zero: as long as it
    /// likes.
    pub timeout: Duration,
    /// After so many failures in a row the task is killed; 3 by default.
    pub consecutive_failures: u32,
    /// For so long after the start failures do not count, unless the task was healthy before; 10 seconds by
    /// default.
    pub grace_period: Duration,
}

/// What a health check asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HealthKind {
    /// A GET to the task's own loopback address.
    Http {
        /// The port.
        port: u16,
        /// The path, with its leading slash.
        path: String,
        /// http or https.
        scheme: Scheme,
        /// The answers that mean healthy; none given: 200 to 399.
        statuses: Vec<u16>,
    },
    /// A connection to a port of the task's own loopback address.
    Tcp {
        /// The port.
        port: u16,
    },
    /// A command beside the task, in its namespaces; exit code 0 means healthy.
    Command(Command),
}

/// How a health check speaks HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Scheme {
    /// In the clear.
    #[default]
    Http,
    /// Over TLS; the certificate is not verified, as the name is always the loopback address.
    Https,
}

impl HealthCheck {
    /// A check with Mesos' defaults for everything but what it asks.
    pub fn new(kind: HealthKind) -> HealthCheck {
        HealthCheck {
            kind,
            delay: Duration::from_secs(15),
            interval: Duration::from_secs(10),
            timeout: Duration::from_secs(20),
            consecutive_failures: 3,
            grace_period: Duration::from_secs(10),
        }
    }
}

impl HealthKind {
    /// Whether the agent asks over the network of its machine, which a task with a network of its own is not in.
    pub fn asks_the_network(&self) -> bool {
        match self {
            HealthKind::Http { .. } | HealthKind::Tcp { .. } => true,
            HealthKind::Command(_) => false,
        }
    }

    /// Whether an HTTP answer with this status means healthy. No other kind has such answers: `false`.
    pub fn accepts_status(&self, status: u16) -> bool {
        match self {
            HealthKind::Http { statuses, .. } if statuses.is_empty() => (200..400).contains(&status),
            HealthKind::Http { statuses, .. } => statuses.contains(&status),
            HealthKind::Tcp { .. } | HealthKind::Command(_) => false,
        }
    }
}

impl Scheme {
    /// As in a URL.
    pub const fn as_str(self) -> &'static str {
        match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
        }
    }
}

/// How a task is ended: it is told to (SIGTERM), and killed when its grace is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct KillPolicy {
    /// The time between the two; `None`: the agent's default.
    pub grace: Option<Duration>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_http_check_takes_200_to_399_unless_told_otherwise() {
        let check =
            |statuses| HealthKind::Http { port: 80, path: "/".into(), scheme: Scheme::Http, statuses };
        for (status, healthy) in [(199, false), (200, true), (399, true), (400, false)] {
            assert_eq!(check(vec![]).accepts_status(status), healthy, "{status}");
        }
        assert!(check(vec![404]).accepts_status(404));
        assert!(!check(vec![404]).accepts_status(200));
    }
}
