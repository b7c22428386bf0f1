//! From the core's effects to the containerizer, and back as events.
//!
//! Each effect becomes a job of its own, so that the driver never waits for a container. Jobs about one container come
//! in an order in which they do not hurt each other: it is signalled once it was launched, destroyed once it has ended.

mod container;
mod paths;
mod roots;
mod volumes;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bourse_agent_core::{
    Condition, End, Event, Found, Launch, Limitation, Resize, Signal, TaskKey, disk_limit_of,
};
use bourse_containerizer as containers;
use bourse_containerizer::failpoint::{Failpoint, reached};
use bourse_containerizer::{ContainerError, Containerizer, Outcome, RecoveredState, quota};
use bourse_types::{AgentId, ContainerId, HealthCheck, Milli, Name, Reason, Resource, Resources};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{sleep, timeout};
use tracing::{debug, error, warn};

use crate::driver::Input;
use crate::{disk, probe, sandbox};

use roots::Root;

pub use container::{Habits, flat};
pub use volumes::Mountable;

/// Waits between attempts to remove what is left of a container. What is left after the last one, the next agent finds.
const DESTROY_AGAIN: [Duration; 3] =
    [Duration::from_millis(200), Duration::from_secs(1), Duration::from_secs(5)];

/// So many launches are under way at most: more make each other slow, and the threads that wait for them take memory. Not
/// fewer, as one may have to wait for a disk that does not answer.
const LAUNCHES_AT_ONCE: usize = 64;

/// Between two attempts to hear of the end of a container.
const WAIT_AGAIN: Duration = Duration::from_secs(1);

/// Launches and watches containers.
#[derive(Debug)]
pub struct Launcher<C> {
    containers: C,
    work_dir: PathBuf,
    habits: Arc<Habits>,
    inbox: mpsc::Sender<Input>,
    /// Taken by each launch until the task runs or has failed, but for the time in which it waits for a tar.
    launches: Arc<Semaphore>,
    /// Jobs that end by themselves soon. Watching is not among them.
    jobs: JoinSet<()>,
}

impl<C: Containerizer + Clone> Launcher<C> {
    pub fn new(containers: C, work_dir: PathBuf, habits: Habits, inbox: mpsc::Sender<Input>) -> Launcher<C> {
        Launcher {
            containers,
            work_dir,
            habits: Arc::new(habits),
            inbox,
            launches: Arc::new(Semaphore::new(LAUNCHES_AT_ONCE)),
            jobs: JoinSet::new(),
        }
    }

    pub fn launch(&mut self, launch: Launch) {
        let (containers, inbox) = (self.containers.clone(), self.inbox.clone());
        let (work_dir, habits, launches) =
            (self.work_dir.clone(), self.habits.clone(), self.launches.clone());
        // Not among the jobs that a stopping agent waits for: it goes on as long as the task does.
        tokio::spawn(async move {
            let container = launch.container.clone();
            let starting = {
                let containers = containers.clone();
                tokio::spawn(async move { start(&containers, &launches, work_dir, habits, launch).await })
            };
            let started = starting.await.unwrap_or_else(|panic| Err(broken(&panic)));
            let runs = started.is_ok();
            let event = match started {
                Ok(launched) => Event::Launched { container: container.clone(), pid: launched.pid },
                Err(message) => Event::LaunchFailed { container: container.clone(), message },
            };
            // A driver that is gone needs no telling.
            let _ = inbox.send(Input::Event(event)).await;
            if runs {
                watch(containers, container, inbox).await;
            }
        });
    }

    pub fn watch(&mut self, container: ContainerId) {
        let (containers, inbox) = (self.containers.clone(), self.inbox.clone());
        tokio::spawn(watch(containers, container, inbox));
    }

