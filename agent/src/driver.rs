//! The one task that owns the core.
//!
//! It takes a batch of inputs, applies each, writes what must survive, and only then lets the effects out. A checkpoint
//! that cannot be written stops the agent before anything was said: its tasks run on, and the next agent finds them. A
//! disk that is full does not stop it, as the tasks that fill it have to be killed by somebody: no task is launched, and
//! should even the room that the checkpoint holds be used up, nothing new is told or begun. So it is at once on a disk that
//! has become read-only. Heartbeats, health checks and kills go on: the core's clocks do, and a check or a signal that
//! waited would count against the task.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bourse_agent_core::{Agent, Checked, Effect, Event, FromAgent, FromMaster, Record};
use bourse_client::Settings;
use bourse_containerizer::Containerizer;
use bourse_containerizer::failpoint::{Failpoint, reached};
use bourse_proto::agent_link as link;
use bourse_types::Now;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use tracing::{debug, error, info, warn};

use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::clock::Clock;
use crate::launcher::Launcher;
use crate::session::Link;
use crate::view::View;
use crate::wire;

/// How many inputs wait for the driver; who brings more waits too.
pub const INBOX_MAX: usize = 4096;

/// How many inputs share one write of the checkpoint.
const BATCH_MAX: usize = 256;

/// How often a full or read-only disk is asked whether there is room again.
const ROOM_AGAIN: Duration = Duration::from_secs(1);

/// How many effects wait for room on the disk before no more inputs are taken.
const HELD_MAX: usize = 4096;

/// How long a stopping agent waits for the remains of its containers to go.
const CLEAN_UP: Duration = Duration::from_secs(10);

/// What others bring to the driver.
#[derive(Debug)]
pub enum Input {
    /// For the core.
    Event(Event),
    /// A measurement, passed on to a master that has admitted the agent.
    Usage(link::Usage),
}

/// How the agent ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Ending {
    /// An operator stopped it, and its tasks run on.
    TasksRunOn,
    /// An operator stopped it, and its tasks were killed.
    TasksKilled,
    /// The master does not want it any more, for this reason.
    Refused(String),
}

/// The owner of the core.
#[derive(Debug)]
pub struct Driver<C> {
    pub agent: Agent,
    pub clock: Clock,
    pub checkpoint: Checkpoint,
    pub inbox: mpsc::Receiver<Input>,
    pub back: mpsc::Sender<Input>,
    pub master: Settings,
    pub launcher: Launcher<C>,
    pub views: watch::Sender<Arc<View>>,
    /// No task gets a longer grace when the agent is stopped. `None`: stopping the agent leaves its tasks alone.
    pub kill_on_stop: Option<Duration>,
    pub link: Option<Link>,
    /// Nobody listened when the master was tried last.
    pub master_away: bool,
    /// What could not be written down yet, and what comes after it.
    pub held: Vec<Effect>,
    /// What the core was told of the disk.
    pub disk_full: bool,
}

impl<C: Containerizer + Clone> Driver<C> {
    /// Runs until the agent is stopped, or the master does not want it any more. `first` are the effects of the start.
    pub async fn run(
        mut self,
        first: Vec<Effect>,
        shutdown: impl Future<Output = ()>,
    ) -> Result<Ending, CheckpointError> {
        tokio::pin!(shutdown);
        let mut stopping = false;
        let mut batch = Vec::with_capacity(BATCH_MAX);
        let mut room_again = interval(ROOM_AGAIN);
        room_again.set_missed_tick_behavior(MissedTickBehavior::Delay);
        if let Some(ending) = self.let_out(first)? {
            return Ok(ending);
        }
        loop {
            let deadline =
                self.agent.next_deadline().map(|deadline| Instant::from_std(self.clock.instant(deadline)));
            tokio::select! {
                // `back` keeps the inbox open, so this never ends.
                _ = self.inbox.recv_many(&mut batch, BATCH_MAX), if self.held.len() < HELD_MAX => {}
                _ = room_again.tick(), if self.checkpoint.is_full() => self.checkpoint.make_room(),
                () = sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => {
                    batch.push(Input::Event(Event::Tick));
                }
                () = &mut shutdown, if !stopping => {
                    stopping = true;
                    let Some(cap) = self.kill_on_stop else { return Ok(Ending::TasksRunOn) };
                    info!(?cap, "killing all tasks, as the agent was asked to stop");
                    batch.push(Input::Event(Event::Stop { cap }));
                }
            }
            let mut inputs = batch.drain(..).peekable();
            loop {
                let effects = self.apply(&mut inputs);
                if let Some(ending) = self.let_out(effects)? {
                    self.launcher.finish(CLEAN_UP).await;
                    return Ok(ending);
                }
                if inputs.peek().is_none() {
                    break;
                }
            }
        }
    }

