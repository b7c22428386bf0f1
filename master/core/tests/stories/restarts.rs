//! The master stops, and another takes over with the registry alone.

use bourse_master_core::event::Command;
use bourse_types::TaskState;
use expect_test::expect;

use crate::world::*;

#[test]
fn after_a_restart_agents_come_back_under_their_ids_and_tell_what_runs() {
    let mut w = World::new();
    let (agent, _, framework) = w.running();
    w.restart(secs(3));
    let back = w.link();
    let known = report(&framework.id, "t1", &agent, "cpus:1;mem:64", TaskState::Running);
    w.check(
        registers_with(back, Some(&agent), MACHINE, vec![known], vec![]),
        expect![[r#"
        m-S0@2 <- Registered m-S0 heartbeat 15s known [m-0000/t1]
    "#]],
    );
    let stream = w.stream();
    w.check(
        framework.again(stream, framework_info(&["*"])),
        expect![[r#"
        m-0000@2 <- Subscribed m-0000 heartbeat 15s
    "#]],
    );
    assert_eq!(w.state_of(&framework, "t1"), Some(TaskState::Running));
}

#[test]
fn an_agent_that_is_not_back_ten_minutes_after_a_restart_is_unreachable() {
    let mut w = World::new();
    let (_, _, framework) = w.running();
    w.restart(secs(3));
    let stream = w.stream();
    w.apply(framework.again(stream, framework_info(&["*"])));
    w.pass(secs(599));
    w.expect(expect![[""]]);
    w.pass(secs(1));
    w.expect(expect![[r#"
        persist agent m-S0 unreachable
        m-0000@2 <- AgentFailed m-S0
    "#]]);
}

#[test]
fn a_framework_that_was_connected_has_at_least_ten_minutes_to_come_back_after_a_restart() {
    let mut w = World::new();
    w.framework(&["*"]);
    w.restart(secs(3600));
    w.pass(secs(599));
    w.expect(expect![[""]]);
    w.pass(secs(1));
    w.expect(expect![[r#"
        persist framework m-0000 removed
    "#]]);
}

#[test]
fn what_was_left_of_a_failover_timeout_is_remembered_across_a_restart() {
    let mut w = World::new();
    let mut info = framework_info(&["*"]);
    info.failover_timeout = secs(1000);
    let framework = w.subscribe(info);
    w.apply(framework.closes());
    w.pass(secs(300));
    w.restart(secs(100));
    w.pass(secs(599));
    w.expect(expect![[""]]);
    w.pass(secs(1));
    w.expect(expect![[r#"
        persist framework m-0000 removed
    "#]]);
}

#[test]
fn a_framework_that_was_away_while_no_master_was_there_has_a_short_grace_to_come_back() {
    let mut w = World::new();
    let mut info = framework_info(&["*"]);
    info.failover_timeout = secs(1000);
    let framework = w.subscribe(info.clone());
    w.apply(framework.closes());
    w.restart(secs(3600));
    w.pass(secs(59));
    w.expect(expect![[""]]);
    let stream = w.stream();
    w.check(
        framework.again(stream, info),
        expect![[r#"
        persist framework m-0000 connected
        m-0000@2 <- Subscribed m-0000 heartbeat 15s
    "#]],
    );
}

#[test]
fn a_torn_down_framework_is_refused_and_shut_down_after_a_restart_too() {
    let mut w = World::new();
    let (agent, _, framework) = w.running();
    w.apply(operate(Command::Teardown { framework: framework.id.clone() }));
    w.restart(secs(3));
    let back = w.link();
    let known = report(&framework.id, "t1", &agent, "cpus:1;mem:64", TaskState::Running);
    w.check(
        registers_with(back, Some(&agent), MACHINE, vec![known], vec![]),
        expect![[r#"
        m-S0@2 <- Registered m-S0 heartbeat 15s known []
        m-S0@2 <- ShutdownFramework m-0000
    "#]],
    );
    let stream = w.stream();
    w.check(
        framework.again(stream, framework_info(&["*"])),
        expect![[r#"
        close stream 2: Framework has been removed; subscribe without an id to start a new one
    "#]],
    );
}

#[test]
fn a_framework_that_only_agents_know_is_adopted_with_its_tasks() {
    let mut w = World::new();
    let link = w.link();
    let id = framework_id("old-0000");
    let known = report(&id, "t1", &agent_id("old-S0"), "cpus:1;mem:64", TaskState::Running);
    let mut info = framework_info(&["*"]);
    info.id = Some(id.clone());
    let registers = registers_with(link, Some(&agent_id("old-S0")), MACHINE, vec![known], vec![info]);
    w.check(
        registers,
        expect![[r#"
        persist agent old-S0 admitted
        persist framework old-0000 subscribed
        old-S0@1 <- Registered old-S0 heartbeat 15s known [old-0000/t1]
    "#]],
    );
    let stream = w.stream();
    let framework = Sub { id, stream };
    w.check(
        framework.again(stream, framework_info(&["*"])),
        expect![[r#"
        old-0000@1 <- Subscribed old-0000 heartbeat 15s
    "#]],
    );
    assert_eq!(w.state_of(&framework, "t1"), Some(TaskState::Running));
}

#[test]
fn an_epoch_is_above_those_that_agents_have_seen_though_the_registry_was_lost() {
    use bourse_master_core::Snapshot;
    use bourse_types::{Epoch, Wall};
    let (now, second) = (START_WALL, secs(1));
    let first = Snapshot::default().next_epoch(now);
    assert_eq!(first, Epoch(1_700_000_000));
    // The next one is higher in the same second, and with a clock that went back.
    let kept = Snapshot { epoch: first, ..Snapshot::default() };
    let next = kept.next_epoch(now);
    assert_eq!((next, kept.next_epoch(Wall(0))), (Epoch(first.0 + 1), Epoch(first.0 + 1)));
    // A registry that was lost, or restored from long ago, is made up for by the clock.
    assert!(Snapshot::default().next_epoch(now + second + second) > next);
    let older = Snapshot { epoch: Epoch(5), ..Snapshot::default() };
    assert!(older.next_epoch(now + second + second) > next);
}

#[test]
fn a_task_of_an_unreachable_agent_is_told_as_running_when_it_returns_after_a_restart() {
    let mut w = World::new();
    let (agent, _, framework) = w.running();
    w.pass(secs(80));
    w.restart(secs(3));
    let stream = w.stream();
    w.apply(framework.again(stream, framework_info(&["*"])));
    let back = w.link();
    let known = report(&framework.id, "t1", &agent, "cpus:1;mem:64", TaskState::Running);
    w.check(
        registers_with(back, Some(&agent), MACHINE, vec![known], vec![]),
        expect![[r#"
        persist agent m-S0 reachable
        m-0000@2 <- Update t1 TASK_RUNNING REASON_AGENT_REREGISTERED SOURCE_MASTER m-S0 "agent m-S0 is back"
        m-S0@2 <- Registered m-S0 heartbeat 15s known [m-0000/t1]
        m-0000@2 <- Offers m1-O0 (m-S0 * cpus:3; mem:960; ports:[31000-31009])
    "#]],
    );
}

#[test]
fn a_task_told_as_lost_when_a_link_broke_is_told_as_running_when_it_returns_after_a_restart() {
    let mut w = World::new();
    let (agent, link) = w.agent(MACHINE);
    let info = bourse_types::FrameworkInfo { checkpoint: false, ..framework_info(&["*"]) };
    let framework = w.subscribe(info.clone());
    w.launch(&framework, "t1", "cpus:1;mem:64");
    w.report(&agent, link, &framework, "t1", TaskState::Running);
    w.apply(bourse_master_core::Event::AgentLinkClosed { agent: agent.clone(), link });
    w.restart(secs(3));
    let stream = w.stream();
    w.apply(framework.again(stream, info));
    let back = w.link();
    let known = report(&framework.id, "t1", &agent, "cpus:1;mem:64", TaskState::Running);
    w.check(
        registers_with(back, Some(&agent), MACHINE, vec![known], vec![]),
        expect![[r#"
        m-0000@2 <- Update t1 TASK_RUNNING REASON_AGENT_REREGISTERED SOURCE_MASTER m-S0 "agent m-S0 is back"
        m-S0@2 <- Registered m-S0 heartbeat 15s known [m-0000/t1]
        m-0000@2 <- Offers m1-O0 (m-S0 * cpus:3; mem:960; ports:[31000-31009])
    "#]],
    );
}

#[test]
fn tasks_of_a_framework_that_nobody_knows_are_shut_down() {
    let mut w = World::new();
    let link = w.link();
    let known =
        report(&framework_id("nobody"), "t1", &agent_id("old-S0"), "cpus:1;mem:64", TaskState::Running);
    let registers = registers_with(link, Some(&agent_id("old-S0")), MACHINE, vec![known], vec![]);
    w.check(
        registers,
        expect![[r#"
        persist agent old-S0 admitted
        old-S0@1 <- Registered old-S0 heartbeat 15s known []
        old-S0@1 <- ShutdownFramework nobody
    "#]],
    );
}

#[test]
fn the_end_of_a_task_may_be_acknowledged_to_another_master_than_the_one_that_told_it() {
    let mut w = World::new();
    let (agent, link, framework) = w.running();
    w.apply(update(&agent, link, &framework.id, "t1", TaskState::Failed, 200));
    w.restart(secs(3));
    let stream = w.stream();
    w.apply(framework.again(stream, framework_info(&["*"])));
    let framework = Sub { stream, ..framework };
    let back = w.link();
    let ended = report(&framework.id, "t1", &agent, "cpus:1;mem:64", TaskState::Failed);
    w.apply(registers_with(back, Some(&agent), MACHINE, vec![ended], vec![]));
    w.check(
        framework.acknowledge(&agent, "t1", 200),
        expect![[r#"
        m-S0@2 <- Acknowledge m-0000/t1 #200
    "#]],
    );
    assert!(w.view().framework(&framework.id).expect("subscribed").tasks.is_empty());
}

#[test]
fn unreachable_and_gone_agents_are_remembered_across_a_restart() {
    let mut w = World::new();
    let (_, _, framework) = w.running();
    let (gone, _) = w.agent(MACHINE);
    w.apply(operate(Command::MarkGone { agent: gone }));
    w.pass(secs(80));
    w.restart(secs(3));
    let stream = w.stream();
    w.apply(framework.again(stream, framework_info(&["*"])));
    let framework = Sub { stream, ..framework };
    w.check(
        framework.reconcile(&[("t1", Some("m-S0")), ("t9", Some("m-S1"))]),
        expect![[r#"
        m-0000@2 <- Update t1 TASK_UNREACHABLE REASON_RECONCILIATION SOURCE_MASTER m-S0
        m-0000@2 <- Update t9 TASK_GONE_BY_OPERATOR REASON_RECONCILIATION SOURCE_MASTER m-S1
    "#]],
    );
}

#[test]
fn weights_are_remembered_across_a_restart() {
    let mut w = World::new();
    w.apply(operate(Command::SetWeight { role: role("eng"), weight: bourse_types::Milli::whole(3) }));
    w.restart(secs(3));
    let weight = w.view().roles().iter().find(|it| it.role == role("eng")).map(|it| it.weight);
    assert_eq!(weight, Some(bourse_types::Milli::whole(3)));
}
