use std::time::Duration;

use bourse_sdk_core::{Calls, Event, FromMaster, Input};
use bourse_types::TaskState::{Finished, Gone, Running, Unreachable};
use expect_test::expect;

use crate::world::{World, idle, offer, one_each, reconciled, subscribed, update};

#[test]
fn after_a_gap_the_framework_comes_back_with_its_id_and_every_task_is_asked_for() {
    let mut world = World::subscribed(one_each());
    world.hear(offer("o1"));
    world.hear(offer("o2"));
    world.hear(update("t1", Running, 1));
    world.closed("connection reset");
    world.pass(Duration::from_millis(100));
    world.hear(subscribed());
    world.say("the first runs on, the second never reached its agent");
    world.hear(reconciled("t1", Running));
    world.hear(reconciled("t2", Gone));
    world.check(expect![[r#"
        > Offer(Offer(o1 of a1.example: cpus:1; mem:128; ports:[31000-31009] left, 0 tasks))
        ACCEPT o1 launch t1 (cpus:0.5; mem:32), rest not for 300s
        > Offer(Offer(o2 of a1.example: cpus:1; mem:128; ports:[31000-31009] left, 0 tasks))
        ACCEPT o2 launch t2 (cpus:0.5; mem:32), rest not for 300s
        > Update t1 TASK_RUNNING
        ACKNOWLEDGE t1 on a1 01
        > Disconnected
        give up #1
        note: disconnected: connection reset; next try in 75.830078ms
        SUBSCRIBE #2 hello as f-1
        > Subscribed f-1 again=true
        note: subscribed again as f-1
        RECONCILE t1 t2
        RECONCILE everything
        -- the first runs on, the second never reached its agent
        > Update t2 TASK_GONE
        > Reconciled
        note: every task has been accounted for since the subscription
    "#]]);
}

#[test]
fn five_missed_heartbeats_are_a_gap_and_anything_heard_is_a_heartbeat() {
    let mut world = World::subscribed(idle);
    for _ in 0..3 {
        world.pass(Duration::from_secs(60));
        world.hear(FromMaster::Heartbeat);
        world.pass(Duration::from_secs(60));
        world.hear(offer("o1"));
    }
    world.check(expect![[r#"
        > Offer(Offer(o1 of a1.example: cpus:1; mem:128; ports:[31000-31009] left, 0 tasks))
        DECLINE o1 for 300s
        > Offer(Offer(o1 of a1.example: cpus:1; mem:128; ports:[31000-31009] left, 0 tasks))
        DECLINE o1 for 300s
        > Offer(Offer(o1 of a1.example: cpus:1; mem:128; ports:[31000-31009] left, 0 tasks))
        DECLINE o1 for 300s
    "#]]);
    world.pass(Duration::from_secs(74));
    world.check(expect![]);
    world.pass(Duration::from_secs(2));
    world.check(expect![[r#"
        > Disconnected
        give up #1
        note: disconnected: nothing was heard of the master for 75s; next try in 75.830078ms
        SUBSCRIBE #2 hello as f-1
    "#]]);
}

#[test]
fn tasks_that_the_master_is_silent_about_are_asked_for_again() {
    let mut world = World::subscribed(one_each());
    world.hear(offer("o1"));
    world.hear(offer("o2"));
    world.closed("reset");
    world.pass(Duration::from_millis(100));
    world.hear(subscribed());
    world.hear(reconciled("t1", Running));
    world.check(expect![[r#"
        > Offer(Offer(o1 of a1.example: cpus:1; mem:128; ports:[31000-31009] left, 0 tasks))
        ACCEPT o1 launch t1 (cpus:0.5; mem:32), rest not for 300s
        > Offer(Offer(o2 of a1.example: cpus:1; mem:128; ports:[31000-31009] left, 0 tasks))
        ACCEPT o2 launch t2 (cpus:0.5; mem:32), rest not for 300s
        > Disconnected
        give up #1
        note: disconnected: reset; next try in 75.830078ms
        SUBSCRIBE #2 hello as f-1
        > Subscribed f-1 again=true
        note: subscribed again as f-1
        RECONCILE t1 t2
        RECONCILE everything
        > Update t1 TASK_RUNNING
    "#]]);
    world.pass(Duration::from_secs(10));
    world.say("twice the time");
    world.pass(Duration::from_secs(21));
    world.hear(update("t2", Running, 2));
    world.say("all told: nothing more to ask");
    world.pass(Duration::from_secs(40));
    world.check(expect![[r#"
        RECONCILE t2
        -- twice the time
        RECONCILE t2
        > Update t2 TASK_RUNNING
        > Reconciled
        ACKNOWLEDGE t2 on a1 02
        note: every task has been accounted for since the subscription
        -- all told: nothing more to ask
    "#]]);
}

#[test]
fn a_task_whose_agent_was_unreachable_when_it_was_asked_for_is_asked_for_until_more_is_known() {
    let mut world = World::subscribed(one_each());
    world.hear(offer("o1"));
    world.closed("reset");
    world.pass(Duration::from_millis(100));
    world.hear(subscribed());
    world.hear(reconciled("t1", Unreachable));
    world.check(expect![[r#"
        > Offer(Offer(o1 of a1.example: cpus:1; mem:128; ports:[31000-31009] left, 0 tasks))
        ACCEPT o1 launch t1 (cpus:0.5; mem:32), rest not for 300s
        > Disconnected
        give up #1
        note: disconnected: reset; next try in 75.830078ms
        SUBSCRIBE #2 hello as f-1
        > Subscribed f-1 again=true
        note: subscribed again as f-1
        RECONCILE t1
        RECONCILE everything
        > Update t1 TASK_UNREACHABLE
        > Reconciled
        note: every task has been accounted for since the subscription
    "#]]);
    world.pass(Duration::from_secs(10));
    world.hear(reconciled("t1", Unreachable));
    world.say("its agent is back, and has never heard of it");
    world.pass(Duration::from_secs(21));
    world.hear(reconciled("t1", Gone));
    world.say("nothing more to ask");
    world.pass(Duration::from_secs(50));
    world.check(expect![[r#"
        RECONCILE t1
        -- its agent is back, and has never heard of it
        RECONCILE t1
        > Update t1 TASK_GONE
        -- nothing more to ask
    "#]]);
}

#[test]
fn a_task_that_has_ended_is_not_asked_for_where_the_master_takes_it_for_unreachable() {
    let mut world = World::subscribed(one_each());
    world.hear(offer("o1"));
    world.hear(update("t1", Finished, 1));
    world.forget();
    world.hear(reconciled("t1", Unreachable));
    world.pass(Duration::from_secs(60));
    world.check(expect![]);
}

#[test]
fn now_and_then_everything_is_asked_for_without_a_reason() {
    let mut world = World::subscribed(one_each());
    world.hear(offer("o1"));
    world.check(expect![[r#"
        > Offer(Offer(o1 of a1.example: cpus:1; mem:128; ports:[31000-31009] left, 0 tasks))
        ACCEPT o1 launch t1 (cpus:0.5; mem:32), rest not for 300s
    "#]]);
    // With heartbeats, or it would be a gap.
    for _ in 0..61 {
        world.pass(Duration::from_secs(15));
        world.hear(FromMaster::Heartbeat);
    }
    world.check(expect![[r#"
        RECONCILE t1
        RECONCILE everything
        RECONCILE t1
    "#]]);
}

#[test]
fn what_is_revived_is_revived_again_after_a_gap() {
    let mut world = World::subscribed(|event, calls: &mut Calls| {
        if let Event::Message("work") = event {
            calls.revive();
        }
    });
    world.input(Input::Message("work"));
    world.closed("reset");
    world.pass(Duration::from_millis(100));
    world.hear(subscribed());
    world.check(expect![[r#"
        > Message("work")
        REVIVE *
        > Disconnected
        give up #1
        note: disconnected: reset; next try in 75.830078ms
        SUBSCRIBE #2 hello as f-1
        > Subscribed f-1 again=true
        > Reconciled
        note: subscribed again as f-1
        REVIVE *
        RECONCILE everything
        note: every task has been accounted for since the subscription
    "#]]);
}

#[test]
fn a_connection_that_breaks_at_once_each_time_is_not_tried_ever_faster() {
    let mut world = World::new(idle);
    world.input(Input::Start);
    let mut waits = Vec::new();
    for _ in 0..8 {
        world.hear(subscribed());
        world.closed("reset");
        let due = world.session.next_deadline().expect("it tries again");
        waits.push(due.since(world.now.mono));
        world.pass(due.since(world.now.mono));
    }
    assert!(waits[7] > Duration::from_secs(5), "{waits:?}");
    world.hear(subscribed());
    world.pass(Duration::from_secs(31));
    world.closed("reset");
    let due = world.session.next_deadline().expect("it tries again");
    assert!(due.since(world.now.mono) <= Duration::from_millis(100));
}
