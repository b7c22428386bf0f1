use std::collections::BTreeMap;
use std::time::Duration;

use bourse_sdk_core::{Call, Calls, Event, FromMaster, Input, Resize};
use bourse_types::TaskState::{Failed, Running};
use bourse_types::{Reason, Size, TaskId};
use expect_test::expect;

use crate::world::{World, offer, one_each, reconciled, subscribed, update};

fn size(text: &str) -> Size {
    Size::of(text.parse().expect("valid"))
}

fn t1() -> TaskId {
    TaskId::new("t1").expect("valid")
}

/// An author who launches `t1` on the first offer, and gives it a whole cpu with the second.
fn grower() -> impl FnMut(Event<&'static str>, &mut Calls) {
    let mut launch = one_each();
    let mut launched = false;
    move |event, calls| match event {
        Event::Offer(mut offer) if launched => {
            let (has, wanted) = (size("cpus:0.5; mem:32").resources, size("cpus:1").resources);
            offer.resize(&t1(), &has, &wanted, BTreeMap::new()).expect("there is room");
            calls.accept(offer);
        }
        Event::Offer(offer) => {
            launched = true;
            launch(Event::Offer(offer), calls);
        }
        Event::Message("shrink") => calls.shrink(&t1(), size("cpus:0.2; mem:32")),
        Event::Message("less") => calls.shrink(&t1(), size("cpus:0.1; mem:32")),
        _ => {}
    }
}

/// With an update that says what the task has.
fn sized(message: FromMaster, has: &str) -> FromMaster {
    let FromMaster::Update(mut status) = message else { panic!("an update") };
    status.size = Some(Box::new(size(has)));
    FromMaster::Update(status)
}

