//! Bugs on purpose. A checker that has never caught anything proves nothing: each of these corrupts what goes into or
//! comes out of a core, or what a shell does with it, and has to be caught.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use bourse_agent_core::{FromAgent, Record};
use bourse_master_core::state::Part;
use bourse_master_core::{Call, Effect, Event, StreamId, ToAgent, ToScheduler};
use bourse_types::{Epoch, FrameworkId, Milli, Name, OfferId, Resource, TaskId, TaskState};

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
}

impl Plant {
    /// All of them.
    pub const ALL: [Plant; 17] = [
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
    ];
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
    pub fn reads(&mut self, record: &Record) -> bool {
        if self.plant != Some(Plant::CheckpointForgotten) {
            return true;
        }
        matches!(record, Record::Admitted { .. } | Record::EpochSeen { .. } | Record::Booted { .. })
    }
}

/// One in four, for ever the same.
fn is_unlucky(task: &TaskId) -> bool {
    task.as_str().bytes().map(u64::from).sum::<u64>().is_multiple_of(4)
}
