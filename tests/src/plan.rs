//! What a cluster shall be, before it is.

use crate::cluster::Cluster;
use crate::hosts::Hosts;
use crate::net::Switch;

/// What a cluster shall be.
#[derive(Clone, Debug)]
pub struct Plan {
    pub(crate) agents: usize,
    pub(crate) services: bool,
    pub(crate) resources: String,
    pub(crate) master: Vec<String>,
    pub(crate) agent: Vec<String>,
    /// Places and sizes, in MiB, and how many KiB are free at first where that is not all of it.
    pub(crate) small: Vec<(String, u32, Option<u64>)>,
    /// Places and sizes, in MiB.
    pub(crate) fragile: Vec<(String, u32)>,
    /// Parts and their limits.
    pub(crate) limits: Vec<(String, String)>,
    pub(crate) clocks: bool,
    /// In MiB.
    pub(crate) master_memory: Option<u64>,
}

impl Plan {
    /// A master and so many agents. Each says that it has more than a small machine does, so that tests of the same
    /// machine do not wait for each other; and hears the master, and is missed, sooner than on a real network.
    pub fn agents(agents: usize) -> Plan {
        Plan {
            agents,
            services: false,
            resources: "cpus:8; mem:4096; disk:1024".to_owned(),
            master: words("--heartbeat-interval 500ms --agent-timeout 5s"),
            agent: words("--usage-interval 200ms --reconnect-wait 100ms --kill-tasks-on-exit"),
            small: Vec::new(),
            fragile: Vec::new(),
            limits: Vec::new(),
            clocks: false,
            master_memory: None,
        }
    }

    /// With the service framework.
    pub fn services(self) -> Plan {
        Plan { services: true, ..self }
    }

    /// With these resources on each agent, ports aside: those are its own.
    pub fn resources(self, resources: &str) -> Plan {
        Plan { resources: resources.to_owned(), ..self }
    }

    /// With these flags for the master; a flag that is given again replaces the first.
    pub fn master(mut self, flags: &str) -> Plan {
        replace(&mut self.master, flags);
        self
    }

    /// With these flags for each agent.
    pub fn agent(mut self, flags: &str) -> Plan {
        replace(&mut self.agent, flags);
        self
    }

    /// With a disk of so many MiB that can be filled, at this place of the cluster's folder: `master/registry`,
    /// `master/history`, `agent-1`, `services`.
    pub fn small_disk(mut self, place: &str, mib: u32) -> Plan {
        self.small.push((place.to_owned(), mib, None));
        self
    }

    /// With a disk as above, of which only so many KiB are free at first: less than RocksDB would take for a log ahead of
    /// need, so that it takes none, and finds at once when there is no room.
    pub fn crowded_disk(mut self, place: &str, mib: u32, kib: u64) -> Plan {
        self.small.push((place.to_owned(), mib, Some(kib)));
        self
    }

    /// With a disk of so many MiB that can become read-only, at this place of the cluster's folder.
    pub fn fragile_disk(mut self, place: &str, mib: u32) -> Plan {
        self.fragile.push((place.to_owned(), mib));
        self
    }

    /// With limits of this part, as `prlimit` has them: `--nofile=256`.
    pub fn limited(mut self, part: &str, limits: &str) -> Plan {
        self.limits.push((part.to_owned(), limits.to_owned()));
        self
    }

    /// With wall clocks of master and agents that can be set.
    pub fn clocks(self) -> Plan {
        Plan { clocks: true, ..self }
    }

    /// With no more than so many MiB for the master.
    pub fn master_memory(self, mib: u64) -> Plan {
        Plan { master_memory: Some(mib), ..self }
    }

    /// Starts everything and waits until it works together.
    ///
    /// # Panics
    /// When it does not in time.
    pub fn start(self) -> Cluster {
        Cluster::start(self, None)
    }

    /// Starts everything on hosts of a network and waits until it works together: the master with the service framework
    /// on one, each agent on one of its own, and one for who brings load. Every second agent, and the load, reach the
    /// master through a proxy.
    ///
    /// # Panics
    /// When it does not in time.
    pub fn start_on(self, switch: &Switch) -> Cluster {
        let hosts = Hosts::new(switch, self.agents);
        Cluster::start(self, Some(hosts))
    }
}

pub(crate) fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

/// Adds flags, each with its values, in place of those of the same name.
fn replace(flags: &mut Vec<String>, new: &str) {
    let new = words(new);
    for name in new.iter().filter(|word| word.starts_with("--")) {
        if let Some(at) = flags.iter().position(|word| word == name) {
            let values = flags[at + 1..].iter().take_while(|word| !word.starts_with("--")).count();
            flags.drain(at..=at + values);
        }
    }
    flags.extend(new);
}
