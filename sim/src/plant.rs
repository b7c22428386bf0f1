//! Bugs on purpose. A checker that has never caught anything proves nothing: each of these corrupts what goes into or
//! comes out of a core, or what a shell does with it, and has to be caught, by the checker that is there for it.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use bourse_agent_core::{FromAgent, Record};
use bourse_master_core::registry::DEFAULT_WEIGHT;
use bourse_master_core::state::Part;
use bourse_master_core::{Call, Change, Effect, Event, Snapshot, StreamId, ToAgent, ToScheduler};
use bourse_sdk_core as sdk;
use bourse_types::{Epoch, FrameworkId, Milli, Name, OfferId, Resource, Role, TaskId, TaskState};

use crate::random::Random;

/// A bug on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plant {
    /// What is offered to one framework is offered to another as well.
    DoubleOffer,
    /// An offer holds a processor more than there is.
    OfferTooLarge,
    /// An offer that is taken back is taken back silently.
    ForgottenRescind,
    /// The master lets its words out before the registry is synced.
    SpokenBeforeSynced,
    /// An agent acts before its checkpoint is written.
    AgentSpeaksBeforeWritten,
    /// A scheduler's calls leave before its state is durable.
    AcknowledgedBeforeDurable,
    /// Epochs are not carried: agents cannot tell a deposed master.
    StaleEpoch,
    /// Declined for no time at all.
    LostFilter,
    /// What an accept leaves is declined for no time at all.
    LostRemainder,
    /// A task's newest state overtakes the ones before it.
    UpdateOrderSwapped,
    /// A launch is carried out twice.
    TaskLaunchedTwice,
    /// Acknowledgements of some tasks never reach their agent.
    AcknowledgementSwallowed,
    /// A launch is lost and its connection is not.
    LaunchSwallowed,
    /// An agent comes back without its tasks.
    CheckpointForgotten,
    /// A task that has ended ends once more, and otherwise.
    EndChanged,
    /// That agents were heard never reaches the core.
    HeartbeatsUnheard,
    /// A master that is made of another one's parts has forgotten what was declined.
    RestoreLossy,
    /// The weight of a role is written down as if it were the usual one.
    WeightForgotten,
    /// A master does not read that agents are drained.
    DrainForgotten,
    /// A master does not read which frameworks were torn down.
    TeardownForgotten,
    /// A master that was replaced may write on.
    FenceOpen,
    /// A master goes on when its registry has taken nothing for want of room.
    NoRoomIgnored,
    /// An agent acts though its full disk has taken nothing.
    FullDiskIgnored,
    /// What an agent could not do for want of room it does in the end, the last of it first.
    HeldOutOfOrder,
    /// Who stood still has not heard what was said meanwhile.
    ThawsDeaf,
    /// An agent does not read that a task has ended.
    EndForgotten,
    /// An agent does not read that it was killing a task.
    KillForgotten,
    /// A scheduler wants no offers for a role that is not its framework's.
    ForeignRole,
    /// Where one instance of a service is taken away, so is another one.
    TwoAtATime,
}

impl Plant {
    /// All of them.
    pub const ALL: [Plant; 29] = [
        Plant::DoubleOffer,
        Plant::OfferTooLarge,
        Plant::ForgottenRescind,
        Plant::SpokenBeforeSynced,
        Plant::AgentSpeaksBeforeWritten,
        Plant::AcknowledgedBeforeDurable,
        Plant::StaleEpoch,
        Plant::LostFilter,
        Plant::LostRemainder,
        Plant::UpdateOrderSwapped,
        Plant::TaskLaunchedTwice,
        Plant::AcknowledgementSwallowed,
        Plant::LaunchSwallowed,
        Plant::CheckpointForgotten,
        Plant::EndChanged,
        Plant::HeartbeatsUnheard,
        Plant::RestoreLossy,
        Plant::WeightForgotten,
        Plant::DrainForgotten,
        Plant::TeardownForgotten,
        Plant::FenceOpen,
        Plant::NoRoomIgnored,
        Plant::FullDiskIgnored,
        Plant::HeldOutOfOrder,
        Plant::ThawsDeaf,
        Plant::EndForgotten,
        Plant::KillForgotten,
        Plant::ForeignRole,
        Plant::TwoAtATime,
    ];

