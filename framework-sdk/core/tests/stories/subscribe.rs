use std::collections::BTreeSet;
use std::time::Duration;

use bourse_sdk_core::{Calls, Config, Event, FromMaster, Input, Output};
use bourse_types::{FrameworkId, Mono, Role};
use expect_test::expect;

use crate::world::{World, idle, offer, subscribed};

#[test]
fn the_id_is_durable_before_the_scheduler_hears_of_it_or_says_anything() {
    let mut world = World::new(|event, calls: &mut Calls| {
        if let Event::Subscribed { .. } = event {
            calls.revive();
        }
    });
    world.input(Input::Start);
    world.hear(subscribed());
    world.check(expect![[r#"
        SUBSCRIBE #1 hello
        > Subscribed f-1 again=false
        > Reconciled
        persist f-1
        note: subscribed as f-1
        REVIVE *
        RECONCILE everything
        note: every task has been accounted for since the subscription
    "#]]);
}

#[test]
fn a_framework_that_lived_before_comes_with_its_id_and_asks_for_its_tasks_by_name() {
    let mut config = Config::new("hello", 7);
    config.info.id = Some(FrameworkId::new("f-1").expect("valid"));
    config.tasks = vec![("t1".parse().expect("valid"), Some("a1".parse().expect("valid")))];
    let mut world = World::with(config, idle);
    world.input(Input::Start);
    world.hear(subscribed());
    world.check(expect![[r#"
        SUBSCRIBE #1 hello as f-1
        > Subscribed f-1 again=false
        note: subscribed as f-1
        RECONCILE t1
        RECONCILE everything
    "#]]);
}

#[test]
fn the_safe_defaults_are_sent_and_not_left_to_the_master() {
    let mut world = World::new(idle);
    let mut out = Vec::new();
    world.session.apply(world.now, Input::Start, &mut out);
    let [Output::Subscribe { info, .. }] = &out[..] else { panic!("{out:?}") };
    assert_eq!((info.failover_timeout, info.checkpoint), (Duration::from_secs(7 * 24 * 3600), true));
    assert_eq!(
        info.capabilities.names().collect::<Vec<_>>().join(" "),
        "PARTITION_AWARE TASK_KILLING_STATE MULTI_ROLE RESERVATION_REFINEMENT"
    );
}

#[test]
fn tries_go_on_for_ever_and_wait_twice_as_long_up_to_half_a_minute() {
    let mut world = World::new(idle);
    world.input(Input::Start);
    let mut waits = Vec::new();
    for _ in 0..12 {
        world.closed("connection refused");
        let before = world.now.mono;
        let due = world.session.next_deadline().expect("it tries again");
        waits.push(due.since(before));
        world.pass(due.since(before));
    }
    let mut whole = Duration::from_millis(100);
    for wait in waits {
        assert!(whole / 2 <= wait && wait <= whole, "{wait:?} of {whole:?}");
        whole = (whole * 2).min(Duration::from_secs(30));
    }
}

#[test]
fn a_master_that_takes_the_subscription_and_says_nothing_is_tried_again() {
    let mut world = World::new(idle);
    world.input(Input::Start);
    world.pass(Duration::from_secs(16));
    world.check(expect![[r#"
        SUBSCRIBE #1 hello
        give up #1
        note: disconnected: the master did not answer the subscription within 15s; next try in 75.830078ms
        SUBSCRIBE #2 hello
    "#]]);
}

#[test]
fn what_an_older_subscription_still_says_is_dropped() {
    let mut world = World::subscribed(idle);
    let old = world.attempt();
    world.closed("reset");
    world.pass(Duration::from_secs(1));
    world.input(Input::Heard(old, offer("o1")));
    world.input(Input::Closed { attempt: old, why: "late".into() });
    world.hear(subscribed());
    world.input(Input::Heard(old, FromMaster::Error("late".into())));
    world.check(expect![[r#"
        > Disconnected
        give up #1
        note: disconnected: reset; next try in 75.830078ms
        SUBSCRIBE #2 hello as f-1
        > Subscribed f-1 again=true
        > Reconciled
        note: subscribed again as f-1
        RECONCILE everything
        note: every task has been accounted for since the subscription
    "#]]);
}

#[test]
fn a_framework_that_the_master_does_not_want_ends_with_the_masters_words() {
    let mut world = World::subscribed(idle);
    world.hear(FromMaster::Error("framework f-1 was removed".into()));
    world.input(Input::Tick);
    world.hear(offer("o1"));
    world.check(expect![[r#"
        > Error("framework f-1 was removed")
        note: refused: framework f-1 was removed
        end: refused by the master: framework f-1 was removed
    "#]]);
    assert_eq!(world.session.next_deadline(), None);
}

#[test]
fn suppressed_roles_stay_suppressed_over_a_gap_and_a_change_in_between_is_not_lost() {
    let mut config = Config::new("hello", 7);
    config.info.roles = vec![Role::new("a").expect("valid"), Role::new("b").expect("valid")];
    config.suppressed = BTreeSet::from([Role::new("a").expect("valid")]);
    let mut world = World::with(config, |event, calls: &mut Calls| match event {
        Event::Message("suppress") => calls.suppress(),
        Event::Message("revive b") => calls.revive_roles(vec![Role::new("b").expect("valid")]),
        _ => {}
    });
    world.input(Input::Start);
    world.hear(subscribed());
    world.say("only what is new is said");
    world.input(Input::Message("suppress"));
    world.input(Input::Message("suppress"));
    world.closed("reset");
    world.say("asked for while the SUBSCRIBE is under way");
    world.pass(Duration::from_millis(200));
    world.input(Input::Message("revive b"));
    world.hear(subscribed());
    world.check(expect![[r#"
        SUBSCRIBE #1 hello without offers for a
        > Subscribed f-1 again=false
        > Reconciled
        persist f-1
        note: subscribed as f-1
        RECONCILE everything
        note: every task has been accounted for since the subscription
        -- only what is new is said
        > Message("suppress")
        SUPPRESS b
        > Message("suppress")
        > Disconnected
        give up #1
        note: disconnected: reset; next try in 75.830078ms
        -- asked for while the SUBSCRIBE is under way
        SUBSCRIBE #2 hello as f-1 without offers for a b
        > Message("revive b")
        > Subscribed f-1 again=true
        > Reconciled
        note: subscribed again as f-1
        REVIVE b
        RECONCILE everything
        note: every task has been accounted for since the subscription
    "#]]);
}

#[test]
fn a_role_that_the_framework_does_not_have_is_left_aside_and_is_not_in_the_next_subscription() {
    let nobodys = || vec![Role::new("nobody").expect("valid")];
    let mut world = World::subscribed(move |event, calls: &mut Calls| match event {
        Event::Message("suppress") => calls.suppress_roles(nobodys()),
        Event::Message("revive") => calls.revive_roles(nobodys()),
        _ => {}
    });
    world.input(Input::Message("revive"));
    world.input(Input::Message("suppress"));
    world.closed("reset");
    world.pass(Duration::from_millis(200));
    world.check(expect![[r#"
        > Message("revive")
        > Message("suppress")
        > Disconnected
        give up #1
        note: disconnected: reset; next try in 75.830078ms
        SUBSCRIBE #2 hello as f-1
    "#]]);
}

#[test]
fn a_deadline_of_the_author_is_told_once_it_has_passed() {
    let mut world = World::subscribed(idle);
    world.author().deadline = Some(world.now.mono + Duration::from_secs(5));
    world.pass(Duration::from_millis(4_999));
    world.check(expect![]);
    world.pass(Duration::from_millis(1));
    world.check(expect![[r#"
        > Deadline
    "#]]);
}

#[test]
fn a_deadline_that_is_never_moved_on_is_told_a_hundred_times_a_second_and_no_more() {
    let mut world = World::subscribed(idle);
    let end = world.now.mono + Duration::from_secs(1);
    let mut told = 0;
    while world.now.mono < end {
        world.author().deadline = Some(Mono::ZERO);
        let due = world.session.next_deadline().expect("it has passed already");
        world.pass(due.since(world.now.mono).max(Duration::from_nanos(1)));
        told += 1;
    }
    assert!((99..=102).contains(&told), "told {told} times");
}