    /// Applies inputs until one of them brought a task: that is much to write, and whether there is room for another one
    /// shows when it is written.
    fn apply(&mut self, inputs: &mut impl Iterator<Item = Input>) -> Vec<Effect> {
        let mut effects = Vec::new();
        let now = self.clock.now();
        self.tell_of_room(now, &mut effects);
        let large = |effect: &Effect| matches!(effect, Effect::Checkpoint(Record::TaskAccepted { .. }));
        while !effects.iter().any(large) {
            let Some(input) = inputs.next() else { break };
            match input {
                Input::Event(event) => {
                    narrate(&event);
                    if let Event::LinkClosed { refused, .. } = event {
                        self.master_away = refused;
                    }
                    if matches!(event, Event::FromMaster { message: FromMaster::Run { .. }, .. }) {
                        self.checkpoint.look_for_room();
                        self.tell_of_room(now, &mut effects);
                    }
                    self.agent.apply(now, event, &mut effects);
                }
                Input::Usage(usage) if self.agent.is_registered() => {
                    if let Some(link) = &self.link {
                        link.send_usage(wire::write_usage(usage));
                    }
                }
                Input::Usage(_) => {}
            }
        }
        effects
    }

    /// Tells the core when the disk has become full, or has room again.
    fn tell_of_room(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let full = self.checkpoint.is_full();
        if full == self.disk_full {
            return;
        }
        self.disk_full = full;
        let lacks = full.then(|| self.checkpoint.shortage());
        match &lacks {
            Some(shortage) => warn!(
                %shortage,
                "the disk of the work directory is full or read-only: no task is launched before there is room"
            ),
            None => info!("the disk of the work directory has room again"),
        }
        self.agent.apply(now, Event::Disk { lacks }, effects);
    }

    /// Writes the records, then carries out the rest in order. `Some`: the agent is over.
    fn let_out(&mut self, more: Vec<Effect>) -> Result<Option<Ending>, CheckpointError> {
        let mut effects = std::mem::take(&mut self.held);
        let waited = !effects.is_empty();
        effects.extend(more);
        let records = || {
            effects.iter().filter_map(|effect| match effect {
                Effect::Checkpoint(record) => Some(record),
                _ => None,
            })
        };
        if records().next().is_some() {
            records().filter_map(steps).for_each(|(decided, _)| reached(decided));
            match self.checkpoint.append(records()) {
                Ok(()) => {}
                Err(error) if error.is_blocked() => {
                    if !waited {
                        error!(
                            error = &error as &dyn std::error::Error,
                            "the disk takes nothing more: but for kills nothing is done or told before it does"
                        );
                    }
                    self.hold(effects);
                    return Ok(None);
                }
                Err(error) => return Err(error),
            }
            // The few records that outlive the boot come with an admission or a new master: a few milliseconds of
            // blocking that nobody waits for.
            if records().any(Record::must_outlive_boot) {
                self.checkpoint.sync()?;
            }
            records().filter_map(steps).for_each(|(_, written)| reached(written));
            self.checkpoint.compact_if_large(self.agent.state())?;
            self.views.send_if_modified(|view| {
                let mut fresh = View::clone(view);
                let changed = fresh.follow(self.agent.state(), records());
                if changed {
                    *view = Arc::new(fresh);
                }
                changed
            });
        }
        let mut ending = None;
        for effect in effects {
            debug!(%effect, "effect");
            match effect {
                Effect::Checkpoint(record) => report(&record),
                Effect::Connect { link } => {
                    let (master, inbox) = (self.master.clone(), self.back.clone());
                    self.link = Some(Link::open(link, master, self.master_away, inbox));
                }
                Effect::CloseLink { link, why } => {
                    warn!(link = link.0, why, "closing the link to the master");
                    self.link = None;
                }
                Effect::Send { link, message } => self.send(link, message),
                Effect::Launch(launch) => self.launcher.launch(*launch),
                Effect::Watch { container } => self.launcher.watch(container),
                Effect::Resize(resize) => self.launcher.resize(*resize),
                Effect::Measure { container, task } => {
                    self.launcher.measure(self.agent.state().agent.as_ref(), &task, container);
                }
                Effect::Signal { container, signal } => self.launcher.signal(container, signal),
                Effect::KillAll { container } => self.launcher.kill_all(container),
                Effect::Destroy { container } => self.launcher.destroy(container),
                Effect::Probe { container, round, check } => self.launcher.probe(container, round, *check),
                Effect::Exit { refused } => {
                    ending = Some(refused.map_or(Ending::TasksKilled, Ending::Refused));
                }
            }
        }
        Ok(ending)
    }

