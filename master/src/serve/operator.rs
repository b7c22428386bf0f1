//! The door for operators: seeing and steering the cluster.
//!
//! **What is this room for?** Questions are answered from the newest picture, without the driver; changes go to the core
//! and are answered when it has carried them out.
//!
//! **What does it promise?** Things are named as people name them ([`subjects`](super::subjects)), the same in every call.
//! Lists are filtered here and paged ([`lists`](super::lists)).
//!
//! **What does it leave to others?** What a command does: the core. Log files: the agents.

use std::pin::Pin;
use std::time::Duration;

use bourse_master_core::{Command, Done, Refused};
use bourse_proto::agent_link as api;
use bourse_proto::operator as wire;
use bourse_proto::operator::operator_server::Operator;
use bourse_types::{KillPolicy, Milli, Role};
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::auth::{Caller, Kind};
use super::callback::forwarded;
use super::{Doors, forms, hostnames, lists, subjects, watch};
use crate::disk;
use crate::history::Filter;

/// A page of the history that does not say how many, and the most that one may have.
const ENTRIES: usize = 100;
const ENTRIES_MAX: usize = 1_000;

/// The service.
#[derive(Clone)]
pub(super) struct OperatorDoor(pub(super) Doors);

type Streamed<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Only operators see and steer everything.
fn operator<T>(request: &Request<T>) -> Result<Caller, Status> {
    Caller::of(request)?.must_be(&[Kind::Operator])
}

impl OperatorDoor {
    async fn operate(&self, caller: Caller, command: Command) -> Result<Done, Status> {
        let answer = self.0.driver.operate(Some(caller.principal), command).await.map_err(super::stopping)?;
        let told = |text: &str| hostnames::told(text, &self.0.driver.picture().view);
        answer.map_err(|refused| match refused {
            Refused::NotFound(text) => Status::not_found(told(&text)),
            Refused::Conflict(text) => Status::failed_precondition(told(&text)),
            Refused::Invalid(text) => Status::invalid_argument(told(&text)),
        })
    }
}

/// The core answered a command with the answer of another one.
fn mixed_up(done: &Done) -> Status {
    Status::internal(format!("the master answered with {done:?}; report this"))
}

/// Seconds as a duration, 0 to ten years.
fn seconds(name: &str, seconds: f64) -> Result<Duration, Status> {
    const MAX: f64 = 10.0 * 365.25 * 86_400.0;
    if (0.0..=MAX).contains(&seconds) {
        return Ok(Duration::from_secs_f64(seconds));
    }
    Err(Status::invalid_argument(format!("{name} is {seconds}; it must be 0 to {MAX} seconds")))
}

#[tonic::async_trait]
impl Operator for OperatorDoor {
    type WatchStream = Streamed<wire::WatchEvent>;
    type ReadLogStream = Streamed<api::LogChunk>;

    async fn get_cluster(
        &self,
        request: Request<wire::GetClusterRequest>,
    ) -> Result<Response<wire::Cluster>, Status> {
        operator(&request)?;
        let picture = self.0.driver.picture();
        let cluster = forms::cluster(&picture.view, &self.0.usages, &self.0.master);
        let now_ms = self.0.clock.now().wall.as_millis();
        Ok(Response::new(wire::Cluster { now_ms, ..cluster }))
    }

    async fn list_agents(
        &self,
        request: Request<wire::ListAgentsRequest>,
    ) -> Result<Response<wire::ListAgentsResponse>, Status> {
        operator(&request)?;
        lists::agents(&self.0.driver.picture().view, &self.0.usages, request.get_ref()).map(Response::new)
    }

    async fn list_frameworks(
        &self,
        request: Request<wire::ListFrameworksRequest>,
    ) -> Result<Response<wire::ListFrameworksResponse>, Status> {
        operator(&request)?;
        lists::frameworks(&self.0.driver.picture().view, request.get_ref()).map(Response::new)
    }

    async fn list_roles(
        &self,
        request: Request<wire::ListRolesRequest>,
    ) -> Result<Response<wire::ListRolesResponse>, Status> {
        operator(&request)?;
        lists::roles(&self.0.driver.picture().view, request.get_ref()).map(Response::new)
    }

    async fn list_offers(
        &self,
        request: Request<wire::ListOffersRequest>,
    ) -> Result<Response<wire::ListOffersResponse>, Status> {
        operator(&request)?;
        lists::offers(&self.0.driver.picture().view, request.get_ref()).map(Response::new)
    }

    async fn list_tasks(
        &self,
        request: Request<wire::ListTasksRequest>,
    ) -> Result<Response<wire::ListTasksResponse>, Status> {
        operator(&request)?;
        lists::tasks(&self.0.driver.picture().view, &self.0.usages, request.get_ref()).map(Response::new)
    }

