//! What a process has from whoever started it besides what it holds: its limits, its turn on processors and disks, its
//! personality, and when the OOM killer takes it.
//!
//! The agent has all of it from whoever started that: a shell with `ulimit`, `nice`, `ionice` or `setarch`, or a unit with
//! `LimitFSIZE=` and the like. A task has the same wherever it runs and whoever started its agent: what is set here, as
//! far as the agent has the right to (CAP_SYS_RESOURCE to raise a hard limit, CAP_SYS_NICE for a better turn).
//!
//! Left as it is, as it says which part of the machine is the agent's: the processors and the memory of which nodes it may
//! use (`taskset`, `numactl`). The agent offers no more processors than those.

use std::fs;
use std::io;

use bourse_init::plan::{Place, Plan};
use bourse_init::record::Failure;
use bourse_init::step::Step;

use crate::failure::At;
use crate::sys;

/// RLIM_INFINITY (getrlimit(2)).
const UNLIMITED: u64 = u64::MAX;

/// A limit of the process (getrlimit(2)): number, name, soft and hard limit.
type Limit = (i32, &'static str, u64, u64);

/// RLIMIT_NOFILE, of which the plan speaks.
const OPEN_FILES: i32 = 7;

/// All that the kernel has but for [`OPEN_FILES`], each as Linux gives it to its first process (`INIT_RLIMITS` in
/// `include/asm-generic/resource.h`), but for two that depend there on how much memory the machine has (`fork_init`).
///
/// runc sets those that are named in a container's configuration and hands on the others; containerd names open files only
/// (`pkg/oci/spec.go`), and its unit has no limit of processes and core dumps, and 1,048,576 open files
/// (`containerd.service`). systemd hands on the kernel's, with 8 MiB of locked memory (systemd-system.conf(5)).
const LIMITS: [Limit; 15] = [
    (0, "processor time", UNLIMITED, UNLIMITED),
    (1, "file size", UNLIMITED, UNLIMITED),
    (2, "data size", UNLIMITED, UNLIMITED),
    (3, "stack size", 8 << 20, UNLIMITED),
    // A task that wants a core dump may ask for it.
    (4, "core file size", 0, UNLIMITED),
    (5, "resident size", UNLIMITED, UNLIMITED),
    // Counted for all processes of a user together, so that one task would keep others from forking. What bounds a task is
    // its control group.
    (6, "processes", UNLIMITED, UNLIMITED),
    (8, "locked memory", 8 << 20, 8 << 20),
    (9, "address space", UNLIMITED, UNLIMITED),
    (10, "file locks", UNLIMITED, UNLIMITED),
    // What the kernel gives on a machine with 32 GiB of memory. As of processes, but they take memory that control groups
    // do not count before Linux 5.15.
    (11, "pending signals", 1 << 17, 1 << 17),
    (12, "message queues", 819_200, 819_200),
    (13, "nice", 0, 0),
    (14, "real-time priority", 0, 0),
    (15, "real-time processor time", UNLIMITED, UNLIMITED),
];

/// Puts all of it back for this process and those that it makes. In the first process and not only in that of the task: a
/// limit of file size or processor time that was meant for the agent would end its logs, or the container.
///
/// `open_files` as in the plan.
pub fn reset(open_files: u64) -> Result<(), Failure> {
    // First, as long as a limit allows a better turn to who has no right to it.
    sys::take_ordinary_turns().at(Step::Rlimit, || "turn on processors and disks".into())?;
    sys::leave_personality().at(Step::Rlimit, || "personality".into())?;
    let open_files = (open_files > 0).then_some((OPEN_FILES, "open files", open_files, open_files));
    for (resource, name, soft, hard) in LIMITS.into_iter().chain(open_files) {
        sys::set_limit(resource, soft, hard).at(Step::Rlimit, || name.into())?;
    }
    Ok(())
}

/// The greatest `oom_score_adj`, and the one of what is never taken (proc_pid_oom_score_adj(5)).
const OOM_SCORE_MAX: i32 = 1000;
const NEVER: i32 = -1000;

const OOM_SCORE: &str = "/proc/self/oom_score_adj";

fn oom_score_detail() -> String {
    "score for the OOM killer".into()
}

/// Makes the first process of a container the last that the OOM killer takes, if it may, and returns the score for the task,
/// or for a command beside it. Without the right to lower a score (CAP_SYS_RESOURCE) the container still works: the first
/// process is tiny and in no limited group, and the agent says at its start what is lacking.
pub fn keep_from_oom_killer(plan: &Plan) -> Result<Option<i32>, Failure> {
    if matches!(plan.place, Place::Host | Place::Inside { namespaces: false, .. }) {
        return Ok(None);
    }
    let before = fs::read_to_string(OOM_SCORE).at(Step::Rlimit, oom_score_detail)?;
    let before: i32 = before.trim().parse().map_err(io::Error::other).at(Step::Rlimit, oom_score_detail)?;
    if matches!(plan.place, Place::Container { .. }) {
        match fs::write(OOM_SCORE, NEVER.to_string()) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
            written => written.at(Step::Rlimit, oom_score_detail)?,
        }
    }
    Ok(Some(before.max(0).saturating_add(plan.oom_score).min(OOM_SCORE_MAX)))
}

/// Gives the task's process its score, which is no lower than that of the agent. A task that was left with the first
/// process's would have others killed for its memory.
pub fn take_oom_score(plan: &Plan, score: i32) -> Result<(), Failure> {
    match fs::write(OOM_SCORE, score.to_string()) {
        // Of a process that nobody may look into the file is the machine's root's, whom an agent without root is not: a
        // command beside a task of his has the score that he has.
        Err(error)
            if error.kind() == io::ErrorKind::PermissionDenied
                && matches!(plan.place, Place::Inside { .. }) =>
        {
            Ok(())
        }
        written => written.at(Step::Rlimit, oom_score_detail),
    }
}
