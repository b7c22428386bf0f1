//! Other limits for a container that runs.

use bourse_types::ContainerId;

use super::{Container, Inner};
use crate::cgroup::{Joins, LimitsError};
use crate::containerizer::ContainerError;
use crate::spec::Limits;

pub fn resize(inner: &Inner, container: &Container, limits: &Limits) -> Result<(), ContainerError> {
    let id = &container.id;
    let refused = |error: LimitsError| ContainerError::Limits { id: id.clone(), error };
    limits.check().map_err(|bad| refused(bad.into()))?;
    let ended = || ContainerError::Ended(id.clone());
    let started = container.started().ok_or_else(ended)?;
    let init = started.init.open().map_err(container.io("look for its first process"))?;
    if init.is_none() {
        return Err(ended());
    }
    // Without groups there are no limits.
    let Ok(groups) = &inner.groups else { return Ok(()) };
    if let Some(joins) = groups.resize(id.as_str(), limits).map_err(refused)? {
        note(id, container, joins);
    }
    Ok(())
}

/// What is started in the container later, a health check, joins what its task is in now.
fn note(id: &ContainerId, container: &Container, joins: Joins) {
    let noted = container.dir.read_plan().and_then(|mut plan| {
        if plan.task_groups == joins.task && plan.task_group == joins.task_in {
            return Ok(());
        }
        (plan.task_groups, plan.task_group) = (joins.task, joins.task_in);
        container.dir.rewrite_plan(&plan)
    });
    if let Err(error) = noted {
        tracing::warn!(container_id = %id, %error, "checks of a container will have fewer limits than its task");
    }
}
