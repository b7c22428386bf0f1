//! An operator empties an agent.

use bourse_master_core::event::{Command, Event, StatusUpdate};
use bourse_types::{AgentId, Reason, TaskState, TaskStatus};
use expect_test::expect;
use std::time::Duration;

use crate::world::*;

fn drain(agent: &AgentId, deadline: Duration, mark_gone: bool) -> Event {
    operate(Command::Drain { agent: agent.clone(), deadline, mark_gone })
}

#[test]
fn frameworks_hear_of_a_drain_at_once_with_its_deadline_and_offers_are_rescinded() {
    let mut w = World::new();
    let (agent, _, _) = w.running();
    w.pass(secs(6));
    w.check(
        drain(&agent, secs(30), false),
        expect![[r#"
        persist agent m-S0 drains, 30s left
        m-0000@1 <- Rescind m-O1
        m-0000@1 <- AgentDraining m-S0 in 36.05s
        reply Draining { agent: m-S0, deadline: 2023-11-14T22:13:56.050Z, tasks: 1 }
    "#]],
    );
    w.nothing_more();
}

#[test]
fn what_still_runs_at_the_deadline_is_killed_with_its_reason() {
    let mut w = World::new();
    let (agent, link, framework) = w.running();
    w.apply(drain(&agent, secs(30), false));
    w.pass(secs(29));
    w.expect(expect![[""]]);
    w.pass(secs(1));
    w.expect(expect![[r#"
        m-S0@1 <- Kill m-0000/t1 REASON_AGENT_DRAINING
    "#]]);
    let uuid = w.uuid();
    w.check(
        update(&agent, link, &framework.id, "t1", TaskState::Killed, uuid),
        expect![[r#"
        m-0000@1 <- Update t1 TASK_KILLED SOURCE_EXECUTOR m-S0 #2
    "#]],
    );
    w.check(
        framework.acknowledge(&agent, "t1", uuid),
        expect![[r#"
        m-S0@1 <- Acknowledge m-0000/t1 #2
        persist agent m-S0 drained
    "#]],
    );
    assert_eq!(w.view().agent(&agent).expect("registered").word(), "drained");
    // No problem, and not hidden either.
    expect!["No tasks; 1 agent active, 1 drained"].assert_eq(&w.view().verdict());
}

#[test]
fn no_grace_is_longer_than_five_minutes_in_a_drain() {
    let mut w = World::new();
    let (agent, _) = w.agent(MACHINE);
    let framework = w.framework(&["*"]);
    let offer = w.offer_of(&framework);
    let graces = [None, Some(secs(20)), Some(secs(24 * 3600)), None];
    let mut tasks = Vec::new();
    for (n, grace) in graces.into_iter().enumerate() {
        let mut task = task_info(&format!("t{n}"), &agent, "cpus:1;mem:64");
        task.kill_policy.grace = grace;
        tasks.push(task);
    }
    w.apply(framework.accept(&[&offer], tasks));
    // Its framework kills one with a grace of a day.
    w.apply(framework.kill("t3", None, Some(secs(24 * 3600))));
    w.apply(drain(&agent, secs(30), false));
    w.pass(secs(30));
    w.expect(expect![[r#"
        m-S0@1 <- Kill m-0000/t0 REASON_AGENT_DRAINING
        m-S0@1 <- Kill m-0000/t1 REASON_AGENT_DRAINING
        m-S0@1 <- Kill m-0000/t2 grace 300s REASON_AGENT_DRAINING
        m-S0@1 <- Kill m-0000/t3 grace 300s REASON_AGENT_DRAINING
    "#]]);
}

#[test]
fn a_deadline_of_zero_kills_at_once() {
    let mut w = World::new();
    let (agent, _, _) = w.running();
    w.check(
        drain(&agent, secs(0), false),
        expect![[r#"
        persist agent m-S0 drains, 0ns left
        m-0000@1 <- AgentDraining m-S0 in 50ms
        m-S0@1 <- Kill m-0000/t1 REASON_AGENT_DRAINING
        reply Draining { agent: m-S0, deadline: 2023-11-14T22:13:20.050Z, tasks: 1 }
    "#]],
    );
}

#[test]
fn an_agent_without_tasks_is_drained_at_once_and_is_offered_again_when_it_is_reactivated() {
    let mut w = World::new();
    let (agent, _) = w.agent(MACHINE);
    let framework = w.framework(&["*"]);
    w.check(
        drain(&agent, secs(30), false),
        expect![[r#"
        persist agent m-S0 drains, 30s left
        m-0000@1 <- Rescind m-O0
        reply Draining { agent: m-S0, deadline: 2023-11-14T22:13:50.050Z, tasks: 0 }
        persist agent m-S0 drained
    "#]],
    );
    w.settle();
    assert!(w.offers_of(&framework).is_empty());
    w.check(
        operate(Command::Reactivate { agent: agent.clone() }),
        expect![[r#"
        persist agent m-S0 reactivated
        reply Reactivated { agent: m-S0 }
        m-0000@1 <- Offers m-O1 (m-S0 * cpus:4; mem:1024; ports:[31000-31009])
    "#]],
    );
    w.settle();
    assert_eq!(w.offers_of(&framework).len(), 1);
    w.check(
        operate(Command::Reactivate { agent }),
        expect![[r#"
        refuse Conflict("agent m-S0 is not being drained; there is nothing to reactivate")
    "#]],
    );
}

#[test]
fn a_drain_that_is_repeated_has_a_new_deadline() {
    let mut w = World::new();
    let (agent, _, _) = w.running();
    w.apply(drain(&agent, secs(30), false));
    w.apply(drain(&agent, secs(60), false));
    w.pass(secs(59));
    w.expect(expect![[""]]);
    w.pass(secs(1));
    w.expect(expect![[r#"
        m-S0@1 <- Kill m-0000/t1 REASON_AGENT_DRAINING
    "#]]);
}

#[test]
fn a_drained_agent_is_marked_gone_where_that_was_asked_for_and_its_killed_tasks_are_gone_by_operator() {
    let mut w = World::new();
    let (agent, link, framework) = w.running();
    w.apply(drain(&agent, secs(0), true));
    let uuid = w.uuid();
    // The agent tells the reason that it was given with the kill.
    let draining = Some(Reason::AgentDraining);
    let killed = TaskStatus { reason: draining, ..status("t1", &agent, TaskState::Killed, uuid) };
    let killed = StatusUpdate { framework: framework.id.clone(), status: killed.clone(), latest: killed };
    w.check(
        Event::StatusUpdate { agent: agent.clone(), link, update: Box::new(killed) },
        expect![[r#"
        m-0000@1 <- Update t1 TASK_GONE_BY_OPERATOR REASON_AGENT_DRAINING SOURCE_EXECUTOR m-S0 #2
    "#]],
    );
    w.check(framework.acknowledge(&agent, "t1", uuid), expect![[r#"
        m-S0@1 <- Acknowledge m-0000/t1 #2
        persist agent m-S0 drained
        persist agent m-S0 gone
        close link 1: AGENT_GONE: agent m-S0 was marked gone by an operator; remove its work directory to join anew, shut down
        m-0000@1 <- AgentFailed m-S0
    "#]]);
}

#[test]
fn an_agent_that_comes_back_after_its_deadline_is_told_to_kill_what_it_runs() {
    let mut w = World::new();
    let (agent, link, framework) = w.running();
    w.apply(drain(&agent, secs(30), false));
    w.apply(Event::AgentLinkClosed { agent: agent.clone(), link });
    w.pass(secs(31));
    w.expect(expect![[""]]);
    let back = w.link();
    let known = report(&framework.id, "t1", &agent, "cpus:1;mem:64", TaskState::Running);
    w.check(
        registers_with(back, Some(&agent), MACHINE, vec![known], vec![]),
        expect![[r#"
            m-S0@2 <- Registered m-S0 heartbeat 15s known [m-0000/t1]
            m-S0@2 <- Kill m-0000/t1 REASON_AGENT_DRAINING
            m-0000@1 <- AgentDraining m-S0 in 30.05s
        "#]],
    );
}

#[test]
fn a_drain_survives_a_restart_of_the_master_with_what_was_left_of_its_deadline() {
    let mut w = World::new();
    let (agent, _, framework) = w.running();
    w.apply(drain(&agent, secs(30), false));
    w.pass(secs(10));
    w.restart(secs(5));
    let back = w.link();
    let known = report(&framework.id, "t1", &agent, "cpus:1;mem:64", TaskState::Running);
    w.check(
        registers_with(back, Some(&agent), MACHINE, vec![known], vec![]),
        expect![[r#"
        m-S0@2 <- Registered m-S0 heartbeat 15s known [m-0000/t1]
    "#]],
    );
    w.pass(secs(14));
    w.expect(expect![[""]]);
    w.pass(secs(1));
    w.expect(expect![[r#"
        m-S0@2 <- Kill m-0000/t1 REASON_AGENT_DRAINING
    "#]]);
}

#[test]
fn a_scheduler_that_was_away_hears_of_the_drains_that_concern_it_when_it_is_back() {
    let mut w = World::new();
    let (agent, _, framework) = w.running();
    w.apply(framework.closes());
    w.apply(drain(&agent, secs(30), false));
    let stream = w.stream();
    w.check(
        framework.again(stream, framework_info(&["*"])),
        expect![[r#"
        persist framework m-0000 connected
        m-0000@2 <- Subscribed m-0000 heartbeat 15s
        m-0000@2 <- AgentDraining m-S0 in 30.05s
    "#]],
    );
}

#[test]
fn commands_about_agents_that_are_not_there_are_refused_with_what_to_do() {
    let mut w = World::new();
    let (agent, _) = w.agent(MACHINE);
    w.check(
        drain(&agent_id("nobody"), secs(1), false),
        expect![[r#"
        refuse NotFound("there is no agent nobody; list them with `bourse agents`")
    "#]],
    );
    w.check(
        operate(Command::MarkGone { agent: agent_id("nobody") }),
        expect![[r#"
        refuse NotFound("there is no agent nobody; list them with `bourse agents`")
    "#]],
    );
    w.apply(operate(Command::MarkGone { agent: agent.clone() }));
    w.check(
        drain(&agent, secs(1), false),
        expect![[r#"
        refuse Conflict("agent m-S0 was marked gone; there is nothing left to drain")
    "#]],
    );
}
