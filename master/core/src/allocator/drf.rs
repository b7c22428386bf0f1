//! Whose turn it is: weighted dominant-resource fairness over the tree of roles, then over the frameworks of a role.
//!
//! The share of a framework or role is its part of the cluster's scarcest resource for it: the greatest, over all
//! scalar resources, of what it holds by what there is (Ghodsi et al., "Dominant Resource Fairness", NSDI 2011). The
//! share of a role is divided by its weight. Below each role its child roles compete, and beside them, as one more
//! child with weight 1, the frameworks of the role itself, as in Mesos. The least share is first; among equal ones who
//! got fewer offers, so that a framework that declines everything does not keep its neighbour from its turn; then the
//! name.
//!
//! The order is made from the frameworks' records when a pass begins and moved one framework at a time while it goes
//! on. Shares are floating-point quotients of exact sums: the same on every machine that follows IEEE 754.

use std::collections::{BTreeMap, BTreeSet};

use bourse_types::{FrameworkId, Milli, Quantities, Resources, Role};

use crate::account::scalars;
use crate::frameworks::FrameworkState;
use crate::master::Master;

/// The part of the cluster's scarcest resource, and which one that is. More than 1 when tasks of agents that are away
/// still count.
pub(crate) fn dominant(held: &Quantities, pool: &Quantities) -> (f64, Option<bourse_types::Name>) {
    held.iter().fold((0.0, None), |(greatest, which), (name, amount)| {
        let there = pool.get(name.as_str());
        // Held, but nowhere to be had: the agent that has it is away. Counts for nothing, rather than for infinity.
        if there.is_zero() {
            return (greatest, which);
        }
        let share = amount.thousandths() as f64 / there.thousandths() as f64;
        if share > greatest { (share, Some(name.clone())) } else { (greatest, which) }
    })
}

/// A place among siblings: the least is first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    /// Bits of a share that is not negative, which compare as the numbers do.
    share: u64,
    served: u64,
    /// The level of the role's name, or the framework's id. Empty for the frameworks of a role themselves.
    name: String,
}

#[derive(Debug)]
struct Node {
    parent: usize,
    weight: Milli,
    amounts: Quantities,
    served: u64,
    name: String,
    /// Child roles in order, each with its node.
    children: BTreeMap<Place, usize>,
    /// Frameworks that want offers, in order; only the nodes that stand for the frameworks of a role have some.
    frameworks: BTreeMap<Place, FrameworkId>,
}

/// What a candidate holds in a role.
#[derive(Debug)]
struct Candidate {
    node: usize,
    amounts: Quantities,
    served: u64,
}

/// Roles and frameworks by their turn.
#[derive(Debug)]
pub(crate) struct Order {
    pool: Quantities,
    /// The first is the root.
    nodes: Vec<Node>,
    /// The node of each role, and the role of each node that has frameworks.
    by_role: BTreeMap<Role, usize>,
    roles: BTreeMap<usize, Role>,
    candidates: BTreeMap<(Role, FrameworkId), Candidate>,
}

impl Order {
    /// The order as the records have it.
    pub(crate) fn new(master: &Master) -> Order {
        let root = Node::new(0, Milli::whole(1), String::new());
        let mut order = Order {
            pool: master.pool.clone(),
            nodes: vec![root],
            by_role: BTreeMap::new(),
            roles: BTreeMap::new(),
            candidates: BTreeMap::new(),
        };
        for framework in master.frameworks.values() {
            for (role, holding) in &framework.holdings {
                let leaf = order.leaf(master, role);
                order.add_up(leaf, &holding.amounts, holding.served);
            }
            let FrameworkState::Active { .. } = framework.state else { continue };
            for role in framework.wanted_roles() {
                let holding = framework.holdings.get(role).cloned().unwrap_or_default();
                let node = order.leaf(master, role);
                let candidate = Candidate { node, amounts: holding.amounts, served: holding.served };
                order.candidates.insert((role.clone(), framework.id.clone()), candidate);
            }
        }
        order.settle();
        order
    }

    /// The node that stands for the frameworks of a role, made with all nodes above it when it is new.
    fn leaf(&mut self, master: &Master, role: &Role) -> usize {
        if let Some(leaf) = self.by_role.get(role) {
            return self.leaf_of(*leaf);
        }
        let mut lineage: Vec<Role> = role.ancestors().collect();
        lineage.reverse();
        lineage.push(role.clone());
        let mut at = 0;
        for role in lineage {
            at = match self.by_role.get(&role) {
                Some(known) => *known,
                None => {
                    let level = role.as_str().rsplit('/').next().unwrap_or_default().to_owned();
                    let node = self.push(Node::new(at, master.weight(&role), level));
                    // The frameworks of the role itself, right behind it.
                    let leaf = self.push(Node::new(node, Milli::whole(1), String::new()));
                    self.by_role.insert(role.clone(), node);
                    self.roles.insert(leaf, role);
                    node
                }
            };
        }
        self.leaf_of(at)
    }

