//! Ids that this master gives to agents and frameworks, and those that it gave or may still give.
//!
//! Agents and schedulers may come with an id that the master does not know: its registry was lost, or has forgotten them.
//! One that this incarnation has yet to give is nobody's. Whoever could take it beforehand would be found by the newcomer
//! that is given it, and the two would be one.

use bourse_types::{AgentId, FrameworkId};

use crate::master::Master;

impl Master {
    /// An id that no agent has or had, as far as is known.
    pub(crate) fn next_agent_id(&mut self) -> AgentId {
        loop {
            let id = AgentId::new(self.agent_name(self.agents_named));
            let id = id.expect("a master id with a number behind it is an id");
            self.agents_named += 1;
            if !self.agents.contains(&id) && !self.gone.contains_key(&id) {
                return id;
            }
        }
    }

    /// An id that no framework has or had, as far as is known. An agent may tell of frameworks under any id.
    pub(crate) fn next_framework_id(&mut self) -> FrameworkId {
        loop {
            let id = FrameworkId::new(self.framework_name(self.frameworks_named));
            let id = id.expect("a master id with a number behind it is an id");
            self.frameworks_named += 1;
            if !self.frameworks.contains(&id) && !self.removed.contains(&id) {
                return id;
            }
        }
    }

    /// Whether the id is of this incarnation's making and was not given.
    pub(crate) fn never_gave_agent(&self, id: &AgentId) -> bool {
        let given = |number| number < self.agents_named && id.as_str() == self.agent_name(number);
        self.is_ours(id.as_str()) && !number_of(id.as_str()).is_some_and(given)
    }

    /// Whether the id is of this incarnation's making and was not given.
    pub(crate) fn never_gave_framework(&self, id: &FrameworkId) -> bool {
        let given = |number| number < self.frameworks_named && id.as_str() == self.framework_name(number);
        self.is_ours(id.as_str()) && !number_of(id.as_str()).is_some_and(given)
    }

    fn agent_name(&self, number: u64) -> String {
        format!("{}-S{number}", self.id)
    }

    fn framework_name(&self, number: u64) -> String {
        format!("{}-{number:04}", self.id)
    }

    fn is_ours(&self, id: &str) -> bool {
        id.strip_prefix(self.id.as_str()).is_some_and(|rest| rest.starts_with('-'))
    }
}

/// The number behind the last dash.
fn number_of(id: &str) -> Option<u64> {
    let (_, short) = id.rsplit_once('-')?;
    short.strip_prefix('S').unwrap_or(short).parse().ok()
}