    /// The core waits for the answer before it asks for other limits of the same container.
    pub fn resize(&mut self, resize: Resize) {
        let Resize { container, spec, cores } = resize;
        let inbox = self.inbox.clone();
        let limits = container::limits(&self.habits, &spec, cores.as_ref());
        let task = TaskKey { framework: spec.framework.clone(), task: spec.id.clone() };
        let sandbox = sandbox::path(&self.work_dir, &spec.agent, &task, &container);
        let habits = self.habits.clone();
        self.job(|containers| async move {
            let outcome = match limits {
                Ok(limits) => {
                    let container = container.clone();
                    let setting = tokio::spawn(async move { containers.resize(&container, &limits).await });
                    match setting.await {
                        Ok(Ok(())) => Ok(()),
                        // Whoever watches it tells its end.
                        Ok(Err(ContainerError::Ended(_) | ContainerError::Unknown(_))) => return,
                        Ok(Err(error)) => Err(error.to_string()),
                        Err(panic) => Err(broken(&panic)),
                    }
                }
                Err(why) => Err(why),
            };
            if outcome.is_ok() {
                let given =
                    spawn_blocking(move || limit_disk(quota::change, &habits, &sandbox, &spec.resources))
                        .await;
                // What it may hold is measured as well, so its limit holds all the same.
                if let Err(why) = given.unwrap_or_else(|panic| Err(broken(&panic))) {
                    warn!(container_id = %container, why, "the quota of a sandbox is as it was");
                }
            }
            reached(Failpoint::LimitsSet);
            if let Err(why) = &outcome {
                warn!(container_id = %container, why, "the limits of a container could not be changed");
            }
            let _ = inbox.send(Input::Event(Event::Resized { container, outcome })).await;
        });
    }

    /// The core waits for the answer before it asks for the same container again.
    pub fn measure(&mut self, agent: Option<&AgentId>, task: &TaskKey, container: ContainerId) {
        let inbox = self.inbox.clone();
        let sandbox = agent.map(|agent| sandbox::path(&self.work_dir, agent, task, &container));
        self.job(|containers| async move {
            let outcome = match sandbox {
                Some(sandbox) => {
                    let (measured, _) = disk::measure(&containers, &container, sandbox).await;
                    measured.map(|measured| measured.held).map_err(|error| error.to_string())
                }
                None => Err("no master has admitted this agent".into()),
            };
            let _ = inbox.send(Input::Event(Event::Measured { container, outcome })).await;
        });
    }

    pub fn signal(&mut self, container: ContainerId, signal: Signal) {
        match signal {
            Signal::Term => self.job(|containers| async move {
                ignore_end(containers.terminate(&container).await, "terminate");
            }),
        }
    }

    pub fn kill_all(&mut self, container: ContainerId) {
        self.job(|containers| async move { ignore_end(containers.kill_all(&container).await, "kill") });
    }

    pub fn destroy(&mut self, container: ContainerId) {
        self.job(|containers| async move {
            for wait in DESTROY_AGAIN {
                match containers.destroy(&container).await {
                    Ok(()) => return,
                    Err(error) => warn!(%error, "could not remove what is left of a container; trying again"),
                }
                sleep(wait).await;
            }
            if let Err(error) = containers.destroy(&container).await {
                error!(%error, "could not remove what is left of a container; the next agent tries again");
            }
        });
    }

    pub fn probe(&mut self, container: ContainerId, round: u64, check: HealthCheck) {
        let inbox = self.inbox.clone();
        self.job(|containers| async move {
            let outcome = probe::probe(&containers, &container, &check).await;
            let _ = inbox.send(Input::Event(Event::Probed { container, round, outcome })).await;
        });
    }

    /// Waits for the jobs under way, for so long at most.
    pub async fn finish(&mut self, most: Duration) {
        if timeout(most, async { while self.jobs.join_next().await.is_some() {} }).await.is_err() {
            warn!(
                ?most,
                "what is left of some containers could not be removed in time; the next agent tries again"
            );
        }
    }

    fn job<F: Future<Output = ()> + Send + 'static>(&mut self, work: impl FnOnce(C) -> F) {
        while self.jobs.try_join_next().is_some() {}
        self.jobs.spawn(work(self.containers.clone()));
    }
}

/// What an earlier agent left, as the core wants to know it.
pub async fn recover<C: Containerizer>(containers: &C) -> Result<Vec<Found>, containers::RecoverError> {
    let recovered = containers.recover().await?;
    let found = recovered.into_iter().map(|recovered| Found {
        container: recovered.container_id,
        condition: match recovered.state {
            RecoveredState::Running(launched) => Condition::Running { pid: launched.pid },
            RecoveredState::Ended(ended) => match ended.outcome {
                Outcome::SetUpFailed(message) => Condition::NeverRan(message),
                Outcome::CutShort => Condition::CutShort,
                Outcome::Exited(_) | Outcome::Vanished(_) => Condition::Exited(end(*ended)),
            },
        },
    });
    Ok(found.collect())
}

