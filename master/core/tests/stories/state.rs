//! A master is taken apart and put together again. That the one goes on as the other would is checked after every event of
//! every story, by [`World::apply`]; here is what that is made of.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use bourse_master_core::effect::Effect;
use bourse_master_core::event::Command;
use bourse_master_core::state::{BadState, Part, Place};
use bourse_master_core::{Master, Task};
use bourse_types::{Milli, OfferId, TaskState};

use crate::world::*;

const KINDS: [&str; 15] = [
    "head",
    "agent",
    "agent that is drained",
    "gone",
    "removed",
    "weight",
    "framework",
    "framework that was torn down",
    "live task",
    "unreachable task",
    "completed task",
    "filter",
    "offer",
    "deadline",
    "mark",
];

/// One of [`KINDS`]: a part of a new kind gets its word here, there, and its like in [`one_of_everything`].
fn kind(part: &Part) -> &'static str {
    match part {
        Part::Head(_) => "head",
        Part::Agent(agent) if agent.drain.is_some() => "agent that is drained",
        Part::Agent(_) => "agent",
        Part::Gone { .. } => "gone",
        Part::Removed { .. } => "removed",
        Part::Weight { .. } => "weight",
        Part::Framework(framework) if framework.torn_down => "framework that was torn down",
        Part::Framework(_) => "framework",
        Part::Task { place: Place::Live, .. } => "live task",
        Part::Task { place: Place::Unreachable, .. } => "unreachable task",
        Part::Task { place: Place::Completed, .. } => "completed task",
        Part::Filter { .. } => "filter",
        Part::Offer(_) => "offer",
        Part::Deadline { .. } => "deadline",
        Part::Mark { .. } => "mark",
    }
}

/// A master with a part of each kind: m-0000 was torn down with t0; m-0001 has t1, which runs on m-S0, and t2, which was
/// lost with m-S1, and declined the rest of m-S0; m-0002 is offered that. m-S1 is drained, and m-S2 is gone.
fn one_of_everything() -> World {
    let mut w = World::new();
    let (first, link) = w.agent(MACHINE);
    let old = w.framework(&["ops"]);
    w.launch(&old, "t0", "cpus:1;mem:64");
    w.apply(operate(Command::Teardown { framework: old.id.clone() }));
    let framework = w.framework(&["*"]);
    w.launch(&framework, "t1", "cpus:1;mem:64");
    w.report(&first, link, &framework, "t1", TaskState::Running);

    let (second, _) = w.agent(MACHINE);
    w.settle();
    let offer = w.view().offers().find(|offer| offer.agent == second).map(|offer| offer.id.clone());
    let offer = offer.expect("the framework declined nothing of this agent");
    w.apply(framework.accept(&[&offer], vec![task_info("t2", &second, "cpus:1;mem:64")]));
    let (third, _) = w.agent(MACHINE);
    w.apply(operate(Command::MarkGone { agent: third }));
    w.apply(operate(Command::SetWeight { role: role("eng"), weight: Milli::whole(3) }));
    w.pass_hearing(secs(90), &["m-S0"]);
    w.apply(operate(Command::Drain { agent: second, deadline: secs(600), mark_gone: false }));

    let held = w.offers_of(&framework);
    w.apply(framework.decline(&held.iter().collect::<Vec<&OfferId>>(), secs(3600)));
    let other = w.framework(&["eng"]);
    // The first is followed by a pass at once; what the second one marks waits for the next pass.
    w.apply(other.revive(&[]));
    w.apply(other.revive(&[]));
    w
}

#[test]
fn a_master_with_one_of_everything_is_the_same_after_it_was_taken_apart() {
    let w = one_of_everything();
    let parts: Vec<Part> = w.master.parts().collect();
    let kinds: BTreeSet<&str> = parts.iter().map(kind).collect();
    assert_eq!(kinds, BTreeSet::from(KINDS));
    let again = w.put_together();
    assert_eq!(again.parts().collect::<Vec<Part>>(), parts);
    // Also what adds up from other records.
    assert_eq!(format!("{again:?}"), format!("{:?}", w.master));
}

