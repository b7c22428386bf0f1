//! The master as plain data: taken apart into records that can be written one by one, and put together again.
//!
//! Whoever records what a master was told begins with these, and whoever replays it begins with the master that they make:
//! the same state, time and events then have the same effects. Records share what is large with the master that they are
//! of, so taking one apart holds nothing twice.
//!
//! What adds up from other records (what is offered and allocated of an agent, what was lost with it, what a framework
//! holds, the pool, who is at which address) is not among them: it is added up again, and no two records can disagree on it. Deadlines, marks and the
//! order of filters look like such sums and are none: an entry that outlived its reason still wakes the master, the source
//! that lots were drawn from has gone on, and of two filters that end together the first one makes room.

mod assembly;
mod parts;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bourse_types::{
    AgentCapability, AgentId, AgentInfo, Epoch, FrameworkId, FrameworkInfo, MasterId, Milli, Mono, Now,
    Principal, Resources, Role, Wall,
};

use crate::agents::{AgentState, Drain};
use crate::allocator::Unserved;
use crate::config::Config;
use crate::frameworks::FrameworkState;
use crate::offers::Offer;
use crate::registry::Absence;
use crate::tasks::Task;

pub use crate::deadlines::Due;

/// One record of a master. They come in the order in which they stand here, and each framework's tasks right behind it.
#[derive(Clone, Debug, PartialEq)]
pub enum Part {
    /// What there is one of. The first, and only once.
    Head(Box<Head>),
    /// An agent that was admitted and is not gone.
    Agent(Box<AgentPart>),
    /// An agent that was marked gone.
    Gone {
        /// The agent.
        id: AgentId,
        /// When it was marked.
        at: Wall,
    },
    /// A framework whose id is refused.
    Removed {
        /// The framework.
        id: FrameworkId,
        /// When it was torn down.
        at: Wall,
    },
    /// A weight that is not the default.
    Weight {
        /// The role.
        role: Role,
        /// In thousandths.
        weight: Milli,
    },
    /// A framework. Those that were torn down come last, the newest at the end.
    Framework(Box<FrameworkPart>),
    /// A task of the framework before it.
    Task {
        /// Where it stands in the framework's record. Of those that ended, the newest comes last.
        place: Place,
        /// The task.
        task: Arc<Task>,
    },
    /// What a framework declined for a while. Those of one framework, role and agent come in the order in which they were
    /// set, which decides between equals.
    Filter {
        /// The framework; `None`: the one before it, right behind whose tasks its filters once came.
        framework: Option<FrameworkId>,
        /// The role.
        role: Role,
        /// The agent.
        agent: AgentId,
        /// What was declined.
        resources: Resources,
        /// When it ends.
        until: Mono,
    },
    /// An outstanding offer.
    Offer(Offer),
    /// Something that is due.
    Deadline {
        /// When.
        at: Mono,
        /// What.
        due: Due,
    },
    /// An agent that a pass of the allocator shall look at; it need not be there any more.
    Mark {
        /// Those of an earlier round come first.
        round: u64,
        /// Its place within the round.
        lot: u64,
        /// The agent.
        agent: AgentId,
    },
}

/// What there is one of in a master.
#[derive(Clone, Debug, PartialEq)]
pub struct Head {
    /// What the operator chose.
    pub config: Config,
    /// The master's epoch.
    pub epoch: Epoch,
    /// The master's incarnation.
    pub id: MasterId,
    /// When the incarnation started.
    pub started: Now,
    /// Where the source of lots is.
    pub random: u64,
    /// Ids that this incarnation gave to agents.
    pub agents_named: u64,
    /// Ids that it gave to frameworks.
    pub frameworks_named: u64,
    /// Ids that it gave to offers.
    pub offers_named: u64,
    /// The round of agents that are marked now.
    pub round: u64,
    /// When the last event was applied.
    pub awake: Mono,
    /// No pass of the allocator before then.
    pub pass_allowed: Mono,
    /// Agents of which the next event finds out whether their drain is over.
    pub emptied: BTreeSet<AgentId>,
    /// The highest epoch of a newer master, of which agents told, by their owner.
    pub deposed_by: BTreeMap<Option<Principal>, Epoch>,
}

