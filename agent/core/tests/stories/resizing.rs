use bourse_agent_core::{Effect, Event, FromAgent};
use bourse_types::{Exit, TaskSpec};
use expect_test::expect;

use crate::world::{BOOT, World, checked, key, secs, spec};

#[test]
fn a_new_size_is_written_down_before_it_is_asked_for_and_told_when_it_is_there() {
    let mut world = World::running(spec("t1"));
    world.resize("t1", "cpus:2; mem:128");
    world.expect(expect![[r#"
        Checkpoint(ResizeBegun F/t1 cpus:2; mem:128)
        Resize(c1 to cpus:2; mem:128)"#]]);
    world.resized("t1", Ok(()));
    world.expect(expect![[r#"
        Checkpoint(Resized F/t1 cpus:2; mem:128)
        Send(1: Resized F/t1 cpus:2; mem:128)
        Checkpoint(UpdateMade F/t1 TASK_RUNNING#4 "resized to cpus:2; mem:128")
        Send(1: Update F/t1 TASK_RUNNING#4 "resized to cpus:2; mem:128")"#]]);
    let task = &world.agent.state().tasks[&key("t1")];
    assert_eq!(task.assignment.resources.to_string(), "cpus:2; mem:128");
    assert_eq!(task.latest.as_ref().and_then(|latest| latest.size.as_deref()), Some(&task.size()));
}

#[test]
fn a_resize_that_is_refused_leaves_the_task_as_it_was_and_says_why() {
    let mut world = World::running(spec("t1"));
    world.resize("t1", "cpus:1; mem:8");
    world.skip();
    world.resized("t1", Err("12 MiB are in use"));
    world.expect(expect![[r#"
        Checkpoint(ResizeRefused F/t1)
        Send(1: Resized F/t1 cpus:1; mem:64 and not cpus:1; mem:8)
        Checkpoint(UpdateMade F/t1 TASK_RUNNING#4 REASON_CONTAINER_UPDATE_FAILED "12 MiB are in use")
        Send(1: Update F/t1 TASK_RUNNING#4 REASON_CONTAINER_UPDATE_FAILED "12 MiB are in use")"#]]);
    assert_eq!(world.agent.state().tasks[&key("t1")].size().to_string(), "cpus:1; mem:64");
}

#[test]
fn a_repeat_while_a_resize_is_under_way_changes_nothing_and_a_later_one_is_answered_again() {
    let mut world = World::running(spec("t1"));
    world.resize("t1", "cpus:2; mem:64");
    world.skip();
    world.resize("t1", "cpus:2; mem:64");
    world.expect(expect![[r#""#]]);
    world.resized("t1", Ok(()));
    world.resized("t1", Ok(()));
    world.acknowledge_all();
    world.skip();
    world.resize("t1", "cpus:2; mem:64");
    world.resized("t1", Ok(()));
    world.expect(expect![[r#"
        Checkpoint(ResizeBegun F/t1 cpus:2; mem:64)
        Resize(c1 to cpus:2; mem:64)
        Checkpoint(Resized F/t1 cpus:2; mem:64)
        Send(1: Resized F/t1 cpus:2; mem:64)
        Checkpoint(UpdateMade F/t1 TASK_RUNNING#5 "resized to cpus:2; mem:64")
        Send(1: Update F/t1 TASK_RUNNING#5 "resized to cpus:2; mem:64")"#]]);
}

#[test]
fn what_cannot_be_resized_is_refused_without_asking() {
    let mut world = World::registered();
    world.run(spec("t1"));
    world.skip();
    world.resize("t1", "cpus:2; mem:64");
    world.expect(expect![[r#"
        Send(1: Resized F/t1 cpus:1; mem:64 and not cpus:2; mem:64)
        Checkpoint(UpdateMade F/t1 TASK_STARTING#3 REASON_CONTAINER_UPDATE_FAILED "the task does not run yet; resize it while it is TASK_RUNNING")"#]]);
    let mut world = World::running(spec("t1"));
    world.kill("t1", Some(secs(600)), None);
    world.acknowledge_all();
    world.skip();
    world.resize("t1", "cpus:2; mem:64");
    world.expect(expect![[r#"
        Send(1: Resized F/t1 cpus:1; mem:64 and not cpus:2; mem:64)
        Checkpoint(UpdateMade F/t1 TASK_KILLING#5 REASON_CONTAINER_UPDATE_FAILED "the task is being killed; launch another one")
        Send(1: Update F/t1 TASK_KILLING#5 REASON_CONTAINER_UPDATE_FAILED "the task is being killed; launch another one")"#]]);
    world.resize("t9", "cpus:2; mem:64");
    world.expect(expect![[r#"
        Checkpoint(TaskForgotten F/t9)
        Send(1: Update F/t9 TASK_DROPPED#6 REASON_RECONCILIATION "the agent knows no such task; it was never launched here, or its end was acknowledged")"#]]);
}

fn with_disk() -> TaskSpec {
    TaskSpec { resources: "cpus:1; mem:64; disk:10".parse().expect("valid"), ..spec("t1") }
}

#[test]
fn a_smaller_disk_than_what_is_in_the_sandbox_now_is_refused_whatever_was_there_before() {
    let mut world = World::running(with_disk());
    world.holds("t1", 1);
    world.resize("t1", "cpus:1; mem:64; disk:4");
    world.expect(expect!["Measure(c1)"]);
    world.measured("t1", Ok(8));
    world.expect(expect![[r#"
        Send(1: Resized F/t1 cpus:1; mem:64; disk:10 and not cpus:1; mem:64; disk:4)
        Checkpoint(UpdateMade F/t1 TASK_RUNNING#4 REASON_CONTAINER_UPDATE_FAILED "disk limit 4 MiB exceeded: 8 MiB in its sandbox; remove some of it, or give the task more")
        Send(1: Update F/t1 TASK_RUNNING#4 REASON_CONTAINER_UPDATE_FAILED "disk limit 4 MiB exceeded: 8 MiB in its sandbox; remove some of it, or give the task more")"#]]);
    world.holds("t1", 9);
    world.resize("t1", "cpus:1; mem:64; disk:9");
    world.measured("t1", Ok(8));
    world.resized("t1", Ok(()));
    world.skip();
    // The new limit holds from now on.
    world.holds("t1", 10);
    world.expect(expect![[r#"
        Checkpoint(KillBegun F/t1 OverDisk { held: Held { bytes: 10485760, inodes: 0, bytes_per_inode: 0 }, limit: 9 } left 0ns of 0ns)
        Checkpoint(UpdateMade F/t1 TASK_KILLING#6 REASON_CONTAINER_LIMITATION_DISK)
        KillAll(c1)"#]]);
}

#[test]
fn a_task_without_a_limit_is_measured_before_it_gets_one_and_not_where_it_may_hold_as_much_as_before() {
    let mut world = World::running(spec("t1"));
    world.resize("t1", "cpus:1; mem:64; disk:4");
    world.expect(expect!["Measure(c1)"]);
    world.measured("t1", Ok(5));
    assert_eq!(world.agent.state().tasks[&key("t1")].size().to_string(), "cpus:1; mem:64");
    world.resize("t1", "cpus:1; mem:64; disk:5");
    world.skip();
    world.measured("t1", Ok(5));
    world.expect(expect![[r#"
        Checkpoint(ResizeBegun F/t1 cpus:1; mem:64; disk:5)
        Resize(c1 to cpus:1; mem:64; disk:5)"#]]);
    world.resized("t1", Ok(()));
    world.acknowledge_all();
    world.skip();
    world.resize("t1", "cpus:2; mem:64; disk:5");
    world.expect(expect![[r#"
        Checkpoint(ResizeBegun F/t1 cpus:2; mem:64; disk:5)
        Resize(c1 to cpus:2; mem:64; disk:5)"#]]);
    world.resized("t1", Ok(()));
    world.acknowledge_all();
    world.skip();
    world.resize("t1", "cpus:2; mem:64");
    world.expect(expect![[r#"
        Checkpoint(ResizeBegun F/t1 cpus:2; mem:64)
        Resize(c1 to cpus:2; mem:64)"#]]);
}

#[test]
fn while_a_sandbox_is_measured_for_a_resize_a_repeat_changes_nothing_and_the_answer_comes_once() {
    let mut world = World::running(with_disk());
    world.resize("t1", "cpus:1; mem:64; disk:4");
    world.skip();
    world.resize("t1", "cpus:1; mem:64; disk:4");
    world.resize("t1", "cpus:2; mem:64; disk:10");
    // Not what was asked for: it may have begun before.
    world.holds("t1", 9);
    world.expect(expect![[r#""#]]);
    world.measured("t1", Ok(3));
    world.measured("t1", Ok(9));
    world.expect(expect![[r#"
        Checkpoint(ResizeBegun F/t1 cpus:1; mem:64; disk:4)
        Resize(c1 to cpus:1; mem:64; disk:4)"#]]);
}

#[test]
fn a_sandbox_that_cannot_be_measured_keeps_its_limit_and_its_framework_hears_why() {
    let mut world = World::running(with_disk());
    world.resize("t1", "cpus:1; mem:64; disk:4");
    world.skip();
    world.measured("t1", Err("Input/output error"));
    world.expect(expect![[r#"
        Send(1: Resized F/t1 cpus:1; mem:64; disk:10 and not cpus:1; mem:64; disk:4)
        Checkpoint(UpdateMade F/t1 TASK_RUNNING#4 REASON_CONTAINER_UPDATE_FAILED "whether its sandbox holds more than 4 MiB cannot be seen: Input/output error; try again")
        Send(1: Update F/t1 TASK_RUNNING#4 REASON_CONTAINER_UPDATE_FAILED "whether its sandbox holds more than 4 MiB cannot be seen: Input/output error; try again")"#]]);
}

#[test]
fn a_task_that_is_killed_or_ends_while_it_is_measured_for_a_resize_gets_no_other_size() {
    let mut world = World::running(with_disk());
    world.resize("t1", "cpus:1; mem:64; disk:4");
    world.kill("t1", Some(secs(600)), None);
    world.acknowledge_all();
    world.skip();
    world.measured("t1", Ok(1));
    world.expect(expect![[r#"
        Send(1: Resized F/t1 cpus:1; mem:64; disk:10 and not cpus:1; mem:64; disk:4)
        Checkpoint(UpdateMade F/t1 TASK_KILLING#5 REASON_CONTAINER_UPDATE_FAILED "the task is being killed; launch another one")
        Send(1: Update F/t1 TASK_KILLING#5 REASON_CONTAINER_UPDATE_FAILED "the task is being killed; launch another one")"#]]);
    let mut world = World::running(with_disk());
    world.resize("t1", "cpus:1; mem:64; disk:4");
    world.exits("t1", Exit::Code(0));
    world.skip();
    world.measured("t1", Ok(1));
    world.expect(expect![[r#""#]]);
}

#[test]
fn a_resize_that_was_only_measured_for_is_begun_anew_when_the_master_asks_an_agent_that_is_back() {
    let mut world = World::running(with_disk());
    world.resize("t1", "cpus:1; mem:64; disk:4");
    let found = world.found_running("t1", 7);
    world.restarts(secs(1), BOOT, vec![found]);
    world.measured("t1", Ok(1));
    world.expect(expect!["Watch(c1)"]);
    world.tick();
    let link = world.link();
    world.apply(Event::LinkOpened { link });
    world.registers(&["t1"]);
    world.skip();
    world.resize("t1", "cpus:1; mem:64; disk:4");
    world.expect(expect!["Measure(c1)"]);
}

#[test]
fn a_task_that_ends_while_it_is_resized_is_told_by_its_end_alone() {
    let mut world = World::running(spec("t1"));
    world.resize("t1", "cpus:2; mem:64");
    world.skip();
    world.exits("t1", Exit::Code(0));
    world.resized("t1", Ok(()));
    world.resize("t1", "cpus:2; mem:64");
    world.expect(expect![[r#"
        Checkpoint(UpdateMade F/t1 TASK_FINISHED#4 "exited with 0")
        Send(1: Update F/t1 TASK_FINISHED#4 "exited with 0")
        Destroy(c1)"#]]);
}

#[test]
fn the_answer_to_a_resize_is_not_lost_behind_a_word_on_health() {
    let mut world = World::registered();
    world.run(checked("t1"));
    world.launched("t1", 7);
    world.pass(secs(1));
    // Starting is on its way and running waits; what comes now takes the place of the latter.
    world.resize("t1", "cpus:2; mem:64");
    world.resized("t1", Ok(()));
    world.probed("t1", 1, Err("connection refused"));
    let task = &world.agent.state().tasks[&key("t1")];
    assert_eq!(task.unacknowledged.len(), 2);
    let last = task.unacknowledged.back().expect("two");
    assert_eq!(last.size.as_ref().map(ToString::to_string).as_deref(), Some("cpus:2; mem:64"));
    assert_eq!(last.healthy, Some(false));
    assert_eq!(task.latest.as_ref(), Some(last));
}

#[test]
fn a_resize_goes_on_when_the_agent_comes_back() {
    let mut world = World::running(spec("t1"));
    world.resize("t1", "cpus:2; mem:64");
    let found = world.found_running("t1", 7);
    world.restarts(secs(1), BOOT, vec![found]);
    world.expect(expect![[r#"
        Watch(c1)
        Resize(c1 to cpus:2; mem:64)"#]]);
    world.resized("t1", Ok(()));
    world.expect(expect![[r#"
        Checkpoint(Resized F/t1 cpus:2; mem:64)
        Checkpoint(UpdateMade F/t1 TASK_RUNNING#1 "resized to cpus:2; mem:64")"#]]);
    let found = world.found_running("t1", 7);
    world.restarts(secs(1), BOOT, vec![found]);
    world.expect(expect!["Watch(c1)"]);
    assert_eq!(world.agent.state().tasks[&key("t1")].size().to_string(), "cpus:2; mem:64");
}

#[test]
fn an_agent_tells_what_its_tasks_have_and_are_being_given_when_it_registers() {
    let mut world = World::running(spec("t1"));
    world.resize("t1", "cpus:2; mem:64");
    world.resized("t1", Ok(()));
    world.resize("t1", "cpus:3; mem:64");
    world.reconnects(&["t1"]);
    world.skip();
    let told = world.all.iter().rev().find_map(|effect| match effect {
        Effect::Send { message: FromAgent::Register(registration), .. } => {
            Some(registration.tasks[0].clone())
        }
        _ => None,
    });
    let told = told.expect("it has registered");
    assert_eq!(told.resources.to_string(), "cpus:2; mem:64");
    assert_eq!(told.size.map(|size| size.to_string()).as_deref(), Some("cpus:2; mem:64"));
    assert_eq!(told.resizing.map(|size| size.to_string()).as_deref(), Some("cpus:3; mem:64"));
}