    /// Keeps effects until their records can be written, but for those that would come to harm by waiting. That the agent
    /// is alive relies on no record, nor does a check. A kill whose record a crash prevents is one that its master asks
    /// for again, or that is decided again; kept, SIGTERM would come together with the SIGKILL that ends its grace.
    fn hold(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Send { link, message: FromAgent::Heartbeat } => self.send(link, FromAgent::Heartbeat),
                Effect::Signal { container, signal } => self.launcher.signal(container, signal),
                Effect::KillAll { container } => self.launcher.kill_all(container),
                Effect::Probe { container, round, check } => self.launcher.probe(container, round, *check),
                effect => self.held.push(effect),
            }
        }
    }

    fn send(&mut self, to: bourse_agent_core::LinkId, message: FromAgent) {
        let is_end = matches!(&message, FromAgent::Update(update) if update.status.state.is_terminal());
        if let Some(link) = self.link.as_ref().filter(|link| link.id() == to) {
            wire::write(message).into_iter().for_each(|message| link.send(message));
        }
        if is_end {
            reached(Failpoint::EndSent);
        }
    }
}

/// The steps in a task's life that a record stands for: before it is written, and after.
fn steps(record: &Record) -> Option<(Failpoint, Failpoint)> {
    match record {
        Record::TaskAccepted { .. } => Some((Failpoint::TaskDecided, Failpoint::TaskWritten)),
        Record::TaskStarted { .. } => Some((Failpoint::StartDecided, Failpoint::StartWritten)),
        Record::CoresTaken { .. } => Some((Failpoint::CoresDecided, Failpoint::CoresWritten)),
        Record::ResizeBegun { .. } => Some((Failpoint::ResizeDecided, Failpoint::ResizeWritten)),
        Record::Resized { .. } => Some((Failpoint::ResizedDecided, Failpoint::ResizedWritten)),
        Record::ResizeRefused { .. } => Some((Failpoint::RefusalDecided, Failpoint::RefusalWritten)),
        Record::KillBegun { .. } => Some((Failpoint::KillDecided, Failpoint::KillWritten)),
        Record::UpdateMade { status, .. } if status.state.is_terminal() => {
            Some((Failpoint::EndDecided, Failpoint::EndWritten))
        }
        Record::UpdateAcknowledged { .. } => {
            Some((Failpoint::AcknowledgementDecided, Failpoint::AcknowledgementWritten))
        }
        Record::Admitted { .. }
        | Record::Described { .. }
        | Record::EpochSeen { .. }
        | Record::Booted { .. }
        | Record::FrameworkKnown { .. }
        | Record::FrameworkForgotten { .. }
        | Record::UpdateMade { .. }
        | Record::HealthSeen { .. }
        | Record::CoresApart { .. }
        | Record::TaskSilenced { .. }
        | Record::TaskForgotten { .. } => None,
    }
}

/// One line for what an operator would ask about.
fn narrate(event: &Event) {
    match event {
        Event::FromMaster { epoch, message: FromMaster::Registered { agent, master, known, .. }, .. } => {
            info!(agent_id = %agent, master_id = %master, %epoch, known = known.len(), "registered with the master");
        }
        Event::FromMaster { message: FromMaster::Refused { reason, message, shut_down }, .. } => {
            warn!(reason, why = message, shut_down, "the master refused this agent");
        }
        Event::FromMaster { message: FromMaster::Run { assignment, .. }, .. } => {
            info!(framework_id = %assignment.key.framework, task_id = %assignment.key.task, "a task is to run");
        }
        Event::FromMaster { message: FromMaster::Kill { task, reason, .. }, .. } => {
            info!(framework_id = %task.framework, task_id = %task.task, ?reason, "a task is to be killed");
        }
        Event::FromMaster { message: FromMaster::Resize { task, size }, .. } => {
            info!(framework_id = %task.framework, task_id = %task.task, %size, "a task is to be resized");
        }
        Event::FromMaster { message: FromMaster::ShutdownFramework { framework }, .. } => {
            info!(framework_id = %framework, "a framework is shut down");
        }
        Event::Probed { container, outcome: Checked::Unknown(why), .. } => {
            warn!(container_id = %container, why, "could not check the health of a task; that counts neither way");
        }
        other => debug!(event = ?other, "event"),
    }
}