fn refusal(parts: Vec<Part>) -> BadState {
    Master::restore(parts).expect_err("these parts do not fit together")
}

/// The broken promises of what is made of these parts.
fn broken(parts: Vec<Part>) -> String {
    match refusal(parts) {
        BadState::Broken(promises) => promises.join("\n"),
        other => panic!("{other}"),
    }
}

#[test]
fn parts_that_do_not_fit_together_are_refused_with_what_is_broken() {
    let w = one_of_everything();
    let all: Vec<Part> = w.master.parts().collect();
    let without = |left_out: &[&str]| -> Vec<Part> {
        all.iter().filter(|part| !left_out.contains(&kind(part))).cloned().collect()
    };
    let twice = |which: &str| -> Vec<Part> {
        let mut parts = all.clone();
        let at = parts.iter().position(|part| kind(part) == which).expect("there is one of everything");
        parts.insert(at, parts[at].clone());
        parts
    };

    assert_eq!(refusal(Vec::new()), BadState::Headless);
    assert_eq!(refusal(without(&["head"])), BadState::Headless);
    assert_eq!(refusal(twice("head")), BadState::Order { part: "the head", behind: "the head" });
    let mut mixed = all.clone();
    let mark = mixed.pop().expect("there is one of everything");
    mixed.insert(1, mark);
    assert_eq!(refusal(mixed), BadState::Order { part: "an agent", behind: "a mark" });
    let orphans = without(&["framework", "framework that was torn down"]);
    assert_eq!(refusal(orphans), BadState::Order { part: "a task", behind: "a weight" });

    for (which, what) in [
        ("agent", "agent m-S0"),
        ("gone", "agent m-S2, which is gone"),
        ("removed", "framework m-0000, which was removed"),
        ("weight", "the weight of role eng"),
        ("live task", "task t1 of framework m-0001"),
        ("unreachable task", "task t2 of framework m-0001"),
    ] {
        assert_eq!(refusal(twice(which)), BadState::Twice(what.to_owned()));
    }
    let alive = |part: &Part| match part {
        Part::Task { place: Place::Completed, task } => Part::Task { place: Place::Live, task: task.clone() },
        part => part.clone(),
    };
    let foreign = BadState::Foreign {
        part: "task t0 of framework m-0000".to_owned(),
        framework: framework_id("m-0000"),
    };
    assert_eq!(refusal(all.iter().map(alive).collect()), foreign);

    let promises = broken(without(&["deadline"]));
    assert!(promises.contains("nobody watches agents [m-S0]"), "{promises}");
    let promises = broken(without(&["agent"]));
    assert!(promises.contains("task t1 of m-0001 is not listed by its agent m-S0"), "{promises}");
    let holds_on = |part: &Part| match part {
        Part::Task { place: Place::Live, task } => {
            let task = Task { holds: false, ..Task::clone(task) };
            Part::Task { place: Place::Live, task: task.into() }
        }
        part => part.clone(),
    };
    let promises = broken(all.iter().map(holds_on).collect());
    assert!(promises.contains("task t1 of m-0001 is TASK_RUNNING and does not hold"), "{promises}");
}

#[test]
fn equal_effects_have_one_hash_and_others_another() {
    let hash = |effects: &[Effect]| {
        let mut hasher = DefaultHasher::new();
        effects.hash(&mut hasher);
        hasher.finish()
    };
    let launching = |task: &str| {
        let mut w = World::new();
        w.agent(MACHINE);
        let framework = w.framework(&["*"]);
        w.launch(&framework, task, "cpus:1;mem:64");
        hash(&w.last)
    };
    assert_eq!(launching("t1"), launching("t1"));
    assert_ne!(launching("t1"), launching("t2"));
}
