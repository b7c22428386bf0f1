//! The machine under an agent: containers that go on while the agent is down, and end with the machine.
//!
//! A task is a little program: it runs for a while and exits with a code, or runs until it is killed; it may ignore
//! SIGTERM, and it may be sick.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use bourse_agent_core::{Checked, Condition, End, Event, Found, Held, Launch, Resize, TaskKey};
use bourse_types::{ContainerId, Exit, Resources};

use crate::random::Random;
use crate::world::{Happening, Outside};

/// Why a set-up fails.
const NO_DEVICE: &str = "mount: no such device; load the module";

/// Why a container keeps its limits.
const IN_USE: &str = "its memory is in use; free some of it";

/// Why a sandbox cannot be measured.
const UNREADABLE: &str = "input/output error";

/// Between two measurements of a sandbox.
const MEASURED: Duration = Duration::from_secs(1);

/// What a greedy task has in its sandbox.
const GREED_BYTES: u64 = 1 << 40;

/// What a task does. Its text is the task's command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Program {
    /// How long it runs; `None`: until it is killed.
    pub runs: Option<Duration>,
    /// What it exits with by itself.
    pub code: i32,
    /// It ignores SIGTERM.
    pub stubborn: bool,
    /// Its health checks fail.
    pub sick: bool,
    /// Its sandbox holds more than any task asks for.
    pub greedy: bool,
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.runs.map_or(0, |runs| runs.as_millis());
        write!(f, "{millis} {} {} {} {}", self.code, self.stubborn, self.sick, self.greedy)
    }
}

impl FromStr for Program {
    type Err = ();

    fn from_str(text: &str) -> Result<Program, ()> {
        let [millis, code, stubborn, sick, greedy] = text.split(' ').collect::<Vec<_>>()[..] else {
            return Err(());
        };
        let millis: u64 = millis.parse().map_err(|_| ())?;
        Ok(Program {
            runs: (millis > 0).then(|| Duration::from_millis(millis)),
            code: code.parse().map_err(|_| ())?,
            stubborn: stubborn.parse().map_err(|_| ())?,
            sick: sick.parse().map_err(|_| ())?,
            greedy: greedy.parse().map_err(|_| ())?,
        })
    }
}

/// Something that happens in a container.
#[derive(Clone, Copy, Debug)]
pub enum Inside {
    /// Its set-up is over.
    SetUp,
    /// Its program comes to its end.
    Exits,
    /// A signal ends it.
    Dies(i32),
    /// A health check has its answer.
    Answers(u64),
    /// Its sandbox is measured in its turn.
    Measured,
    /// Its sandbox was measured as the agent asked, or could not be.
    Sized,
    /// Its new limits are set, or refused.
    Resized,
}

#[derive(Debug)]
struct Container {
    task: TaskKey,
    resources: Resources,
    program: Program,
    phase: Phase,
    /// What it is being given.
    resizing: Option<Resources>,
    /// The agent's present life knows about it.
    watched: bool,
}

#[derive(Clone, Debug)]
enum Phase {
    SettingUp,
    Running {
        pid: u32,
    },
    Ended(End),
    /// Its set-up failed while no agent was there.
    NeverRan,
    /// The agent was gone before its set-up was through.
    CutShort,
    /// Its last process is gone, and with it the one that would have told how.
    Vanished,
}

/// One machine.
#[derive(Debug)]
pub struct Machine {
    index: usize,
    boots: u64,
    pids: u32,
    containers: BTreeMap<ContainerId, Container>,
    random: Random,
}

impl Machine {
    /// Just booted.
    pub fn new(index: usize, random: Random) -> Machine {
        Machine { index, boots: 1, pids: 100, containers: BTreeMap::new(), random }
    }

    /// The kernel's boot id.
    pub fn boot(&self) -> String {
        format!("boot-{}-{}", self.index, self.boots)
    }

    /// How often it was booted: what is on its way from an earlier boot does not arrive.
    pub fn boots(&self) -> u64 {
        self.boots
    }

    /// Sets up a container.
    pub fn launch(&mut self, launch: &Launch, outside: &mut Outside) {
        let value = launch.spec.command.value.as_deref().unwrap_or_default();
        let program = value.parse().expect("tasks of the simulator have its programs for commands");
        let container = Container {
            task: launch.task.clone(),
            resources: launch.spec.resources.clone(),
            program,
            phase: Phase::SettingUp,
            resizing: None,
            watched: true,
        };
        outside.checks.launched(&launch.task);
        self.containers.insert(launch.container.clone(), container);
        // Mostly at once; now and then long enough for the agent to die meanwhile.
        let longest = if outside.misfortune && self.random.chance(0.3) { 10_000 } else { 200 };
        let wait = self.random.millis(1, longest);
        self.soon(wait, &launch.container, Inside::SetUp, outside);
    }

