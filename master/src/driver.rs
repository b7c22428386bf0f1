//! The one task that owns the master.
//!
//! **What is this room for?** Take a batch of what happened, apply each to the core, keep what must survive with one
//! sync, then let the effects out. Everyone else holds a [`Handle`].
//!
//! **What does it promise?** Nothing of a batch is spoken or shown before its changes are on the disk. If the sync fails
//! nothing was said, and the driver ends with [`DriverError::Sync`].
//!
//! **What does it leave to others?** Every decision to the core, encoding to the connections' tasks, writing to the
//! [`keeper`](crate::keeper) and the [`recording`](crate::recording).

use std::any::Any;
use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use bourse_master_core::{
    Change, Command, Done, Effect, Effects, Event, LinkId, Master, Refused, Registration, RequestId,
    StreamId, Subscription, ToAgent, ToScheduler, View,
};
use bourse_types::{AgentId, AgentInfo, Principal};
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{Instrument as _, debug, error, info_span};

use crate::clock::Clock;
use crate::history::Stamped;
use crate::keeper::{KeepError, Keeper};
use crate::metrics::{Metrics, event_kind};
use crate::recording::Recorder;
use crate::sessions::{
    self, LINK_QUEUE_MAX, LinkMessage, Offered, Sessions, StreamMessage, StreamReceiver, StreamSender,
};
use crate::story;

/// Inputs that wait for the driver. Whoever has more to say waits: that is the back pressure on every door.
const INBOX_MAX: usize = 4_096;

/// Inputs that share one sync. Larger batches would save no more syncs, but make the first of them wait longer.
const BATCH_MAX: usize = 512;

/// With so many effects a batch takes no more inputs: some 10 MB. One call is answered by ten thousand events, and they
/// are held until the batch is kept.
const EFFECTS_MAX: usize = 16_384;

/// The newest entries of the history that go along with each picture, for those who watch.
const RECENT_ENTRIES_MAX: usize = 256;

/// Offers that go out in one event. Each is some hundred bytes to a few KiB, so that an event stays far below the
/// largest message.
const OFFERS_MAX: usize = 500;

/// Why the driver ended.
#[derive(Debug, thiserror::Error)]
pub enum DriverError {
    /// What must survive is not on the disk. Nothing of that batch was spoken.
    #[error("the registry was not written, so the master stops before it says anything that it could forget")]
    Sync(#[source] KeepError),
}

/// What the driver is told.
pub(crate) struct Input {
    queued: Instant,
    what: What,
    held: Option<Held>,
}

/// Something that is let go when an input has been taken: who said it may have so much waiting, and it is counted by this.
#[derive(Clone)]
pub(crate) struct Held {
    _until_taken: Arc<dyn Any + Send + Sync>,
}

impl Held {
    pub(crate) fn new(held: Arc<dyn Any + Send + Sync>) -> Held {
        Held { _until_taken: held }
    }
}

enum What {
    Event(Event),
    LinkOpened { link: LinkId, sender: mpsc::Sender<LinkMessage>, registration: Box<Registration> },
    LinkGone { link: LinkId },
    StreamOpened { stream: StreamId, sender: StreamSender, subscription: Box<Subscription> },
    StreamGone { stream: StreamId },
    Operate { principal: Option<Principal>, command: Command, reply: oneshot::Sender<Result<Done, Refused>> },
    Ask(Box<dyn FnOnce(&Master) + Send>),
    Stopping,
}

/// The master as it was after one batch. Cheap to take and to keep.
#[derive(Clone, Debug)]
pub struct Picture {
    /// The tables.
    pub view: View,
    /// The newest entries of the history, oldest first, at most some hundreds.
    pub recent: imbl::Vector<Stamped>,
    /// The number of the newest entry of the history; 0 before the first.
    pub newest: u64,
}

/// The driver has stopped, and the master with it.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the master is stopping; try again when it is back")]
pub struct Stopped;

/// The way to the driver, for everybody. Cheap to clone.
#[derive(Clone)]
pub struct Handle {
    inbox: mpsc::Sender<Input>,
    pictures: watch::Receiver<Arc<Picture>>,
    next: Arc<AtomicU64>,
    held: Option<Held>,
}

impl Handle {
    /// A handle that holds this with each input that is said by it, until the driver takes that.
    pub(crate) fn holding(&self, held: Option<Held>) -> Handle {
        Handle { held, ..self.clone() }
    }

