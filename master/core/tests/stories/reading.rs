//! What readers see.

use bourse_master_core::event::Event;
use bourse_types::TaskState;
use expect_test::expect;

use crate::text;
use crate::world::*;

#[test]
fn the_verdict_is_one_sentence_with_problems_first() {
    let mut w = World::new();
    expect!["No tasks; no agent has joined yet"].assert_eq(&w.view().verdict());
    let (agent, _) = w.agent(MACHINE);
    expect!["No tasks; 1 agent active"].assert_eq(&w.view().verdict());
    let framework = w.framework(&["*"]);
    w.launch(&framework, "t1", "cpus:1;mem:64");
    expect!["The one task does not run yet; 1 agent active"].assert_eq(&w.view().verdict());
    let known = report(&framework.id, "t1", &agent, "cpus:1;mem:64", TaskState::Running);
    let link = w.link();
    w.apply(registers_with(link, Some(&agent), MACHINE, vec![known], vec![]));
    expect!["The one task runs; 1 agent active"].assert_eq(&w.view().verdict());
    w.apply(Event::AgentLinkClosed { agent, link });
    w.apply(framework.closes());
    expect!["Agent m-S0 on host7000 is disconnected since 2023-11-14T22:13:20.050Z (and 1 more problem); the one task runs; the one agent is not active"].assert_eq(&w.view().verdict());
    w.pass(secs(80));
    expect!["Agent m-S0 on host7000 is unreachable since 2023-11-14T22:14:35.050Z; no tasks; the one agent is not active"].assert_eq(&w.view().verdict());
}

#[test]
fn total_reserved_offered_allocated_and_available_are_five_different_things() {
    let mut w = World::new();
    let (agent, _) = w.agent("cpus:4;mem:1024;cpus(eng):2;mem(eng):512");
    let framework = w.framework(&["*"]);
    w.launch(&framework, "t1", "cpus:1;mem:64");
    w.framework(&["eng"]);
    let totals = w.view().totals();
    expect![[r#"
        total cpus:4; cpus(eng):2; mem:1024; mem(eng):512
        reserved cpus(eng):2; mem(eng):512
        offered cpus:3; cpus(eng):2; mem:960; mem(eng):512
        allocated cpus:1; mem:64
        available 
    "#]]
    .assert_eq(&format!(
        "total {}\nreserved {}\noffered {}\nallocated {}\navailable {}\n",
        totals.total, totals.reserved, totals.offered, totals.allocated, totals.available
    ));
    let view = w.view();
    let agent = view.agent(&agent).expect("registered");
    assert_eq!((agent.total(), &agent.offered), (&totals.total, &totals.offered));
}

#[test]
fn the_tree_of_roles_shows_what_is_held_in_and_below_each_role() {
    let mut w = World::new();
    w.agent("cpus:4;mem:1000");
    let web = w.framework(&["eng/web"]);
    w.launch(&web, "t1", "cpus:1;mem:100");
    w.agent("cpus:4;mem:1000");
    w.settle();
    let mut lines = String::new();
    for role in w.view().roles() {
        lines += &format!(
            "{} x{} share {:.3} offered {} allocated {}\n",
            role.role, role.weight, role.share, role.offered, role.allocated
        );
    }
    expect![[r#"
        eng x1 share 0.625 offered cpus:4; mem:1000 allocated cpus:1; mem:100
        eng/web x1 share 0.625 offered cpus:4; mem:1000 allocated cpus:1; mem:100
    "#]]
    .assert_eq(&lines);
}

#[test]
fn a_view_does_not_change_when_the_master_does() {
    let mut w = World::new();
    let (agent, link, framework) = w.running();
    let before = w.view();
    w.report(&agent, link, &framework, "t1", TaskState::Failed);
    let seen = before.task(&framework.id, &task_id("t1")).map(|task| task.state);
    assert_eq!((seen, w.state_of(&framework, "t1")), (Some(TaskState::Running), Some(TaskState::Failed)));
}

#[test]
fn the_history_says_in_words_what_happened() {
    let mut w = World::new();
    let mut told = String::new();
    let link = w.link();
    told += &text::history(w.apply(registers(link, None, MACHINE)));
    let agent = agent_id("m-S0");
    let framework = w.framework(&["*"]);
    told += &text::history(&w.last);
    w.launch(&framework, "t1", "cpus:1;mem:64");
    told += &text::history(&w.last);
    told += &text::history(w.apply(update(&agent, link, &framework.id, "t1", TaskState::Running, 50)));
    told += &text::history(w.apply(update(&agent, link, &framework.id, "t1", TaskState::Running, 50)));
    told +=
        &text::history(w.apply(framework.accept(&[&offer_id("x")], vec![task_info("t2", &agent, "cpus:1")])));
    told += &text::history(w.apply(framework.closes()));
    told += &text::history(&w.pass(secs(90)));
    expect![[r#"
        agent: agent m-S0 was admitted
        framework: framework m-0000 subscribed (web)
        task: task t1 was launched on agent m-S0 with cpus:1; mem:64
        task: task t1 is TASK_RUNNING on agent m-S0
        task: task t2 was not launched: offer x is no longer valid: it was rescinded, expired, or answered before; wait for the next one
        framework: framework m-0000 disconnected; it is torn down unless it is back within 60s
        task: task t1 is TASK_KILLED: framework m-0000 was torn down
        framework: framework m-0000 (web) was torn down: its scheduler did not come back in time
        agent: agent m-S0 is unreachable: it was silent for too long
    "#]].assert_eq(&told);
}
