//! A framework that keeps a cluster busy, in a process of its own, so that it can be killed like any other part.
//!
//! It has short tasks, some of them at a time and always new ones until it is told that it is enough, each with an exit
//! code of its own; and steady ones that run until the framework is torn down. It keeps its state by the SDK, so that its
//! next life goes on with the same tasks.

use std::collections::BTreeSet;
use std::env;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bourse_sdk::{Calls, Event, Framework, Offer, RunError, Scheduler, StateDir, Task};
use bourse_types::{AgentId, Milli, Now, TaskId};
use tokio::signal::unix::{SignalKind, signal};

use crate::cluster::Cluster;
use crate::journal::{Journal, Pen, Story};
use crate::ledger::Ledger;
use crate::part::Part;
use crate::{audit, wait};

/// Steady tasks of a load.
pub const STEADY: u32 = 3;
/// Tasks at a time, beside the steady ones.
const AT_ONCE: usize = 8;
/// Tasks from one offer at most, so that all agents have some.
const AT_ONE_OFFER: usize = 4;

/// A load as a part of a test.
#[derive(Debug)]
pub struct Load {
    /// The process.
    pub part: Part,
    name: String,
    /// What it did and was told.
    pub journal: Journal,
    ledger: Ledger,
    /// While it is there, no short task comes to its end.
    hold: PathBuf,
    /// Once it is there, nothing more is launched.
    enough: PathBuf,
}

/// Whether it came to its end by itself: one that never ran, or was killed, has no exit code.
fn has_run(story: &Story) -> bool {
    story.end().is_some_and(|(_, code)| code.is_some())
}

impl Load {
    /// Starts a load on the cluster that goes on until [`Load::finish`]. `program` is the path of `bourse-test-load`.
    pub fn start(cluster: &Cluster, program: &Path) -> Load {
        Load::named(cluster, program, "load", cluster.ledger.clone())
    }

    /// One of several: each has its own name, which begins with `load`, and its own ledger.
    pub fn named(cluster: &Cluster, program: &Path, name: &str, ledger: Ledger) -> Load {
        let folder = cluster.secrets().join(name);
        std::fs::create_dir(&folder).expect("the test's own folder is writable");
        let journal = cluster.logs().join(format!("{name}.journal"));
        let (hold, enough) = (cluster.shared().join(format!("{name}.hold")), folder.join("enough"));
        let (master, prefix) = cluster.way_of(name);
        let mut part = Part::new(name, program, cluster.logs())
            .through(prefix)
            .variable("BOURSE_MASTER", master)
            .variable("BOURSE_INSECURE", "1")
            .variable("BOURSE_TOKEN_FILE", cluster.token_file("framework"))
            .variable("LOAD_NAME", name)
            .variable("LOAD_STATE", folder.join("state"))
            .variable("LOAD_JOURNAL", &journal)
            .variable("LOAD_LEDGER", ledger.path())
            .variable("LOAD_HOLD", &hold)
            .variable("LOAD_ENOUGH", &enough);
        part.start();
        Load { part, name: name.to_owned(), journal: Journal::at(journal), ledger, hold, enough }
    }

    /// How many tasks have run to their end so far.
    pub fn ended(&self) -> usize {
        self.journal.read().values().filter(|story| has_run(story)).count()
    }

    /// Waits until the steady tasks run and `count` others have ended: the cluster is under load.
    #[track_caller]
    pub fn wait_ended(&self, count: usize) {
        wait::wait_for(&format!("{count} tasks to end"), wait::PATIENCE, || {
            let stories = self.journal.read();
            let running = |told: &[(String, Option<i32>)]| {
                told.last().is_some_and(|(state, _)| state == "TASK_RUNNING")
            };
            let steady = stories
                .iter()
                .filter(|(task, story)| task.starts_with("steady") && running(&story.told))
                .count();
            let ended = stories.values().filter(|story| has_run(story)).count();
            let seen = format!(
                "{ended} tasks ended, {steady} of {STEADY} steady tasks run, notes {:?}",
                self.journal.notes()
            );
            if ended >= count && steady == STEADY as usize { Ok(()) } else { Err(seen) }
        });
    }

    /// The short tasks that are in their middle, by their own word: begun, and not at their end.
    fn in_their_middle(&self) -> BTreeSet<String> {
        let short = self.ledger.read().into_iter().filter(|(task, _)| task.starts_with("short"));
        short.filter(|(_, ran)| ran.starts > ran.ends).map(|(task, _)| task).collect()
    }