    /// By which checker it has to be caught: words that only this one says, and says first in some run.
    pub fn by(self) -> &'static str {
        match self {
            Plant::DoubleOffer | Plant::OfferTooLarge | Plant::ForgottenRescind => ", and with offer ",
            Plant::SpokenBeforeSynced
            | Plant::AgentSpeaksBeforeWritten
            | Plant::AcknowledgedBeforeDurable
            | Plant::NoRoomIgnored
            | Plant::FullDiskIgnored => " speaks of ",
            Plant::StaleEpoch => " obeyed a master of epoch ",
            Plant::LostFilter | Plant::LostRemainder => " is made again to ",
            Plant::UpdateOrderSwapped
            | Plant::AcknowledgementSwallowed
            | Plant::LaunchSwallowed
            | Plant::ThawsDeaf => "not converged: ",
            Plant::TaskLaunchedTwice => " is launched ",
            Plant::CheckpointForgotten => " was removed, and nobody wanted it to end",
            Plant::EndChanged => " is told as ",
            Plant::HeartbeatsUnheard => " is taken for unreachable, ",
            Plant::RestoreLossy => "the master's twin ",
            Plant::WeightForgotten | Plant::DrainForgotten | Plant::TeardownForgotten => {
                " an operator was told "
            }
            Plant::FenceOpen => " has written after ",
            Plant::HeldOutOfOrder => " records after what rests on ",
            Plant::EndForgotten => ", where no way leads",
            Plant::KillForgotten => " is told as TASK_KILLING and runs",
            Plant::ForeignRole => " is wanted or not, and is not the framework's",
            Plant::TwoAtATime => " and is killed, while ",
        }
    }
}

impl fmt::Display for Plant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl FromStr for Plant {
    type Err = String;

    fn from_str(name: &str) -> Result<Plant, String> {
        let known = Plant::ALL.into_iter().find(|plant| plant.to_string() == name);
        known.ok_or_else(|| format!("no bug is called {name:?}; choose one of {:?}", Plant::ALL))
    }
}

/// The bug that grows in one run, if any.
#[derive(Debug)]
pub struct Garden {
    plant: Option<Plant>,
    random: Random,
    /// By framework, its newest stream: somebody to tell what is not theirs.
    streams: BTreeMap<FrameworkId, StreamId>,
    made: u64,
}

impl Garden {
    /// Grows this bug, or none.
    pub fn new(plant: Option<Plant>, random: Random) -> Garden {
        Garden { plant, random, streams: BTreeMap::new(), made: 0 }
    }

    /// Whether it is this bug that grows.
    pub fn has(&self, plant: Plant) -> bool {
        self.plant == Some(plant)
    }

    /// Whether it is this bug that grows, and shows now.
    pub fn grows(&mut self, plant: Plant) -> bool {
        self.plant == Some(plant) && self.random.chance(0.5)
    }

    /// On the way into the master.
    pub fn event(&mut self, event: &mut Event) {
        match (self.plant, event) {
            (Some(Plant::LostFilter), Event::Call { call: Call::Decline { refuse, .. }, .. }) => {
                *refuse = Duration::ZERO;
            }
            (Some(Plant::LostRemainder), Event::Call { call: Call::Accept(accept), .. }) => {
                accept.refuse = Duration::ZERO;
            }
            (Some(Plant::HeartbeatsUnheard), Event::AgentsHeard { agents }) => agents.clear(),
            _ => {}
        }
    }

    /// On the way out of the master.
    pub fn effects(&mut self, effects: &mut Vec<Effect>) {
        if self.plant.is_none() {
            return;
        }
        for effect in std::mem::take(effects) {
            match effect {
                Effect::ToScheduler { framework, stream, message } => {
                    self.streams.insert(framework.clone(), stream);
                    self.told_scheduler(framework, stream, message, effects);
                }
                Effect::ToAgent { message: ToAgent::Acknowledge { ref task, .. }, .. }
                    if self.plant == Some(Plant::AcknowledgementSwallowed) && is_unlucky(task) => {}
                Effect::ToAgent { message: ToAgent::Run { .. }, .. }
                    if self.plant == Some(Plant::LaunchSwallowed) && self.random.chance(0.2) => {}
                effect => effects.push(effect),
            }
        }
    }

