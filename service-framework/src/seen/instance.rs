//! One task of a slot, from its launch to its end.

use bourse_types::{AgentId, Mono, Now, Reason, Size, TaskId, TaskState, TaskStatus, Wall};

use crate::wanted::Definition;

/// A task that was launched and has not ended, as far as is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// The task.
    pub task: TaskId,
    /// The agent it was launched on.
    pub agent: AgentId,
    /// That agent's host.
    pub hostname: String,
    /// The ports it was given, in the order of the file.
    pub ports: Vec<u16>,
    /// The version of the definition that it is an instance of: it was made of it, or resized to it.
    pub version: u64,
    /// What it has; `None`: launched by a release that did not write that down.
    pub size: Option<Size>,
    /// How far it is on its way to another size.
    pub resize: Option<Resizing>,
    /// Whether it was launched with a health check; its definition may have changed since.
    pub checked: bool,
    /// What was heard last; `Staging` before anything was.
    pub state: TaskState,
    /// What its health check says; `None` before it said anything.
    pub healthy: Option<bool>,
    /// What was said with the last status.
    pub message: Option<String>,
    /// When it was launched.
    pub launched: Wall,
    /// When it ran first.
    pub running: Option<Wall>,
    /// Since when it is in its state, or in its state of health.
    pub since: Mono,
    /// The same for people.
    pub since_wall: Wall,
    /// When it was heard of last, or asked about.
    pub heard: Mono,
    /// Whether it was launched or told of since the subscription began. Until then it may be in any state: all but its
    /// launch may have passed unheard.
    pub told: bool,
    /// It is to end, and why.
    pub kill: Option<KillSent>,
}

/// How far an instance is on its way to the size that its definition wants. Not written down: what is not known any more
/// is asked for again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resizing {
    /// Since then its agent is to offer what it gains by this version of the definition.
    Waiting {
        /// The version.
        version: u64,
        /// Since when.
        since: Mono,
    },
    /// It is being given this.
    Asked(Size),
    /// It cannot have what this version of the definition wants, and is replaced.
    Refused {
        /// The version.
        version: u64,
        /// In words.
        why: String,
    },
    /// It was given what its definition wanted.
    Done {
        /// When.
        at: Mono,
    },
}

/// That an instance is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KillSent {
    /// Why.
    pub why: KillReason,
    /// Whether this process has asked for it. The SDK's session repeats it until the instance has ended.
    pub sent: bool,
}

/// Why an instance is killed. None of them is a fault of the instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KillReason {
    /// Its service is being removed.
    Removed,
    /// Fewer are wanted.
    ScaledDown,
    /// It returned from out of reach, and its slot has been filled.
    Duplicate,
    /// Its definition changed.
    Updated,
    /// Its agent is being drained, and it moves before it is killed there.
    Draining,
}

impl KillReason {
    /// For logs and people.
    pub fn as_str(self) -> &'static str {
        match self {
            KillReason::Removed => "its service is being removed",
            KillReason::ScaledDown => "fewer instances are wanted",
            KillReason::Duplicate => "it was replaced while it was out of reach",
            KillReason::Updated => "its definition changed",
            KillReason::Draining => "its agent is being drained",
        }
    }
}

impl Instance {
    /// Whether its agent answers, as far as is known.
    pub fn is_reachable(&self) -> bool {
        self.state != TaskState::Unreachable
    }

    /// Whether it runs, and passes its health check if it has one.
    pub fn is_serving(&self) -> bool {
        self.state == TaskState::Running && (!self.checked || self.healthy == Some(true))
    }

    /// Takes in a status that does not end it. Answers whether anything changed.
    pub(super) fn hear(&mut self, now: Now, status: &TaskStatus) -> bool {
        self.heard = now.mono;
        self.told = true;
        let Some(state) = self.state.step(status.state) else { return false };
        // A status without health, as an answer to a reconciliation may be, says nothing about it.
        let healthy = if state == TaskState::Running { status.healthy.or(self.healthy) } else { None };
        if (state, healthy) == (self.state, self.healthy) && status.message == self.message {
            return false;
        }
        if (state, healthy) != (self.state, self.healthy) {
            self.since = now.mono;
            self.since_wall = now.wall;
        }
        if state == TaskState::Running && self.running.is_none() {
            self.running = Some(now.wall);
        }
        self.state = state;
        self.healthy = healthy;
        self.message = status.message.clone();
        true
    }

    /// Takes in what it has. With what its definition wants it is an instance of that from now on. Answers whether anything
    /// changed.
    pub(super) fn measure(&mut self, now: Now, size: &Size, definition: Option<&Definition>) -> bool {
        let news = self.size.as_ref() != Some(size);
        self.size = Some(size.clone());
        if matches!(&self.resize, Some(Resizing::Asked(wanted)) if wanted == size) {
            self.resize = None;
        }
        let stale = |definition: &&Definition| {
            (definition.template_version..definition.size_version).contains(&self.version)
                && definition.spec.template.is_size(size)
        };
        let Some(definition) = definition.filter(stale) else { return news };
        self.version = definition.size_version;
        self.resize = Some(Resizing::Done { at: now.mono });
        true
    }

    /// Whether its end is its own fault, so that the next try waits. What the framework itself asked for, and what
    /// befell its agent, is not.
    pub(super) fn is_fault(&self, end: &TaskStatus) -> bool {
        if self.kill.is_some() || end.reason == Some(Reason::AgentDraining) {
            return false;
        }
        match end.state {
            TaskState::Finished
            | TaskState::Failed
            | TaskState::Killed
            | TaskState::Error
            | TaskState::Lost
            // A launch that is dropped again and again must not become a busy loop.
            | TaskState::Dropped => true,
            TaskState::Gone | TaskState::GoneByOperator | TaskState::Unknown => false,
            TaskState::Staging
            | TaskState::Starting
            | TaskState::Running
            | TaskState::Killing
            | TaskState::Unreachable => false,
        }
    }
}
