//! Reconciliation, by the table.

use bourse_master_core::event::{Command, Event};
use bourse_master_core::{Effect, ToScheduler};
use bourse_types::{Exit, TaskState};
use expect_test::expect;

use crate::world::*;

#[test]
fn implicit_reconciliation_tells_the_latest_state_of_each_task_that_has_not_ended() {
    let mut w = World::new();
    let (agent, link) = w.agent(MACHINE);
    let framework = w.framework(&["*"]);
    let offer = w.offer_of(&framework);
    let tasks = ["t1", "t2", "t3"].map(|id| task_info(id, &agent, "cpus:1;mem:64"));
    w.apply(framework.accept(&[&offer], tasks.to_vec()));
    w.apply(update(&agent, link, &framework.id, "t2", TaskState::Running, 50));
    w.apply(update(&agent, link, &framework.id, "t3", TaskState::Failed, 51));
    w.check(
        framework.reconcile(&[]),
        expect![[r#"
        m-0000@1 <- Update t1 TASK_STAGING REASON_RECONCILIATION SOURCE_MASTER m-S0
        m-0000@1 <- Update t2 TASK_RUNNING REASON_RECONCILIATION SOURCE_MASTER m-S0
    "#]],
    );
}

#[test]
fn a_known_task_is_answered_with_its_latest_state_even_when_its_end_is_not_acknowledged() {
    let mut w = World::new();
    let (agent, link, framework) = w.running();
    w.check(
        framework.reconcile(&[("t1", None)]),
        expect![[r#"
        m-0000@1 <- Update t1 TASK_RUNNING REASON_RECONCILIATION SOURCE_MASTER m-S0
    "#]],
    );
    w.apply(update(&agent, link, &framework.id, "t1", TaskState::Failed, 77));
    w.check(
        framework.reconcile(&[("t1", Some("m-S0"))]),
        expect![[r#"
        m-0000@1 <- Update t1 TASK_FAILED REASON_RECONCILIATION SOURCE_MASTER m-S0
    "#]],
    );
}

/// Of each update in the last effects that is an end: how the task exited.
fn exits(w: &World) -> Vec<Option<Exit>> {
    let ends = w.last.iter().filter_map(|effect| match effect {
        Effect::ToScheduler { message: ToScheduler::Update(status), .. } if status.state.is_terminal() => {
            Some(status.exit)
        }
        _ => None,
    });
    ends.collect()
}

/// The event with this exit wherever it tells of an end.
fn exiting(mut event: Event, code: i32) -> Event {
    if let Event::StatusUpdate { update, .. } = &mut event {
        let told = [&mut update.status, &mut update.latest];
        told.into_iter()
            .filter(|status| status.state.is_terminal())
            .for_each(|status| status.exit = Some(Exit::Code(code)));
    }
    event
}

#[test]
fn an_end_whose_update_has_to_wait_for_an_earlier_one_is_told_by_that_update_with_its_exit() {
    let mut w = World::new();
    let (agent, link) = w.agent(MACHINE);
    let framework = w.framework(&["*"]);
    w.launch(&framework, "t1", "cpus:1;mem:64");
    w.apply(framework.closes());
    let late = update_late(&agent, link, &framework.id, "t1", TaskState::Running, 50, TaskState::Failed);
    w.apply(exiting(late, 3));
    let stream = w.stream();
    w.apply(framework.again(stream, framework_info(&["*"])));
    let framework = Sub { stream, ..framework };
    w.check(
        framework.reconcile(&[("t1", None)]),
        expect![[r#"
        m-0000@2 <- Update t1 TASK_RUNNING REASON_RECONCILIATION SOURCE_MASTER m-S0
    "#]],
    );
    w.apply(framework.acknowledge(&agent, "t1", 50));
    w.check(framework.reconcile(&[("t1", None)]), expect![""]);
    w.check(
        exiting(update(&agent, link, &framework.id, "t1", TaskState::Failed, 51), 3),
        expect![[r#"
        m-0000@2 <- Update t1 TASK_FAILED SOURCE_EXECUTOR m-S0 #51
    "#]],
    );
    assert_eq!(exits(&w), [Some(Exit::Code(3))]);
    w.apply(framework.reconcile(&[("t1", None)]));
    assert_eq!(exits(&w), [Some(Exit::Code(3))], "and who asks then is told the same");
}

#[test]
fn an_end_that_a_new_master_knows_of_an_agent_that_is_back_is_told_by_its_update() {
    let mut w = World::new();
    let (agent, _) = w.agent(MACHINE);
    let framework = w.framework(&["*"]);
    w.launch(&framework, "t1", "cpus:1;mem:64");
    w.restart(secs(1));
    let stream = w.stream();
    w.apply(framework.again(stream, framework_info(&["*"])));
    let framework = Sub { stream, ..framework };
    let back = w.link();
    let known = report(&framework.id, "t1", &agent, "cpus:1;mem:64", TaskState::Failed);
    w.apply(registers_with(back, Some(&agent), MACHINE, vec![known], vec![]));
    w.check(framework.reconcile(&[("t1", Some("m-S0"))]), expect![""]);
    let late = update_late(&agent, back, &framework.id, "t1", TaskState::Running, 199, TaskState::Failed);
    w.apply(late);
    w.check(
        framework.reconcile(&[("t1", Some("m-S0"))]),
        expect![[r#"
        m-0000@2 <- Update t1 TASK_RUNNING REASON_RECONCILIATION SOURCE_MASTER m-S0
    "#]],
    );
    w.apply(framework.acknowledge(&agent, "t1", 199));
    w.check(
        update(&agent, back, &framework.id, "t1", TaskState::Failed, 200),
        expect![[r#"
        m-0000@2 <- Update t1 TASK_FAILED SOURCE_EXECUTOR m-S0 #200
    "#]],
    );
}

#[test]
fn a_task_unknown_on_a_registered_agent_is_gone() {
    let mut w = World::new();
    let (agent, link) = w.agent(MACHINE);
    let framework = w.framework(&["*"]);
    w.check(
        framework.reconcile(&[("t9", Some("m-S0"))]),
        expect![[r#"
        m-0000@1 <- Update t9 TASK_GONE REASON_RECONCILIATION SOURCE_MASTER m-S0
    "#]],
    );
    w.apply(Event::AgentLinkClosed { agent, link });
    w.check(
        framework.reconcile(&[("t9", Some("m-S0"))]),
        expect![[r#"
        m-0000@1 <- Update t9 TASK_GONE REASON_RECONCILIATION SOURCE_MASTER m-S0
    "#]],
    );
}

#[test]
fn a_task_of_an_unreachable_agent_is_unreachable_with_the_time_of_it() {
    let mut w = World::new();
    let (_, _, framework) = w.running();
    w.pass(secs(80));
    w.check(
        framework.reconcile(&[("t1", Some("m-S0")), ("t9", Some("m-S0")), ("t1", None)]),
        expect![[r#"
        m-0000@1 <- Update t1 TASK_UNREACHABLE REASON_RECONCILIATION SOURCE_MASTER m-S0
        m-0000@1 <- Update t9 TASK_UNREACHABLE REASON_RECONCILIATION SOURCE_MASTER m-S0
        m-0000@1 <- Update t1 TASK_UNREACHABLE REASON_RECONCILIATION SOURCE_MASTER m-S0
    "#]],
    );
    let since = w.last.iter().find_map(|effect| match effect {
        bourse_master_core::Effect::ToScheduler {
            message: bourse_master_core::ToScheduler::Update(status),
            ..
        } => status.unreachable_since,
        _ => None,
    });
    assert!(since.is_some());
}

#[test]
fn a_task_of_a_gone_agent_is_gone_by_operator() {
    let mut w = World::new();
    let (agent, _, framework) = w.running();
    w.apply(operate(Command::MarkGone { agent }));
    w.check(
        framework.reconcile(&[("t9", Some("m-S0"))]),
        expect![[r#"
        m-0000@1 <- Update t9 TASK_GONE_BY_OPERATOR REASON_RECONCILIATION SOURCE_MASTER m-S0
    "#]],
    );
}

#[test]
fn an_end_that_was_not_acknowledged_is_answered_though_its_agent_has_left_for_good() {
    let mut w = World::new();
    let (agent, link) = w.agent(MACHINE);
    let framework = w.framework(&["*"]);
    let offer = w.offer_of(&framework);
    let ids = ["heard", "told", "known", "runs"];
    let tasks = ids.map(|id| task_info(id, &agent, "cpus:1;mem:64"));
    w.apply(framework.accept(&[&offer], tasks.to_vec()));
    w.apply(update(&agent, link, &framework.id, "heard", TaskState::Finished, 50));
    w.apply(framework.acknowledge(&agent, "heard", 50));
    w.apply(framework.closes());
    w.apply(exiting(update(&agent, link, &framework.id, "told", TaskState::Finished, 51), 0));
    // Its end waits for an earlier update, and so does not come before the agent leaves.
    w.apply(update_late(&agent, link, &framework.id, "known", TaskState::Running, 52, TaskState::Failed));
    w.apply(operate(Command::MarkGone { agent }));
    let stream = w.stream();
    w.apply(framework.again(stream, framework_info(&["*"])));
    let framework = Sub { stream, ..framework };
    w.check(
        framework.reconcile(&[
            ("told", Some("m-S0")),
            ("told", None),
            ("known", Some("m-S0")),
            ("runs", Some("m-S0")),
            ("heard", Some("m-S0")),
            ("told", Some("m-S77")),
        ]),
        expect![[r#"
        m-0000@2 <- Update told TASK_FINISHED REASON_RECONCILIATION SOURCE_MASTER m-S0
        m-0000@2 <- Update told TASK_FINISHED REASON_RECONCILIATION SOURCE_MASTER m-S0
        m-0000@2 <- Update known TASK_FAILED REASON_RECONCILIATION SOURCE_MASTER m-S0
        m-0000@2 <- Update runs TASK_GONE_BY_OPERATOR REASON_RECONCILIATION SOURCE_MASTER m-S0
        m-0000@2 <- Update heard TASK_GONE_BY_OPERATOR REASON_RECONCILIATION SOURCE_MASTER m-S0
        m-0000@2 <- Update told TASK_UNKNOWN REASON_RECONCILIATION SOURCE_MASTER m-S77
    "#]],
    );
    assert_eq!(exits(&w)[..2], [Some(Exit::Code(0)); 2]);
}

#[test]
fn a_task_of_an_unknown_agent_or_of_none_is_unknown() {
    let mut w = World::new();
    let framework = w.framework(&["*"]);
    w.check(
        framework.reconcile(&[("t9", Some("m-S77")), ("t8", None)]),
        expect![[r#"
        m-0000@1 <- Update t9 TASK_UNKNOWN REASON_RECONCILIATION SOURCE_MASTER m-S77
        m-0000@1 <- Update t8 TASK_UNKNOWN REASON_RECONCILIATION SOURCE_MASTER
    "#]],
    );
}

#[test]
fn while_a_recovered_agent_is_missing_its_tasks_and_those_without_an_agent_are_met_with_silence() {
    let mut w = World::new();
    let (agent, _, framework) = w.running();
    w.restart(secs(1));
    let stream = w.stream();
    w.apply(framework.again(stream, framework_info(&["*"])));
    let framework = Sub { stream, ..framework };
    let ask = framework.reconcile(&[("t1", Some("m-S0")), ("t1", None), ("t9", Some("m-S77"))]);
    w.check(
        ask.clone(),
        expect![[r#"
        m-0000@2 <- Update t9 TASK_UNKNOWN REASON_RECONCILIATION SOURCE_MASTER m-S77
    "#]],
    );
    let back = w.link();
    let known = report(&framework.id, "t1", &agent, "cpus:1;mem:64", TaskState::Running);
    w.apply(registers_with(back, Some(&agent), MACHINE, vec![known], vec![]));
    w.check(
        ask,
        expect![[r#"
        m-0000@2 <- Update t1 TASK_RUNNING REASON_RECONCILIATION SOURCE_MASTER m-S0
        m-0000@2 <- Update t1 TASK_RUNNING REASON_RECONCILIATION SOURCE_MASTER m-S0
        m-0000@2 <- Update t9 TASK_UNKNOWN REASON_RECONCILIATION SOURCE_MASTER m-S77
    "#]],
    );
}

#[test]
fn a_framework_that_is_not_partition_aware_is_answered_lost() {
    let mut w = World::new();
    w.agent(MACHINE);
    let mut info = framework_info(&["*"]);
    info.capabilities.partition_aware = false;
    let framework = w.subscribe(info);
    w.check(
        framework.reconcile(&[("t9", Some("m-S0")), ("t9", Some("m-S77"))]),
        expect![[r#"
        m-0000@1 <- Update t9 TASK_LOST REASON_RECONCILIATION SOURCE_MASTER m-S0
        m-0000@1 <- Update t9 TASK_LOST REASON_RECONCILIATION SOURCE_MASTER m-S77
    "#]],
    );
}
