//! Whom a page asks, and how.
//!
//! The page is a client of the master's own APIs that happens to live in the same process: it calls the very handlers
//! that serve the command line, with the caller that the door has found out, so that it shows what they would answer
//! and what the caller may see.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::http::Extensions;
use bourse_proto::agent_link::{LogChunk, LogStream};
use bourse_proto::operator::operator_server::Operator;
use bourse_proto::operator::{
    Agent, Cluster, ExplainRequest, Explanation, Framework, GetClusterRequest, HistoryEvent,
    ListAgentsRequest, ListEventsRequest, ListFrameworksRequest, ListOffersRequest, ListRolesRequest,
    ListTasksRequest, ListTasksResponse, Offer, ReadTaskLogRequest, Role,
};
use bourse_proto::services::ListServicesRequest;
use bourse_proto::services::services_server::Services as ServicesApi;
use bourse_types::FrameworkId;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_stream::Stream;
use tonic::metadata::MetadataMap;
use tonic::{Request, Status};

use super::events::Names;
use super::page::{Listed, PAGE};
use super::services::Services;
use crate::serve::operator::OperatorDoor;
use crate::serve::services::ServicesDoor;
use crate::serve::{Doors, forms};

/// Pages that are kept current at once. Each costs a look at its data twice a second at most; more viewers than
/// operators have eyes are a script, and that has the API.
const VIEWERS_MAX: usize = 256;

/// The service framework has this long to answer before a page is shown with what it told last.
const SERVICES_PATIENCE: Duration = Duration::from_secs(2);

/// An answer of the service framework is fresh for so long, however many look at it.
const SERVICES_FRESH: Duration = Duration::from_millis(500);

/// What all pages share.
pub struct Site {
    pub(super) doors: Doors,
    operator: OperatorDoor,
    services: ServicesDoor,
    /// A page that is kept current holds one.
    pub(super) viewers: Arc<Semaphore>,
    /// What the service framework told last, and when it was asked. A leaf lock, never held while asking.
    told: Mutex<Option<(Instant, Services)>>,
}

/// Who looks: what the door has noted about a request, passed on with everything that is asked for its page.
#[derive(Clone)]
pub struct Viewer(pub Extensions);

impl Viewer {
    pub(super) fn asks<T>(&self, message: T) -> Request<T> {
        Request::from_parts(MetadataMap::new(), self.0.clone(), message)
    }
}

impl Site {
    pub(super) fn new(doors: Doors) -> Site {
        let operator = OperatorDoor(doors.clone());
        let services = ServicesDoor { driver: doors.driver.clone(), callbacks: doors.callbacks.clone() };
        let viewers = Arc::new(Semaphore::new(VIEWERS_MAX));
        Site { doors, operator, services, viewers, told: Mutex::new(None) }
    }

    pub(super) async fn cluster(&self, who: &Viewer) -> Result<Cluster, Status> {
        Ok(self.operator.get_cluster(who.asks(GetClusterRequest {})).await?.into_inner())
    }

    /// The agents of the text, or all, as far as a page shows them.
    pub(super) async fn agents(&self, who: &Viewer, agent: &str) -> Result<Listed<Agent>, Status> {
        let request =
            ListAgentsRequest { agent: agent.into(), page_size: PAGE as u32, ..ListAgentsRequest::default() };
        let answer = self.operator.list_agents(who.asks(request)).await?.into_inner();
        Ok(Listed { things: answer.agents, total: answer.total as usize })
    }

    /// All agents, page by page.
    pub(super) async fn all_agents(&self, who: &Viewer) -> Result<Vec<Agent>, Status> {
        let mut request = ListAgentsRequest { page_size: u32::MAX, ..ListAgentsRequest::default() };
        let mut agents = Vec::new();
        loop {
            let answer = self.operator.list_agents(who.asks(request.clone())).await?.into_inner();
            agents.extend(answer.agents);
            if answer.next_page.is_empty() {
                return Ok(agents);
            }
            request.page = answer.next_page;
        }
    }

    /// The frameworks of the text, or all, as far as a page shows them.
    pub(super) async fn frameworks(
        &self,
        who: &Viewer,
        framework: &str,
        completed: bool,
    ) -> Result<Listed<Framework>, Status> {
        let (framework, page_size) = (framework.into(), PAGE as u32);
        let request =
            ListFrameworksRequest { framework, completed, page_size, ..ListFrameworksRequest::default() };
        let answer = self.operator.list_frameworks(who.asks(request)).await?.into_inner();
        Ok(Listed { things: answer.frameworks, total: answer.total as usize })
    }

