use std::time::Duration;

use bourse_sdk_core::{Calls, Event, FromMaster, Input};
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