/// An agent, without what its tasks and offers say.
#[derive(Clone, Debug, PartialEq)]
pub struct AgentPart {
    /// Its id.
    pub id: AgentId,
    /// What it says about itself.
    pub info: AgentInfo,
    /// Where it is in its life.
    pub state: AgentState,
    /// When it was admitted.
    pub admitted: Wall,
    /// When it was last heard; `None` when this master never heard it.
    pub heard: Option<Now>,
    /// While an operator drains it.
    pub drain: Option<Drain>,
    /// What it said that it can do when it registered.
    pub capabilities: BTreeSet<AgentCapability>,
    /// Whose it is.
    pub principal: Option<Principal>,
}

/// A framework, without its tasks, its filters, and what its offers say.
#[derive(Clone, Debug, PartialEq)]
pub struct FrameworkPart {
    /// Its id.
    pub id: FrameworkId,
    /// What it says about itself.
    pub info: FrameworkInfo,
    /// Whether its scheduler is there, or was when it was torn down.
    pub state: FrameworkState,
    /// As it stands in the registry: away since when, and for how long it may be.
    pub absence: Option<Absence>,
    /// When it subscribed for the first time.
    pub registered: Wall,
    /// Roles it wants no offers for.
    pub suppressed: BTreeSet<Role>,
    /// Offers that it was made, by role: each role that it holds or held something in.
    pub served: BTreeMap<Role, u64>,
    /// In how many passes it got nothing, by reason, since it last subscribed.
    pub unserved: BTreeMap<Unserved, u64>,
    /// It is no more, and only kept for people.
    pub torn_down: bool,
}

/// Where a task stands in the record of its framework.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// It is alive, or its end is not acknowledged.
    Live,
    /// Its agent does not answer.
    Unreachable,
    /// It ended, or had no room among those that are unreachable.
    Completed,
}

/// Why no master can be put together from some parts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadState {
    /// There is no head, or not in front.
    #[error(
        "a master was to be put together from parts that do not begin with its head; give all of them, in the order in which \
         they were taken"
    )]
    Headless,
    /// Parts of another kind belong in between, or in front.
    #[error(
        "a master was to be put together from its parts, and {part} stands behind {behind}; give all of them, in the order in \
         which they were taken"
    )]
    Order {
        /// What stands in the wrong place.
        part: &'static str,
        /// What stands in front of it.
        behind: &'static str,
    },
    /// Something is behind a framework that cannot have it: of another one, or alive though the framework is not.
    #[error(
        "a master was to be put together from its parts, and {part} stands behind framework {framework}, which cannot have it; \
         give all of them, in the order in which they were taken"
    )]
    Foreign {
        /// What it is.
        part: String,
        /// The framework before it.
        framework: FrameworkId,
    },
    /// Two parts are about one thing.
    #[error(
        "a master was to be put together from its parts, and {0} is among them twice; give each of them once"
    )]
    Twice(String),
    /// Each part is well, and together they are no master.
    #[error(
        "a master that was put together from its parts breaks what must always hold ({}); give all of them, taken at one \
         moment",
        shown(.0)
    )]
    Broken(Vec<String>),
}

/// The beginning of the first few: a master that lacks a part may break a promise for each of its tasks, and name them all.
fn shown(broken: &[String]) -> String {
    const SHOWN: usize = 3;
    let first: Vec<String> =
        broken.iter().take(SHOWN).map(|sentence| sentence.chars().take(256).collect()).collect();
    match broken.len().saturating_sub(SHOWN) {
        0 => first.join("; "),
        more => format!("{}; and {more} more", first.join("; ")),
    }
}
