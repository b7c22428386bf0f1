//! The master's process.

mod twin;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bourse_agent_core::FromAgent;
use bourse_master_core::{
    Call, Change, Command, Config, Effect, Event, LinkId, Master, Registration, Snapshot, StreamId,
    Subscription, ToAgent, ToScheduler, View,
};
use bourse_sdk_core as sdk;
use bourse_types::{AgentId, Epoch, FrameworkId, Now, Principal};

use crate::clock::Clocks;
use crate::coverage;
use crate::disk::Kept;
use crate::letter::Letter;
use crate::net::{ConnId, Side};
use crate::nodes::Alarm;
use crate::nodes::master::twin::Twin;
use crate::plant::Plant;
use crate::text;
use crate::translate;
use crate::world::{Happening, Node, Outside, Process};

/// Streams hear something at least so often.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// Who was heard enters the core this often.
const HEARD: Duration = Duration::from_secs(1);

/// The principal of somebody whom no agent belongs to.
const THIEF: &str = "thief";

/// Inputs that share one sync at most: few, so that a batch rarely holds everything that is going on.
const BATCH_MAX: u64 = 8;

/// Who is at the other end of a connection, once the core has let it in.
#[derive(Clone, Debug)]
enum Peer {
    Agent(Option<AgentId>),
    Scheduler(Option<FrameworkId>),
}

/// What waits for the core.
#[derive(Debug)]
enum Incoming {
    Event(Event),
    /// A connection is gone.
    Gone(ConnId),
}

/// Why an incarnation ends by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Somebody newer owns the registry.
    Fenced,
    /// Its disk is full.
    NoRoom,
}

/// What came while the process stood still: in its sockets, or from its disk.
#[derive(Debug)]
enum Held {
    Letter(ConnId, Letter),
    Break(ConnId),
    Command(Command),
    Written,
}

/// What waits for the disk.
#[derive(Debug)]
struct Writing {
    changes: Vec<Change>,
    spoken: Vec<Spoken>,
}

/// A word, and how many changes must be safe before it may leave.
#[derive(Debug)]
struct Spoken {
    after: u64,
    effect: Effect,
}

/// One incarnation of the master.
#[derive(Debug)]
pub struct MasterNode {
    process: Process,
    epoch: Epoch,
    core: Master,
    clocks: Clocks,
    peers: BTreeMap<ConnId, Peer>,
    inbox: VecDeque<Incoming>,
    writing: Option<Writing>,
    heard: BTreeSet<AgentId>,
    alarm: Alarm,
    /// It is stopped, as by SIGSTOP, and this waits.
    frozen: Option<Vec<Held>>,
    /// Events that the core has had so far.
    applied: u64,
    /// Changes that the core has decided on so far.
    decided: u64,
    /// What the changes add up to: the core's tables have to agree.
    shadow: Snapshot,
    /// Whose TEARDOWN is on its way to the core.
    tearing_down: BTreeSet<ConnId>,
}

impl MasterNode {
    /// Takes the registry over and starts.
    pub fn start(life: u64, ahead: i64, outside: &mut Outside) -> MasterNode {
        let clocks = Clocks::start(outside.now, ahead);
        let (epoch, id, mut snapshot) = outside.registry.take_over(life, clocks.now(outside.now).wall);
        outside.garden.reads_registry(&mut snapshot);
        outside.coverage.note("change.EpochStarted");
        let process = Process { node: Node::Master, life };
        let seed = outside.random.bits();
        let core = Master::new(Config::default(), epoch, id, seed, snapshot.clone(), clocks.now(outside.now));
        outside.say(process, format_args!("starts with epoch {epoch}"));
        let view = core.view(clocks.now(outside.now));
        outside.checks.master_starts(life, &view, &mut outside.coverage);
        let mut node = MasterNode {
            process,
            epoch,
            core,
            clocks,
            peers: BTreeMap::new(),
            inbox: VecDeque::new(),
            writing: None,
            heard: BTreeSet::new(),
            alarm: Alarm::new(process),
            frozen: None,
            applied: 0,
            decided: 0,
            shadow: snapshot,
            tearing_down: BTreeSet::new(),
        };
        outside.agenda.enter(outside.now + HEARTBEAT, Happening::Beats { process });
        outside.agenda.enter(outside.now + HEARD, Happening::Hears { process });
        node.set_alarm(outside);
        node
    }