    /// The master as it is now.
    pub fn picture(&self) -> Arc<Picture> {
        self.pictures.borrow().clone()
    }

    /// Wakes for every new picture.
    pub fn pictures(&self) -> watch::Receiver<Arc<Picture>> {
        self.pictures.clone()
    }

    /// Says what happened. Waits when the driver has much to do.
    pub async fn tell(&self, event: Event) -> Result<(), Stopped> {
        self.send(What::Event(event)).await
    }

    /// An agent opened a link.
    pub async fn open_link(
        &self,
        registration: Registration,
    ) -> Result<(LinkId, mpsc::Receiver<LinkMessage>), Stopped> {
        let (sender, receiver) = mpsc::channel(LINK_QUEUE_MAX);
        let link = LinkId(self.next());
        self.send(What::LinkOpened { link, sender, registration: Box::new(registration) }).await?;
        Ok((link, receiver))
    }

    /// The link's connection is gone. Every opened link is closed once.
    pub async fn close_link(&self, link: LinkId) -> Result<(), Stopped> {
        self.send(What::LinkGone { link }).await
    }

    /// A scheduler opened a stream.
    pub(crate) async fn open_stream(
        &self,
        subscription: Subscription,
    ) -> Result<(StreamId, StreamReceiver), Stopped> {
        let (sender, receiver) = sessions::stream();
        let stream = StreamId(self.next());
        self.send(What::StreamOpened { stream, sender, subscription: Box::new(subscription) }).await?;
        Ok((stream, receiver))
    }

    /// The stream's connection is gone. Every opened stream is closed once.
    pub async fn close_stream(&self, stream: StreamId) -> Result<(), Stopped> {
        self.send(What::StreamGone { stream }).await
    }

    /// The master is about to end its connections. Their ends say nothing of agents and schedulers from then on: to the
    /// next master it must be as if this one had been killed.
    pub(crate) async fn stopping(&self) -> Result<(), Stopped> {
        self.send(What::Stopping).await
    }

    /// Carries out an operator's command.
    pub async fn operate(
        &self,
        principal: Option<Principal>,
        command: Command,
    ) -> Result<Result<Done, Refused>, Stopped> {
        let (reply, answer) = oneshot::channel();
        self.send(What::Operate { principal, command, reply }).await?;
        answer.await.map_err(|_| Stopped)
    }

    /// Asks the master itself what no picture tells. For rare questions that are quickly answered: the driver does
    /// nothing else meanwhile.
    pub async fn ask<R: Send + 'static>(
        &self,
        question: impl FnOnce(&Master) -> R + Send + 'static,
    ) -> Result<R, Stopped> {
        let (reply, answer) = oneshot::channel();
        let ask = move |master: &Master| drop(reply.send(question(master)));
        self.send(What::Ask(Box::new(ask))).await?;
        answer.await.map_err(|_| Stopped)
    }

    /// Whether there is nobody to tell any more.
    pub fn is_stopped(&self) -> bool {
        self.inbox.is_closed()
    }

    async fn send(&self, what: What) -> Result<(), Stopped> {
        let input = Input { queued: Instant::now(), what, held: self.held.clone() };
        self.inbox.send(input).await.map_err(|_| Stopped)
    }

    fn next(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }
}

/// Owns the master.
pub(crate) struct Driver {
    master: Master,
    clock: Clock,
    inbox: mpsc::Receiver<Input>,
    keeper: Keeper,
    metrics: Metrics,
    sessions: Sessions,
    recorder: Recorder,
    pictures: watch::Sender<Arc<Picture>>,
    recent_entries: imbl::Vector<Stamped>,
    last_sequence: u64,
    requests: u64,
    stopping: bool,
    /// Once a deadline has passed: how many inputs were waiting then and are still to be applied before the tick.
    before_tick: Option<usize>,
    /// What offers tell of their agents, as long as it holds.
    descriptions: HashMap<AgentId, Arc<AgentInfo>>,
    /// The master panics over such an event.
    #[cfg(test)]
    pub(crate) trip: Option<fn(&Event) -> bool>,
}

