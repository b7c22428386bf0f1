//! The conversation of a framework with its master, whole and without I/O.
//!
//! ```text
//!            Start                  Heard(Subscribed)
//!   Idle ----------> Subscribing ---------------------> Subscribed
//!                     |   ^  | Closed, 15 s silent        |  Closed, 5 heartbeats missed
//!                     |   |  v                            v
//!                     |   +-- Waiting (0.1 s .. 30 s) <----+
//!                     +--> Over: stopped, torn down, or refused by the master
//! ```
//!
//! Each subscription has a number, an [`Attempt`]; what arrives by an older one is dropped. Nothing that was on its way
//! when a connection broke is trusted: tasks are reconciled, kills and resizes are asked again, acknowledgements come again because
//! the agents repeat their updates.

mod asked;
mod config;
mod invariants;
mod kills;
mod messages;
mod reconcile;
mod resizes;
mod tasks;

use std::collections::{BTreeSet, VecDeque};
use std::mem;
use std::time::Duration;

use bourse_types::{
    FrameworkId, FrameworkInfo, Mono, Now, OfferId, Reason, Role, TaskId, TaskState, TaskStatus,
};

use crate::backoff::{Backoff, Seeded};
use crate::calls::{Acknowledgement, Call, Calls, Closing, Resize};
use crate::offer::{Bin, Offer, OfferMade};
use crate::scheduler::{Event, Scheduler};
pub use config::{Config, DECLINE_FOR, FAILOVER_TIMEOUT};
pub use messages::{Attempt, End, FromMaster, Input, Note, Output};

use asked::acknowledge;
use kills::Kills;
use reconcile::Reconcile;
use resizes::{Failed, Resizes};
use tasks::{Tasks, Verdict};

/// A subscription has to be answered within this time; the same for a master that is quick and one that is loading.
const SUBSCRIBE_TIMEOUT: Duration = Duration::from_secs(15);

/// Where the master names no heartbeat interval: Mesos' own.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// This many heartbeats may be missed before the master counts as lost.
const HEARTBEATS_MISSED: u32 = 5;

/// How the master's words begin when a framework was torn down; Mesos' own.
const REMOVED: &str = "Framework has been removed";

/// The first and the longest wait before the next try.
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_LONGEST: Duration = Duration::from_secs(30);

/// A deadline of the scheduler that has passed is told at most once in this time.
const DEADLINE_AGAIN: Duration = Duration::from_millis(10);

/// At most this many tasks are named in one RECONCILE or resized by one ACCEPT, so that no call grows beyond what the
/// master takes.
const CHUNK: usize = 1000;

/// A scheduler and its conversation with the master.
pub struct Session<S: Scheduler> {
    scheduler: S,
    info: FrameworkInfo,
    link: Link,
    attempt: Attempt,
    /// This process was subscribed before.
    before: bool,
    suppressed: BTreeSet<Role>,
    /// The same as the last SUBSCRIBE said it.
    suppressed_there: BTreeSet<Role>,
    /// Roles that have been revived since they were suppressed last; said again after a gap.
    revived: BTreeSet<Role>,
    decline_for: Duration,
    begin_anew: bool,
    tasks: Tasks,
    kills: Kills,
    resizes: Resizes,
    reconcile: Reconcile,
    /// Offers without an answer.
    offers: BTreeSet<OfferId>,
    bin: Bin,
    calls: Calls,
    /// What the session itself has to tell the scheduler, after the event at hand.
    own: VecDeque<Event<S::Message>>,
    closing: Option<Closing>,
    /// The scheduler's deadline is not told before this.
    deadline_floor: Mono,
    backoff: Backoff,
    random: Seeded,
}

/// Where the conversation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Link {
    Idle,
    Waiting { until: Mono },
    Subscribing { until: Mono },
    Subscribed { since: Mono, heard: Mono, patience: Duration },
    Over,
}

impl<S: Scheduler> Session<S> {
    /// Nothing happens before [`Input::Start`].
    pub fn new(config: Config, scheduler: S) -> Session<S> {
        let mut random = Seeded::new(config.seed);
        let mut tasks = Tasks::default();
        for (task, agent) in config.tasks {
            tasks.remember(task, agent);
        }
        Session {
            scheduler,
            info: config.info,
            link: Link::Idle,
            attempt: Attempt(0),
            before: false,
            suppressed: config.suppressed,
            suppressed_there: BTreeSet::new(),
            revived: BTreeSet::new(),
            decline_for: config.decline_for,
            begin_anew: config.begin_anew,
            tasks,
            kills: Kills::default(),
            resizes: Resizes::default(),
            reconcile: Reconcile::default(),
            offers: BTreeSet::new(),
            bin: Bin::default(),
            calls: Calls::new(random.draw()),
            own: VecDeque::new(),
            closing: None,
            deadline_floor: Mono::ZERO,
            backoff: Backoff::new(RETRY_FIRST, RETRY_LONGEST),
            random,
        }
    }

