use bourse_agent_core::{Assignment, End, Event, FromMaster, Limitation, Shortage, Work};
use bourse_types::{Exit, Reason};
use expect_test::expect;

use crate::world::{World, assignment, framework, secs, spec};

#[test]
fn a_task_is_written_down_before_it_is_launched_and_before_anything_is_told_of_it() {
    let mut world = World::registered();
    world.run(spec("t1"));
    world.expect(expect![[r#"
        Checkpoint(FrameworkKnown F)
        Checkpoint(TaskAccepted F/t1 in c1)
        Checkpoint(UpdateMade F/t1 TASK_STARTING#2)
        Send(1: Update F/t1 TASK_STARTING#2)
        Launch(F/t1 in c1)"#]]);
}

#[test]
fn a_task_that_runs_and_exits_with_zero_is_told_starting_running_finished_in_this_order() {
    let mut world = World::registered();
    world.run(spec("t1"));
    world.skip();
    world.launched("t1", 7);
    world.exits("t1", Exit::Code(0));
    world.acknowledge("t1");
    world.acknowledge("t1");
    world.acknowledge("t1");
    world.expect(expect![[r#"
        Checkpoint(TaskStarted F/t1 pid 7)
        Checkpoint(UpdateMade F/t1 TASK_RUNNING#3)
        Checkpoint(UpdateMade F/t1 TASK_FINISHED#4 "exited with 0")
        Destroy(c1)
        Checkpoint(UpdateAcknowledged F/t1)
        Send(1: Update F/t1 TASK_RUNNING#3, latest TASK_FINISHED)
        Checkpoint(UpdateAcknowledged F/t1)
        Send(1: Update F/t1 TASK_FINISHED#4 "exited with 0")
        Checkpoint(UpdateAcknowledged F/t1)
        Checkpoint(TaskForgotten F/t1)
        Checkpoint(FrameworkForgotten F)"#]]);
}

#[test]
fn the_latest_state_goes_along_so_that_resources_are_free_before_older_updates_are_acknowledged() {
    let mut world = World::registered();
    world.run(spec("t1"));
    world.launched("t1", 7);
    world.exits("t1", Exit::Code(0));
    world.skip();
    world.acknowledge("t1");
    world.expect(expect![[r#"
        Checkpoint(UpdateAcknowledged F/t1)
        Send(1: Update F/t1 TASK_RUNNING#3, latest TASK_FINISHED)"#]]);
}

#[test]
fn an_exit_other_than_zero_and_a_signal_are_failures_and_say_so_in_words() {
    let mut world = World::running(spec("t1"));
    world.exits("t1", Exit::Code(3));
    world.expect(expect![[r#"
        Checkpoint(UpdateMade F/t1 TASK_FAILED#4 "exited with 3")
        Send(1: Update F/t1 TASK_FAILED#4 "exited with 3")
        Destroy(c1)"#]]);
    let mut world = World::running(spec("t1"));
    world.exits("t1", Exit::Signal(11));
    world.expect(expect![[r#"
        Checkpoint(UpdateMade F/t1 TASK_FAILED#4 "killed by SIGSEGV (11)")
        Send(1: Update F/t1 TASK_FAILED#4 "killed by SIGSEGV (11)")
        Destroy(c1)"#]]);
}

#[test]
fn a_container_that_left_no_exit_record_is_a_failure_with_that_reason() {
    let mut world = World::running(spec("t1"));
    world.ends("t1", End::default());
    world.expect(expect![[r#"
        Checkpoint(UpdateMade F/t1 TASK_FAILED#4 REASON_EXECUTOR_TERMINATED "its container left no exit record: the first process of it was killed")
        Send(1: Update F/t1 TASK_FAILED#4 REASON_EXECUTOR_TERMINATED "its container left no exit record: the first process of it was killed")
        Destroy(c1)"#]]);
}

#[test]
fn a_task_over_its_memory_fails_with_that_limit_and_its_figures() {
    let mut world = World::running(spec("t1"));
    let limitation = Limitation {
        reason: Reason::ContainerLimitationMemory,
        message: "memory limit 64 MiB exceeded (peak 64.0 MiB)".into(),
        resources: "mem:64".parse().expect("valid"),
    };
    world.ends("t1", End { exit: Some(Exit::Signal(9)), limitation: Some(limitation), message: None });
    world.expect(expect![[r#"
        Checkpoint(UpdateMade F/t1 TASK_FAILED#4 REASON_CONTAINER_LIMITATION_MEMORY "memory limit 64 MiB exceeded (peak 64.0 MiB)")
        Send(1: Update F/t1 TASK_FAILED#4 REASON_CONTAINER_LIMITATION_MEMORY "memory limit 64 MiB exceeded (peak 64.0 MiB)")
        Destroy(c1)"#]]);
}

#[test]
fn a_launch_that_fails_is_told_with_the_step_that_failed() {
    let mut world = World::registered();
    world.run(spec("t1"));
    world.skip();
    let container = world.container("t1");
    let message = "exec /no/such: no such file or directory".into();
    world.apply(bourse_agent_core::Event::LaunchFailed { container, message });
    world.expect(expect![[r#"
        Checkpoint(UpdateMade F/t1 TASK_FAILED#3 REASON_CONTAINER_LAUNCH_FAILED "exec /no/such: no such file or directory")
        Destroy(c1)"#]]);
}

#[test]
fn a_repeated_launch_of_a_known_task_is_ignored() {
    let mut world = World::registered();
    world.run(spec("t1"));
    world.skip();
    world.run(spec("t1"));
    world.launched("t1", 7);
    world.skip();
    world.run(spec("t1"));
    world.expect(expect![[r#""#]]);
}

#[test]
fn a_launch_repeated_after_the_end_runs_nothing_and_is_answered_with_an_error() {
    let mut world = World::running(spec("t1"));
    world.exits("t1", Exit::Code(0));
    world.acknowledge_all();
    world.skip();
    world.run(spec("t1"));
    world.expect(expect![[r#"Send(1: Update F/t1 TASK_ERROR#5 REASON_TASK_INVALID "a task of this id has already ended on this agent; give every task an id of its own")"#]]);
}

#[test]
fn repeated_words_from_a_container_change_nothing() {
    let mut world = World::running(spec("t1"));
    world.launched("t1", 7);
    world.exits("t1", Exit::Code(0));
    world.skip();
    world.exits("t1", Exit::Code(1));
    world.launched("t1", 7);
    world.expect(expect![[r#""#]]);
}

#[test]
fn a_task_that_this_agent_cannot_run_is_an_error_and_no_container_is_made() {
    let mut world = World::registered();
    let work = Work::Refuse("container images are not supported yet; give a command".into());
    let refused = Assignment { work, ..assignment(spec("t1")) };
    world.hears(FromMaster::Run { framework: framework().into(), assignment: refused.into() });
    world.expect(expect![[r#"
        Checkpoint(FrameworkKnown F)
        Checkpoint(TaskAccepted F/t1 in c1)
        Checkpoint(UpdateMade F/t1 TASK_ERROR#2 REASON_TASK_INVALID "container images are not supported yet; give a command")
        Send(1: Update F/t1 TASK_ERROR#2 REASON_TASK_INVALID "container images are not supported yet; give a command")"#]]);
}

#[test]
fn a_container_that_nobody_knows_is_destroyed_when_it_ends() {
    let mut world = World::running(spec("t1"));
    world.exits("t1", Exit::Code(0));
    world.acknowledge_all();
    world.skip();
    world.exits("t1", Exit::Code(0));
    world.expect(expect!["Destroy(c1)"]);
}

#[test]
fn while_the_disk_is_full_nothing_is_launched_and_what_runs_can_be_killed() {
    let mut world = World::running(spec("t1"));
    let lacks = Some(Shortage::Bytes { free: 300 << 10, needed: 1 << 20 });
    world.apply(Event::Disk { lacks });
    world.run(spec("t2"));
    world.kill("t1", Some(secs(0)), None);
    world.expect(expect![[r#"
        Checkpoint(TaskForgotten F/t2)
        Send(1: Update F/t2 TASK_DROPPED#4 REASON_CONTAINER_LAUNCH_FAILED "the disk of the agent's work directory has too few bytes free, 300 KiB of the 1024 KiB that a launch needs, and nothing can be launched before there is room; free some or mend it, or launch the task on another agent")
        Checkpoint(KillBegun F/t1 Asked(None) left 0ns of 0ns)
        Checkpoint(UpdateMade F/t1 TASK_KILLING#5)
        Send(1: Update F/t1 TASK_KILLING#5)
        KillAll(c1)"#]]);
    world.apply(Event::Disk { lacks: None });
    world.run(spec("t3"));
    world.expect(expect![[r#"
        Checkpoint(TaskAccepted F/t3 in c6)
        Checkpoint(UpdateMade F/t3 TASK_STARTING#7)
        Send(1: Update F/t3 TASK_STARTING#7)
        Launch(F/t3 in c6)"#]]);
}
