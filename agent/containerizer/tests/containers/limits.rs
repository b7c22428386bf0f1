//! What a task may use is all that it gets.

use std::time::{Duration, Instant};

use bourse_containerizer::{Containerizer, Limitation};
use bourse_types::{Exit, Milli};

use super::lab::{Lab, exit_of, read, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_task_over_its_memory_is_killed_and_the_end_says_so_with_figures() {
    let lab = Lab::new();
    // tail keeps the last line, and this one never ends.
    let spec = lab.spec("c1", &["tail", "/dev/zero"]);
    lab.launch(&spec).await;
    let ended = lab.wait(&spec).await;
    assert_eq!(exit_of(&ended), Exit::Signal(libc::SIGKILL));
    let limitation = ended.limitation.expect("the limit ended it");
    let Limitation::Memory { limit_bytes, .. } = limitation;
    assert_eq!(limit_bytes, 64 << 20);
    assert!(limitation.to_string().starts_with("memory limit 64 MiB exceeded"), "{limitation}");
    let usage = ended.usage.expect("the groups are still there");
    assert!(usage.oom_kills >= 1);
    assert!(usage.memory_peak_bytes.is_none_or(|peak| peak > 60 << 20 && peak <= 64 << 20), "{usage:?}");
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_lost_a_process_to_its_limit_is_told_so_whatever_its_own_status_is() {
    let lab = Lab::new();
    for (name, script) in [("c1", "tail /dev/zero; exit 1"), ("c2", "tail /dev/zero; exit 0")] {
        let spec = lab.shell(name, script);
        lab.launch(&spec).await;
        let ended = lab.wait(&spec).await;
        assert!(matches!(ended.limitation, Some(Limitation::Memory { .. })), "{script}: {ended:?}");
    }
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_starts_its_lost_process_again_and_again_is_ended_as_a_whole() {
    let lab = Lab::new();
    let spec = lab.shell("c1", "while :; do tail /dev/zero; done");
    lab.launch(&spec).await;
    let ended = lab.wait(&spec).await;
    assert_eq!(exit_of(&ended), Exit::Signal(libc::SIGKILL));
    assert!(matches!(ended.limitation, Some(Limitation::Memory { .. })), "{ended:?}");
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_within_its_memory_has_no_limitation() {
    let lab = Lab::new();
    let spec = lab.shell("c1", "head -c 20000000 /dev/zero | tail -c 20000000 > /dev/null; exit 1");
    lab.launch(&spec).await;
    let ended = lab.wait(&spec).await;
    assert_eq!((exit_of(&ended), ended.limitation), (Exit::Code(1), None));
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_loop_with_half_a_cpu_gets_half_a_cpu_and_is_seen_throttled() {
    let lab = Lab::new();
    let mut spec = lab.shell("c1", "while :; do :; done & while :; do :; done");
    spec.limits.cpu_quota = Some(Milli::new(500));
    lab.launch(&spec).await;
    let usage = async || lab.containerizer.usage(&spec.container_id).await.expect("it runs");
    // A window of a fixed length is what is measured.
    let (before, since) = (usage().await, Instant::now());
    tokio::time::sleep(Duration::from_secs(2)).await;
    let (after, window) = (usage().await, since.elapsed());
    let cpus = (after.cpu - before.cpu).as_secs_f64() / window.as_secs_f64();
    println!("{cpus:.3} cpus, {after:?}");
    assert!(cpus <= 0.55, "it had {cpus:.3} cpus");
    // On a machine that has less than half a cpu left for it, it takes a while to meet its quota.
    while usage().await.cpu_periods_throttled == 0 {
        assert!(since.elapsed() < Duration::from_secs(60), "{:?}", usage().await);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fork_bomb_stops_at_its_limit_and_can_be_killed() {
    let lab = Lab::new();
    let mut spec = lab.shell("c1", "bomb() { bomb & bomb & wait; }; bomb");
    spec.limits.pids = Some(32);
    spec.limits.cpu_quota = Some(Milli::new(500));
    lab.launch(&spec).await;
    until("the bomb has met its limit", || read(&spec, "stderr").contains("fork")).await;
    let usage = lab.containerizer.usage(&spec.container_id).await.expect("it is known");
    assert!(usage.pids <= 32, "{usage:?}");
    lab.containerizer.kill_all(&spec.container_id).await.expect("it is known");
    lab.wait(&spec).await;
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_task_has_used_can_be_asked_after_its_end() {
    let lab = Lab::new();
    let spec = lab.shell("c1", "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done");
    assert_eq!(lab.run(&spec).await, Exit::Code(0));
    let usage = lab.containerizer.usage(&spec.container_id).await.expect("it is known until it is destroyed");
    assert!(usage.cpu > Duration::ZERO, "{usage:?}");
    assert_eq!((usage.pids, usage.oom_kills, usage.memory_limit_bytes), (0, 0, Some(64 << 20)));
    lab.finish().await;
}