impl Driver {
    /// A driver and the way to it. Entries of the history are numbered on from `last_sequence`.
    pub(crate) fn new(
        master: Master,
        clock: Clock,
        keeper: Keeper,
        metrics: Metrics,
        recorder: Recorder,
        last_sequence: u64,
    ) -> (Driver, Handle) {
        let (sender, inbox) = mpsc::channel(INBOX_MAX);
        let picture =
            Picture { view: master.view(clock.now()), recent: imbl::Vector::new(), newest: last_sequence };
        let (pictures, watcher) = watch::channel(Arc::new(picture));
        let driver = Driver {
            master,
            clock,
            inbox,
            keeper,
            metrics,
            sessions: Sessions::default(),
            recorder,
            pictures,
            recent_entries: imbl::Vector::new(),
            last_sequence,
            requests: 0,
            stopping: false,
            before_tick: None,
            descriptions: HashMap::new(),
            #[cfg(test)]
            trip: None,
        };
        let next = Arc::new(AtomicU64::new(1));
        let handle = Handle { inbox: sender, pictures: watcher, next, held: None };
        (driver, handle)
    }

    /// Runs until all handles are dropped, until `stop`, or until the disk fails. A batch is never left half done.
    pub(crate) async fn run(mut self, stop: impl Future<Output = ()>) -> Result<(), DriverError> {
        tokio::pin!(stop);
        let mut inputs = Vec::with_capacity(BATCH_MAX);
        loop {
            // In this order: what was taken is applied before the end, and after a stall, when all of these are ready,
            // what was said meanwhile comes before the deadline of who should have said it.
            tokio::select! {
                biased;
                taken = self.inbox.recv_many(&mut inputs, BATCH_MAX) => if taken == 0 { return Ok(()) },
                () = &mut stop => return Ok(()),
                () = self.clock.sleep_until(self.master.next_deadline()) => {}
            }
            let mut waiting = inputs.drain(..);
            loop {
                let span = info_span!("batch", n_events = waiting.len());
                self.batch(&mut waiting).instrument(span).await?;
                if waiting.as_slice().is_empty() {
                    break;
                }
            }
        }
    }

    /// Apply, keep, show, deliver. What of the inputs would make it too large stays for the next.
    async fn batch(&mut self, inputs: &mut std::vec::Drain<'_, Input>) -> Result<(), DriverError> {
        let started = Instant::now();
        let mut effects = Effects::default();
        let mut counted = 0;
        while effects.len() < EFFECTS_MAX
            && let Some(Input { queued, what, held }) = inputs.next()
        {
            self.metrics.waited(queued.elapsed());
            counted += 1;
            self.take(what, &mut effects);
            drop(held);
        }
        // Under load it never comes to the sleep above: deadlines are looked at in every batch.
        if self.tick_is_due(counted, inputs.len()) {
            self.apply(Event::Tick, &mut effects);
            counted += 1;
        }

        let now = self.clock.now();
        let (mut changes, mut entries, mut spoken) = (Vec::new(), Vec::new(), Vec::new());
        for effect in effects.drain(..) {
            match effect {
                Effect::Persist(change) => changes.push(change),
                Effect::Record(entry) => {
                    self.last_sequence += 1;
                    let entry = Arc::new(entry);
                    entries.push(Stamped { sequence: self.last_sequence, at: now.wall, entry });
                }
                effect => spoken.push(effect),
            }
        }
        self.forget_descriptions(&changes);
        let view = self.master.view(now);
        for entry in &entries {
            story::tell(entry, &view);
            if self.recent_entries.len() == RECENT_ENTRIES_MAX {
                self.recent_entries.pop_front();
            }
            self.recent_entries.push_back(entry.clone());
        }
        if !changes.is_empty() || !entries.is_empty() {
            self.keeper.keep(changes, entries).await.map_err(DriverError::Sync)?;
        }
        let picture = Picture { view, recent: self.recent_entries.clone(), newest: self.last_sequence };
        self.pictures.send_replace(Arc::new(picture));
        for effect in spoken {
            self.deliver(effect);
        }
        // After all was said, so that nobody waits for it.
        self.recorder.batch(&self.master);
        self.metrics.batch(counted, started.elapsed());
        Ok(())
    }

