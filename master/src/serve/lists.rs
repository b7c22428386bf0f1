//! What operators list: agents, frameworks, roles, offers and tasks.
//!
//! Lists are filtered here and paged; a page is a whole number of tasks after the last one of the page before, so
//! nothing is skipped or doubled by what changes in between.

use bourse_master_core::{AgentState, Task, View};
use bourse_proto::operator as wire;
use bourse_types::{FrameworkId, TaskId, TaskState};
use tonic::Status;

use super::subjects::{self, named_framework, named_task};
use super::{forms, resolve};
use crate::usage::Usages;

/// A page of tasks that does not say how many, and the most that one may have.
const PAGE: usize = 1_000;
const PAGE_MAX: usize = 10_000;

/// Agents, those that are gone last.
pub(super) fn agents(
    view: &View,
    usages: &Usages,
    asked: &wire::ListAgentsRequest,
) -> Result<wire::ListAgentsResponse, Status> {
    let text = &asked.agent;
    let mut agents: Vec<_> = resolve::all(text, subjects::agents(view))
        .iter()
        .map(|named| forms::agent(named.thing, usages))
        .collect();
    // Of one that is gone only the id is known, and it has the whole of it.
    let gone = view.gone_agents().filter(|(id, _)| text.is_empty() || id.as_str() == text);
    agents.extend(gone.map(|(id, at)| forms::gone_agent(id, at)));
    if agents.is_empty() && !text.is_empty() {
        return Err(resolve::missing("agent", text));
    }
    Ok(wire::ListAgentsResponse { agents })
}

/// Frameworks, those that were torn down last.
pub(super) fn frameworks(
    view: &View,
    asked: &wire::ListFrameworksRequest,
) -> Result<wire::ListFrameworksResponse, Status> {
    let wire::ListFrameworksRequest { framework: text, completed } = asked;
    let torn_down = view.completed_frameworks().filter(|_| *completed).map(named_framework);
    let found = resolve::all(text, subjects::frameworks(view).chain(torn_down));
    if found.is_empty() && !text.is_empty() {
        return Err(resolve::missing("framework", text));
    }
    let frameworks = found.iter().map(|named| match view.framework_picture(&named.thing.id) {
        Some(picture) => forms::framework(&picture, view.now()),
        None => forms::completed_framework(named.thing),
    });
    Ok(wire::ListFrameworksResponse { frameworks: frameworks.collect() })
}

/// The tree of roles.
pub(super) fn roles(view: &View) -> wire::ListRolesResponse {
    wire::ListRolesResponse { roles: view.roles().iter().map(forms::role).collect() }
}

/// Outstanding offers.
pub(super) fn offers(
    view: &View,
    asked: &wire::ListOffersRequest,
) -> Result<wire::ListOffersResponse, Status> {
    let framework = subjects::framework_filter(view, &asked.framework_id)?;
    let agent = subjects::agent_filter(view, &asked.agent_id)?;
    let offers = view
        .offers()
        .filter(|offer| framework.as_ref().is_none_or(|framework| offer.framework == *framework))
        .filter(|offer| agent.as_ref().is_none_or(|agent| offer.agent == *agent))
        .map(|offer| forms::offer(offer, view));
    Ok(wire::ListOffersResponse { offers: offers.collect() })
}

/// Tasks.
pub(super) fn tasks(
    view: &View,
    usages: &Usages,
    asked: &wire::ListTasksRequest,
) -> Result<wire::ListTasksResponse, Status> {
    let framework = subjects::framework_filter(view, &asked.framework)?;
    let agent = subjects::agent_filter(view, &asked.agent)?;
    let states = asked.states.iter().map(|name| {
        let full =
            if name.starts_with("TASK_") { name.clone() } else { format!("TASK_{}", name.to_uppercase()) };
        full.parse::<TaskState>().map_err(|why| Status::invalid_argument(format!("states: {why}")))
    });
    let states = states.collect::<Result<Vec<_>, _>>()?;
    let after = if asked.page.is_empty() { None } else { Some(PageKey::read(&asked.page)?) };
    let size = match asked.page_size as usize {
        0 => PAGE,
        size => size.min(PAGE_MAX),
    };

    let ended = view.completed_tasks().filter(|_| asked.completed);
    let tasks = view.tasks().chain(ended).filter(|task| {
        framework.as_ref().is_none_or(|framework| task.framework == *framework)
            && agent.as_ref().is_none_or(|agent| task.agent == *agent)
            && (states.is_empty() || states.contains(&task.state))
    });
    let mut found: Vec<&Task> =
        resolve::all(&asked.task, tasks.map(named_task)).into_iter().map(|named| named.thing).collect();
    found.sort_by_key(|task| PageKey::of(task));
    let start = after.map_or(0, |after| found.partition_point(|task| PageKey::of(task) <= after));
    let page = &found[start..found.len().min(start + size)];
    let more = start + page.len() < found.len();
    let next_page =
        page.last().filter(|_| more).map(|last| PageKey::of(last).to_string()).unwrap_or_default();
    let tasks = page.iter().map(|task| forms::task(task, view, usages)).collect();
    let awaited = view.agents().filter(|agent| matches!(agent.state, AgentState::Recovered { .. }));
    let agents_awaited = awaited.count() as u32;
    Ok(wire::ListTasksResponse { tasks, next_page, agents_awaited })
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
