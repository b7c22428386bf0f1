//! What a page needs, asked for at once.

use bourse_proto::agent_link::LogStream;
use bourse_proto::operator::{
    Cluster, ExplainRequest, ListEventsRequest, ListOffersRequest, ListTasksRequest, Task,
};
use tonic::{Code, Status};

use super::log;
use super::page::{PAGE, Page};
use super::search::Found;
use super::site::{Site, Viewer};
use super::view::{EventsQuery, TasksQuery, View};
use super::{agents, events, explain, frameworks, offers, overview, roles, search, services, tasks};

/// Why a page is loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Occasion {
    /// Somebody opens it: with everything.
    Opened,
    /// Something may have changed: without its logs, which have streams of their own.
    Changed,
}

/// A page with what stands around it.
pub struct Loaded {
    /// The whole.
    pub cluster: Cluster,
    /// The page.
    pub page: Page,
}

/// How many of its events are shown on the page of an agent or framework.
const EVENTS_OF_ONE: u32 = 20;

/// How many tasks are looked through by a search.
const TASKS_SEARCHED: u32 = 1_000;

/// Asks for everything that the page shows.
pub async fn load(site: &Site, who: &Viewer, view: &View, occasion: Occasion) -> Result<Loaded, Status> {
    // First and always: who may not see the whole sees nothing of it.
    let cluster = site.cluster(who).await?;
    let page = match view {
        View::Overview => {
            let request = ListEventsRequest { limit: overview::EVENTS, ..ListEventsRequest::default() };
            let events = site.events(who, request).await?;
            let services = site.services(who, cluster.now_ms).await;
            overview::page(&cluster, &services, &events, &site.names(&events))
        }
        View::Agents => agents::page(&site.agents(who, "").await?),
        View::Agent(id) => one_agent(site, who, id).await?,
        View::Frameworks { completed } => {
            let (known, held) = tokio::try_join!(
                site.frameworks(who, "", *completed),
                site.offers(who, ListOffersRequest::default())
            )?;
            frameworks::page(*completed, &known, &held)
        }
        View::Framework(id) => one_framework(site, who, id).await?,
        View::Offers => offers::page(&site.offers(who, ListOffersRequest::default()).await?),
        View::Roles => roles::page(&site.roles(who).await?),
        View::Services => services::page(&site.services(who, cluster.now_ms).await),
        View::Service(name) => {
            let known = site.services(who, cluster.now_ms).await;
            match (known.services.iter().find(|service| service.name == *name), &known.trouble) {
                (Some(service), _) => services::one(&known, service),
                (None, None) => return Err(Status::not_found(format!("no service is called {name:?}"))),
                (None, Some(trouble)) => {
                    let message =
                        format!("nothing is known of service {name:?}: {trouble}; start `bourse services`");
                    return Err(Status::unavailable(message));
                }
            }
        }
        View::Tasks(query) => {
            let TasksQuery { all, state, after } = query.clone();
            let states = if state.is_empty() { Vec::new() } else { vec![state] };
            let (completed, page, page_size) = (all, after, PAGE as u32);
            let request =
                ListTasksRequest { completed, states, page, page_size, ..ListTasksRequest::default() };
            let answer = site.tasks(who, request).await?;
            tasks::page(query, &answer.tasks, &answer.next_page)
        }
        View::Task { framework, task } => one_task(site, who, framework, task, occasion).await?,
        View::Events(query) => {
            let EventsQuery { kind, about, before } = query.clone();
            let kinds = if kind.is_empty() { Vec::new() } else { vec![kind] };
            let request = ListEventsRequest { kinds, about, before, limit: events::PAGE };
            let events = site.events(who, request).await?;
            events::page(query, &events, &site.names(&events))
        }
        View::Search(text) => search::page(text, &found(site, who, text, cluster.now_ms).await?),
    };
    Ok(Loaded { cluster, page })
}

async fn one_agent(site: &Site, who: &Viewer, id: &str) -> Result<Page, Status> {
    let agents = site.agents(who, id).await?.things;
    let agent =
        agents.into_iter().next().ok_or_else(|| Status::not_found(format!("no agent is called {id:?}")))?;
    let tasks =
        ListTasksRequest { agent: agent.id.clone(), page_size: PAGE as u32, ..ListTasksRequest::default() };
    let offers = ListOffersRequest { agent_id: agent.id.clone(), ..ListOffersRequest::default() };
    let (tasks, offers, events) = tokio::try_join!(
        site.tasks(who, tasks),
        site.offers(who, offers),
        site.events(who, newest_about(&agent.id))
    )?;
    let names = site.names(&events);
    Ok(agents::one(&agents::OneAgent { agent, tasks: tasks.tasks, offers, events, names }))
}

