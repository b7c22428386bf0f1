//! Any part of a master.

use bourse_master_core::agents::DrainPhase;
use bourse_master_core::state::{AgentPart, Due, FrameworkPart, Head, Part, Place};
use bourse_master_core::tasks::KillOrder;
use bourse_master_core::{AgentState, Config, Drain, FrameworkState, Offer, Task, Unserved};

use super::*;

fn mono() -> impl Strategy<Value = Mono> {
    any::<u64>().prop_map(Mono)
}

fn now() -> impl Strategy<Value = Now> {
    (mono(), wall()).prop_map(|(mono, wall)| Now { mono, wall })
}

/// What an operator may set, and some that he may not.
fn config() -> impl Strategy<Value = Config> {
    let spans = (span(), span(), span(), option::of(span()));
    (spans, 0..100_000usize, any::<u32>(), any::<bool>()).prop_map(
        |((heartbeat_interval, agent_timeout, reregister_timeout, offer_timeout), count, rate, flag)| {
            let mut config = Config {
                heartbeat_interval,
                heartbeats_per_second_max: rate,
                reconnects_per_second_max: rate / 2,
                agent_timeout,
                reregister_timeout,
                offer_timeout,
                completed_tasks_max: count,
                completed_frameworks_max: count / 2,
                filter_gpu_resources: flag,
                ..Config::default()
            };
            if flag {
                config.min_allocatable.clear();
            }
            config
        },
    )
}

/// A head that was told of these newer masters, and is ordinary otherwise.
pub(super) fn deposed_by(deposed_by: BTreeMap<Option<Principal>, Epoch>) -> Part {
    let started = Now { mono: Mono(1), wall: Wall(1) };
    Part::Head(Box::new(Head {
        config: Config::default(),
        epoch: Epoch(1),
        id: MasterId::new("m").expect("an id"),
        started,
        random: 0,
        agents_named: 0,
        frameworks_named: 0,
        offers_named: 0,
        round: 0,
        awake: Mono(1),
        pass_allowed: Mono(1),
        emptied: BTreeSet::new(),
        deposed_by,
    }))
}

fn deposed() -> impl Strategy<Value = BTreeMap<Option<Principal>, Epoch>> {
    btree_map(option::of(principal()), any::<u64>().prop_map(Epoch), 0..3)
}

fn head() -> impl Strategy<Value = Part> {
    let counts = (any::<u64>(), any::<u64>(), any::<u64>(), any::<u64>(), any::<u64>());
    let rest = (mono(), mono(), vec(agent_id(), 0..3), deposed());
    (config(), any::<u64>(), master_id(), now(), counts, rest).prop_map(
        |(config, epoch, id, started, counts, (awake, pass_allowed, emptied, deposed_by))| {
            let (random, agents_named, frameworks_named, offers_named, round) = counts;
            Part::Head(Box::new(Head {
                config,
                epoch: Epoch(epoch),
                id,
                started,
                random,
                agents_named,
                frameworks_named,
                offers_named,
                round,
                awake,
                pass_allowed,
                emptied: emptied.into_iter().collect(),
                deposed_by,
            }))
        },
    )
}

fn agent_part() -> impl Strategy<Value = Part> {
    let state = prop_oneof![
        mono().prop_map(|deadline| AgentState::Recovered { deadline }),
        any::<u64>().prop_map(|link| AgentState::Active { link: LinkId(link) }),
        wall().prop_map(|since| AgentState::Disconnected { since }),
        wall().prop_map(|since| AgentState::Unreachable { since }),
    ];
    let phase = prop_oneof![
        mono().prop_map(|deadline| DrainPhase::Waiting { deadline }),
        Just(DrainPhase::Killing),
        Just(DrainPhase::Drained),
    ];
    let drain = (phase, span(), wall(), any::<bool>()).prop_map(|(phase, left, started, mark_gone)| Drain {
        phase,
        left,
        started,
        mark_gone,
    });
    let whose = (agent_id(), option::of(principal()));
    (whose, agent_info(), state, wall(), option::of(now()), option::of(drain), capabilities()).prop_map(
        |((id, principal), info, state, admitted, heard, drain, capabilities)| {
            Part::Agent(Box::new(AgentPart {
                id,
                info,
                state,
                admitted,
                heard,
                drain,
                capabilities,
                principal,
            }))
        },
    )
}