    /// The author's scheduler, to look at.
    pub fn scheduler(&self) -> &S {
        &self.scheduler
    }

    /// The same, to change it from outside; what it then wants is asked for at its next event.
    pub fn scheduler_mut(&mut self) -> &mut S {
        &mut self.scheduler
    }

    /// The author's scheduler, when all is over.
    pub fn into_scheduler(self) -> S {
        self.scheduler
    }

    /// When [`Input::Tick`] is wanted at the latest.
    pub fn next_deadline(&self) -> Option<Mono> {
        let link = match self.link {
            Link::Idle => None,
            Link::Over => return None,
            Link::Waiting { until } | Link::Subscribing { until } => Some(until),
            Link::Subscribed { heard, patience, .. } => Some(heard + patience),
        };
        let subscribed = matches!(self.link, Link::Subscribed { .. });
        let kills = self.kills.next_deadline().filter(|_| subscribed);
        let resizes = self.resizes.next_deadline().filter(|_| subscribed);
        let author = self.scheduler.next_deadline().map(|deadline| deadline.max(self.deadline_floor));
        [link, kills, resizes, self.reconcile.next_deadline(), author].into_iter().flatten().min()
    }

    /// The only way in. The same inputs at the same times give the same outputs, if the scheduler keeps to that too.
    pub fn apply(&mut self, now: Now, input: Input<S::Message>, out: &mut Vec<Output>) {
        match (self.link, input) {
            (Link::Over, _) => {}
            (Link::Idle, Input::Start) => self.subscribe(now, out),
            (_, Input::Start) => {}
            (_, Input::Heard(attempt, message)) => {
                if self.is_current(attempt) {
                    self.on_heard(now, message, out);
                }
            }
            (_, Input::Closed { attempt, why }) => {
                if self.is_current(attempt) {
                    self.on_gap(now, why, out);
                }
            }
            (_, Input::Refused { attempt, call, why }) => {
                if self.is_current(attempt) {
                    self.on_refused(now, *call, why, out);
                }
            }
            (_, Input::TornDown(attempt)) => {
                if self.is_current(attempt) && self.closing == Some(Closing::Teardown) {
                    self.end(End::TornDown, out);
                }
            }
            (_, Input::Message(message)) => self.tell(now, Event::Message(message), out),
            (_, Input::Tick) => self.on_tick(now, out),
            (_, Input::Stop) => self.close(Closing::Stop, out),
            (_, Input::Teardown) => self.close(Closing::Teardown, out),
        }
        self.settle(now, out);
    }

    fn is_current(&self, attempt: Attempt) -> bool {
        attempt == self.attempt && matches!(self.link, Link::Subscribing { .. } | Link::Subscribed { .. })
    }

    fn subscribe(&mut self, now: Now, out: &mut Vec<Output>) {
        self.attempt = Attempt(self.attempt.0 + 1);
        self.link = Link::Subscribing { until: now.mono + SUBSCRIBE_TIMEOUT };
        self.suppressed_there = self.suppressed.clone();
        out.push(Output::Subscribe {
            attempt: self.attempt,
            info: Box::new(self.info.clone()),
            suppressed: self.suppressed.iter().cloned().collect(),
        });
    }

    fn on_heard(&mut self, now: Now, message: FromMaster, out: &mut Vec<Output>) {
        match (&mut self.link, &message) {
            (Link::Subscribed { .. }, FromMaster::Subscribed { .. }) => return, // A repeat says nothing new.
            (Link::Subscribed { heard, .. }, _) => *heard = now.mono,
            (Link::Subscribing { .. }, FromMaster::Subscribed { .. } | FromMaster::Error(_)) => {}
            // The first event of a subscription says that it is one.
            (Link::Subscribing { .. } | Link::Idle | Link::Waiting { .. } | Link::Over, _) => return,
        }
        // Who has said goodbye is told nothing more, and acknowledges nothing that nobody saw.
        if self.closing.is_some() && !matches!(message, FromMaster::Subscribed { .. } | FromMaster::Error(_))
        {
            return;
        }
        match message {
            FromMaster::Subscribed { framework, heartbeat } => {
                self.on_subscribed(now, framework, heartbeat, out)
            }
            FromMaster::Offers(offers) => {
                for offer in offers {
                    self.on_offer(now, offer, out);
                }
            }
            FromMaster::Rescind(offer) => {
                // One that is answered already is nobody's any more; the master tells what became of its tasks.
                if self.offers.remove(&offer) {
                    self.tell(now, Event::Rescinded(offer), out);
                }
            }
            FromMaster::Update(status) => self.on_update(now, *status, out),
            FromMaster::AgentFailed(agent) => self.tell(now, Event::AgentFailed(agent), out),
            FromMaster::AgentDraining { agent, deadline } => {
                self.tell(now, Event::AgentDraining { agent, deadline }, out);
            }
            FromMaster::Error(why) => self.on_error(now, why, out),
            FromMaster::Heartbeat => {}
        }
    }

