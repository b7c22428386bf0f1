//! The master's causes and consequences, and a session's, as one line each. Agents and sessions print the rest
//! themselves.

use std::fmt;

use bourse_master_core as master;
use bourse_sdk_core::{FromMaster, Input};
use bourse_types::TaskStatus;

/// One line.
pub struct Event<'a>(pub &'a master::Event);

impl fmt::Display for Event<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use master::Event as E;
        match self.0 {
            E::AgentRegisters { link, registration: r } => {
                write!(f, "AgentRegisters #{} {:?} epoch {}", link.0, r.id, r.epoch)?;
                r.tasks.iter().try_for_each(|task| write!(f, ", {} {}", task.task.id, task.latest.state))
            }
            E::AgentsHeard { agents } => write!(f, "AgentsHeard {agents:?}"),
            E::AgentLinkClosed { agent, link } => write!(f, "AgentLinkClosed {agent} #{}", link.0),
            E::StatusUpdate { agent, link, update } => {
                let (status, latest) = (Status(&update.status), update.latest.state);
                write!(f, "StatusUpdate {agent} #{} {} {status} latest {latest}", link.0, update.framework)
            }
            E::TaskResized { agent, link, resized: r } => {
                write!(f, "TaskResized {agent} #{} {}/{} has {}", link.0, r.framework, r.task, r.size)?;
                if r.size == r.wanted { Ok(()) } else { write!(f, " and not {}", r.wanted) }
            }
            E::Subscribes { stream, subscription: s } => {
                write!(
                    f,
                    "Subscribes #{} {:?} {} without {:?}",
                    stream.0, s.info.id, s.info.name, s.suppressed
                )
            }
            E::StreamClosed { framework, stream } => write!(f, "StreamClosed {framework} #{}", stream.0),
            E::Call { framework, stream, call } => write!(f, "Call {framework} #{} {}", stream.0, Call(call)),
            E::Operate { request, command, .. } => write!(f, "Operate #{} {command:?}", request.0),
            E::Tick => f.write_str("Tick"),
        }
    }
}

struct Call<'a>(&'a master::Call);

impl fmt::Display for Call<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            master::Call::Accept(accept) => {
                write!(f, "Accept {:?} for {:?}", accept.offers, accept.refuse)?;
                accept.resizes.iter().try_for_each(|resize| match &resize.wanted {
                    Ok(size) => write!(f, ", {} to {size}", resize.task),
                    Err(_) => write!(f, ", {} to what makes no sense", resize.task),
                })?;
                accept.launches.iter().try_for_each(|launch| match launch {
                    master::Launch::Task(task) => {
                        write!(f, ", {} on {} with {}", task.id, task.agent, task.resources)
                    }
                    master::Launch::Invalid { task, .. } => write!(f, ", invalid {task}"),
                })
            }
            master::Call::Acknowledge { agent, task, uuid } => {
                write!(f, "Acknowledge {agent} {task} {}", Uuid(uuid))
            }
            master::Call::UpdateFramework { info, suppressed } => {
                write!(f, "UpdateFramework {:?} without {suppressed:?}", info.roles)
            }
            call => write!(f, "{call:?}"),
        }
    }
}

/// One line.
pub struct Effect<'a>(pub &'a master::Effect);

impl fmt::Display for Effect<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use master::{Change as C, Effect as E, ToAgent as A, ToScheduler as S};
        match self.0 {
            E::Persist(C::AgentAdmitted { id, .. }) => write!(f, "Persist AgentAdmitted {id}"),
            E::Persist(C::AgentUpdated { id, .. }) => write!(f, "Persist AgentUpdated {id}"),
            E::Persist(C::FrameworkSubscribed { id, info, .. }) => {
                write!(f, "Persist FrameworkSubscribed {id} {:?}", info.roles)
            }
            E::Persist(change) => write!(f, "Persist {change:?}"),
            E::ToAgent { agent, link, message } => {
                write!(f, "{agent} #{} ", link.0)?;
                match message {
                    A::Run { framework, task, .. } => {
                        write!(f, "Run {:?}/{} with {}", framework.id, task.id, task.resources)
                    }
                    A::Acknowledge { framework, task, uuid } => {
                        write!(f, "Acknowledge {framework}/{task} {}", Uuid(uuid))
                    }
                    message => write!(f, "{message:?}"),
                }
            }
            E::CloseLink { link, refused } => {
                write!(f, "CloseLink #{} {:?}", link.0, refused.as_ref().map(|refused| refused.reason))
            }
            E::ToScheduler { framework, stream, message } => {
                write!(f, "{framework} #{} ", stream.0)?;
                match message {
                    S::Offers(offers) => {
                        f.write_str("Offers")?;
                        offers.iter().try_for_each(|offer| {
                            write!(
                                f,
                                ", {} of {} for {}: {}",
                                offer.id, offer.agent, offer.role, offer.resources
                            )
                        })
                    }
                    S::Update(status) => write!(f, "Update {}", Status(status)),
                    message => write!(f, "{message:?}"),
                }
            }
            E::CloseStream { stream, error } => write!(f, "CloseStream #{} {error}", stream.0),
            E::Reply { request, reply } => write!(f, "Reply #{} {reply:?}", request.0),
            E::Record(entry) => write!(f, "Record {}", entry.summary),
        }
    }
}

/// One line.
pub struct Status<'a>(pub &'a TaskStatus);

impl fmt::Display for Status<'_> {
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

/// The bits that differ between updates.
struct Uuid<'a>(&'a [u8; 16]);

impl fmt::Display for Uuid<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02x}{:02x}.{}", self.0[0], self.0[1], u16::from_be_bytes([self.0[14], self.0[15]]))
    }
}

/// What happens to a session.
pub fn input<M: fmt::Debug>(input: &Input<M>) -> String {
    match input {
        Input::Heard(attempt, FromMaster::Update(status)) => {
            format!("Heard {} Update {}", attempt.0, Status(status))
        }
        Input::Heard(attempt, FromMaster::Offers(offers)) => {
            let ids: Vec<_> = offers.iter().map(|offer| &offer.id).collect();
            format!("Heard {} Offers {ids:?}", attempt.0)
        }
        Input::Refused { attempt, call, why } => format!("Refused {} {call}: {why}", attempt.0),
        input => format!("{input:?}"),
    }
}