    /// Whether a deadline has passed, and all inputs that were waiting when this was first seen are applied: an agent
    /// that was heard while the master stalled must not be silent for too long. Later inputs do not delay the tick. `left` is
    /// what was taken from the inbox and waits for the next batch.
    fn tick_is_due(&mut self, applied: usize, left: usize) -> bool {
        let now = self.clock.now().mono;
        if self.master.next_deadline().is_none_or(|deadline| deadline > now) {
            self.before_tick = None;
            return false;
        }
        let waiting = self
            .before_tick
            .map_or_else(|| left + self.inbox.len(), |waiting| waiting.saturating_sub(applied));
        self.before_tick = (waiting > 0).then_some(waiting);
        waiting == 0
    }

    /// Makes an event of an input, and keeps its way back.
    fn take(&mut self, what: What, effects: &mut Effects) {
        match what {
            What::Event(event) => self.apply(event, effects),
            What::LinkOpened { link, sender, registration } => {
                self.sessions.open_link(link, sender);
                self.apply(Event::AgentRegisters { link, registration }, effects);
            }
            What::LinkGone { .. } | What::StreamGone { .. } if self.stopping => {}
            What::LinkGone { link } => {
                if let Some(agent) = self.sessions.close_link(link) {
                    self.apply(Event::AgentLinkClosed { agent, link }, effects);
                }
            }
            What::StreamOpened { stream, sender, subscription } => {
                self.sessions.open_stream(stream, sender, subscription.principal.clone());
                self.apply(Event::Subscribes { stream, subscription }, effects);
            }
            What::StreamGone { stream } => {
                if let Some(framework) = self.sessions.close_stream(stream) {
                    self.apply(Event::StreamClosed { framework, stream }, effects);
                }
            }
            What::Operate { principal, command, reply } => {
                self.requests += 1;
                let request = RequestId(self.requests);
                self.sessions.open_request(request, reply);
                self.apply(Event::Operate { request, principal, command }, effects);
            }
            What::Ask(question) => question(&self.master),
            What::Stopping => self.stopping = true,
        }
    }

    /// One event through the core. A panic in there is a broken invariant: the inputs that led to it are kept, and the
    /// master stops, to start again from its registry.
    fn apply(&mut self, event: Event, effects: &mut Effects) {
        let (now, kind) = (self.clock.now(), event_kind(&event));
        self.recorder.input(now, &event);
        debug!(kind, "apply");
        let (started, before) = (Instant::now(), effects.len());
        let master = &mut self.master;
        #[cfg(test)]
        let trip = self.trip;
        let applied = std::panic::catch_unwind(AssertUnwindSafe(|| {
            #[cfg(test)]
            assert!(!trip.is_some_and(|trip| trip(&event)), "the trip of a test");
            master.apply(now, event, effects)
        }));
        if let Err(panic) = applied {
            match self.recorder.crashed() {
                Ok(path) => {
                    let path = path.display();
                    error!(%path, kind, "the master panicked; `bourse replay` of this folder shows what led to it")
                }
                Err(error) => {
                    error!(
                        error = &error as &dyn std::error::Error,
                        kind, "the master panicked; what led to it was not kept"
                    )
                }
            }
            std::panic::resume_unwind(panic);
        }
        self.recorder.effects(&effects[before..]);
        self.metrics.applied(kind, started.elapsed());
        for effect in effects.iter().skip(before) {
            self.metrics.effect(effect);
            match effect {
                Effect::ToAgent { agent, link, message: ToAgent::Registered { .. } } => {
                    self.sessions.registered(*link, agent);
                    self.descriptions.remove(agent);
                }
                Effect::ToScheduler { framework, stream, message: ToScheduler::Subscribed { .. } } => {
                    self.sessions.subscribed(*stream, framework);
                }
                _ => {}
            }
        }
    }

    /// Agents that are no more need no description.
    fn forget_descriptions(&mut self, changes: &[Change]) {
        for change in changes {
            if let Change::AgentGone { id, .. } | Change::AgentRemoved { id, .. } = change {
                self.descriptions.remove(id);
            }
        }
    }

    fn deliver(&mut self, effect: Effect) {
        match effect {
            Effect::ToAgent { link, message, .. } => self.sessions.tell_agent(link, message),
            Effect::CloseLink { link, refused } => self.sessions.end_link(link, refused),
            Effect::ToScheduler { stream, message, .. } => self.say(stream, message),
            Effect::CloseStream { stream, error } => self.sessions.end_stream(stream, error),
            Effect::Reply { request, reply } => self.sessions.reply(request, reply),
            // Taken out before the sync.
            Effect::Persist(_) | Effect::Record(_) => {}
        }
    }

