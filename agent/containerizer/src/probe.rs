//! Can this machine isolate tasks? What is missing is found here as far as it can be seen; the proof is a container (see
//! `LinuxContainerizer::try_out`).

use std::fmt;
use std::path::Path;

use crate::cgroup::{self, Detected, Hierarchy, Layout};
use crate::user_map::{self, UserMap};
use crate::{process, user};

/// What this machine can do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capabilities {
    /// How its control groups are laid out.
    pub layout: Layout,
    /// Whether the first process of a container can be kept from the OOM killer of the whole machine;
    /// without, it still is out of reach of its own container's.
    pub oom_protection: bool,
    /// Each thing that tasks or the agent have to do without, because the agent is not root, lacks a capability, or systemd has
    /// given it no control groups: a sentence for people that says what to do, without its full stop.
    pub lacking: Vec<String>,
}

/// Why this machine cannot isolate tasks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CannotIsolate {
    /// Each thing that is missing, in words.
    pub missing: Vec<String>,
}

impl fmt::Display for CannotIsolate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "this machine cannot isolate tasks: {}; mend that, or start the agent with --isolation=process \
             to run tasks without limits and in sight of each other",
            self.missing.join("; ")
        )
    }
}

impl std::error::Error for CannotIsolate {}

/// Capabilities of the agent that a container cannot be made without, nor a command be run inside, which the trial does
/// not try: that enters the namespaces of a process that is not dumpable (setns(2)). By the kernel's numbers.
const NEEDED: [(u32, &str); 9] = [
    (0, "CAP_CHOWN"),
    (1, "CAP_DAC_OVERRIDE"),
    (5, "CAP_KILL"),
    (6, "CAP_SETGID"),
    (7, "CAP_SETUID"),
    (8, "CAP_SETPCAP"),
    (18, "CAP_SYS_CHROOT"),
    (19, "CAP_SYS_PTRACE"),
    (21, "CAP_SYS_ADMIN"),
];

const CAP_SYS_RESOURCE: u32 = 24;

/// What tasks have to do without for want of capabilities that a container can be made without.
fn lacking_without(effective: u64) -> Vec<String> {
    if may_raise_limits(effective) {
        return Vec::new();
    }
    let lacking = "the agent has no CAP_SYS_RESOURCE: when the whole machine is out of memory, the first process of a container \
                   may be killed, and its task with it, to no avail; and no process of a task gets a higher limit than the \
                   agent has (prlimit); run the agent as root with that capability";
    vec![lacking.into()]
}

fn may_raise_limits(effective: u64) -> bool {
    effective & (1 << CAP_SYS_RESOURCE) != 0
}

/// What containers are made with.
#[derive(Debug)]
pub(crate) struct Means {
    /// Their control groups.
    pub groups: Box<dyn Hierarchy>,
    /// Their own users, of an agent that is not root; `None` has them among those of the machine.
    pub user_map: Option<UserMap>,
    /// As in [`Capabilities`].
    pub lacking: Vec<String>,
}

/// What containers can be made with, or everything that is seen to be missing. `instance` names this agent among those on
/// the machine, as in [`Config`](crate::Config).
pub(crate) fn find(instance: &str) -> Result<Means, CannotIsolate> {
    let (mut missing, mut lacking_users, mut user_map) = (Vec::new(), Vec::new(), None);
    let effective = effective();
    let lacking: Vec<&str> =
        NEEDED.iter().filter(|(number, _)| effective & (1 << number) == 0).map(|&(_, name)| name).collect();
    if !lacking.is_empty() {
        let uid = nix::unistd::geteuid();
        if uid.is_root() {
            missing.push(format!("the agent, as uid {uid}, lacks {} (run it as root)", lacking.join(", ")));
        } else {
            match user_map::find() {
                Ok(found) => (user_map, lacking_users) = (Some(found.map), found.lacking),
                Err(why) => missing.extend(why),
            }
        }
    }
    for (name, what) in [("pid", "pid"), ("mnt", "mount"), ("uts", "uts"), ("ipc", "ipc")] {
        if !Path::new("/proc/self/ns").join(name).exists() {
            missing.push(format!("the kernel has no {what} namespaces"));
        }
    }
    if let Err(error) = process::supported() {
        missing.push(format!("the kernel has no pid descriptors ({error}; Linux 5.12 or later is needed)"));
    }
    match cgroup::detect(instance) {
        Ok(Detected { groups, lacking }) if missing.is_empty() => Ok(Means {
            groups,
            user_map,
            lacking: [lacking_users, lacking_without(effective), lacking].concat(),
        }),
        Ok(_) => Err(CannotIsolate { missing }),
        Err(groups) => Err(CannotIsolate { missing: [missing, groups].concat() }),
    }
}

/// What a machine can do on which these control groups were found, and what tasks have to do without.
pub(crate) fn capabilities(groups: &dyn Hierarchy, lacking: &[String]) -> Capabilities {
    let oom_protection = may_raise_limits(effective());
    Capabilities { layout: groups.layout(), oom_protection, lacking: lacking.to_vec() }
}

fn effective() -> u64 {
    user::capability_set("CapEff").unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_that_cannot_keep_first_processes_from_the_oom_killer_says_so_with_the_capability() {
        const ALL: u64 = (1 << 41) - 1;
        assert_eq!(lacking_without(ALL), Vec::<String>::new());
        let told = lacking_without(ALL & !(1 << CAP_SYS_RESOURCE));
        let [told] = &told[..] else { panic!("one sentence: {told:?}") };
        for part in ["CAP_SYS_RESOURCE", "out of memory", "run the agent as root"] {
            assert!(told.contains(part), "{told}");
        }
    }

    #[test]
    fn the_refusal_names_every_missing_thing_and_the_way_out() {
        let error =
            CannotIsolate { missing: vec!["no memory controller".into(), "no pid namespaces".into()] };
        let text = error.to_string();
        for part in ["no memory controller", "no pid namespaces", "--isolation=process"] {
            assert!(text.contains(part), "{text}");
        }
    }
}
