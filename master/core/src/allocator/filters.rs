//! What frameworks declined for a while.
//!
//! A filter refuses its resources and any part of them, of one agent, for one role; what is more passes. It ends when
//! its time is over, when the framework revives the role, or when the agent or the framework changes.

use std::time::Duration;

use bourse_types::{AgentId, FrameworkId, Mono, Now, Resources, Role};
use imbl::OrdMap;

use crate::deadlines::Due;
use crate::master::Master;

/// Filters kept for one role and agent. The one that ends first makes room: a framework that declines ever larger
/// offers of one agent needs no more.
const FILTERS_MAX: usize = 16;

/// What one framework declined.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filters(OrdMap<(Role, AgentId), Vec<Filter>>);

/// One refusal.
#[derive(Clone, Debug, PartialEq)]
struct Filter {
    resources: Resources,
    until: Mono,
}

impl Filters {
    /// Until when these resources are refused; `None` when they are welcome.
    pub(crate) fn refuses(
        &self,
        role: &Role,
        agent: &AgentId,
        offered: &Resources,
        now: Mono,
    ) -> Option<Mono> {
        let key = (role.clone(), agent.clone());
        let filters = self.0.get(&key).into_iter().flatten();
        filters
            .filter(|filter| filter.until > now && filter.resources.contains(offered))
            .map(|filter| filter.until)
            .max()
    }

    /// All of them: roles and agents in order, and the filters of one in theirs, which decides between equals.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Role, &AgentId, &Resources, Mono)> {
        self.0.iter().flat_map(|((role, agent), filters)| {
            filters.iter().map(move |filter| (role, agent, &filter.resources, filter.until))
        })
    }

    /// A filter as it was, behind those of this role and agent.
    pub(crate) fn put(&mut self, role: Role, agent: AgentId, resources: Resources, until: Mono) {
        self.0.entry((role, agent)).or_default().push(Filter { resources, until });
    }

    /// When the next filter of this role and agent ends.
    fn next_end(&self, key: &(Role, AgentId)) -> Option<Mono> {
        self.0.get(key).into_iter().flatten().map(|filter| filter.until).min()
    }

    fn add(&mut self, key: &(Role, AgentId), resources: Resources, until: Mono) {
        let filters = self.0.entry(key.clone()).or_default();
        // Filters that are covered by another that lasts as long say nothing.
        if filters.iter().any(|filter| filter.until >= until && filter.resources.contains(&resources)) {
            return;
        }
        filters.retain(|filter| filter.until > until || !resources.contains(&filter.resources));
        if filters.len() >= FILTERS_MAX {
            let first = filters.iter().enumerate().min_by_key(|(_, filter)| filter.until).map(|(i, _)| i);
            filters.remove(first.expect("there are as many as the maximum"));
        }
        filters.push(Filter { resources, until });
    }

    fn expire(&mut self, key: &(Role, AgentId), now: Mono) {
        if let Some(filters) = self.0.get_mut(key) {
            filters.retain(|filter| filter.until > now);
            if filters.is_empty() {
                self.0.remove(key);
            }
        }
    }
}

impl Master {
    /// The framework does not want these resources of this agent for so long, within the configured bounds.
    pub(crate) fn add_filter(
        &mut self,
        now: Now,
        framework: &FrameworkId,
        role: &Role,
        agent: &AgentId,
        resources: Resources,
        refuse: Duration,
    ) {
        let until = now.mono + refuse.clamp(self.config.filter_min, self.config.filter_max);
        let key = (role.clone(), agent.clone());
        let filters = &mut self.framework_mut(framework).filters;
        let before = filters.next_end(&key);
        filters.add(&key, resources, until);
        let after = filters.next_end(&key);
        self.move_filter_timer(framework, key, before, after);
    }

    /// A filter may have ended: its framework may want the agent again.
    pub(crate) fn on_filter_due(&mut self, now: Now, framework: &FrameworkId, role: &Role, agent: &AgentId) {
        let Some(record) = self.frameworks.get_mut(framework) else { return };
        let key = (role.clone(), agent.clone());
        record.filters.expire(&key, now.mono);
        let next = record.filters.next_end(&key);
        self.move_filter_timer(framework, key, None, next);
        if self.agents.contains(agent) {
            self.mark_dirty(agent);
        }
    }

