use std::time::Duration;

use bourse_types::{Exit, HealthCheck, HealthKind, TaskSpec};
use expect_test::expect;

use crate::world::{World, checked, secs, spec};

#[test]
fn the_first_check_waits_for_the_delay_and_the_next_for_the_interval_after_the_answer() {
    let check = HealthCheck::new(HealthKind::Tcp { port: 80 });
    let mut world = World::running(TaskSpec { health: Some(check), ..spec("t1") });
    world.pass(Duration::from_millis(14_999));
    world.expect(expect![[r#""#]]);
    world.pass(Duration::from_millis(1));
    world.expect(expect!["Probe(c1 round 1)"]);
    world.pass(secs(3));
    world.probed("t1", 1, Ok(()));
    world.acknowledge("t1");
    world.expect(expect![[r#"
        Checkpoint(HealthSeen F/t1 failures 0)
        Checkpoint(UpdateMade F/t1 TASK_RUNNING#4 REASON_TASK_HEALTH_CHECK_STATUS_UPDATED healthy)
        Send(1: Update F/t1 TASK_RUNNING#4 REASON_TASK_HEALTH_CHECK_STATUS_UPDATED healthy)
        Checkpoint(UpdateAcknowledged F/t1)"#]]);
    world.pass(Duration::from_millis(9_999));
    world.expect(expect![[r#""#]]);
    world.pass(Duration::from_millis(1));
    world.expect(expect!["Probe(c1 round 2)"]);
}

#[test]
fn a_healthy_task_is_told_once_and_an_unhealthy_one_each_time() {
    let mut world = World::running(checked("t1"));
    for (round, outcome) in [(1, Ok(())), (2, Ok(())), (3, Err("refused")), (4, Err("refused")), (5, Ok(()))]
    {
        world.tick();
        world.probed("t1", round, outcome);
        world.acknowledge_all();
        world.pass(secs(10));
    }
    world.expect(expect![[r#"
        Probe(c1 round 1)
        Checkpoint(HealthSeen F/t1 failures 0)
        Checkpoint(UpdateMade F/t1 TASK_RUNNING#4 REASON_TASK_HEALTH_CHECK_STATUS_UPDATED healthy)
        Send(1: Update F/t1 TASK_RUNNING#4 REASON_TASK_HEALTH_CHECK_STATUS_UPDATED healthy)
        Checkpoint(UpdateAcknowledged F/t1)
        Probe(c1 round 2)
        Probe(c1 round 3)
        Checkpoint(HealthSeen F/t1 failures 1)
        Checkpoint(UpdateMade F/t1 TASK_RUNNING#5 REASON_TASK_HEALTH_CHECK_STATUS_UPDATED unhealthy "health check failed (1 of 3 in a row): refused")
        Send(1: Update F/t1 TASK_RUNNING#5 REASON_TASK_HEALTH_CHECK_STATUS_UPDATED unhealthy "health check failed (1 of 3 in a row): refused")
        Checkpoint(UpdateAcknowledged F/t1)
        Probe(c1 round 4)
        Checkpoint(HealthSeen F/t1 failures 2)
        Checkpoint(UpdateMade F/t1 TASK_RUNNING#6 REASON_TASK_HEALTH_CHECK_STATUS_UPDATED unhealthy "health check failed (2 of 3 in a row): refused")
        Send(1: Update F/t1 TASK_RUNNING#6 REASON_TASK_HEALTH_CHECK_STATUS_UPDATED unhealthy "health check failed (2 of 3 in a row): refused")
        Checkpoint(UpdateAcknowledged F/t1)
        Probe(c1 round 5)
        Checkpoint(HealthSeen F/t1 failures 0)
        Checkpoint(UpdateMade F/t1 TASK_RUNNING#7 REASON_TASK_HEALTH_CHECK_STATUS_UPDATED healthy)
        Send(1: Update F/t1 TASK_RUNNING#7 REASON_TASK_HEALTH_CHECK_STATUS_UPDATED healthy)
        Checkpoint(UpdateAcknowledged F/t1)
        Probe(c1 round 6)"#]]);
}

#[test]
fn failures_in_a_row_kill_the_task_and_its_end_says_that_it_was_unhealthy() {
    let mut world = World::running(checked("t1"));
    for round in 1..=2 {
        world.tick();
        world.probed("t1", round, Err("connection refused"));
        world.acknowledge_all();
        world.pass(secs(10));
    }
    world.skip();
    world.probed("t1", 3, Err("connection refused"));
    world.acknowledge_all();
    world.expect(expect![[r#"
        Checkpoint(HealthSeen F/t1 failures 3)
        Checkpoint(UpdateMade F/t1 TASK_RUNNING#6 REASON_TASK_HEALTH_CHECK_STATUS_UPDATED unhealthy "health check failed (3 of 3 in a row): connection refused")
        Send(1: Update F/t1 TASK_RUNNING#6 REASON_TASK_HEALTH_CHECK_STATUS_UPDATED unhealthy "health check failed (3 of 3 in a row): connection refused")
        Checkpoint(KillBegun F/t1 Unhealthy left 5s of 5s)
        Checkpoint(UpdateMade F/t1 TASK_KILLING#7)
        Signal(c1 Term)
        Checkpoint(UpdateAcknowledged F/t1)
        Send(1: Update F/t1 TASK_KILLING#7)
        Checkpoint(UpdateAcknowledged F/t1)"#]]);
    world.exits("t1", Exit::Signal(15));
    world.expect(expect![[r#"
        Checkpoint(UpdateMade F/t1 TASK_KILLED#8 unhealthy "health check failed 3 times in a row; killed by SIGTERM (15)")
        Send(1: Update F/t1 TASK_KILLED#8 unhealthy "health check failed 3 times in a row; killed by SIGTERM (15)")
        Destroy(c1)"#]]);
}

#[test]
fn failures_in_the_grace_period_do_not_count() {
    let mut spec = checked("t1");
    spec.health.as_mut().expect("checked").grace_period = secs(60);
    let mut world = World::running(spec);
    for round in 1..=5 {
        world.tick();
        world.probed("t1", round, Err("not yet"));
        world.pass(secs(10));
    }
    world.skip();
    world.probed("t1", 6, Err("not yet"));
    world.expect(expect![[r#""#]]);
    world.pass(secs(10));
    world.skip();
    world.probed("t1", 7, Err("still not"));
    world.expect(expect![[r#"
        Checkpoint(HealthSeen F/t1 failures 1)
        Checkpoint(UpdateMade F/t1 TASK_RUNNING#4 REASON_TASK_HEALTH_CHECK_STATUS_UPDATED unhealthy "health check failed (1 of 3 in a row): still not")
        Send(1: Update F/t1 TASK_RUNNING#4 REASON_TASK_HEALTH_CHECK_STATUS_UPDATED unhealthy "health check failed (1 of 3 in a row): still not")"#]]);
}

#[test]
fn a_check_that_never_answers_has_failed() {
    let mut world = World::running(checked("t1"));
    world.tick();
    world.skip();
    world.pass(secs(10));
    world.expect(expect![[r#"
        Checkpoint(HealthSeen F/t1 failures 1)
        Checkpoint(UpdateMade F/t1 TASK_RUNNING#4 REASON_TASK_HEALTH_CHECK_STATUS_UPDATED unhealthy "health check failed (1 of 3 in a row): the check gave no answer")
        Send(1: Update F/t1 TASK_RUNNING#4 REASON_TASK_HEALTH_CHECK_STATUS_UPDATED unhealthy "health check failed (1 of 3 in a row): the check gave no answer")"#]]);
    world.probed("t1", 1, Ok(()));
    world.expect(expect![[r#""#]]);
}

#[test]
fn a_check_that_the_agent_could_not_make_counts_neither_way_and_the_next_one_comes_in_time() {
    let mut world = World::running(checked("t1"));
    for round in 1..=2 {
        world.tick();
        world.probed("t1", round, Err("refused"));
        world.acknowledge_all();
        world.pass(secs(10));
    }
    world.skip();
    for round in 3..=6 {
        world.not_probed("t1", round, "too many open files");
        world.pass(secs(10));
    }
    world.expect(expect![[r#"
        Probe(c1 round 4)
        Probe(c1 round 5)
        Probe(c1 round 6)
        Probe(c1 round 7)"#]]);
    world.probed("t1", 7, Err("refused"));
    world.expect(expect![[r#"
        Checkpoint(HealthSeen F/t1 failures 3)
        Checkpoint(UpdateMade F/t1 TASK_RUNNING#6 REASON_TASK_HEALTH_CHECK_STATUS_UPDATED unhealthy "health check failed (3 of 3 in a row): refused")
        Send(1: Update F/t1 TASK_RUNNING#6 REASON_TASK_HEALTH_CHECK_STATUS_UPDATED unhealthy "health check failed (3 of 3 in a row): refused")
        Checkpoint(KillBegun F/t1 Unhealthy left 5s of 5s)
        Checkpoint(UpdateMade F/t1 TASK_KILLING#7)
        Signal(c1 Term)"#]]);
}

#[test]
fn a_task_that_is_being_killed_is_not_checked_any_more() {
    let mut world = World::running(checked("t1"));
    world.tick();
    world.kill("t1", Some(secs(1_000)), None);
    world.acknowledge("t1");
    world.skip();
    world.probed("t1", 1, Err("refused"));
    world.pass(secs(100));
    world.expect(expect![[r#""#]]);
}
