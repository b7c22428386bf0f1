use std::time::Duration;

use bourse_sdk_core::{Calls, Event, Input};
use bourse_types::KillPolicy;
use bourse_types::TaskState::{Killed, Killing, Running, Unknown};
use expect_test::expect;

use crate::world::{World, reconciled, subscribed, update};

fn killer() -> World {
    World::subscribed(|event, calls: &mut Calls| match event {
        Event::Message("kill") => calls.kill(&"t1".parse().expect("valid")),
        Event::Message("kill now") => {
            calls.kill_with(&"t1".parse().expect("valid"), KillPolicy { grace: Some(Duration::ZERO) });
        }
        _ => {}
    })
}

#[test]
fn a_kill_is_repeated_until_the_task_has_ended() {
    let mut world = killer();
    world.hear(update("t1", Running, 1));
    world.input(Input::Message("kill"));
    world.input(Input::Message("kill"));
    world.pass(Duration::from_secs(35));
    world.hear(update("t1", Killing, 2));
    world.hear(update("t1", Killed, 3));
    world.pass(Duration::from_secs(39));
    world.say("what has ended is not killed");
    world.input(Input::Message("kill"));
    world.check(expect![[r#"
        > Update t1 TASK_RUNNING
        ACKNOWLEDGE t1 on a1 01
        > Message("kill")
        KILL t1 on a1
        > Message("kill")
        KILL t1 on a1
        KILL t1 on a1
        > Update t1 TASK_KILLING
        ACKNOWLEDGE t1 on a1 02
        > Update t1 TASK_KILLED
        ACKNOWLEDGE t1 on a1 03
        -- what has ended is not killed
        > Message("kill")
    "#]]);
}

#[test]
fn a_kill_with_another_grace_is_sent_at_once() {
    let mut world = killer();
    world.hear(update("t1", Running, 1));
    world.input(Input::Message("kill"));
    world.input(Input::Message("kill now"));
    world.check(expect![[r#"
        > Update t1 TASK_RUNNING
        ACKNOWLEDGE t1 on a1 01
        > Message("kill")
        KILL t1 on a1
        > Message("kill now")
        KILL t1 on a1 with 0ns of grace
    "#]]);
}

#[test]
fn a_kill_survives_a_gap_and_ends_when_nobody_knows_the_task() {
    let mut world = killer();
    world.closed("reset");
    world.input(Input::Message("kill"));
    world.pass(Duration::from_millis(100));
    world.hear(subscribed());
    world.hear(reconciled("t1", Unknown));
    world.pass(Duration::from_secs(60));
    world.check(expect![[r#"
        > Disconnected
        give up #1
        note: disconnected: reset; next try in 75.830078ms
        > Message("kill")
        SUBSCRIBE #2 hello as f-1
        > Subscribed f-1 again=true
        > Reconciled
        note: subscribed again as f-1
        KILL t1
        RECONCILE everything
        note: every task has been accounted for since the subscription
        > Update t1 TASK_UNKNOWN
    "#]]);
}
