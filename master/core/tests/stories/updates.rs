//! Updates reach their scheduler, and acknowledgements their agent.

use bourse_master_core::event::{Event, StatusUpdate};
use bourse_types::{Reason, Source, TaskState, TaskStatus};
use expect_test::expect;

use crate::world::*;

#[test]
fn a_task_goes_from_staging_to_its_end_and_each_update_is_forwarded_with_its_uuid() {
    let mut w = World::new();
    let (agent, link) = w.agent(MACHINE);
    let framework = w.framework(&["*"]);
    w.launch(&framework, "t1", "cpus:1;mem:64");
    for (state, expected) in [
        (
            TaskState::Starting,
            expect![[r#"
            m-0000@1 <- Update t1 TASK_STARTING SOURCE_EXECUTOR m-S0 #1
        "#]],
        ),
        (
            TaskState::Running,
            expect![[r#"
            m-0000@1 <- Update t1 TASK_RUNNING SOURCE_EXECUTOR m-S0 #2
        "#]],
        ),
        (
            TaskState::Finished,
            expect![[r#"
            m-0000@1 <- Update t1 TASK_FINISHED SOURCE_EXECUTOR m-S0 #3
        "#]],
        ),
    ] {
        let uuid = w.uuid();
        w.check(update(&agent, link, &framework.id, "t1", state, uuid), expected);
        w.apply(framework.acknowledge(&agent, "t1", uuid));
    }
    assert!(w.view().framework(&framework.id).expect("subscribed").tasks.is_empty());
}

#[test]
fn an_update_that_the_agent_sends_again_is_forwarded_again() {
    let mut w = World::new();
    let (agent, link, framework) = w.running();
    let again = update(&agent, link, &framework.id, "t1", TaskState::Failed, 77);
    w.check(
        again.clone(),
        expect![[r#"
        m-0000@1 <- Update t1 TASK_FAILED SOURCE_EXECUTOR m-S0 #77
    "#]],
    );
    w.check(
        again,
        expect![[r#"
        m-0000@1 <- Update t1 TASK_FAILED SOURCE_EXECUTOR m-S0 #77
    "#]],
    );
}

#[test]
fn an_acknowledgement_is_forwarded_to_the_agent_and_ends_an_ended_task() {
    let mut w = World::new();
    let (agent, link, framework) = w.running();
    w.apply(update(&agent, link, &framework.id, "t1", TaskState::Failed, 77));
    w.check(
        framework.acknowledge(&agent, "t1", 77),
        expect![[r#"
        m-S0@1 <- Acknowledge m-0000/t1 #77
    "#]],
    );
    w.check(framework.acknowledge(&agent, "t1", 77), expect![[""]]);
    assert_eq!(w.state_of(&framework, "t1"), Some(TaskState::Failed));
    assert_eq!(w.view().completed_tasks().count(), 1);
}

#[test]
fn an_acknowledgement_that_names_another_agent_is_dropped() {
    let mut w = World::new();
    let (agent, link, framework) = w.running();
    let (other, _) = w.agent(MACHINE);
    w.apply(update(&agent, link, &framework.id, "t1", TaskState::Failed, 77));
    w.check(framework.acknowledge(&other, "t1", 77), expect![[""]]);
}

#[test]
fn resources_are_free_when_the_latest_state_is_terminal_though_earlier_updates_wait() {
    let mut w = World::new();
    let (agent, link) = w.agent(MACHINE);
    let framework = w.framework(&["*"]);
    w.launch(&framework, "t1", "cpus:1;mem:64");
    let late = update_late(&agent, link, &framework.id, "t1", TaskState::Running, 50, TaskState::Finished);
    w.check(
        late,
        expect![[r#"
        m-0000@1 <- Update t1 TASK_RUNNING SOURCE_EXECUTOR m-S0 #50
    "#]],
    );
    assert!(w.view().agent(&agent).expect("registered").allocated.is_empty());
    // The end comes in its turn.
    w.check(
        framework.acknowledge(&agent, "t1", 50),
        expect![[r#"
        m-S0@1 <- Acknowledge m-0000/t1 #50
    "#]],
    );
    w.check(
        update(&agent, link, &framework.id, "t1", TaskState::Finished, 51),
        expect![[r#"
        m-0000@1 <- Update t1 TASK_FINISHED SOURCE_EXECUTOR m-S0 #51
    "#]],
    );
}

#[test]
fn an_update_for_a_forgotten_task_is_acknowledged_and_not_forwarded() {
    let mut w = World::new();
    let (agent, link, framework) = w.running();
    w.report(&agent, link, &framework, "t1", TaskState::Failed);
    w.check(
        update(&agent, link, &framework.id, "t1", TaskState::Failed, 88),
        expect![[r#"
        m-S0@1 <- Acknowledge m-0000/t1 #88
    "#]],
    );
}

#[test]
fn an_update_whose_acknowledgement_was_lost_is_acknowledged_by_the_master() {
    let mut w = World::new();
    let (agent, link) = w.agent(MACHINE);
    let framework = w.framework(&["*"]);
    w.launch(&framework, "t1", "cpus:1;mem:64");
    w.apply(update(&agent, link, &framework.id, "t1", TaskState::Running, 50));
    w.apply(framework.acknowledge(&agent, "t1", 50));
    w.check(
        update(&agent, link, &framework.id, "t1", TaskState::Running, 50),
        expect![[r#"
        m-S0@1 <- Acknowledge m-0000/t1 #50
    "#]],
    );
}

#[test]
fn an_update_waits_for_a_scheduler_that_is_away_and_is_told_when_it_is_back() {
    let mut w = World::new();
    let (agent, link, framework) = w.running();
    w.apply(framework.closes());
    w.check(update(&agent, link, &framework.id, "t1", TaskState::Failed, 77), expect![[""]]);
    let stream = w.stream();
    w.check(
        framework.again(stream, framework_info(&["*"])),
        expect![[r#"
        persist framework m-0000 connected
        m-0000@2 <- Subscribed m-0000 heartbeat 15s
        m-0000@2 <- Update t1 TASK_FAILED SOURCE_EXECUTOR m-S0 #77
    "#]],
    );
}

#[test]
fn an_end_that_was_not_acknowledged_is_told_again_when_its_unreachable_agent_is_back() {
    let mut w = World::new();
    let (agent, link, framework) = w.running();
    w.apply(framework.closes());
    w.apply(update(&agent, link, &framework.id, "t1", TaskState::Failed, 200));
    let stream = w.stream();
    w.apply(framework.again(stream, framework_info(&["*"])));
    w.pass(secs(80));
    let back = w.link();
    let ended = report(&framework.id, "t1", &agent, "cpus:1;mem:64", TaskState::Failed);
    w.check(
        registers_with(back, Some(&agent), MACHINE, vec![ended], vec![]),
        expect![[r#"
        persist agent m-S0 reachable
        m-S0@2 <- Registered m-S0 heartbeat 15s known []
        m-0000@2 <- Offers m-O2 (m-S0 * cpus:4; mem:1024; ports:[31000-31009])
    "#]],
    );
    w.check(
        update(&agent, back, &framework.id, "t1", TaskState::Failed, 200),
        expect![[r#"
        m-0000@2 <- Update t1 TASK_FAILED SOURCE_EXECUTOR m-S0 #200
    "#]],
    );
}

#[test]
fn an_end_that_was_acknowledged_is_not_told_again_when_its_agent_missed_the_acknowledgement() {
    let mut w = World::new();
    let (agent, link, framework) = w.running();
    w.apply(update(&agent, link, &framework.id, "t1", TaskState::Failed, 200));
    w.apply(Event::AgentLinkClosed { agent: agent.clone(), link });
    w.check(framework.acknowledge(&agent, "t1", 200), expect![[""]]);
    let back = w.link();
    let ended = report(&framework.id, "t1", &agent, "cpus:1;mem:64", TaskState::Failed);
    w.check(
        registers_with(back, Some(&agent), MACHINE, vec![ended], vec![]),
        expect![[r#"
        m-S0@2 <- Registered m-S0 heartbeat 15s known []
    "#]],
    );
    w.check(
        update(&agent, back, &framework.id, "t1", TaskState::Failed, 200),
        expect![[r#"
        m-S0@2 <- Acknowledge m-0000/t1 #200
    "#]],
    );
}

#[test]
fn an_end_is_not_lost_when_the_agent_of_a_framework_that_does_not_checkpoint_disconnects() {
    let mut w = World::new();
    let (agent, link) = w.agent(MACHINE);
    let mut info = framework_info(&["*"]);
    info.checkpoint = false;
    let framework = w.subscribe(info);
    w.launch(&framework, "t1", "cpus:1;mem:64");
    w.apply(update(&agent, link, &framework.id, "t1", TaskState::Failed, 200));
    w.check(Event::AgentLinkClosed { agent: agent.clone(), link }, expect![[""]]);
    assert_eq!(w.state_of(&framework, "t1"), Some(TaskState::Failed));
    let back = w.link();
    let ended = report(&framework.id, "t1", &agent, "cpus:1;mem:64", TaskState::Failed);
    w.apply(registers_with(back, Some(&agent), MACHINE, vec![ended], vec![]));
    w.check(
        update(&agent, back, &framework.id, "t1", TaskState::Failed, 200),
        expect![[r#"
        m-0000@1 <- Update t1 TASK_FAILED SOURCE_EXECUTOR m-S0 #200
    "#]],
    );
}

#[test]
fn a_task_ends_once_and_its_first_end_stays() {
    let mut w = World::new();
    let (agent, link, framework) = w.running();
    w.apply(update(&agent, link, &framework.id, "t1", TaskState::Finished, 50));
    w.check(
        update(&agent, link, &framework.id, "t1", TaskState::Failed, 51),
        expect![[r#"
        m-0000@1 <- Update t1 TASK_FINISHED SOURCE_EXECUTOR m-S0 #51
    "#]],
    );
    assert_eq!(w.state_of(&framework, "t1"), Some(TaskState::Finished));
}

#[test]
fn an_update_without_a_uuid_needs_no_acknowledgement() {
    let mut w = World::new();
    let (agent, link, framework) = w.running();
    let ended = TaskStatus { uuid: None, ..status("t1", &agent, TaskState::Failed, 0) };
    let update = StatusUpdate { framework: framework.id.clone(), status: ended.clone(), latest: ended };
    w.check(
        Event::StatusUpdate { agent, link, update: Box::new(update) },
        expect![[r#"
        m-0000@1 <- Update t1 TASK_FAILED SOURCE_EXECUTOR m-S0
    "#]],
    );
    assert!(w.view().framework(&framework.id).expect("subscribed").tasks.is_empty());
}

#[test]
fn source_reason_message_and_health_reach_the_scheduler_as_the_agent_gave_them() {
    let mut w = World::new();
    let (agent, link, framework) = w.running();
    let ended = TaskStatus {
        reason: Some(Reason::ContainerLimitationMemory),
        message: Some("memory limit 64 MiB exceeded (peak 64.0 MiB)".to_owned()),
        source: Source::Agent,
        healthy: Some(false),
        ..status("t1", &agent, TaskState::Failed, 90)
    };
    let update = StatusUpdate { framework: framework.id.clone(), status: ended.clone(), latest: ended };
    w.check(Event::StatusUpdate { agent, link, update: Box::new(update) }, expect![[r#"
        m-0000@1 <- Update t1 TASK_FAILED REASON_CONTAINER_LIMITATION_MEMORY SOURCE_AGENT m-S0 #90 "memory limit 64 MiB exceeded (peak 64.0 MiB)"
    "#]]);
}

#[test]
fn killing_is_told_as_running_to_a_framework_without_the_capability() {
    let mut w = World::new();
    let (agent, link) = w.agent(MACHINE);
    let mut info = framework_info(&["*"]);
    info.capabilities.task_killing = false;
    let framework = w.subscribe(info);
    w.launch(&framework, "t1", "cpus:1;mem:64");
    w.check(
        update(&agent, link, &framework.id, "t1", TaskState::Killing, 50),
        expect![[r#"
        m-0000@1 <- Update t1 TASK_RUNNING SOURCE_EXECUTOR m-S0 #50
    "#]],
    );
}

#[test]
fn a_report_that_comes_late_does_not_bring_an_ended_task_back() {
    let mut w = World::new();
    let (agent, link, framework) = w.running();
    w.apply(update(&agent, link, &framework.id, "t1", TaskState::Failed, 77));
    w.apply(update(&agent, link, &framework.id, "t1", TaskState::Running, 78));
    assert_eq!(w.state_of(&framework, "t1"), Some(TaskState::Failed));
}

#[test]
fn ended_tasks_are_kept_for_people_up_to_a_bound() {
    let config =
        bourse_master_core::Config { completed_tasks_max: 3, ..bourse_master_core::Config::default() };
    let mut w = World::with(config);
    let (agent, link) = w.agent(MACHINE);
    let framework = w.framework(&["*"]);
    for id in ["a", "b", "c", "d", "e"] {
        w.apply(framework.revive(&[]));
        w.settle();
        w.launch(&framework, id, "cpus:1;mem:64");
        w.report(&agent, link, &framework, id, TaskState::Finished);
    }
    let kept: Vec<String> = w.view().completed_tasks().map(|task| task.info.id.to_string()).collect();
    assert_eq!(kept, ["c", "d", "e"]);
}

#[test]
fn an_end_that_was_told_stays_when_a_machine_that_lost_power_tells_another() {
    let mut w = World::new();
    let (agent, link, framework) = w.running();
    w.apply(update(&agent, link, &framework.id, "t1", TaskState::Finished, 70));
    w.check(
        update(&agent, link, &framework.id, "t1", TaskState::Gone, 71),
        expect![[r#"
            m-0000@1 <- Update t1 TASK_FINISHED SOURCE_EXECUTOR m-S0 #71
        "#]],
    );
    w.apply(framework.acknowledge(&agent, "t1", 71));
    assert!(w.view().framework(&framework.id).expect("subscribed").tasks.is_empty());
}