    /// Which process it is.
    pub fn process(&self) -> Process {
        self.process
    }

    /// A picture of what the master knows.
    pub fn view(&self, outside: &Outside) -> View {
        self.core.view(self.clocks.now(outside.now))
    }

    /// Whether nothing waits to be written or applied.
    pub fn is_idle(&self) -> bool {
        self.writing.is_none() && self.inbox.is_empty()
    }

    /// A letter arrives.
    pub fn receives(&mut self, conn: ConnId, letter: Letter, outside: &mut Outside) {
        if let (Some(Peer::Agent(Some(agent))), Letter::FromAgent(_)) = (self.peers.get(&conn), &letter) {
            outside.checks.agent_speaks(self.process.life, agent, outside.now);
        }
        if let Some(held) = &mut self.frozen {
            return held.push(Held::Letter(conn, letter));
        }
        self.reads(conn, letter, outside);
    }

    fn reads(&mut self, conn: ConnId, letter: Letter, outside: &mut Outside) {
        match letter {
            Letter::FromAgent(FromAgent::Register(registration)) => {
                self.peers.entry(conn).or_insert(Peer::Agent(None));
                let registration = outside.messages.registration(*registration);
                let theft = outside.misfortune.then(|| theft(conn, &registration)).flatten();
                let registration = Box::new(registration);
                self.takes(Event::AgentRegisters { link: LinkId(conn.0), registration }, outside);
                if let Some(theft) = theft {
                    self.takes(theft, outside);
                }
            }
            Letter::FromAgent(said) => {
                let Some(Peer::Agent(Some(agent))) = self.peers.get(&conn).cloned() else { return };
                self.heard.insert(agent.clone());
                match said {
                    FromAgent::Update(update) => {
                        let update = Box::new(translate::update(*update));
                        self.takes(Event::StatusUpdate { agent, link: LinkId(conn.0), update }, outside);
                    }
                    FromAgent::Resized(resized) => {
                        let resized = Box::new(translate::resized(*resized));
                        self.takes(Event::TaskResized { agent, link: LinkId(conn.0), resized }, outside);
                    }
                    FromAgent::Heartbeat | FromAgent::Register(_) => {
                        self.tells_agent(conn, bourse_agent_core::FromMaster::HeartbeatAck, outside);
                    }
                }
            }
            Letter::Subscribe { info, suppressed } => {
                self.peers.entry(conn).or_insert(Peer::Scheduler(None));
                let subscription = Box::new(Subscription { info: *info, suppressed, principal: None });
                self.takes(Event::Subscribes { stream: StreamId(conn.0), subscription }, outside);
            }
            Letter::Call(call) => {
                if outside.misfortune && is_strange(&call) {
                    let (call, why) = (Box::new(call), "the door does not understand it".to_owned());
                    return self.send(conn, Letter::CallRefused { call, why }, outside);
                }
                if matches!(call, sdk::Call::Teardown) {
                    self.tearing_down.insert(conn);
                }
                let call = outside.messages.call(call);
                self.calls(conn, call, outside);
            }
            Letter::RawCall(call) => self.calls(conn, call, outside),
            Letter::ToAgent { .. }
            | Letter::ToScheduler(_)
            | Letter::TornDown
            | Letter::CallRefused { .. } => {
                unreachable!("clients do not speak like a master")
            }
        }
    }

