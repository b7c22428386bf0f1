//! Offers are accepted: tasks are launched, refused, or dropped.

use std::collections::BTreeMap;

use bourse_master_core::event::{Accept, Call, Command, Event, Launch, TaskInfo};
use bourse_types::{AgentCapability, Milli, TaskState};
use expect_test::expect;

use crate::text;
use crate::world::*;

#[test]
fn an_accepted_offer_runs_its_tasks_and_the_rest_is_declined() {
    let mut w = World::new();
    let (agent, _) = w.agent(MACHINE);
    let framework = w.framework(&["*"]);
    let offer = w.offer_of(&framework);
    let tasks = vec![
        task_info("t1", &agent, "cpus:1;mem:64;ports:[31000-31001]"),
        task_info("t2", &agent, "cpus:1;mem:64"),
    ];
    w.check(
        framework.accept(&[&offer], tasks),
        expect![[r#"
        m-S0@1 <- Run m-0000/t1 * cpus:1; mem:64; ports:[31000-31001]
        m-S0@1 <- Run m-0000/t2 * cpus:1; mem:64
    "#]],
    );
    w.pass(std::time::Duration::from_millis(4_900));
    w.expect(expect![[""]]);
    w.pass(std::time::Duration::from_millis(200));
    w.expect(expect![[r#"
        m-0000@1 <- Offers m-O1 (m-S0 * cpus:2; mem:896; ports:[31002-31009])
    "#]]);
}

#[test]
fn several_offers_of_one_agent_are_taken_together() {
    let mut w = World::new();
    let (agent, link, framework) = w.running();
    w.pass(secs(6));
    let uuid = w.uuid();
    w.apply(update(&agent, link, &framework.id, "t1", TaskState::Finished, uuid));
    w.settle();
    let offers = w.offers_of(&framework);
    assert_eq!(offers.len(), 2);
    let task = task_info("t2", &agent, "cpus:4;mem:1024");
    w.check(
        framework.accept(&[&offers[0], &offers[1]], vec![task]),
        expect![[r#"
        m-S0@1 <- Run m-0000/t2 * cpus:4; mem:1024
    "#]],
    );
}

#[test]
fn offers_of_two_agents_are_refused_and_given_back_without_a_filter() {
    let mut w = World::new();
    let (agent, _) = w.agent(MACHINE);
    w.agent(MACHINE);
    let framework = w.framework(&["*"]);
    let offers = w.offers_of(&framework);
    let task = task_info("t1", &agent, "cpus:1;mem:64");
    w.check(framework.accept(&[&offers[0], &offers[1]], vec![task]), expect![[r#"
        m-0000@1 <- Update t1 TASK_DROPPED REASON_INVALID_OFFERS SOURCE_MASTER m-S0 "the offers are of agents m-S1 and m-S0; accept offers of one agent at a time"
        m-0000@1 <- Offers m-O2 (m-S0 * cpus:4; mem:1024; ports:[31000-31009]), m-O3 (m-S1 * cpus:4; mem:1024; ports:[31000-31009])
    "#]]);
    w.nothing_more();
}

#[test]
fn offers_of_two_roles_are_refused() {
    let mut w = World::new();
    let (agent, _) = w.agent("cpus(a):1;mem(a):64;cpus(b):1;mem(b):64");
    let framework = w.framework(&["a", "b"]);
    let offers = w.offers_of(&framework);
    let task = task_info("t1", &agent, "cpus(a):1;mem(a):64");
    w.check(framework.accept(&[&offers[0], &offers[1]], vec![task]), expect![[r#"
        m-0000@1 <- Update t1 TASK_DROPPED REASON_INVALID_OFFERS SOURCE_MASTER m-S0 "the offers are for roles a and b; accept offers of one role at a time"
        m-0000@1 <- Offers m-O2 (m-S0 a cpus(a):1; mem(a):64), m-O3 (m-S0 b cpus(b):1; mem(b):64)
    "#]]);
}

#[test]
fn an_offer_that_is_named_twice_is_refused() {
    let mut w = World::new();
    let (agent, _) = w.agent(MACHINE);
    let framework = w.framework(&["*"]);
    let offer = w.offer_of(&framework);
    w.check(framework.accept(&[&offer, &offer], vec![task_info("t1", &agent, "cpus:1;mem:64")]), expect![[r#"
        m-0000@1 <- Update t1 TASK_DROPPED REASON_INVALID_OFFERS SOURCE_MASTER m-S0 "offer m-O0 is named twice; name each offer once"
        m-0000@1 <- Offers m-O1 (m-S0 * cpus:4; mem:1024; ports:[31000-31009])
    "#]]);
    w.check(framework.accept(&[], vec![task_info("t1", &agent, "cpus:1;mem:64")]), expect![[r#"
        m-0000@1 <- Update t1 TASK_DROPPED REASON_INVALID_OFFERS SOURCE_MASTER m-S0 "no offer is named; name the offers that the tasks are to run on"
    "#]]);
}

#[test]
fn an_accept_that_races_a_rescind_is_told_as_dropped_with_invalid_offers() {
    let mut w = World::new();
    let (agent, link) = w.agent(MACHINE);
    let framework = w.framework(&["*"]);
    let offer = w.offer_of(&framework);
    w.apply(Event::AgentLinkClosed { agent: agent.clone(), link });
    let tasks = vec![task_info("t1", &agent, "cpus:1;mem:64"), task_info("t2", &agent, "cpus:1;mem:64")];
    w.check(framework.accept(&[&offer], tasks), expect![[r#"
        m-0000@1 <- Update t1 TASK_DROPPED REASON_INVALID_OFFERS SOURCE_MASTER m-S0 "offer m-O0 is no longer valid: it was rescinded, expired, or answered before; wait for the next one"
        m-0000@1 <- Update t2 TASK_DROPPED REASON_INVALID_OFFERS SOURCE_MASTER m-S0 "offer m-O0 is no longer valid: it was rescinded, expired, or answered before; wait for the next one"
    "#]]);
}

#[test]
fn an_offer_is_used_once_and_a_second_accept_fails_cleanly() {
    let mut w = World::new();
    let (agent, _) = w.agent(MACHINE);
    let framework = w.framework(&["*"]);
    let offer = w.offer_of(&framework);
    let accept = |id: &str| framework.accept(&[&offer], vec![task_info(id, &agent, "cpus:1;mem:64")]);
    w.apply(accept("t1"));
    w.check(accept("t2"), expect![[r#"
        m-0000@1 <- Update t2 TASK_DROPPED REASON_INVALID_OFFERS SOURCE_MASTER m-S0 "offer m-O0 is no longer valid: it was rescinded, expired, or answered before; wait for the next one"
    "#]]);
    // The very same call again: the task that runs is not said to be dropped.
    w.check(accept("t1"), expect![[r#"
        m-0000@1 <- Update t1 TASK_STAGING REASON_INVALID_OFFERS SOURCE_MASTER m-S0 "offer m-O0 is no longer valid: it was rescinded, expired, or answered before; wait for the next one; the task with this id goes on"
    "#]]);
}

#[test]
fn a_framework_that_is_not_partition_aware_is_told_lost_for_dropped() {
    let mut w = World::new();
    let (agent, _) = w.agent(MACHINE);
    let mut info = framework_info(&["*"]);
    info.capabilities.partition_aware = false;
    let framework = w.subscribe(info);
    w.check(framework.accept(&[&offer_id("none")], vec![task_info("t1", &agent, "cpus:1")]), expect![[r#"
        m-0000@1 <- Update t1 TASK_LOST REASON_INVALID_OFFERS SOURCE_MASTER m-S0 "offer none is no longer valid: it was rescinded, expired, or answered before; wait for the next one"
    "#]]);
}

#[test]
fn a_task_with_the_id_of_a_live_one_is_an_error() {
    let mut w = World::new();
    let (agent, _, framework) = w.running();
    w.pass(secs(6));
    let offer = w.offer_of(&framework);
    w.check(framework.accept(&[&offer], vec![task_info("t1", &agent, "cpus:1;mem:64")]), expect![[r#"
        m-0000@1 <- Update t1 TASK_ERROR REASON_TASK_INVALID SOURCE_MASTER m-S0 "task id t1 is in use by a task that is alive or unreachable; give each task an id of its own"
    "#]]);
    assert_eq!(w.state_of(&framework, "t1"), Some(TaskState::Running));
}

#[test]
fn a_task_with_the_id_of_an_unreachable_one_is_an_error() {
    let mut w = World::new();
    let (_, _, framework) = w.running();
    w.pass(secs(80));
    let (other, _) = w.agent(MACHINE);
    w.settle();
    let offer = w.offer_of(&framework);
    w.check(framework.accept(&[&offer], vec![task_info("t1", &other, "cpus:1;mem:64")]), expect![[r#"
        m-0000@1 <- Update t1 TASK_ERROR REASON_TASK_INVALID SOURCE_MASTER m-S1 "task id t1 is in use by a task that is alive or unreachable; give each task an id of its own"
    "#]]);
}

#[test]
fn each_bad_task_is_an_error_with_its_reason_and_the_good_ones_run() {
    let mut w = World::new();
    let (agent, _) = w.agent("cpus:4;mem:1024;gpus:2");
    let mut info = framework_info(&["*"]);
    info.capabilities.gpu = true;
    let framework = w.subscribe(info);
    let offer = w.offer_of(&framework);
    let mut below = task_info("limit-below", &agent, "cpus:1;mem:64");
    below.limits = BTreeMap::from([("mem".to_owned(), Some(Milli::whole(32)))]);
    let mut odd = task_info("limit-of-disk", &agent, "cpus:1;mem:64");
    odd.limits = BTreeMap::from([("disk".to_owned(), None)]);
    let mut good = task_info("good", &agent, "cpus:1;mem:64");
    good.limits = BTreeMap::from([("mem".to_owned(), None), ("cpus".to_owned(), Some(Milli::whole(1)))]);
    let tasks = vec![
        task_info("too-much", &agent, "cpus:5;mem:64"),
        task_info("nothing", &agent, ""),
        task_info("elsewhere", &agent_id("m-S9"), "cpus:1"),
        task_info("half-a-gpu", &agent, "gpus:0.5"),
        below,
        odd,
        good,
        task_info("good", &agent, "cpus:1;mem:64"),
        task_info("the-rest", &agent, "cpus:3;mem:960;gpus:2"),
        task_info("one-more", &agent, "cpus:0.001"),
    ];
    w.check(framework.accept(&[&offer], tasks), expect![[r#"
        m-0000@1 <- Update too-much TASK_ERROR REASON_TASK_INVALID SOURCE_MASTER m-S0 "the task uses more than is offered: it wants cpus:5; mem:64 and cpus:4; gpus:2; mem:1024 is left; take less or accept more offers"
        m-0000@1 <- Update nothing TASK_ERROR REASON_TASK_INVALID SOURCE_MASTER m-S0 "the task uses no resources; give it some cpus or mem of the offer"
        m-0000@1 <- Update elsewhere TASK_ERROR REASON_TASK_INVALID SOURCE_MASTER m-S0 "the task names agent m-S9 and the offers are of agent m-S0; name the agent of the offers"
        m-0000@1 <- Update half-a-gpu TASK_ERROR REASON_TASK_INVALID SOURCE_MASTER m-S0 "the task wants 0.5 gpus; take a whole number"
        m-0000@1 <- Update limit-below TASK_ERROR REASON_TASK_INVALID SOURCE_MASTER m-S0 "the task's limit of mem is 32, below the 64 that it requests; raise the limit"
        m-0000@1 <- Update limit-of-disk TASK_ERROR REASON_TASK_INVALID SOURCE_MASTER m-S0 "the task limits disk; limits are for cpus and mem"
        m-S0@1 <- Run m-0000/good * cpus:1; mem:64
        m-0000@1 <- Update good TASK_ERROR REASON_TASK_INVALID SOURCE_MASTER m-S0 "task id good is in use by a task that is alive or unreachable; give each task an id of its own"
        m-S0@1 <- Run m-0000/the-rest * cpus:3; gpus:2; mem:960
        m-0000@1 <- Update one-more TASK_ERROR REASON_TASK_INVALID SOURCE_MASTER m-S0 "the task uses more than is offered: it wants cpus:0.001 and nothing is left; take less or accept more offers"
    "#]]);
}

#[test]
fn what_the_door_found_wrong_is_told_as_an_error_in_its_turn() {
    let mut w = World::new();
    let (agent, _) = w.agent(MACHINE);
    let framework = w.framework(&["*"]);
    let offers = vec![w.offer_of(&framework)];
    let launches = vec![
        Launch::Task(Box::new(task_info("t1", &agent, "cpus:1;mem:64"))),
        Launch::Invalid {
            task: task_id("t2"),
            agent: Some(agent.clone()),
            why: "task_infos[1].command is missing; say what to run".to_owned(),
        },
        Launch::Task(Box::new(task_info("t3", &agent, "cpus:1;mem:64"))),
    ];
    w.check(framework.call(Call::Accept(Accept { offers, launches, resizes: vec![], refuse: secs(5) })), expect![[r#"
        m-S0@1 <- Run m-0000/t1 * cpus:1; mem:64
        m-0000@1 <- Update t2 TASK_ERROR REASON_TASK_INVALID SOURCE_MASTER m-S0 "task_infos[1].command is missing; say what to run"
        m-S0@1 <- Run m-0000/t3 * cpus:1; mem:64
    "#]]);
}

#[test]
fn a_call_launches_a_thousand_tasks_at_most_and_the_rest_is_dropped() {
    use bourse_master_core::offers::{LAUNCHES_PER_ACCEPT_MAX, TASKS_PER_AGENT_MAX};
    let mut w = World::new();
    let (agent, _) = w.agent("cpus:100;mem:1000000");
    let framework = w.framework(&["*"]);
    let tiny = |from: usize, count: usize| {
        let task = |n| task_info(&format!("t{n}"), &agent, "cpus:0.001;mem:1");
        (from..from + count).map(task).collect::<Vec<_>>()
    };
    let offer = w.offer_of(&framework);
    w.apply(framework.accept(&[&offer], tiny(0, LAUNCHES_PER_ACCEPT_MAX + 1)));
    let told = text::effects(&w.last);
    assert_eq!(told.matches("<- Run ").count(), LAUNCHES_PER_ACCEPT_MAX);
    let last = told.lines().last().expect("it was told something");
    expect![[r#"m-0000@1 <- Update t1000 TASK_DROPPED REASON_INVALID_OFFERS SOURCE_MASTER m-S0 "the call launches 1001 tasks and one may launch 1000; launch the rest from the next offer""#]].assert_eq(last);

    // One agent has so many at most, however they came there.
    for from in [10_000, 20_000] {
        w.pass(secs(6));
        let offer = w.offer_of(&framework);
        w.apply(framework.accept(&[&offer], tiny(from, LAUNCHES_PER_ACCEPT_MAX)));
    }
    assert_eq!(w.view().agent(&agent).expect("registered").tasks.len(), TASKS_PER_AGENT_MAX);
    let told = text::effects(&w.last);
    let last = told.lines().last().expect("it was told something");
    expect![[r#"m-0000@1 <- Update t20999 TASK_DROPPED REASON_INVALID_OFFERS SOURCE_MASTER m-S0 "agent m-S0 has 2000 tasks, and no agent may have more; launch on another agent""#]].assert_eq(last);
}

#[test]
fn a_kill_is_forwarded_and_a_repeat_may_shorten_its_grace() {
    let mut w = World::new();
    let (agent, link, framework) = w.running();
    w.check(
        framework.kill("t1", None, None),
        expect![[r#"
        m-S0@1 <- Kill m-0000/t1
    "#]],
    );
    w.check(
        framework.kill("t1", Some("m-S0"), Some(secs(1))),
        expect![[r#"
        m-S0@1 <- Kill m-0000/t1 grace 1s
    "#]],
    );
    let uuid = w.uuid();
    w.check(
        update(&agent, link, &framework.id, "t1", TaskState::Killing, uuid),
        expect![[r#"
        m-0000@1 <- Update t1 TASK_KILLING SOURCE_EXECUTOR m-S0 #2
    "#]],
    );
}

#[test]
fn a_kill_is_kept_and_said_again_when_the_agent_is_back() {
    let mut w = World::new();
    let (agent, link, framework) = w.running();
    w.apply(Event::AgentLinkClosed { agent: agent.clone(), link });
    w.check(framework.kill("t1", None, Some(secs(3))), expect![[""]]);
    let back = w.link();
    let known = report(&framework.id, "t1", &agent, "cpus:1;mem:64", TaskState::Running);
    w.check(
        registers_with(back, Some(&agent), MACHINE, vec![known], vec![]),
        expect![[r#"
        m-S0@2 <- Registered m-S0 heartbeat 15s known [m-0000/t1]
        m-S0@2 <- Kill m-0000/t1 grace 3s
    "#]],
    );
}

#[test]
fn a_kill_of_an_unknown_task_is_answered_as_a_reconciliation() {
    let mut w = World::new();
    w.agent(MACHINE);
    let framework = w.framework(&["*"]);
    w.check(
        framework.kill("t9", Some("m-S0"), None),
        expect![[r#"
        m-0000@1 <- Update t9 TASK_GONE REASON_RECONCILIATION SOURCE_MASTER m-S0
    "#]],
    );
    w.check(
        framework.kill("t9", None, None),
        expect![[r#"
        m-0000@1 <- Update t9 TASK_UNKNOWN REASON_RECONCILIATION SOURCE_MASTER
    "#]],
    );
}

#[test]
fn an_operator_kills_a_task_as_its_framework_would() {
    let mut w = World::new();
    let (agent, link, framework) = w.running();
    let kill =
        |task: &str| Command::Kill { framework: framework.id.clone(), task: task_id(task), policy: None };
    w.check(
        operate(kill("t1")),
        expect![[r#"
        m-S0@1 <- Kill m-0000/t1
        reply Killing { framework: m-0000, task: t1 }
    "#]],
    );
    w.check(
        operate(kill("t9")),
        expect![[r#"
        refuse NotFound("framework m-0000 has no task t9; list them with `bourse ps`")
    "#]],
    );
    let uuid = w.uuid();
    w.apply(update(&agent, link, &framework.id, "t1", TaskState::Killed, uuid));
    w.check(
        operate(kill("t1")),
        expect![[r#"
        refuse Conflict("task t1 has ended: it is TASK_KILLED")
    "#]],
    );
    w.apply(framework.acknowledge(&agent, "t1", uuid));
    w.check(
        operate(kill("t1")),
        expect![[r#"
        refuse Conflict("task t1 has ended: it is TASK_KILLED")
    "#]],
    );
}

#[test]
fn a_task_is_not_launched_on_an_agent_that_would_run_it_without_what_it_asks_for() {
    use AgentCapability::*;
    let mut w = World::new();
    let link = w.link();
    w.apply(able(registers(link, None, MACHINE), &[TaskResourceLimits]));
    let framework = w.framework(&["*"]);
    let offer = w.offer_of(&framework);
    let agent = agent_id("m-S0");
    let task = |id: &str, needs: &[AgentCapability]| TaskInfo {
        needs: needs.iter().copied().collect(),
        ..task_info(id, &agent, "cpus:1;mem:64")
    };
    let tasks = vec![
        task("t1", &[TaskResourceLimits, TaskNamespaces, TaskRootfs]),
        task("t2", &[TaskResourceLimits]),
    ];
    w.apply(framework.accept(&[&offer], tasks));
    let said = text::effects(&w.last);
    let refused = "m-0000@1 <- Update t1 TASK_ERROR REASON_TASK_INVALID SOURCE_MASTER m-S0 \"agent m-S0 runs release \
                   0.1.0, which cannot do TASK_ROOTFS, TASK_NAMESPACES; launch the task on another agent, without that, \
                   or update the agent\"";
    assert!(said.contains(refused), "{said}");
    assert!(said.contains("Run m-0000/t2") && !said.contains("Run m-0000/t1"), "{said}");
}
