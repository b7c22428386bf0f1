use std::collections::BTreeMap;

use bourse_sdk_core::{Calls, Event, FromMaster};
use bourse_types::TaskState::Running;
use bourse_types::{Size, TaskId};
use expect_test::expect;

use crate::world::{World, offer, one_each, reconciled, update};

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
        _ => {}
    }
}

/// With an update that says what the task has.
fn sized(message: FromMaster, has: &str) -> FromMaster {
    let FromMaster::Update(mut status) = message else { panic!("an update") };
    status.size = Some(size(has));
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
    world.input(bourse_sdk_core::Input::Message("shrink"));
    world.closed("reset");
    world.input(bourse_sdk_core::Input::Message("shrink"));
    world.check(expect![[r#"
        > Offer(Offer(o1 of a1.example: cpus:1; mem:128; ports:[31000-31009] left, 0 tasks))
        ACCEPT o1 launch t1 (cpus:0.5; mem:32), rest not for 300s
        > Update t1 TASK_RUNNING
        ACKNOWLEDGE t1 on a1 01
        > Message("shrink")
        ACCEPT resize t1 (cpus:0.2; mem:32), rest not for 0ns
        > Disconnected
        give up #1
        note: disconnected: reset; next try in 75.830078ms
        > Message("shrink")
        > Update t1 TASK_RUNNING (the master cannot be reached; ask again when it can)
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
    world.input(bourse_sdk_core::Input::Message("keep"));
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
        > Update t1 TASK_RUNNING (the offer holds no longer; resize the task with another one)
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
