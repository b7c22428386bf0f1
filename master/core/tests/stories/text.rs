//! Effects as compact text, one a line. The history is left out: it says in words what the others say in deeds.

use std::fmt::Write;

use bourse_master_core::effect::{Effect, OfferMade, ToAgent, ToScheduler};
use bourse_master_core::registry::Change;
use bourse_types::TaskStatus;

/// The effects as text.
pub fn effects(effects: &[Effect]) -> String {
    let mut text = String::new();
    for effect in effects.iter().filter(|effect| !matches!(effect, Effect::Record(_))) {
        writeln!(text, "{}", line(effect)).expect("a string takes all text");
    }
    text
}

/// The sentences for the history.
pub fn history(effects: &[Effect]) -> String {
    let mut text = String::new();
    for effect in effects {
        if let Effect::Record(entry) = effect {
            writeln!(text, "{}: {}", entry.kind.as_str(), entry.summary).expect("a string takes all text");
        }
    }
    text
}

fn line(effect: &Effect) -> String {
    match effect {
        Effect::Persist(change) => format!("persist {}", change_line(change)),
        Effect::ToAgent { agent, link, message } => format!("{agent}@{} <- {}", link.0, to_agent(message)),
        Effect::CloseLink { link, refused: None } => format!("close link {}", link.0),
        Effect::CloseLink { link, refused: Some(refused) } => {
            let then = if refused.shut_down { ", shut down" } else { "" };
            format!("close link {}: {}: {}{then}", link.0, refused.reason, refused.message)
        }
        Effect::ToScheduler { framework, stream, message } => {
            format!("{framework}@{} <- {}", stream.0, to_scheduler(message))
        }
        Effect::CloseStream { stream, error } => format!("close stream {}: {error}", stream.0),
        Effect::Reply { reply: Ok(done), .. } => format!("reply {done:?}"),
        Effect::Reply { reply: Err(refused), .. } => format!("refuse {refused:?}"),
        Effect::Record(entry) => entry.summary.clone(),
    }
}

fn change_line(change: &Change) -> String {
    match change {
        Change::EpochStarted { epoch, .. } => format!("epoch {epoch}"),
        Change::AgentAdmitted { id, .. } => format!("agent {id} admitted"),
        Change::AgentUpdated { id, .. } => format!("agent {id} updated"),
        Change::AgentUnreachable { id, .. } => format!("agent {id} unreachable"),
        Change::AgentReachable { id } => format!("agent {id} reachable"),
        Change::AgentGone { id, .. } => format!("agent {id} gone"),
        Change::AgentRemoved { id } => format!("agent {id} removed"),
        Change::FrameworkSubscribed { id, .. } => format!("framework {id} subscribed"),
        Change::FrameworkDisconnected { id, left, .. } => {
            format!("framework {id} disconnected, {left:?} left")
        }
        Change::FrameworkConnected { id } => format!("framework {id} connected"),
        Change::FrameworkRemoved { id, .. } => format!("framework {id} removed"),
        Change::WeightSet { role, weight } => format!("role {role} weighs {weight}"),
        Change::DrainStarted { agent, left, mark_gone, .. } => {
            format!("agent {agent} drains, {left:?} left{}", if *mark_gone { ", then gone" } else { "" })
        }
        Change::Drained { agent } => format!("agent {agent} drained"),
        Change::DrainEnded { agent } => format!("agent {agent} reactivated"),
    }
}

fn to_agent(message: &ToAgent) -> String {
    match message {
        ToAgent::Registered { agent, heartbeat, known, .. } => {
            let known: Vec<String> =
                known.iter().map(|(framework, task)| format!("{framework}/{task}")).collect();
            format!("Registered {agent} heartbeat {heartbeat:?} known [{}]", known.join(" "))
        }
        ToAgent::Run { framework, role, task } => {
            let id = framework.id.as_ref().expect("the master runs tasks of frameworks with an id");
            format!("Run {id}/{} {role} {}", task.id, task.resources)
        }
        ToAgent::Kill { framework, task, policy, reason } => {
            let grace = policy.and_then(|policy| policy.grace).map(|grace| format!(" grace {grace:?}"));
            let reason = reason.map(|reason| format!(" {reason}"));
            format!("Kill {framework}/{task}{}{}", grace.unwrap_or_default(), reason.unwrap_or_default())
        }
        ToAgent::Resize { framework, task, size } => format!("Resize {framework}/{task} {size}"),
        ToAgent::Acknowledge { framework, task, uuid } => {
            format!("Acknowledge {framework}/{task} #{}", uuid[0])
        }
        ToAgent::ShutdownFramework { framework } => format!("ShutdownFramework {framework}"),
    }
}

fn to_scheduler(message: &ToScheduler) -> String {
    match message {
        ToScheduler::Subscribed { framework, heartbeat, .. } => {
            format!("Subscribed {framework} heartbeat {heartbeat:?}")
        }
        ToScheduler::Offers(offers) => {
            let offers: Vec<String> = offers.iter().map(offer).collect();
            format!("Offers {}", offers.join(", "))
        }
        ToScheduler::Rescind { offer } => format!("Rescind {offer}"),
        ToScheduler::Update(status) => format!("Update {}", update(status)),
        ToScheduler::AgentFailed { agent } => format!("AgentFailed {agent}"),
        ToScheduler::AgentDraining { agent, deadline } => {
            format!("AgentDraining {agent} in {:?}", deadline.since(crate::world::START_WALL))
        }
    }
}

fn offer(offer: &OfferMade) -> String {
    format!("{} ({} {} {})", offer.id, offer.agent, offer.role, offer.resources)
}

fn update(status: &TaskStatus) -> String {
    let mut text = format!("{} {}", status.task_id, status.state);
    if let Some(reason) = status.reason {
        write!(text, " {reason}").expect("a string takes all text");
    }
    write!(text, " {}", status.source).expect("a string takes all text");
    if let Some(agent) = &status.agent_id {
        write!(text, " {agent}").expect("a string takes all text");
    }
    if let Some(uuid) = status.uuid {
        write!(text, " #{}", uuid[0]).expect("a string takes all text");
    }
    if let Some(message) = &status.message {
        write!(text, " {message:?}").expect("a string takes all text");
    }
    if let Some(size) = &status.size {
        write!(text, " with {size}").expect("a string takes all text");
    }
    text
}