    /// Forgets the filters of a role, or of all roles.
    pub(crate) fn clear_filters(&mut self, framework: &FrameworkId, role: Option<&Role>) {
        let filters = &self.framework_mut(framework).filters;
        let cleared = |key: &&(Role, AgentId)| role.is_none_or(|role| key.0 == *role);
        let keys: Vec<(Role, AgentId)> = filters.0.keys().filter(cleared).cloned().collect();
        for key in keys {
            self.clear_filter(framework, key);
        }
    }

    /// The agent is not what it was when it was declined.
    pub(crate) fn clear_filters_of_agent(&mut self, agent: &AgentId) {
        let frameworks = self.frameworks.values();
        let keys: Vec<(FrameworkId, (Role, AgentId))> = frameworks
            .flat_map(|framework| framework.filters.0.keys().map(|key| (framework.id.clone(), key.clone())))
            .filter(|(_, (_, of))| of == agent)
            .collect();
        for (framework, key) in keys {
            self.clear_filter(&framework, key);
        }
    }

    fn clear_filter(&mut self, framework: &FrameworkId, key: (Role, AgentId)) {
        let filters = &mut self.framework_mut(framework).filters;
        let before = filters.next_end(&key);
        filters.0.remove(&key);
        self.move_filter_timer(framework, key, before, None);
    }

    /// One entry among the deadlines for each role and agent: the end of the first filter.
    fn move_filter_timer(
        &mut self,
        framework: &FrameworkId,
        (role, agent): (Role, AgentId),
        before: Option<Mono>,
        after: Option<Mono>,
    ) {
        if before == after {
            return;
        }
        let due = Due::Filter(framework.clone(), role, agent);
        if let Some(before) = before {
            self.deadlines.clear(before, due.clone());
        }
        if let Some(after) = after {
            self.deadlines.set(after, due);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resources(text: &str) -> Resources {
        text.parse().expect("a literal of the test")
    }

    fn key() -> (Role, AgentId) {
        (Role::any(), AgentId::new("a").expect("valid"))
    }

    #[test]
    fn a_filter_refuses_a_part_of_what_it_holds_and_lets_more_pass() {
        let mut filters = Filters::default();
        filters.add(&key(), resources("cpus:2;mem:64"), Mono(10));
        let refuses = |text| filters.refuses(&key().0, &key().1, &resources(text), Mono(5)).is_some();
        assert!(refuses("cpus:2;mem:64") && refuses("cpus:1"));
        assert!(!refuses("cpus:3;mem:64") && !refuses("cpus:1;disk:1"));
    }

    #[test]
    fn a_filter_is_over_at_its_end() {
        let mut filters = Filters::default();
        filters.add(&key(), resources("cpus:2"), Mono(10));
        assert_eq!(filters.refuses(&key().0, &key().1, &resources("cpus:1"), Mono(10)), None);
    }

    #[test]
    fn a_filter_that_another_covers_is_not_kept() {
        let mut filters = Filters::default();
        filters.add(&key(), resources("cpus:1"), Mono(10));
        filters.add(&key(), resources("cpus:2"), Mono(20));
        filters.add(&key(), resources("cpus:1"), Mono(15));
        assert_eq!(filters.0.get(&key()).map(Vec::len), Some(1));
        filters.add(&key(), resources("cpus:1"), Mono(30));
        assert_eq!(filters.0.get(&key()).map(Vec::len), Some(2));
    }

    #[test]
    fn ever_larger_refusals_are_bounded() {
        let mut filters = Filters::default();
        for i in 1..100u64 {
            filters.add(&key(), resources(&format!("cpus:{i}")), Mono(1_000 - i));
        }
        assert_eq!(filters.0.get(&key()).map(Vec::len), Some(FILTERS_MAX));
    }
}