    fn on_subscribed(
        &mut self,
        now: Now,
        framework: FrameworkId,
        heartbeat: Option<Duration>,
        out: &mut Vec<Output>,
    ) {
        let patience =
            heartbeat.filter(|every| !every.is_zero()).unwrap_or(HEARTBEAT).saturating_mul(HEARTBEATS_MISSED);
        self.link = Link::Subscribed { since: now.mono, heard: now.mono, patience };
        if self.info.id.as_ref() != Some(&framework) {
            self.info.id = Some(framework.clone());
            out.push(Output::Persist(framework.clone()));
        }
        if self.closing == Some(Closing::Teardown) {
            out.push(Output::Call(Call::Teardown));
            return;
        }
        let again = mem::replace(&mut self.before, true);
        out.push(Output::Note(Note::Subscribed { framework: framework.clone(), again }));

        // What the gap may have swallowed is said again before the scheduler says anything new.
        let suppress: Vec<Role> = self.suppressed.difference(&self.suppressed_there).cloned().collect();
        if !suppress.is_empty() {
            out.push(Output::Call(Call::Suppress { roles: suppress }));
        }
        let there = mem::take(&mut self.suppressed_there);
        let revive =
            self.revived.iter().filter(|role| again || there.contains(*role)).cloned().collect::<Vec<_>>();
        if !revive.is_empty() {
            out.push(Output::Call(Call::Revive { roles: revive }));
        }
        for (task, policy) in self.kills.again(now) {
            let agent = self.tasks.agent_of(&task);
            out.push(Output::Call(Call::Kill { task, agent, policy }));
        }
        let resizes = self.resizes.again(now);
        ask_for_sizes(resizes, out);
        let tasks = self.tasks.live().map(|(task, _)| task.clone()).collect();
        self.reconcile.begin(now, tasks);
        self.tell(now, Event::Subscribed { framework, again }, out);
        self.ask_for_everything(out);
    }

    fn on_offer(&mut self, now: Now, made: OfferMade, out: &mut Vec<Output>) {
        let Some(framework) = self.info.id.clone() else { return };
        if !self.offers.insert(made.id.clone()) {
            return; // The same offer again.
        }
        let offer = Offer::new(made, framework, self.bin.clone());
        self.tell(now, Event::Offer(offer), out);
    }

    fn on_update(&mut self, now: Now, status: TaskStatus, out: &mut Vec<Output>) {
        let verdict = self.tasks.judge(&status);
        if status.state.is_terminal() || status.state == TaskState::Unknown {
            self.kills.done(&status.task_id);
        }
        match (status.state, status.reason) {
            // Of a task that has ended nothing more has to be known.
            (TaskState::Unreachable, Some(Reason::Reconciliation)) if self.tasks.is_live(&status.task_id) => {
                self.reconcile.told_away(&status.task_id)
            }
            _ => self.reconcile.told(&status.task_id),
        }
        let failed = match verdict {
            Verdict::Show | Verdict::Stale => self.resizes.heard(&status),
            Verdict::Repeat | Verdict::PutOff | Verdict::Back => None,
        };
        let due = match (&status.agent_id, status.uuid) {
            (Some(agent), Some(uuid)) => {
                Some(Acknowledgement { agent: agent.clone(), task: status.task_id.clone(), uuid })
            }
            _ => None,
        };
        match verdict {
            Verdict::Show => {
                // Put off until the handler has returned, or longer if it says so.
                if let Some(due) = &due {
                    self.tasks.put_off(&due.task, due.uuid);
                }
                self.calls.due = due;
                self.tell(now, Event::Update(status), out);
                if let Some(due) = self.calls.due.take() {
                    self.tasks.acknowledged(&due.task, due.uuid);
                    out.push(acknowledge(due));
                }
            }
            Verdict::Repeat | Verdict::Stale => out.extend(due.map(acknowledge)),
            Verdict::PutOff => {}
            Verdict::Back => {
                out.extend(due.map(acknowledge));
                if self.kills.ask(now, &status.task_id, None) {
                    out.push(Output::Note(Note::LostTaskRuns(status.task_id.clone())));
                    out.push(Output::Call(Call::Kill {
                        task: status.task_id,
                        agent: status.agent_id,
                        policy: None,
                    }));
                }
            }
        }
        self.own.extend(failed.map(Failed::event));
    }