    fn calls(&mut self, conn: ConnId, call: Call, outside: &mut Outside) {
        if let Some(Peer::Scheduler(Some(framework))) = self.peers.get(&conn).cloned() {
            self.takes(Event::Call { framework, stream: StreamId(conn.0), call }, outside);
        }
    }

    /// A connection is gone.
    pub fn breaks(&mut self, conn: ConnId, outside: &mut Outside) {
        if let Some(held) = &mut self.frozen {
            return held.push(Held::Break(conn));
        }
        self.closes(conn, outside);
        self.works(outside);
    }

    /// The core hears of it in its turn: behind what came by the connection.
    fn closes(&mut self, conn: ConnId, outside: &mut Outside) {
        outside.net.close(outside.now, conn, Side::Master, &mut outside.agenda);
        self.inbox.push_back(Incoming::Gone(conn));
    }

    /// A connection is gone, in the words of the core; nothing, where the core has let nobody in by it.
    fn gone(&mut self, conn: ConnId, outside: &mut Outside) -> Option<Event> {
        match self.peers.remove(&conn)? {
            Peer::Agent(Some(agent)) => {
                outside.checks.agent_leaves(self.process.life, &agent, outside.now);
                Some(Event::AgentLinkClosed { agent, link: LinkId(conn.0) })
            }
            Peer::Scheduler(Some(framework)) => {
                Some(Event::StreamClosed { framework, stream: StreamId(conn.0) })
            }
            Peer::Agent(None) | Peer::Scheduler(None) => None,
        }
    }

    /// An operator asks for a change.
    pub fn operate(&mut self, command: Command, outside: &mut Outside) {
        if let Some(held) = &mut self.frozen {
            return held.push(Held::Command(command));
        }
        let request = outside.checks.asked(self.process.life, &command);
        self.takes(Event::Operate { request, principal: None, command }, outside);
    }

    /// Every quarter of a minute each stream hears something.
    pub fn beats(&mut self, outside: &mut Outside) {
        outside.agenda.enter(outside.now + HEARTBEAT, Happening::Beats { process: self.process });
        if self.frozen.is_some() {
            return;
        }
        let streams = self.peers.iter().filter(|(_, peer)| matches!(peer, Peer::Scheduler(Some(_))));
        for conn in streams.map(|(conn, _)| *conn).collect::<Vec<_>>() {
            self.send(conn, Letter::ToScheduler(sdk::FromMaster::Heartbeat), outside);
        }
    }

    /// Every second the core hears who was heard.
    pub fn hears(&mut self, outside: &mut Outside) {
        outside.agenda.enter(outside.now + HEARD, Happening::Hears { process: self.process });
        if !self.heard.is_empty() && self.frozen.is_none() {
            let agents = std::mem::take(&mut self.heard).into_iter().collect();
            self.takes(Event::AgentsHeard { agents }, outside);
        }
    }

    /// Its timer rings.
    pub fn wakes(&mut self, outside: &mut Outside) {
        self.alarm.rings(outside.now);
        self.works(outside);
    }

    /// It is stopped, as by SIGSTOP; what comes waits.
    pub fn freezes(&mut self) {
        self.frozen.get_or_insert_default();
    }

    /// It goes on as if nothing had been, or ends.
    pub fn thaws(&mut self, outside: &mut Outside) -> Result<(), Ended> {
        let Some(held) = self.frozen.take() else { return Ok(()) };
        // Timer and sockets are ready at once, and a select takes them in any order.
        if self.is_due(outside) && outside.random.chance(0.5) {
            outside.coverage.note("master.thaws with a tick before all that waits");
            self.inbox.push_front(Incoming::Event(Event::Tick));
        }
        for held in held {
            match held {
                Held::Letter(conn, letter) => self.reads(conn, letter, outside),
                Held::Break(conn) => self.breaks(conn, outside),
                Held::Command(command) => self.operate(command, outside),
                Held::Written => self.has_written(outside)?,
            }
        }
        self.works(outside);
        Ok(())
    }

