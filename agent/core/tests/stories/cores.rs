use bourse_agent_core::{Condition, Cores, End, Found, FromMaster};
use bourse_types::{Exit, TaskSpec};
use expect_test::expect;

use crate::world::{BOOT, World, key, secs, spec};

/// A task that wants so many cores for itself.
fn alone(task: &str, cores: u64) -> TaskSpec {
    let resources = format!("cpus:{cores}; mem:64").parse().expect("valid");
    TaskSpec { resources, exclusive_cpus: true, ..spec(task) }
}

/// An agent with four cores and a running task `t1` that has none for itself.
fn shared() -> World {
    let mut world = World::with_cores(4);
    world.run(spec("t1"));
    world.launched("t1", 7);
    world.acknowledge_all();
    world.skip();
    world
}

#[test]
fn a_task_gets_the_lowest_free_cores_and_all_others_are_moved_to_the_rest() {
    let mut world = shared();
    world.run(alone("t2", 2));
    world.expect(expect![[r#"
        Checkpoint(TaskAccepted F/t2 in c4)
        Checkpoint(CoresTaken F/t2 {0, 1})
        Checkpoint(UpdateMade F/t2 TASK_STARTING#5)
        Send(1: Update F/t2 TASK_STARTING#5)
        Launch(F/t2 in c4 on 0,1)
        Resize(c1 to cpus:1; mem:64 on 2,3)"#]]);
    world.resized("t1", Ok(()));
    world.launched("t2", 8);
    world.skip();
    world.run(spec("t3"));
    world.expect(expect![[r#"
        Checkpoint(TaskAccepted F/t3 in c7)
        Checkpoint(UpdateMade F/t3 TASK_STARTING#8)
        Send(1: Update F/t3 TASK_STARTING#8)
        Launch(F/t3 in c7 on 2,3)"#]]);
}

#[test]
fn after_its_end_the_cores_go_back_to_all() {
    let mut world = shared();
    world.run(alone("t2", 2));
    world.launched("t2", 8);
    world.resized("t1", Ok(()));
    world.acknowledge_all();
    world.skip();
    world.exits("t2", Exit::Code(0));
    world.expect(expect![[r#"
        Checkpoint(UpdateMade F/t2 TASK_FINISHED#7 "exited with 0")
        Send(1: Update F/t2 TASK_FINISHED#7 "exited with 0")
        Destroy(c4)
        Resize(c1 to cpus:1; mem:64)"#]]);
    world.resized("t1", Ok(()));
    world.run(alone("t4", 3));
    let taken = world.agent.state().tasks.values().find(|task| !task.cores.is_empty() && !task.has_ended());
    assert_eq!(taken.map(|task| task.cores.iter().copied().collect::<Vec<u32>>()), Some(vec![0, 1, 2]));
}

#[test]
fn a_task_that_would_leave_no_core_for_the_others_is_not_launched() {
    let mut world = World::with_cores(4);
    world.run(alone("t1", 4));
    world.expect(expect![[r#"
        Checkpoint(FrameworkKnown F)
        Checkpoint(TaskAccepted F/t1 in c1)
        Checkpoint(UpdateMade F/t1 TASK_FAILED#2 REASON_CONTAINER_LAUNCH_FAILED "the task wants 4 of the agent's 4 cores for itself alone; 4 are free, and one of them stays for the others; launch it on another agent, or want fewer")
        Send(1: Update F/t1 TASK_FAILED#2 REASON_CONTAINER_LAUNCH_FAILED "the task wants 4 of the agent's 4 cores for itself alone; 4 are free, and one of them stays for the others; launch it on another agent, or want fewer")"#]]);
    world.run(alone("t2", 3));
    world.acknowledge_all();
    world.skip();
    world.run(alone("t3", 1));
    world.expect(expect![[r#"
        Checkpoint(TaskAccepted F/t3 in c5)
        Checkpoint(UpdateMade F/t3 TASK_FAILED#6 REASON_CONTAINER_LAUNCH_FAILED "the task wants 1 of the agent's 4 cores for itself alone; 1 are free, and one of them stays for the others; launch it on another agent, or want fewer")
        Send(1: Update F/t3 TASK_FAILED#6 REASON_CONTAINER_LAUNCH_FAILED "the task wants 1 of the agent's 4 cores for itself alone; 1 are free, and one of them stays for the others; launch it on another agent, or want fewer")"#]]);
}

#[test]
fn an_agent_without_cores_to_give_says_so() {
    let mut world = World::registered();
    world.run(alone("t1", 1));
    world.expect(expect![[r#"
        Checkpoint(FrameworkKnown F)
        Checkpoint(TaskAccepted F/t1 in c1)
        Checkpoint(UpdateMade F/t1 TASK_FAILED#2 REASON_CONTAINER_LAUNCH_FAILED "this agent can keep no cores for one task alone: it does not isolate tasks, or could not find out which cores it may use; launch the task on another agent")
        Send(1: Update F/t1 TASK_FAILED#2 REASON_CONTAINER_LAUNCH_FAILED "this agent can keep no cores for one task alone: it does not isolate tasks, or could not find out which cores it may use; launch the task on another agent")"#]]);
}

#[test]
fn what_changes_while_a_question_is_under_way_is_asked_after_its_answer() {
    let mut world = shared();
    world.run(alone("t2", 1));
    world.run(alone("t3", 1));
    world.resize("t1", "cpus:0.5; mem:64");
    world.skip();
    // The question was about the first core only, and is one of cores: it says nothing of the size.
    world.resized("t1", Ok(()));
    world.expect(expect![[r#"Resize(c1 to cpus:0.5; mem:64 on 2,3)"#]]);
    // The size is refused, and the cores with it: they are asked for again, by themselves.
    world.resized("t1", Err("in use"));
    world.expect(expect![[r#"
        Checkpoint(ResizeRefused F/t1)
        Send(1: Resized F/t1 cpus:1; mem:64 and not cpus:0.5; mem:64)
        Checkpoint(UpdateMade F/t1 TASK_RUNNING#8 REASON_CONTAINER_UPDATE_FAILED "in use")
        Send(1: Update F/t1 TASK_RUNNING#8 REASON_CONTAINER_UPDATE_FAILED "in use")
        Resize(c1 to cpus:1; mem:64 on 2,3)"#]]);
    // Cores that cannot be had are not asked for again and again.
    world.resized("t1", Err("no cpuset"));
    world.expect(expect![[r#""#]]);
}

#[test]
fn cores_are_kept_over_a_restart_of_the_agent() {
    let mut world = shared();
    world.run(alone("t2", 2));
    world.launched("t2", 8);
    world.acknowledge_all();
    let found = vec![world.found_running("t1", 7), world.found_running("t2", 8)];
    world.restarts(secs(1), BOOT, found);
    world.expect(expect![[r#"
        Watch(c1)
        Watch(c4)
        Resize(c1 to cpus:1; mem:64 on 2,3)
        Resize(c4 to cpus:2; mem:64 on 0,1)"#]]);
}

#[test]
fn a_task_keeps_its_own_cores_and_their_number() {
    let mut world = World::with_cores(4);
    world.run(alone("t1", 2));
    world.launched("t1", 7);
    world.acknowledge_all();
    world.skip();
    world.resize("t1", "cpus:3; mem:64");
    world.expect(expect![[r#"
        Send(1: Resized F/t1 cpus:2; mem:64 and not cpus:3; mem:64)
        Checkpoint(UpdateMade F/t1 TASK_RUNNING#4 REASON_CONTAINER_UPDATE_FAILED "the task has its cores for itself alone, and keeps them while it runs; launch another task for other cpus")
        Send(1: Update F/t1 TASK_RUNNING#4 REASON_CONTAINER_UPDATE_FAILED "the task has its cores for itself alone, and keeps them while it runs; launch another task for other cpus")"#]]);
    world.resize("t1", "cpus:2; mem:32");
    world.expect(expect![[r#"
        Checkpoint(ResizeBegun F/t1 cpus:2; mem:32)
        Resize(c1 to cpus:2; mem:32 on 0,1)"#]]);
}

/// The same, with a task `t2` that has the cores 0 and 1 for itself, and `t1` moved away.
fn apart() -> World {
    let mut world = shared();
    world.run(alone("t2", 2));
    world.launched("t2", 8);
    world.resized("t1", Ok(()));
    world.acknowledge_all();
    world.skip();
    world
}

#[test]
fn the_others_get_all_cores_back_when_their_owner_has_ended_while_the_agent_was_down() {
    let mut world = apart();
    let end = End { exit: Some(Exit::Code(0)), ..End::default() };
    let over = Found { container: world.container("t2"), condition: Condition::Exited(end) };
    let found = vec![world.found_running("t1", 7), over];
    world.restarts(secs(1), BOOT, found);
    world.expect(expect![[r#"
        Watch(c1)
        Checkpoint(UpdateMade F/t2 TASK_FINISHED#1 "exited with 0")
        Destroy(c4)
        Resize(c1 to cpus:1; mem:64)"#]]);
    world.resized("t1", Ok(()));
    world.expect(expect![[r#"Checkpoint(CoresApart false)"#]]);
}

#[test]
fn others_are_moved_when_it_is_known_of_all_whether_they_run_and_not_before() {
    // The owner comes first in the order of names, and of the two others one has ended, too.
    let mut world = World::with_cores(4);
    world.run(alone("t1", 2));
    world.launched("t1", 7);
    for (task, pid) in [("t2", 8), ("t3", 9)] {
        world.run(spec(task));
        world.launched(task, pid);
    }
    world.acknowledge_all();
    let gone = |task: &str, world: &World| Found {
        container: world.container(task),
        condition: Condition::Vanished,
    };
    let found = vec![gone("t1", &world), gone("t2", &world), world.found_running("t3", 9)];
    world.restarts(secs(1), BOOT, found);
    world.expect(expect![[r#"
        Checkpoint(UpdateMade F/t1 TASK_FAILED#1 REASON_EXECUTOR_TERMINATED "its container vanished while the agent was down and left no exit record")
        Destroy(c1)
        Checkpoint(UpdateMade F/t2 TASK_FAILED#2 REASON_EXECUTOR_TERMINATED "its container vanished while the agent was down and left no exit record")
        Destroy(c4)
        Watch(c7)
        Resize(c7 to cpus:1; mem:64)"#]]);
}

#[test]
fn cores_of_a_task_of_which_nothing_is_told_are_given_back_as_well() {
    let mut world = apart();
    world.hears(FromMaster::ShutdownFramework { framework: key("t2").framework });
    let end = End { exit: Some(Exit::Signal(15)), ..End::default() };
    let over = Found { container: world.container("t2"), condition: Condition::Exited(end) };
    let found = vec![world.found_running("t1", 7), over];
    world.restarts(secs(1), BOOT, found);
    world.expect(expect![[r#"
        Watch(c1)
        Signal(c1 Term)
        Checkpoint(TaskForgotten F/t2)
        Destroy(c4)
        Resize(c1 to cpus:1; mem:64)"#]]);
}

#[test]
fn others_that_were_not_moved_back_before_their_agent_died_are_moved_by_the_next_one() {
    let mut world = apart();
    world.exits("t2", Exit::Code(0));
    // Its end is acknowledged, so nothing of it is known any more, and whether t1 was moved is not.
    world.acknowledge_all();
    assert_eq!(world.agent.state().tasks.len(), 1);
    let found = vec![world.found_running("t1", 7)];
    world.restarts(secs(1), BOOT, found);
    world.expect(expect![[r#"
        Watch(c1)
        Resize(c1 to cpus:1; mem:64)"#]]);
    world.resized("t1", Ok(()));
    world.expect(expect![[r#"Checkpoint(CoresApart false)"#]]);
    let found = vec![world.found_running("t1", 7)];
    world.restarts(secs(1), BOOT, found);
    world.expect(expect!["Watch(c1)"]);
}

#[test]
fn a_size_that_is_refused_keeps_no_task_away_from_cores_that_came_back_meanwhile() {
    let mut world = apart();
    world.resize("t1", "cpus:1; mem:32");
    let over = Found { container: world.container("t2"), condition: Condition::Vanished };
    let found = vec![world.found_running("t1", 7), over];
    world.restarts(secs(1), BOOT, found);
    world.skip();
    world.resized("t1", Err("in use"));
    world.expect(expect![[r#"
        Checkpoint(ResizeRefused F/t1)
        Checkpoint(UpdateMade F/t1 TASK_RUNNING#2 REASON_CONTAINER_UPDATE_FAILED "in use")
        Resize(c1 to cpus:1; mem:64)"#]]);
    world.resized("t1", Ok(()));
    world.expect(expect![[r#"Checkpoint(CoresApart false)"#]]);
}

#[test]
fn a_task_whose_cores_are_gone_gets_others_if_one_is_left_besides() {
    let mut world = apart();
    let running = |world: &World| vec![world.found_running("t1", 7), world.found_running("t2", 8)];
    // The agent has other cores, as many as before.
    world.config.cores = [1, 2, 3, 4].into();
    let there = running(&world);
    world.restarts(secs(1), BOOT, there);
    world.expect(expect![[r#"
        Watch(c1)
        Watch(c4)
        Checkpoint(CoresTaken F/t2 {1, 2})
        Resize(c1 to cpus:1; mem:64 on 3,4)
        Resize(c4 to cpus:2; mem:64 on 1,2)"#]]);
    // One is gone that was nobody's in particular.
    world.config.cores = [1, 2, 4].into();
    let there = running(&world);
    world.restarts(secs(1), BOOT, there);
    world.expect(expect![[r#"
        Watch(c1)
        Watch(c4)
        Resize(c1 to cpus:1; mem:64 on 4)
        Resize(c4 to cpus:2; mem:64 on 1,2)"#]]);
}

#[test]
fn a_task_that_cannot_have_as_many_cores_for_itself_any_more_is_killed_and_told_why() {
    let mut world = apart();
    world.config.cores = [0, 3].into();
    let found = vec![world.found_running("t1", 7), world.found_running("t2", 8)];
    world.restarts(secs(1), BOOT, found);
    world.expect(expect![[r#"
        Watch(c1)
        Watch(c4)
        Checkpoint(KillBegun F/t2 CoresLost left 5s of 5s)
        Checkpoint(UpdateMade F/t2 TASK_KILLING#1 REASON_CONTAINER_UPDATE_FAILED)
        Signal(c4 Term)
        Checkpoint(CoresTaken F/t2 {})
        Resize(c1 to cpus:1; mem:64)
        Resize(c4 to cpus:2; mem:64)"#]]);
    world.resized("t1", Ok(()));
    world.resized("t2", Ok(()));
    world.expect(expect![[r#"Checkpoint(CoresApart false)"#]]);
    world.exits("t2", Exit::Signal(15));
    world.expect(expect![[r#"
        Checkpoint(UpdateMade F/t2 TASK_FAILED#2 REASON_CONTAINER_UPDATE_FAILED "the agent has fewer cores than before, and not as many for this task alone as it asked for; launch it on another agent, or ask for fewer; killed by SIGTERM (15)")
        Destroy(c4)"#]]);
}

#[test]
fn a_task_that_would_leave_no_core_of_a_smaller_machine_is_killed_also_where_all_of_its_own_are_there() {
    let mut world = apart();
    world.run(alone("t3", 1));
    world.launched("t3", 9);
    world.acknowledge_all();
    // t2 has 0 and 1 and keeps them; t3 has 2, which is the last one.
    world.config.cores = [0, 1, 2].into();
    let found = [("t1", 7), ("t2", 8), ("t3", 9)].map(|(task, pid)| world.found_running(task, pid));
    world.restarts(secs(1), BOOT, found.into());
    world.skip();
    let tasks = &world.agent.state().tasks;
    let kept = &tasks[&key("t2")];
    assert!(kept.cores == Cores::from([0, 1]) && kept.kill.is_none(), "{kept:?}");
    let lost = &tasks[&key("t3")];
    assert!(lost.cores.is_empty() && lost.kill.is_some(), "{lost:?}");
}