    /// Waits until a short task is in its middle: whoever is killed now is killed under load.
    #[track_caller]
    pub fn wait_busy(&self) {
        wait::wait_until("a short task in its middle", || !self.in_their_middle().is_empty());
    }

    /// Lets short tasks begin and not end, waits until there are as many as there can be, and names them. They end
    /// after [`Load::let_go`].
    #[track_caller]
    pub fn hold(&self) -> BTreeSet<String> {
        std::fs::write(&self.hold, "").expect("a test's own folder is writable");
        wait::wait_for("all short tasks to be held", wait::PATIENCE, || {
            let held = self.in_their_middle();
            if held.len() == AT_ONCE { Ok(held) } else { Err(format!("{held:?} are")) }
        })
    }

    /// Lets those that are held come to their ends.
    pub fn let_go(&self) {
        std::fs::remove_file(&self.hold).expect("tasks are held");
    }

    /// Waits until these tasks have come to their ends by their own word.
    #[track_caller]
    pub fn wait_over(&self, tasks: &BTreeSet<String>) {
        wait::wait_for("tasks to come to their ends", wait::PATIENCE, || {
            let left: Vec<String> = self.in_their_middle().intersection(tasks).cloned().collect();
            if left.is_empty() { Ok(()) } else { Err(format!("{left:?} have not")) }
        });
    }

    /// Waits until all tasks have ended, launching no more, tears the framework down, and compares what it was told
    /// with what ran.
    ///
    /// # Panics
    /// When something is wrong.
    #[track_caller]
    pub fn finish(mut self, cluster: &Cluster) -> audit::Sum {
        self.tear_down(cluster, 2 * wait::PATIENCE);
        cluster.assert_no_container_is_left();
        self.audit()
    }

    /// Waits until all tasks have ended and their ends were told, launching no more, and tears the framework down.
    ///
    /// # Panics
    /// When it takes too long.
    #[track_caller]
    pub fn tear_down(&mut self, cluster: &Cluster, patience: Duration) {
        std::fs::write(&self.enough, "").expect("the test's own folder is writable");
        wait::wait_for("all tasks of the load to end", patience, || {
            let silent: Vec<String> = self
                .journal
                .read()
                .into_iter()
                .filter(|(_, story)| story.end().is_none())
                .map(|(task, _)| task)
                .collect();
            let done = self.journal.notes().iter().any(|note| note == "all done");
            if done { Ok(()) } else { Err(format!("without an end: {silent:?}")) }
        });
        let status = self.part.stop(nix::sys::signal::Signal::SIGTERM);
        assert!(status.success(), "the load ended with {status}; {}", self.part.tail());
        wait::wait_until("the framework to be torn down", || {
            let frameworks = cluster.api.frameworks().expect("the master answers");
            frameworks
                .iter()
                .filter(|framework| framework.name == self.name)
                .all(|framework| framework.state == "completed")
        });
    }

    /// Compares what the framework was told with what ran. It was torn down, and its containers are gone.
    ///
    /// # Panics
    /// When something is wrong.
    #[track_caller]
    pub fn audit(self) -> audit::Sum {
        let mut journal = self.journal.read();
        let mut ledger = self.ledger.read();
        // Nobody is told of the end of those: their framework was gone.
        let steady: Vec<String> = journal.keys().filter(|task| task.starts_with("steady")).cloned().collect();
        for task in steady {
            let (ran, story) = (ledger.remove(&task).unwrap_or_default(), &journal[&task]);
            assert!(ran.starts <= 1 && ran.ends == 0, "{task} has {ran:?} in the ledger");
            assert!(
                ran.starts == 0 || story.end().is_none(),
                "{task} ran on, and was told as {:?}",
                story.told
            );
            journal.remove(&task);
        }
        audit::audit(&journal, &ledger).unwrap_or_else(|wrong| panic!("{wrong}"))
    }
}

