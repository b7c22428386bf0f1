//! What the log tells of that which the driver takes in and lets out.

use bourse_agent_core::{Checked, Event, FromMaster, Record};
use tracing::{debug, info, warn};

/// One line for what an operator would ask about.
pub fn narrate(event: &Event) {
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
pub fn report(record: &Record) {
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
