//! Finding the containers of an earlier agent process.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use bourse_types::ContainerId;

use super::{Inner, Life};
use crate::cgroup::PROBE;
use crate::containerizer::{Launched, RecoverError, Recovered, RecoveredState};
use crate::failpoint::{Failpoint, reached};
use crate::linux::end;
use crate::process::{self, Process};
use crate::runtime_dir::ContainerDir;

/// How long a launch that was under way when the agent died may take to begin or to give up. Both take
/// milliseconds: its end of the socket is closed, or the word to go on is in it.
const DECIDED_WITHIN: Duration = Duration::from_secs(5);

/// How long a first process may take to go after its task, if it does not wait for others.
const GONE_WITHIN: Duration = Duration::from_millis(200);

pub fn recover(inner: &Inner) -> Result<Vec<Recovered>, RecoverError> {
    let known = inner
        .runtime
        .containers()
        .map_err(|source| RecoverError { path: inner.runtime.path().into(), source })?;
    // A trial that was cut short is nobody's task, and the next trial makes way for itself.
    let known: Vec<ContainerId> = known.into_iter().filter(|id| id.as_str() != PROBE).collect();
    destroy_strangers(inner, &known);
    reached(Failpoint::StrangersRemoved);
    known.into_iter().map(|id| recover_one(inner, id)).collect()
}

fn recover_one(inner: &Inner, id: ContainerId) -> Result<Recovered, RecoverError> {
    let dir = inner.runtime.container(&id);
    let failed = |source| RecoverError { path: dir.path().into(), source };
    // A repeat keeps the descriptor that is there.
    let container = match inner.find(&id) {
        Ok(container) => container,
        Err(_) => {
            let life = look(inner, &dir).map_err(failed)?;
            if let Life::Known { .. } = life {
                keep_users(inner, &id, &dir);
            }
            if let Life::Over(_) | Life::CutShort = life
                && let Ok(groups) = &inner.groups
                // Its first process is gone and with it all others, except a command that was just being
                // started.
                && let Err(error) = groups.kill(id.as_str())
            {
                tracing::warn!(container_id = %id, %error, "processes of a container that is over are left");
            }
            inner.add(&id, life)
        }
    };
    let state = match container.started() {
        Some(started) => {
            let (pid, start_time) = (started.task.pid, started.task.start_time);
            RecoveredState::Running(Launched { pid, start_time })
        }
        None => RecoveredState::Ended(Box::new(end::ended(inner, &container).map_err(failed)?)),
    };
    reached(Failpoint::ContainerFound);
    Ok(Recovered { container_id: id, state })
}

/// What there is to know about a container from outside.
fn look(inner: &Inner, dir: &ContainerDir) -> io::Result<Life> {
    let Some(started) = dir.read_started()? else {
        return Ok(Life::CutShort);
    };
    if started.boot_id != inner.boot_id {
        return Ok(Life::Over("the machine was restarted".into()));
    }
    until_decided(&started.init, &started.task)?;
    Ok(match started.init.open()? {
        Some(init) => Life::Known { started, init },
        None => Life::Over("its first process was killed while no agent looked".into()),
    })
}

/// The users of a container that runs are given to no other.
fn keep_users(inner: &Inner, id: &ContainerId, dir: &ContainerDir) {
    match dir.read_plan().map(|plan| plan.users) {
        Ok(Some(users)) => inner.users.found(id, users),
        Ok(None) => {}
        Err(error) => tracing::warn!(
            container_id = %id, %error,
            "the plan of a container cannot be read: if it has users of its own, another may get the same"
        ),
    }
}

