//! The end of a container, and what it has used until then.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::pin::pin;
use std::time::Duration;

use bourse_init::order;
use bourse_init::record::Record;
use bourse_init::step::Step;
use bourse_types::time::Wall;
use bourse_types::{ContainerId, Exit};
use nix::unistd::{SysconfVar, sysconf};
use tokio::io::unix::AsyncFd;
use tokio::time::timeout;

use super::{Container, Inner, Life, LinuxContainerizer};
use crate::cgroup::{Hierarchy, MemoryWatch};
use crate::containerizer::{ContainerError, Ended, Limitation, Outcome, explain};
use crate::failpoint::{Failpoint, reached};
use crate::process;
use crate::usage::Usage;

/// Between two looks at whether a task lost a process for want of memory, where the kernel does not tell.
const LOOK_FOR_OOM_KILLS: Duration = Duration::from_millis(200);

/// So often, with so long in between, it is looked whether a task that reached its limit has lost a process: the kernel
/// tells before it chooses one, and may find that there was memory after all.
const KILLED_AFTER: (u32, Duration) = (20, Duration::from_millis(10));

/// How long a killed task may take until its first process has seen it and gone, and a first process that was killed itself.
pub const GONE_WITHIN: Duration = Duration::from_secs(5);

pub async fn wait(inner: &Inner, container: &Container) -> Result<Ended, ContainerError> {
    if let Life::Known { init, .. } = &container.life {
        let ended = process::ended(init.as_fd());
        let groups = inner.groups.as_ref().ok();
        let gone = match groups.map(|groups| (groups, groups.watch_memory(container.id.as_str()))) {
            None | Some((_, MemoryWatch::NotNeeded)) => ended.await,
            Some((groups, watch)) => {
                let event = match &watch {
                    MemoryWatch::Event(event) => Some(process::watch(event.as_fd())),
                    MemoryWatch::Look | MemoryWatch::NotNeeded => None,
                };
                let event = event.transpose().map_err(container.io("watch its memory"))?;
                ended_or_out_of_memory(container, groups.as_ref(), ended, event.as_ref()).await?
            }
        };
        gone.map_err(container.io("wait for its first process"))?;
        process::reap(init.as_fd());
        reached(Failpoint::EndSeen);
    }
    let ended = ended(inner, container).map_err(container.io("read its exit record"))?;
    reached(Failpoint::RecordRead);
    Ok(ended)
}

/// Waits for the end of a task, and ends it as a whole when it loses a process for want of memory: half a task is worth
/// nothing, and one that starts the lost process again would go on so for ever. Whose want it was does not matter; that of
/// the whole machine is seen by [`usage`] only.
async fn ended_or_out_of_memory(
    container: &Container,
    groups: &dyn Hierarchy,
    ended: impl Future<Output = io::Result<()>>,
    event: Option<&AsyncFd<OwnedFd>>,
) -> Result<io::Result<()>, ContainerError> {
    let mut ended = pin!(ended);
    loop {
        // Also at first: it may have happened while no agent looked.
        if groups.oom_kills(container.id.as_str()) > 0 {
            kill_all(container)?;
        }
        let Some(event) = event else {
            match timeout(LOOK_FOR_OOM_KILLS, ended.as_mut()).await {
                Ok(ended) => return Ok(ended),
                Err(_) => continue,
            }
        };
        tokio::select! {
            ended = ended.as_mut() => return Ok(ended),
            told = event.readable() => {
                let mut told = told.map_err(container.io("watch its memory"))?;
                let _ = rustix::io::read(event, &mut [0; 8]);
                told.clear_ready();
            }
        }
        let (looks, between) = KILLED_AFTER;
        for _ in 0..looks {
            if groups.oom_kills(container.id.as_str()) > 0 {
                break;
            }
            if let Ok(ended) = timeout(between, ended.as_mut()).await {
                return Ok(ended);
            }
        }
    }
}

/// How a container ended whose first process is gone.
pub fn ended(inner: &Inner, container: &Container) -> io::Result<Ended> {
    let (outcome, at) = match container.dir.read_record()? {
        Some(Record::Exited { code, wall_ms }) => (Outcome::Exited(Exit::Code(code)), Some(Wall(wall_ms))),
        Some(Record::Signaled { signal, wall_ms }) => {
            (Outcome::Exited(Exit::Signal(signal)), Some(Wall(wall_ms)))
        }
        // It waited for an agent that was gone.
        Some(Record::Failed(failure)) if failure.step == Step::Gate => (Outcome::CutShort, None),
        Some(Record::Failed(failure)) => (Outcome::SetUpFailed(explain(&failure)), None),
        None => {
            let outcome = match &container.life {
                Life::Known { .. } => Outcome::Vanished(
                    "its first process was killed from outside, or could not write the exit record".into(),
                ),
                Life::Over(why) => Outcome::Vanished(why.clone()),
                Life::CutShort => Outcome::CutShort,
            };
            (outcome, None)
        }
    };
    let groups = inner.groups.as_ref().ok();
    let limitation = groups.and_then(|groups| limitation(groups.as_ref(), container.id.as_str()));
    Ok(Ended { outcome, at, limitation })
}