    async fn list_events(
        &self,
        request: Request<wire::ListEventsRequest>,
    ) -> Result<Response<wire::ListEventsResponse>, Status> {
        operator(&request)?;
        let wire::ListEventsRequest { kinds, about, before, limit } = request.into_inner();
        let kinds = kinds.iter().map(|word| {
            disk::history::kind(word).ok_or_else(|| {
                Status::invalid_argument(format!(
                    "kinds: there is no kind {word:?}; choose task, agent, framework, offer or operator"
                ))
            })
        });
        let picture = self.0.driver.picture();
        let ids = subjects::named_ids(&picture.view, &about);
        let about_ids = ids.iter().cloned().collect();
        let filter = Filter { kinds: kinds.collect::<Result<_, _>>()?, about, ids };
        let limit = if limit == 0 { ENTRIES } else { (limit as usize).min(ENTRIES_MAX) };
        let before = (before != 0).then_some(before);
        let history = self.0.history.clone();
        // The disk is waited for off the runtime.
        let read = tokio::task::spawn_blocking(move || history.read(&filter, before, limit)).await;
        let entries = read
            .map_err(|_| Status::internal("reading the history panicked; the log has more"))?
            .map_err(|why| Status::unavailable(why.to_string()))?;
        let events = entries.iter().map(|entry| forms::history(entry, &picture.view)).collect();
        Ok(Response::new(wire::ListEventsResponse { events, about_ids }))
    }

    async fn watch(
        &self,
        request: Request<wire::WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        operator(&request)?;
        let events = watch::open(self.0.feed.clone(), request.into_inner().token, self.0.metrics.watching());
        Ok(Response::new(Box::pin(ReceiverStream::new(events))))
    }

    async fn explain(
        &self,
        request: Request<wire::ExplainRequest>,
    ) -> Result<Response<wire::Explanation>, Status> {
        operator(&request)?;
        let picture = self.0.driver.picture();
        super::explain::answer(&picture.view, request.get_ref()).map(Response::new)
    }

