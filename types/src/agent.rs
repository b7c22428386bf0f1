//! What an agent says about itself when it registers.

use std::fmt;

use crate::{Attributes, Resources};

/// An agent's description. Its id is not part of it: the master keys its table by the id.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AgentInfo {
    /// The name of the machine, for people and for spreading tasks over machines.
    pub hostname: String,
    /// Where its API listens.
    pub address: Address,
    /// What the machine is.
    pub attributes: Attributes,
    /// What the machine has: everything that may ever be offered, reserved or not.
    pub total: Resources,
    /// The release the agent runs.
    pub version: String,
}

/// A host and a port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    /// A name or an IP address, an IPv6 one without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

/// `host:port`; an IPv6 address gets its brackets.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_prints_as_a_url_wants_it() {
        let address = |host: &str| Address { host: host.into(), port: 5051 }.to_string();
        assert_eq!(address("agent-7"), "agent-7:5051");
        assert_eq!(address("::1"), "[::1]:5051");
    }
}
