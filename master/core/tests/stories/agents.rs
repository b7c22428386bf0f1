//! Agents come, go, and come back.

use std::time::Duration;

use bourse_master_core::event::{Call, Command, Event, Registration};
use bourse_master_core::{Config, Effect, ToAgent, ToScheduler};
use bourse_types::{AgentCapability, Epoch, FrameworkInfo, TaskState};
use expect_test::expect;

use crate::text;
use crate::world::*;

#[test]
fn a_new_agent_is_admitted_before_it_is_told_its_id() {
    let mut w = World::new();
    let link = w.link();
    w.check(
        registers(link, None, MACHINE),
        expect![[r#"
        persist agent m-S0 admitted
        m-S0@1 <- Registered m-S0 heartbeat 15s known []
    "#]],
    );
}

#[test]
fn a_repeated_registration_is_told_the_same_and_persists_nothing() {
    let mut w = World::new();
    let (agent, link) = w.agent(MACHINE);
    w.check(
        registers(link, Some(&agent), MACHINE),
        expect![[r#"
        m-S0@1 <- Registered m-S0 heartbeat 15s known []
    "#]],
    );
}

#[test]
fn a_newer_link_replaces_the_older_one_and_what_comes_by_the_older_is_dropped() {
    let mut w = World::new();
    let (agent, old, framework) = w.running();
    let new = w.link();
    let known = report(&framework.id, "t1", &agent, "cpus:1;mem:64", TaskState::Running);
    w.check(
        registers_with(new, Some(&agent), MACHINE, vec![known], vec![]),
        expect![[r#"
        close link 1
        m-S0@2 <- Registered m-S0 heartbeat 15s known [m-0000/t1]
    "#]],
    );
    w.check(update(&agent, old, &framework.id, "t1", TaskState::Failed, 9), expect![[""]]);
    w.check(Event::AgentLinkClosed { agent, link: old }, expect![[""]]);
    assert_eq!(w.state_of(&framework, "t1"), Some(TaskState::Running));
}

#[test]
fn offers_of_a_disconnected_agent_are_rescinded_and_no_more_are_made() {
    let mut w = World::new();
    let (agent, link) = w.agent(MACHINE);
    w.framework(&["*"]);
    w.check(
        Event::AgentLinkClosed { agent, link },
        expect![[r#"
        m-0000@1 <- Rescind m-O0
    "#]],
    );
    w.nothing_more();
}

#[test]
fn tasks_of_a_framework_that_checkpoints_are_left_alone_when_their_agent_disconnects() {
    let mut w = World::new();
    let (agent, link, framework) = w.running();
    w.check(Event::AgentLinkClosed { agent, link }, expect![[""]]);
    assert_eq!(w.state_of(&framework, "t1"), Some(TaskState::Running));
}

#[test]
fn tasks_of_a_framework_that_does_not_checkpoint_are_lost_at_once_when_their_agent_disconnects() {
    let mut w = World::new();
    let (agent, link) = w.agent(MACHINE);
    let mut info = framework_info(&["*"]);
    info.checkpoint = false;
    info.capabilities.partition_aware = false;
    let framework = w.subscribe(info);
    w.launch(&framework, "t1", "cpus:1;mem:64");
    w.check(Event::AgentLinkClosed { agent: agent.clone(), link }, expect![[r#"
        m-0000@1 <- Update t1 TASK_LOST REASON_AGENT_DISCONNECTED SOURCE_MASTER m-S0 "agent m-S0 disconnected, and the framework does not checkpoint"
    "#]]);
    // And they may come back with their agent.
    let back = w.link();
    let known = report(&framework.id, "t1", &agent, "cpus:1;mem:64", TaskState::Running);
    w.check(
        registers_with(back, Some(&agent), MACHINE, vec![known], vec![]),
        expect![[r#"
        m-0000@1 <- Update t1 TASK_RUNNING REASON_AGENT_REREGISTERED SOURCE_MASTER m-S0 "agent m-S0 is back"
        m-S0@2 <- Registered m-S0 heartbeat 15s known [m-0000/t1]
    "#]],
    );
}

#[test]
fn an_agent_that_is_heard_stays_and_one_that_is_silent_for_75_seconds_is_unreachable() {
    let mut w = World::new();
    let (loud, _) = w.agent(MACHINE);
    let (_silent, _) = w.agent(MACHINE);
    w.framework(&["*"]);
    w.pass_hearing(secs(60), &[loud.as_str()]);
    w.expect(expect![""]);
    w.pass_hearing(secs(20), &[loud.as_str()]);
    w.expect(expect![[r#"
        persist agent m-S1 unreachable
        close link 2
        m-0000@1 <- Rescind m-O0
        m-0000@1 <- AgentFailed m-S1
    "#]]);
}

#[test]
fn tasks_of_an_unreachable_agent_are_unreachable_and_every_framework_hears_of_the_agent() {
    let mut w = World::new();
    let (_, _, _) = w.running();
    w.framework(&["other"]);
    w.pass(secs(80));
    w.expect(expect![[r#"
        persist agent m-S0 unreachable
        close link 1
        m-0001@2 <- Rescind m-O1
        m-0000@1 <- Update t1 TASK_UNREACHABLE REASON_AGENT_REMOVED SOURCE_MASTER m-S0 "agent m-S0 is unreachable: it was silent for too long"
        m-0000@1 <- AgentFailed m-S0
        m-0001@2 <- AgentFailed m-S0
    "#]]);
}

#[test]
fn a_framework_that_is_not_partition_aware_is_told_lost_for_unreachable() {
    let mut w = World::new();
    let (agent, _) = w.agent(MACHINE);
    let mut info = framework_info(&["*"]);
    info.capabilities.partition_aware = false;
    let framework = w.subscribe(info);
    w.launch(&framework, "t1", "cpus:1;mem:64");
    w.pass(secs(80));
    w.expect(expect![[r#"
        m-0000@1 <- Offers m-O1 (m-S0 * cpus:3; mem:960; ports:[31000-31009])
        persist agent m-S0 unreachable
        close link 1
        m-0000@1 <- Rescind m-O1
        m-0000@1 <- Update t1 TASK_LOST REASON_AGENT_REMOVED SOURCE_MASTER m-S0 "agent m-S0 is unreachable: it was silent for too long"
        m-0000@1 <- AgentFailed m-S0
    "#]]);
    // Lost is not the end of it: the agent comes back under the same id, and so does its task.
    let back = w.link();
    let known = report(&framework.id, "t1", &agent, "cpus:1;mem:64", TaskState::Running);
    w.check(
        registers_with(back, Some(&agent), MACHINE, vec![known], vec![]),
        expect![[r#"
        persist agent m-S0 reachable
        m-0000@1 <- Update t1 TASK_RUNNING REASON_AGENT_REREGISTERED SOURCE_MASTER m-S0 "agent m-S0 is back"
        m-S0@2 <- Registered m-S0 heartbeat 15s known [m-0000/t1]
        m-0000@1 <- Offers m-O2 (m-S0 * cpus:3; mem:960; ports:[31000-31009])
    "#]],
    );
    assert_eq!(w.state_of(&framework, "t1"), Some(TaskState::Running));
}

#[test]
fn an_unreachable_agent_comes_back_under_its_id_with_its_tasks() {
    let mut w = World::new();
    let (agent, _, framework) = w.running();
    w.pass(secs(80));
    let back = w.link();
    let known = report(&framework.id, "t1", &agent, "cpus:1;mem:64", TaskState::Running);
    w.check(
        registers_with(back, Some(&agent), MACHINE, vec![known], vec![]),
        expect![[r#"
        persist agent m-S0 reachable
        m-0000@1 <- Update t1 TASK_RUNNING REASON_AGENT_REREGISTERED SOURCE_MASTER m-S0 "agent m-S0 is back"
        m-S0@2 <- Registered m-S0 heartbeat 15s known [m-0000/t1]
        m-0000@1 <- Offers m-O2 (m-S0 * cpus:3; mem:960; ports:[31000-31009])
    "#]],
    );
}

#[test]
fn an_unreachable_task_that_ended_meanwhile_is_told_by_the_agents_own_update() {
    let mut w = World::new();
    let (agent, _, framework) = w.running();
    w.pass(secs(80));
    let back = w.link();
    let ended = report(&framework.id, "t1", &agent, "cpus:1;mem:64", TaskState::Finished);
    w.check(
        registers_with(back, Some(&agent), MACHINE, vec![ended], vec![]),
        expect![[r#"
        persist agent m-S0 reachable
        m-S0@2 <- Registered m-S0 heartbeat 15s known []
        m-0000@1 <- Offers m-O2 (m-S0 * cpus:4; mem:1024; ports:[31000-31009])
    "#]],
    );
    w.check(
        update(&agent, back, &framework.id, "t1", TaskState::Finished, 200),
        expect![[r#"
        m-0000@1 <- Update t1 TASK_FINISHED SOURCE_EXECUTOR m-S0 #200
    "#]],
    );
}

#[test]
fn an_unreachable_task_that_its_agent_comes_back_without_is_gone() {
    let mut w = World::new();
    let (agent, _, framework) = w.running();
    w.pass(secs(80));
    let back = w.link();
    w.check(registers(back, Some(&agent), MACHINE), expect![[r#"
        persist agent m-S0 reachable
        m-0000@1 <- Update t1 TASK_GONE REASON_AGENT_REREGISTERED SOURCE_MASTER m-S0 "agent m-S0 is back without the task"
        m-S0@2 <- Registered m-S0 heartbeat 15s known []
        m-0000@1 <- Offers m-O2 (m-S0 * cpus:4; mem:1024; ports:[31000-31009])
    "#]]);
    assert_eq!(w.state_of(&framework, "t1"), Some(TaskState::Gone));
}

#[test]
fn a_task_that_is_back_counts_as_its_agent_tells() {
    // Found by `random`: the framework had changed its role, and the record of before was counted.
    let mut w = World::new();
    let (agent, _) = w.agent(MACHINE);
    let framework = w.framework(&["ops"]);
    w.launch(&framework, "t1", "cpus:1;mem:64");
    w.pass(secs(80));
    let back = w.link();
    let known = report(&framework.id, "t1", &agent, "cpus:1;mem:64", TaskState::Running);
    w.apply(registers_with(back, Some(&agent), MACHINE, vec![known], vec![]));
    assert_eq!(w.view().task(&framework.id, &task_id("t1")).expect("back").role, role("*"));
}

#[test]
fn a_task_id_that_was_given_again_while_its_agent_was_away_is_killed_on_the_one_that_comes_back() {
    let config =
        bourse_master_core::Config { unreachable_tasks_max: 0, ..bourse_master_core::Config::default() };
    let mut w = World::with(config);
    let (old, _, framework) = w.running();
    w.pass(secs(80));
    let (new, link) = w.agent(MACHINE);
    w.settle();
    w.launch(&framework, "t1", "cpus:2;mem:64");
    let back = w.link();
    let known = report(&framework.id, "t1", &old, "cpus:1;mem:64", TaskState::Running);
    w.check(
        registers_with(back, Some(&old), MACHINE, vec![known], vec![]),
        expect![[r#"
        persist agent m-S0 reachable
        m-S0@3 <- Registered m-S0 heartbeat 15s known []
        m-S0@3 <- Kill m-0000/t1
    "#]],
    );
    w.check(
        update(&old, back, &framework.id, "t1", TaskState::Killed, 90),
        expect![[r#"
        m-S0@3 <- Acknowledge m-0000/t1 #90
    "#]],
    );
    w.check(
        update(&new, link, &framework.id, "t1", TaskState::Running, 91),
        expect![[r#"
        m-0000@1 <- Update t1 TASK_RUNNING SOURCE_EXECUTOR m-S1 #91
    "#]],
    );
}

#[test]
fn a_task_that_the_agent_does_not_know_is_among_the_known_and_the_agent_answers_dropped() {
    let mut w = World::new();
    let (agent, _) = w.agent(MACHINE);
    let framework = w.framework(&["*"]);
    w.launch(&framework, "t1", "cpus:1;mem:64");
    let back = w.link();
    w.check(
        registers(back, Some(&agent), MACHINE),
        expect![[r#"
        close link 1
        m-S0@2 <- Registered m-S0 heartbeat 15s known [m-0000/t1]
    "#]],
    );
    w.check(
        update(&agent, back, &framework.id, "t1", TaskState::Dropped, 9),
        expect![[r#"
        m-0000@1 <- Update t1 TASK_DROPPED SOURCE_EXECUTOR m-S0 #9
    "#]],
    );
}

#[test]
fn an_agent_that_was_marked_gone_is_told_to_shut_down() {
    let mut w = World::new();
    let (agent, _, _) = w.running();
    w.check(operate(Command::MarkGone { agent: agent.clone() }), expect![[r#"
        persist agent m-S0 gone
        close link 1: AGENT_GONE: agent m-S0 was marked gone by an operator; remove its work directory to join anew, shut down
        m-0000@1 <- Update t1 TASK_GONE_BY_OPERATOR REASON_AGENT_REMOVED_BY_OPERATOR SOURCE_MASTER m-S0 "agent m-S0 was marked gone by an operator"
        m-0000@1 <- AgentFailed m-S0
        reply MarkedGone { agent: m-S0 }
    "#]]);
    let back = w.link();
    w.check(registers(back, Some(&agent), MACHINE), expect![[r#"
        close link 2: AGENT_GONE: agent m-S0 was marked gone by an operator, and its tasks were reported as gone; remove its work directory to let the machine join as a new agent, shut down
    "#]]);
    // Cannot be undone, and a repeat is answered the same.
    w.check(
        operate(Command::MarkGone { agent }),
        expect![[r#"
        reply MarkedGone { agent: m-S0 }
    "#]],
    );
}

#[test]
fn tasks_that_were_unreachable_are_gone_by_operator_when_their_agent_is_marked_gone() {
    let mut w = World::new();
    let (agent, _, framework) = w.running();
    w.pass(secs(80));
    w.check(operate(Command::MarkGone { agent }), expect![[r#"
        persist agent m-S0 gone
        m-0000@1 <- Update t1 TASK_GONE_BY_OPERATOR REASON_AGENT_REMOVED_BY_OPERATOR SOURCE_MASTER m-S0 "agent m-S0 was marked gone by an operator"
        m-0000@1 <- AgentFailed m-S0
        reply MarkedGone { agent: m-S0 }
    "#]]);
    assert_eq!(w.state_of(&framework, "t1"), Some(TaskState::GoneByOperator));
}

#[test]
fn an_agent_that_follows_a_newer_master_is_refused_and_not_commanded_any_more() {
    let mut w = World::new();
    let (agent, _, _) = w.running();
    let new = w.link();
    let registration = Registration {
        id: Some(agent.clone()),
        info: agent_info(MACHINE, 7000),
        tasks: vec![],
        frameworks: vec![],
        epoch: Epoch(9),
        capabilities: AgentCapability::all(),
        principal: None,
    };
    w.check(Event::AgentRegisters { link: new, registration: Box::new(registration) }, expect![[r#"
        close link 1
        close link 2: STALE_MASTER: this master has epoch 1 and the agent follows a master with epoch 9; stop this master, or when the newer one was given up or lost its registry, set this machine's clock right and start this master again, as an epoch is at least the seconds since 1970
    "#]]);
    assert_eq!(w.view().agent(&agent).and_then(|agent| agent.link()), None);
    assert!(w.view().verdict().starts_with("Agents follow a newer master"), "{}", w.view().verdict());
}

#[test]
fn an_agent_at_the_address_of_an_older_one_replaces_it() {
    let mut w = World::new();
    let (_, _, _) = w.running();
    let link = w.link();
    let registration = Registration {
        id: None,
        info: agent_info(MACHINE, 7000),
        tasks: vec![],
        frameworks: vec![],
        epoch: Epoch(1),
        capabilities: AgentCapability::all(),
        principal: None,
    };
    w.check(Event::AgentRegisters { link, registration: Box::new(registration) }, expect![[r#"
        persist agent m-S0 removed
        close link 1
        m-0000@1 <- Update t1 TASK_GONE REASON_AGENT_REMOVED SOURCE_MASTER m-S0 "agent m-S0 was removed: agent m-S1 registered at the same address 127.0.0.1:7000"
        m-0000@1 <- AgentFailed m-S0
        persist agent m-S1 admitted
        m-S1@2 <- Registered m-S1 heartbeat 15s known []
    "#]]);
}

#[test]
fn a_changed_agent_is_written_down_and_its_offers_and_filters_are_forgotten() {
    let mut w = World::new();
    let (agent, _) = w.agent(MACHINE);
    let framework = w.framework(&["*"]);
    let offer = w.offer_of(&framework);
    w.apply(framework.decline(&[&offer], secs(3600)));
    w.settle();
    let link = w.link();
    w.check(
        registers(link, Some(&agent), "cpus:2;mem:512"),
        expect![[r#"
        persist agent m-S0 updated
        close link 1
        m-S0@2 <- Registered m-S0 heartbeat 15s known []
        m-0000@1 <- Offers m-O1 (m-S0 * cpus:2; mem:512)
    "#]],
    );
    w.nothing_more();
}

#[test]
fn nothing_is_offered_of_an_agent_whose_tasks_hold_more_than_it_says_it_has() {
    let mut w = World::new();
    let (agent, _, framework) = w.running();
    let link = w.link();
    let known = report(&framework.id, "t1", &agent, "cpus:1;mem:64", TaskState::Running);
    w.check(
        registers_with(link, Some(&agent), "cpus:0.5;mem:512", vec![known], vec![]),
        expect![[r#"
        persist agent m-S0 updated
        close link 1
        m-S0@2 <- Registered m-S0 heartbeat 15s known [m-0000/t1]
    "#]],
    );
    w.nothing_more();
    assert!(w.view().problems().iter().any(|problem| problem.kind == "agent"));
}

#[test]
fn the_heartbeat_grows_with_the_number_of_agents_so_that_their_rate_has_a_ceiling() {
    let config =
        bourse_master_core::Config { heartbeats_per_second_max: 1, ..bourse_master_core::Config::default() };
    let mut w = World::with(config);
    for _ in 0..20 {
        w.agent("cpus:1;mem:64");
    }
    let link = w.link();
    w.check(
        registers(link, Some(&agent_id("m-S0")), "cpus:1;mem:64"),
        expect![[r#"
        close link 1
        m-S0@21 <- Registered m-S0 heartbeat 20s known []
    "#]],
    );
}

#[test]
fn agents_of_a_master_that_is_away_try_again_within_two_seconds_or_longer_when_they_are_many() {
    let of_so_many = |agents: usize, rate: u32| {
        let mut w = World::with(bourse_master_core::Config {
            reconnects_per_second_max: rate,
            ..bourse_master_core::Config::default()
        });
        for _ in 0..agents {
            w.agent("cpus:1;mem:64");
        }
        let link = w.link();
        let told = w.apply(registers(link, Some(&agent_id("m-S0")), "cpus:1;mem:64"));
        told.iter().find_map(|effect| match effect {
            Effect::ToAgent { message: ToAgent::Registered { reconnect, .. }, .. } => Some(*reconnect),
            _ => None,
        })
    };
    assert_eq!(of_so_many(20, 10), Some(secs(2)));
    assert_eq!(of_so_many(20, 1), Some(secs(20)));
}

#[test]
fn agents_that_were_unreachable_for_two_weeks_are_forgotten() {
    // The master is ticked twice a heartbeat, and two weeks are many.
    let mut w = World::with(Config { heartbeat_interval: secs(3600), ..Config::default() });
    let (agent, _, framework) = w.running();
    // The framework stays; only the agent is silent.
    w.pass(secs(6 * 3600));
    w.pass(secs(14 * 24 * 3600 + 1800));
    assert!(w.view().agent(&agent).is_none());
    w.check(
        framework.reconcile(&[("t1", Some("m-S0"))]),
        expect![[r#"
        m-0000@1 <- Update t1 TASK_UNKNOWN REASON_RECONCILIATION SOURCE_MASTER m-S0
    "#]],
    );
}

#[test]
fn an_end_that_was_not_acknowledged_when_its_agent_went_is_told_when_that_is_back() {
    for after in [Duration::ZERO, Duration::from_secs(80)] {
        let mut w = World::new();
        let (agent, link) = w.agent(MACHINE);
        let info = FrameworkInfo { checkpoint: false, ..framework_info(&["*"]) };
        let framework = w.subscribe(info);
        w.launch(&framework, "t1", "cpus:1;mem:64");
        w.apply(update_late(&agent, link, &framework.id, "t1", TaskState::Running, 50, TaskState::Finished));
        w.apply(Event::AgentLinkClosed { agent: agent.clone(), link });
        w.pass(after);
        let link = w.link();
        let ended = report(&framework.id, "t1", &agent, "cpus:1;mem:64", TaskState::Finished);
        w.apply(registers_with(link, Some(&agent), MACHINE, vec![ended], vec![]));
        let effects = w.apply(update(&agent, link, &framework.id, "t1", TaskState::Finished, 51));
        assert!(
            matches!(effects, [Effect::ToScheduler { message: ToScheduler::Update(told), .. }] if told.uuid == Some([51; 16])),
            "after {after:?}: {effects:?}"
        );
        w.apply(framework.acknowledge(&agent, "t1", 51));
        assert!(w.view().framework(&framework.id).expect("subscribed").tasks.is_empty());
    }
}

#[test]
fn an_end_that_was_acknowledged_stays_when_a_machine_that_lost_power_tells_another() {
    let mut w = World::new();
    let (agent, link, framework) = w.running();
    w.report(&agent, link, &framework, "t1", TaskState::Finished);
    w.apply(Event::AgentLinkClosed { agent: agent.clone(), link });
    let link = w.link();
    let gone = report(&framework.id, "t1", &agent, "cpus:1;mem:64", TaskState::Gone);
    w.apply(registers_with(link, Some(&agent), MACHINE, vec![gone], vec![]));
    w.check(
        update(&agent, link, &framework.id, "t1", TaskState::Gone, 60),
        expect![[r#"
            m-S0@2 <- Acknowledge m-0000/t1 #60
        "#]],
    );
    assert_eq!(w.state_of(&framework, "t1"), Some(TaskState::Finished));
}

#[test]
fn an_end_that_was_told_and_not_acknowledged_stays_when_its_machine_lost_power_while_it_was_unreachable() {
    let mut w = World::new();
    let (agent, link, framework) = w.running();
    w.apply(update(&agent, link, &framework.id, "t1", TaskState::Failed, 70));
    w.apply(Event::AgentLinkClosed { agent: agent.clone(), link });
    w.pass(Duration::from_secs(80));
    let link = w.link();
    let gone = report(&framework.id, "t1", &agent, "cpus:1;mem:64", TaskState::Gone);
    w.apply(registers_with(link, Some(&agent), MACHINE, vec![gone], vec![]));
    w.check(
        update(&agent, link, &framework.id, "t1", TaskState::Gone, 71),
        expect![[r#"
            m-0000@1 <- Update t1 TASK_FAILED SOURCE_EXECUTOR m-S0 #71
        "#]],
    );
}

#[test]
fn an_end_that_its_agent_has_forgotten_is_told_by_the_master() {
    let mut w = World::new();
    let (agent, link, framework) = w.running();
    w.apply(update_late(&agent, link, &framework.id, "t1", TaskState::Running, 50, TaskState::Finished));
    w.apply(Event::AgentLinkClosed { agent: agent.clone(), link });
    let link = w.link();
    let told = w.apply(registers(link, Some(&agent), MACHINE)).iter().find_map(|effect| match effect {
        Effect::ToScheduler { message: ToScheduler::Update(status), .. } => Some((status.state, status.uuid)),
        _ => None,
    });
    assert_eq!(told, Some((TaskState::Finished, None)));
    assert!(w.view().framework(&framework.id).expect("subscribed").tasks.is_empty());
}

#[test]
fn an_id_that_this_master_has_yet_to_give_is_nobodys() {
    let mut w = World::new();
    let (first, _) = w.agent(MACHINE);
    let link = w.link();
    w.check(registers(link, Some(&agent_id("m-S1")), MACHINE), expect![[r#"
        close link 2: UNKNOWN_ID: agent id m-S1 is one that this master gives, and it has not given it; remove the agent's work directory to let the machine join as a new agent
    "#]]);
    // Nor is one that it would never give.
    let link = w.link();
    w.apply(registers(link, Some(&agent_id("m-x")), MACHINE));
    assert!(matches!(w.last[..], [Effect::Record(_), Effect::CloseLink { .. }]), "{:?}", w.last);
    // One that it gave and has forgotten comes back under it.
    w.pass(secs(80));
    let (link, usurper) = (w.link(), agent_id("another"));
    let info = w.view().agent(&first).expect("unreachable").info.clone();
    let registration = Registration {
        id: Some(usurper),
        info,
        tasks: vec![],
        frameworks: vec![],
        epoch: Epoch(1),
        capabilities: AgentCapability::all(),
        principal: None,
    };
    w.apply(Event::AgentRegisters { link, registration: Box::new(registration) });
    assert!(w.view().agent(&first).is_none(), "it was replaced at its address");
    let link = w.link();
    w.apply(registers(link, Some(&first), MACHINE));
    assert!(w.view().agent(&first).is_some());
    assert_eq!(w.agent(MACHINE).0, agent_id("m-S1"));
}

#[test]
fn tasks_of_an_agent_that_was_removed_are_told_as_running_when_it_comes_back_with_them() {
    let mut w = World::new();
    let (agent, _, framework) = w.running();
    let info = w.view().agent(&agent).expect("registered").info.clone();
    let link = w.link();
    let registration = Registration {
        id: Some(agent_id("another")),
        info,
        tasks: vec![],
        frameworks: vec![],
        epoch: Epoch(1),
        capabilities: AgentCapability::all(),
        principal: None,
    };
    w.apply(Event::AgentRegisters { link, registration: Box::new(registration) });
    assert_eq!(w.state_of(&framework, "t1"), Some(TaskState::Gone));
    let link = w.link();
    let known = report(&framework.id, "t1", &agent, "cpus:1;mem:64", TaskState::Running);
    w.check(
        registers_with(link, Some(&agent), MACHINE, vec![known], vec![]),
        expect![[r#"
        persist agent another removed
        close link 2
        m-0000@1 <- AgentFailed another
        persist agent m-S0 admitted
        m-0000@1 <- Update t1 TASK_RUNNING REASON_AGENT_REREGISTERED SOURCE_MASTER m-S0 "agent m-S0 is back"
        m-S0@3 <- Registered m-S0 heartbeat 15s known [m-0000/t1]
    "#]],
    );
}

#[test]
fn unreachable_tasks_beyond_the_bound_are_told_too_when_their_agent_is_back_or_gone() {
    for back in [true, false] {
        let mut w = World::with(Config { unreachable_tasks_max: 1, ..Config::default() });
        let (agent, link) = w.agent(MACHINE);
        let framework = w.framework(&["*"]);
        let offer = w.offer_of(&framework);
        let tasks = ["t1", "t2", "t3"].map(|id| task_info(id, &agent, "cpus:1;mem:64")).to_vec();
        w.apply(framework.accept(&[&offer], tasks));
        for id in ["t1", "t2", "t3"] {
            w.report(&agent, link, &framework, id, TaskState::Running);
        }
        w.pass(secs(80));
        assert_eq!(w.view().framework(&framework.id).expect("subscribed").unreachable.len(), 1);
        if back {
            let link = w.link();
            let known = report(&framework.id, "t1", &agent, "cpus:1;mem:64", TaskState::Running);
            w.apply(registers_with(link, Some(&agent), MACHINE, vec![known], vec![]));
        } else {
            w.apply(operate(Command::MarkGone { agent: agent.clone() }));
        }
        let states = ["t1", "t2", "t3"].map(|id| w.state_of(&framework, id).expect("known"));
        let told = text::effects(&w.last).matches("<- Update t").count();
        let expected = match back {
            true => [TaskState::Running, TaskState::Gone, TaskState::Gone],
            false => [TaskState::GoneByOperator; 3],
        };
        assert_eq!((states, told), (expected, 3), "{}", text::effects(&w.last));
    }
}

#[test]
fn tasks_lost_with_a_link_beyond_the_bound_are_told_too_when_their_agent_is_back() {
    let mut w = World::with(Config { unreachable_tasks_max: 1, ..Config::default() });
    let (agent, link) = w.agent(MACHINE);
    let framework = w.subscribe(FrameworkInfo { checkpoint: false, ..framework_info(&["*"]) });
    let offer = w.offer_of(&framework);
    let ids = ["t1", "t2", "t3"];
    let tasks = ids.map(|id| task_info(id, &agent, "cpus:1;mem:64")).to_vec();
    w.apply(framework.accept(&[&offer], tasks));
    for id in ids {
        w.report(&agent, link, &framework, id, TaskState::Running);
    }
    w.apply(Event::AgentLinkClosed { agent: agent.clone(), link });
    assert_eq!(text::effects(&w.last).matches("TASK_UNREACHABLE").count(), 3, "{}", text::effects(&w.last));
    let link = w.link();
    let run = |id| report(&framework.id, id, &agent, "cpus:1;mem:64", TaskState::Running);
    w.check(
        registers_with(link, Some(&agent), MACHINE, ids.map(run).to_vec(), vec![]),
        expect![[r#"
        m-0000@1 <- Update t1 TASK_RUNNING REASON_AGENT_REREGISTERED SOURCE_MASTER m-S0 "agent m-S0 is back"
        m-0000@1 <- Update t2 TASK_RUNNING REASON_AGENT_REREGISTERED SOURCE_MASTER m-S0 "agent m-S0 is back"
        m-0000@1 <- Update t3 TASK_RUNNING REASON_AGENT_REREGISTERED SOURCE_MASTER m-S0 "agent m-S0 is back"
        m-S0@2 <- Registered m-S0 heartbeat 15s known [m-0000/t1 m-0000/t2 m-0000/t3]
    "#]],
    );
}

#[test]
fn hearing_an_agent_copies_no_record_and_is_seen_in_the_next_picture_only() {
    let mut w = World::new();
    let (agent, link) = w.agent(MACHINE);
    let (before, registered) = (w.view(), w.now());
    w.pass(secs(5));
    w.apply(Event::AgentsHeard { agents: vec![agent.clone(), agent_id("m-S7")] });
    let after = w.view();
    assert_eq!((before.heard(&agent), after.heard(&agent)), (Some(registered), Some(w.now())));
    assert_eq!(after.heard(&agent_id("m-S7")), None);
    assert!(std::ptr::eq(
        before.agent(&agent).expect("registered"),
        after.agent(&agent).expect("registered")
    ));

    // Of one that is away nothing is heard, and of one that was forgotten nothing is kept.
    w.apply(Event::AgentLinkClosed { agent: agent.clone(), link });
    let heard = w.now();
    w.pass(secs(90));
    w.apply(Event::AgentsHeard { agents: vec![agent.clone()] });
    assert_eq!(w.view().heard(&agent), Some(heard));
    w.apply(operate(Command::MarkGone { agent: agent.clone() }));
    assert_eq!(w.view().heard(&agent), None);
    let (next, _) = w.agent(MACHINE);
    assert_eq!(w.view().heard(&next), Some(w.now()));
}

#[test]
fn an_agent_that_is_back_changes_no_framework_but_those_of_its_tasks() {
    let mut w = World::with(Config { unreachable_tasks_max: 1, ..Config::default() });
    // Of each framework two tasks are lost with its agent, and one of them has no room among the unreachable ones.
    let mut lost = Vec::new();
    for _ in 0..3 {
        let (agent, link) = w.agent(MACHINE);
        let framework = w.framework(&["*"]);
        let view = w.view();
        let offer = view.offers().find(|it| it.framework == framework.id && it.agent == agent);
        let offer = offer.expect("nobody else wants an agent").id.clone();
        let tasks = ["t1", "t2"].map(|id| task_info(id, &agent, "cpus:1;mem:64")).to_vec();
        w.apply(framework.accept(&[&offer], tasks));
        for id in ["t1", "t2"] {
            w.report(&agent, link, &framework, id, TaskState::Running);
        }
        w.apply(framework.suppress(&[]));
        lost.push((agent, framework));
    }
    w.pass(secs(80));

    let (agent, of_agent) = &lost[1];
    let before = w.view();
    let link = w.link();
    let known = report(&of_agent.id, "t1", agent, "cpus:1;mem:64", TaskState::Running);
    w.apply(registers_with(link, Some(agent), MACHINE, vec![known], vec![]));
    assert_eq!(w.state_of(of_agent, "t1"), Some(TaskState::Running));
    assert_eq!(w.state_of(of_agent, "t2"), Some(TaskState::Gone));
    let after = w.view();
    for (host, framework) in &lost {
        let same = std::ptr::eq(
            before.framework(&framework.id).expect("subscribed"),
            after.framework(&framework.id).expect("subscribed"),
        );
        assert_eq!(same, framework.id != of_agent.id, "the framework with tasks on {host}");
    }

    // What is still lost ends with its agent, or with its framework.
    w.apply(lost[0].1.call(Call::Teardown));
    w.apply(operate(Command::MarkGone { agent: lost[2].0.clone() }));
    let states = ["t1", "t2"].map(|id| w.state_of(&lost[2].1, id));
    assert_eq!(states, [Some(TaskState::GoneByOperator); 2]);
}

#[test]
fn a_master_that_stood_still_does_not_take_its_agents_for_silent() {
    let mut w = World::new();
    let (agent, _, framework) = w.running();
    let (away, link) = w.agent(MACHINE);
    w.apply(Event::AgentLinkClosed { agent: away.clone(), link });
    let gone = w.framework(&["*"]);
    w.apply(gone.closes());
    w.stand_still(secs(600));
    w.check(
        Event::Tick,
        expect![[r#"
        m-0000@1 <- Offers m-O2 (m-S0 * cpus:3; mem:960; ports:[31000-31009])
    "#]],
    );
    assert_eq!(w.state_of(&framework, "t1"), Some(TaskState::Running));
    // From now on silence counts again, and so does absence.
    w.pass_hearing(secs(90), &["m-S0"]);
    let view = w.view();
    assert_eq!(view.agent(&agent).map(|it| it.word()), Some("active"));
    assert_eq!(view.agent(&away).map(|it| it.word()), Some("unreachable"));
    assert!(view.frameworks().all(|it| it.id != gone.id));
}

#[test]
fn an_agent_that_was_heard_before_its_link_closed_is_silent_from_then_on_though_both_are_read_at_once() {
    let mut w = World::new();
    let (agent, link) = w.agent(MACHINE);
    w.pass(secs(40));
    w.stand_still(secs(30));
    w.apply(Event::Tick);
    w.apply(Event::AgentLinkClosed { agent: agent.clone(), link });
    w.apply(Event::AgentsHeard { agents: vec![agent.clone()] });
    w.pass(secs(74));
    assert_eq!(w.view().agent(&agent).map(|it| it.word()), Some("disconnected"));
    w.pass(secs(2));
    assert_eq!(w.view().agent(&agent).map(|it| it.word()), Some("unreachable"));
}