    fn told_scheduler(
        &mut self,
        framework: FrameworkId,
        stream: StreamId,
        message: ToScheduler,
        effects: &mut Vec<Effect>,
    ) {
        let say = |framework, stream, message| Effect::ToScheduler { framework, stream, message };
        match (self.plant, message) {
            (Some(Plant::DoubleOffer), ToScheduler::Offers(offers)) => {
                let other = self.streams.iter().find(|(other, _)| **other != framework);
                let other = other.map(|(other, stream)| (other.clone(), *stream));
                let again = offers.iter().cloned().map(|mut offer| {
                    self.made += 1;
                    offer.id = OfferId::new(format!("planted-{}", self.made)).expect("valid");
                    offer
                });
                let again: Vec<_> = again.collect();
                effects.push(say(framework, stream, ToScheduler::Offers(offers)));
                if let Some((other, stream)) = other {
                    effects.push(say(other, stream, ToScheduler::Offers(again)));
                }
            }
            (Some(Plant::OfferTooLarge), ToScheduler::Offers(mut offers)) => {
                for offer in offers.iter_mut().filter(|_| self.random.chance(0.3)) {
                    offer.resources.insert(Resource::scalar(Name::cpus(), Milli::whole(1)));
                }
                effects.push(say(framework, stream, ToScheduler::Offers(offers)));
            }
            (Some(Plant::ForgottenRescind), ToScheduler::Rescind { .. }) => {}
            (Some(Plant::EndChanged), ToScheduler::Update(status))
                if status.state == TaskState::Finished && status.uuid.is_some() =>
            {
                let mut other = status.clone();
                other.state = TaskState::Failed;
                other.uuid = other.uuid.map(|mut uuid| {
                    uuid[0] ^= 0xff;
                    uuid
                });
                effects.push(say(framework.clone(), stream, ToScheduler::Update(status)));
                effects.push(say(framework, stream, ToScheduler::Update(other)));
            }
            (_, message) => effects.push(say(framework, stream, message)),
        }
    }

    /// On the way out of an agent.
    pub fn agent_says(&mut self, message: &mut FromAgent) {
        match (self.plant, message) {
            (Some(Plant::StaleEpoch), FromAgent::Register(registration)) => registration.epoch = Epoch(0),
            (Some(Plant::UpdateOrderSwapped), FromAgent::Update(update)) => {
                update.status = update.latest.clone()
            }
            _ => {}
        }
    }

    /// What a letter to an agent says about its master.
    pub fn epoch(&self, epoch: Epoch) -> Epoch {
        if self.plant == Some(Plant::StaleEpoch) { Epoch(1) } else { epoch }
    }

    /// What a master is made of.
    pub fn restores(&self, part: &Part) -> bool {
        self.plant != Some(Plant::RestoreLossy) || !matches!(part, Part::Filter { .. })
    }

    /// What an agent reads back.
    pub fn reads(&self, record: &Record) -> bool {
        match (self.plant, record) {
            (Some(Plant::CheckpointForgotten), record) => {
                matches!(record, Record::Admitted { .. } | Record::EpochSeen { .. } | Record::Booted { .. })
            }
            (Some(Plant::EndForgotten), Record::UpdateMade { status, .. }) => !status.state.is_terminal(),
            (Some(Plant::KillForgotten), Record::KillBegun { .. }) => false,
            _ => true,
        }
    }

    /// What a master reads of its predecessors.
    pub fn reads_registry(&self, snapshot: &mut Snapshot) {
        match self.plant {
            Some(Plant::DrainForgotten) => {
                snapshot.agents.values_mut().for_each(|agent| agent.drain = None);
            }
            Some(Plant::TeardownForgotten) => snapshot.removed.clear(),
            _ => {}
        }
    }

    /// What a master writes for its successors.
    pub fn writes(&self, changes: &mut [Change]) {
        if self.plant != Some(Plant::WeightForgotten) {
            return;
        }
        for change in changes {
            if let Change::WeightSet { weight, .. } = change {
                *weight = DEFAULT_WEIGHT;
            }
        }
    }

    /// A role that a scheduler wants no offers for besides its own.
    pub fn foreign_role(&self) -> Option<Role> {
        self.has(Plant::ForeignRole).then(|| Role::new("nobody").expect("valid"))
    }
}

/// Another instance of the service of which one is killed, to be killed as well.
pub fn another_kill(outputs: &[sdk::Output], alive: impl IntoIterator<Item = TaskId>) -> Option<sdk::Output> {
    let killed = outputs.iter().find_map(|output| match output {
        sdk::Output::Call(sdk::Call::Kill { task, .. }) => Some(task),
        _ => None,
    })?;
    let service = |task: &TaskId| task.as_str().split('.').next().map(str::to_owned);
    let task = alive.into_iter().find(|task| task != killed && service(task) == service(killed))?;
    Some(sdk::Output::Call(sdk::Call::Kill { task, agent: None, policy: None }))
}

/// One in four, for ever the same.
fn is_unlucky(task: &TaskId) -> bool {
    task.as_str().bytes().map(u64::from).sum::<u64>().is_multiple_of(4)
}
