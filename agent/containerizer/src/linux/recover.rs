//! Finding the containers of an earlier agent process.

use bourse_types::ContainerId;

use super::{Inner, Life};
use crate::containerizer::{Launched, RecoverError, Recovered, RecoveredState};
use crate::linux::end;
use crate::runtime_dir::ContainerDir;

pub fn recover(inner: &Inner) -> Result<Vec<Recovered>, RecoverError> {
    let known = inner
        .runtime
        .containers()
        .map_err(|source| RecoverError { path: inner.runtime.path().into(), source })?;
    destroy_strangers(inner, &known);
    Ok(known.into_iter().map(|id| recover_one(inner, id)).collect())
}

fn recover_one(inner: &Inner, id: ContainerId) -> Recovered {
    // A repeat keeps the descriptor that is there.
    let container = match inner.find(&id) {
        Ok(container) => container,
        Err(_) => {
            let life = look(inner, &inner.runtime.container(&id));
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
        None => RecoveredState::Ended(end::ended(inner, &container)),
    };
    Recovered { container_id: id, state }
}

/// What there is to know about a container from outside.
fn look(inner: &Inner, dir: &ContainerDir) -> Life {
    let Some(started) = dir.read_started() else {
        return Life::CutShort;
    };
    if started.boot_id != inner.boot_id {
        return Life::Over("the machine was restarted".into());
    }
    match started.init.open() {
        Ok(Some(init)) => Life::Known { started, init },
        Ok(None) => Life::Over("its first process was killed while no agent looked".into()),
        Err(error) => Life::Over(format!("its first process could not be looked at ({error})")),
    }
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
