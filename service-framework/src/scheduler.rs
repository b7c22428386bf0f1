//! The scheduler: events of the SDK in, looks of the planner, calls out.
//!
//! It keeps no rule of its own about services. It takes in what is told, looks at most so often, writes down what a
//! plan will do before it asks the SDK to do it, and answers questions when what they changed is durable.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bourse_sdk_core::{Calls, Event, Offer, Scheduler};
use bourse_types::{
    AgentId, FrameworkId, Mono, Now, OfferId, Reason, Role, Source, TaskId, TaskState, TaskStatus,
};

use crate::disk::{self, BadState};
use crate::explain;
use crate::picture::{ServicePicture, picture};
use crate::plan::{Launch, Offered, Plan, Resize, plan};
use crate::seen::{Heard, Resizing, Seen, SlotName};
use crate::task::task;
use crate::wanted::{Outcome, Refusal, Wanted};

/// At least this much time passes between two looks: a thousand updates at once cost one look, and one alone none of
/// it.
pub const PACE: Duration = Duration::from_millis(20);
/// A declined offer comes back after this long even when nobody revives, so that what people read about waiting slots
/// is not older.
pub const DECLINE_FOR: Duration = Duration::from_secs(60);

/// A question of somebody outside, and where its answer goes.
pub struct Ask {
    /// What is asked.
    pub request: Request,
    /// Called once, when what the question changed is durable. Dropped unanswered when the framework stops.
    pub reply: Box<dyn FnOnce(Result<Answer, Refusal>) + Send>,
}

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Take this file.
    Deploy {
        /// As written.
        text: String,
        /// The file's name.
        file: String,
    },
    /// Show a service, or all.
    List {
        /// A name; `None`: all.
        name: Option<String>,
    },
    /// Want another number of instances.
    Scale {
        /// The service.
        name: String,
        /// 0 to [`COUNT_MAX`](crate::spec::COUNT_MAX).
        count: u32,
    },
    /// Want it no more.
    Remove {
        /// The service.
        name: String,
    },
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// To a deployment.
    Deployed(ServicePicture, Outcome),
    /// To a list.
    Listed(Vec<ServicePicture>, Option<FrameworkId>),
    /// To a scale.
    Scaled(ServicePicture),
    /// To a removal.
    Removed,
}

/// The service framework as a scheduler.
pub struct ServiceScheduler {
    wanted: Wanted,
    seen: Seen,
    /// Offers in hand, and when they came.
    offers: Vec<(Offer, Mono)>,
    framework: Option<FrameworkId>,
    /// Whether calls reach the master now.
    subscribed: bool,
    /// Whether times have been moved onto this process' clock.
    awake: bool,
    /// Something happened since the last look.
    dirty: bool,
    looked: Option<Mono>,
    wait_until: Option<Mono>,
    /// Slots to be written.
    unsaved: BTreeSet<SlotName>,
    /// The counter that was written last.
    saved_next: u64,
    /// Replies to what is being made durable.
    replies: Vec<Box<dyn FnOnce() + Send>>,
    replied_at: Mono,
}