    fn is_due(&self, outside: &Outside) -> bool {
        self.core.next_deadline().is_some_and(|due| due <= self.now(outside).mono)
    }

    /// Somebody sets its calendar.
    pub fn jumps(&mut self, ahead: i64) {
        self.clocks.jump(ahead);
    }

    /// The write is over. It may have failed, and then the process ends with nothing said.
    pub fn has_written(&mut self, outside: &mut Outside) -> Result<(), Ended> {
        if let Some(held) = &mut self.frozen {
            held.push(Held::Written);
            return Ok(());
        }
        let Some(Writing { mut changes, spoken }) = self.writing.take() else { return Ok(()) };
        let full = outside.disks.is_full(Node::Master);
        outside.garden.writes(&mut changes);
        if outside.garden.grows(Plant::FenceOpen) {
            outside.registry.lets_back_in(self.process.life);
        }
        match outside.registry.keep(self.process.life, &changes, full) {
            Kept::Yes => outside.checks.wrote(self.process.life),
            Kept::NoRoom if outside.garden.grows(Plant::NoRoomIgnored) => {}
            Kept::Fenced => {
                outside.coverage.note("disk.fenced");
                return Err(Ended::Fenced);
            }
            Kept::NoRoom => {
                outside.coverage.note("disk.registry full");
                return Err(Ended::NoRoom);
            }
        }
        self.deliver(spoken, outside);
        self.works(outside);
        Ok(())
    }

    /// It is killed. A batch that was being written is there as a whole or not at all.
    pub fn dies(&mut self, outside: &mut Outside) {
        if let Some(Writing { changes, .. }) = self.writing.take() {
            let full = outside.disks.is_full(Node::Master);
            let kept = outside.random.chance(0.5)
                && outside.registry.keep(self.process.life, &changes, full) == Kept::Yes;
            if kept {
                outside.checks.wrote(self.process.life);
                outside.coverage.note("disk.batch kept and not spoken");
            } else {
                outside.coverage.note("disk.batch lost");
            }
        }
    }

    fn takes(&mut self, event: Event, outside: &mut Outside) {
        self.inbox.push_back(Incoming::Event(event));
        self.works(outside);
    }

    fn works(&mut self, outside: &mut Outside) {
        while self.writing.is_none() && self.frozen.is_none() {
            let due = self.is_due(outside);
            if self.inbox.is_empty() && !due {
                break;
            }
            let most = outside.random.between(1, BATCH_MAX) as usize;
            let (mut changes, mut spoken) = (Vec::new(), Vec::new());
            for _ in 0..most {
                let event = match self.inbox.pop_front() {
                    Some(Incoming::Event(event)) => Some(event),
                    Some(Incoming::Gone(conn)) => self.gone(conn, outside),
                    None => break,
                };
                if let Some(event) = event {
                    self.apply(event, &mut changes, &mut spoken, outside);
                }
            }
            if due {
                self.apply(Event::Tick, &mut changes, &mut spoken, outside);
            }
            if changes.is_empty() {
                self.deliver(spoken, outside);
                continue;
            }
            if outside.garden.grows(Plant::SpokenBeforeSynced) {
                self.deliver(std::mem::take(&mut spoken), outside);
            }
            let takes = outside.sync_time(Node::Master);
            outside.begins_to_write(self.process, takes);
            self.writing = Some(Writing { changes, spoken });
        }
        self.set_alarm(outside);
    }

