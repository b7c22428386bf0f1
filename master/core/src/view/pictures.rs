//! What readers want to know and no record holds: sums and shares.

use std::collections::{BTreeMap, BTreeSet};

use bourse_types::{FrameworkId, Milli, Name, Resources, Role, TaskState};

use crate::allocator::dominant;
use crate::frameworks::{Framework, FrameworkState};
use crate::view::View;

/// The cluster's resources, from widest to narrowest, and how much is going on. Of agents that are connected or just
/// disconnected; those of others are nobody's to give.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Totals {
    /// What there is.
    pub total: Resources,
    /// What of it is set aside for roles.
    pub reserved: Resources,
    /// What is in outstanding offers.
    pub offered: Resources,
    /// What tasks hold.
    pub allocated: Resources,
    /// What is neither offered nor allocated.
    pub available: Resources,
    /// Agents that are connected.
    pub agents_active: usize,
    /// Agents that are not gone.
    pub agents: usize,
    /// Frameworks that are connected.
    pub frameworks_active: usize,
    /// Frameworks that were not torn down.
    pub frameworks: usize,
    /// Outstanding offers.
    pub offers: usize,
    /// Tasks by state: alive, unreachable, or with an end that is not acknowledged.
    pub tasks: BTreeMap<TaskState, usize>,
}

/// A framework with its share.
#[derive(Clone, Debug)]
pub struct FrameworkPicture<'a> {
    /// The record.
    pub framework: &'a Framework,
    /// What its outstanding offers hold.
    pub offered: Resources,
    /// What its tasks hold.
    pub allocated: Resources,
    /// Its part of the cluster, 0 to 1, by its dominant resource.
    pub share: f64,
    /// Which one that is; `None` when it holds nothing.
    pub dominant: Option<Name>,
}

/// A node of the tree of roles.
#[derive(Clone, Debug, PartialEq)]
pub struct RolePicture {
    /// Its name.
    pub role: Role,
    /// Its weight.
    pub weight: Milli,
    /// Frameworks that have this very role.
    pub frameworks: Vec<FrameworkId>,
    /// What agents set aside for exactly this role.
    pub reserved: Resources,
    /// What is offered in it and below it.
    pub offered: Resources,
    /// What tasks hold in it and below it.
    pub allocated: Resources,
    /// Its part of the cluster, 0 to 1, by its dominant resource and before its weight.
    pub share: f64,
    /// Which one that is; `None` when nothing is held.
    pub dominant: Option<Name>,
}

impl View {
    /// The cluster in figures.
    pub fn totals(&self) -> Totals {
        let mut totals = Totals {
            agents: self.master.agents.len(),
            frameworks: self.master.frameworks.len(),
            offers: self.master.offers.len(),
            ..Totals::default()
        };
        for agent in self.agents() {
            totals.agents_active += usize::from(agent.link().is_some());
            if agent.state.in_pool() {
                totals.total.add(&counted(&agent.info.total));
                totals.reserved.add(&counted(&agent.reserved()));
                totals.offered.add(&counted(&agent.offered));
                totals.allocated.add(&counted(&agent.allocated));
                totals.available.add(&counted(&agent.available()));
            }
        }
        for framework in self.frameworks() {
            totals.frameworks_active += usize::from(matches!(framework.state, FrameworkState::Active { .. }));
        }
        for task in self.tasks() {
            *totals.tasks.entry(task.state).or_default() += 1;
        }
        totals
    }

    /// A framework with its share. `None` when there is no such framework, or it was torn down.
    pub fn framework_picture(&self, id: &FrameworkId) -> Option<FrameworkPicture<'_>> {
        self.framework(id).map(|framework| self.picture_of(framework))
    }

    /// Every framework that was not torn down, with its share, by id.
    pub fn framework_pictures(&self) -> impl Iterator<Item = FrameworkPicture<'_>> {
        self.frameworks().map(|framework| self.picture_of(framework))
    }

    fn picture_of<'a>(&'a self, framework: &'a Framework) -> FrameworkPicture<'a> {
        let (offered, allocated) = self.held_by(framework, None);
        let mut held = bourse_types::Quantities::new();
        for holding in framework.holdings.values() {
            held.add_all(&holding.amounts);
        }
        let (share, which) = dominant(&held, &self.master.pool);
        FrameworkPicture { framework, offered, allocated, share, dominant: which }
    }

    /// The tree of roles, by name: every role that somebody has, holds something in, is reserved something, or was
    /// weighed, and all above it.
    pub fn roles(&self) -> Vec<RolePicture> {
        let mut names: BTreeSet<Role> = BTreeSet::new();
        for framework in self.frameworks() {
            names.extend(framework.info.roles.iter().cloned());
            let held = framework.holdings.iter().filter(|(_, holding)| !holding.amounts.is_empty());
            names.extend(held.map(|(role, _)| role.clone()));
        }
        names.extend(self.master.weights.keys().cloned());
        let mut reserved: BTreeMap<Role, Resources> = BTreeMap::new();
        for agent in self.agents().filter(|agent| agent.state.in_pool()) {
            for (role, resources) in agent.info.total.reserved() {
                reserved.entry(role).or_default().add(&counted(&resources));
            }
        }
        names.extend(reserved.keys().cloned());
        let above: Vec<Role> = names.iter().flat_map(Role::ancestors).collect();
        names.extend(above);
        names.into_iter().map(|role| self.role_picture(role, &mut reserved)).collect()
    }

    fn role_picture(&self, role: Role, reserved: &mut BTreeMap<Role, Resources>) -> RolePicture {
        let (mut offered, mut allocated) = (Resources::new(), Resources::new());
        let mut held = bourse_types::Quantities::new();
        let mut frameworks = Vec::new();
        for framework in self.frameworks() {
            if framework.info.roles.contains(&role) {
                frameworks.push(framework.id.clone());
            }
            let below: Vec<_> = framework.holdings.iter().filter(|(of, _)| of.is_within(&role)).collect();
            if !below.is_empty() {
                below.iter().for_each(|(_, holding)| held.add_all(&holding.amounts));
                let (in_offers, in_tasks) = self.held_by(framework, Some(&role));
                offered.add(&counted(&in_offers));
                allocated.add(&counted(&in_tasks));
            }
        }
        let (share, which) = dominant(&held, &self.master.pool);
        let reserved = reserved.remove(&role).unwrap_or_default();
        let weight = self.master.weight(&role);
        RolePicture { role, weight, frameworks, reserved, offered, allocated, share, dominant: which }
    }
}

/// What adds up over machines: amounts. The port 31000 of two machines is not one port, and a sum of ranges would say so.
fn counted(resources: &Resources) -> Resources {
    use bourse_types::ResourceValue::{Ranges, Scalar, Set};
    let amounts = resources.iter().filter(|resource| match resource.value {
        Scalar(_) => true,
        Ranges(_) | Set(_) => false,
    });
    amounts.cloned().collect()
}
