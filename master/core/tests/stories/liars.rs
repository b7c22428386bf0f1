//! Agents that say what is not true: whose ids they have, where they are, what others run, whom they follow.

use bourse_master_core::effect::{Effect, ToAgent};
use bourse_master_core::event::{Event, LinkId};
use bourse_types::{AgentId, Epoch, TaskState};
use expect_test::expect;

use crate::world::*;

/// A new agent of this principal; its address is its own, unless another port is named.
fn owned(w: &mut World, name: &str, port: Option<u16>) -> (AgentId, LinkId) {
    let link = w.link();
    let port = port.unwrap_or(7000 + w.view().agents().count() as u16);
    let new = but(registers(link, None, MACHINE), |it| it.info = agent_info(MACHINE, port));
    w.apply(by(name, new));
    let told = w.last.iter().find_map(|effect| match effect {
        Effect::ToAgent { agent, message: ToAgent::Registered { .. }, .. } => Some(agent.clone()),
        _ => None,
    });
    (told.expect("it is admitted"), link)
}

#[test]
fn an_agent_id_is_refused_to_another_principal_and_its_owner_stays_connected() {
    let mut w = World::new();
    let (agent, link) = owned(&mut w, "node-0", None);
    let framework = w.framework(&["*"]);
    w.launch(&framework, "t1", "cpus:1;mem:64");
    w.report(&agent, link, &framework, "t1", TaskState::Running);

    let foreign = w.link();
    w.check(by("node-1", registers(foreign, Some(&agent), MACHINE)), expect![[r#"
        close link 2: NOT_YOURS: agent id m-S0 belongs to principal node-0, and this agent came with a token of principal node-1; give it a token of node-0 (who may have several), or, to let its machine join as a new agent, mark agent m-S0 gone and remove the work directory
    "#]]);
    let entry = w.last.iter().find_map(|effect| match effect {
        Effect::Record(entry) => Some(entry.clone()),
        _ => None,
    });
    let entry = entry.expect("an operator may want to know");
    assert_eq!(entry.reason.as_deref(), Some("NOT_YOURS"));
    assert_eq!(entry.principal.map(|who| who.to_string()).as_deref(), Some("node-1"));
    // Not even who follows a newer master is believed that he is this agent.
    let newer = but(registers(foreign, Some(&agent), MACHINE), |it| it.epoch = Epoch(u64::MAX));
    w.apply(by("node-1", newer));
    // Nor who says nothing of himself.
    w.apply(registers(foreign, Some(&agent), MACHINE));
    assert!(matches!(w.last[..], [Effect::Record(_), Effect::CloseLink { .. }]), "{:?}", w.last);

    assert_eq!(w.view().agent(&agent).and_then(|agent| agent.link()), Some(link));
    assert_eq!(w.state_of(&framework, "t1"), Some(TaskState::Running));
    assert!(w.view().problems().is_empty(), "{:?}", w.view().problems());
}

#[test]
fn the_address_of_anothers_agent_removes_nobody_and_that_of_ones_own_replaces_it() {
    let mut w = World::new();
    let (owners, link) = owned(&mut w, "node-0", None);
    let (first, _) = owned(&mut w, "node-1", Some(7000));
    assert_eq!(w.view().agent(&owners).and_then(|agent| agent.link()), Some(link));
    assert!(w.view().agent(&first).is_some());
    let (second, _) = owned(&mut w, "node-1", Some(7000));
    let left: Vec<AgentId> = w.view().agents().map(|agent| agent.id.clone()).collect();
    assert_eq!(left, [owners, second]);
}

#[test]
fn an_agent_of_a_registry_without_owners_is_of_the_first_principal_that_comes_back_with_it() {
    let mut w = World::new();
    let (agent, _) = w.agent(MACHINE);
    w.restart(secs(3));
    let link = w.link();
    w.check(
        by("node-0", registers(link, Some(&agent), MACHINE)),
        expect![[r#"
        persist agent m-S0 updated
        m-S0@2 <- Registered m-S0 heartbeat 15s known []
    "#]],
    );
    for again in [false, true] {
        if again {
            w.restart(secs(3));
        }
        let foreign = w.link();
        w.apply(by("node-1", registers(foreign, Some(&agent), MACHINE)));
        assert!(matches!(w.last[..], [Effect::Record(_), Effect::CloseLink { .. }]), "{:?}", w.last);
        let owner = w.registry.agents[&agent].principal.clone();
        assert_eq!(owner.map(|owner| owner.to_string()).as_deref(), Some("node-0"));
    }
    let link = w.link();
    w.check(
        by("node-0", registers(link, Some(&agent), MACHINE)),
        expect![[r#"
        m-S0@5 <- Registered m-S0 heartbeat 15s known []
    "#]],
    );
}

#[test]
fn a_newer_master_is_told_of_with_who_says_so_and_only_that_agent_is_left_alone() {
    let mut w = World::new();
    let (liar, _) = owned(&mut w, "node-0", None);
    let (honest, link) = owned(&mut w, "node-1", None);
    let framework = w.framework(&["*"]);
    let again = w.link();
    let newer = but(registers(again, Some(&liar), MACHINE), |it| it.epoch = Epoch(u64::MAX));
    w.apply(by("node-0", newer));
    assert_eq!(w.view().agent(&liar).and_then(|agent| agent.link()), None);
    assert_eq!(w.view().agent(&honest).and_then(|agent| agent.link()), Some(link));
    let problem = w.view().problems().remove(0);
    assert!(problem.summary.starts_with("agents of principal node-0 follow a newer master"), "{problem:?}");
    assert!(problem.advice.contains("if there never was one, an agent lies"), "{problem:?}");
    assert!(
        w.offers_of(&framework)
            .iter()
            .any(|offer| { w.view().offer(offer).is_some_and(|offer| offer.agent == honest) })
    );
    // What others tell is not hidden behind the highest figure.
    let (another, _) = owned(&mut w, "node-2", None);
    let again = w.link();
    w.apply(by("node-2", but(registers(again, Some(&another), MACHINE), |it| it.epoch = Epoch(9))));
    let problem = w.view().problems().remove(0);
    assert!(problem.summary.starts_with("agents of principals node-0 and node-2 follow"), "{problem:?}");
}

#[test]
fn a_task_that_is_unreachable_with_its_agent_is_not_taken_over_by_another_that_tells_of_it() {
    let mut w = World::new();
    let (agent, _, framework) = w.running();
    w.pass(secs(80));
    assert_eq!(w.state_of(&framework, "t1"), Some(TaskState::Unreachable));
    let (liar, _) = w.agent(MACHINE);
    let link = w.link();
    let lie = report(&framework.id, "t1", &liar, "cpus:1;mem:64", TaskState::Running);
    w.apply(registers_with(link, Some(&liar), MACHINE, vec![lie], vec![]));
    let killed = w.last.iter().any(|effect| {
        matches!(effect, Effect::ToAgent { agent, message: ToAgent::Kill { task, .. }, .. }
            if *agent == liar && *task == task_id("t1"))
    });
    assert!(killed, "{:?}", w.last);
    assert_eq!(w.state_of(&framework, "t1"), Some(TaskState::Unreachable));

    let link = w.link();
    let truth = report(&framework.id, "t1", &agent, "cpus:1;mem:64", TaskState::Running);
    w.apply(registers_with(link, Some(&agent), MACHINE, vec![truth], vec![]));
    let task = w.view().task(&framework.id, &task_id("t1")).map(|task| (task.agent.clone(), task.state));
    assert_eq!(task, Some((agent, TaskState::Running)));
}

#[test]
fn what_an_agent_says_of_a_task_of_another_or_says_again_changes_nothing() {
    let mut w = World::new();
    let (agent, link, framework) = w.running();
    let (liar, by_liar) = w.agent(MACHINE);
    w.settle();
    w.check(
        update(&liar, by_liar, &framework.id, "t1", TaskState::Failed, 90),
        expect![[r#"
        m-S1@2 <- Acknowledge m-0000/t1 #90
    "#]],
    );
    assert_eq!(w.state_of(&framework, "t1"), Some(TaskState::Running));
    // By the link of another, and by one that nobody opened.
    for link in [by_liar, LinkId(99)] {
        w.check(update(&agent, link, &framework.id, "t1", TaskState::Failed, 91), expect![[""]]);
        w.check(Event::AgentLinkClosed { agent: agent.clone(), link }, expect![[""]]);
    }
    // An end is not taken back by what was said before it.
    w.report(&agent, link, &framework, "t1", TaskState::Finished);
    w.apply(update(&agent, link, &framework.id, "t1", TaskState::Running, 92));
    assert_eq!(w.state_of(&framework, "t1"), Some(TaskState::Finished));
}