    fn on_error(&mut self, now: Now, why: String, out: &mut Vec<Output>) {
        if self.closing == Some(Closing::Teardown) {
            self.end(End::TornDown, out); // It is gone, which is what was wanted.
            return;
        }
        let away = matches!(self.link, Link::Subscribing { .. });
        if self.begin_anew
            && away
            && why.starts_with(REMOVED)
            && let Some(old) = self.info.id.take()
        {
            return self.begin_anew(now, old, out);
        }
        self.tell(now, Event::Error(why.clone()), out);
        out.push(Output::Note(Note::Refused(why.clone())));
        self.end(End::Refused(why), out);
    }

    /// The framework was torn down, and its tasks with it. This is another one, with the same wishes.
    fn begin_anew(&mut self, now: Now, old: FrameworkId, out: &mut Vec<Output>) {
        out.push(Output::Note(Note::BegunAnew(old)));
        out.push(Output::Unsubscribe(self.attempt));
        let tasks: Vec<TaskId> = self.tasks.live().map(|(task, _)| task.clone()).collect();
        for task in tasks {
            self.kills.done(&task);
            let agent = self.tasks.agent_of(&task);
            let why = "its framework was torn down".to_owned();
            self.own_status(now, task, agent, TaskState::Gone, Reason::FrameworkRemoved, why);
        }
        self.subscribe(now, out);
    }

    fn on_refused(&mut self, now: Now, call: Call, why: String, out: &mut Vec<Output>) {
        out.push(Output::Note(Note::Refused(why.clone())));
        // No task that was put into an offer is silent: the master has not even looked at these. Nor has it taken the
        // offers, and nobody here knows them any more: they go back without a filter.
        if let Call::Accept { offers, tasks, resizes, .. } = call {
            if !offers.is_empty() {
                out.push(Output::Call(Call::Decline { offers, refuse: Duration::ZERO }));
            }
            for task in tasks {
                let agent = Some(task.agent);
                self.own_status(now, task.id, agent, TaskState::Error, Reason::TaskInvalid, why.clone());
            }
            for resize in resizes {
                self.resizes.withdraw(&resize.task);
                self.fail_resize(resize, Reason::ContainerUpdateFailed, &why);
            }
        }
        self.tell(now, Event::Error(why), out);
    }

    fn on_tick(&mut self, now: Now, out: &mut Vec<Output>) {
        match self.link {
            Link::Waiting { until } if until <= now.mono => self.subscribe(now, out),
            Link::Subscribing { until } if until <= now.mono => {
                let why = format!("the master did not answer the subscription within {SUBSCRIBE_TIMEOUT:?}");
                self.on_gap(now, why, out);
            }
            Link::Subscribed { heard, patience, .. } if heard + patience <= now.mono => {
                let why = format!("nothing was heard of the master for {patience:?}");
                self.on_gap(now, why, out);
            }
            Link::Subscribed { .. } => self.repeat_what_is_due(now, out),
            Link::Idle | Link::Over | Link::Waiting { .. } | Link::Subscribing { .. } => {}
        }
        if self
            .scheduler
            .next_deadline()
            .is_some_and(|deadline| deadline.max(self.deadline_floor) <= now.mono)
        {
            self.tell(now, Event::Deadline, out);
            self.deadline_floor = now.mono + DEADLINE_AGAIN;
        }
    }

    fn repeat_what_is_due(&mut self, now: Now, out: &mut Vec<Output>) {
        for (task, policy) in self.kills.due(now) {
            let agent = self.tasks.agent_of(&task);
            out.push(Output::Call(Call::Kill { task, agent, policy }));
        }
        let resizes = self.resizes.due(now);
        ask_for_sizes(resizes, out);
        if self.reconcile.everything_is_due(now) {
            self.begin_to_ask(now, out);
        } else {
            let due = self.reconcile.due(now);
            self.ask_for(due.into_iter().collect(), out);
        }
    }

