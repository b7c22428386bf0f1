//! The door for operators: seeing and steering the cluster.
//!
//! **What is this room for?** Questions are answered from the newest picture, without the driver; changes go to the core
//! and are answered when it has carried them out.
//!
//! **What does it promise?** Things are named as people name them ([`resolve`](super::resolve)), the same in every call.
//! Lists are filtered here and paged; a page is a whole number of tasks after the last one of the page before, so
//! nothing is skipped or doubled by what changes in between.
//!
//! **What does it leave to others?** What a command does: the core. Log files: the agents.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::time::Duration;

use bourse_master_core::{Agent, AgentState, Command, Done, Framework, Refused, Task, View};
use bourse_proto::agent_link as api;
use bourse_proto::operator as wire;
use bourse_proto::operator::operator_server::Operator;
use bourse_types::{AgentId, FrameworkId, KillPolicy, Milli, Role, TaskId, TaskState};
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::auth::{Caller, Kind};
use super::callback::forwarded;
use super::resolve::{self, Named};
use super::{Doors, forms, hostnames, watch};
use crate::disk;
use crate::history::Filter;

/// A page of tasks that does not say how many, and the most that one may have.
const PAGE: usize = 1_000;
const PAGE_MAX: usize = 10_000;

/// A page of the history, likewise.
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

pub(super) fn agents(view: &View) -> impl Iterator<Item = Named<&Agent>> {
    view.agents().map(|agent| Named {
        thing: agent,
        id: agent.id.to_string(),
        name: agent.info.hostname.clone(),
    })
}

pub(super) fn frameworks(view: &View) -> impl Iterator<Item = Named<&Framework>> {
    view.frameworks().map(named_framework)
}

fn named_framework(framework: &Framework) -> Named<&Framework> {
    Named { thing: framework, id: framework.id.to_string(), name: framework.info.name.clone() }
}

fn named_task(task: &Task) -> Named<&Task> {
    Named { thing: task, id: task.info.id.to_string(), name: task.info.name.clone() }
}

/// The framework that a text names, also one that was torn down; none for an empty text.
fn framework_filter(view: &View, text: &str) -> Result<Option<FrameworkId>, Status> {
    if text.is_empty() {
        return Ok(None);
    }
    let all = frameworks(view).chain(view.completed_frameworks().map(named_framework));
    resolve::one("framework", text, all).map(|framework| Some(framework.id.clone()))
}

/// The agent that a text names, also one that is gone, by its whole id; none for an empty text.
fn agent_filter(view: &View, text: &str) -> Result<Option<AgentId>, Status> {
    if text.is_empty() {
        return Ok(None);
    }
    if let Some((gone, _)) = view.gone_agents().find(|(id, _)| id.as_str() == text) {
        return Ok(Some(gone.clone()));
    }
    resolve::one("agent", text, agents(view)).map(|agent| Some(agent.id.clone()))
}

/// The task that a text names: one that is alive, or else the newest of that name that has ended.
pub(super) fn find_task<'a>(view: &'a View, text: &str, framework: &str) -> Result<&'a Task, Status> {
    if text.is_empty() {
        return Err(Status::invalid_argument(
            "no task is named; give its id, a unique beginning of it, or its name",
        ));
    }
    let framework = framework_filter(view, framework)?;
    let wanted = |task: &&Task| framework.as_ref().is_none_or(|framework| task.framework == *framework);
    let alive = resolve::all(text, view.tasks().filter(wanted).map(named_task));
    match &alive[..] {
        [one] => Ok(one.thing),
        [] => {
            let mut ended = resolve::all(text, view.completed_tasks().filter(wanted).map(named_task));
            // The same task again and again is the usual case of several: the last time counts.
            let newest = ended.iter().map(|named| named.thing.changed).max();
            let names = ended.iter().map(|named| &named.name).collect::<BTreeSet<_>>().len();
            if names <= 1 {
                ended.retain(|named| Some(named.thing.changed) == newest);
                ended.truncate(1);
            }
            resolve::one("task", text, ended.into_iter())
        }
        _ => resolve::one("task", text, alive.into_iter()),
    }
}

