use std::time::Duration;

use bourse_agent_core::{Effect, Event, FromAgent, FromMaster, LinkId};
use bourse_types::{AgentId, Epoch, Exit, MasterId};
use expect_test::expect;

use crate::world::{World, secs, spec};

#[test]
fn a_new_agent_registers_without_an_id_and_writes_down_the_one_it_gets_before_anything_else() {
    let mut world = World::fresh();
    world.tick();
    world.apply(Event::LinkOpened { link: LinkId(1) });
    world.registers(&[]);
    world.expect(expect![[r#"
        Checkpoint(Booted boot-1)
        Connect(1)
        Send(1: Register new 0)
        Checkpoint(EpochSeen 1)
        Checkpoint(Admitted S1)
        Checkpoint(Described nothing)"#]]);
}

#[test]
fn a_known_agent_registers_with_its_id_its_epoch_and_every_task_it_still_knows() {
    let mut world = World::running(spec("t1"));
    world.run(spec("t2"));
    world.launched("t2", 8);
    world.exits("t2", Exit::Code(0));
    world.skip();
    world.reconnects(&["t1", "t2"]);
    world.expect(expect![[r#"
        Connect(2)
        Send(2: Register S1 1, F/t1 TASK_RUNNING#3, F/t2 TASK_FINISHED#7 "exited with 0")
        Send(2: Update F/t2 TASK_STARTING#5, latest TASK_FINISHED)"#]]);
}

#[test]
fn what_the_master_believes_to_run_here_and_does_not_is_answered_with_dropped() {
    let mut world = World::running(spec("t1"));
    world.reconnects(&["t1", "t8"]);
    world.expect(expect![[r#"
        Connect(2)
        Send(2: Register S1 1, F/t1 TASK_RUNNING#3)
        Checkpoint(TaskForgotten F/t8)
        Send(2: Update F/t8 TASK_DROPPED#4 REASON_RECONCILIATION "the agent knows no such task; it was never launched here, or its end was acknowledged")"#]]);
    world.pass(secs(10));
    world.expect(expect![[r#"Send(2: Update F/t8 TASK_DROPPED#4 REASON_RECONCILIATION "the agent knows no such task; it was never launched here, or its end was acknowledged")"#]]);
    world.acknowledge("t8");
    world.pass(secs(1_000));
    world.expect(expect![[r#""#]]);
}

#[test]
fn a_higher_epoch_is_written_down_before_it_is_obeyed_and_a_lower_one_is_not_obeyed() {
    let mut world = World::registered();
    world.epoch = Epoch(3);
    world.run(spec("t1"));
    world.skip();
    world.epoch = Epoch(2);
    world.kill("t1", None, None);
    world.expect(expect!["CloseLink(1: the master's epoch 2 is lower than 3: it is deposed)"]);
}

#[test]
fn a_master_with_a_lower_epoch_cannot_register_the_agent() {
    let mut world = World::registered();
    world.epoch = Epoch(5);
    world.hears(FromMaster::HeartbeatAck);
    world.skip();
    world.epoch = Epoch(4);
    world.reconnects(&["t9"]);
    world.expect(expect![[r#"
        Connect(2)
        Send(2: Register S1 5)
        CloseLink(2: the master's epoch 4 is lower than 5: it is deposed)"#]]);
    assert!(!world.agent.is_registered());
}

#[test]
fn words_by_an_older_link_are_not_heard() {
    let mut world = World::running(spec("t1"));
    world.reconnects(&["t1"]);
    world.skip();
    world.apply(Event::LinkClosed { link: LinkId(1), refused: false });
    world.apply(Event::LinkOpened { link: LinkId(1) });
    let message = FromMaster::Kill { task: crate::world::key("t1"), policy: None, reason: None };
    world.apply(Event::FromMaster { link: LinkId(1), epoch: Epoch(9), message });
    world.expect(expect![[r#""#]]);
    assert!(world.agent.is_registered());
}

#[test]
fn each_failed_attempt_doubles_the_window_of_the_next_wait_up_to_a_minute() {
    let mut world = World::fresh();
    let mut windows = Vec::new();
    for attempt in 0..12_u32 {
        let next = world.agent.next_deadline().expect("an attempt is due");
        let wait = next.since(world.now.mono);
        windows.push(wait);
        let window = secs(1 << attempt.saturating_sub(1).min(6)).min(secs(60));
        assert!(wait <= window, "attempt {attempt} waited {wait:?} of {window:?}");
        world.pass(wait);
        let link = world.link();
        world.apply(Event::LinkClosed { link, refused: false });
    }
    assert!(windows.iter().any(|wait| *wait > secs(16)), "the waits grow: {windows:?}");
}

/// Passes until the next attempt, and tells how long that was.
fn next_attempt(world: &mut World) -> Duration {
    let wait = world.agent.next_deadline().expect("an attempt is due").since(world.now.mono);
    world.pass(wait);
    wait
}

/// Nobody listens in the master's place for so long. The waits between the attempts.
fn refused_for(world: &mut World, time: Duration) -> Vec<Duration> {
    let end = world.now.mono + time;
    let mut waits = Vec::new();
    while world.now.mono < end {
        waits.push(next_attempt(world));
        let link = world.link();
        world.apply(Event::LinkClosed { link, refused: true });
    }
    waits
}

#[test]
fn an_agent_whose_master_is_not_there_is_back_within_two_seconds_of_its_start_however_long_it_was_away() {
    let mut world = World::running(spec("t1"));
    let link = world.link();
    world.apply(Event::LinkClosed { link, refused: false });
    let waits = refused_for(&mut world, secs(3_600));
    // The first one follows upon a link that broke.
    let later = &waits[1..];
    assert!(later.iter().all(|wait| (secs(1)..=secs(2)).contains(wait)), "{later:?}");
    let master_is_up = world.now.mono;
    let link = world.link();
    world.pass(secs(2));
    assert!(world.link() > link, "it tries again");
    let link = world.link();
    world.apply(Event::LinkOpened { link });
    world.registers(&["t1"]);
    assert!(world.agent.is_registered() && world.now.mono.since(master_is_up) <= secs(2));

    // One that was started meanwhile is, too.
    let mut world = World::fresh();
    let waits = refused_for(&mut world, secs(3_600));
    assert!(waits.iter().all(|wait| *wait <= secs(2)), "{waits:?}");
}

#[test]
fn a_master_that_takes_connections_and_does_not_answer_is_left_alone_ever_longer() {
    let mut world = World::running(spec("t1"));
    let link = world.link();
    world.apply(Event::LinkClosed { link, refused: false });
    let mut waits = Vec::new();
    for _ in 0..12 {
        waits.push(next_attempt(&mut world));
        let link = world.link();
        world.apply(Event::LinkOpened { link });
        let patience = world.agent.next_deadline().expect("it is not waited for long").since(world.now.mono);
        world.pass(patience);
    }
    assert!(!world.agent.is_registered());
    assert!(waits.iter().any(|wait| *wait > secs(16)), "the waits grow: {waits:?}");
}

#[test]
fn an_agent_waits_as_the_master_asked_it_to() {
    for (asked, longest) in [(secs(10), secs(10)), (secs(3_600), secs(60)), (Duration::ZERO, secs(1))] {
        let mut world = World::fresh();
        world.tick();
        world.apply(Event::LinkOpened { link: LinkId(1) });
        world.hears(FromMaster::Registered {
            agent: AgentId::new("S1").expect("valid"),
            master: MasterId::new("M").expect("valid"),
            heartbeat: secs(15),
            known: vec![],
            reconnect: Some(asked),
        });
        world.apply(Event::LinkClosed { link: LinkId(1), refused: true });
        let waits = refused_for(&mut world, secs(600));
        let shortest = longest.min(asked.max(Duration::from_millis(100))) / 2;
        assert!(waits.iter().all(|wait| *wait >= shortest && *wait <= longest), "{asked:?}: {waits:?}");
    }
}

#[test]
fn a_registration_that_is_not_answered_is_given_up() {
    let mut world = World::fresh();
    world.tick();
    world.apply(Event::LinkOpened { link: LinkId(1) });
    world.skip();
    world.pass(secs(32));
    world.expect(expect![[r#"
        CloseLink(1: the master did not answer the registration in time)
        Connect(2)"#]]);
}

#[test]
fn heartbeats_go_out_at_the_masters_interval_and_a_silent_master_is_given_up() {
    let mut world = World::fresh();
    world.tick();
    world.apply(Event::LinkOpened { link: LinkId(1) });
    world.hears(FromMaster::Registered {
        agent: AgentId::new("S1").expect("valid"),
        master: MasterId::new("M").expect("valid"),
        heartbeat: secs(15),
        known: vec![],
        reconnect: None,
    });
    world.skip();
    for _ in 0..100 {
        world.pass(secs(15));
        world.hears(FromMaster::HeartbeatAck);
    }
    world.skip();
    let beats =
        world.all.iter().filter(|e| matches!(e, Effect::Send { message: FromAgent::Heartbeat, .. })).count();
    assert_eq!(beats, 100);
    world.pass(secs(75));
    world.expect(expect![[r#"
        Send(1: Heartbeat)
        Send(1: Heartbeat)
        Send(1: Heartbeat)
        Send(1: Heartbeat)
        CloseLink(1: the master was silent for 75s)"#]]);
}

#[test]
fn a_refused_agent_tries_again_later_and_keeps_its_tasks() {
    let mut world = World::running(spec("t1"));
    let link = world.link();
    world.apply(Event::LinkClosed { link, refused: false });
    world.pass(secs(2));
    let link = world.link();
    world.apply(Event::LinkOpened { link });
    world.skip();
    world.hears(FromMaster::Refused {
        reason: "BUSY".into(),
        message: "come back later".into(),
        shut_down: false,
    });
    world.pass(secs(4));
    world.expect(expect![[r#"
        CloseLink(2: the master refused: come back later)
        Connect(3)"#]]);
}
