//! What operators list: agents, frameworks, roles, offers and tasks.
//!
//! Every list is in the order of its ids and is read page by page, so that one of any length fits into messages. A page
//! goes on after the last id of the one before: nothing that is there all the while is skipped or doubled by what comes
//! and goes in between.

use std::fmt::{self, Display};

use bourse_master_core::{AgentState, Framework, Offer, Task, View};
use bourse_proto::operator as wire;
use bourse_types::{AgentId, FrameworkId, OfferId, Role, TaskId, TaskState};
use prost::Message;
use tonic::Status;

use super::forms::count;
use super::limits::MESSAGE_BYTES_MAX;
use super::subjects::{self, named_framework, named_task};
use super::{forms, resolve};
use crate::usage::Usages;

/// A page that is not told how many things it may have, and the most that one may have.
const PAGE: usize = 1_000;
const PAGE_MAX: usize = 10_000;

/// A page takes nothing more that would make it larger than this, in bytes. One thing alone may be larger.
const PAGE_BYTES: usize = MESSAGE_BYTES_MAX / 4;

/// What came first of a list, as far as it fits on a page, and the key of the last of it if something comes after.
fn page<K: Display, T: Message>(size: u32, things: impl Iterator<Item = (K, T)>) -> (Vec<T>, String) {
    let most = match size as usize {
        0 => PAGE,
        size => size.min(PAGE_MAX),
    };
    let (mut page, mut bytes, mut last) = (Vec::new(), 0, None);
    for (key, thing) in things {
        bytes += thing.encoded_len();
        if page.len() == most || (bytes > PAGE_BYTES && !page.is_empty()) {
            return (page, last.map(|last: K| last.to_string()).unwrap_or_default());
        }
        page.push(thing);
        last = Some(key);
    }
    (page, String::new())
}

/// The key behind which a page begins; none of the first one.
fn after<K>(page: &str, read: impl FnOnce(&str) -> Option<K>) -> Result<Option<K>, Status> {
    if page.is_empty() {
        return Ok(None);
    }
    let bad = || Status::invalid_argument("page is not the next_page of an answer; begin without it");
    read(page).map(Some).ok_or_else(bad)
}

/// Two lists, each in the order of its keys, as one in that order.
fn merged<K: Ord, T>(
    one: impl Iterator<Item = (K, T)>,
    other: impl Iterator<Item = (K, T)>,
) -> impl Iterator<Item = (K, T)> {
    let (mut one, mut other) = (one.peekable(), other.peekable());
    std::iter::from_fn(move || match (one.peek(), other.peek()) {
        (Some((first, _)), Some((second, _))) if second < first => other.next(),
        (Some(_), _) => one.next(),
        (None, _) => other.next(),
    })
}

/// Agents, also those that are gone.
pub(super) fn agents(
    view: &View,
    usages: &Usages,
    asked: &wire::ListAgentsRequest,
) -> Result<wire::ListAgentsResponse, Status> {
    let after = after(&asked.page, |id| AgentId::new(id).ok())?;
    let after = after.as_ref();
    let (total, (agents, next_page)) = match asked.agent.as_str() {
        "" => {
            let there = view.agents_after(after).map(|agent| (&agent.id, forms::agent(view, agent, usages)));
            let gone = view.gone_agents_after(after).map(|(id, at)| (id, forms::gone_agent(id, at)));
            let total = view.agents().len() + view.gone_agents().len();
            (total, page(asked.page_size, merged(there, gone)))
        }
        text => {
            let found = subjects::all_agents(view, text);
            // Of one that is gone only the id is known, and it has the whole of it.
            let gone = AgentId::new(text).ok().and_then(|id| view.gone_agent(&id).map(|at| (id, at)));
            let total = found.len() + usize::from(gone.is_some());
            if total == 0 {
                return Err(resolve::missing("agent", text));
            }
            let there = found.iter().map(|agent| (&agent.id, forms::agent(view, agent, usages)));
            let gone = gone.iter().map(|(id, at)| (id, forms::gone_agent(id, *at)));
            let rest = merged(there, gone).filter(|(id, _)| after.is_none_or(|after| *id > after));
            (total, page(asked.page_size, rest))
        }
    };
    Ok(wire::ListAgentsResponse { agents, next_page, total: count(total) })
}

