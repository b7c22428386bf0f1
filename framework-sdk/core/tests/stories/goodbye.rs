use std::time::Duration;

use bourse_sdk_core::{Calls, Config, Event, FromMaster, Input};
use bourse_types::TaskState::Finished;
use expect_test::expect;

use crate::world::{World, idle, offer, subscribed, update};

#[test]
fn the_last_update_is_acknowledged_before_the_framework_is_torn_down() {
    let mut world = World::subscribed(|event, calls: &mut Calls| {
        if let Event::Update(_) = event {
            calls.teardown();
        }
    });
    world.hear(update("t1", Finished, 1));
    world.say("nothing more is told");
    world.hear(offer("o1"));
    world.input(Input::TornDown(world.attempt()));
    world.check(expect![[r#"
        > Update t1 TASK_FINISHED
        ACKNOWLEDGE t1 on a1 01
        TEARDOWN
        -- nothing more is told
        end: torn down
    "#]]);
}

#[test]
fn a_framework_that_was_torn_down_while_it_was_away_begins_anew_if_it_wants_to() {
    let gone =
        || FromMaster::Error("Framework has been removed; subscribe without an id to start a new one".into());
    let mut config = Config::new("hello", 7);
    config.info.id = Some("f-0".parse().expect("valid"));
    config.tasks = vec![("t1".parse().expect("valid"), Some("a1".parse().expect("valid")))];
    let mut world = World::with(config.clone(), idle);
    world.input(Input::Start);
    world.hear(gone());
    world.say("and if it does");
    world.check(expect![[r#"
        SUBSCRIBE #1 hello as f-0
        > Error("Framework has been removed; subscribe without an id to start a new one")
        note: refused: Framework has been removed; subscribe without an id to start a new one
        end: refused by the master: Framework has been removed; subscribe without an id to start a new one
        -- and if it does
    "#]]);
    config.begin_anew = true;
    let mut world = World::with(config, idle);
    world.input(Input::Start);
    world.hear(gone());
    world.hear(subscribed());
    world.say("torn down while it is there, it is not wanted any more");
    world.hear(gone());
    world.check(expect![[r#"
        SUBSCRIBE #1 hello as f-0
        > Update t1 TASK_GONE (its framework was torn down)
        note: framework f-0 was torn down; beginning anew
        give up #1
        SUBSCRIBE #2 hello
        > Subscribed f-1 again=false
        > Reconciled
        persist f-1
        note: subscribed as f-1
        RECONCILE everything
        note: every task has been accounted for since the subscription
        -- torn down while it is there, it is not wanted any more
        > Error("Framework has been removed; subscribe without an id to start a new one")
        note: refused: Framework has been removed; subscribe without an id to start a new one
        end: refused by the master: Framework has been removed; subscribe without an id to start a new one
    "#]]);
}

#[test]
fn stop_ends_the_session_and_leaves_the_framework() {
    let mut world = World::subscribed(|event, calls: &mut Calls| {
        if let Event::Update(_) = event {
            calls.stop();
        }
    });
    world.hear(update("t1", Finished, 1));
    world.check(expect![[r#"
        > Update t1 TASK_FINISHED
        ACKNOWLEDGE t1 on a1 01
        end: stopped
    "#]]);
    assert_eq!(world.session.next_deadline(), None);
}

#[test]
fn a_teardown_without_a_connection_waits_for_one_and_is_repeated_until_it_is_taken() {
    let mut world = World::subscribed(idle);
    world.closed("reset");
    world.input(Input::Teardown);
    world.pass(Duration::from_millis(100));
    world.hear(subscribed());
    world.closed("reset");
    world.pass(Duration::from_millis(200));
    world.say("the master took the first one");
    world.hear(FromMaster::Error("framework f-1 was removed".into()));
    world.check(expect![[r#"
        > Disconnected
        give up #1
        note: disconnected: reset; next try in 75.830078ms
        SUBSCRIBE #2 hello as f-1
        TEARDOWN
        give up #2
        note: disconnected: reset; next try in 150.878906ms
        SUBSCRIBE #3 hello as f-1
        -- the master took the first one
        end: torn down
    "#]]);
}

#[test]
fn a_framework_that_never_was_subscribed_has_nothing_to_tear_down() {
    let mut world = World::new(idle);
    world.input(Input::Start);
    world.input(Input::Teardown);
    world.check(expect![[r#"
        SUBSCRIBE #1 hello
        end: torn down
    "#]]);
}

#[test]
fn an_offer_that_comes_after_the_goodbye_of_the_same_moment_is_not_told() {
    let mut world = World::subscribed(|event, calls: &mut Calls| {
        if let Event::Offer(_) = event {
            calls.stop();
        }
    });
    let (FromMaster::Offers(mut both), FromMaster::Offers(more)) = (offer("o1"), offer("o2")) else {
        panic!("both are offers")
    };
    both.extend(more);
    world.hear(FromMaster::Offers(both));
    world.check(expect![[r#"
        > Offer(Offer(o1 of a1.example: cpus:1; mem:128; ports:[31000-31009] left, 0 tasks))
        DECLINE o1 for 300s
        DECLINE o2 for 300s
        end: stopped
    "#]]);
}
