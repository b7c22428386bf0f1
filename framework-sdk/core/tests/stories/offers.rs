use std::time::Duration;

use bourse_sdk_core::{Call, Calls, Event, FromMaster, Input, Offer, Output};
use bourse_types::TaskState::{Running, Staging};
use expect_test::expect;

use crate::world::{World, idle, offer, offer_of, one_each, subscribed, task, update};

#[test]
fn an_offer_that_nobody_answers_is_declined_for_long() {
    let mut world = World::subscribed(idle);
    world.hear(offer("o1"));
    world.check(expect![[r#"
        > Offer(Offer(o1 of a1.example: cpus:1; mem:128; ports:[31000-31009] left, 0 tasks))
        DECLINE o1 for 300s
    "#]]);
}

#[test]
fn a_task_gets_exactly_what_it_wants_and_the_rest_is_declined() {
    let mut world = World::subscribed(one_each());
    world.hear(offer("o1"));
    world.check(expect![[r#"
        > Offer(Offer(o1 of a1.example: cpus:1; mem:128; ports:[31000-31009] left, 0 tasks))
        ACCEPT o1 launch t1 (cpus:0.5; mem:32), rest not for 300s
    "#]]);
}

#[test]
fn an_offer_that_is_let_go_with_tasks_in_it_is_accepted() {
    let mut world = World::subscribed(|event, _: &mut Calls| {
        if let Event::Offer(mut offer) = event {
            offer.launch(task("t1").ports(2)).expect("there is room");
        }
    });
    world.hear(offer("o1"));
    world.check(expect![[r#"
        > Offer(Offer(o1 of a1.example: cpus:1; mem:128; ports:[31000-31009] left, 0 tasks))
        ACCEPT o1 launch t1 (cpus:0.5; mem:32; ports:[31000-31001]), rest not for 300s
    "#]]);
}

#[test]
fn an_offer_may_be_kept_for_later_and_is_then_used_or_let_go() {
    let mut kept: Vec<Offer> = Vec::new();
    let mut world = World::subscribed(move |event, calls: &mut Calls| match event {
        Event::Offer(offer) => kept.push(offer),
        Event::Message("use one") => {
            let mut offer = kept.remove(0);
            offer.launch(task("t1")).expect("there is room");
            calls.accept(offer);
        }
        Event::Message("decline one") => calls.decline(kept.remove(0), Duration::from_secs(60)),
        Event::Message("let go") => kept.clear(),
        _ => {}
    });
    for id in ["o1", "o2", "o3"] {
        world.hear(offer(id));
    }
    for message in ["use one", "decline one", "let go"] {
        world.input(Input::Message(message));
    }
    world.check(expect![[r#"
        > Offer(Offer(o1 of a1.example: cpus:1; mem:128; ports:[31000-31009] left, 0 tasks))
        > Offer(Offer(o2 of a1.example: cpus:1; mem:128; ports:[31000-31009] left, 0 tasks))
        > Offer(Offer(o3 of a1.example: cpus:1; mem:128; ports:[31000-31009] left, 0 tasks))
        > Message("use one")
        ACCEPT o1 launch t1 (cpus:0.5; mem:32), rest not for 300s
        > Message("decline one")
        DECLINE o2 for 60s
        > Message("let go")
        DECLINE o3 for 300s
    "#]]);
}

#[test]
fn a_task_on_an_offer_that_holds_no_longer_is_told_as_dropped() {
    let mut kept: Vec<Offer> = Vec::new();
    let mut n = 0;
    let mut world = World::subscribed(move |event, calls: &mut Calls| match event {
        Event::Offer(offer) => kept.push(offer),
        Event::Message("use all") => {
            for mut offer in kept.drain(..) {
                n += 1;
                offer.launch(task(&format!("t{n}"))).expect("there is room");
                calls.accept(offer);
            }
        }
        _ => {}
    });
    world.hear(offer("o1"));
    world.hear(FromMaster::Rescind("o1".parse().expect("valid")));
    world.input(Input::Message("use all"));
    world.hear(offer("o2"));
    world.closed("reset");
    world.input(Input::Message("use all"));
    world.check(expect![[r#"
        > Offer(Offer(o1 of a1.example: cpus:1; mem:128; ports:[31000-31009] left, 0 tasks))
        > Rescinded(o1)
        > Message("use all")
        > Update t1 TASK_DROPPED (the offer holds no longer; launch the task on another one)
        > Offer(Offer(o2 of a1.example: cpus:1; mem:128; ports:[31000-31009] left, 0 tasks))
        > Disconnected
        give up #1
        note: disconnected: reset; next try in 75.830078ms
        > Message("use all")
        > Update t2 TASK_DROPPED (the offer holds no longer; launch the task on another one)
    "#]]);
}

#[test]
fn an_offer_that_comes_twice_is_told_once_and_an_answered_one_is_not_rescinded() {
    let mut kept: Vec<Offer> = Vec::new();
    let mut world = World::subscribed(move |event, _: &mut Calls| {
        if let Event::Offer(offer) = event {
            kept.push(offer);
        }
    });
    world.hear(offer("o1"));
    world.hear(offer("o1"));
    world.check(expect![[r#"
        > Offer(Offer(o1 of a1.example: cpus:1; mem:128; ports:[31000-31009] left, 0 tasks))
    "#]]);

    let mut world = World::subscribed(one_each());
    world.hear(offer("o1"));
    world.hear(FromMaster::Rescind("o1".parse().expect("valid")));
    world.check(expect![[r#"
        > Offer(Offer(o1 of a1.example: cpus:1; mem:128; ports:[31000-31009] left, 0 tasks))
        ACCEPT o1 launch t1 (cpus:0.5; mem:32), rest not for 300s
    "#]]);
}

#[test]
fn two_offers_of_one_agent_are_accepted_together() {
    let mut kept: Option<Offer> = None;
    let mut world = World::subscribed(move |event, calls: &mut Calls| {
        if let Event::Offer(offer) = event {
            let Some(mut first) = kept.take() else {
                kept = Some(offer);
                return;
            };
            first.join(offer).expect("of one agent");
            first.launch(task("t1").mem_mib(200)).expect("together there is room");
            calls.accept(first);
        }
    });
    world.hear(offer("o1"));
    world.hear(offer("o2"));
    world.check(expect![[r#"
        > Offer(Offer(o1 of a1.example: cpus:1; mem:128; ports:[31000-31009] left, 0 tasks))
        > Offer(Offer(o2 of a1.example: cpus:1; mem:128; ports:[31000-31009] left, 0 tasks))
        ACCEPT o1 o2 launch t1 (cpus:0.5; mem:200), rest not for 300s
    "#]]);
}

#[test]
fn a_task_id_is_never_used_twice() {
    let mut world = World::subscribed(|event, calls: &mut Calls| {
        if let Event::Offer(mut offer) = event {
            offer.launch(task("same")).expect("there is room");
            calls.accept(offer);
        }
    });
    world.hear(offer("o1"));
    world.hear(update("same", Running, 1));
    world.say("the running task is not told anything of it");
    world.hear(offer_of("o2", "a2"));
    world.check(expect![[r#"
        > Offer(Offer(o1 of a1.example: cpus:1; mem:128; ports:[31000-31009] left, 0 tasks))
        ACCEPT o1 launch same (cpus:0.5; mem:32), rest not for 300s
        > Update same TASK_RUNNING
        ACKNOWLEDGE same on a1 01
        -- the running task is not told anything of it
        > Offer(Offer(o2 of a2.example: cpus:1; mem:128; ports:[31000-31009] left, 0 tasks))
        > Error("task same is not launched: its id was used before; take a new one from Calls::task_id")
        note: refused: task same is not launched: its id was used before; take a new one from Calls::task_id
        DECLINE o2 for 0ns
    "#]]);
}

#[test]
fn the_tasks_of_an_accept_that_the_master_refuses_are_told_as_errors() {
    let mut world = World::subscribed(one_each());
    world.hear(offer("o1"));
    let tasks = {
        let mut out = Vec::new();
        world.session.apply(world.now, Input::Heard(world.attempt(), offer("o2")), &mut out);
        out.into_iter().find_map(|output| match output {
            Output::Call(Call::Accept { tasks, .. }) => Some(tasks),
            _ => None,
        })
    }
    .expect("accepted");
    let offers = vec!["o2".parse().expect("valid")];
    let refused = Call::Accept { offers, tasks, resizes: vec![], refuse: Duration::ZERO };
    world.refused(refused, "task t2 is too large");
    world.check(expect![[r#"
        > Offer(Offer(o1 of a1.example: cpus:1; mem:128; ports:[31000-31009] left, 0 tasks))
        ACCEPT o1 launch t1 (cpus:0.5; mem:32), rest not for 300s
        > Offer(Offer(o2 of a1.example: cpus:1; mem:128; ports:[31000-31009] left, 0 tasks))
        > Error("task t2 is too large")
        > Update t2 TASK_ERROR (task t2 is too large)
        note: refused: task t2 is too large
        DECLINE o2 for 0ns
    "#]]);
}

#[test]
fn after_a_gap_old_offers_are_void_and_new_ones_of_the_same_id_are_told() {
    let mut world = World::subscribed(one_each());
    world.hear(offer("o1"));
    world.hear(update("t1", Staging, 1));
    world.closed("reset");
    world.pass(Duration::from_millis(200));
    world.hear(subscribed());
    world.hear(offer("o1"));
    world.check(expect![[r#"
        > Offer(Offer(o1 of a1.example: cpus:1; mem:128; ports:[31000-31009] left, 0 tasks))
        ACCEPT o1 launch t1 (cpus:0.5; mem:32), rest not for 300s
        ACKNOWLEDGE t1 on a1 01
        > Disconnected
        give up #1
        note: disconnected: reset; next try in 75.830078ms
        SUBSCRIBE #2 hello as f-1
        > Subscribed f-1 again=true
        note: subscribed again as f-1
        RECONCILE t1
        RECONCILE everything
        > Offer(Offer(o1 of a1.example: cpus:1; mem:128; ports:[31000-31009] left, 0 tasks))
        ACCEPT o1 launch t2 (cpus:0.5; mem:32), rest not for 300s
    "#]]);
}
