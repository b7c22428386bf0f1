//! The slow and naive order, from the definition, as the oracle of the fast one.

use std::collections::BTreeSet;
use std::time::Duration;

use bourse_types::{
    Epoch, FrameworkId, FrameworkInfo, MasterId, Milli, Name, Now, Quantities, Resource, Resources, Role,
};
use proptest::prelude::*;

use crate::account::scalars;
use crate::allocator::{Order, dominant};
use crate::event::StreamId;
use crate::frameworks::{Framework, FrameworkState, Holding};
use crate::master::Master;
use crate::{Config, Snapshot};

const ROLES: [&str; 7] = ["*", "a", "a/b", "a/b/c", "a/d", "e", "e-f"];

fn role(index: usize) -> Role {
    Role::new(ROLES[index % ROLES.len()]).expect("a literal of the test")
}

/// Every candidate in its order, from the records alone.
fn naive(master: &Master) -> Vec<(Role, FrameworkId)> {
    let mut all = Vec::new();
    below(master, None, &mut all);
    all
}

/// What is held at or below a role, and how often it was served.
fn held(master: &Master, counts: impl Fn(&Role) -> bool) -> (Quantities, u64) {
    let mut sum = (Quantities::new(), 0);
    for framework in master.frameworks.values() {
        for (_, holding) in framework.holdings.iter().filter(|(role, _)| counts(role)) {
            sum.0.add_all(&holding.amounts);
            sum.1 += holding.served;
        }
    }
    sum
}

fn candidates(master: &Master) -> BTreeSet<(Role, FrameworkId)> {
    let connected = |framework: &&Framework| matches!(framework.state, FrameworkState::Active { .. });
    let frameworks = master.frameworks.values().filter(connected);
    frameworks.flat_map(|f| f.wanted_roles().map(|role| (role.clone(), f.id.clone()))).collect()
}

fn below(master: &Master, at: Option<&Role>, all: &mut Vec<(Role, FrameworkId)>) {
    let wanting: BTreeSet<Role> = candidates(master).into_iter().map(|(role, _)| role).collect();
    // The child of `at` that leads to each role that somebody wants.
    let children: BTreeSet<Role> = wanting
        .iter()
        .flat_map(|role| std::iter::once(role.clone()).chain(role.ancestors()))
        .filter(|role| role.parent().as_ref() == at)
        .collect();
    let mut siblings: Vec<(f64, u64, String, Option<Role>)> = Vec::new();
    for child in children {
        let (amounts, served) = held(master, |role| role.is_within(&child));
        let share = dominant(&amounts, &master.pool).0 / master.weight(&child).as_f64();
        let level = child.as_str().rsplit('/').next().unwrap_or_default().to_owned();
        siblings.push((share, served, level, Some(child)));
    }
    if let Some(own) = at.filter(|role| wanting.contains(*role)) {
        let (amounts, served) = held(master, |role| role == own);
        siblings.push((dominant(&amounts, &master.pool).0, served, String::new(), None));
    }
    siblings.sort_by(|a, b| a.0.total_cmp(&b.0).then_with(|| (a.1, &a.2).cmp(&(b.1, &b.2))));
    for (_, _, _, child) in siblings {
        match child {
            Some(child) => below(master, Some(&child), all),
            None => frameworks_of(master, at.expect("only a role has frameworks of its own"), all),
        }
    }
}

fn frameworks_of(master: &Master, role: &Role, all: &mut Vec<(Role, FrameworkId)>) {
    let mut frameworks: Vec<(f64, u64, FrameworkId)> = Vec::new();
    for (_, id) in candidates(master).into_iter().filter(|(of, _)| of == role) {
        let holding =
            master.frameworks.get(&id).and_then(|f| f.holdings.get(role)).cloned().unwrap_or_default();
        frameworks.push((dominant(&holding.amounts, &master.pool).0, holding.served, id));
    }
    frameworks.sort_by(|a, b| a.0.total_cmp(&b.0).then_with(|| (a.1, &a.2).cmp(&(b.1, &b.2))));
    all.extend(frameworks.into_iter().map(|(_, _, id)| (role.clone(), id)));
}

