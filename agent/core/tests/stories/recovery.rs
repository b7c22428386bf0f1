use std::time::Duration;

use bourse_agent_core::{Condition, Effect, End, Event, Found, FromAgent, LinkId};
use bourse_types::{Exit, TaskSpec};
use expect_test::expect;

use crate::world::{BOOT, World, checked, key, secs, spec};

/// The new agent's link comes up.
fn links_up(world: &mut World) {
    world.tick();
    world.apply(Event::LinkOpened { link: LinkId(1) });
    world.skip();
}

#[test]
fn a_task_whose_process_still_runs_goes_on_and_is_reported() {
    let mut world = World::running(spec("t1"));
    let found = world.found_running("t1", 7);
    world.restarts(secs(60), BOOT, vec![found]);
    world.tick();
    world.apply(Event::LinkOpened { link: LinkId(1) });
    world.expect(expect![[r#"
        Watch(c1)
        Connect(1)
        Send(1: Register S1 1, F/t1 TASK_RUNNING#3)"#]]);
    assert_eq!(world.agent.state().tasks[&key("t1")].started.map(|(pid, _)| pid), Some(7));
}

#[test]
fn an_exit_in_the_gap_is_told_as_it_was() {
    let mut world = World::running(spec("t1"));
    let end = End { exit: Some(Exit::Code(3)), ..End::default() };
    let found = Found { container: world.container("t1"), condition: Condition::Exited(end) };
    world.restarts(secs(60), BOOT, vec![found]);
    world.expect(expect![[r#"
        Checkpoint(UpdateMade F/t1 TASK_FAILED#1 "exited with 3")
        Destroy(c1)"#]]);
}

#[test]
fn updates_that_were_not_acknowledged_are_sent_again_with_the_same_uuid() {
    let mut world = World::registered();
    world.run(spec("t1"));
    world.launched("t1", 7);
    world.exits("t1", Exit::Code(0));
    world.acknowledge("t1");
    let before = world.in_flight("t1");
    world.restarts(secs(60), BOOT, vec![]);
    links_up(&mut world);
    world.registers(&[]);
    world.skip();
    assert_eq!(world.in_flight("t1"), before);
}

#[test]
fn a_container_that_vanished_has_failed_with_that_reason() {
    let mut world = World::running(spec("t1"));
    let found = Found { container: world.container("t1"), condition: Condition::Vanished };
    world.restarts(secs(60), BOOT, vec![found]);
    world.expect(expect![[r#"
        Checkpoint(UpdateMade F/t1 TASK_FAILED#1 REASON_EXECUTOR_TERMINATED "its container vanished while the agent was down and left no exit record")
        Destroy(c1)"#]]);
    let mut world = World::running(spec("t1"));
    world.restarts(secs(60), BOOT, vec![]);
    world.expect(expect![[r#"
        Checkpoint(UpdateMade F/t1 TASK_FAILED#1 REASON_EXECUTOR_TERMINATED "nothing of its container was found when the agent came back")
        Destroy(c1)"#]]);
}

#[test]
fn a_set_up_that_failed_in_the_gap_is_told_with_its_step() {
    let mut world = World::registered();
    world.run(spec("t1"));
    let condition = Condition::NeverRan("could not start the command (nginy)".into());
    let found = Found { container: world.container("t1"), condition };
    world.restarts(secs(60), BOOT, vec![found]);
    world.expect(expect![[r#"
        Checkpoint(UpdateMade F/t1 TASK_FAILED#1 REASON_CONTAINER_LAUNCH_FAILED "could not start the command (nginy)")
        Destroy(c1)"#]]);
}

#[test]
fn a_task_that_was_accepted_and_never_launched_is_dropped_and_not_launched_late() {
    let mut world = World::registered();
    world.run(spec("t1"));
    world.restarts(secs(60), BOOT, vec![]);
    world.expect(expect![[r#"
        Checkpoint(UpdateMade F/t1 TASK_DROPPED#1 REASON_AGENT_RESTARTED "the agent was restarted before the task was launched")
        Destroy(c1)"#]]);
}

#[test]
fn a_launch_that_was_cut_short_is_dropped_as_nothing_of_it_has_run() {
    let mut world = World::registered();
    world.run(spec("t1"));
    let found = Found { container: world.container("t1"), condition: Condition::CutShort };
    world.restarts(secs(60), BOOT, vec![found]);
    world.expect(expect![[r#"
        Checkpoint(UpdateMade F/t1 TASK_DROPPED#1 REASON_AGENT_RESTARTED "the agent was stopped while it launched the task; nothing of it has run")
        Destroy(c1)"#]]);
}

#[test]
fn a_task_that_is_known_to_have_run_has_failed_though_its_container_looks_like_one_that_was_cut_short() {
    let mut world = World::running(spec("t1"));
    // Somebody has removed what the containerizer had written down.
    let found = Found { container: world.container("t1"), condition: Condition::CutShort };
    world.restarts(secs(60), BOOT, vec![found]);
    world.expect(expect![[r#"
        Checkpoint(UpdateMade F/t1 TASK_FAILED#1 REASON_EXECUTOR_TERMINATED "its container vanished while the agent was down and left no exit record")
        Destroy(c1)"#]]);
}

#[test]
fn a_launch_that_was_under_way_is_taken_up() {
    let mut world = World::registered();
    world.run(spec("t1"));
    let found = world.found_running("t1", 7);
    world.restarts(secs(60), BOOT, vec![found]);
    world.expect(expect![[r#"
        Watch(c1)
        Checkpoint(TaskStarted F/t1 pid 7)
        Checkpoint(UpdateMade F/t1 TASK_RUNNING#1)"#]]);
}

#[test]
fn after_a_restart_of_the_machine_every_task_is_gone_and_the_agent_keeps_its_id_and_epoch() {
    let mut world = World::running(spec("t1"));
    world.restarts(secs(60), "boot-2", vec![]);
    world.tick();
    world.apply(Event::LinkOpened { link: LinkId(1) });
    world.expect(expect![[r#"
        Checkpoint(Booted boot-2)
        Checkpoint(UpdateMade F/t1 TASK_GONE#1 REASON_AGENT_RESTARTED "the machine was restarted, and no task outlives that")
        Destroy(c1)
        Connect(1)
        Send(1: Register S1 1, F/t1 TASK_GONE#1 REASON_AGENT_RESTARTED "the machine was restarted, and no task outlives that")"#]]);
}

#[test]
fn a_half_run_kill_gets_only_what_was_left_of_its_grace() {
    let mut world = World::running(spec("t1"));
    world.kill("t1", Some(secs(60)), None);
    world.pass(secs(20));
    let found = world.found_running("t1", 7);
    world.restarts(secs(30), BOOT, vec![found]);
    world.expect(expect![[r#"
        Watch(c1)
        Signal(c1 Term)"#]]);
    world.pass(Duration::from_millis(9_999));
    world.skip();
    world.pass(Duration::from_millis(1));
    world.expect(expect!["KillAll(c1)"]);
}

#[test]
fn a_kill_whose_grace_ran_out_in_the_gap_kills_at_once() {
    let mut world = World::running(spec("t1"));
    world.kill("t1", None, None);
    let found = world.found_running("t1", 7);
    world.restarts(secs(30), BOOT, vec![found]);
    world.expect(expect![[r#"
        Watch(c1)
        KillAll(c1)"#]]);
}

#[test]
fn the_longest_run_time_counts_on_through_the_gap() {
    let mut world = World::running(TaskSpec { max_completion_time: Some(secs(100)), ..spec("t1") });
    world.pass(secs(20));
    let found = world.found_running("t1", 7);
    world.restarts(secs(50), BOOT, vec![found]);
    links_up(&mut world);
    world.registers(&[]);
    world.skip();
    world.pass(Duration::from_millis(29_999));
    world.expect(expect![[r#""#]]);
    world.pass(Duration::from_millis(1));
    world.expect(expect![[r#"
        Checkpoint(KillBegun F/t1 TookTooLong left 5s of 5s)
        Checkpoint(UpdateMade F/t1 TASK_KILLING#1 REASON_MAX_COMPLETION_TIME_REACHED)
        Send(1: Update F/t1 TASK_KILLING#1 REASON_MAX_COMPLETION_TIME_REACHED)
        Signal(c1 Term)"#]]);
}

#[test]
fn failures_counted_before_the_gap_count_after_it() {
    let mut world = World::running(checked("t1"));
    for round in 1..=2 {
        world.tick();
        world.probed("t1", round, Err("refused"));
        world.acknowledge_all();
        world.pass(secs(10));
    }
    let found = world.found_running("t1", 7);
    world.restarts(secs(30), BOOT, vec![found]);
    world.tick();
    world.skip();
    world.probed("t1", 1, Err("refused"));
    world.expect(expect![[r#"
        Checkpoint(HealthSeen F/t1 failures 3)
        Checkpoint(UpdateMade F/t1 TASK_RUNNING#1 REASON_TASK_HEALTH_CHECK_STATUS_UPDATED unhealthy "health check failed (3 of 3 in a row): refused")
        Checkpoint(KillBegun F/t1 Unhealthy left 5s of 5s)
        Checkpoint(UpdateMade F/t1 TASK_KILLING#2)
        Signal(c1 Term)"#]]);
}

#[test]
fn the_grace_period_of_health_checks_counts_on_through_the_gap() {
    let mut spec = checked("t1");
    spec.health.as_mut().expect("checked").grace_period = secs(60);
    let mut world = World::running(spec);
    world.pass(secs(20));
    let found = world.found_running("t1", 7);
    world.restarts(secs(39), BOOT, vec![found]);
    world.tick();
    world.skip();
    world.probed("t1", 1, Err("not yet"));
    world.expect(expect![[r#""#]]);
    world.pass(secs(10));
    world.skip();
    world.probed("t1", 2, Err("still not"));
    world.expect(expect![[r#"
        Checkpoint(HealthSeen F/t1 failures 1)
        Checkpoint(UpdateMade F/t1 TASK_RUNNING#1 REASON_TASK_HEALTH_CHECK_STATUS_UPDATED unhealthy "health check failed (1 of 3 in a row): still not")"#]]);
}

#[test]
fn a_task_that_was_healthy_once_has_no_grace_period_after_the_gap() {
    let mut spec = checked("t1");
    spec.health.as_mut().expect("checked").grace_period = secs(60);
    let mut world = World::running(spec);
    world.tick();
    world.probed("t1", 1, Ok(()));
    world.acknowledge_all();
    let found = world.found_running("t1", 7);
    world.restarts(secs(5), BOOT, vec![found]);
    world.tick();
    world.skip();
    world.probed("t1", 1, Err("refused"));
    world.expect(expect![[r#"
        Checkpoint(HealthSeen F/t1 failures 1)
        Checkpoint(UpdateMade F/t1 TASK_RUNNING#1 REASON_TASK_HEALTH_CHECK_STATUS_UPDATED unhealthy "health check failed (1 of 3 in a row): refused")"#]]);
}

#[test]
fn of_a_grace_that_was_shortened_the_rest_is_left_after_the_gap() {
    let mut world = World::running(spec("t1"));
    world.kill("t1", Some(secs(60)), None);
    world.pass(secs(10));
    world.kill("t1", Some(secs(30)), None);
    let found = world.found_running("t1", 7);
    world.restarts(secs(15), BOOT, vec![found]);
    world.expect(expect![[r#"
        Watch(c1)
        Signal(c1 Term)"#]]);
    world.pass(Duration::from_millis(4_999));
    world.skip();
    world.pass(Duration::from_millis(1));
    world.expect(expect!["KillAll(c1)"]);
}

#[test]
fn tasks_of_a_framework_that_does_not_checkpoint_are_killed_and_gone() {
    let mut world = World::registered();
    let mut framework = crate::world::framework();
    framework.checkpoint = false;
    let assignment = crate::world::assignment(spec("t1")).into();
    world.hears(bourse_agent_core::FromMaster::Run { framework: framework.into(), assignment });
    world.launched("t1", 7);
    world.acknowledge_all();
    let found = world.found_running("t1", 7);
    world.restarts(secs(30), BOOT, vec![found]);
    world.exits("t1", Exit::Signal(15));
    world.expect(expect![[r#"
        Watch(c1)
        Checkpoint(KillBegun F/t1 AgentRestarted left 5s of 5s)
        Checkpoint(UpdateMade F/t1 TASK_KILLING#1 REASON_AGENT_RESTARTED)
        Signal(c1 Term)
        Checkpoint(UpdateMade F/t1 TASK_GONE#2 REASON_AGENT_RESTARTED "the agent was restarted and the framework does not checkpoint; killed by SIGTERM (15)")
        Destroy(c1)"#]]);
}

#[test]
fn containers_that_no_record_knows_are_destroyed() {
    let mut world = World::registered();
    let stray = bourse_types::ContainerId::new("stray").expect("valid");
    let found = Found { container: stray, condition: Condition::Running { pid: 9 } };
    world.restarts(secs(30), BOOT, vec![found]);
    world.expect(expect!["Destroy(stray)"]);
}

#[test]
fn a_container_whose_end_was_written_down_is_only_cleaned_up() {
    let mut world = World::running(spec("t1"));
    world.exits("t1", Exit::Code(0));
    let end = End { exit: Some(Exit::Code(0)), ..End::default() };
    let found = Found { container: world.container("t1"), condition: Condition::Exited(end) };
    world.restarts(secs(30), BOOT, vec![found]);
    world.expect(expect!["Destroy(c1)"]);
}

#[test]
fn a_task_whose_log_was_cut_right_after_its_last_acknowledgement_is_forgotten() {
    let mut world = World::running(spec("t1"));
    world.exits("t1", Exit::Code(0));
    world.acknowledge_all();
    // The acknowledgement was written, and that the task and then its framework are forgotten was not.
    world.restarts_without(2, secs(60), "boot-2", vec![]);
    world.expect(expect![[r#"
        Checkpoint(Booted boot-2)
        Checkpoint(TaskForgotten F/t1)
        Checkpoint(FrameworkForgotten F)"#]]);
}

/// What the agent told to have when it registered last.
fn told(world: &mut World) -> String {
    world.skip();
    let registered = world.all.iter().rev().find_map(|effect| match effect {
        Effect::Send { message: FromAgent::Register(registration), .. } => {
            Some(registration.info.total.to_string())
        }
        _ => None,
    });
    registered.expect("it has registered")
}

#[test]
fn a_machine_that_became_smaller_is_told_as_it_was_until_its_last_task_has_ended_and_then_as_it_is() {
    let mut world = World::running(spec("t1"));
    world.run(spec("t2"));
    world.launched("t2", 8);
    world.acknowledge_all();
    world.config.info.total = "cpus:4; mem:1024".parse().expect("valid");
    world.config.total_without_tasks = Some("cpus:4; mem:512".parse().expect("valid"));
    let found = vec![world.found_running("t1", 7), world.found_running("t2", 8)];
    world.restarts(secs(1), BOOT, found);
    links_up(&mut world);
    assert_eq!(told(&mut world), "cpus:4; mem:1024");
    world.registers(&["t1", "t2"]);
    world.skip();
    world.exits("t1", Exit::Code(0));
    world.expect(expect![[r#"
        Checkpoint(UpdateMade F/t1 TASK_FINISHED#1 "exited with 0")
        Send(1: Update F/t1 TASK_FINISHED#1 "exited with 0")
        Destroy(c1)"#]]);
    world.exits("t2", Exit::Code(0));
    world.expect(expect![[r#"
        Checkpoint(UpdateMade F/t2 TASK_FINISHED#2 "exited with 0")
        Send(1: Update F/t2 TASK_FINISHED#2 "exited with 0")
        Destroy(c4)
        CloseLink(1: the machine has less than the master was told, and no task relies on that any more: the next link tells what it has)"#]]);
    world.pass(secs(2));
    let link = world.link();
    world.apply(Event::LinkOpened { link });
    assert_eq!(told(&mut world), "cpus:4; mem:512");
    world.registers(&[]);
    world.expect(expect![[r#"
        Checkpoint(Described cpus:4; mem:512)
        Send(2: Update F/t1 TASK_FINISHED#1 "exited with 0")
        Send(2: Update F/t2 TASK_FINISHED#2 "exited with 0")"#]]);
}