impl ServiceScheduler {
    /// Starts from what an earlier process wrote, or from nothing. With no role, `*` is meant.
    pub fn new<'a>(
        roles: Vec<Role>,
        values: impl IntoIterator<Item = (&'a str, &'a [u8])>,
    ) -> Result<ServiceScheduler, BadState> {
        let (wanted, seen) = disk::read(roles, values)?;
        Ok(ServiceScheduler {
            saved_next: seen.next_task,
            wanted,
            seen,
            offers: Vec::new(),
            framework: None,
            subscribed: false,
            awake: false,
            dirty: true,
            looked: None,
            wait_until: None,
            unsaved: BTreeSet::new(),
            replies: Vec::new(),
            replied_at: Mono::ZERO,
        })
    }

    /// The tasks in flight, for the session to reconcile by name.
    pub fn tasks(&self) -> Vec<(TaskId, Option<AgentId>)> {
        let instances = self.seen.instances();
        instances.map(|(_, instance)| (instance.task.clone(), Some(instance.agent.clone()))).collect()
    }

    /// What is wanted, to look at.
    pub fn wanted(&self) -> &Wanted {
        &self.wanted
    }

    /// What is seen, to look at.
    pub fn seen(&self) -> &Seen {
        &self.seen
    }

    fn on_update(&mut self, now: Now, status: &TaskStatus, calls: &mut Calls) {
        let known = |services: &ServiceScheduler| {
            let found = services.seen.instance(&status.task_id);
            found.map(|(_, it)| (it.state, (it.running, it.version, it.size.clone())))
        };
        let before = known(self);
        match self.seen.hear(&self.wanted, now, status) {
            Heard::Changed(slot) => {
                let (before, kept_before) = before.unzip();
                let (after, kept_after) = known(self).unzip();
                if before != after {
                    tracing::info!(task_id = %status.task_id, %slot, state = %status.state, "instance changed");
                }
                // When it began to run decides later whether its end is one of many in a row; what it has, what it gains
                // by another size.
                if kept_before != kept_after {
                    self.unsaved.insert(slot);
                }
            }
            Heard::Ended(slot) => {
                let ended = self.seen.slots.get(&slot).and_then(|slot| slot.attempts.front());
                let reason = ended.map(|ended| ended.message.as_str()).unwrap_or_default();
                tracing::info!(task_id = %status.task_id, %slot, state = %status.state, reason, "instance ended");
                self.unsaved.insert(slot);
            }
            Heard::Stranger => {
                tracing::warn!(task_id = %status.task_id, state = %status.state, "an unknown task runs; killing it");
                calls.kill(&status.task_id);
            }
            Heard::Nothing => {}
        }
    }

    fn on_ask(&mut self, now: Now, ask: Ask, calls: &mut Calls) {
        let answer = self.answer(now, ask.request, calls);
        let reply = ask.reply;
        self.replies.push(Box::new(move || reply(answer)));
        self.replied_at = now.mono;
    }

    fn answer(&mut self, now: Now, request: Request, calls: &mut Calls) -> Result<Answer, Refusal> {
        let show = |services: &ServiceScheduler, name| {
            services.wanted.services.get(name).map(|definition| picture(definition, &services.seen, now))
        };
        match request {
            Request::List { name } => {
                let name = name.map(|name| self.wanted.named(&name)).transpose()?;
                let services = self
                    .wanted
                    .services
                    .iter()
                    .filter(|(other, _)| name.as_ref().is_none_or(|n| n == *other));
                let pictures = services.map(|(_, definition)| picture(definition, &self.seen, now)).collect();
                Ok(Answer::Listed(pictures, self.framework.clone()))
            }
            Request::Deploy { text, file } => {
                let (name, outcome) = self.wanted.deploy(&text, &file)?;
                if outcome != Outcome::Unchanged {
                    tracing::info!(service = %name, outcome = outcome.as_str(), "service deployed");
                    self.seen.pardon(&name);
                    self.unsaved.extend(self.seen.slots_of(&name).map(|(slot, _)| slot.clone()));
                    self.save_service(&name, calls);
                }
                show(self, &name)
                    .map(|service| Answer::Deployed(service, outcome))
                    .ok_or_else(|| missing(&name))
            }
            Request::Scale { name, count } => {
                let name = self.wanted.scale(&name, count)?;
                tracing::info!(service = %name, count, "service scaled");
                self.save_service(&name, calls);
                show(self, &name).map(Answer::Scaled).ok_or_else(|| missing(&name))
            }
            Request::Remove { name } => {
                let name = self.wanted.remove(&name)?;
                tracing::info!(service = %name, "service is being removed");
                self.save_service(&name, calls);
                Ok(Answer::Removed)
            }
        }
    }

    fn save_service(&self, name: &crate::spec::ServiceName, calls: &mut Calls) {
        if let Some(definition) = self.wanted.services.get(name) {
            calls.save(disk::service_key(name), disk::service_value(definition));
        }
    }

    /// Looks, and does what follows.
    fn look(&mut self, now: Now, calls: &mut Calls) {
        let offered: Vec<Offered> = self.offers.iter().map(|(offer, since)| offered(offer, *since)).collect();
        let plan = plan(&self.wanted, &self.seen, &offered, now);
        if tracing::enabled!(tracing::Level::DEBUG) {
            explain::lines(&plan).iter().for_each(|line| tracing::debug!("{line}"));
        }
        plan.apply(&mut self.seen, now);
        self.unsaved.extend(plan.launches.iter().map(|launch| launch.slot.clone()));
        self.unsaved.extend(plan.kills.iter().map(|kill| kill.slot.clone()));
        for kill in &plan.kills {
            tracing::info!(task_id = %kill.task, slot = %kill.slot, reason = kill.why.as_str(), "killing an instance");
            calls.kill(&kill.task);
        }
        for resize in plan.resizes.iter().filter(|resize| resize.offer.is_none()) {
            tracing::info!(task_id = %resize.task, size = %resize.size, "resizing an instance");
            calls.shrink(&resize.task, resize.size.clone());
        }
        self.use_offers(now, &plan, calls);
        self.tidy(now, calls);
        self.save(calls);
        self.call_roles(&plan, calls);
        if !plan.asks.is_empty() {
            calls.reconcile();
        }
        self.dirty = false;
        self.looked = Some(now.mono);
        self.wait_until = plan.wait_until;
    }

    fn use_offers(&mut self, now: Now, plan: &Plan, calls: &mut Calls) {
        let mut uses: BTreeMap<&OfferId, (Vec<&Resize>, Vec<&Launch>)> = BTreeMap::new();
        for resize in &plan.resizes {
            if let Some(offer) = &resize.offer {
                uses.entry(offer).or_default().0.push(resize);
            }
        }
        for launch in &plan.launches {
            uses.entry(&launch.offer).or_default().1.push(launch);
        }
        let declined: BTreeSet<&OfferId> = plan.declines.iter().collect();
        for (mut offer, since) in std::mem::take(&mut self.offers) {
            if let Some((resizes, launches)) = uses.get(offer.id()) {
                resizes.iter().for_each(|resize| self.grow(resize, &mut offer));
                launches.iter().for_each(|launch| self.put(now, launch, &mut offer));
                calls.accept(offer);
            } else if declined.contains(offer.id()) {
                calls.decline(offer, DECLINE_FOR);
            } else {
                self.offers.push((offer, since));
            }
        }
    }

    fn grow(&mut self, resize: &Resize, offer: &mut Offer) {
        let Resize { task, has, wanted, size, .. } = resize;
        match offer.resize(task, has, wanted, size.limits.clone()) {
            Ok(size) => {
                tracing::info!(task_id = %task, %size, "resizing an instance");
                // Perhaps of other pieces than the planner saw, if some of the offer may be taken back.
                if let Some(instance) = self.seen.instance_mut(task) {
                    instance.resize = Some(Resizing::Asked(size));
                }
            }
            Err(refused) => {
                tracing::error!(task_id = %task, "{refused}");
                self.seen.not_resized(&self.wanted, task, size, false, &refused.to_string());
            }
        }
    }

    fn put(&mut self, now: Now, launch: &Launch, offer: &mut Offer) {
        let Some(definition) = self.wanted.services.get(&launch.slot.service) else { return };
        let hostname = &launch.hostname;
        match offer.launch(task(launch, &definition.spec)) {
            Ok(_) => {
                tracing::info!(task_id = %launch.task, slot = %launch.slot, hostname, "launching an instance")
            }
            Err(refused) => {
                // The planner cuts by the same arithmetic, so this is a fault of ours; the slot is told, and backs off.
                tracing::error!(task_id = %launch.task, slot = %launch.slot, "{refused}");
                let mut status =
                    TaskStatus::new(launch.task.clone(), TaskState::Dropped, Source::Master, now.wall);
                status.message = Some(refused.why.to_string());
                self.seen.hear(&self.wanted, now, &status);
            }
        }
    }

    /// Walks over everything, so it is for a look and not for every event.
    fn tidy(&mut self, now: Now, calls: &mut Calls) {
        let (empty, gone) = self.seen.tidy(&self.wanted, now);
        self.unsaved.extend(empty);
        for name in gone {
            tracing::info!(service = %name, "service removed");
            self.wanted.services.remove(&name);
            calls.forget(disk::service_key(&name));
        }
    }

    /// Hands what changed to the SDK, which makes it durable before any call of this event leaves.
    fn save(&mut self, calls: &mut Calls) {
        if self.seen.next_task != self.saved_next {
            self.saved_next = self.seen.next_task;
            calls.save(disk::next_key(), disk::next_value(self.seen.next_task));
        }
        let changed: BTreeSet<_> = std::mem::take(&mut self.unsaved).iter().map(disk::group_of).collect();
        for group in changed {
            match disk::group_value(&self.seen, &group) {
                Some(value) => calls.save(disk::group_key(&group), value),
                None => calls.forget(disk::group_key(&group)),
            }
        }
    }

    fn call_roles(&self, plan: &Plan, calls: &mut Calls) {
        if !plan.revive.is_empty() {
            calls.revive_roles(plan.revive.clone());
        }
        if !plan.suppress.is_empty() {
            calls.suppress_roles(plan.suppress.clone());
        }
    }
}

