//! How much a task has.

use bourse_proto::v1;
use bourse_types::Size;

use crate::at::{At, Under};
use crate::resources::{self, Form};
use crate::task::{BadTask, read_limits, write_limits};

/// Reads the size of a task. Refuses one without resources, and a limit of anything but cpus and mem.
///
/// Whether the task can have it is left to master and agent.
pub fn read(form: &v1::TaskSize) -> Result<Size, At<BadTask>> {
    let resources = resources::read(&form.resources).under("resources")?;
    if resources.is_empty() {
        return Err(At::new("resources", BadTask::NoResources));
    }
    Ok(Size { resources, limits: read_limits(&form.limits)? })
}

/// The size as a message, its resources not allocated to anybody.
pub fn write(size: &Size, form: Form) -> v1::TaskSize {
    v1::TaskSize { resources: resources::write(&size.resources, form), limits: write_limits(&size.limits) }
}
