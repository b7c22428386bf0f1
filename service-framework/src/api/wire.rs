//! Pictures and refusals, as they travel.

use bourse_proto::services as wire;
use tonic::{Code, Status};

use crate::picture::{InstancePicture, ServicePicture};
use crate::seen::Attempt;
use crate::wanted::Refusal;

/// A service with its instances.
pub(super) fn service(picture: ServicePicture) -> wire::Service {
    wire::Service {
        name: picture.name,
        wanted: picture.wanted,
        running: picture.story.running,
        healthy: picture.story.healthy,
        state: picture.story.state.to_owned(),
        reason: picture.story.reason,
        instances: picture.instances.into_iter().map(instance).collect(),
        toml: picture.text,
        version: picture.version,
        restarts: picture.restarts,
    }
}

fn instance(picture: InstancePicture) -> wire::Instance {
    let task = picture.task.as_ref();
    wire::Instance {
        task_id: task.map(|task| task.task_id.clone()).unwrap_or_default(),
        agent_id: task.map(|task| task.agent_id.clone()).unwrap_or_default(),
        hostname: task.map(|task| task.hostname.clone()).unwrap_or_default(),
        healthy: task.and_then(|task| task.healthy),
        ports: task.map(|task| task.ports.iter().map(|&port| port.into()).collect()).unwrap_or_default(),
        since_ms: task.map(|task| task.since.as_millis()).unwrap_or_default(),
        name: picture.name,
        slot: picture.slot,
        state: picture.state.to_owned(),
        reason: picture.reason,
        attempts: picture.attempts.into_iter().map(attempt).collect(),
        retry_ms: picture.retry.map(|retry| retry.as_millis()),
    }
}

fn attempt(attempt: Attempt) -> wire::Attempt {
    wire::Attempt {
        task_id: attempt.task.as_str().to_owned(),
        hostname: attempt.hostname,
        state: attempt.state.as_str().to_owned(),
        reason: attempt.reason.map(|reason| reason.as_str().to_owned()).unwrap_or_default(),
        message: attempt.message,
        started_ms: attempt.started.as_millis(),
        ended_ms: attempt.ended.as_millis(),
    }
}

/// A refusal in gRPC's words; the text is for people as it is.
pub(super) fn refused(refusal: &Refusal) -> Status {
    let code = match refusal {
        Refusal::Spec(_) | Refusal::Count(_) | Refusal::Ambiguous(..) => Code::InvalidArgument,
        Refusal::NoSuchService(..) => Code::NotFound,
        Refusal::Services(_) | Refusal::Instances(_) => Code::ResourceExhausted,
        Refusal::Role { .. } | Refusal::Removing(_) => Code::FailedPrecondition,
    };
    Status::new(code, refusal.to_string())
}
