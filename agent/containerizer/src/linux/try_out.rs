//! One container that is there only for the proof that there can be others.
//!
//! Machines refuse in many places (a user namespace without device files, a filter of system calls, control groups that
//! hand nothing down), and a list of them would never be whole. So everything is done that a task needs.

use std::io::{self, ErrorKind};

use bourse_init::step::Step;
use bourse_types::{ContainerId, Milli, Namespaces};

use super::LinuxContainerizer;
use crate::cgroup::PROBE;
use crate::containerizer::{ContainerError, Containerizer, LaunchError, Outcome};
use crate::probe::{self, CannotIsolate, Capabilities};
use crate::seccomp::Filters;
use crate::spec::{ContainerSpec, Isolation, Limits, LogLimits};

pub async fn try_out(
    containerizer: &LinuxContainerizer,
    isolation: Isolation,
) -> Result<Option<Capabilities>, LaunchError> {
    let tried = match live_and_die(containerizer, isolation).await {
        // That says nothing about the machine, and may pass.
        Err(error) if is_for_want_of_room(&error) => {
            tracing::warn!(%error, "the disk is full: it could not be tried whether a container can be run");
            Ok(())
        }
        tried => tried,
    };
    if isolation == Isolation::Process {
        return tried.map(|()| None);
    }
    let groups = containerizer.0.groups.as_ref().map_err(CannotIsolate::clone)?;
    match tried {
        Ok(()) => Ok(Some(probe::capabilities(groups.as_ref(), &containerizer.0.lacking))),
        Err(error) => Err(CannotIsolate { missing: vec![error.to_string()] }.into()),
    }
}

fn is_for_want_of_room(error: &LaunchError) -> bool {
    let kind = match error {
        LaunchError::Io { source, .. } => source.kind(),
        // Of a mount it means that there are too many.
        LaunchError::SetUp { failure, .. }
            if !matches!(failure.step, Step::Mount | Step::Root | Step::Hide) =>
        {
            io::Error::from_raw_os_error(failure.errno).kind()
        }
        _ => return false,
    };
    matches!(kind, ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

async fn live_and_die(containerizer: &LinuxContainerizer, isolation: Isolation) -> Result<(), LaunchError> {
    let id = ContainerId::new(PROBE).expect("a word is an id");
    let runtime = &containerizer.0.runtime;
    let spec = ContainerSpec {
        container_id: id.clone(),
        // The one program that every machine has: the first process itself, which does nothing when it is not told what.
        argv: vec!["/proc/self/exe".into()],
        env: Vec::new(),
        user: None,
        // Inside what goes with the container.
        sandbox: runtime.container(&id).path().into(),
        cwd: None,
        hostname: Some(PROBE.into()),
        limits: Limits {
            cpu_quota: Some(Milli::new(1000)),
            memory_bytes: Some(64 << 20),
            pids: Some(16),
            ..Limits::unlimited(Milli::new(100))
        },
        logs: LogLimits::NONE,
        root: None,
        volumes: Vec::new(),
        namespaces: Namespaces::default(),
        hide: vec![runtime.path().into()],
        filters: Filters::usual()
            .map_err(|bad| LaunchError::Start { id: id.clone(), what: bad.to_string() })?,
        isolation,
    };
    let broken = |error: ContainerError| LaunchError::Start { id: id.clone(), what: error.to_string() };
    containerizer.destroy(&id).await.map_err(broken)?;
    containerizer.launch(&spec).await?;
    let ended = containerizer.wait(&id).await.map_err(broken)?;
    containerizer.destroy(&id).await.map_err(broken)?;
    match ended.outcome {
        Outcome::Exited(_) => Ok(()),
        other => Err(LaunchError::Start { id, what: format!("it ended without an exit status ({other:?})") }),
    }
}