/// The process' whole life. Ends at SIGTERM, with its framework.
///
/// # Errors
/// The SDK's, when the framework cannot go on.
pub async fn run() -> Result<(), RunError> {
    let variable = |name: &str| env::var(name).unwrap_or_else(|_| panic!("{name} is not set"));
    let state = StateDir::open(PathBuf::from(variable("LOAD_STATE")))?;
    let kept = state.values()?;
    let number = |key: &str| kept.get(key).and_then(|value| std::str::from_utf8(value).ok()?.parse().ok());
    let mut scheduler = Busy {
        ledger: Ledger::at(variable("LOAD_LEDGER")),
        hold: variable("LOAD_HOLD"),
        enough: variable("LOAD_ENOUGH").into(),
        done: false,
        launched: number("launched").unwrap_or(0),
        alive: Vec::new(),
        pen: Pen::open(Path::new(&variable("LOAD_JOURNAL"))).expect("the journal can be opened"),
    };
    let mut known = Vec::new();
    for (key, agent) in &kept {
        if let Some(id) = key.strip_prefix("task-") {
            let id = TaskId::new(id).expect("it was an id when it was kept");
            // Of a task whose agent is known the master can say that it is gone.
            let agent = std::str::from_utf8(agent).ok().and_then(|id| AgentId::new(id).ok());
            known.push((id.clone(), Some(agent.expect("it was an id when it was kept"))));
            scheduler.alive.push(id);
        }
    }
    scheduler.pen.life(&scheduler.alive);
    let mut stop = signal(SignalKind::terminate()).expect("a handler can be set");
    let framework = Framework::new(variable("LOAD_NAME"))
        .state(state)
        .tasks(known)
        .user("nobody")
        .patience(None)
        .decline_for(Duration::from_millis(100))
        .teardown_on(async move {
            stop.recv().await;
        });
    framework.run(scheduler).await.map(drop)
}

/// Keeps so many tasks alive until it is enough.
struct Busy {
    ledger: Ledger,
    hold: String,
    enough: PathBuf,
    /// It is enough, and all short tasks have ended.
    done: bool,
    launched: u32,
    /// Launched and not known to have ended, steady ones too.
    alive: Vec<TaskId>,
    pen: Pen,
}

impl Busy {
    fn on_offer(&mut self, mut offer: Offer, calls: &mut Calls) {
        let enough = self.enough.exists();
        // Offers come all the time, as none is declined for long.
        if enough && !self.done && !self.alive.iter().any(is_short) {
            self.done = true;
            self.pen.note("all done");
        }
        for _ in 0..AT_ONE_OFFER {
            let steady = self.alive.iter().filter(|task| !is_short(task)).count();
            let (name, command, code) = if (steady as u32) < STEADY {
                ("steady", self.ledger.open("sleep 1000"), 0)
            } else if self.alive.len() - steady < AT_ONCE && !enough {
                let code = self.launched % 7;
                // From 0 to 0.6 s, so that ends fall into every moment of a restart.
                let work = format!("sleep 0.{code}; while [ -e {} ]; do sleep 0.05; done", self.hold);
                ("short", self.ledger.wrap(&work, code), code as i32)
            } else {
                break;
            };
            let id = calls.task_id(name);
            let task = Task::new(id.clone()).command(command).cpus(Milli::new(10)).mem_mib(16);
            if offer.launch(task).is_err() {
                break;
            }
            self.launched += 1;
            calls.save("launched", self.launched.to_string());
            calls.save(format!("task-{id}"), offer.agent().to_string());
            self.pen.launch(&id, code);
            self.alive.push(id);
        }
        calls.accept(offer);
    }
}

fn is_short(task: &TaskId) -> bool {
    task.as_str().starts_with("short")
}

impl Scheduler for Busy {
    type Message = ();

    fn on(&mut self, _now: Now, event: Event<()>, calls: &mut Calls) {
        match event {
            Event::Offer(offer) => self.on_offer(offer, calls),
            Event::Update(status) => {
                self.pen.update(&status);
                let known = self.alive.iter().position(|task| *task == status.task_id);
                let Some(known) = known.filter(|_| status.state.is_terminal()) else { return };
                let task = self.alive.swap_remove(known);
                calls.forget(format!("task-{task}"));
                calls.revive();
            }
            Event::Subscribed { framework, again } => {
                self.pen.note(&format!("subscribed as {framework}, again: {again}"))
            }
            Event::Disconnected => self.pen.note("disconnected"),
            Event::Error(text) => self.pen.note(&format!("error: {text}")),
            Event::Rescinded(offer) => self.pen.note(&format!("rescinded {offer}")),
            Event::Reconciled | Event::AgentFailed(_) | Event::AgentDraining { .. } | Event::Deadline => {}
            Event::ResizeFailed { task, why, .. } => self.pen.note(&format!("{task} is not resized: {why}")),
            Event::Message(()) => {}
        }
    }
}
