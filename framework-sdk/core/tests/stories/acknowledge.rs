use std::time::Duration;

use bourse_sdk_core::{Acknowledgement, Calls, Event, Input};
use bourse_types::Now;
use bourse_types::TaskState::{Finished, Lost, Running, Staging, Starting, Unknown, Unreachable};
use expect_test::expect;

use crate::world::{World, idle, offer, one_each, reconciled, subscribed, update};

#[test]
fn an_update_is_acknowledged_after_the_handler_and_after_its_writes() {
    let mut world = World::subscribed(|event, calls: &mut Calls| {
        if let Event::Update(status) = event {
            calls.suppress();
            calls.save(status.task_id.as_str(), status.state.as_str().to_owned());
        }
    });
    world.hear(update("t1", Running, 1));
    world.check(expect![[r#"
        > Update t1 TASK_RUNNING
        save t1 (12 bytes)
        SUPPRESS *
        ACKNOWLEDGE t1 on a1 01
    "#]]);
}

#[test]
fn a_repeated_update_is_acknowledged_again_and_not_shown() {
    let mut world = World::subscribed(one_each());
    world.hear(offer("o1"));
    world.hear(update("t1", Running, 1));
    world.hear(update("t1", Running, 1));
    world.hear(update("t1", Finished, 2));
    world.hear(update("t1", Finished, 2));
    world.check(expect![[r#"
        > Offer(Offer(o1 of a1.example: cpus:1; mem:128; ports:[31000-31009] left, 0 tasks))
        ACCEPT o1 launch t1 (cpus:0.5; mem:32), rest not for 300s
        > Update t1 TASK_RUNNING
        ACKNOWLEDGE t1 on a1 01
        ACKNOWLEDGE t1 on a1 01
        > Update t1 TASK_FINISHED
        ACKNOWLEDGE t1 on a1 02
        ACKNOWLEDGE t1 on a1 02
    "#]]);
}

#[test]
fn an_update_without_uuid_is_shown_and_not_acknowledged() {
    let mut world = World::subscribed(idle);
    world.hear(reconciled("t1", Running));
    world.check(expect![[r#"
        > Update t1 TASK_RUNNING
    "#]]);
}

#[test]
fn an_acknowledgement_can_be_put_off_and_is_sent_once() {
    let mut later: Option<Acknowledgement> = None;
    let mut world = World::subscribed(move |event, calls: &mut Calls| match event {
        Event::Update(_) => {
            later = calls.acknowledge_later();
            assert!(calls.acknowledge_later().is_none());
        }
        Event::Message("done") => calls.acknowledge(later.take().expect("there is one")),
        _ => {}
    });
    world.hear(update("t1", Running, 1));
    world.say("sent again meanwhile");
    world.hear(update("t1", Running, 1));
    world.input(Input::Message("done"));
    world.say("the acknowledgement was lost");
    world.hear(update("t1", Running, 1));
    world.check(expect![[r#"
        > Update t1 TASK_RUNNING
        -- sent again meanwhile
        > Message("done")
        ACKNOWLEDGE t1 on a1 01
        -- the acknowledgement was lost
        ACKNOWLEDGE t1 on a1 01
    "#]]);
}

#[test]
fn an_acknowledgement_that_is_put_off_and_given_in_the_same_handler_counts() {
    let mut world = World::subscribed(move |event, calls: &mut Calls| {
        if let (Event::Update(_), Some(later)) = (event, calls.acknowledge_later()) {
            calls.acknowledge(later);
        }
    });
    world.hear(update("t1", Running, 1));
    world.hear(update("t1", Running, 1));
    world.check(expect![[r#"
        > Update t1 TASK_RUNNING
        ACKNOWLEDGE t1 on a1 01
        ACKNOWLEDGE t1 on a1 01
    "#]]);
}

#[test]
fn states_are_shown_in_the_order_of_a_tasks_life() {
    let mut world = World::subscribed(idle);
    world.hear(update("t1", Running, 1));
    world.say("late");
    world.hear(update("t1", Starting, 2));
    world.hear(reconciled("t1", Staging));
    world.say("news of a running task, such as its health");
    world.hear(update("t1", Running, 3));
    world.hear(reconciled("t1", Unreachable));
    world.hear(update("t1", Running, 4));
    world.hear(reconciled("t1", Finished));
    world.say("the same end again, and nothing after it");
    world.hear(update("t1", Finished, 5));
    world.hear(update("t1", Running, 6));
    world.check(expect![[r#"
        > Update t1 TASK_RUNNING
        ACKNOWLEDGE t1 on a1 01
        -- late
        ACKNOWLEDGE t1 on a1 02
        -- news of a running task, such as its health
        > Update t1 TASK_RUNNING
        ACKNOWLEDGE t1 on a1 03
        > Update t1 TASK_UNREACHABLE
        > Update t1 TASK_RUNNING
        ACKNOWLEDGE t1 on a1 04
        > Update t1 TASK_FINISHED
        -- the same end again, and nothing after it
        ACKNOWLEDGE t1 on a1 05
        ACKNOWLEDGE t1 on a1 06
    "#]]);
}

#[test]
fn a_task_that_nobody_knows_is_told_so_and_may_still_turn_up() {
    let mut world = World::subscribed(idle);
    world.hear(update("t1", Running, 1));
    world.hear(reconciled("t1", Unknown));
    world.hear(update("t1", Running, 2));
    world.check(expect![[r#"
        > Update t1 TASK_RUNNING
        ACKNOWLEDGE t1 on a1 01
        > Update t1 TASK_UNKNOWN
        > Update t1 TASK_RUNNING
        ACKNOWLEDGE t1 on a1 02
    "#]]);
}

#[test]
fn a_task_that_was_told_to_be_lost_and_runs_is_killed() {
    let mut world = World::subscribed(idle);
    world.hear(update("t1", Running, 1));
    world.hear(reconciled("t1", Lost));
    world.hear(update("t1", Running, 2));
    world.hear(update("t1", Running, 2));
    world.pass(Duration::from_secs(11));
    world.hear(update("t1", Finished, 3));
    world.pass(Duration::from_secs(60));
    world.check(expect![[r#"
        > Update t1 TASK_RUNNING
        ACKNOWLEDGE t1 on a1 01
        > Update t1 TASK_LOST
        ACKNOWLEDGE t1 on a1 02
        note: task t1, reported lost, is running; killing it
        KILL t1 on a1
        ACKNOWLEDGE t1 on a1 02
        KILL t1
        ACKNOWLEDGE t1 on a1 03
    "#]]);
}

#[test]
fn two_runs_of_the_same_story_are_the_same() {
    let run = || {
        let mut world = World::new(one_each());
        let mut lines = Vec::new();
        let mut apply = |world: &mut World, input| {
            let mut out = Vec::new();
            world.session.apply(world.now, input, &mut out);
            lines.extend(out.iter().map(ToString::to_string));
        };
        apply(&mut world, Input::Start);
        for n in 1..20u64 {
            let attempt = bourse_sdk_core::Attempt(n);
            apply(&mut world, Input::Heard(attempt, subscribed()));
            apply(&mut world, Input::Heard(attempt, offer(&format!("o{n}"))));
            apply(&mut world, Input::Closed { attempt, why: "reset".into() });
            world.now = Now { mono: world.session.next_deadline().expect("it tries again"), ..world.now };
            apply(&mut world, Input::Tick);
        }
        lines
    };
    let first = run();
    assert!(first.len() > 100);
    assert_eq!(first, run());
}