    /// The subscription is lost, and everything that was on its way.
    fn on_gap(&mut self, now: Now, why: String, out: &mut Vec<Output>) {
        out.push(Output::Unsubscribe(self.attempt));
        let subscribed = match self.link {
            Link::Subscribed { since, .. } => {
                // One that is lost again at once has not shown that all is well.
                if now.mono.since(since) >= RETRY_LONGEST {
                    self.backoff.reset();
                }
                true
            }
            Link::Idle | Link::Waiting { .. } | Link::Subscribing { .. } | Link::Over => false,
        };
        let retry = self.backoff.delay(&mut self.random);
        self.link = Link::Waiting { until: now.mono + retry };
        out.push(Output::Note(Note::Disconnected { why, retry }));
        self.offers.clear();
        self.reconcile.stop();
        if subscribed {
            self.tell(now, Event::Disconnected, out);
        }
    }

    /// Tells the scheduler, and turns what it asks for into outputs.
    fn tell(&mut self, now: Now, event: Event<S::Message>, out: &mut Vec<Output>) {
        if self.closing.is_some() || self.calls.closing.is_some() || self.link == Link::Over {
            return; // It said goodbye. An offer in the event is declined by being let go.
        }
        self.scheduler.on(now, event, &mut self.calls);
        out.extend(self.calls.writes.drain(..).map(Output::Write));
        for asked in mem::take(&mut self.calls.asked) {
            self.on_asked(now, asked, out);
        }
        for answer in self.bin.empty() {
            self.on_answer(now, answer, out);
        }
    }

    /// After each input: what the session itself has to tell, and the end if it was asked for.
    fn settle(&mut self, now: Now, out: &mut Vec<Output>) {
        loop {
            for answer in self.bin.empty() {
                self.on_answer(now, answer, out);
            }
            if let Some(event) = self.own.pop_front() {
                self.tell(now, event, out);
            } else if matches!(self.link, Link::Subscribed { .. }) && self.reconcile.complete() {
                out.push(Output::Note(Note::Reconciled));
                self.tell(now, Event::Reconciled, out);
            } else {
                break;
            }
        }
        if let Some(closing) = self.calls.closing.take() {
            self.close(closing, out);
        }
    }

    fn begin_to_ask(&mut self, now: Now, out: &mut Vec<Output>) {
        let tasks = self.tasks.live().map(|(task, _)| task.clone()).collect();
        self.reconcile.ask(now, tasks);
        self.ask_for_everything(out);
    }

    /// Names what is known, so that what the master does not know is told too, and asks for what is not.
    fn ask_for_everything(&self, out: &mut Vec<Output>) {
        if self.closing.is_some() {
            return;
        }
        let known = self.tasks.live().map(|(task, _)| task.clone()).collect();
        self.ask_for(known, out);
        out.push(Output::Call(Call::Reconcile { tasks: Vec::new() }));
    }

    fn ask_for(&self, tasks: Vec<TaskId>, out: &mut Vec<Output>) {
        for chunk in tasks.chunks(CHUNK) {
            let tasks = chunk.iter().map(|task| (task.clone(), self.tasks.agent_of(task))).collect();
            out.push(Output::Call(Call::Reconcile { tasks }));
        }
    }

    fn close(&mut self, closing: Closing, out: &mut Vec<Output>) {
        let known = self.closing >= Some(closing);
        self.closing = self.closing.max(Some(closing));
        match (self.closing, self.link) {
            (None, _) | (_, Link::Over) => {}
            (Some(Closing::Stop), _) => self.end(End::Stopped, out),
            // Never subscribed, in no life: there is nothing to tear down.
            (Some(Closing::Teardown), _) if self.info.id.is_none() => self.end(End::TornDown, out),
            (Some(Closing::Teardown), Link::Subscribed { .. }) if !known => {
                out.push(Output::Call(Call::Teardown))
            }
            // It waits for the next subscription.
            (Some(Closing::Teardown), _) => {}
        }
    }

    fn end(&mut self, end: End, out: &mut Vec<Output>) {
        self.link = Link::Over;
        out.push(Output::End(end));
    }
}

/// Without offers: those of the first time are gone.
fn ask_for_sizes(resizes: Vec<Resize>, out: &mut Vec<Output>) {
    for chunk in resizes.chunks(CHUNK) {
        let (offers, tasks, refuse) = (Vec::new(), Vec::new(), Duration::ZERO);
        out.push(Output::Call(Call::Accept { offers, tasks, resizes: chunk.to_vec(), refuse }));
    }
}