    /// What happens to a container, and what the agent hears of it if it is there.
    pub fn happens(&mut self, id: &ContainerId, inside: Inside, outside: &mut Outside) -> Option<Event> {
        let index = self.index;
        let container = self.containers.get_mut(id)?;
        let watched = container.watched;
        let event = match (&container.phase, inside) {
            (Phase::SettingUp, Inside::SetUp) if outside.misfortune && self.random.chance(0.03) => {
                outside.coverage.note("machine.launch failed");
                self.containers.remove(id);
                Event::LaunchFailed { container: id.clone(), message: NO_DEVICE.to_owned() }
            }
            (Phase::SettingUp, Inside::SetUp) => {
                let pid = self.start(id, outside)?;
                Event::Launched { container: id.clone(), pid }
            }
            (Phase::Running { .. }, Inside::Exits | Inside::Dies(_)) => {
                let exit = match inside {
                    Inside::Dies(signal) => Exit::Signal(signal),
                    _ => Exit::Code(container.program.code),
                };
                let end = End { exit: Some(exit), ..End::default() };
                container.phase = Phase::Ended(end.clone());
                outside.checks.ended(index, &container.task, id, Some(exit));
                if !watched {
                    outside.coverage.note("machine.ended without its agent");
                }
                Event::Ended { container: id.clone(), end }
            }
            (Phase::Running { .. }, Inside::Answers(round)) => {
                let sick = container.program.sick;
                let outcome =
                    if sick { Checked::Unhealthy("connection refused".to_owned()) } else { Checked::Healthy };
                Event::Probed { container: id.clone(), round, outcome }
            }
            (Phase::Running { .. }, Inside::Measured) => {
                self.soon(MEASURED, id, Inside::Measured, outside);
                let held = Held { bytes: GREED_BYTES, ..Held::default() };
                Event::SandboxMeasured { container: id.clone(), held }
            }
            (Phase::Running { .. }, Inside::Sized) => {
                let bytes = if container.program.greedy { GREED_BYTES } else { 0 };
                let held = Held { bytes, ..Held::default() };
                let unreadable = outside.misfortune && self.random.chance(0.1);
                let outcome = if unreadable { Err(UNREADABLE.to_owned()) } else { Ok(held) };
                Event::Measured { container: id.clone(), outcome }
            }
            (Phase::Running { .. }, Inside::Resized) => {
                let wanted = container.resizing.take()?;
                // What it has already cannot be refused.
                let refused = wanted != container.resources && self.random.chance(0.3);
                let outcome = match refused {
                    true => Err(IN_USE.to_owned()),
                    false => {
                        container.resources = wanted;
                        outside.checks.resized(index, &container.task, id, &container.resources);
                        Ok(())
                    }
                };
                Event::Resized { container: id.clone(), outcome }
            }
            _ => return None,
        };
        watched.then_some(event)
    }

    fn start(&mut self, id: &ContainerId, outside: &mut Outside) -> Option<u32> {
        self.pids += 1;
        let pid = self.pids;
        let container = self.containers.get_mut(id)?;
        container.phase = Phase::Running { pid };
        let Program { runs, greedy, .. } = container.program;
        outside.checks.started(self.index, &container.task, id, &container.resources);
        if let Some(runs) = runs {
            self.soon(runs, id, Inside::Exits, outside);
        }
        if greedy {
            self.soon(MEASURED, id, Inside::Measured, outside);
        }
        Some(pid)
    }

    /// The agent wants to hear of a container that runs since before its start; it may have ended just now.
    pub fn watch(&mut self, id: &ContainerId) -> Option<Event> {
        let container = self.containers.get_mut(id)?;
        container.watched = true;
        match &container.phase {
            Phase::Ended(end) => Some(Event::Ended { container: id.clone(), end: end.clone() }),
            Phase::SettingUp | Phase::Running { .. } => None,
            Phase::NeverRan | Phase::CutShort | Phase::Vanished => None,
        }
    }

    /// Other limits for what runs; they take a moment.
    pub fn resize(&mut self, resize: &Resize, outside: &mut Outside) {
        let Some(container) = self.containers.get_mut(&resize.container) else { return };
        container.resizing = Some(resize.spec.resources.clone());
        let wait = self.random.millis(1, 2_000);
        self.soon(wait, &resize.container, Inside::Resized, outside);
    }

