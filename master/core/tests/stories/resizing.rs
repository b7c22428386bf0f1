//! Another size for a running task: who counts what, until when, and what comes of it when something is lost.

use bourse_master_core::event::{Event, TaskReport};
use bourse_types::{AgentCapability, AgentId, OfferId, Size, TaskState};
use expect_test::expect;

use crate::text;
use crate::world::*;

/// A running task with 1 cpu and 64 MiB, and an offer of the rest of its agent.
fn offered(w: &mut World) -> (AgentId, bourse_master_core::event::LinkId, Sub, OfferId) {
    let (agent, link, framework) = w.running();
    w.pass(secs(6));
    let offer = w.offer_of(&framework);
    (agent, link, framework, offer)
}

fn allocated(w: &World, agent: &AgentId) -> String {
    w.view().agent(agent).expect("registered").allocated.to_string()
}

fn size_of(w: &World, framework: &Sub, task: &str) -> String {
    w.view().task(&framework.id, &task_id(task)).expect("known").info.resources.to_string()
}

fn offers(w: &World, framework: &Sub) -> Vec<String> {
    let view = w.view();
    let offers = w.offers_of(framework);
    offers.iter().map(|id| view.offer(id).expect("outstanding").resources.to_string()).collect()
}

/// As the agent tells it after a resize.
fn with_size(report: TaskReport, limits: &[(&str, Option<u64>)]) -> TaskReport {
    let mut report = TaskReport { resized: true, ..report };
    let limit =
        |(name, units): &(&str, Option<u64>)| (name.to_string(), units.map(bourse_types::Milli::whole));
    report.task.limits = limits.iter().map(limit).collect();
    report
}

