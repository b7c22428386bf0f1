use std::time::Duration;

use bourse_agent_core::{End, Event};
use bourse_types::{Exit, KillPolicy, Reason, TaskSpec};
use expect_test::expect;

use crate::world::{World, secs, spec};

#[test]
fn a_kill_sends_sigterm_and_after_the_grace_kills_everything_until_the_container_ends() {
    let mut world = World::running(spec("t1"));
    world.kill("t1", None, None);
    world.expect(expect![[r#"
        Checkpoint(KillBegun F/t1 Asked(None) left 5s of 5s)
        Checkpoint(UpdateMade F/t1 TASK_KILLING#4)
        Send(1: Update F/t1 TASK_KILLING#4)
        Signal(c1 Term)"#]]);
    world.acknowledge("t1");
    world.pass(Duration::from_millis(4_999));
    world.expect(expect!["Checkpoint(UpdateAcknowledged F/t1)"]);
    world.pass(Duration::from_millis(1));
    world.expect(expect!["KillAll(c1)"]);
    world.pass(secs(5));
    world.expect(expect!["KillAll(c1)"]);
    world.exits("t1", Exit::Signal(9));
    world.pass(secs(5));
    world.expect(expect![[r#"
        Checkpoint(UpdateMade F/t1 TASK_KILLED#5 "killed by SIGKILL (9)")
        Send(1: Update F/t1 TASK_KILLED#5 "killed by SIGKILL (9)")
        Destroy(c1)"#]]);
}

#[test]
fn the_grace_is_the_tasks_own_unless_the_kill_brings_one() {
    let own = || TaskSpec { kill_policy: KillPolicy { grace: Some(secs(60)) }, ..spec("t1") };
    let mut world = World::running(own());
    world.kill("t1", None, None);
    world.expect(expect![[r#"
        Checkpoint(KillBegun F/t1 Asked(None) left 60s of 60s)
        Checkpoint(UpdateMade F/t1 TASK_KILLING#4)
        Send(1: Update F/t1 TASK_KILLING#4)
        Signal(c1 Term)"#]]);
    let mut world = World::running(own());
    world.kill("t1", Some(secs(90)), None);
    world.expect(expect![[r#"
        Checkpoint(KillBegun F/t1 Asked(None) left 90s of 90s)
        Checkpoint(UpdateMade F/t1 TASK_KILLING#4)
        Send(1: Update F/t1 TASK_KILLING#4)
        Signal(c1 Term)"#]]);
}

#[test]
fn a_repeated_kill_may_shorten_the_grace_and_never_lengthens_it() {
    let mut world = World::running(spec("t1"));
    world.kill("t1", Some(secs(60)), None);
    world.skip();
    world.pass(secs(10));
    world.skip();
    world.kill("t1", Some(secs(90)), None);
    world.kill("t1", None, None);
    world.expect(expect![[r#""#]]);
    world.kill("t1", Some(secs(30)), None);
    world.expect(expect!["Checkpoint(KillBegun F/t1 Asked(None) left 20s of 30s)"]);
    world.kill("t1", Some(secs(5)), None);
    world.expect(expect![[r#"
        Checkpoint(KillBegun F/t1 Asked(None) left 0ns of 5s)
        KillAll(c1)"#]]);
}

#[test]
fn a_kill_without_grace_kills_at_once() {
    let mut world = World::running(spec("t1"));
    world.kill("t1", Some(Duration::ZERO), None);
    world.expect(expect![[r#"
        Checkpoint(KillBegun F/t1 Asked(None) left 0ns of 0ns)
        Checkpoint(UpdateMade F/t1 TASK_KILLING#4)
        Send(1: Update F/t1 TASK_KILLING#4)
        KillAll(c1)"#]]);
}

#[test]
fn a_kill_for_a_reason_is_told_with_it_in_every_state() {
    let mut world = World::running(spec("t1"));
    world.kill("t1", None, Some(Reason::AgentDraining));
    world.exits("t1", Exit::Signal(15));
    world.acknowledge("t1");
    world.expect(expect![[r#"
        Checkpoint(KillBegun F/t1 Asked(Some(AgentDraining)) left 5s of 5s)
        Checkpoint(UpdateMade F/t1 TASK_KILLING#4 REASON_AGENT_DRAINING)
        Send(1: Update F/t1 TASK_KILLING#4 REASON_AGENT_DRAINING)
        Signal(c1 Term)
        Checkpoint(UpdateMade F/t1 TASK_KILLED#5 REASON_AGENT_DRAINING "killed by SIGTERM (15)")
        Destroy(c1)
        Checkpoint(UpdateAcknowledged F/t1)
        Send(1: Update F/t1 TASK_KILLED#5 REASON_AGENT_DRAINING "killed by SIGTERM (15)")"#]]);
}

#[test]
fn a_kill_while_launching_waits_for_the_container_and_then_ends_it() {
    let mut world = World::registered();
    world.run(spec("t1"));
    world.acknowledge("t1");
    world.skip();
    world.kill("t1", None, None);
    world.expect(expect![[r#"
        Checkpoint(KillBegun F/t1 Asked(None) left 5s of 5s)
        Checkpoint(UpdateMade F/t1 TASK_KILLING#3)
        Send(1: Update F/t1 TASK_KILLING#3)"#]]);
    world.pass(secs(1));
    world.launched("t1", 7);
    world.pass(secs(4));
    world.expect(expect![[r#"
        Checkpoint(TaskStarted F/t1 pid 7)
        Signal(c1 Term)
        KillAll(c1)"#]]);
}

#[test]
fn a_launch_that_fails_while_it_is_being_killed_is_told_as_killed_during_launch() {
    let mut world = World::registered();
    world.run(spec("t1"));
    world.kill("t1", None, None);
    world.acknowledge("t1");
    world.acknowledge("t1");
    world.skip();
    let container = world.container("t1");
    world.apply(Event::LaunchFailed { container, message: "no such user \"x\"".into() });
    world.expect(expect![[r#"
        Checkpoint(UpdateMade F/t1 TASK_KILLED#4 REASON_TASK_KILLED_DURING_LAUNCH "no such user \"x\"")
        Send(1: Update F/t1 TASK_KILLED#4 REASON_TASK_KILLED_DURING_LAUNCH "no such user \"x\"")
        Destroy(c1)"#]]);
}

#[test]
fn a_kill_of_a_task_that_has_ended_changes_nothing() {
    let mut world = World::running(spec("t1"));
    world.exits("t1", Exit::Code(0));
    world.skip();
    world.kill("t1", None, None);
    world.expect(expect![[r#""#]]);
}

#[test]
fn a_kill_of_an_unknown_task_is_answered_with_dropped_once() {
    let mut world = World::registered();
    world.kill("t9", None, None);
    world.kill("t9", None, None);
    world.expect(expect![[r#"
        Checkpoint(TaskForgotten F/t9)
        Send(1: Update F/t9 TASK_DROPPED#1 REASON_RECONCILIATION "the agent knows no such task; it was never launched here, or its end was acknowledged")"#]]);
    world.acknowledge("t9");
    world.pass(secs(3_600));
    world.expect(expect![[r#""#]]);
}

#[test]
fn a_framework_without_the_killing_state_hears_only_of_the_end() {
    let mut world = World::registered();
    let mut framework = crate::world::framework();
    framework.capabilities.task_killing = false;
    let assignment = crate::world::assignment(spec("t1")).into();
    world.hears(bourse_agent_core::FromMaster::Run { framework: framework.into(), assignment });
    world.launched("t1", 7);
    world.acknowledge_all();
    world.skip();
    world.kill("t1", None, None);
    world.expect(expect![[r#"
        Checkpoint(KillBegun F/t1 Asked(None) left 5s of 5s)
        Signal(c1 Term)"#]]);
}

#[test]
fn a_task_that_ran_for_its_longest_time_is_killed_with_grace_and_has_failed() {
    let mut world = World::running(TaskSpec { max_completion_time: Some(secs(100)), ..spec("t1") });
    world.pass(secs(99));
    world.expect(expect![[r#""#]]);
    world.pass(secs(1));
    world.acknowledge("t1");
    world.expect(expect![[r#"
        Checkpoint(KillBegun F/t1 TookTooLong left 5s of 5s)
        Checkpoint(UpdateMade F/t1 TASK_KILLING#4 REASON_MAX_COMPLETION_TIME_REACHED)
        Send(1: Update F/t1 TASK_KILLING#4 REASON_MAX_COMPLETION_TIME_REACHED)
        Signal(c1 Term)
        Checkpoint(UpdateAcknowledged F/t1)"#]]);
    world.exits("t1", Exit::Signal(15));
    world.expect(expect![[r#"
        Checkpoint(UpdateMade F/t1 TASK_FAILED#5 REASON_MAX_COMPLETION_TIME_REACHED "ran for its max_completion_time; killed by SIGTERM (15)")
        Send(1: Update F/t1 TASK_FAILED#5 REASON_MAX_COMPLETION_TIME_REACHED "ran for its max_completion_time; killed by SIGTERM (15)")
        Destroy(c1)"#]]);
}

#[test]
fn a_framework_that_is_gone_has_its_tasks_killed_and_nothing_is_told() {
    let mut world = World::running(spec("t1"));
    world.run(spec("t2"));
    world.launched("t2", 8);
    world.exits("t2", Exit::Code(0));
    world.skip();
    let framework = crate::world::key("t1").framework;
    world.hears(bourse_agent_core::FromMaster::ShutdownFramework { framework: framework.clone() });
    world.hears(bourse_agent_core::FromMaster::ShutdownFramework { framework });
    world.expect(expect![[r#"
        Checkpoint(TaskSilenced F/t1)
        Checkpoint(KillBegun F/t1 FrameworkGone left 5s of 5s)
        Signal(c1 Term)
        Checkpoint(TaskSilenced F/t2)
        Checkpoint(TaskForgotten F/t2)"#]]);
    world.reconnects(&[]);
    world.expect(expect![[r#"
        Connect(2)
        Send(2: Register S1 1)"#]]);
    world.ends("t1", End { exit: Some(Exit::Signal(15)), ..End::default() });
    world.expect(expect![[r#"
        Checkpoint(TaskForgotten F/t1)
        Checkpoint(FrameworkForgotten F)
        Destroy(c1)"#]]);
}