/// Every candidate in the order that is kept.
fn kept(order: &Order) -> Vec<(Role, FrameworkId)> {
    let mut all = Vec::new();
    let nobody: Option<(Role, FrameworkId, ())> = order.find(|role, framework| {
        all.push((role.clone(), framework.clone()));
        None
    });
    assert!(nobody.is_none());
    all
}

/// Roles (and whether suppressed), what is held in which role, and whether connected.
type Given = (Vec<(usize, bool)>, Vec<(usize, u64, u64, u64)>, bool);

fn master(frameworks: Vec<Given>, weights: Vec<(usize, u64)>, pool: (u64, u64)) -> Master {
    let id = MasterId::new("m").expect("a literal of the test");
    let mut master = Master::new(Config::default(), Epoch(1), id, 1, Snapshot::default(), Now::default());
    master.pool = amounts(pool.0, pool.1);
    for (index, weight) in weights {
        master.weights.insert(role(index), Milli::new(weight));
    }
    for (number, (roles, holdings, connected)) in frameworks.into_iter().enumerate() {
        let id = FrameworkId::new(format!("f{number}")).expect("a literal of the test");
        let mut info = FrameworkInfo::new("f");
        info.failover_timeout = Duration::from_secs(60);
        info.roles =
            roles.iter().map(|(index, _)| role(*index)).collect::<BTreeSet<_>>().into_iter().collect();
        let state = match connected {
            true => FrameworkState::Active { stream: StreamId(number as u64) },
            false => FrameworkState::Recovered { deadline: bourse_types::Mono::MAX },
        };
        let mut framework = Framework::new(id.clone(), info, state, bourse_types::Wall(0));
        framework.suppressed =
            roles.iter().filter(|(_, quiet)| *quiet).map(|(index, _)| role(*index)).collect();
        for (index, cpus, mem, served) in holdings {
            framework.holdings.insert(role(index), Holding { amounts: amounts(cpus, mem), served });
        }
        master.frameworks.insert(id, framework);
    }
    master
}

fn amounts(cpus: u64, mem: u64) -> Quantities {
    [(Name::cpus(), Milli::new(cpus)), (Name::mem(), Milli::new(mem))].into_iter().collect()
}

fn any_framework() -> impl Strategy<Value = Given> {
    let roles = proptest::collection::vec((0usize..7, proptest::bool::weighted(0.2)), 1..3);
    let holdings = proptest::collection::vec((0usize..7, 0u64..4, 0u64..4, 0u64..3), 0..3);
    (roles, holdings, proptest::bool::weighted(0.8))
}

proptest! {
    #[test]
    fn the_order_is_the_naive_one_and_stays_so_while_frameworks_are_served(
        frameworks in proptest::collection::vec(any_framework(), 0..8),
        weights in proptest::collection::vec((0usize..7, 1u64..4_000), 0..4),
        pool in (0u64..10, 1u64..10),
        serve in proptest::collection::vec((0usize..8, 0u64..4, 0u64..4), 0..8),
    ) {
        let mut master = master(frameworks, weights, pool);
        let mut order = Order::new(&master);
        prop_assert_eq!(kept(&order), naive(&master));
        for (index, cpus, mem) in serve {
            let all = naive(&master);
            if all.is_empty() {
                break;
            }
            let (role, framework) = all[index % all.len()].clone();
            let given: Resources =
                amounts(cpus, mem).iter().map(|(name, amount)| Resource::scalar(name.clone(), amount)).collect();
            order.serve(&role, &framework, &given);
            let holding = master.framework_mut(&framework).holdings.entry(role).or_default();
            holding.amounts.add_all(&scalars(&given));
            holding.served += 1;
            prop_assert_eq!(kept(&order), naive(&master));
        }
    }
}
