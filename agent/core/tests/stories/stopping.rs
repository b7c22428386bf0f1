use bourse_agent_core::{Event, FromMaster};
use bourse_types::{Exit, KillPolicy, TaskSpec};
use expect_test::expect;

use crate::world::{World, secs, spec};

#[test]
fn a_stopping_agent_kills_its_tasks_with_a_capped_grace_and_exits_when_the_master_knows() {
    let mut world =
        World::running(TaskSpec { kill_policy: KillPolicy { grace: Some(secs(600)) }, ..spec("t1") });
    world.apply(Event::Stop { cap: secs(3) });
    world.run(spec("t2"));
    world.expect(expect![[r#"
        Checkpoint(KillBegun F/t1 AgentStops left 3s of 3s)
        Checkpoint(UpdateMade F/t1 TASK_KILLING#4 REASON_AGENT_REMOVED)
        Send(1: Update F/t1 TASK_KILLING#4 REASON_AGENT_REMOVED)
        Signal(c1 Term)
        Checkpoint(TaskForgotten F/t2)
        Send(1: Update F/t2 TASK_DROPPED#5 REASON_AGENT_DISCONNECTED "the agent is stopping and launches nothing any more; launch the task on another one")"#]]);
    world.acknowledge("t1");
    world.acknowledge("t2");
    world.exits("t1", Exit::Signal(15));
    world.expect(expect![[r#"
        Checkpoint(UpdateAcknowledged F/t1)
        Checkpoint(UpdateMade F/t1 TASK_GONE#6 REASON_AGENT_REMOVED "the agent stops; killed by SIGTERM (15)")
        Send(1: Update F/t1 TASK_GONE#6 REASON_AGENT_REMOVED "the agent stops; killed by SIGTERM (15)")
        Destroy(c1)"#]]);
    world.acknowledge("t1");
    world.expect(expect![[r#"
        Checkpoint(UpdateAcknowledged F/t1)
        Checkpoint(TaskForgotten F/t1)
        Checkpoint(FrameworkForgotten F)
        Exit"#]]);
}

#[test]
fn a_stopping_agent_does_not_wait_for_a_master_that_does_not_answer() {
    let mut world = World::running(spec("t1"));
    world.apply(Event::Stop { cap: secs(3) });
    world.exits("t1", Exit::Signal(15));
    world.skip();
    world.pass(secs(1));
    world.expect(expect!["Exit"]);
}

#[test]
fn an_agent_without_tasks_exits_at_once() {
    let mut world = World::registered();
    world.apply(Event::Stop { cap: secs(3) });
    world.expect(expect!["Exit"]);
    world.apply(Event::Stop { cap: secs(3) });
    world.pass(secs(10_000));
    world.expect(expect![[r#""#]]);
}

#[test]
fn an_agent_that_was_marked_gone_kills_its_tasks_and_exits_with_the_reason() {
    let mut world = World::running(spec("t1"));
    let link = world.link();
    world.apply(Event::LinkClosed { link, refused: false });
    world.pass(secs(2));
    let link = world.link();
    world.apply(Event::LinkOpened { link });
    world.skip();
    let message = "agent S1 was marked gone; remove its work directory to register it as a new one";
    world.hears(FromMaster::Refused { reason: "GONE".into(), message: message.into(), shut_down: true });
    world.expect(expect![[r#"
        CloseLink(2: the master refused: agent S1 was marked gone; remove its work directory to register it as a new one)
        Checkpoint(KillBegun F/t1 AgentStops left 5s of 5s)
        Checkpoint(UpdateMade F/t1 TASK_KILLING#4 REASON_AGENT_REMOVED)
        Signal(c1 Term)"#]]);
    world.exits("t1", Exit::Signal(15));
    world.expect(expect![[r#"
        Checkpoint(UpdateMade F/t1 TASK_GONE#5 REASON_AGENT_REMOVED "the agent stops; killed by SIGTERM (15)")
        Destroy(c1)
        Exit(agent S1 was marked gone; remove its work directory to register it as a new one)"#]]);
}
