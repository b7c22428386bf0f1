//! Whose turn it is.

use bourse_master_core::event::Command;
use bourse_types::Milli;
use expect_test::expect;

use crate::world::*;

/// Frameworks in these roles subscribe, then ten agents of one cpu come. How many offers each holds.
fn split(w: &mut World, roles: &[&str]) -> Vec<usize> {
    let frameworks: Vec<Sub> = roles.iter().map(|role| w.framework(&[role])).collect();
    for _ in 0..12 {
        w.agent("cpus:1;mem:100");
        w.settle();
    }
    frameworks.iter().map(|framework| w.offers_of(framework).len()).collect()
}

#[test]
fn equal_frameworks_get_equal_shares() {
    assert_eq!(split(&mut World::new(), &["*", "*", "*"]), [4, 4, 4]);
}

#[test]
fn roles_share_first_and_then_the_frameworks_in_them() {
    assert_eq!(split(&mut World::new(), &["a", "b", "b"]), [6, 3, 3]);
}

#[test]
fn the_children_of_a_role_share_what_the_role_gets() {
    assert_eq!(split(&mut World::new(), &["ops", "eng/web", "eng/api"]), [6, 3, 3]);
}

#[test]
fn the_frameworks_of_a_role_itself_compete_with_its_children() {
    assert_eq!(split(&mut World::new(), &["eng", "eng/web"]), [6, 6]);
}

#[test]
fn a_role_that_weighs_twice_as_much_gets_twice_as_much() {
    let mut w = World::new();
    w.apply(operate(Command::SetWeight { role: role("a"), weight: Milli::whole(2) }));
    assert_eq!(split(&mut w, &["a", "b"]), [8, 4]);
}

#[test]
fn a_new_weight_rescinds_what_was_offered_by_the_old_one() {
    let mut w = World::new();
    w.agent(MACHINE);
    w.framework(&["a"]);
    w.check(
        operate(Command::SetWeight { role: role("a"), weight: Milli::whole(2) }),
        expect![[r#"
        persist role a weighs 2
        m-0000@1 <- Rescind m-O0
        reply WeightSet
        m-0000@1 <- Offers m-O1 (m-S0 a cpus:4; mem:1024; ports:[31000-31009])
    "#]],
    );
    w.check(
        operate(Command::SetWeight { role: role("a"), weight: Milli::whole(2) }),
        expect![[r#"
        reply WeightSet
    "#]],
    );
    w.check(
        operate(Command::SetWeight { role: role("a"), weight: Milli::ZERO }),
        expect![[r#"
        refuse Invalid("the weight is 0; it must be from 0.001 to 1000000")
    "#]],
    );
}

#[test]
fn the_share_is_that_of_the_dominant_resource() {
    let mut w = World::new();
    // Most of the memory and few cpus for one, most of the cpus and little memory for the other.
    w.agent("cpus:1;mem:900");
    let memory = w.framework(&["*"]);
    w.agent("cpus:8;mem:100");
    w.settle();
    let both = w.framework(&["*"]);
    let offers = w.offers_of(&memory);
    assert_eq!(offers.len(), 2, "the only one got all");
    w.apply(memory.decline(&[&offers[1]], secs(3600)));
    w.settle();
    let view = w.view();
    let (memory, cpus) = (view.framework_picture(&memory.id), view.framework_picture(&both.id));
    let (memory, cpus) = (memory.expect("subscribed"), cpus.expect("subscribed"));
    assert_eq!((memory.dominant.expect("holds").to_string(), memory.share), ("mem".to_owned(), 0.9));
    assert_eq!((cpus.dominant.expect("holds").to_string(), cpus.share), ("cpus".to_owned(), 8.0 / 9.0));
}

#[test]
fn a_framework_that_got_nothing_in_a_pass_can_tell_why() {
    let mut w = World::new();
    let (agent, _) = w.agent(MACHINE);
    let first = w.framework(&["*"]);
    let second = w.framework(&["*"]);
    let offer = w.offer_of(&first);
    w.apply(first.decline(&[&offer], secs(3600)));
    w.settle();
    let offer = w.offer_of(&second);
    w.apply(
        second.accept(&[&offer], vec![task_info("t", &agent, "cpus:3.995;mem:1000;ports:[31000-31009]")]),
    );
    w.pass(secs(6));
    let view = w.view();
    let counts = |sub: &Sub| format!("{:?}", view.framework(&sub.id).expect("subscribed").unserved);
    expect![[r#"
        {TooSmall: 2, Share: 2}
        {TooSmall: 2, Share: 1}
    "#]]
    .assert_eq(&format!("{}\n{}\n", counts(&first), counts(&second)));
}
