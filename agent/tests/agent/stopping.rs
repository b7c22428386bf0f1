use bourse_proto::v1::TaskState::*;

use crate::lab::{Lab, is_alive, shell};

#[tokio::test]
async fn stopping_the_agent_leaves_its_tasks_alone() {
    let mut lab = Lab::new().await;
    lab.run(&shell("t1", "exec sleep 1000"));
    let pid = lab.until_running("t1").await;
    assert!(lab.stop_agent().await, "{}", lab.agent_log());
    assert!(is_alive(pid));
    lab.start().await;
    let again = lab.master.registrations().pop().expect("registered again");
    assert_eq!(again.tasks.len(), 1);
    lab.clean().await;
}

#[tokio::test]
async fn with_kill_tasks_on_exit_nothing_is_left() {
    let mut lab = Lab::with(&["--kill-tasks-on-exit", "--kill-grace=300ms"]).await;
    lab.run(&shell("t1", "exec sleep 1000"));
    lab.run(&shell("t2", "trap '' TERM; while :; do sleep 0.05; done"));
    lab.until_running("t1").await;
    lab.until_running("t2").await;
    assert!(lab.stop_agent().await, "{}", lab.agent_log());
    lab.until_state("t1", TaskGone).await;
    lab.until_state("t2", TaskGone).await;
    lab.assert_nothing_left();
}

#[tokio::test]
async fn a_second_agent_in_the_same_work_directory_refuses_to_start() {
    let lab = Lab::new().await;
    let mut second = lab.spawn();
    let ended = tokio::time::timeout(crate::lab::DEADLINE, second.wait())
        .await
        .expect("in time")
        .expect("its status");
    assert!(!ended.success());
    assert!(lab.agent_log().contains("another agent uses the work directory"), "{}", lab.agent_log());
    lab.clean().await;
}

#[tokio::test]
async fn an_agent_that_is_marked_gone_kills_its_tasks_and_ends_with_the_reason() {
    use bourse_proto::agent_link::{Refused, to_agent};
    let mut lab = Lab::with(&["--kill-grace=300ms"]).await;
    lab.run(&shell("t1", "exec sleep 1000"));
    let pid = lab.until_running("t1").await;
    lab.master.refuses_from_now_on(to_agent::Message::Refused(Refused {
        reason: "GONE".into(),
        message: "agent m-S0 was marked gone; remove its work directory to register it as a new one".into(),
        shut_down: true,
    }));
    lab.master.hang_up();
    assert!(!lab.end_of_agent().await);
    assert!(!is_alive(pid));
    assert!(lab.agent_log().contains("marked gone"), "{}", lab.agent_log());
    lab.assert_nothing_left();
}

#[tokio::test]
async fn an_agent_with_a_damaged_checkpoint_refuses_to_start_and_says_what_to_do() {
    let mut lab = Lab::new().await;
    lab.run(&shell("t1", "exec sleep 1000"));
    let pid = lab.until_running("t1").await;
    lab.kill_agent().await;
    let path = lab.work_dir().join("checkpoint");
    let whole = std::fs::read(&path).expect("readable");
    let mut damaged = whole.clone();
    damaged[60] ^= 4;
    std::fs::write(&path, &damaged).expect("written");
    let mut refused = lab.spawn();
    let ended = tokio::time::timeout(crate::lab::DEADLINE, refused.wait())
        .await
        .expect("in time")
        .expect("its status");
    assert!(!ended.success() && is_alive(pid));
    assert!(lab.agent_log().contains("Restore the file from a backup"), "{}", lab.agent_log());
    std::fs::write(&path, &whole).expect("written");
    lab.start().await;
    assert_eq!(lab.master.registrations().pop().expect("registered again").tasks.len(), 1);
    lab.clean().await;
}

#[tokio::test]
async fn an_agent_raises_its_limit_of_open_files_to_what_it_may_have() {
    let lab = Lab::new().await;
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", lab.agent_pid())).expect("it runs");
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).expect("a line of it");
    let mut words = line.split_whitespace();
    let (soft, hard) = (words.next(), words.next());
    assert!(soft == hard && soft != Some("512"), "{line}");
    lab.clean().await;
}