    fn apply(
        &mut self,
        mut event: Event,
        changes: &mut Vec<Change>,
        spoken: &mut Vec<Spoken>,
        outside: &mut Outside,
    ) {
        let (now, life) = (self.now(outside), self.process.life);
        let thief = by_thief(&event);
        outside.say(self.process, format_args!("<- {}", text::Line(&event)));
        note_event(&event, outside);
        outside.checks.master_event(life, now, &event);
        outside.garden.event(&mut event);
        self.applied += 1;
        let twin = self.applied.is_multiple_of(twin::EVERY).then(|| {
            let parts = self.core.parts().filter(|part| outside.garden.restores(part));
            Twin::of(parts, now, event.clone())
        });
        let mut effects = Vec::new();
        self.core.apply(now, event, &mut effects);
        let differs = twin.and_then(|twin| twin.differs(&self.core, &effects));
        outside.garden.effects(&mut effects);
        for effect in effects {
            outside.say(self.process, format_args!("-> {}", text::Line(&effect)));
            note_effect(&effect, outside);
            if thief.is_some_and(|link| helps(link, &effect)) {
                outside.checks.broken(format!("a thief of an agent's id got {}", text::Line(&effect)));
            }
            outside.checks.master_effect(life, now, outside.now, &effect);
            self.note_peer(&effect);
            match effect {
                Effect::Persist(change) => {
                    self.shadow.apply(&change);
                    self.decided += 1;
                    changes.push(change);
                }
                effect => spoken.push(Spoken { after: self.decided, effect }),
            }
        }
        outside.checks.violations(self.process, self.core.violations());
        if self.core.snapshot() != self.shadow {
            outside.checks.broken("the master's tables and its registry disagree".to_owned());
        }
        if let Some(differs) = differs {
            outside.checks.broken(differs);
        }
        let view = self.core.view(now);
        outside.checks.master_is(life, &view, &mut outside.coverage);
        view.agents().for_each(|agent| outside.coverage.note(coverage::agent_state(&agent.state)));
        view.frameworks()
            .for_each(|framework| outside.coverage.note(coverage::framework_state(&framework.state)));
    }

    /// Known before the effect is delivered, as the connection may break first.
    fn note_peer(&mut self, effect: &Effect) {
        let (conn, peer) = match effect {
            Effect::ToAgent { agent, link, message: ToAgent::Registered { .. } } => {
                (ConnId(link.0), Peer::Agent(Some(agent.clone())))
            }
            Effect::ToScheduler { framework, stream, message: ToScheduler::Subscribed { .. } } => {
                (ConnId(stream.0), Peer::Scheduler(Some(framework.clone())))
            }
            _ => return,
        };
        if let Some(known) = self.peers.get_mut(&conn) {
            *known = peer;
        }
    }

    fn deliver(&mut self, spoken: Vec<Spoken>, outside: &mut Outside) {
        for Spoken { after, effect } in spoken {
            let safe = outside.registry.kept(self.process.life);
            outside.checks.spoke(self.process, after, safe);
            match effect {
                Effect::ToAgent { link, message, .. } => {
                    let message = outside.messages.to_agent(message);
                    self.tells_agent(ConnId(link.0), message, outside);
                }
                Effect::CloseLink { link, refused } => {
                    let conn = ConnId(link.0);
                    if let Some(refused) = refused {
                        self.tells_agent(conn, translate::refused(refused), outside);
                    }
                    self.closes(conn, outside);
                }
                Effect::ToScheduler { stream, message, .. } => {
                    let view = self.core.view(self.now(outside));
                    let describe = |agent: &AgentId| view.agent(agent).map(|agent| &agent.info);
                    let message = translate::to_scheduler(message, describe);
                    self.send(ConnId(stream.0), Letter::ToScheduler(message), outside);
                }
                Effect::CloseStream { stream, error } => {
                    let conn = ConnId(stream.0);
                    if self.tearing_down.remove(&conn) && outside.random.chance(0.5) {
                        self.send(conn, Letter::TornDown, outside);
                    }
                    self.send(conn, Letter::ToScheduler(sdk::FromMaster::Error(error)), outside);
                    self.closes(conn, outside);
                }
                Effect::Reply { request, reply } => {
                    let registry = outside.registry.snapshot();
                    outside.checks.answered(self.process.life, request, &reply, registry);
                }
                Effect::Record(_) => {}
                Effect::Persist(_) => unreachable!("changes are written, not spoken"),
            }
        }
    }

