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
    expect!["The only task does not run yet; 1 agent active"].assert_eq(&w.view().verdict());
    let known = report(&framework.id, "t1", &agent, "cpus:1;mem:64", TaskState::Running);
    let link = w.link();
    w.apply(registers_with(link, Some(&agent), MACHINE, vec![known], vec![]));
    expect!["The only task runs; 1 agent active"].assert_eq(&w.view().verdict());
    w.apply(Event::AgentLinkClosed { agent, link });
    w.apply(framework.closes());
    expect!["Agent m-S0 on host7000 has been disconnected since 2023-11-14T22:13:20.050Z (and 1 more problem); the only task runs; the only agent is not active"].assert_eq(&w.view().verdict());
    w.pass(secs(80));
    expect!["Agent m-S0 on host7000 has been unreachable since 2023-11-14T22:14:35.050Z; no tasks; the only agent is not active"].assert_eq(&w.view().verdict());
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

#[test]
fn problems_read_the_same_as_long_as_nothing_changes() {
    let mut w = World::new();
    w.running();
    let (_, link) = w.agent(MACHINE);
    w.apply(Event::AgentLinkClosed { agent: agent_id("m-S1"), link });
    let (_, _) = w.agent(MACHINE);
    let away = w.framework(&["*"]);
    w.launch(&away, "t9", "cpus:1;mem:64");
    w.pass_hearing(secs(61), &["m-S0", "m-S2"]);
    w.apply(away.closes());
    let words = |w: &World| {
        let view = w.view();
        let problems: Vec<String> = view.problems().into_iter().map(|it| it.summary).collect();
        format!("{}\n{}\n", problems.join("\n"), view.verdict())
    };
    let before = words(&w);
    expect![[r#"
        agent m-S1 on host7001 has been disconnected since 2023-11-14T22:13:20.050Z
        framework web has been disconnected since 2023-11-14T22:14:21.100Z; it will be torn down with its 1 task unless it is back by 2023-11-14T22:15:21.000Z
        task t9 has been staging on agent m-S0 since 2023-11-14T22:13:20.100Z
        Agent m-S1 on host7001 has been disconnected since 2023-11-14T22:13:20.050Z (and 2 more problems); 1 of 2 tasks run; 2 of 3 agents active
    "#]].assert_eq(&before);
    for _ in 0..7 {
        w.pass(std::time::Duration::from_millis(501));
        assert_eq!(words(&w), before);
    }
    w.restart(secs(3));
    let before = words(&w);
    expect![[r#"
        agent m-S0 on host7000 has not been back since the restart of the master; it will be marked unreachable unless it is back by 2023-11-14T22:24:28.000Z
        agent m-S1 on host7001 has not been back since the restart of the master; it will be marked unreachable unless it is back by 2023-11-14T22:24:28.000Z
        agent m-S2 on host7002 has not been back since the restart of the master; it will be marked unreachable unless it is back by 2023-11-14T22:24:28.000Z
        framework web has not been back since the restart of the master; it will be torn down with its no tasks unless it is back by 2023-11-14T22:24:28.000Z
        framework web has not been back since the restart of the master; it will be torn down with its no tasks unless it is back by 2023-11-14T22:15:28.000Z
        Agent m-S0 on host7000 has not been back since the restart of the master; it will be marked unreachable unless it is back by 2023-11-14T22:24:28.000Z (and 4 more problems); no tasks; 0 of 3 agents active
    "#]].assert_eq(&before);
    w.pass(secs(1));
    assert_eq!(words(&w), before);
}