async fn one_framework(site: &Site, who: &Viewer, id: &str) -> Result<Page, Status> {
    let found = site.frameworks(who, id, true).await?;
    let framework = found
        .things
        .into_iter()
        .next()
        .ok_or_else(|| Status::not_found(format!("no framework is called {id:?}")))?;
    let tasks = ListTasksRequest {
        framework: framework.id.clone(),
        page_size: PAGE as u32,
        ..ListTasksRequest::default()
    };
    let offers = ListOffersRequest { framework_id: framework.id.clone(), ..ListOffersRequest::default() };
    let (tasks, offers, events, explanation) = tokio::try_join!(
        site.tasks(who, tasks),
        site.offers(who, offers),
        site.events(who, newest_about(&framework.id)),
        async {
            let (subject, limit) = (framework.id.clone(), explain::AGENTS as u32);
            Ok(site.explanation(who, ExplainRequest { subject, limit, ..ExplainRequest::default() }).await)
        },
    )?;
    Ok(frameworks::one(&frameworks::OneFramework {
        framework,
        offers,
        tasks: tasks.tasks,
        events,
        explanation,
    }))
}

async fn one_task(
    site: &Site,
    who: &Viewer,
    framework: &str,
    id: &str,
    occasion: Occasion,
) -> Result<Page, Status> {
    let task = task(site, who, framework, id).await?;
    let waits = !matches!(task.state.as_str(), "TASK_RUNNING" | "TASK_FINISHED" | "TASK_KILLED");
    let explanation = match waits {
        true => {
            let (subject, framework) = (task.id.clone(), task.framework_id.clone());
            site.explanation(who, ExplainRequest { subject, framework, ..ExplainRequest::default() }).await
        }
        false => None,
    };
    let (stdout, stderr) = match occasion {
        Occasion::Changed => Default::default(),
        Occasion::Opened => tokio::join!(
            log::tail(site, who, &task, LogStream::Stdout),
            log::tail(site, who, &task, LogStream::Stderr),
        ),
    };
    Ok(tasks::one(&tasks::OneTask { task, explanation, stdout, stderr }))
}

/// The task that is meant: the one of exactly this id, or the only one whose id begins so or that is called so.
async fn task(site: &Site, who: &Viewer, framework: &str, id: &str) -> Result<Task, Status> {
    let request = ListTasksRequest {
        task: id.into(),
        framework: framework.into(),
        completed: true,
        ..ListTasksRequest::default()
    };
    let mut tasks = site.tasks(who, request).await?.tasks;
    // Of one that ran again and again the last time counts, which is the last of the list.
    if let Some(exact) = tasks.iter().rposition(|task| task.id == id) {
        return Ok(tasks.swap_remove(exact));
    }
    match tasks.len() {
        0 => {
            let message = format!("framework {framework} has no task {id:?} that the master still remembers");
            Err(Status::not_found(message))
        }
        1 => Ok(tasks.remove(0)),
        _ => {
            let names = tasks.iter().map(|task| task.id.as_str()).collect::<Vec<_>>().join(", ");
            Err(Status::failed_precondition(format!("{id:?} could be one of several tasks: {names}")))
        }
    }
}

fn newest_about(id: &str) -> ListEventsRequest {
    ListEventsRequest { about: id.into(), limit: EVENTS_OF_ONE, ..ListEventsRequest::default() }
}

/// What the text finds. Nothing for no text.
pub async fn found(site: &Site, who: &Viewer, text: &str, now_ms: u64) -> Result<Found, Status> {
    if text.is_empty() {
        return Ok(Found::default());
    }
    let newest =
        ListTasksRequest { completed: true, page_size: TASKS_SEARCHED, ..ListTasksRequest::default() };
    let named = ListTasksRequest { task: text.into(), ..newest.clone() };
    let (agents, frameworks, tasks, named, services) = tokio::join!(
        site.all_agents(who),
        site.all_frameworks(who),
        site.tasks(who, newest),
        site.tasks(who, named),
        site.services(who, now_ms),
    );
    // Among very many tasks the one that is meant may not be one of the newest.
    let mut tasks = tasks?.tasks;
    match named {
        Ok(named) => {
            let beyond = named.tasks.into_iter().filter(|task| !tasks.contains(task)).collect::<Vec<_>>();
            tasks.extend(beyond);
        }
        Err(status)
            if matches!(status.code(), Code::NotFound | Code::FailedPrecondition | Code::InvalidArgument) => {
        }
        Err(status) => return Err(status),
    }
    let found = Found { agents: agents?, frameworks: frameworks?, services: services.services, tasks };
    Ok(found.matching(text))
}