    fn say(&mut self, stream: StreamId, message: ToScheduler) {
        let message = match message {
            ToScheduler::Subscribed { framework, heartbeat, master: _ } => {
                StreamMessage::Subscribed { framework, heartbeat }
            }
            ToScheduler::Offers(offers) => {
                let offered = offers.into_iter().filter_map(|offer| {
                    let agent = self.description(&offer.agent)?;
                    Some(Offered { offer, agent })
                });
                let mut offered = offered.collect::<Vec<_>>();
                while offered.len() > OFFERS_MAX {
                    let rest = offered.split_off(OFFERS_MAX);
                    self.tell_scheduler(stream, StreamMessage::Offers(offered));
                    offered = rest;
                }
                StreamMessage::Offers(offered)
            }
            ToScheduler::Rescind { offer } => StreamMessage::Rescind(offer),
            ToScheduler::Update(status) => StreamMessage::Update(status),
            ToScheduler::AgentFailed { agent } => StreamMessage::AgentFailed(agent),
            ToScheduler::AgentDraining { agent, deadline } => {
                StreamMessage::AgentDraining { agent, deadline }
            }
        };
        self.tell_scheduler(stream, message);
    }

    fn tell_scheduler(&mut self, stream: StreamId, message: StreamMessage) {
        let pictures = &self.pictures;
        self.sessions.tell_scheduler(stream, message, |framework| {
            pictures.borrow().view.framework(framework).map_or(0, |framework| framework.tasks.len())
        });
    }