fn framework_part() -> impl Strategy<Value = Part> {
    let state = prop_oneof![
        mono().prop_map(|deadline| FrameworkState::Recovered { deadline }),
        any::<u64>().prop_map(|stream| FrameworkState::Active { stream: StreamId(stream) }),
        (wall(), mono()).prop_map(|(since, deadline)| FrameworkState::Disconnected { since, deadline }),
    ];
    let absence = (span(), wall()).prop_map(|(left, at)| Absence { left, at });
    let why = prop_oneof![Just(Unserved::AgentAway), Just(Unserved::Inactive), Just(Unserved::Share)];
    let counts = (btree_map(role(), any::<u64>(), 0..3), btree_map(why, any::<u64>(), 0..3));
    let who = (framework_id(), framework_info(), state, option::of(absence), wall(), roles());
    (who, counts, any::<bool>()).prop_map(
        |((id, info, state, absence, registered, suppressed), (served, unserved), torn_down)| {
            Part::Framework(Box::new(FrameworkPart {
                id,
                info,
                state,
                absence,
                registered,
                suppressed: suppressed.into_iter().collect(),
                served,
                unserved,
                torn_down,
            }))
        },
    )
}

fn task_part() -> impl Strategy<Value = Part> {
    let place = prop_oneof![Just(Place::Live), Just(Place::Unreachable), Just(Place::Completed)];
    let kill = (option::of(kill_policy()), any::<bool>())
        .prop_map(|(policy, own)| KillOrder { policy, reason: own.then_some(Reason::Reconciliation) });
    let who = (task(), framework_id(), role(), agent_id(), state());
    let told = (vec(status(), 0..3), option::of(status()), option::of(any::<[u8; 16]>()));
    let rest = (wall(), wall(), any::<bool>(), any::<bool>(), option::of(size()), option::of(kill));
    (place, who, told, rest).prop_map(
        |(
            place,
            (info, framework, role, agent, state),
            (statuses, pending, acknowledged),
            (launched, changed, holds, resized, resize, kill),
        )| {
            let task = Task {
                info,
                framework,
                role,
                agent,
                state,
                statuses,
                launched,
                changed,
                holds,
                resized,
                resize,
                pending,
                acknowledged,
                kill,
            };
            Part::Task { place, task: Arc::new(task) }
        },
    )
}

fn due() -> impl Strategy<Value = Due> {
    prop_oneof![
        agent_id().prop_map(Due::Agent),
        framework_id().prop_map(Due::Framework),
        offer_id().prop_map(Due::Offer),
        agent_id().prop_map(Due::Drain),
        agent_id().prop_map(Due::Refusals),
        Just(Due::Forget),
    ]
}

pub(super) fn parts() -> impl Strategy<Value = Part> {
    let offer = (offer_id(), framework_id(), role(), agent_id(), resources(), wall(), mono()).prop_map(
        |(id, framework, role, agent, resources, made, expires)| {
            Part::Offer(Offer { id, framework, role, agent, resources, made, expires })
        },
    );
    prop_oneof![
        head(),
        agent_part(),
        (agent_id(), wall()).prop_map(|(id, at)| Part::Gone { id, at }),
        (framework_id(), wall()).prop_map(|(id, at)| Part::Removed { id, at }),
        (role(), any::<u64>()).prop_map(|(role, weight)| Part::Weight { role, weight: Milli::new(weight) }),
        framework_part(),
        task_part(),
        (option::of(framework_id()), role(), agent_id(), resources(), mono()).prop_map(
            |(framework, role, agent, resources, until)| Part::Filter {
                framework,
                role,
                agent,
                resources,
                until
            }
        ),
        offer,
        (mono(), due()).prop_map(|(at, due)| Part::Deadline { at, due }),
        (any::<u64>(), any::<u64>(), agent_id()).prop_map(|(round, lot, agent)| Part::Mark {
            round,
            lot,
            agent
        }),
    ]
}