    fn leaf_of(&self, role_node: usize) -> usize {
        role_node + 1
    }

    fn push(&mut self, node: Node) -> usize {
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    fn add_up(&mut self, leaf: usize, amounts: &Quantities, served: u64) {
        let mut at = leaf;
        while at != 0 {
            self.nodes[at].amounts.add_all(amounts);
            self.nodes[at].served += served;
            at = self.nodes[at].parent;
        }
    }

    /// Puts every candidate, and every node that leads to one, into its place.
    fn settle(&mut self) {
        let mut leading = BTreeSet::new();
        for ((_, framework), candidate) in &self.candidates {
            let place =
                place(&self.pool, &candidate.amounts, Milli::whole(1), candidate.served, framework.as_str());
            self.nodes[candidate.node].frameworks.insert(place, framework.clone());
            let mut at = candidate.node;
            while at != 0 && leading.insert(at) {
                at = self.nodes[at].parent;
            }
        }
        for at in leading {
            let (parent, place) = (self.nodes[at].parent, self.nodes[at].place(&self.pool));
            self.nodes[parent].children.insert(place, at);
        }
    }

    /// Who wants offers.
    pub(crate) fn candidates(&self) -> impl Iterator<Item = &FrameworkId> {
        self.candidates.keys().map(|(_, framework)| framework)
    }

    /// The first, in order, for whom `wants` has an answer.
    pub(crate) fn find<T>(
        &self,
        mut wants: impl FnMut(&Role, &FrameworkId) -> Option<T>,
    ) -> Option<(Role, FrameworkId, T)> {
        self.find_below(0, &mut wants)
    }

    fn find_below<T>(
        &self,
        at: usize,
        wants: &mut impl FnMut(&Role, &FrameworkId) -> Option<T>,
    ) -> Option<(Role, FrameworkId, T)> {
        if let Some(role) = self.roles.get(&at) {
            for framework in self.nodes[at].frameworks.values() {
                if let Some(answer) = wants(role, framework) {
                    return Some((role.clone(), framework.clone(), answer));
                }
            }
        }
        self.nodes[at].children.values().find_map(|child| self.find_below(*child, wants))
    }

    /// The framework was offered these resources for the role: it and the roles above it move back.
    pub(crate) fn serve(&mut self, role: &Role, framework: &FrameworkId, resources: &Resources) {
        let amounts = scalars(resources);
        let key = (role.clone(), framework.clone());
        let candidate = self.candidates.get_mut(&key).expect("only candidates are found, and so served");
        let weight = Milli::whole(1);
        let before = place(&self.pool, &candidate.amounts, weight, candidate.served, framework.as_str());
        candidate.amounts.add_all(&amounts);
        candidate.served += 1;
        let after = place(&self.pool, &candidate.amounts, weight, candidate.served, framework.as_str());
        let mut at = candidate.node;
        let frameworks = &mut self.nodes[at].frameworks;
        frameworks.remove(&before);
        frameworks.insert(after, framework.clone());
        while at != 0 {
            let (parent, before) = (self.nodes[at].parent, self.nodes[at].place(&self.pool));
            self.nodes[at].amounts.add_all(&amounts);
            self.nodes[at].served += 1;
            let after = self.nodes[at].place(&self.pool);
            self.nodes[parent].children.remove(&before);
            self.nodes[parent].children.insert(after, at);
            at = parent;
        }
    }
}

impl Node {
    fn new(parent: usize, weight: Milli, name: String) -> Node {
        Node {
            parent,
            weight,
            amounts: Quantities::new(),
            served: 0,
            name,
            children: BTreeMap::new(),
            frameworks: BTreeMap::new(),
        }
    }

    fn place(&self, pool: &Quantities) -> Place {
        place(pool, &self.amounts, self.weight, self.served, &self.name)
    }
}

fn place(pool: &Quantities, amounts: &Quantities, weight: Milli, served: u64, name: &str) -> Place {
    let share = dominant(amounts, pool).0 / weight.as_f64();
    Place { share: share.to_bits(), served, name: name.to_owned() }
}
