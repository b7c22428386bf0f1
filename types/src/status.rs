//! What is said about a task: one status, as it travels from agent to master to framework.

use std::fmt;

use bytes::Bytes;

use crate::{
    AgentId, ContainerId, ExecutorId, Labels, Reason, Resources, Size, Source, TaskId, TaskState, Wall,
};

/// One report about a task.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TaskStatus {
    /// The task.
    pub task_id: TaskId,
    /// Its agent, where known: a task that never got one has none.
    pub agent_id: Option<AgentId>,
    /// Its executor, where known.
    pub executor_id: Option<ExecutorId>,
    /// The state it is in.
    pub state: TaskState,
    /// Who says so.
    pub source: Source,
    /// Why, as a stable word.
    pub reason: Option<Reason>,
    /// Why, in words for people.
    pub message: Option<String>,
    /// When it was said.
    pub timestamp: Wall,
    /// What an acknowledgement must name. `None`: master-made, neither retried nor acknowledged.
    pub uuid: Option<[u8; 16]>,
    /// Whether its health check passes; `None` where nothing was checked yet. Set while running, and on the
    /// end of a task that was killed for it.
    pub healthy: Option<bool>,
    /// Labels of the executor's choice.
    pub labels: Labels,
    /// Bytes of the executor's choice.
    pub data: Bytes,
    /// Since when its agent has not answered.
    pub unreachable_since: Option<Wall>,
    /// The limit that was exceeded, when the reason is one of the limitations.
    pub limitation: Resources,
    /// The container it runs in.
    pub container: Option<ContainerStatus>,
    /// How its process ended, on a terminal state of a task that had one.
    pub exit: Option<Exit>,
    /// What the task has from now on: in the answer to a resize, done or refused, and in answers to a reconciliation
    /// where it has been resized. Boxed, as statuses are many and those with a size few.
    pub size: Option<Box<Size>>,
}

impl TaskStatus {
    /// A status that says no more than this; the rest is empty and public.
    pub fn new(task_id: TaskId, state: TaskState, source: Source, timestamp: Wall) -> TaskStatus {
        TaskStatus {
            task_id,
            agent_id: None,
            executor_id: None,
            state,
            source,
            reason: None,
            message: None,
            timestamp,
            uuid: None,
            healthy: None,
            labels: Labels::new(),
            data: Bytes::new(),
            unreachable_since: None,
            limitation: Resources::new(),
            container: None,
            exit: None,
            size: None,
        }
    }
}

/// The container of a running task.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ContainerStatus {
    /// The container.
    pub container_id: ContainerId,
    /// Its first process, as the agent's machine counts.
    pub pid: Option<u32>,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Exit {
    /// It exited with this code, 0 to 255; 0 is success.
    Code(i32),
    /// A signal of this number ended it.
    Signal(i32),
}

impl Exit {
    /// What a shell would show in `$?`, 0 to 255: the code, or 128 and the number of the signal.
    pub fn status(self) -> u8 {
        match self {
            // The kernel keeps the low eight bits of what a process passes to exit.
            Exit::Code(code) => (code & 0xff) as u8,
            Exit::Signal(number) => u8::try_from(number.saturating_add(128)).unwrap_or(255),
        }
    }

    /// Whether it exited with 0.
    pub fn is_success(self) -> bool {
        self == Exit::Code(0)
    }
}

/// In words: `exited with 3`, `killed by SIGKILL (9)`.
impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Exit::Code(code) => write!(f, "exited with {code}"),
            Exit::Signal(number) => match signal_name(number) {
                Some(name) => write!(f, "killed by {name} ({number})"),
                None => write!(f, "killed by signal {number}"),
            },
        }
    }
}

/// The name of a Linux signal. Numbers as on x86-64 and ARM, see signal(7); real-time signals have no name.
fn signal_name(number: i32) -> Option<&'static str> {
    const NAMES: [&str; 31] = [
        "SIGHUP",
        "SIGINT",
        "SIGQUIT",
        "SIGILL",
        "SIGTRAP",
        "SIGABRT",
        "SIGBUS",
        "SIGFPE",
        "SIGKILL",
        "SIGUSR1",
        "SIGSEGV",
        "SIGUSR2",
        "SIGPIPE",
        "SIGALRM",
        "SIGTERM",
        "SIGSTKFLT",
        "SIGCHLD",
        "SIGCONT",
        "SIGSTOP",
        "SIGTSTP",
        "SIGTTIN",
        "SIGTTOU",
        "SIGURG",
        "SIGXCPU",
        "SIGXFSZ",
        "SIGVTALRM",
        "SIGPROF",
        "SIGWINCH",
        "SIGIO",
        "SIGPWR",
        "SIGSYS",
    ];
    let index = usize::try_from(number).ok()?.checked_sub(1)?;
    NAMES.get(index).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exit_reads_as_a_sentence() {
        for (exit, words, status) in [
            (Exit::Code(0), "exited with 0", 0),
            (Exit::Code(3), "exited with 3", 3),
            (Exit::Code(255), "exited with 255", 255),
            (Exit::Signal(1), "killed by SIGHUP (1)", 129),
            (Exit::Signal(9), "killed by SIGKILL (9)", 137),
            (Exit::Signal(15), "killed by SIGTERM (15)", 143),
            (Exit::Signal(31), "killed by SIGSYS (31)", 159),
            (Exit::Signal(64), "killed by signal 64", 192),
        ] {
            assert_eq!(exit.to_string(), words);
            assert_eq!(exit.status(), status);
            assert_eq!(exit.is_success(), status == 0);
        }
    }

    #[test]
    fn numbers_that_no_kernel_gives_do_not_panic() {
        for number in [i32::MIN, -1, 0, i32::MAX] {
            let _ = (Exit::Signal(number).to_string(), Exit::Signal(number).status());
            let _ = (Exit::Code(number).to_string(), Exit::Code(number).status());
        }
    }
}
