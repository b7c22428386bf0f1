//! What happened, for people: the master's words for its history.
//!
//! Nothing depends on it. The shell gives each entry a sequence number and a time, and stores it without sync.

use bourse_types::{AgentId, FrameworkId, Principal, Role, TaskId};

/// What an entry is mainly about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A task changed its state, or was refused.
    Task,
    /// An agent came, went, or is drained.
    Agent,
    /// A framework came, went, or was refused.
    Framework,
    /// Offers were withdrawn.
    Offer,
    /// An operator changed something.
    Operator,
}

impl Kind {
    /// The word for it: `task`, `agent`, `framework`, `offer`, `operator`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Kind::Task => "task",
            Kind::Agent => "agent",
            Kind::Framework => "framework",
            Kind::Offer => "offer",
            Kind::Operator => "operator",
        }
    }
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Entry {
    /// What it is mainly about.
    pub kind: Kind,
    /// A sentence.
    pub summary: String,
    /// The agent, where there is one.
    pub agent: Option<AgentId>,
    /// The framework, where there is one.
    pub framework: Option<FrameworkId>,
    /// The task, where there is one.
    pub task: Option<TaskId>,
    /// The role, where there is one.
    pub role: Option<Role>,
    /// `REASON_...`, or a word of the master's, where there is one.
    pub reason: Option<String>,
    /// Who asked for it, where somebody did.
    pub principal: Option<Principal>,
}

impl Entry {
    pub(crate) fn new(kind: Kind, summary: impl Into<String>) -> Entry {
        Entry {
            kind,
            summary: summary.into(),
            agent: None,
            framework: None,
            task: None,
            role: None,
            reason: None,
            principal: None,
        }
    }

    pub(crate) fn agent(self, agent: &AgentId) -> Entry {
        Entry { agent: Some(agent.clone()), ..self }
    }

    pub(crate) fn framework(self, framework: &FrameworkId) -> Entry {
        Entry { framework: Some(framework.clone()), ..self }
    }

    pub(crate) fn task(self, task: &TaskId) -> Entry {
        Entry { task: Some(task.clone()), ..self }
    }

    pub(crate) fn role(self, role: &Role) -> Entry {
        Entry { role: Some(role.clone()), ..self }
    }

    pub(crate) fn reason(self, reason: impl ToString) -> Entry {
        Entry { reason: Some(reason.to_string()), ..self }
    }

    pub(crate) fn principal(self, principal: Option<&Principal>) -> Entry {
        Entry { principal: principal.cloned(), ..self }
    }
}
