//! Why the first process of a container could not be made, in words.

use std::io;
use std::path::Path;

use bourse_types::Network;

use crate::spawn::SpawnError;

/// What was tried, what is wrong, what to do. `group` is the control group of version 2 that it was to begin in.
pub fn explain(error: &SpawnError, network: Network, group: Option<&Path>) -> String {
    let error = match error {
        SpawnError::Group(error) => {
            let group = group.map_or_else(String::new, |group| format!(" {}", group.display()));
            return format!(
                "its first process could not be put into its control group{group} ({error}); see that nothing else on the \
                 machine changes or removes the agent's groups, and that the agent may write cgroup.procs there and in the \
                 groups above, up to one that it is in itself (docs/operating.md, Under systemd)"
            );
        }
        SpawnError::Process(error) => error,
    };
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            format!(
                "the agent may not make its namespaces ({error}); in a container, run the agent privileged, and without \
                 root see whether a security module forbids user namespaces"
            )
        }
        io::ErrorKind::InvalidInput if network == Network::Loopback => {
            format!("the kernel does not make a network of its own ({error}); ask for the machine's network")
        }
        _ => format!(
            "its first process could not be made ({error}); see whether the machine is out of processes or, by \
             /proc/sys/user, of namespaces"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_that_does_not_take_a_process_is_told_as_that_and_not_as_missing_namespaces() {
        let errno = io::Error::from_raw_os_error;
        let group = Path::new("/sys/fs/cgroup/bourse/a1/c1/init");
        let of_group = |error| explain(&SpawnError::Group(errno(error)), Network::Host, Some(group));
        for error in [libc::EACCES, libc::EBUSY, libc::EOPNOTSUPP, libc::ENODEV] {
            let told = of_group(error);
            for part in ["control group /sys/fs/cgroup/bourse/a1/c1/init", "cgroup.procs"] {
                assert!(told.contains(part), "{part:?} is not in {told:?}");
            }
            assert!(!told.contains("namespaces"), "{told}");
        }
        let of_process = |error, network| explain(&SpawnError::Process(errno(error)), network, Some(group));
        assert!(of_process(libc::EPERM, Network::Host).contains("may not make its namespaces"));
        assert!(of_process(libc::EINVAL, Network::Loopback).contains("ask for the machine's network"));
        assert!(of_process(libc::EAGAIN, Network::Host).contains("out of processes"));
    }
}