    fn tells_agent(&mut self, conn: ConnId, message: bourse_agent_core::FromMaster, outside: &mut Outside) {
        let epoch = outside.garden.epoch(self.epoch);
        self.send(conn, Letter::ToAgent { epoch, sender: self.epoch, message }, outside);
    }

    fn send(&mut self, conn: ConnId, letter: Letter, outside: &mut Outside) {
        if self.peers.contains_key(&conn) {
            outside.send(conn, Side::Master, letter);
        }
    }

    fn now(&self, outside: &Outside) -> Now {
        self.clocks.now(outside.now)
    }

    fn set_alarm(&mut self, outside: &mut Outside) {
        let works = self.writing.is_none() && self.frozen.is_none();
        if let Some(deadline) = self.core.next_deadline().filter(|_| works) {
            self.alarm.set(self.clocks.world(deadline), outside);
        }
    }
}

/// Every fifth time that an agent comes back, somebody else comes with its id, by a token of his own, and says that he
/// follows the newest of all masters.
fn theft(conn: ConnId, registration: &Registration) -> Option<Event> {
    if registration.id.is_none() || !conn.0.is_multiple_of(5) {
        return None;
    }
    let principal = Some(Principal::new(THIEF).expect("a short name"));
    let registration = Registration { principal, epoch: Epoch(u64::MAX), ..registration.clone() };
    Some(Event::AgentRegisters { link: LinkId(u64::MAX - conn.0), registration: Box::new(registration) })
}

/// The link of a thief who registers.
fn by_thief(event: &Event) -> Option<LinkId> {
    let Event::AgentRegisters { link, registration } = event else { return None };
    let principal = registration.principal.as_ref();
    principal.is_some_and(|principal| principal.as_str() == THIEF).then_some(*link)
}

/// Whether this helps a thief: whatever is said to an agent, or ends a link but his own.
fn helps(thief: LinkId, effect: &Effect) -> bool {
    match effect {
        Effect::CloseLink { link, .. } => *link != thief,
        Effect::ToAgent { .. } => true,
        _ => false,
    }
}

/// What the door does not understand: the same each time that it arrives.
fn is_strange(call: &sdk::Call) -> bool {
    let sdk::Call::Accept { tasks, .. } = call else { return false };
    tasks.iter().any(|task| task.id.as_str().bytes().map(u64::from).sum::<u64>().is_multiple_of(97))
}

fn note_event(event: &Event, outside: &mut Outside) {
    outside.coverage.note(coverage::master_event(event));
    match event {
        Event::Call { call, .. } => {
            outside.coverage.note(coverage::call(call));
            if let Call::Accept(accept) = call {
                accept.launches.iter().for_each(|launch| outside.coverage.note(coverage::launch(launch)));
            }
        }
        Event::Operate { command, .. } => outside.coverage.note(coverage::command(command)),
        _ => {}
    }
}

fn note_effect(effect: &Effect, outside: &mut Outside) {
    outside.coverage.note(coverage::master_effect(effect));
    match effect {
        Effect::Persist(change) => outside.coverage.note(coverage::change(change)),
        Effect::ToAgent { message, .. } => outside.coverage.note(coverage::to_agent(message)),
        Effect::ToScheduler { message, .. } => outside.coverage.note(coverage::to_scheduler(message)),
        Effect::CloseLink { refused: Some(refused), .. } if refused.reason == "STALE_MASTER" => {
            outside.coverage.note("an agent follows a newer master");
        }
        Effect::CloseLink { refused: Some(refused), .. } if refused.reason == "NOT_YOURS" => {
            outside.coverage.note("an agent id is refused to a thief");
        }
        _ => {}
    }
}