#[test]
fn a_task_gains_from_an_offer_and_the_rest_is_declined() {
    let mut world = World::subscribed(grower());
    world.hear(offer("o1"));
    world.hear(update("t1", Running, 1));
    world.hear(offer("o2"));
    world.hear(sized(update("t1", Running, 2), "cpus:1; mem:32"));
    world.check(expect![[r#"
        > Offer(Offer(o1 of a1.example: cpus:1; mem:128; ports:[31000-31009] left, 0 tasks))
        ACCEPT o1 launch t1 (cpus:0.5; mem:32), rest not for 300s
        > Update t1 TASK_RUNNING
        ACKNOWLEDGE t1 on a1 01
        > Offer(Offer(o2 of a1.example: cpus:1; mem:128; ports:[31000-31009] left, 0 tasks))
        ACCEPT o2 resize t1 (cpus:1; mem:32), rest not for 300s
        > Update t1 TASK_RUNNING
        ACKNOWLEDGE t1 on a1 02
    "#]]);
}

#[test]
fn a_task_gives_up_without_an_offer_and_without_a_connection_it_is_told_that_it_does_not() {
    let mut world = World::subscribed(grower());
    world.hear(offer("o1"));
    world.hear(update("t1", Running, 1));
    world.input(Input::Message("shrink"));
    world.hear(sized(update("t1", Running, 2), "cpus:0.2; mem:32"));
    world.closed("reset");
    world.input(Input::Message("less"));
    world.check(expect![[r#"
        > Offer(Offer(o1 of a1.example: cpus:1; mem:128; ports:[31000-31009] left, 0 tasks))
        ACCEPT o1 launch t1 (cpus:0.5; mem:32), rest not for 300s
        > Update t1 TASK_RUNNING
        ACKNOWLEDGE t1 on a1 01
        > Message("shrink")
        ACCEPT resize t1 (cpus:0.2; mem:32), rest not for 0ns
        > Update t1 TASK_RUNNING
        ACKNOWLEDGE t1 on a1 02
        > Disconnected
        give up #1
        note: disconnected: reset; next try in 75.830078ms
        > Message("less")
        > ResizeFailed t1 to cpus:0.1; mem:32, it has cpus:0.2; mem:32 REASON_MASTER_DISCONNECTED (the master cannot be reached; ask again when it can)
    "#]]);
}

#[test]
fn a_resize_with_an_offer_that_holds_no_longer_is_told_as_not_done() {
    let mut kept = None;
    let mut launch = one_each();
    let mut world = World::subscribed(move |event, calls: &mut Calls| match event {
        Event::Message("keep") => kept = Some(None),
        Event::Offer(offer) if kept.is_some() => kept = Some(Some(offer)),
        Event::Rescinded(_) => {
            let mut offer = kept.take().flatten().expect("one was kept");
            let (has, wanted) = (size("cpus:0.5; mem:32").resources, size("cpus:1").resources);
            offer.resize(&t1(), &has, &wanted, BTreeMap::new()).expect("there is room");
            calls.accept(offer);
        }
        event => launch(event, calls),
    });
    world.hear(offer("o1"));
    world.hear(update("t1", Running, 1));
    world.input(Input::Message("keep"));
    world.hear(offer("o2"));
    world.hear(FromMaster::Rescind("o2".parse().expect("valid")));
    world.check(expect![[r#"
        > Offer(Offer(o1 of a1.example: cpus:1; mem:128; ports:[31000-31009] left, 0 tasks))
        ACCEPT o1 launch t1 (cpus:0.5; mem:32), rest not for 300s
        > Update t1 TASK_RUNNING
        ACKNOWLEDGE t1 on a1 01
        > Message("keep")
        > Offer(Offer(o2 of a1.example: cpus:1; mem:128; ports:[31000-31009] left, 0 tasks))
        > Rescinded(o2)
        > ResizeFailed t1 to cpus:1; mem:32 REASON_INVALID_OFFERS (the offer holds no longer; resize the task with another one)
    "#]]);
}

#[test]
fn a_reconciliation_is_shown_where_it_tells_another_size_and_only_then() {
    let mut world = World::subscribed(one_each());
    world.hear(offer("o1"));
    world.hear(update("t1", Running, 1));
    world.hear(reconciled("t1", Running));
    world.hear(sized(reconciled("t1", Running), "cpus:1; mem:32"));
    world.hear(sized(reconciled("t1", Running), "cpus:1; mem:32"));
    world.check(expect![[r#"
        > Offer(Offer(o1 of a1.example: cpus:1; mem:128; ports:[31000-31009] left, 0 tasks))
        ACCEPT o1 launch t1 (cpus:0.5; mem:32), rest not for 300s
        > Update t1 TASK_RUNNING
        ACKNOWLEDGE t1 on a1 01
        > Update t1 TASK_RUNNING
    "#]]);
}

/// The same, refused.
fn kept(message: FromMaster, has: &str, why: &str) -> FromMaster {
    let FromMaster::Update(mut status) = sized(message, has) else { panic!("an update") };
    (status.reason, status.message) = (Some(Reason::ContainerUpdateFailed), Some(why.to_owned()));
    FromMaster::Update(status)
}

/// A task that runs; the text of that is not kept.
fn running() -> World {
    let mut world = World::subscribed(grower());
    world.hear(offer("o1"));
    world.hear(update("t1", Running, 1));
    world.forget();
    world
}

#[test]
fn a_resize_that_is_refused_is_told_with_the_size_that_was_wanted_the_one_that_stays_and_the_reason() {
    let mut world = running();
    world.hear(offer("o2"));
    // What the task has by an earlier resize is no answer to this one.
    world.hear(sized(reconciled("t1", Running), "cpus:0.5; mem:32"));
    world.hear(kept(update("t1", Running, 2), "cpus:0.5; mem:32", "there is no room"));
    world.check(expect![[r#"
        > Offer(Offer(o2 of a1.example: cpus:1; mem:128; ports:[31000-31009] left, 0 tasks))
        ACCEPT o2 resize t1 (cpus:1; mem:32), rest not for 300s
        > Update t1 TASK_RUNNING
        > Update t1 TASK_RUNNING (there is no room)
        > ResizeFailed t1 to cpus:1; mem:32, it has cpus:0.5; mem:32 REASON_CONTAINER_UPDATE_FAILED (there is no room)
        ACKNOWLEDGE t1 on a1 02
    "#]]);
}

#[test]
fn a_resize_that_a_gap_swallowed_is_asked_again_without_its_offers_until_it_is_answered() {
    let mut world = running();
    world.hear(offer("o2"));
    world.closed("reset");
    world.pass(Duration::from_secs(1));
    world.forget();
    world.hear(subscribed());
    world.hear(reconciled("t1", Running));
    world.say("its agent is not back yet");
    world.pass(Duration::from_secs(11));
    world.hear(kept(update("t1", Running, 3), "cpus:0.5; mem:32", "nothing is left"));
    world.pass(Duration::from_secs(30));
    world.check(expect![[r#"
        > Subscribed f-1 again=true
        note: subscribed again as f-1
        ACCEPT resize t1 (cpus:1; mem:32), rest not for 0ns
        RECONCILE t1
        RECONCILE everything
        > Reconciled
        note: every task has been accounted for since the subscription
        -- its agent is not back yet
        ACCEPT resize t1 (cpus:1; mem:32), rest not for 0ns
        > Update t1 TASK_RUNNING (nothing is left)
        > ResizeFailed t1 to cpus:1; mem:32, it has cpus:0.5; mem:32 REASON_CONTAINER_UPDATE_FAILED (asked again without the offers of the first time: nothing is left)
        ACKNOWLEDGE t1 on a1 03
    "#]]);
}

#[test]
fn a_resize_that_was_done_while_nobody_heard_is_answered_by_the_reconciliation() {
    let mut world = running();
    world.hear(offer("o2"));
    world.closed("reset");
    world.pass(Duration::from_secs(1));
    world.hear(subscribed());
    world.forget();
    world.hear(sized(reconciled("t1", Running), "cpus:1; mem:32"));
    world.pass(Duration::from_secs(30));
    world.check(expect![[r#"
        > Update t1 TASK_RUNNING
        > Reconciled
        note: every task has been accounted for since the subscription
    "#]]);
}

#[test]
fn another_size_waits_for_the_answer_and_the_end_of_the_task_is_one() {
    let mut world = running();
    world.input(Input::Message("shrink"));
    world.input(Input::Message("shrink"));
    world.input(Input::Message("less"));
    world.hear(update("t1", Failed, 2));
    world.input(Input::Message("less"));
    world.check(expect![[r#"
        > Message("shrink")
        ACCEPT resize t1 (cpus:0.2; mem:32), rest not for 0ns
        > Message("shrink")
        > Message("less")
        > ResizeFailed t1 to cpus:0.1; mem:32 REASON_CONTAINER_UPDATE_FAILED (the task is being resized to cpus:0.2; mem:32; wait for the answer to that)
        > Update t1 TASK_FAILED
        > ResizeFailed t1 to cpus:0.2; mem:32 (the task is TASK_FAILED, and has no size any more)
        ACKNOWLEDGE t1 on a1 02
        > Message("less")
        > ResizeFailed t1 to cpus:0.1; mem:32 REASON_CONTAINER_UPDATE_FAILED (the task has ended, and has no size any more)
    "#]]);
}

#[test]
fn a_resize_in_a_call_that_the_master_refuses_fails_in_the_masters_words() {
    let mut world = running();
    world.input(Input::Message("shrink"));
    let resizes = vec![Resize { task: t1(), size: size("cpus:0.2; mem:32") }];
    let call = Call::Accept { offers: vec![], tasks: vec![], resizes, refuse: Duration::ZERO };
    world.refused(call, "too large");
    world.pass(Duration::from_secs(30));
    world.check(expect![[r#"
        > Message("shrink")
        ACCEPT resize t1 (cpus:0.2; mem:32), rest not for 0ns
        > Error("too large")
        > ResizeFailed t1 to cpus:0.2; mem:32 REASON_CONTAINER_UPDATE_FAILED (too large)
        note: refused: too large
    "#]]);
}