    /// Looks at a sandbox; that takes a moment.
    pub fn measure(&mut self, id: &ContainerId, outside: &mut Outside) {
        let wait = self.random.millis(1, 2_000);
        self.soon(wait, id, Inside::Sized, outside);
    }

    /// SIGTERM.
    pub fn terminate(&mut self, id: &ContainerId, outside: &mut Outside) {
        if self.containers.get(id).is_some_and(|container| !container.program.stubborn) {
            let wait = self.random.millis(1, 2_000);
            self.soon(wait, id, Inside::Dies(15), outside);
        }
    }

    /// SIGKILL for everything inside; what hangs in the kernel takes its time.
    pub fn kill(&mut self, id: &ContainerId, outside: &mut Outside) {
        let stuck = outside.misfortune && self.random.chance(0.1);
        if stuck {
            outside.coverage.note("machine.stuck");
        }
        let wait = if stuck { self.random.millis(5_000, 12_000) } else { self.random.millis(1, 50) };
        self.soon(wait, id, Inside::Dies(9), outside);
    }

    /// A health check begins.
    pub fn probe(&mut self, id: &ContainerId, round: u64, outside: &mut Outside) {
        let wait = self.random.millis(1, 50);
        self.soon(wait, id, Inside::Answers(round), outside);
    }

    /// Removes what is left of a container.
    pub fn destroy(&mut self, id: &ContainerId, outside: &mut Outside) {
        if let Some(Container { phase: Phase::Running { .. }, task, .. }) = self.containers.remove(id) {
            outside.checks.ended(self.index, &task, id, None);
            outside.checks.removed_while_running(&task);
        }
    }

    /// The agent is no more: what it was setting up goes on by itself, or stops or fails before anything of the task ran.
    pub fn agent_died(&mut self, outside: &mut Outside) {
        let ids: Vec<ContainerId> = self.containers.keys().cloned().collect();
        for id in &ids {
            let (goes_on, vanishes) =
                (self.random.chance(0.5), outside.misfortune && self.random.chance(0.03));
            let container = self.containers.get_mut(id).expect("it was just listed");
            container.watched = false;
            // Limits that were being set are set, or not.
            if let Some(wanted) = container.resizing.take().filter(|_| goes_on)
                && matches!(container.phase, Phase::Running { .. })
            {
                container.resources = wanted;
                outside.checks.resized(self.index, &container.task, id, &container.resources);
            }
            if vanishes && matches!(container.phase, Phase::Running { .. }) {
                container.phase = Phase::Vanished;
                outside.checks.ended(self.index, &container.task, id, None);
            }
            if !matches!(container.phase, Phase::SettingUp) {
                continue;
            }
            if !goes_on {
                container.phase = Phase::CutShort;
            } else if outside.misfortune && self.random.chance(0.4) {
                container.phase = Phase::NeverRan;
            } else {
                outside.coverage.note("machine.set up without its agent");
                self.start(id, outside);
            }
        }
    }

    /// What a new agent finds.
    pub fn found(&mut self) -> Vec<Found> {
        let mut found = Vec::new();
        for (id, container) in &self.containers {
            let condition = match &container.phase {
                Phase::Running { pid } => Condition::Running { pid: *pid },
                Phase::Ended(end) => Condition::Exited(end.clone()),
                Phase::Vanished => Condition::Vanished,
                Phase::NeverRan => Condition::NeverRan(NO_DEVICE.to_owned()),
                Phase::CutShort | Phase::SettingUp => Condition::CutShort,
            };
            found.push(Found { container: id.clone(), condition });
        }
        found
    }

    /// The machine starts anew: nothing runs any more.
    pub fn reboot(&mut self, outside: &mut Outside) {
        for (id, container) in std::mem::take(&mut self.containers) {
            if matches!(container.phase, Phase::Running { .. }) {
                outside.checks.ended(self.index, &container.task, &id, None);
            }
        }
        self.boots += 1;
    }

    /// The tasks whose first process runs.
    pub fn running(&self) -> impl Iterator<Item = &TaskKey> {
        let running = |container: &&Container| matches!(container.phase, Phase::Running { .. });
        self.containers.values().filter(running).map(|container| &container.task)
    }

    fn soon(&self, wait: Duration, container: &ContainerId, inside: Inside, outside: &mut Outside) {
        let (machine, boots, container) = (self.index, self.boots, container.clone());
        outside.agenda.enter(outside.now + wait, Happening::Inside { machine, boots, container, inside });
    }
}
