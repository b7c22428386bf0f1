//! Which cores the agent and its tasks may run on.

use std::fs;

use bourse_agent_core::Cores;
use bourse_containerizer::{Cores as List, Isolation};
use tracing::warn;

/// Which cores the kernel runs at all (kernel documentation, `admin-guide/cputopology.rst`).
const ONLINE: &str = "/sys/devices/system/cpu/online";

/// Those that the kernel lets this process use: its cpuset and its affinity (`Cpus_allowed_list`, proc_pid_status(5)), as far
/// as they are there: without a cpuset that list may name every core that the machine could ever get, and keeps those that
/// were switched off. None where they cannot be found out, or tasks are not isolated: nobody has cores for itself then.
pub fn find(isolation: Isolation) -> Cores {
    match isolation {
        Isolation::Process => Cores::new(),
        Isolation::Linux => {
            let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
            let online = fs::read_to_string(ONLINE).unwrap_or_default();
            usable(&status, &online).unwrap_or_else(|| {
                warn!("cannot find out which cores this agent may use: no task gets cores for itself alone");
                Cores::new()
            })
        }
    }
}

/// All that are allowed where the kernel does not say which are there.
fn usable(status: &str, online: &str) -> Option<Cores> {
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
    let allowed: List = list.parse().ok()?;
    let online: Option<List> = online.parse().ok();
    let is_there =
        |core: &u32| online.as_ref().is_none_or(|online| online.iter().any(|there| there == *core));
    Some(allowed.iter().filter(is_there).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cores_of_a_process_are_read_from_what_the_kernel_says_of_it() {
        let status = "Name:\tagent\nCpus_allowed:\t0d\nCpus_allowed_list:\t0,2-3\nMems_allowed:\t1\n";
        assert_eq!(usable(status, "0-7\n"), Some([0, 2, 3].into()));
        assert_eq!(usable(status, "0-2\n"), Some([0, 2].into()), "one is switched off");
        assert_eq!(usable(status, ""), Some([0, 2, 3].into()));
        assert_eq!(usable("Name:\tagent\n", "0-7\n"), None);
        assert_eq!(usable("Cpus_allowed_list:\tall\n", "0-7\n"), None);
        assert!(!find(Isolation::Linux).is_empty(), "this very process runs on some");
        assert!(find(Isolation::Process).is_empty());
    }
}
