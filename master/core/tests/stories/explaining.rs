//! Why something waits.

use std::fmt::Write;

use bourse_master_core::event::{Command, Event};
use bourse_master_core::{Explanation, Subject};
use bourse_types::TaskState;
use expect_test::{Expect, expect};

use crate::world::*;

fn explained(w: &World, subject: Subject, wanted: Option<&str>, expected: Expect) {
    let wanted = wanted.map(resources);
    let explanation = w.view().explain(&subject, wanted.as_ref(), 100).expect("the subject is there");
    expected.assert_eq(&text(&explanation));
}

fn text(explanation: &Explanation) -> String {
    let mut text = format!("{}\n", explanation.summary);
    for agent in &explanation.agents {
        writeln!(text, "  {} on {}{}", agent.agent, agent.hostname, if agent.fits { ": fits" } else { "" })
            .expect("text");
        for obstacle in &agent.obstacles {
            writeln!(text, "    {}: {}", obstacle.reason.as_str(), obstacle.detail).expect("text");
        }
    }
    if let Some(fix) = &explanation.nearest_fix {
        writeln!(text, "fix: {fix}").expect("text");
    }
    text
}

#[test]
fn every_requirement_that_fails_is_told_agent_by_agent_with_figures_and_the_nearest_fix() {
    let mut w = World::new();
    let (first, _, framework) = w.running();
    w.agent("cpus:1;mem:8192");
    w.agent("cpus(eng):8;mem(eng):8192;cpus:1;mem:64");
    let (drained, _) = w.agent("cpus:16;mem:8192");
    let (away, link) = w.agent("cpus:16;mem:8192");
    w.apply(operate(Command::Drain { agent: drained, deadline: secs(60), mark_gone: false }));
    w.apply(Event::AgentLinkClosed { agent: away, link });
    for offer in w.offers_of(&framework) {
        w.apply(framework.decline(&[&offer], secs(3600)));
    }
    w.settle();
    let subject = Subject::Framework(framework.id.clone());
    explained(
        &w,
        subject.clone(),
        Some("cpus:4;mem:2048"),
        expect![[r#"
        none of 5 agents can serve a request for cpus:4; mem:2048 of framework web now
          m-S0 on host7000
            held: wants cpus:4, and 3 is free: 1 cpus allocated to tasks
            too_small: wants mem:2048, and the machine has 1024 that it may use
            filter: the framework declined the cpus:3; mem:960; ports:[31000-31009] that is free, for another 4s
          m-S1 on host7001
            too_small: wants cpus:4, and the machine has 1 that it may use
            held: wants mem:2048, and 0 is free: 8192 mem offered to web for under 1s
          m-S2 on host7002
            reservation: wants cpus:4, and 8 of 9 is reserved to other roles
            reservation: wants mem:2048, and 8192 of 8256 is reserved to other roles
          m-S3 on host7003
            draining: an operator drains the agent; tasks have until 2023-11-14T22:14:20.050Z
          m-S4 on host7004
            inactive: the agent is disconnected for under 1s
        fix: end the drain of agent m-S3
    "#]],
    );
    explained(
        &w,
        subject.clone(),
        Some("cpus:2;mem:512"),
        expect![[r#"
        none of 5 agents can serve a request for cpus:2; mem:512 of framework web now
          m-S0 on host7000
            filter: the framework declined the cpus:3; mem:960; ports:[31000-31009] that is free, for another 4s
          m-S1 on host7001
            too_small: wants cpus:2, and the machine has 1 that it may use
            held: wants mem:512, and 0 is free: 8192 mem offered to web for under 1s
          m-S2 on host7002
            reservation: wants cpus:2, and 8 of 9 is reserved to other roles
            reservation: wants mem:512, and 8192 of 8256 is reserved to other roles
          m-S3 on host7003
            draining: an operator drains the agent; tasks have until 2023-11-14T22:14:20.050Z
          m-S4 on host7004
            inactive: the agent is disconnected for under 1s
        fix: wait 4s, or let the framework revive role *
    "#]],
    );
    explained(
        &w,
        subject,
        None,
        expect![[r#"
        framework web holds 2 offers and has yet to answer
          m-S0 on host7000
            filter: the framework declined the cpus:3; mem:960; ports:[31000-31009] that is free, for another 4s
          m-S1 on host7001
            held: nothing is free: 1 cpus offered to web for under 1s
          m-S2 on host7002
            held: nothing is free: 1 cpus offered to web for under 1s
          m-S3 on host7003
            draining: an operator drains the agent; tasks have until 2023-11-14T22:14:20.050Z
          m-S4 on host7004
            inactive: the agent is disconnected for under 1s
        fix: wait 4s, or let the framework revive role *
    "#]],
    );
    explained(
        &w,
        Subject::Agent(first),
        None,
        expect![[r#"
            agent m-S0 is active, and no framework may take, or wants, the cpus:3; mem:960; ports:[31000-31009] that is free on it
              m-S0 on host7000
                filter: framework web: the framework declined the cpus:3; mem:960; ports:[31000-31009] that is free, for another 4s
            fix: wait 4s, or let the framework revive role *
        "#]],
    );
}

#[test]
fn who_holds_what_is_wanted_is_named() {
    let mut w = World::new();
    w.agent(MACHINE);
    w.framework(&["*"]);
    let mut info = framework_info(&["*"]);
    info.name = "patient".to_owned();
    let waits = w.subscribe(info);
    w.pass(secs(30));
    explained(
        &w,
        Subject::Framework(waits.id),
        Some("cpus:1;mem:64"),
        expect![[r#"
            the only agent cannot serve a request for cpus:1; mem:64 of framework patient now
              m-S0 on host7000
                held: wants cpus:1, and 0 is free: 4 cpus offered to web for 30s
                held: wants mem:64, and 0 is free: 1024 mem offered to web for 30s
            fix: free 1 more cpus and 64 more mem on agent m-S0 (end a task there, or have its offers answered), or ask for less
        "#]],
    );
}

#[test]
fn a_request_that_fits_is_said_to_fit() {
    let mut w = World::new();
    w.agent(MACHINE);
    let framework = w.framework(&["*"]);
    let offer = w.offer_of(&framework);
    w.apply(framework.decline(&[&offer], secs(1)));
    explained(
        &w,
        Subject::Framework(framework.id.clone()),
        Some("cpus:1;mem:64"),
        expect![[r#"
            the only agent cannot serve a request for cpus:1; mem:64 of framework web now
              m-S0 on host7000
                filter: the framework declined the cpus:4; mem:1024; ports:[31000-31009] that is free, for another 1s
            fix: wait 1s, or let the framework revive role *
        "#]],
    );
    w.apply(framework.suppress(&[]));
    explained(
        &w,
        Subject::Framework(framework.id.clone()),
        Some("cpus:1;mem:64"),
        expect![[r#"
            the only agent cannot serve a request for cpus:1; mem:64 of framework web now
              m-S0 on host7000
                suppressed: the framework suppressed role *: it asked for no offers
                filter: the framework declined the cpus:4; mem:1024; ports:[31000-31009] that is free, for another 1s
            fix: let the framework revive role *
        "#]],
    );
    explained(
        &w,
        Subject::Framework(framework.id.clone()),
        None,
        expect![[r#"
            framework web wants no offers now: it suppressed its roles
              m-S0 on host7000
                suppressed: the framework suppressed role *: it asked for no offers
                filter: the framework declined the cpus:4; mem:1024; ports:[31000-31009] that is free, for another 1s
        "#]],
    );
    w.apply(framework.revive(&[]));
    w.apply(framework.closes());
    explained(
        &w,
        Subject::Framework(framework.id),
        Some("ports:[80-80]"),
        expect![[r#"
            the only agent cannot serve a request for ports:[80-80] of framework web now
              m-S0 on host7000
                inactive: the framework's scheduler is not connected: it is disconnected
                held: wants exactly ports:[80-80], and some of it is not among the cpus:4; mem:1024; ports:[31000-31009] that is free
            fix: start the scheduler of framework web; and ask for ports and items that are free, or for any
        "#]],
    );
}

#[test]
fn with_no_agent_at_all_the_fix_is_to_start_one() {
    let mut w = World::new();
    let framework = w.framework(&["*"]);
    explained(
        &w,
        Subject::Framework(framework.id),
        None,
        expect![[r#"
        framework web is offered nothing: no agent has joined
        fix: start an agent
    "#]],
    );
}

#[test]
fn a_task_tells_why_it_is_in_its_state() {
    let mut w = World::new();
    let (agent, link) = w.agent(MACHINE);
    let framework = w.framework(&["*"]);
    w.launch(&framework, "t1", "cpus:1;mem:64");
    let subject = Subject::Task(framework.id.clone(), task_id("t1"));
    w.pass(secs(3));
    explained(
        &w,
        subject.clone(),
        None,
        expect![[r#"
            task t1 has been TASK_STAGING on agent m-S0 since 2023-11-14T22:13:20.050Z: it was sent, and the agent has not said that it starts
            fix: look at the log of agent m-S0
        "#]],
    );
    w.report(&agent, link, &framework, "t1", TaskState::Running);
    w.apply(framework.kill("t1", None, None));
    explained(
        &w,
        subject.clone(),
        None,
        expect![[r#"
            task t1 has been TASK_RUNNING on agent m-S0 since 2023-11-14T22:13:23.050Z; it was told to end
        "#]],
    );
    w.pass(secs(80));
    explained(
        &w,
        subject.clone(),
        None,
        expect![[r#"
            task t1 has been TASK_UNREACHABLE on agent m-S0 since 2023-11-14T22:14:35.000Z: the agent does not answer, and the task may still run there
            fix: bring agent m-S0 back
        "#]],
    );
    w.apply(operate(Command::MarkGone { agent }));
    explained(
        &w,
        subject,
        None,
        expect![[r#"
            task t1 ended on agent m-S0 as TASK_GONE_BY_OPERATOR at 2023-11-14T22:14:43.050Z; agent m-S0 was marked gone by an operator (REASON_AGENT_REMOVED_BY_OPERATOR)
        "#]],
    );
    assert_eq!(w.view().explain(&Subject::Task(framework.id, task_id("t9")), None, 100), None);
}

#[test]
fn of_many_agents_the_nearest_are_told_and_the_others_are_counted_by_what_stands_in_the_way() {
    let mut w = World::new();
    for cpus in [1, 4, 2, 3, 1] {
        w.agent(&format!("cpus:{cpus};mem:64"));
    }
    let framework = w.framework(&["*"]);
    let explained = |most| {
        let subject = Subject::Framework(framework.id.clone());
        w.view().explain(&subject, Some(&resources("cpus:8;mem:64")), most).expect("it is there")
    };
    let all = explained(5);
    assert_eq!((all.agents.len(), all.agents_total, all.others.len()), (5, 5, 0));
    // The larger a machine is the less is missing on it; of equal ones the first is nearer.
    let by_distance = ["m-S1", "m-S3", "m-S2", "m-S0", "m-S4"];
    for most in 1..5 {
        let some = explained(most);
        let told: Vec<&str> = some.agents.iter().map(|verdict| verdict.agent.as_str()).collect();
        let mut nearest = by_distance[..most].to_vec();
        nearest.sort_unstable();
        assert_eq!(told, nearest, "{most}");
        assert_eq!((some.agents_total, some.others.get("too_small")), (5, Some(&(5 - most))), "{most}");
        assert_eq!((some.summary, some.nearest_fix), (all.summary.clone(), all.nearest_fix.clone()));
    }
}