/// One line for each new state of a task.
fn report(record: &Record) {
    if let Record::UpdateMade { task, status } = record {
        info!(
            framework_id = %task.framework,
            task_id = %task.task,
            state = %status.state,
            reason = status.reason.map(|reason| reason.as_str()),
            why = status.message,
            healthy = status.healthy,
            "task"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::path::Path;

    use bourse_agent_core::{Assignment, LinkId, Signal, Start, State, TaskKey, Work};
    use bourse_client::Target;
    use bourse_containerizer::{Config as ContainerConfig, Filters, Isolation, LinuxContainerizer};
    use bourse_hostile::FragileDisk;
    use bourse_types::{
        Address, AgentId, AgentInfo, Attributes, ContainerId, Epoch, FrameworkId, FrameworkInfo, HealthCheck,
        HealthKind, MasterId, Resources, Role, TaskId,
    };
    use bytes::Bytes;
    use nix::mount::{MntFlags, MsFlags, mount, umount2};

    use crate::launcher::{Habits, Mountable};

    fn driver(folder: &Path) -> Driver<LinuxContainerizer> {
        let (back, inbox) = mpsc::channel(INBOX_MAX);
        let (checkpoint, state) = Checkpoint::open(folder).expect("there is room");
        let config = bourse_agent_core::Config::new(AgentInfo {
            hostname: "host".into(),
            address: Address { host: "127.0.0.1".into(), port: 1 },
            attributes: Attributes::default(),
            total: Resources::new(),
            version: "0".into(),
        });
        let clock = Clock::new();
        let start = Start { config, boot: "b".into(), incarnation: 1, state, found: vec![] };
        let habits = Habits {
            isolation: Isolation::Process,
            hostname: "host".into(),
            filters: Filters::default(),
            allow_root: false,
            enforce_disk: true,
            pids_limit: 1,
            logs: bourse_containerizer::LogLimits::NONE,
            show: vec![],
            mountable: Mountable::default(),
            roots: vec![],
            hide: vec![],
            endpoint: String::new(),
        };
        // No task is launched here.
        let containers = ContainerConfig {
            runtime_dir: folder.join("run"),
            instance: "a1".into(),
            users: Default::default(),
            last_users: folder.join("last-users"),
        };
        let containers = LinuxContainerizer::open(&containers).expect("there is room");
        let mut first = Vec::new();
        let mut driver = Driver {
            agent: Agent::start(start, clock.now(), &mut first),
            clock,
            checkpoint,
            inbox,
            back: back.clone(),
            // Nothing listens there.
            master: Settings::master(Target::loopback(1)),
            launcher: Launcher::new(containers, folder.to_owned(), habits, back),
            views: watch::Sender::new(Arc::new(View::default())),
            kill_on_stop: None,
            link: None,
            master_away: false,
            held: vec![],
            disk_full: false,
        };
        driver.let_out(first).expect("there is room");
        driver
    }

    struct SmallDisk(tempfile::TempDir);

    impl Drop for SmallDisk {
        fn drop(&mut self) {
            let _ = umount2(self.0.path(), MntFlags::MNT_DETACH);
        }
    }

    impl Driver<LinuxContainerizer> {
        fn take(&mut self, event: Event) {
            let effects = self.apply(&mut [Input::Event(event)].into_iter());
            self.let_out(effects).expect("a full disk is no end");
        }

        fn hear(&mut self, message: FromMaster) {
            self.take(Event::FromMaster { link: LinkId(1), epoch: Epoch(1), message });
        }

        fn register(&mut self) {
            self.take(Event::Tick);
            self.take(Event::LinkOpened { link: LinkId(1) });
            self.hear(FromMaster::Registered {
                agent: AgentId::new("S1").expect("valid"),
                master: MasterId::new("M").expect("valid"),
                heartbeat: Duration::from_secs(1000),
                known: vec![],
                reconnect: None,
            });
        }
    }

    fn small_disk() -> SmallDisk {
        let folder = tempfile::tempdir().expect("a folder");
        mount(Some("small"), folder.path(), Some("tmpfs"), MsFlags::empty(), Some("size=6m"))
            .expect("these tests run as root");
        SmallDisk(folder)
    }

    #[tokio::test]
    async fn checks_and_kills_do_not_wait_for_room_on_a_disk_that_is_full_to_the_last_byte() {
        let disk = small_disk();
        let mut driver = driver(disk.0.path());
        fs::write(disk.0.path().join("hog"), vec![0; 8 << 20]).expect_err("it does not fit");
        let record =
            Record::FrameworkForgotten { framework: FrameworkId::new("x".repeat(200)).expect("valid") };
        let full = loop {
            if let Err(error) = driver.checkpoint.append([&record]) {
                break error;
            }
        };
        assert!(full.is_blocked());
        let container = ContainerId::new("c1").expect("valid");
        // Nothing listens there.
        let check = Box::new(HealthCheck::new(HealthKind::Tcp { port: 1 }));
        let decided = vec![
            Effect::Checkpoint(record),
            Effect::Destroy { container: container.clone() },
            Effect::Probe { container: container.clone(), round: 1, check },
            Effect::Signal { container: container.clone(), signal: Signal::Term },
            Effect::KillAll { container },
        ];
        driver.let_out(decided.clone()).expect("a full disk is no end");
        assert_eq!(driver.held, decided[..2]);
        let mut answer = driver.inbox.recv().await;
        while !matches!(answer, Some(Input::Event(Event::Probed { round: 1, .. }))) {
            answer = driver.inbox.recv().await;
        }
    }

    #[tokio::test]
    async fn on_a_disk_that_became_read_only_no_task_is_accepted_and_what_must_be_written_waits() {
        let folder = tempfile::tempdir().expect("a folder");
        let disk = FragileDisk::new(&folder.path().join("disk"), 32);
        let mut driver = driver(disk.path());
        driver.register();
        disk.break_it();
        let key = |task: &str| TaskKey {
            framework: FrameworkId::new("F").expect("valid"),
            task: TaskId::new(task).expect("valid"),
        };
        // On a good disk even this is written down.
        let work = Work::Refuse("there are no such tasks".to_owned());
        let (role, resources, message) = (Role::any(), Resources::new(), Bytes::new());
        let assignment = Assignment { key: key("t1"), role, resources, message, work };
        let framework = Box::new(FrameworkInfo::new("f"));
        driver.hear(FromMaster::Run { framework, assignment: Box::new(assignment) });
        let refused = driver.held.len();
        assert!(driver.disk_full && refused > 0, "that it is refused is told when it can be written down");
        assert!(driver.agent.state().tasks.is_empty(), "{:?}", driver.agent.state().tasks);

        // A kill of a task that is not here makes it one that must never run.
        driver.hear(FromMaster::Kill { task: key("t2"), policy: None, reason: None });
        let waits = driver.held.len();
        assert!(waits > refused, "it was said and not written");
        // As every second.
        driver.checkpoint.make_room();
        driver.hear(FromMaster::HeartbeatAck);
        assert!(driver.disk_full && driver.held.len() == waits, "{:?}", driver.held);
    }

    #[tokio::test]
    async fn what_finds_no_room_on_a_full_disk_waits_and_is_all_there_once_there_is_room() {
        let disk = small_disk();
        let folder = disk.0.path();
        let mut driver = driver(folder);
        driver.register();
        // Somebody takes all the rest.
        let hog = folder.join("hog");
        fs::write(&hog, vec![0; 8 << 20]).expect_err("it does not fit");
        let long = "x".repeat(200);
        let mut killed = 0;
        while driver.held.is_empty() {
            let task = TaskId::new(format!("{long}{killed}")).expect("valid");
            let task = TaskKey { framework: FrameworkId::new("F").expect("valid"), task };
            driver.hear(FromMaster::Kill { task, policy: None, reason: None });
            killed += 1;
        }
        assert!(killed > 10_000, "there was room for {killed}");
        assert!(driver.checkpoint.is_full());
        driver.hear(FromMaster::HeartbeatAck);
        assert!(!driver.held.is_empty());

        fs::remove_file(&hog).expect("there");
        driver.checkpoint.make_room();
        driver.hear(FromMaster::HeartbeatAck);
        assert!(driver.held.is_empty());
        let state: State = driver.agent.state().clone();
        drop(driver);
        let (_, read) = Checkpoint::open(folder).expect("readable");
        assert!(read == state, "all of it was written");
    }
}