/// Waits until a container either runs its task or is on no way to. It is written down who it is before the task may
/// begin, and an agent that died in between leaves a first process that is about to go: taken for one that runs, its
/// end would look like a killing.
fn until_decided(init: &Process, task: &Process) -> io::Result<()> {
    let since = Instant::now();
    let mut not_begun = false;
    while init.open()?.is_some() {
        let task = process::stat(task.pid)?.filter(|stat| stat.start_time == task.start_time && !stat.ended);
        let patience = match task {
            Some(stat) if stat.executed => return Ok(()),
            Some(_) => {
                not_begun = true;
                DECIDED_WITHIN
            }
            None if not_begun => DECIDED_WITHIN,
            // It may have given up just now, or have ended and left others that were asked to end.
            None => GONE_WITHIN,
        };
        if since.elapsed() > patience {
            return Ok(());
        }
        thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// Control groups without anything written down about them are what is left of a launch that was cut short.
fn destroy_strangers(inner: &Inner, known: &[ContainerId]) {
    let Ok(groups) = &inner.groups else { return };
    for name in groups.containers() {
        if known.iter().any(|id| id.as_str() == name) {
            continue;
        }
        match groups.kill(&name).and_then(|()| groups.remove(&name)) {
            Ok(()) => {
                tracing::info!(container_id = %name, "destroyed control groups of no container")
            }
            Err(error) => {
                tracing::warn!(container_id = %name, %error, "control groups of no container are left");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use bourse_init::plan::{Place, Plan};
    use nix::sys::signal::Signal;
    use nix::sys::wait::{Id, WaitPidFlag, waitid};
    use nix::unistd::Pid;
    use tempfile::TempDir;

    use super::*;
    use crate::containerizer::Outcome;
    use crate::conversation::{Conversation, Message};
    use crate::runtime_dir::Started;
    use crate::spawn::Around;
    use crate::{Config, LinuxContainerizer, UserBlocks, init_image, spawn};

    #[test]
    fn a_launch_that_was_written_down_and_never_begun_is_cut_short_even_if_it_is_slow_to_go() {
        let root = TempDir::new().expect("a temporary directory");
        let config = Config {
            runtime_dir: root.path().join("run"),
            instance: "a".into(),
            users: UserBlocks::default(),
            last_users: root.path().join("last-users"),
        };
        let containerizer = LinuxContainerizer::open(&config).expect("it can be opened");
        let inner = &containerizer.0;
        let id = ContainerId::new("c1").expect("a good id");
        let dir = inner.runtime.create(&id).expect("it is new");
        let plan = Plan {
            place: Place::Host,
            argv: vec!["true".into()],
            env: vec![],
            cwd: "/".into(),
            identity: None,
            open_files: 0,
            filters: vec![],
            logs: None,
            record: Some(dir.record_path()),
            init_groups: vec![],
            task_groups: vec![],
            oom_score: 0,
            own_network: false,
            users: None,
            task_group: None,
        };
        let plan = dir.write_plan(&plan).expect("it is writable");
        let (conversation, theirs) = Conversation::begin().expect("a socket");
        let program = init_image::image().expect("memory for it");
        let child = spawn::spawn(program, "c1", &[plan.as_fd(), theirs.as_fd()], Around::Nothing, None)
            .expect("it can be made");
        drop(theirs);
        let Message::Ready(task) = conversation.next(Duration::from_secs(20)).expect("it talks") else {
            panic!("it is ready first");
        };
        let process = |pid| Process::with_pid(pid).expect("/proc is mounted").expect("it is there");
        let started =
            Started { boot_id: inner.boot_id.clone(), init: process(child.pid), task: process(task) };
        dir.write_started(&started).expect("it is writable");
        let task = Pid::from_raw(task as i32);
        nix::sys::signal::kill(task, Signal::SIGSTOP).expect("it waits");
        // The agent dies.
        drop(conversation);
        let slow = thread::spawn(move || {
            thread::sleep(Duration::from_millis(50));
            nix::sys::signal::kill(task, Signal::SIGCONT).expect("it is stopped");
        });
        let found = recover(inner).expect("it is readable");
        let RecoveredState::Ended(ended) = &found[0].state else { panic!("it never ran: {found:?}") };
        assert_eq!(ended.outcome, Outcome::CutShort);
        slow.join().expect("it does not panic");
        waitid(Id::PIDFd(child.fd.as_fd()), WaitPidFlag::WEXITED).expect("it is our child");
    }
}