async fn start<C: Containerizer>(
    containers: &C,
    launches: &Semaphore,
    work_dir: PathBuf,
    habits: Arc<Habits>,
    launch: Launch,
) -> Result<containers::Launched, String> {
    // It is never closed.
    let mut turn = launches.acquire().await;
    // A volume or a root may be on a disk of another machine that does not answer: only this task waits for it.
    let prepared = spawn_blocking(move || {
        let sandbox = sandbox::make(&work_dir, &launch.agent, &launch.task, &launch.container);
        let sandbox = sandbox.map_err(|error| {
            format!(
                "the agent could not make a sandbox under {}: {error}; see whether its disk is full, in bytes or in inodes",
                work_dir.display()
            )
        })?;
        reached(Failpoint::SandboxMade);
        // Before anything is in it.
        limit_disk(quota::give, &habits, &sandbox, &launch.spec.resources)?;
        let spec = container::spec(&habits, &launch, sandbox)?;
        let rootfs = launch.spec.rootfs.as_ref();
        let root =
            rootfs.map(|rootfs| roots::find(&habits, rootfs, &work_dir, &launch.container)).transpose()?;
        Ok((spec, root))
    });
    let (spec, root) = prepared.await.unwrap_or_else(|panic| Err(broken(&panic)))?;
    let root = match root {
        Some(Root::Packed(mut packed)) => {
            // Many may wait for one tar, and for long: others start meanwhile.
            drop(turn);
            packed.unpacked().await?;
            turn = launches.acquire().await;
            let taken = spawn_blocking(move || packed.take()).await;
            Some(taken.unwrap_or_else(|panic| Err(broken(&panic)))?)
        }
        Some(Root::There(root)) => Some(root),
        None => None,
    };
    let launched = containers.launch(&containers::ContainerSpec { root, ..spec }).await;
    drop(turn);
    launched.map_err(|error| error.to_string())
}

/// Gives a sandbox the quota of a task with these resources, where its file system has quotas.
fn limit_disk(
    how: fn(&Path, Option<quota::Limit>) -> std::io::Result<bool>,
    habits: &Habits,
    sandbox: &Path,
    resources: &Resources,
) -> Result<(), String> {
    if !habits.enforce_disk {
        return Ok(());
    }
    let limited = disk::quota_for(sandbox, disk_limit_of(resources)).and_then(|limit| how(sandbox, limit));
    limited.map(drop).map_err(|error| {
        format!(
            "the sandbox {} could not be given its quota: {error}; see whether the quotas of its file system are in order, \
             mount that without prjquota, or start the agent with --enforce-disk=false",
            sandbox.display()
        )
    })
}

async fn watch<C: Containerizer + Clone>(containers: C, container: ContainerId, inbox: mpsc::Sender<Input>) {
    let unknown = |message: String| End { message: Some(message), ..End::default() };
    let event = loop {
        let waiting = {
            let (containers, container) = (containers.clone(), container.clone());
            tokio::spawn(async move { containers.wait(&container).await })
        };
        match waiting.await {
            Ok(Ok(containers::Ended { outcome: Outcome::SetUpFailed(message), .. })) => {
                break Event::LaunchFailed { container, message };
            }
            Ok(Ok(ended)) => break Event::Ended { container, end: end(ended) },
            Ok(Err(error @ ContainerError::Unknown(_))) => {
                break Event::Ended { container, end: unknown(error.to_string()) };
            }
            // Not an end: the task may well run on while the agent has no descriptor left, say.
            Ok(Err(error)) => warn!(%error, "could not wait for the end of a container; trying again"),
            Err(panic) => break Event::Ended { container, end: unknown(broken(&panic)) },
        }
        sleep(WAIT_AGAIN).await;
    };
    let _ = inbox.send(Input::Event(event)).await;
}

/// A panic costs the one task whose container it was about, and not the agent with all the others.
fn broken(panic: &tokio::task::JoinError) -> String {
    error!(%panic, "internal error in the agent, about one container");
    "internal error in the agent; its log says more, please report it".into()
}

