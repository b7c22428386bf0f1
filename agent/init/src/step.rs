//! The steps of a set-up, named once, so that a failure in the middle of it can be told in words.

use std::fmt;

/// One step between "the agent asked for a container" and "the task's program runs", in the order they
/// happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Reading the plan.
    Plan,
    /// Putting limits, turn and personality to what is usual, not what the agent has, and setting the score for the OOM killer.
    Rlimit,
    /// Opening the exit record.
    Record,
    /// Joining the control groups.
    Cgroup,
    /// Opening the files for stdout and stderr.
    Output,
    /// Entering the namespaces of a container that already runs (health checks).
    Namespaces,
    /// Bringing up loopback in the container's own network.
    Network,
    /// Making the container's own mounts: the machine's part, `/proc`, `/sys`, `/dev`, the sandbox.
    Mount,
    /// Making the container's root of the task's own directory.
    Rootfs,
    /// Switching to the container's own root.
    Root,
    /// Mounting the task's volumes.
    Volume,
    /// Hiding what belongs to the agent.
    Hide,
    /// Setting the host name.
    Hostname,
    /// Making the task's process.
    Fork,
    /// Entering the container's own users.
    Users,
    /// Switching to the task's user and groups.
    User,
    /// Dropping capabilities and new privileges.
    Capabilities,
    /// Changing to the task's working directory.
    Cwd,
    /// Waiting for the agent's word to go on.
    Gate,
    /// Installing the filters of system calls.
    Seccomp,
    /// Starting the task's program.
    Exec,
}

/// All steps, for parsing and for tests.
pub const ALL: [Step; 21] = [
    Step::Plan,
    Step::Rlimit,
    Step::Record,
    Step::Cgroup,
    Step::Output,
    Step::Namespaces,
    Step::Network,
    Step::Mount,
    Step::Rootfs,
    Step::Root,
    Step::Volume,
    Step::Hide,
    Step::Hostname,
    Step::Fork,
    Step::Users,
    Step::User,
    Step::Capabilities,
    Step::Cwd,
    Step::Gate,
    Step::Seccomp,
    Step::Exec,
];

impl Step {
    /// The stable word for this step: it is in exit records, so it may not change.
    pub fn word(self) -> &'static str {
        match self {
            Step::Plan => "plan",
            Step::Rlimit => "rlimit",
            Step::Record => "record",
            Step::Cgroup => "cgroup",
            Step::Output => "output",
            Step::Namespaces => "namespaces",
            Step::Network => "network",
            Step::Mount => "mount",
            Step::Rootfs => "rootfs",
            Step::Root => "root",
            Step::Volume => "volume",
            Step::Hide => "hide",
            Step::Hostname => "hostname",
            Step::Fork => "fork",
            Step::Users => "users",
            Step::User => "user",
            Step::Capabilities => "capabilities",
            Step::Cwd => "cwd",
            Step::Gate => "gate",
            Step::Seccomp => "seccomp",
            Step::Exec => "exec",
        }
    }

    /// The step with this word; `None` when it is not one of ours.
    pub fn from_word(word: &str) -> Option<Step> {
        ALL.into_iter().find(|step| step.word() == word)
    }

    /// What was tried, for people: "start the command".
    pub fn what(self) -> &'static str {
        match self {
            Step::Plan => "read the plan of the container",
            Step::Rlimit => "set the limits of the process",
            Step::Record => "open the exit record",
            Step::Cgroup => "join the control groups",
            Step::Output => "open the files for stdout and stderr",
            Step::Namespaces => "enter the namespaces of the container",
            Step::Network => "bring up loopback in the container's own network",
            Step::Mount => "make the container's own mounts",
            Step::Rootfs => "make the root of the task's own directory",
            Step::Root => "switch to the container's own root",
            Step::Volume => "mount a volume of the task",
            Step::Hide => "hide the agent's directories",
            Step::Hostname => "set the host name",
            Step::Fork => "make the process of the task",
            Step::Users => "enter the container's own users",
            Step::User => "switch to the user of the task",
            Step::Capabilities => "drop capabilities",
            Step::Cwd => "change to the working directory",
            Step::Gate => "wait for the agent's word to start",
            Step::Seccomp => "install the filter of system calls",
            Step::Exec => "start the command",
        }
    }

    /// What a person can do about a failure of this step.
    pub fn advice(self) -> &'static str {
        match self {
            Step::Plan | Step::Record => "see whether the agent's runtime directory is writable and has room",
            Step::Rlimit => {
                "see what keeps the agent from setting limits of processes that it makes: a filter of system calls around it, \
                 or a /proc that may not be written to"
            }
            Step::Cgroup => "see whether someone else removed or moved the agent's control groups",
            Step::Output => "see whether the sandbox's file system is writable and has room",
            Step::Namespaces => {
                "the container ended meanwhile, or something around the agent keeps it from entering namespaces: run it as root \
                 with all capabilities"
            }
            Step::Root => {
                "run the agent as root with all capabilities, on Linux 5.12 or newer and not from an initial ramdisk, or \
                 start it with --isolation=process; an agent without root may be held back by a security module or by a \
                 container around it (docs/operating.md, Without root)"
            }
            Step::Mount | Step::Hide | Step::Hostname | Step::Capabilities => {
                "run the agent as root with all capabilities, on Linux 5.12 or newer, or start it with \
                 --isolation=process; an agent without root may be held back by a security module or by a container \
                 around it (docs/operating.md, Without root)"
            }
            Step::Rootfs => {
                "see whether the directory is there with no link on the way, and what it has at /proc, /sys, /dev, /etc, \
                 /tmp and /var are directories and no links; whether the kernel has overlayfs; and whether the agent's work \
                 directory is on a file system that overlayfs can write to, such as ext4, and not on another overlayfs, as \
                 in a container. With users of the task's own the files of the root have to become theirs: that takes Linux \
                 5.19 and a root on a file system whose owners can be mapped, such as ext4, xfs or btrfs"
            }
            Step::Network | Step::Users => {
                "run the agent as root with all capabilities, or leave the task without a network and users of its own"
            }
            Step::Volume => "see whether the path is there on the agent's machine, with no link on the way",
            Step::Fork => "see whether the machine is out of processes or memory",
            Step::User => {
                "name a user of this agent's machine, or run the agent as root so that it can switch"
            }
            Step::Cwd => "see whether the directory exists and the task's user may enter it",
            Step::Gate => "the agent stopped while the task was being started; nothing of the task has run",
            Step::Seccomp => {
                "see whether the profile (--seccomp) allows prctl and execve, and whether the kernel has seccomp filters"
            }
            Step::Exec => {
                "see whether the command exists in the task's own root, or without one on the agent's machine where tasks \
                 see it (--show), is in PATH, and may be executed by the task's user"
            }
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_is_found_by_its_word() {
        for step in ALL {
            assert_eq!(Step::from_word(step.word()), Some(step));
        }
        assert_eq!(Step::from_word("nothing"), None);
    }
}
