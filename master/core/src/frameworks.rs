//! Frameworks: the table's record, its states, and how something is said to a scheduler.

mod leave;
mod removed;
mod subscribe;
mod wants;

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use bourse_types::{
    FrameworkId, FrameworkInfo, Mono, OfferId, Quantities, Role, TaskId, TaskState, TaskStatus, Wall,
};
use imbl::OrdSet;

use crate::allocator::{ClaimsByRole, Unserved};
use crate::effect::{Effect, Effects, ToScheduler};
use crate::event::StreamId;
use crate::master::Master;
use crate::registry::Absence;
use crate::table::Table;
use crate::tasks::{Ended, Task};

pub(crate) use leave::no_such_framework;
pub(crate) use removed::Removed;
pub use subscribe::{BadSubscription, FRAMEWORKS_MAX, FRAMEWORKS_PER_PRINCIPAL_MAX, check_roles};

/// One framework that was not torn down.
#[derive(Clone, Debug)]
pub struct Framework {
    /// Its id; `info.id` holds the same.
    pub id: FrameworkId,
    /// What it says about itself.
    pub info: FrameworkInfo,
    /// Whether its scheduler is there.
    pub state: FrameworkState,
    /// As it stands in the registry: away since when, and for how long it may be.
    pub absence: Option<Absence>,
    /// When it subscribed for the first time.
    pub registered: Wall,
    /// Roles it wants no offers for.
    pub suppressed: BTreeSet<Role>,
    /// What its tasks and offers hold, role by role; also roles that it left.
    pub holdings: BTreeMap<Role, Holding>,
    /// Its outstanding offers.
    pub offers: OrdSet<OfferId>,
    /// Tasks that are alive, or whose end it has not acknowledged.
    pub tasks: Table<TaskId, Task>,
    /// Tasks whose agent does not answer. They may come back.
    pub unreachable: Table<TaskId, Task>,
    /// Tasks that ended, the newest last; also unreachable ones that had no room among those.
    pub completed: Ended,
    /// Under which number it declined something in a role, where it did since it last revived that.
    pub(crate) claims: ClaimsByRole,
    /// In how many passes it got nothing, by reason, since it last subscribed.
    pub unserved: BTreeMap<Unserved, u64>,
}

/// What a framework holds in one role.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holding {
    /// Scalars of its tasks and offers.
    pub amounts: Quantities,
    /// Offers it was made in this role by this master. Among equal shares, who got fewer is next.
    pub served: u64,
}

/// Whether a framework's scheduler is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameworkState {
    /// Known from the registry or from agents, and not heard by this master yet.
    Recovered {
        /// When it is torn down.
        deadline: Mono,
    },
    /// Subscribed by this stream.
    Active {
        /// The newest subscription.
        stream: StreamId,
    },
    /// Its stream broke.
    Disconnected {
        /// When it broke.
        since: Wall,
        /// When it is torn down.
        deadline: Mono,
    },
}

impl FrameworkState {
    /// The word for it: `recovered`, `active`, `disconnected`.
    pub const fn as_str(self) -> &'static str {
        match self {
            FrameworkState::Recovered { .. } => "recovered",
            FrameworkState::Active { .. } => "active",
            FrameworkState::Disconnected { .. } => "disconnected",
        }
    }

    /// When it is torn down, unless it comes back. `None` while it is there.
    pub const fn deadline(self) -> Option<Mono> {
        match self {
            FrameworkState::Recovered { deadline } | FrameworkState::Disconnected { deadline, .. } => {
                Some(deadline)
            }
            FrameworkState::Active { .. } => None,
        }
    }

    /// The stream to speak by.
    pub const fn stream(self) -> Option<StreamId> {
        match self {
            FrameworkState::Active { stream } => Some(stream),
            FrameworkState::Recovered { .. } | FrameworkState::Disconnected { .. } => None,
        }
    }
}

impl Framework {
    pub(crate) fn new(
        id: FrameworkId,
        info: FrameworkInfo,
        state: FrameworkState,
        registered: Wall,
    ) -> Framework {
        Framework {
            id,
            info,
            state,
            absence: None,
            registered,
            suppressed: BTreeSet::new(),
            holdings: BTreeMap::new(),
            offers: OrdSet::new(),
            tasks: Table::new(),
            unreachable: Table::new(),
            completed: Ended::default(),
            claims: ClaimsByRole::default(),
            unserved: BTreeMap::new(),
        }
    }

    /// Roles it has and wants offers for.
    pub fn wanted_roles(&self) -> impl Iterator<Item = &Role> {
        self.info.roles.iter().filter(|role| !self.suppressed.contains(*role))
    }

    /// Whether the id is that of a task that is alive, unreachable, or whose end is not acknowledged.
    pub(crate) fn knows(&self, task: &TaskId) -> bool {
        self.tasks.contains(task) || self.unreachable.contains(task)
    }

    /// What this framework is told of a state: what its capabilities do not cover is told as what it knows.
    pub(crate) fn told(&self, state: TaskState) -> TaskState {
        match state {
            // Without TASK_KILLING_STATE a task runs until it has ended.
            TaskState::Killing if !self.info.capabilities.task_killing => TaskState::Running,
            other => other.told_to(self.info.capabilities.partition_aware),
        }
    }
}

impl Master {
    /// Says something to a scheduler; nothing is said to one that is away.
    pub(crate) fn tell(&self, framework: &FrameworkId, message: ToScheduler, out: &mut Effects) {
        if let Some(stream) = self.frameworks.get(framework).and_then(|framework| framework.state.stream()) {
            out.push(Effect::ToScheduler { framework: framework.clone(), stream, message });
        }
    }

    /// Tells a scheduler about a task, in the words that it knows.
    pub(crate) fn tell_status(&self, framework: &FrameworkId, mut status: TaskStatus, out: &mut Effects) {
        if let Some(record) = self.frameworks.get(framework) {
            status.state = record.told(status.state);
            self.tell(framework, ToScheduler::Update(Box::new(status)), out);
        }
    }

    /// The record of a framework that the caller has seen in the table.
    pub(crate) fn framework_mut(&mut self, id: &FrameworkId) -> &mut Framework {
        self.frameworks.get_mut(id).expect("the caller has just found this framework in the table")
    }
}
