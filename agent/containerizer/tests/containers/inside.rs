//! Commands inside a running container.

use std::time::{Duration, Instant};

use bourse_containerizer::{Check, CheckEnd, ContainerError, ContainerSpec, Containerizer, SANDBOX};
use bourse_types::Exit;

use super::lab::{Lab, processes_marked, read, until, within};

fn check(script: &str) -> Check {
    Check {
        argv: vec!["/bin/sh".into(), "-c".into(), script.into()],
        env: vec![("CHECK".into(), "yes".into())],
        timeout: Duration::from_secs(10),
    }
}

async fn running(lab: &Lab) -> ContainerSpec {
    let mut spec = lab.shell("c1", "echo up; sleep 1000");
    spec.hostname = Some("inside".into());
    spec.user = Some("nobody".into());
    lab.launch(&spec).await;
    until("the task runs", || read(&spec, "stdout").contains("up")).await;
    spec
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_has_the_containers_own_null_device_and_not_the_machines() {
    let lab = Lab::new();
    // Of root, who owns the machine's.
    let spec = lab.spec("c1", &["sleep", "1000"]);
    lab.launch(&spec).await;
    let check = check("chmod 600 /proc/self/fd/0 || chown 1000 /proc/self/fd/1 || exit 7");
    let end = lab.containerizer.exec(&spec.container_id, &check).await.expect("it can be run");
    assert_eq!(end, CheckEnd::Exited(Exit::Code(7)));
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_sees_what_the_task_sees_as_the_same_user() {
    let lab = Lab::new();
    let spec = running(&lab).await;
    let script = r#"
        { hostname; id -un; pwd; echo $LAB $CHECK; cat /proc/2/comm; } > seen
        grep NoNewPrivs /proc/self/status >> seen
        [ "$(ls "$PWD/..")" = sandbox ]"#;
    let end = lab.containerizer.exec(&spec.container_id, &check(script)).await.expect("it can be run");
    assert_eq!(end, CheckEnd::Exited(Exit::Code(0)));
    let seen = format!("inside\nnobody\n{SANDBOX}\n{} yes\nsh\nNoNewPrivs:\t1\n", lab.instance);
    assert_eq!(read(&spec, "seen"), seen);
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_tells_its_exit_status() {
    let lab = Lab::new();
    let spec = running(&lab).await;
    for (script, expected) in
        [("exit 0", Exit::Code(0)), ("exit 7", Exit::Code(7)), ("kill -9 $$", Exit::Signal(9))]
    {
        let end = lab.containerizer.exec(&spec.container_id, &check(script)).await.expect("it can be run");
        assert_eq!(end, CheckEnd::Exited(expected), "{script}");
    }
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_that_takes_too_long_is_killed_and_the_task_lives_on() {
    let lab = Lab::new();
    let spec = running(&lab).await;
    let mut slow = check("sleep 999 & sleep 999");
    slow.timeout = Duration::from_millis(200);
    let since = Instant::now();
    let end = lab.containerizer.exec(&spec.container_id, &slow).await.expect("it can be run");
    assert_eq!(end, CheckEnd::TimedOut);
    assert!(since.elapsed() < Duration::from_secs(5));
    until("the check is gone", || processes_marked("CHECK=yes").iter().all(|pid| !marked(&lab, *pid))).await;
    assert!(lab.containerizer.usage(&spec.container_id).await.expect("it lives").pids > 0);
    lab.finish().await;
}

fn marked(lab: &Lab, pid: u32) -> bool {
    processes_marked(&format!("LAB={}", lab.instance)).contains(&pid)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_that_nobody_waits_for_any_more_is_killed() {
    let lab = Lab::new();
    let spec = running(&lab).await;
    let (containerizer, id) = (lab.containerizer.clone(), spec.container_id.clone());
    let waiting =
        tokio::spawn(async move { containerizer.exec(&id, &check("touch begun; sleep 999")).await });
    let begun = spec.sandbox.join("begun");
    until("the check runs", || begun.exists()).await;
    waiting.abort();
    until("the check is gone", || processes_marked("CHECK=yes").iter().all(|pid| !marked(&lab, *pid))).await;
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_that_cannot_be_run_says_why() {
    let lab = Lab::new();
    let spec = running(&lab).await;
    let mut missing = check("");
    missing.argv = vec!["no-such-check".into()];
    let error =
        lab.containerizer.exec(&spec.container_id, &missing).await.expect_err("there is no such command");
    assert!(error.to_string().contains("no-such-check"), "{error}");
    lab.containerizer.kill_all(&spec.container_id).await.expect("it runs");
    lab.wait(&spec).await;
    let late = within(lab.containerizer.exec(&spec.container_id, &check("true"))).await;
    assert!(matches!(late, Err(ContainerError::Ended(_))), "{late:?}");
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_counts_towards_the_limits_of_the_task() {
    let lab = Lab::new();
    let spec = running(&lab).await;
    // A slow machine needs a while for so much memory.
    let hungry = Check { timeout: Duration::from_secs(60), ..check("tail /dev/zero") };
    let end = lab.containerizer.exec(&spec.container_id, &hungry).await.expect("it can be run");
    assert!(!matches!(end, CheckEnd::Exited(Exit::Code(0)) | CheckEnd::TimedOut), "{end:?}");
    let usage = lab.containerizer.usage(&spec.container_id).await.expect("it is known");
    assert!(usage.oom_kills >= 1, "{usage:?}");
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_takes_along_what_it_left_running() {
    let lab = Lab::new();
    let spec = running(&lab).await;
    let end = lab.containerizer.exec(&spec.container_id, &check("sleep 999 & exit 0")).await;
    assert_eq!(end.expect("it can be run"), CheckEnd::Exited(Exit::Code(0)));
    until("the check is gone", || processes_marked("CHECK=yes").iter().all(|pid| !marked(&lab, *pid))).await;
    assert!(lab.containerizer.usage(&spec.container_id).await.expect("it lives").pids > 0);
    lab.finish().await;
}

/// First processes of containers and checks that this test program has started, zombies included.
fn first_processes() -> Vec<u32> {
    let by_us = |pid: &u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let parent = stat.split_once("(bourse-init) ").and_then(|(_, rest)| rest.split(' ').nth(1));
        parent == Some(&std::process::id().to_string())
    };
    let pids = std::fs::read_dir("/proc").expect("/proc is mounted").flatten();
    pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(by_us).collect()
}

#[test]
fn a_check_that_nobody_waits_for_while_it_is_being_started_leaves_no_zombie() {
    // With one thread for what blocks, checks are started in the order in which they are asked for.
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.max_blocking_threads(1).enable_all().build().expect("threads can be made");
    runtime.block_on(async {
        let lab = Lab::new();
        let spec = running(&lab).await;
        let (id, check) = (&spec.container_id, check("true"));
        let before = first_processes();
        for _ in 0..20 {
            let mut starting = Box::pin(lab.containerizer.exec(id, &check));
            // Once asked, it is under way on the other thread; then nobody asks any more.
            std::future::poll_fn(|context| {
                let _ = starting.as_mut().poll(context);
                std::task::Poll::Ready(())
            })
            .await;
        }
        lab.containerizer.exec(id, &check).await.expect("it can be run");
        let mut started = first_processes();
        started.retain(|pid| !before.contains(pid));
        until("all have gone", || first_processes().iter().all(|pid| !started.contains(pid))).await;
        lab.finish().await;
    });
}
