//! What a task has of its own where others share the machine's: its network, its users.

use std::fmt;
use std::str::FromStr;

use crate::volume::shown;

/// Which network and which users a task has. The default is the machine's, of both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Namespaces {
    /// Its network.
    pub network: Network,
    /// Its users.
    pub users: Users,
}

/// The network of a task. As a text, Docker's words: `host` or `none`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Network {
    /// That of the agent's machine.
    #[default]
    Host,
    /// One of its own with nothing in it but loopback: only the task's own processes and its checks by command are there.
    Loopback,
}

/// The users of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Users {
    /// Those of the agent's machine.
    #[default]
    Machine,
    /// Its own, 0 to 65535, as whom nobody else of the machine acts: its root is root of the container only.
    /// An agent without root has but one range of such users for all of its tasks.
    Own,
}

/// A text that names no network. Shows at most 256 characters of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no network; write host for that of the agent's machine, or none for loopback alone")]
pub struct BadNetwork(String);

impl FromStr for Network {
    type Err = BadNetwork;

    fn from_str(text: &str) -> Result<Network, BadNetwork> {
        match text {
            "host" => Ok(Network::Host),
            "none" => Ok(Network::Loopback),
            _ => Err(BadNetwork(shown(text))),
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Network::Host => "host",
            Network::Loopback => "none",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_named_as_docker_does() {
        for network in [Network::Host, Network::Loopback] {
            assert_eq!(network.to_string().parse(), Ok(network));
        }
        let bad = "bridge".parse::<Network>().expect_err("there is none");
        assert!(bad.to_string().contains("host") && bad.to_string().contains("none"), "{bad}");
    }
}