    /// `None` only for an agent that was removed in the same batch, whose offers are rescinded in it too.
    fn description(&mut self, agent: &AgentId) -> Option<Arc<AgentInfo>> {
        if let Some(known) = self.descriptions.get(agent) {
            return Some(known.clone());
        }
        // The newest picture is of this batch: it is shown before anything is delivered.
        let info = Arc::new(self.pictures.borrow().view.agent(agent)?.info.clone());
        self.descriptions.insert(agent.clone(), info.clone());
        Some(info)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::pin::{Pin, pin};
    use std::time::Duration;

    use bourse_master_core::{AgentState, Call, Config};
    use bourse_types::{Address, Attributes, Epoch, FrameworkInfo, MasterId, Role, TaskId};

    use super::*;
    use crate::config::HistoryBounds;
    use crate::history::MemoryHistory;
    use crate::registry::MemoryRegistry;

    pub(crate) fn driver(config: Config) -> (Driver, Handle, MemoryRegistry) {
        driver_with(config, |_, _| Recorder::off())
    }

    pub(crate) fn driver_with(
        config: Config,
        record: impl FnOnce(&Master, &Metrics) -> Recorder,
    ) -> (Driver, Handle, MemoryRegistry) {
        let (clock, metrics, registry) = (Clock::start(), Metrics::default(), MemoryRegistry::new());
        let id = MasterId::new("m").expect("an id");
        let master = Master::new(config, Epoch(1), id, 0, registry.snapshot(), clock.now());
        let history = Arc::new(MemoryHistory::new());
        let bounds = HistoryBounds::default();
        let keeper = Keeper::start(Box::new(registry.clone()), history, bounds, clock, metrics.clone());
        let recorder = record(&master, &metrics);
        let keeper = keeper.expect("a thread").0;
        let (driver, handle) = Driver::new(master, clock, keeper, metrics, recorder, 0);
        (driver, handle, registry)
    }

    pub(crate) fn registration(hostname: &str) -> Registration {
        let info = AgentInfo {
            hostname: hostname.to_owned(),
            address: Address { host: hostname.to_owned(), port: 5051 },
            attributes: Attributes::default(),
            total: "cpus:4; mem:1024".parse().expect("resources"),
            version: "0.0.0".to_owned(),
        };
        let capabilities = Default::default();
        Registration {
            id: None,
            info,
            tasks: Vec::new(),
            frameworks: Vec::new(),
            epoch: Epoch(0),
            capabilities,
            principal: None,
        }
    }

    /// Lets the driver go on until all that was said before has been applied, kept and delivered.
    pub(crate) async fn settle<F: Future<Output = Result<(), DriverError>>>(
        driving: &mut Pin<&mut F>,
        handle: &Handle,
    ) {
        // An answer comes in the middle of its batch: the second one tells that the first one's is over.
        for _ in 0..2 {
            tokio::select! {
                ended = driving.as_mut() => panic!("the driver ended: {ended:?}"),
                answer = handle.ask(|_| ()) => answer.expect("it runs"),
            }
        }
    }

    #[tokio::test]
    async fn a_batch_with_nothing_to_persist_does_not_sync_and_one_with_several_changes_syncs_once() {
        let (driver, handle, registry) = driver(Config::default());
        let mut links = Vec::new();
        for n in 0..5 {
            links.push(handle.open_link(registration(&format!("host-{n}"))).await.expect("it is there"));
        }
        let mut driving = pin!(driver.run(std::future::pending()));
        settle(&mut driving, &handle).await;
        assert_eq!((registry.snapshot().agents.len(), registry.commits()), (5, 1));

        let agents = registry.snapshot().agents.keys().cloned().collect();
        handle.tell(Event::AgentsHeard { agents }).await.expect("it is there");
        settle(&mut driving, &handle).await;
        assert_eq!(registry.commits(), 1);
    }

    #[tokio::test]
    async fn a_batch_takes_no_more_once_it_has_much_to_say_and_the_rest_goes_on_behind_it() {
        const ASKED: usize = 10_000;
        let (mut driver, handle, _registry) = driver(Config::default());
        let mut info = FrameworkInfo::new("f".to_owned());
        info.roles = vec![Role::any()];
        let subscription = Subscription { info, suppressed: Vec::new(), principal: None };
        let (stream, mut events) = handle.open_stream(subscription).await.expect("it is there");
        let mut inputs = Vec::new();
        driver.inbox.recv_many(&mut inputs, BATCH_MAX).await;
        driver.batch(&mut inputs.drain(..)).await.expect("kept");
        let Some(StreamMessage::Subscribed { framework, .. }) = events.recv().await else {
            panic!("it is not told that it has subscribed")
        };

        let task = |n: usize| (TaskId::new(format!("t{n}")).expect("an id"), None);
        for _ in 0..4 {
            let call = Call::Reconcile { tasks: (0..ASKED).map(task).collect() };
            let event = Event::Call { framework: framework.clone(), stream, call };
            handle.tell(event).await.expect("it is there");
        }
        driver.inbox.recv_many(&mut inputs, BATCH_MAX).await;
        let mut waiting = inputs.drain(..);
        for left in [2, 0] {
            driver.batch(&mut waiting).await.expect("kept");
            assert_eq!(waiting.len(), left);
            for _ in 0..2 * ASKED {
                let event = tokio::time::timeout(Duration::from_secs(20), events.recv()).await;
                assert!(matches!(event, Ok(Some(StreamMessage::Update(_)))), "{event:?}");
            }
        }
    }

    #[tokio::test]
    async fn after_a_stall_what_was_said_meanwhile_comes_before_the_deadlines_that_passed() {
        // Long beside what a batch takes on the fullest machine.
        let timeout = Duration::from_secs(2);
        let (driver, handle, registry) = driver(Config { agent_timeout: timeout, ..Config::default() });
        let _link = handle.open_link(registration("host")).await.expect("it is there");
        let mut driving = pin!(driver.run(std::future::pending()));
        settle(&mut driving, &handle).await;
        let agents = registry.snapshot().agents.keys().cloned().collect::<Vec<_>>();

        // The stall: nobody drives. Meanwhile more than a batch is said, and that the agent was heard comes last.
        tokio::time::sleep(2 * timeout).await;
        for _ in 0..BATCH_MAX + 1 {
            handle.tell(Event::AgentsHeard { agents: Vec::new() }).await.expect("there is room");
        }
        handle.tell(Event::AgentsHeard { agents: agents.clone() }).await.expect("there is room");
        settle(&mut driving, &handle).await;
        let picture = handle.picture();
        let agent = picture.view.agent(&agents[0]).expect("it is known");
        assert!(matches!(agent.state, AgentState::Active { .. }), "{:?}", agent.state);
    }
}