/// Whatever the main process made of it: what has lost a process for want of memory is ended by that (see [`wait`]). Few have,
/// and of all others no more is looked at than that.
fn limitation(groups: &dyn Hierarchy, container: &str) -> Option<Limitation> {
    if groups.oom_kills(container) == 0 {
        return None;
    }
    let Usage { memory_limit_bytes, memory_peak_bytes: peak_bytes, .. } = groups.usage(container)?;
    Some(match memory_limit_bytes {
        Some(limit_bytes) if groups.is_over_memory(container) => {
            Limitation::Memory { limit_bytes, peak_bytes }
        }
        limit_bytes => Limitation::OthersMemory { limit_bytes, peak_bytes },
    })
}

/// Measures a container, and ends one that lost a process because the whole machine was out of memory, on control groups
/// of version 1: there the kernel takes one process of a task, and tells nobody. What would tell is not to be had without
/// a price: the first process reaps orphans only, so it does not see who was killed, and levels of pressure are told to the
/// group of all alone, and again and again while memory is short, to every container that listens. Here the figure is read
/// anyway, so that it costs nothing to look at it.
pub fn usage(inner: &Inner, container: &Container) -> Option<Usage> {
    let of_groups = inner.groups.as_ref().ok().and_then(|groups| groups.usage(container.id.as_str()));
    if of_groups.as_ref().is_some_and(|usage| usage.oom_kills > 0)
        && let Err(error) = kill_all(container)
    {
        tracing::warn!(container_id = %container.id, %error, "a task that lost a process for want of memory is left");
    }
    of_groups.or_else(|| container.started().map(|started| usage_of_session(started.task.pid)))
}

/// Without control groups: what the processes of the task's session say of themselves.
fn usage_of_session(session: u32) -> Usage {
    let page_bytes = sysconf(SysconfVar::PAGE_SIZE).ok().flatten();
    let page_bytes = page_bytes.and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or(1);
    let mut usage = Usage::default();
    let stats = process::all_pids().into_iter().filter_map(|pid| process::stat(pid).ok()?);
    for stat in stats.filter(|stat| stat.session == session) {
        usage.cpu += process::ticks(stat.cpu_ticks);
        usage.memory_bytes += stat.resident_pages * page_bytes;
        usage.pids += stat.threads;
    }
    usage
}

/// Tells the first process what to do with the task (see `bourse_init::order`). It is there as long as the container
/// is, sees every process of the task and nobody else's, and does it to all of them at once.
pub fn order(container: &Container, order: i32) -> Result<(), ContainerError> {
    let ended = || ContainerError::Ended(container.id.clone());
    let Life::Known { init, .. } = &container.life else { return Err(ended()) };
    match process::send_signal(init.as_fd(), order).map_err(container.io("signal its first process"))? {
        true => Ok(()),
        false => Err(ended()),
    }
}

pub fn kill_all(container: &Container) -> Result<(), ContainerError> {
    match order(container, order::KILL) {
        Err(ContainerError::Ended(_)) => Ok(()),
        result => result,
    }
}

pub async fn destroy(containerizer: &LinuxContainerizer, id: &ContainerId) -> Result<(), ContainerError> {
    reached(Failpoint::DestroyBegun);
    loop {
        let known = containerizer.0.find(id).ok();
        if let Some(container) = &known {
            end(container).await?;
        }
        reached(Failpoint::ProcessesGone);
        let (owned, is_over) = (id.clone(), known.is_some());
        if containerizer.blocking(move |inner| remove(inner, &owned, is_over)).await? {
            return Ok(());
        }
    }
}

/// Ends what still runs in a container.
async fn end(container: &Container) -> Result<(), ContainerError> {
    let Life::Known { init, .. } = &container.life else { return Ok(()) };
    // First the task, so that its first process can clean up after it; that matters without a pid
    // namespace.
    match order(container, order::KILL) {
        // Its end was seen, and nobody has to be waited for.
        Err(ContainerError::Ended(_)) => return Ok(()),
        ordered => ordered?,
    }
    if timeout(GONE_WITHIN, process::ended(init.as_fd())).await.is_err() {
        process::send_signal(init.as_fd(), libc::SIGKILL).map_err(container.io("kill its first process"))?;
        match timeout(GONE_WITHIN, process::ended(init.as_fd())).await {
            Ok(ended) => ended.map_err(container.io("wait for its first process"))?,
            Err(_) => return Err(ContainerError::Stuck(container.id.clone())),
        }
    }
    process::reap(init.as_fd());
    Ok(())
}

/// Removes what is left of a container once nobody launches it. `false`: it was launched meanwhile, and runs.
fn remove(inner: &Inner, id: &ContainerId, is_over: bool) -> Result<bool, ContainerError> {
    let _turn = inner.turns.take(id);
    if !is_over && inner.find(id).is_ok() {
        return Ok(false);
    }
    inner.clear_groups(id).map_err(|error| ContainerError::Cgroup { id: id.clone(), error })?;
    reached(Failpoint::GroupsRemoved);
    let what = "remove its runtime directory";
    let removed = inner.runtime.container(id).remove();
    removed.map_err(|source| ContainerError::Io { id: id.clone(), what, source })?;
    reached(Failpoint::RuntimeDirRemoved);
    inner.table().remove(id);
    inner.users.give_back(id);
    Ok(true)
}
