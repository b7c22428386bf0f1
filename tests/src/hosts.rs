//! A cluster's machines, as hosts of a network: who is where, and by which way he reaches the master.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};

use crate::net::{Host, Switch};
use crate::proxy::Proxy;

const MASTER: u8 = 2;
const LOAD: u8 = 4;
/// Agents follow it.
const AGENTS: u8 = 10;

/// The port of every master.
const PORT: u16 = 5050;

/// The hosts of one cluster.
#[derive(Debug)]
pub struct Hosts {
    /// Closed before the hosts that they lead to.
    proxies: BTreeMap<String, Proxy>,
    master: Host,
    load: Host,
    agents: Vec<Host>,
}

impl Hosts {
    /// One host for the master and the service framework, one for each agent, one for the load.
    pub(crate) fn new(switch: &Switch, agents: usize) -> Hosts {
        let number = |n: usize| AGENTS + u8::try_from(n).expect("no test has so many agents");
        let proxied = (1..=agents).filter(|n| n % 2 == 0).map(agent).chain(["load".to_owned()]);
        let listen = SocketAddr::new(switch.address().into(), 0);
        let hosts = Hosts {
            proxies: BTreeMap::new(),
            master: switch.host(MASTER),
            load: switch.host(LOAD),
            agents: (1..=agents).map(|n| switch.host(number(n))).collect(),
        };
        let target = SocketAddr::new(hosts.master.address().into(), PORT);
        let start = |(seed, name): (usize, String)| {
            (name, Proxy::start(listen, target, seed as u64).expect("the network is new"))
        };
        Hosts { proxies: proxied.enumerate().map(start).collect(), ..hosts }
    }

    /// Where the master is.
    pub(crate) fn master(&self) -> Ipv4Addr {
        self.master.address()
    }

    /// The host of an agent, from 1 on.
    ///
    /// # Panics
    /// When there is none of that number.
    pub fn agent(&self, n: usize) -> &Host {
        self.agents.get(n - 1).unwrap_or_else(|| panic!("there is no agent {n}"))
    }

    /// The host that a part of this name runs on.
    pub fn of(&self, name: &str) -> &Host {
        match name.strip_prefix("agent-").map(str::parse) {
            Some(Ok(n)) => self.agent(n),
            _ if name.starts_with("load") => &self.load,
            _ => &self.master,
        }
    }

    /// All hosts that are not the master's, by whom they are for.
    pub fn others(&self) -> BTreeMap<String, &Host> {
        let agents = (1..).zip(&self.agents).map(|(n, host)| (agent(n), host));
        agents.chain([("load".to_owned(), &self.load)]).collect()
    }

    /// The host of the master and the service framework.
    pub fn masters(&self) -> &Host {
        &self.master
    }

    /// The way to the master of a part of this name, where it is through a proxy.
    pub fn proxy(&self, name: &str) -> Option<&Proxy> {
        let name = if name.starts_with("load") { "load" } else { name };
        self.proxies.get(name)
    }

    /// All proxies, by who reaches the master through them.
    pub fn proxies(&self) -> &BTreeMap<String, Proxy> {
        &self.proxies
    }

    /// The address at which a part of this name calls the master.
    pub(crate) fn master_for(&self, name: &str) -> String {
        let direct = || SocketAddr::new(self.master.address().into(), PORT);
        self.proxy(name).map_or_else(direct, Proxy::address).to_string()
    }
}

fn agent(n: usize) -> String {
    format!("agent-{n}")
}
