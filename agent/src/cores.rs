//! Which cores the agent and its tasks may run on.

use std::fs;

use bourse_agent_core::Cores;
use bourse_containerizer::{Cores as List, Isolation};
use tracing::warn;

/// Those that the kernel lets this process use: its cpuset and its affinity (`Cpus_allowed_list`, proc_pid_status(5)).
/// None where they cannot be found out, or tasks are not isolated: nobody has cores for itself then.
pub fn find(isolation: Isolation) -> Cores {
    match isolation {
        Isolation::Process => Cores::new(),
        Isolation::Linux => {
            let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
            allowed(&status).unwrap_or_else(|| {
                warn!("cannot find out which cores this agent may use: no task gets cores for itself alone");
                Cores::new()
            })
        }
    }
}

fn allowed(status: &str) -> Option<Cores> {
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
    let list: List = list.parse().ok()?;
    Some(list.iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cores_of_a_process_are_read_from_what_the_kernel_says_of_it() {
        let status = "Name:\tagent\nCpus_allowed:\t0d\nCpus_allowed_list:\t0,2-3\nMems_allowed:\t1\n";
        assert_eq!(allowed(status), Some([0, 2, 3].into()));
        assert_eq!(allowed("Name:\tagent\n"), None);
        assert_eq!(allowed("Cpus_allowed_list:\tall\n"), None);
        assert!(!find(Isolation::Linux).is_empty(), "this very process runs on some");
        assert!(find(Isolation::Process).is_empty());
    }
}