/// Frameworks, where it is asked for also those that were torn down.
pub(super) fn frameworks(
    view: &View,
    asked: &wire::ListFrameworksRequest,
) -> Result<wire::ListFrameworksResponse, Status> {
    let after = after(&asked.page, |id| FrameworkId::new(id).ok())?;
    let after = after.as_ref();
    let is_after = |id: &FrameworkId| after.is_none_or(|after| id > after);
    let mut torn_down: Vec<_> = view.completed_frameworks().filter(|_| asked.completed).collect();
    torn_down.sort_by(|one, other| one.id.cmp(&other.id));
    let form = |framework: &Framework| match view.framework_picture(&framework.id) {
        Some(picture) => forms::framework(&picture, view.now()),
        None => forms::completed_framework(framework),
    };
    let (total, (frameworks, next_page)) = match asked.framework.as_str() {
        "" => {
            let total = view.frameworks().len() + torn_down.len();
            let there = view.frameworks_after(after).map(|framework| (&framework.id, framework));
            let gone = torn_down.iter().map(|framework| (&framework.id, *framework));
            let rest = merged(there, gone.filter(|(id, _)| is_after(id)));
            (total, page(asked.page_size, rest.map(|(id, framework)| (id, form(framework)))))
        }
        text => {
            let torn_down = torn_down.into_iter().map(named_framework);
            let mut found = subjects::all_frameworks(view, text, torn_down);
            if found.is_empty() {
                return Err(resolve::missing("framework", text));
            }
            found.sort_by(|one, other| one.id.cmp(&other.id));
            let rest = found.iter().filter(|framework| is_after(&framework.id));
            (found.len(), page(asked.page_size, rest.map(|framework| (&framework.id, form(framework)))))
        }
    };
    Ok(wire::ListFrameworksResponse { frameworks, next_page, total: count(total) })
}

/// The tree of roles.
pub(super) fn roles(view: &View, asked: &wire::ListRolesRequest) -> Result<wire::ListRolesResponse, Status> {
    let after = after(&asked.page, |name| Role::new(name).ok())?;
    let all = view.roles();
    let rest = all.iter().filter(|role| after.as_ref().is_none_or(|after| role.role > *after));
    let (roles, next_page) = page(asked.page_size, rest.map(|role| (&role.role, forms::role(role))));
    Ok(wire::ListRolesResponse { roles, next_page, total: count(all.len()) })
}

/// Outstanding offers.
pub(super) fn offers(
    view: &View,
    asked: &wire::ListOffersRequest,
) -> Result<wire::ListOffersResponse, Status> {
    let framework = subjects::framework_filter(view, &asked.framework_id)?;
    let agent = subjects::agent_filter(view, &asked.agent_id)?;
    let after = after(&asked.page, |id| OfferId::new(id).ok())?;
    let after = after.as_ref();
    let form = |offer: &Offer| forms::offer(offer, view);
    // Of an agent that is gone and a framework that was torn down there are none.
    let ids = match (&agent, &framework) {
        (None, None) => None,
        (Some(agent), _) => Some(view.agent(agent).map(|agent| &agent.offers)),
        (None, Some(framework)) => Some(view.framework(framework).map(|framework| &framework.offers)),
    };
    let (total, (offers, next_page)) = match ids {
        None => {
            let rest = view.offers_after(after).map(|offer| (&offer.id, form(offer)));
            (view.offers().len(), page(asked.page_size, rest))
        }
        Some(ids) => {
            let all = ids.into_iter().flatten().filter_map(|id| view.offer(id));
            let found: Vec<&Offer> = all
                .filter(|offer| framework.as_ref().is_none_or(|framework| offer.framework == *framework))
                .collect();
            let rest = found.iter().filter(|offer| after.is_none_or(|after| offer.id > *after));
            (found.len(), page(asked.page_size, rest.map(|offer| (&offer.id, form(offer)))))
        }
    };
    Ok(wire::ListOffersResponse { offers, next_page, total: count(total) })
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
    let after = after(&asked.page, PageKey::read)?;

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
    let rest = found[start..].iter().map(|task| (PageKey::of(task), forms::task(task, view, usages)));
    let (tasks, next_page) = page(asked.page_size, rest);
    let awaited = view.agents().filter(|agent| matches!(agent.state, AgentState::Recovered { .. }));
    let agents_awaited = count(awaited.count());
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
    fn read(text: &str) -> Option<PageKey> {
        let mut parts = text.splitn(3, '/');
        Some(PageKey {
            framework: FrameworkId::new(parts.next()?).ok()?,
            task: TaskId::new(parts.next()?).ok()?,
            launched: parts.next()?.parse().ok()?,
        })
    }
}

impl Display for PageKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.framework, self.task, self.launched)
    }
}