/// The end of a container in the core's words.
fn end(ended: containers::Ended) -> End {
    let (limitation, message) = match ended.limitation {
        Some(of @ containers::Limitation::Memory { limit_bytes, .. }) => {
            let mebibytes = Milli::new(limit_bytes.saturating_mul(1000) >> 20);
            let resources = [Resource::scalar(Name::mem(), mebibytes)].into_iter().collect();
            let message = of.to_string();
            (Some(Limitation { reason: Reason::ContainerLimitationMemory, message, resources }), None)
        }
        // It was within its limit: with that reason its framework would ask for more in vain.
        Some(of @ containers::Limitation::OthersMemory { .. }) => (None, Some(of.to_string())),
        None => (None, None),
    };
    match ended.outcome {
        Outcome::Exited(exit) => End { exit: Some(exit), limitation, message },
        Outcome::Vanished(why) | Outcome::SetUpFailed(why) => {
            End { exit: None, limitation, message: Some(why) }
        }
        Outcome::CutShort => End { exit: None, limitation, message: None },
    }
}

/// A container that ended meanwhile needs no signal any more.
fn ignore_end(result: Result<(), ContainerError>, what: &'static str) {
    match result {
        Ok(()) => {}
        Err(ContainerError::Ended(id) | ContainerError::Unknown(id)) => {
            debug!(container_id = %id, what, "the container has ended already");
        }
        Err(error) => error!(%error, what, "could not reach a container"),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use bourse_agent_core::Checked;
    use bourse_types::{Command, Exit, HealthKind};
    use containers::{
        Check, CheckEnd, ContainerSpec, Ended, LaunchError, Launched, Limits, RecoverError, Recovered, Usage,
    };

    use super::*;

    fn no_descriptor(id: &ContainerId, what: &'static str) -> ContainerError {
        let source = std::io::Error::from_raw_os_error(nix::libc::EMFILE);
        ContainerError::Io { id: id.clone(), what, source }
    }

    /// Knows of the end of its container only when it is asked again, and can make no check.
    #[derive(Clone, Default)]
    struct SlowToKnow(Arc<AtomicU32>);

    impl Containerizer for SlowToKnow {
        async fn wait(&self, id: &ContainerId) -> Result<Ended, ContainerError> {
            match self.0.fetch_add(1, Ordering::Relaxed) {
                0 => Err(no_descriptor(id, "wait for its first process")),
                _ => {
                    let outcome = Outcome::Exited(Exit::Code(3));
                    Ok(Ended { outcome, at: None, limitation: None })
                }
            }
        }

        async fn launch(&self, _: &ContainerSpec) -> Result<Launched, LaunchError> {
            unreachable!("nothing is launched")
        }

        async fn recover(&self) -> Result<Vec<Recovered>, RecoverError> {
            Ok(Vec::new())
        }

        async fn terminate(&self, _: &ContainerId) -> Result<(), ContainerError> {
            Ok(())
        }

        async fn kill_all(&self, _: &ContainerId) -> Result<(), ContainerError> {
            Ok(())
        }

        async fn destroy(&self, _: &ContainerId) -> Result<(), ContainerError> {
            Ok(())
        }

        async fn usage(&self, id: &ContainerId) -> Result<Usage, ContainerError> {
            Err(ContainerError::Ended(id.clone()))
        }

        async fn resize(&self, _: &ContainerId, _: &Limits) -> Result<(), ContainerError> {
            Ok(())
        }

        async fn exec(&self, id: &ContainerId, _: &Check) -> Result<CheckEnd, ContainerError> {
            Err(no_descriptor(id, "start a check"))
        }
    }

    #[tokio::test]
    async fn a_check_that_cannot_be_started_is_no_bad_health() {
        let command = HealthKind::Command(Command::shell("true"));
        let container = ContainerId::new("c1").expect("valid");
        let found = probe::probe(&SlowToKnow::default(), &container, &HealthCheck::new(command)).await;
        assert!(matches!(found, Checked::Unknown(_)), "{found:?}");
    }

    #[tokio::test]
    async fn a_wait_that_fails_is_no_end_and_is_tried_again() {
        let (inbox, mut inputs) = mpsc::channel(1);
        watch(SlowToKnow::default(), ContainerId::new("c1").expect("valid"), inbox).await;
        let Some(Input::Event(Event::Ended { end, .. })) = inputs.recv().await else { panic!("an end") };
        assert_eq!(end.exit, Some(Exit::Code(3)));
    }
}
