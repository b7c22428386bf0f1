//! Causes and consequences as one line each, for whoever reads along: the simulator's trace, a replay.
//!
//! A line has what tells one event from its neighbours, and nothing of what a task is given: no command, no environment,
//! none of the framework's own bytes. So a trace may be shown where a recording may not.

use std::fmt;

use bourse_types::{Principal, TaskStatus};

use crate::effect::{Effect, ToAgent, ToScheduler};
use crate::event::{Call, Event, Launch};
use crate::registry::Change;

/// Something as one line.
#[derive(Clone, Copy, Debug)]
pub struct Line<'a, T>(pub &'a T);

impl fmt::Display for Line<'_, Event> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Event::AgentRegisters { link, registration: r } => {
                write!(f, "AgentRegisters #{} {:?}{} epoch {}", link.0, r.id, Of(&r.principal), r.epoch)?;
                r.tasks.iter().try_for_each(|task| write!(f, ", {} {}", task.task.id, task.latest.state))
            }
            Event::AgentsHeard { agents } => write!(f, "AgentsHeard {agents:?}"),
            Event::AgentLinkClosed { agent, link } => write!(f, "AgentLinkClosed {agent} #{}", link.0),
            Event::StatusUpdate { agent, link, update } => {
                let (status, latest) = (Line(&update.status), update.latest.state);
                write!(f, "StatusUpdate {agent} #{} {} {status} latest {latest}", link.0, update.framework)
            }
            Event::TaskResized { agent, link, resized: r } => {
                write!(f, "TaskResized {agent} #{} {}/{} has {}", link.0, r.framework, r.task, r.size)?;
                if r.size == r.wanted { Ok(()) } else { write!(f, " and not {}", r.wanted) }
            }
            Event::Subscribes { stream, subscription: s } => {
                write!(
                    f,
                    "Subscribes #{} {:?} {} without {:?}",
                    stream.0, s.info.id, s.info.name, s.suppressed
                )
            }
            Event::StreamClosed { framework, stream } => write!(f, "StreamClosed {framework} #{}", stream.0),
            Event::Call { framework, stream, call } => {
                write!(f, "Call {framework} #{} {}", stream.0, Line(call))
            }
            Event::Operate { request, command, .. } => write!(f, "Operate #{} {command:?}", request.0),
            Event::Tick => f.write_str("Tick"),
        }
    }
}

impl fmt::Display for Line<'_, Call> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Call::Accept(accept) => {
                write!(f, "Accept {:?} for {:?}", accept.offers, accept.refuse)?;
                accept.resizes.iter().try_for_each(|resize| match &resize.wanted {
                    Ok(size) => write!(f, ", {} to {size}", resize.task),
                    Err(_) => write!(f, ", {} to what makes no sense", resize.task),
                })?;
                accept.launches.iter().try_for_each(|launch| match launch {
                    Launch::Task(task) => {
                        write!(f, ", {} on {} with {}", task.id, task.agent, task.resources)
                    }
                    Launch::Invalid { task, .. } => write!(f, ", invalid {task}"),
                })
            }
            Call::Acknowledge { agent, task, uuid } => {
                write!(f, "Acknowledge {agent} {task} {}", Uuid(uuid))
            }
            Call::UpdateFramework { info, suppressed } => {
                write!(f, "UpdateFramework {:?} without {suppressed:?}", info.roles)
            }
            // These are ids, roles and times, and nothing else.
            call @ (Call::Decline { .. }
            | Call::Revive { .. }
            | Call::Suppress { .. }
            | Call::Kill { .. }
            | Call::Reconcile { .. }
            | Call::Teardown) => write!(f, "{call:?}"),
        }
    }
}

impl fmt::Display for Line<'_, Effect> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Effect::Persist(Change::AgentAdmitted { id, principal, .. }) => {
                write!(f, "Persist AgentAdmitted {id}{}", Of(principal))
            }
            Effect::Persist(Change::AgentUpdated { id, principal, .. }) => {
                write!(f, "Persist AgentUpdated {id}{}", Of(principal))
            }
            Effect::Persist(Change::FrameworkSubscribed { id, info, .. }) => {
                write!(f, "Persist FrameworkSubscribed {id} {:?}", info.roles)
            }
            Effect::Persist(change) => write!(f, "Persist {change:?}"),
            Effect::ToAgent { agent, link, message } => {
                write!(f, "{agent} #{} {}", link.0, Line(message))
            }
            Effect::CloseLink { link, refused } => {
                write!(f, "CloseLink #{} {:?}", link.0, refused.as_ref().map(|refused| refused.reason))
            }
            Effect::ToScheduler { framework, stream, message } => {
                write!(f, "{framework} #{} {}", stream.0, Line(message))
            }
            Effect::CloseStream { stream, error } => write!(f, "CloseStream #{} {error}", stream.0),
            Effect::Reply { request, reply } => write!(f, "Reply #{} {reply:?}", request.0),
            Effect::Record(entry) => write!(f, "Record {}", entry.summary),
        }
    }
}

impl fmt::Display for Line<'_, ToAgent> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            ToAgent::Run { framework, task, .. } => {
                write!(f, "Run {:?}/{} with {}", framework.id, task.id, task.resources)
            }
            ToAgent::Acknowledge { framework, task, uuid } => {
                write!(f, "Acknowledge {framework}/{task} {}", Uuid(uuid))
            }
            message @ (ToAgent::Registered { .. }
            | ToAgent::Kill { .. }
            | ToAgent::Resize { .. }
            | ToAgent::ShutdownFramework { .. }) => write!(f, "{message:?}"),
        }
    }
}

impl fmt::Display for Line<'_, ToScheduler> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            ToScheduler::Offers(offers) => {
                f.write_str("Offers")?;
                offers.iter().try_for_each(|offer| {
                    write!(f, ", {} of {} for {}: {}", offer.id, offer.agent, offer.role, offer.resources)
                })
            }
            ToScheduler::Update(status) => write!(f, "Update {}", Line(&**status)),
            message @ (ToScheduler::Subscribed { .. }
            | ToScheduler::Rescind { .. }
            | ToScheduler::AgentFailed { .. }
            | ToScheduler::AgentDraining { .. }) => write!(f, "{message:?}"),
        }
    }
}

impl fmt::Display for Line<'_, TaskStatus> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = self.0;
        write!(f, "{} {}", status.task_id, status.state)?;
        if let Some(agent) = &status.agent_id {
            write!(f, " on {agent}")?;
        }
        if let Some(reason) = status.reason {
            write!(f, " {reason}")?;
        }
        status.uuid.iter().try_for_each(|uuid| write!(f, " {}", Uuid(uuid)))
    }
}

/// Whose it is, where it is somebody's.
struct Of<'a>(&'a Option<Principal>);

impl fmt::Display for Of<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|principal| write!(f, " of {principal}"))
    }
}

/// The bits that differ between updates.
struct Uuid<'a>(&'a [u8; 16]);

impl fmt::Display for Uuid<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02x}{:02x}.{}", self.0[0], self.0[1], u16::from_be_bytes([self.0[14], self.0[15]]))
    }
}
