//! Whatever is called so.

use bourse_proto::operator::{Agent, Framework, Task};
use bourse_proto::services::Service;
use maud::html;

use super::page::{Page, Part};
use super::{agents, frameworks, services, tasks, view};

/// What was found.
#[derive(Default)]
pub struct Found {
    /// Agents by hostname, id or attribute.
    pub agents: Vec<Agent>,
    /// Frameworks by name, id or role.
    pub frameworks: Vec<Framework>,
    /// Services by name.
    pub services: Vec<Service>,
    /// Tasks by id, name or label.
    pub tasks: Vec<Task>,
}

impl Found {
    /// Leaves what has the text in one of its names, whatever the case.
    pub fn matching(mut self, text: &str) -> Found {
        let text = text.to_lowercase();
        let has = |name: &str| name.to_lowercase().contains(&text);
        self.agents.retain(|agent| {
            has(&agent.hostname)
                || has(&agent.id)
                || agent.attributes.iter().any(|(name, value)| has(&format!("{name}={value}")))
        });
        self.frameworks.retain(|it| has(&it.name) || has(&it.id) || it.roles.iter().any(|role| has(role)));
        self.services.retain(|service| has(&service.name));
        self.tasks.retain(|task| {
            has(&task.id)
                || has(&task.name)
                || task.labels.iter().any(|(name, value)| has(&format!("{name}={value}")))
        });
        self
    }

    /// The page that was surely meant: the only one found, or the only one that has exactly this name.
    pub fn meant(&self, text: &str) -> Option<String> {
        let agents = self.agents.iter().map(|it| (it.hostname == text || it.id == text, view::agent(&it.id)));
        let frameworks =
            self.frameworks.iter().map(|it| (it.name == text || it.id == text, view::framework(&it.id)));
        let services = self.services.iter().map(|it| (it.name == text, view::service(&it.name)));
        let tasks = self
            .tasks
            .iter()
            .map(|it| (it.id == text || it.name == text, view::task(&it.framework_id, &it.id)));
        let hits = agents.chain(frameworks).chain(services).chain(tasks).collect::<Vec<_>>();
        let mut exact = hits.iter().filter(|(exact, _)| *exact);
        match (hits.as_slice(), exact.next(), exact.next()) {
            ([(_, only)], ..) | (_, Some((_, only)), None) => Some(only.clone()),
            _ => None,
        }
    }
}

/// The page.
pub fn page(text: &str, found: &Found) -> Page {
    let mut parts = Vec::new();
    if !found.agents.is_empty() {
        let mut table = agents::table(&found.agents);
        table.heading = "Agents";
        parts.push(Part::Table(table));
    }
    if !found.frameworks.is_empty() {
        let mut table = frameworks::table(&found.frameworks);
        table.heading = "Frameworks";
        parts.push(Part::Table(table));
    }
    if !found.services.is_empty() {
        let known = services::Services { services: found.services.clone(), ..services::Services::default() };
        let tables = services::page(&known).parts.into_iter().filter(|part| matches!(part, Part::Table(_)));
        parts.extend(tables);
    }
    if !found.tasks.is_empty() {
        let mut table = tasks::table("tasks", &found.tasks);
        table.heading = "Tasks";
        parts.push(Part::Table(table));
    }
    if parts.is_empty() {
        parts.push(Part::Still(html! {
            p.notice {
                @if text.is_empty() {
                    "Type the name or the beginning of an id of an agent, framework, service or task."
                } @else {
                    "Nothing is called " b { (text) } ", as far as the master remembers. "
                    "It looks at names, ids, roles, attributes and labels."
                }
            }
        }));
    }
    Page {
        title: if text.is_empty() { "Find".into() } else { format!("Find {text}") },
        command: "bourse ps -a".into(),
        parts,
    }
}