#[test]
fn what_a_task_gains_comes_out_of_the_offers_and_the_rest_is_declined() {
    let mut w = World::new();
    let (agent, link, framework, offer) = offered(&mut w);
    w.check(
        framework.resize(&[&offer], &[("t1", "cpus:2;mem:128")]),
        expect![[r#"
            m-S0@1 <- Resize m-0000/t1 cpus:2; mem:128
        "#]],
    );
    assert_eq!(allocated(&w, &agent), "cpus:2; mem:128");
    assert_eq!(size_of(&w, &framework, "t1"), "cpus:1; mem:64", "nobody has said that it is done");
    assert_eq!(offers(&w, &framework), Vec::<String>::new());
    w.check(task_resized(&agent, link, &framework, "t1", "cpus:2;mem:128", "cpus:2;mem:128"), expect![[""]]);
    assert_eq!(allocated(&w, &agent), "cpus:2; mem:128");
    assert_eq!(size_of(&w, &framework, "t1"), "cpus:2; mem:128");
    w.pass(secs(6));
    assert_eq!(offers(&w, &framework), ["cpus:2; mem:896; ports:[31000-31009]"]);
}

#[test]
fn what_a_task_gives_up_is_free_once_its_agent_has_said_that_it_is_done() {
    let mut w = World::new();
    let (agent, link, framework) = w.running();
    w.check(
        framework.resize(&[], &[("t1", "cpus:0.5;mem:64")]),
        expect![[r#"
            m-S0@1 <- Resize m-0000/t1 cpus:0.5; mem:64
        "#]],
    );
    assert_eq!(allocated(&w, &agent), "cpus:1; mem:64");
    w.apply(task_resized(&agent, link, &framework, "t1", "cpus:0.5;mem:64", "cpus:0.5;mem:64"));
    assert_eq!(allocated(&w, &agent), "cpus:0.5; mem:64");
    w.settle();
    assert_eq!(offers(&w, &framework), ["cpus:3.5; mem:960; ports:[31000-31009]"]);
}

#[test]
fn while_a_resize_is_under_way_the_greater_of_both_sizes_is_counted_resource_by_resource() {
    let mut w = World::new();
    let (agent, link, framework, offer) = offered(&mut w);
    w.apply(framework.resize(&[&offer], &[("t1", "cpus:0.5;mem:128")]));
    assert_eq!(allocated(&w, &agent), "cpus:1; mem:128");
    w.apply(task_resized(&agent, link, &framework, "t1", "cpus:0.5;mem:128", "cpus:0.5;mem:128"));
    assert_eq!(allocated(&w, &agent), "cpus:0.5; mem:128");
}

#[test]
fn a_resize_that_its_agent_refuses_gives_back_what_it_would_have_gained() {
    let mut w = World::new();
    let (agent, link, framework, offer) = offered(&mut w);
    w.apply(framework.resize(&[&offer], &[("t1", "cpus:2;mem:32")]));
    assert_eq!(allocated(&w, &agent), "cpus:2; mem:64");
    // An answer to something else says nothing of this one.
    w.check(task_resized(&agent, link, &framework, "t1", "cpus:9;mem:32", "cpus:1;mem:64"), expect![[""]]);
    assert_eq!(allocated(&w, &agent), "cpus:2; mem:64");
    w.apply(task_resized(&agent, link, &framework, "t1", "cpus:2;mem:32", "cpus:1;mem:64"));
    assert_eq!(allocated(&w, &agent), "cpus:1; mem:64");
    assert!(text::history(&w.last).contains("task t1 keeps cpus:1; mem:64 on agent m-S0"));
    w.pass(secs(6));
    assert_eq!(offers(&w, &framework), ["cpus:3; mem:960; ports:[31000-31009]"]);
    // Said once more, it changes nothing.
    w.check(task_resized(&agent, link, &framework, "t1", "cpus:2;mem:32", "cpus:1;mem:64"), expect![[""]]);
}

#[test]
fn a_resize_that_cannot_be_is_told_with_the_reason_and_the_size_that_stays() {
    let mut w = World::new();
    let (agent, link) = w.agent(MACHINE);
    let framework = w.framework(&["*"]);
    let offer = w.offer_of(&framework);
    let tasks = vec![
        task_info("t1", &agent, "cpus:1;mem:64;ports:[31000-31000]"),
        task_info("t2", &agent, "cpus:1;mem:64"),
    ];
    w.apply(framework.accept(&[&offer], tasks));
    w.report(&agent, link, &framework, "t1", TaskState::Running);
    w.pass(secs(6));
    let offer = w.offer_of(&framework);
    w.check(
        framework.resize(
            &[&offer],
            &[
                ("t1", "cpus:9;mem:64;ports:[31000-31000]"),
                ("t1", "cpus:1;mem:64;ports:[31000-31001]"),
                ("t1", "cpus:1;mem:64"),
                ("t2", "cpus:2;mem:64"),
            ],
        ),
        expect![[r#"
            m-0000@1 <- Update t1 TASK_RUNNING REASON_CONTAINER_UPDATE_FAILED SOURCE_MASTER m-S0 "the task gains more than is offered: it needs cpus:8 more and cpus:2; mem:896; ports:[31001-31009] is left; take less or accept more offers" with cpus:1; mem:64; ports:[31000-31000]
            m-0000@1 <- Update t1 TASK_RUNNING REASON_CONTAINER_UPDATE_FAILED SOURCE_MASTER m-S0 "the resize changes ports, which a running task keeps as it is: change amounts such as cpus, mem and disk, and repeat the rest" with cpus:1; mem:64; ports:[31000-31000]
            m-0000@1 <- Update t1 TASK_RUNNING REASON_CONTAINER_UPDATE_FAILED SOURCE_MASTER m-S0 "the resize changes ports, which a running task keeps as it is: change amounts such as cpus, mem and disk, and repeat the rest" with cpus:1; mem:64; ports:[31000-31000]
            m-0000@1 <- Update t2 TASK_STAGING REASON_CONTAINER_UPDATE_FAILED SOURCE_MASTER m-S0 "the task is TASK_STAGING; resize it while it is TASK_RUNNING" with cpus:1; mem:64
        "#]],
    );
    assert_eq!(allocated(&w, &agent), "cpus:2; mem:128; ports:[31000-31000]");
    // Without offers, nothing can be gained.
    w.check(
        framework.resize(&[], &[("t1", "cpus:1.5;mem:64;ports:[31000-31000]")]),
        expect![[r#"
            m-0000@1 <- Update t1 TASK_RUNNING REASON_CONTAINER_UPDATE_FAILED SOURCE_MASTER m-S0 "the task gains more than is offered: it needs cpus:0.5 more and nothing is left; take less or accept more offers" with cpus:1; mem:64; ports:[31000-31000]
        "#]],
    );
    // With an offer that is gone, nothing is done.
    w.check(
        framework.resize(&[&offer], &[("t1", "cpus:1;mem:32;ports:[31000-31000]")]),
        expect![[r#"
            m-0000@1 <- Update t1 TASK_RUNNING REASON_INVALID_OFFERS SOURCE_MASTER m-S0 "offer m-O1 is no longer valid: it was rescinded, expired, or answered before; wait for the next one" with cpus:1; mem:64; ports:[31000-31000]
        "#]],
    );
    w.apply(framework.kill("t1", None, None));
    w.check(
        framework.resize(&[], &[("t1", "cpus:1;mem:32;ports:[31000-31000]")]),
        expect![[r#"
            m-0000@1 <- Update t1 TASK_RUNNING REASON_CONTAINER_UPDATE_FAILED SOURCE_MASTER m-S0 "the task is being killed; launch another one" with cpus:1; mem:64; ports:[31000-31000]
        "#]],
    );
}

#[test]
fn a_resize_of_a_task_that_is_not_there_is_answered_as_a_reconciliation_would_be() {
    let mut w = World::new();
    let (agent, link, framework) = w.running();
    w.check(
        framework.resize(&[], &[("t9", "cpus:1;mem:32")]),
        expect![[r#"
            m-0000@1 <- Update t9 TASK_UNKNOWN REASON_RECONCILIATION SOURCE_MASTER
        "#]],
    );
    // Its end is on the way.
    let uuid = w.uuid();
    w.apply(update(&agent, link, &framework.id, "t1", TaskState::Finished, uuid));
    w.check(framework.resize(&[], &[("t1", "cpus:1;mem:32")]), expect![[""]]);
}

#[test]
fn a_repeated_resize_changes_nothing_and_another_one_waits_for_the_answer() {
    let mut w = World::new();
    let (agent, link, framework) = w.running();
    w.apply(framework.resize(&[], &[("t1", "cpus:0.5;mem:64")]));
    w.check(framework.resize(&[], &[("t1", "cpus:0.5;mem:64")]), expect![[""]]);
    w.check(
        framework.resize(&[], &[("t1", "cpus:0.2;mem:64")]),
        expect![[r#"
            m-0000@1 <- Update t1 TASK_RUNNING REASON_CONTAINER_UPDATE_FAILED SOURCE_MASTER m-S0 "the task is being resized to cpus:0.5; mem:64; wait for the answer to that" with cpus:1; mem:64
        "#]],
    );
    w.apply(task_resized(&agent, link, &framework, "t1", "cpus:0.5;mem:64", "cpus:0.5;mem:64"));
    w.apply(framework.resize(&[], &[("t1", "cpus:0.2;mem:64")]));
    assert!(text::effects(&w.last).contains("Resize m-0000/t1 cpus:0.2; mem:64"));
}

#[test]
fn a_resize_is_said_again_when_the_agent_is_back_unless_it_has_been_done() {
    let mut w = World::new();
    let (agent, link, framework) = w.running();
    w.apply(Event::AgentLinkClosed { agent: agent.clone(), link });
    w.check(framework.resize(&[], &[("t1", "cpus:0.5;mem:64")]), expect![[""]]);
    assert_eq!(allocated(&w, &agent), "cpus:1; mem:64");
    let back = w.link();
    let known = report(&framework.id, "t1", &agent, "cpus:1;mem:64", TaskState::Running);
    w.check(
        registers_with(back, Some(&agent), MACHINE, vec![known], vec![]),
        expect![[r#"
            m-S0@2 <- Registered m-S0 heartbeat 15s known [m-0000/t1]
            m-S0@2 <- Resize m-0000/t1 cpus:0.5; mem:64
        "#]],
    );
    assert_eq!(allocated(&w, &agent), "cpus:1; mem:64");
    // The answer is lost with this link, too; what the agent tells is answer enough.
    let again = w.link();
    let known = with_size(report(&framework.id, "t1", &agent, "cpus:0.5;mem:64", TaskState::Running), &[]);
    w.apply(registers_with(again, Some(&agent), MACHINE, vec![known], vec![]));
    assert!(!text::effects(&w.last).contains("Resize"), "{}", text::effects(&w.last));
    assert_eq!(allocated(&w, &agent), "cpus:0.5; mem:64");
}

#[test]
fn after_a_restart_of_the_master_agents_tell_what_their_tasks_have_and_are_being_given() {
    let mut w = World::new();
    let (agent, _, framework) = w.running();
    w.restart(secs(3));
    let back = w.link();
    let known = with_size(
        report(&framework.id, "t1", &agent, "cpus:1;mem:128", TaskState::Running),
        &[("cpus", Some(2)), ("mem", None)],
    );
    let known = TaskReport { resizing: Some(Size::of(resources("cpus:2;mem:64"))), ..known };
    w.check(
        registers_with(back, Some(&agent), MACHINE, vec![known], vec![]),
        expect![[r#"
            m-S0@2 <- Registered m-S0 heartbeat 15s known [m-0000/t1]
            m-S0@2 <- Resize m-0000/t1 cpus:2; mem:64
        "#]],
    );
    assert_eq!(allocated(&w, &agent), "cpus:2; mem:128");
    let stream = w.stream();
    w.apply(framework.again(stream, framework_info(&["*"])));
    let framework = Sub { stream, ..framework };
    w.settle();
    assert_eq!(offers(&w, &framework), ["cpus:2; mem:896; ports:[31000-31009]"]);
    w.apply(task_resized(&agent, back, &framework, "t1", "cpus:2;mem:64", "cpus:2;mem:64"));
    assert_eq!(allocated(&w, &agent), "cpus:2; mem:64");
}

#[test]
fn a_task_that_ends_while_it_is_resized_frees_all_that_it_counted_for() {
    let mut w = World::new();
    let (agent, link, framework, offer) = offered(&mut w);
    w.apply(framework.resize(&[&offer], &[("t1", "cpus:2;mem:32")]));
    let uuid = w.uuid();
    w.apply(update(&agent, link, &framework.id, "t1", TaskState::Failed, uuid));
    assert_eq!(allocated(&w, &agent), "");
    w.check(task_resized(&agent, link, &framework, "t1", "cpus:2;mem:32", "cpus:2;mem:32"), expect![[""]]);
    assert_eq!(allocated(&w, &agent), "");
}

#[test]
fn the_answer_to_a_resize_by_an_older_link_changes_nothing() {
    let mut w = World::new();
    let (agent, link, framework) = w.running();
    w.apply(framework.resize(&[], &[("t1", "cpus:0.5;mem:64")]));
    let newer = w.link();
    let known = report(&framework.id, "t1", &agent, "cpus:1;mem:64", TaskState::Running);
    w.apply(registers_with(newer, Some(&agent), MACHINE, vec![known], vec![]));
    w.check(
        task_resized(&agent, link, &framework, "t1", "cpus:0.5;mem:64", "cpus:0.5;mem:64"),
        expect![[""]],
    );
    assert_eq!(allocated(&w, &agent), "cpus:1; mem:64");
}

#[test]
fn an_agent_that_tells_of_a_larger_task_than_was_known_is_believed_and_what_it_offered_is_rescinded() {
    let mut w = World::new();
    let (agent, _, framework, offer) = offered(&mut w);
    let link = w.link();
    let known = with_size(report(&framework.id, "t1", &agent, "cpus:3;mem:64", TaskState::Running), &[]);
    w.apply(registers_with(link, Some(&agent), MACHINE, vec![known], vec![]));
    assert!(text::effects(&w.last).contains(&format!("Rescind {offer}")), "{}", text::effects(&w.last));
    assert_eq!(allocated(&w, &agent), "cpus:3; mem:64");
    w.settle();
    assert_eq!(offers(&w, &framework), ["cpus:1; mem:960; ports:[31000-31009]"]);
}

#[test]
fn a_reconciliation_tells_the_size_of_a_task_that_has_been_resized() {
    let mut w = World::new();
    let (agent, link, framework) = w.running();
    let asked = [("t1", None)];
    w.check(
        framework.reconcile(&asked),
        expect![[r#"
            m-0000@1 <- Update t1 TASK_RUNNING REASON_RECONCILIATION SOURCE_MASTER m-S0
        "#]],
    );
    w.apply(framework.resize(&[], &[("t1", "cpus:1;mem:32")]));
    w.apply(task_resized(&agent, link, &framework, "t1", "cpus:1;mem:32", "cpus:1;mem:32"));
    w.apply(framework.reconcile(&asked));
    assert!(
        text::effects(&w.last).contains("REASON_RECONCILIATION SOURCE_MASTER m-S0 with cpus:1; mem:32"),
        "{}",
        text::effects(&w.last)
    );
}

#[test]
fn a_resize_is_refused_where_the_agent_would_not_even_see_it() {
    let mut w = World::new();
    let (agent, _, framework) = w.running();
    let link = w.link();
    let known = || report(&framework.id, "t1", &agent, "cpus:1;mem:64", TaskState::Running);
    let older = [AgentCapability::TaskResourceLimits];
    w.apply(able(registers_with(link, Some(&agent), MACHINE, vec![known()], vec![]), &older));
    w.check(
        framework.resize(&[], &[("t1", "cpus:0.5;mem:64")]),
        expect![[r#"
            m-0000@1 <- Update t1 TASK_RUNNING REASON_CONTAINER_UPDATE_FAILED SOURCE_MASTER m-S0 "agent m-S0 runs release 0.1.0, which cannot do TASK_RESIZE; launch another task in its place, or update the agent" with cpus:1; mem:64
        "#]],
    );
    // Once it has been updated it can.
    let link = w.link();
    w.apply(registers_with(link, Some(&agent), MACHINE, vec![known()], vec![]));
    w.apply(framework.resize(&[], &[("t1", "cpus:0.5;mem:64")]));
    assert!(
        text::effects(&w.last).contains("Resize m-0000/t1 cpus:0.5; mem:64"),
        "{}",
        text::effects(&w.last)
    );
}

#[test]
fn a_resize_that_is_under_way_ends_when_its_agent_comes_back_as_a_release_that_cannot_do_it() {
    let mut w = World::new();
    let (agent, _, framework, offer) = offered(&mut w);
    w.apply(framework.resize(&[&offer], &[("t1", "cpus:2;mem:64")]));
    assert_eq!(allocated(&w, &agent), "cpus:2; mem:64");
    let link = w.link();
    let known = report(&framework.id, "t1", &agent, "cpus:1;mem:64", TaskState::Running);
    w.apply(able(registers_with(link, Some(&agent), MACHINE, vec![known], vec![]), &[]));
    let said = text::effects(&w.last);
    assert!(!said.contains("Resize"), "{said}");
    assert!(said.contains("Update t1 TASK_RUNNING REASON_CONTAINER_UPDATE_FAILED"), "{said}");
    assert!(said.contains("which cannot do TASK_RESIZE"), "{said}");
    assert_eq!(allocated(&w, &agent), "cpus:1; mem:64");
}