/// The ids of all that a text names; of nothing, for an empty text.
fn named_ids(view: &View, text: &str) -> BTreeSet<String> {
    if text.is_empty() {
        return BTreeSet::new();
    }
    fn ids<T>(found: Vec<Named<T>>) -> impl Iterator<Item = String> {
        found.into_iter().map(|named| named.id)
    }
    let torn_down = view.completed_frameworks().map(named_framework);
    let tasks = view.tasks().chain(view.completed_tasks()).map(named_task);
    ids(resolve::all(text, agents(view)))
        .chain(ids(resolve::all(text, frameworks(view).chain(torn_down))))
        .chain(ids(resolve::all(text, tasks)))
        .collect()
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
        let (picture, text) = (self.0.driver.picture(), &request.get_ref().agent);
        let view = &picture.view;
        let mut agents: Vec<_> = resolve::all(text, agents(view))
            .iter()
            .map(|named| forms::agent(view, named.thing, &self.0.usages))
            .collect();
        // Of one that is gone only the id is known, and it has the whole of it.
        let gone = view.gone_agents().filter(|(id, _)| text.is_empty() || id.as_str() == text);
        agents.extend(gone.map(|(id, at)| forms::gone_agent(id, at)));
        if agents.is_empty() && !text.is_empty() {
            return Err(resolve::missing("agent", text));
        }
        Ok(Response::new(wire::ListAgentsResponse { agents }))
    }

    async fn list_frameworks(
        &self,
        request: Request<wire::ListFrameworksRequest>,
    ) -> Result<Response<wire::ListFrameworksResponse>, Status> {
        operator(&request)?;
        let picture = self.0.driver.picture();
        let (view, wire::ListFrameworksRequest { framework: text, completed }) =
            (&picture.view, request.get_ref());
        let torn_down = view.completed_frameworks().filter(|_| *completed).map(named_framework);
        let found = resolve::all(text, frameworks(view).chain(torn_down));
        if found.is_empty() && !text.is_empty() {
            return Err(resolve::missing("framework", text));
        }
        let frameworks = found.iter().map(|named| match view.framework_picture(&named.thing.id) {
            Some(picture) => forms::framework(&picture, view.now()),
            None => forms::completed_framework(named.thing),
        });
        Ok(Response::new(wire::ListFrameworksResponse { frameworks: frameworks.collect() }))
    }

    async fn list_roles(
        &self,
        request: Request<wire::ListRolesRequest>,
    ) -> Result<Response<wire::ListRolesResponse>, Status> {
        operator(&request)?;
        let roles = self.0.driver.picture().view.roles().iter().map(forms::role).collect();
        Ok(Response::new(wire::ListRolesResponse { roles }))
    }

    async fn list_offers(
        &self,
        request: Request<wire::ListOffersRequest>,
    ) -> Result<Response<wire::ListOffersResponse>, Status> {
        operator(&request)?;
        let picture = self.0.driver.picture();
        let (view, wanted) = (&picture.view, request.get_ref());
        let framework = framework_filter(view, &wanted.framework_id)?;
        let agent = agent_filter(view, &wanted.agent_id)?;
        let offers = view
            .offers()
            .filter(|offer| framework.as_ref().is_none_or(|framework| offer.framework == *framework))
            .filter(|offer| agent.as_ref().is_none_or(|agent| offer.agent == *agent))
            .map(|offer| forms::offer(offer, view));
        Ok(Response::new(wire::ListOffersResponse { offers: offers.collect() }))
    }

    async fn list_tasks(
        &self,
        request: Request<wire::ListTasksRequest>,
    ) -> Result<Response<wire::ListTasksResponse>, Status> {
        operator(&request)?;
        let picture = self.0.driver.picture();
        let (view, wanted) = (&picture.view, request.get_ref());
        let framework = framework_filter(view, &wanted.framework)?;
        let agent = agent_filter(view, &wanted.agent)?;
        let states = wanted.states.iter().map(|name| {
            let full = if name.starts_with("TASK_") {
                name.clone()
            } else {
                format!("TASK_{}", name.to_uppercase())
            };
            full.parse::<TaskState>().map_err(|why| Status::invalid_argument(format!("states: {why}")))
        });
        let states = states.collect::<Result<Vec<_>, _>>()?;
        let after = if wanted.page.is_empty() { None } else { Some(PageKey::read(&wanted.page)?) };
        let size = match wanted.page_size as usize {
            0 => PAGE,
            size => size.min(PAGE_MAX),
        };

        let ended = view.completed_tasks().filter(|_| wanted.completed);
        let tasks = view.tasks().chain(ended).filter(|task| {
            framework.as_ref().is_none_or(|framework| task.framework == *framework)
                && agent.as_ref().is_none_or(|agent| task.agent == *agent)
                && (states.is_empty() || states.contains(&task.state))
        });
        let mut found: Vec<&Task> =
            resolve::all(&wanted.task, tasks.map(named_task)).into_iter().map(|named| named.thing).collect();
        found.sort_by_key(|task| PageKey::of(task));
        let start = after.map_or(0, |after| found.partition_point(|task| PageKey::of(task) <= after));
        let page = &found[start..found.len().min(start + size)];
        let more = start + page.len() < found.len();
        let next_page =
            page.last().filter(|_| more).map(|last| PageKey::of(last).to_string()).unwrap_or_default();
        let tasks = page.iter().map(|task| forms::task(task, view, &self.0.usages)).collect();
        let awaited = view.agents().filter(|agent| matches!(agent.state, AgentState::Recovered { .. }));
        let agents_awaited = awaited.count() as u32;
        Ok(Response::new(wire::ListTasksResponse { tasks, next_page, agents_awaited }))
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
        let ids = named_ids(&picture.view, &about);
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
            let task = find_task(&picture.view, &task, &framework)?;
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
            let task = find_task(&picture.view, &task, &framework)?;
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
        let framework = framework_for_good(&self.0.driver.picture().view, &request.get_ref().framework)?;
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
            true => agent_for_good(view, &agent)?,
            false => resolve::one("agent", &agent, agents(view))?.id.clone(),
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
        let agent = resolve::one("agent", &request.get_ref().agent, agents(&self.0.driver.picture().view))?
            .id
            .clone();
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
        let agent = agent_for_good(&self.0.driver.picture().view, &request.get_ref().agent)?;
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

/// The agent of something that cannot be undone: named as a whole, and not by whatever begins like it. One that is gone
/// is answered the same again.
fn agent_for_good(view: &View, text: &str) -> Result<AgentId, Status> {
    if let Some((gone, _)) = view.gone_agents().find(|(id, _)| id.as_str() == text) {
        return Ok(gone.clone());
    }
    let agent = resolve::one("agent", text, agents(view))?;
    if agent.id.as_str() != text && agent.info.hostname != text {
        return Err(Status::invalid_argument(format!(
            "{text:?} is short for agent {} ({}), and gone cannot be undone: give its whole id or hostname",
            agent.info.hostname, agent.id
        )));
    }
    Ok(agent.id.clone())
}

/// The framework of something that cannot be undone, likewise.
fn framework_for_good(view: &View, text: &str) -> Result<FrameworkId, Status> {
    if let Some(gone) = view.completed_frameworks().find(|framework| framework.id.as_str() == text) {
        return Ok(gone.id.clone());
    }
    let framework = resolve::one("framework", text, frameworks(view))?;
    if framework.id.as_str() != text && framework.info.name != text {
        return Err(Status::invalid_argument(format!(
            "{text:?} is short for framework {} ({}), and teardown cannot be undone: give its whole id or name",
            framework.info.name, framework.id
        )));
    }
    Ok(framework.id.clone())
}

/// A task's place in lists: by framework and id; of those with the same id, the one that ended first comes first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct PageKey {
    framework: FrameworkId,
    task: TaskId,
    launched: u64,
}

impl PageKey {
    fn of(task: &Task) -> PageKey {
        PageKey {
            framework: task.framework.clone(),
            task: task.info.id.clone(),
            launched: task.launched.as_millis(),
        }
    }

    /// Ids hold no slash, which makes it a separator.
    fn read(text: &str) -> Result<PageKey, Status> {
        let bad = || Status::invalid_argument("page is not the next_page of an answer; begin without it");
        let mut parts = text.splitn(3, '/');
        let mut part = || parts.next().ok_or_else(bad);
        Ok(PageKey {
            framework: FrameworkId::new(part()?).map_err(|_| bad())?,
            task: TaskId::new(part()?).map_err(|_| bad())?,
            launched: part()?.parse().map_err(|_| bad())?,
        })
    }
}

impl std::fmt::Display for PageKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}/{}", self.framework, self.task, self.launched)
    }
}
