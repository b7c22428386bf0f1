use std::time::{Duration, Instant};

use bourse_proto::v1::TaskState::*;
use bourse_proto::v1::task_status::Reason;
use bourse_types::TaskSpec;

use crate::lab::{Lab, shell};

#[tokio::test]
async fn a_kill_gives_the_task_its_grace_to_end_by_itself() {
    let lab = Lab::new().await;
    lab.run(&shell("t1", "trap 'echo bye; exit 0' TERM; echo ready; while :; do sleep 0.05; done"));
    lab.until_running("t1").await;
    crate::logs::until_log_holds(&lab, "t1", "ready").await;
    lab.kill_task("t1", Some(Duration::from_secs(600)));
    let end = lab.until_state("t1", TaskKilled).await;
    assert_eq!(end.exit.and_then(|exit| exit.code), Some(0));
    assert_eq!(lab.master.states("t1"), [TaskStarting, TaskRunning, TaskKilling, TaskKilled]);
    assert_eq!(lab.stdout("t1").await, "ready\nbye\n");
    lab.clean().await;
}

#[tokio::test]
async fn a_task_that_ignores_sigterm_is_killed_after_its_grace_with_all_its_children() {
    let lab = Lab::new().await;
    lab.run(&shell("t1", "trap '' TERM; sleep 1000 & echo ready; while :; do sleep 0.05; done"));
    lab.until_running("t1").await;
    crate::logs::until_log_holds(&lab, "t1", "ready").await;
    let asked = Instant::now();
    lab.kill_task("t1", Some(Duration::from_millis(500)));
    let end = lab.until_state("t1", TaskKilled).await;
    assert!(asked.elapsed() >= Duration::from_millis(500), "after {:?}", asked.elapsed());
    assert_eq!(end.exit.and_then(|exit| exit.signal), Some(9));
    lab.clean().await;
}

#[tokio::test]
async fn a_task_that_takes_longer_than_it_may_is_killed_and_has_failed() {
    let lab = Lab::new().await;
    lab.run(&TaskSpec {
        max_completion_time: Some(Duration::from_millis(300)),
        ..shell("t1", "exec sleep 1000")
    });
    let end = lab.until_state("t1", TaskFailed).await;
    assert_eq!(end.reason(), Reason::MaxCompletionTimeReached);
    lab.clean().await;
}
