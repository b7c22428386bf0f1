use std::time::Duration;

use bourse_agent_core::{Effect, FromAgent};
use bourse_types::Exit;
use expect_test::expect;

use crate::world::{World, checked, key, secs, spec};

#[test]
fn an_update_is_sent_again_after_ten_seconds_then_doubling_to_ten_minutes() {
    let mut world = World::registered();
    world.run(spec("t1"));
    world.skip();
    let mut waits = Vec::new();
    let mut last = world.now.mono;
    while waits.len() < 9 {
        let next = world.agent.next_deadline().expect("a retry is due");
        world.pass(next.since(world.now.mono));
        waits.push(world.now.mono.since(last).as_secs());
        last = world.now.mono;
    }
    assert_eq!(waits, [10, 20, 40, 80, 160, 320, 600, 600, 600]);
    world.skip();
    let sent = world
        .all
        .iter()
        .filter(|effect| matches!(effect, Effect::Send { message: FromAgent::Update(_), .. }));
    assert_eq!(sent.count(), 10, "the same update each time");
}

#[test]
fn the_next_update_waits_for_the_acknowledgement_of_the_one_before() {
    let mut world = World::registered();
    world.run(spec("t1"));
    world.launched("t1", 7);
    world.skip();
    world.pass(secs(9));
    world.expect(expect![[r#""#]]);
    world.acknowledge("t1");
    world.expect(expect![[r#"
        Checkpoint(UpdateAcknowledged F/t1)
        Send(1: Update F/t1 TASK_RUNNING#3)"#]]);
}

#[test]
fn an_acknowledgement_that_comes_twice_or_for_another_update_changes_nothing() {
    let mut world = World::registered();
    world.run(spec("t1"));
    world.launched("t1", 7);
    let first = world.in_flight("t1").expect("sent");
    world.acknowledge("t1");
    world.skip();
    world.hears(bourse_agent_core::FromMaster::Acknowledge { task: key("t1"), uuid: first });
    world.hears(bourse_agent_core::FromMaster::Acknowledge { task: key("t1"), uuid: [9; 16] });
    world.hears(bourse_agent_core::FromMaster::Acknowledge { task: key("t9"), uuid: first });
    world.expect(expect![[r#""#]]);
}

#[test]
fn without_a_master_nothing_is_sent_and_everything_is_sent_in_order_once_one_is_back() {
    let mut world = World::registered();
    world.run(spec("t1"));
    let link = world.link();
    world.apply(bourse_agent_core::Event::LinkClosed { link, refused: false });
    world.skip();
    world.launched("t1", 7);
    world.exits("t1", Exit::Code(0));
    world.expect(expect![[r#"
        Checkpoint(TaskStarted F/t1 pid 7)
        Checkpoint(UpdateMade F/t1 TASK_RUNNING#3)
        Checkpoint(UpdateMade F/t1 TASK_FINISHED#4 "exited with 0")
        Destroy(c1)"#]]);
    world.pass(secs(2));
    let link = world.link();
    world.apply(bourse_agent_core::Event::LinkOpened { link });
    world.registers(&["t1"]);
    world.acknowledge("t1");
    world.acknowledge("t1");
    world.acknowledge("t1");
    world.expect(expect![[r#"
        Connect(2)
        Send(2: Register S1 1, F/t1 TASK_FINISHED#4 "exited with 0")
        Send(2: Update F/t1 TASK_STARTING#2, latest TASK_FINISHED)
        Checkpoint(UpdateAcknowledged F/t1)
        Send(2: Update F/t1 TASK_RUNNING#3, latest TASK_FINISHED)
        Checkpoint(UpdateAcknowledged F/t1)
        Send(2: Update F/t1 TASK_FINISHED#4 "exited with 0")
        Checkpoint(UpdateAcknowledged F/t1)
        Checkpoint(TaskForgotten F/t1)
        Checkpoint(FrameworkForgotten F)"#]]);
}

#[test]
fn the_last_acknowledgement_of_a_frameworks_last_task_forgets_both() {
    let mut world = World::running(spec("t1"));
    world.exits("t1", Exit::Code(0));
    world.skip();
    world.acknowledge("t1");
    world.expect(expect![[r#"
        Checkpoint(UpdateAcknowledged F/t1)
        Checkpoint(TaskForgotten F/t1)
        Checkpoint(FrameworkForgotten F)"#]]);
    assert!(world.agent.state().tasks.is_empty() && world.agent.state().frameworks.is_empty());
}

#[test]
fn health_that_changes_while_the_master_is_away_does_not_fill_the_queue() {
    let mut world = World::running(checked("t1"));
    let link = world.link();
    world.apply(bourse_agent_core::Event::LinkClosed { link, refused: false });
    for round in 1..100 {
        world.tick();
        world.probed("t1", round, if round % 2 == 0 { Ok(()) } else { Err("refused") });
        world.pass(Duration::from_secs(10));
        let queue = &world.agent.state().tasks[&key("t1")].unacknowledged;
        assert!(queue.len() <= 2, "{} updates wait", queue.len());
    }
    let latest = world.agent.state().tasks[&key("t1")].latest.clone().expect("told");
    assert_eq!(latest.healthy, Some(false), "the newest word is the one that waits");
}