impl Scheduler for ServiceScheduler {
    type Message = Ask;

    fn on(&mut self, now: Now, event: Event<Ask>, calls: &mut Calls) {
        if !std::mem::replace(&mut self.awake, true) {
            self.seen.wake(&self.wanted, now);
        }
        // Whether there is nothing new to look at.
        let mut idle = false;
        match event {
            Event::Subscribed { framework, .. } => {
                self.framework = Some(framework);
                self.subscribed = true;
                // What was said to an earlier subscription is said again.
                self.offers.clear();
                self.seen.begin();
            }
            Event::Disconnected => {
                self.subscribed = false;
                self.offers.clear();
            }
            Event::Reconciled => self.seen.reconciled(),
            Event::Offer(offer) => {
                // An agent that offers is not, or no longer, being drained.
                self.seen.draining.remove(offer.agent());
                self.offers.push((offer, now.mono));
            }
            Event::Rescinded(id) => self.offers.retain(|(offer, _)| offer.id() != &id),
            Event::Update(status) => self.on_update(now, &status, calls),
            Event::ResizeFailed { task, wanted, has: _, reason, why } => {
                tracing::info!(task_id = %task, reason = why, "an instance is not resized");
                let again = matches!(reason, Some(Reason::MasterDisconnected | Reason::InvalidOffers));
                self.seen.not_resized(&self.wanted, &task, &wanted, again, &why);
            }
            Event::AgentFailed(agent) => {
                // Its tasks' updates come on their own.
                tracing::info!(agent_id = %agent, "agent failed");
                idle = true;
            }
            Event::AgentDraining { agent, deadline } => {
                tracing::info!(agent_id = %agent, %deadline, "agent is being drained; moving its instances");
                self.seen.draining.insert(agent);
            }
            Event::Error(message) => {
                tracing::error!(reason = message, "the master or the session refused something");
                idle = true;
            }
            Event::Deadline => {
                // All that was written before this event is durable: the SDK carries out one input after the other.
                if self.replied_at < now.mono {
                    self.replies.drain(..).for_each(|reply| reply());
                }
            }
            Event::Message(ask) => {
                idle = matches!(ask.request, Request::List { .. });
                self.on_ask(now, ask, calls);
            }
        }
        self.dirty |= !idle;
        if self.subscribed && self.next_look().is_some_and(|at| at <= now.mono) {
            self.look(now, calls);
        } else {
            self.save(calls);
        }
    }

    fn next_deadline(&self) -> Option<Mono> {
        let reply = (!self.replies.is_empty()).then_some(Mono::ZERO);
        let look = self.next_look().filter(|_| self.subscribed);
        reply.into_iter().chain(look).min()
    }
}

impl ServiceScheduler {
    /// When the next look is due.
    fn next_look(&self) -> Option<Mono> {
        let paced = self.looked.map_or(Mono::ZERO, |looked| looked + PACE);
        if self.dirty { Some(paced) } else { self.wait_until.map(|at| at.max(paced)) }
    }
}

fn offered(offer: &Offer, since: Mono) -> Offered {
    Offered {
        id: offer.id().clone(),
        agent: offer.agent().clone(),
        hostname: offer.hostname().to_owned(),
        role: offer.role().clone(),
        resources: offer.left().clone(),
        since,
    }
}

fn missing(name: &crate::spec::ServiceName) -> Refusal {
    Refusal::NoSuchService(name.as_str().to_owned(), String::new())
}
