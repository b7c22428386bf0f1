use bourse_agent_core::{Agent, Condition, Config, End, Event, Found, Held, Start, State};
use bourse_types::{Exit, Resources, TaskSpec};
use expect_test::expect;

use crate::world::{BOOT, World, config, key, secs, spec};

fn holding(resources: &str) -> TaskSpec {
    TaskSpec { resources: resources.parse().expect("valid"), ..spec("t1") }
}

fn with_disk() -> TaskSpec {
    holding("cpus:1; mem:64; disk:10")
}

/// The resources whose limit the end of the task names.
fn limitation(world: &World) -> Resources {
    let task = &world.agent.state().tasks[&key("t1")];
    task.latest.as_ref().expect("it was told").limitation.clone()
}

#[test]
fn a_task_over_its_disk_is_killed_at_once_and_fails_with_that_limit_whatever_its_exit_is() {
    for exit in [Exit::Signal(9), Exit::Code(0)] {
        let mut world = World::running(with_disk());
        world.holds("t1", 10);
        world.expect(expect![[r#""#]]);
        world.holds("t1", 12);
        world.expect(expect![[r#"
            Checkpoint(KillBegun F/t1 OverDisk { held: Held { bytes: 12582912, inodes: 0, bytes_per_inode: 0 }, limit: 10 } left 0ns of 0ns)
            Checkpoint(UpdateMade F/t1 TASK_KILLING#4 REASON_CONTAINER_LIMITATION_DISK)
            Send(1: Update F/t1 TASK_KILLING#4 REASON_CONTAINER_LIMITATION_DISK)
            KillAll(c1)"#]]);
        world.acknowledge("t1");
        world.skip();
        world.exits("t1", exit);
        world.expect(expect![[r#"
            Checkpoint(UpdateMade F/t1 TASK_FAILED#5 REASON_CONTAINER_LIMITATION_DISK "disk limit 10 MiB exceeded: 12 MiB in its sandbox")
            Send(1: Update F/t1 TASK_FAILED#5 REASON_CONTAINER_LIMITATION_DISK "disk limit 10 MiB exceeded: 12 MiB in its sandbox")
            Destroy(c1)"#]]);
        assert_eq!(limitation(&world), "disk:10".parse().expect("valid"));
    }
}

#[test]
fn a_task_with_more_files_than_its_part_of_the_disk_has_inodes_is_killed_and_told_so() {
    let mut world = World::running(with_disk());
    world.holds_files("t1", 704);
    world.expect(expect![[r#""#]]);
    world.holds_files("t1", 705);
    world.exits("t1", Exit::Signal(9));
    world.acknowledge("t1");
    world.expect(expect![[r#"
        Checkpoint(KillBegun F/t1 OverDisk { held: Held { bytes: 0, inodes: 705, bytes_per_inode: 16384 }, limit: 10 } left 0ns of 0ns)
        Checkpoint(UpdateMade F/t1 TASK_KILLING#4 REASON_CONTAINER_LIMITATION_DISK)
        Send(1: Update F/t1 TASK_KILLING#4 REASON_CONTAINER_LIMITATION_DISK)
        KillAll(c1)
        Checkpoint(UpdateMade F/t1 TASK_FAILED#5 REASON_CONTAINER_LIMITATION_DISK "disk limit 10 MiB exceeded: 705 files and folders in its sandbox, and 10 MiB of its disk come with inodes for 704")
        Destroy(c1)
        Checkpoint(UpdateAcknowledged F/t1)
        Send(1: Update F/t1 TASK_FAILED#5 REASON_CONTAINER_LIMITATION_DISK "disk limit 10 MiB exceeded: 705 files and folders in its sandbox, and 10 MiB of its disk come with inodes for 704")"#]]);
    assert_eq!(limitation(&world), "disk:10".parse().expect("valid"));
}

#[test]
fn a_task_that_is_measured_again_while_it_is_killed_and_after_its_end_keeps_its_figures() {
    let mut world = World::running(with_disk());
    world.holds("t1", 12);
    world.skip();
    world.holds("t1", 20);
    world.holds("t1", 2);
    world.expect(expect![[r#""#]]);
    world.acknowledge("t1");
    world.exits("t1", Exit::Signal(9));
    world.skip();
    world.holds("t1", 20);
    world.acknowledge("t1");
    world.skip();
    world.holds("t1", 20);
    world.expect(expect![[r#""#]]);
}

#[test]
fn a_task_that_asked_for_no_disk_has_no_limit() {
    let mut world = World::running(spec("t1"));
    world.holds("t1", 1 << 20);
    world.expect(expect![[r#""#]]);
    assert_eq!(world.agent.state().tasks[&key("t1")].disk_limit(), None);
}

#[test]
fn reserved_disk_counts_for_the_sandbox() {
    let mut world = World::running(holding("cpus:1; mem:64; disk:10; disk(web):5.5"));
    world.holds("t1", 15);
    world.expect(expect![[r#""#]]);
    world.holds("t1", 16);
    world.exits("t1", Exit::Signal(9));
    world.acknowledge("t1");
    world.expect(expect![[r#"
        Checkpoint(KillBegun F/t1 OverDisk { held: Held { bytes: 16777216, inodes: 0, bytes_per_inode: 0 }, limit: 15.5 } left 0ns of 0ns)
        Checkpoint(UpdateMade F/t1 TASK_KILLING#4 REASON_CONTAINER_LIMITATION_DISK)
        Send(1: Update F/t1 TASK_KILLING#4 REASON_CONTAINER_LIMITATION_DISK)
        KillAll(c1)
        Checkpoint(UpdateMade F/t1 TASK_FAILED#5 REASON_CONTAINER_LIMITATION_DISK "disk limit 15.5 MiB exceeded: 16 MiB in its sandbox")
        Destroy(c1)
        Checkpoint(UpdateAcknowledged F/t1)
        Send(1: Update F/t1 TASK_FAILED#5 REASON_CONTAINER_LIMITATION_DISK "disk limit 15.5 MiB exceeded: 16 MiB in its sandbox")"#]]);
    assert_eq!(limitation(&world), "disk:15.5".parse().expect("valid"));
}

#[test]
fn a_task_that_fills_its_disk_while_it_is_being_killed_keeps_its_reason_and_has_no_more_grace() {
    let mut world = World::running(with_disk());
    world.kill("t1", Some(secs(60)), None);
    world.pass(secs(1));
    world.acknowledge("t1");
    world.skip();
    world.holds("t1", 12);
    world.holds("t1", 13);
    world.exits("t1", Exit::Signal(9));
    world.expect(expect![[r#"
        Checkpoint(KillBegun F/t1 Asked(None) left 0ns of 0ns)
        KillAll(c1)
        Checkpoint(UpdateMade F/t1 TASK_KILLED#5 "killed by SIGKILL (9)")
        Send(1: Update F/t1 TASK_KILLED#5 "killed by SIGKILL (9)")
        Destroy(c1)"#]]);
}

#[test]
fn a_restart_of_the_agent_between_the_kill_and_the_end_tells_the_same_reason() {
    let mut world = World::running(with_disk());
    world.holds("t1", 12);
    let end = End { exit: Some(Exit::Signal(9)), ..End::default() };
    let found = Found { container: world.container("t1"), condition: Condition::Exited(end) };
    world.restarts(secs(60), BOOT, vec![found]);
    world.expect(expect![[r#"
        Checkpoint(UpdateMade F/t1 TASK_FAILED#1 REASON_CONTAINER_LIMITATION_DISK "disk limit 10 MiB exceeded: 12 MiB in its sandbox")
        Destroy(c1)"#]]);
    assert_eq!(limitation(&world), "disk:10".parse().expect("valid"));

    let mut world = World::running(with_disk());
    world.holds("t1", 12);
    let found = world.found_running("t1", 7);
    world.restarts(secs(60), BOOT, vec![found]);
    world.exits("t1", Exit::Signal(9));
    world.expect(expect![[r#"
        Watch(c1)
        KillAll(c1)
        Checkpoint(UpdateMade F/t1 TASK_FAILED#1 REASON_CONTAINER_LIMITATION_DISK "disk limit 10 MiB exceeded: 12 MiB in its sandbox")
        Destroy(c1)"#]]);
}

#[test]
fn an_agent_that_does_not_enforce_the_disk_lets_a_task_over_it_run() {
    let mut world = World::running(with_disk());
    let state: State = world.agent.state().clone();
    let found = vec![world.found_running("t1", 7)];
    let config = Config { enforce_disk: false, ..config() };
    let start = Start { config, boot: BOOT.into(), incarnation: 1, state, found };
    let mut out = Vec::new();
    world.agent = Agent::start(start, world.now, &mut out);
    world.holds("t1", 12);
    assert_eq!(world.agent.state().tasks[&key("t1")].kill, None);
}

#[test]
fn an_agent_that_does_not_enforce_the_disk_measures_nobody_for_a_resize() {
    let mut world = World::lenient();
    world.run(with_disk());
    world.launched("t1", 7);
    world.skip();
    world.resize("t1", "cpus:1; mem:64; disk:4");
    world.expect(expect![[r#"
        Checkpoint(ResizeBegun F/t1 cpus:1; mem:64; disk:4)
        Resize(c1 to cpus:1; mem:64; disk:4)"#]]);
}

#[test]
fn a_container_that_nobody_knows_has_no_limit() {
    let mut world = World::registered();
    let container = bourse_types::ContainerId::new("stray").expect("valid");
    let held = Held { bytes: u64::MAX, ..Held::default() };
    world.apply(Event::SandboxMeasured { container, held });
    world.expect(expect![[r#""#]]);
}