    async fn read_log(
        &self,
        request: Request<wire::ReadTaskLogRequest>,
    ) -> Result<Response<Self::ReadLogStream>, Status> {
        let caller = operator(&request)?;
        let wire::ReadTaskLogRequest { task, framework, stream, offset, follow } = request.into_inner();
        let (id, name, address, request) = {
            let picture = self.0.driver.picture();
            let task = subjects::task(&picture.view, &task, &framework)?;
            let agent = picture.view.agent(&task.agent).ok_or_else(|| {
                Status::unavailable(format!(
                    "the log of task {} is on agent {}, which is no more",
                    task.info.id, task.agent
                ))
            })?;
            let request = api::ReadLogRequest {
                framework_id: task.framework.to_string(),
                task_id: task.info.id.to_string(),
                stream,
                offset,
                follow,
            };
            let name = hostnames::of(&agent.id, &picture.view);
            (agent.id.clone(), name, agent.info.address.to_string(), request)
        };
        let connection = self.0.callbacks.to_agent(&id, &address).await.map_err(|status| {
            let text = hostnames::told(status.message(), &self.0.driver.picture().view);
            Status::new(status.code(), text)
        })?;
        let answer = connection.agent_api().read_log(forwarded(request, &caller.principal)).await;
        let mut chunks = answer
            .map_err(|status| match connection.explain(status) {
                bourse_client::CallError::Refused { status } => Status::new(status.code(), status.message()),
                other => Status::unavailable(format!("agent {name} did not answer: {other}")),
            })?
            .into_inner();
        // The connection must live as long as the stream does.
        let (sender, receiver) = mpsc::channel(4);
        tokio::spawn(async move {
            let _connection = connection;
            loop {
                let chunk = tokio::select! {
                    chunk = chunks.message() => chunk,
                    () = sender.closed() => return,
                };
                let Some(chunk) = chunk.transpose() else { return };
                let lost = |status: Status| match status.code() {
                    tonic::Code::Unavailable | tonic::Code::Unknown => Status::unavailable(format!(
                        "the connection to agent {name} broke; read on from where it ended"
                    )),
                    code => Status::new(code, status.message()),
                };
                if sender.send(chunk.map_err(lost)).await.is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }

    async fn kill_task(
        &self,
        request: Request<wire::KillTaskRequest>,
    ) -> Result<Response<wire::KillTaskResponse>, Status> {
        let caller = operator(&request)?;
        let wire::KillTaskRequest { task, framework, grace_seconds } = request.into_inner();
        let grace = grace_seconds.map(|grace| seconds("grace_seconds", grace)).transpose()?;
        let command = {
            let picture = self.0.driver.picture();
            let task = subjects::task(&picture.view, &task, &framework)?;
            if task.state.is_terminal() {
                return Err(Status::not_found(format!(
                    "task {} has ended; there is nothing to kill",
                    task.info.id
                )));
            }
            let policy = grace.map(|grace| KillPolicy { grace: Some(grace) });
            Command::Kill { framework: task.framework.clone(), task: task.info.id.clone(), policy }
        };
        match self.operate(caller, command).await? {
            Done::Killing { framework, task } => Ok(Response::new(wire::KillTaskResponse {
                task_id: task.to_string(),
                framework_id: framework.to_string(),
            })),
            other => Err(mixed_up(&other)),
        }
    }

    async fn teardown_framework(
        &self,
        request: Request<wire::TeardownFrameworkRequest>,
    ) -> Result<Response<wire::TeardownFrameworkResponse>, Status> {
        let caller = operator(&request)?;
        let framework =
            subjects::framework_for_good(&self.0.driver.picture().view, &request.get_ref().framework)?;
        match self.operate(caller, Command::Teardown { framework }).await? {
            Done::TornDown { framework } => {
                Ok(Response::new(wire::TeardownFrameworkResponse { framework_id: framework.to_string() }))
            }
            other => Err(mixed_up(&other)),
        }
    }

    async fn drain_agent(
        &self,
        request: Request<wire::DrainAgentRequest>,
    ) -> Result<Response<wire::DrainAgentResponse>, Status> {
        let caller = operator(&request)?;
        let wire::DrainAgentRequest { agent, deadline_seconds, mark_gone } = request.into_inner();
        let deadline = seconds("deadline_seconds", deadline_seconds)?;
        let view = &self.0.driver.picture().view;
        let agent = match mark_gone {
            true => subjects::agent_for_good(view, &agent)?,
            false => subjects::agent(view, &agent)?.id.clone(),
        };
        match self.operate(caller, Command::Drain { agent, deadline, mark_gone }).await? {
            Done::Draining { agent, deadline, tasks } => Ok(Response::new(wire::DrainAgentResponse {
                agent_id: agent.to_string(),
                deadline_ms: deadline.as_millis(),
                tasks: u32::try_from(tasks).unwrap_or(u32::MAX),
            })),
            other => Err(mixed_up(&other)),
        }
    }

    async fn reactivate_agent(
        &self,
        request: Request<wire::ReactivateAgentRequest>,
    ) -> Result<Response<wire::ReactivateAgentResponse>, Status> {
        let caller = operator(&request)?;
        let agent = {
            let picture = self.0.driver.picture();
            subjects::agent(&picture.view, &request.get_ref().agent)?.id.clone()
        };
        match self.operate(caller, Command::Reactivate { agent }).await? {
            Done::Reactivated { agent } => {
                Ok(Response::new(wire::ReactivateAgentResponse { agent_id: agent.to_string() }))
            }
            other => Err(mixed_up(&other)),
        }
    }

    async fn mark_agent_gone(
        &self,
        request: Request<wire::MarkAgentGoneRequest>,
    ) -> Result<Response<wire::MarkAgentGoneResponse>, Status> {
        let caller = operator(&request)?;
        let agent = subjects::agent_for_good(&self.0.driver.picture().view, &request.get_ref().agent)?;
        match self.operate(caller, Command::MarkGone { agent }).await? {
            Done::MarkedGone { agent } => {
                Ok(Response::new(wire::MarkAgentGoneResponse { agent_id: agent.to_string() }))
            }
            other => Err(mixed_up(&other)),
        }
    }

    async fn set_weight(
        &self,
        request: Request<wire::SetWeightRequest>,
    ) -> Result<Response<wire::SetWeightResponse>, Status> {
        let caller = operator(&request)?;
        let wire::SetWeightRequest { role, weight } = request.into_inner();
        let role = Role::new(&role).map_err(|why| Status::invalid_argument(format!("role: {why}")))?;
        if !(0.001..=1_000_000.0).contains(&weight) {
            return Err(Status::invalid_argument(format!("weight is {weight}; it must be 0.001 to 1000000")));
        }
        let weight =
            Milli::from_units(weight).map_err(|why| Status::invalid_argument(format!("weight: {why}")))?;
        match self.operate(caller, Command::SetWeight { role, weight }).await? {
            Done::WeightSet => Ok(Response::new(wire::SetWeightResponse {})),
            other => Err(mixed_up(&other)),
        }
    }
}