    /// All frameworks, also those that were torn down, page by page.
    pub(super) async fn all_frameworks(&self, who: &Viewer) -> Result<Vec<Framework>, Status> {
        let (completed, page_size) = (true, u32::MAX);
        let mut request = ListFrameworksRequest { completed, page_size, ..ListFrameworksRequest::default() };
        let mut frameworks = Vec::new();
        loop {
            let answer = self.operator.list_frameworks(who.asks(request.clone())).await?.into_inner();
            frameworks.extend(answer.frameworks);
            if answer.next_page.is_empty() {
                return Ok(frameworks);
            }
            request.page = answer.next_page;
        }
    }

    /// What the frameworks of events are called. Asked after the events, which only who may see everything gets.
    pub(super) fn names(&self, events: &[HistoryEvent]) -> Names {
        let picture = self.doors.driver.picture();
        let ids = events.iter().map(|event| &event.framework_id).collect::<BTreeSet<_>>();
        let ids = ids.into_iter().filter_map(|id| FrameworkId::new(id).ok());
        Names(ids.map(|id| (id.to_string(), forms::framework_name(&id, &picture.view))).collect())
    }

    /// The roles, as far as a page shows them.
    pub(super) async fn roles(&self, who: &Viewer) -> Result<Listed<Role>, Status> {
        let request = ListRolesRequest { page_size: PAGE as u32, ..ListRolesRequest::default() };
        let answer = self.operator.list_roles(who.asks(request)).await?.into_inner();
        Ok(Listed { things: answer.roles, total: answer.total as usize })
    }

    /// The offers that are asked for, as far as a page shows them.
    pub(super) async fn offers(
        &self,
        who: &Viewer,
        request: ListOffersRequest,
    ) -> Result<Listed<Offer>, Status> {
        let request = ListOffersRequest { page_size: PAGE as u32, ..request };
        let answer = self.operator.list_offers(who.asks(request)).await?.into_inner();
        Ok(Listed { things: answer.offers, total: answer.total as usize })
    }

    pub(super) async fn tasks(
        &self,
        who: &Viewer,
        request: ListTasksRequest,
    ) -> Result<ListTasksResponse, Status> {
        Ok(self.operator.list_tasks(who.asks(request)).await?.into_inner())
    }

    pub(super) async fn events(
        &self,
        who: &Viewer,
        request: ListEventsRequest,
    ) -> Result<Vec<HistoryEvent>, Status> {
        Ok(self.operator.list_events(who.asks(request)).await?.into_inner().events)
    }

    /// An explanation, where there is one: a page is worth showing without it.
    pub(super) async fn explanation(&self, who: &Viewer, request: ExplainRequest) -> Option<Explanation> {
        self.operator.explain(who.asks(request)).await.ok().map(tonic::Response::into_inner)
    }

    pub(super) async fn log(
        &self,
        who: &Viewer,
        framework: &str,
        task: &str,
        stream: LogStream,
        offset: i64,
        follow: bool,
    ) -> Result<impl Stream<Item = Result<LogChunk, Status>> + Send + use<>, Status> {
        let request = ReadTaskLogRequest {
            task: task.into(),
            framework: framework.into(),
            stream: stream as i32,
            offset,
            follow,
        };
        Ok(self.operator.read_log(who.asks(request)).await?.into_inner())
    }

    /// What is known of the services: fresh, or what was told last and why it is not fresh. `now_ms`: of the master.
    pub(super) async fn services(&self, who: &Viewer, now_ms: u64) -> Services {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((asked, services)) = &told
            && asked.elapsed() < SERVICES_FRESH
        {
            return services.clone();
        }
        let asked = Instant::now();
        let answer =
            timeout(SERVICES_PATIENCE, self.services.list(who.asks(ListServicesRequest::default()))).await;
        let services = match answer {
            Ok(Ok(answer)) => {
                let answer = answer.into_inner();
                let (services, framework_id) = (answer.services, answer.framework_id);
                Services { services, framework_id, told_ms: now_ms, trouble: None }
            }
            refused => {
                let trouble = match refused {
                    Ok(Err(status)) => status.message().to_owned(),
                    _ => format!("it did not answer within {} s", SERVICES_PATIENCE.as_secs()),
                };
                Services { trouble: Some(trouble), ..told.map(|(_, services)| services).unwrap_or_default() }
            }
        };
        *self.told.lock().unwrap_or_else(PoisonError::into_inner) = Some((asked, services.clone()));
        services
    }
}
