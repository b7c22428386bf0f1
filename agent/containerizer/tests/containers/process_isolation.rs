//! `--isolation=process`: a session and a supervisor, nothing more.

use bourse_containerizer::{Check, CheckEnd, ContainerSpec, Containerizer, Isolation, RecoveredState};
use bourse_types::Exit;
use std::path::Path;
use std::time::Duration;

use super::ends::server_under_a_shell;
use super::lab::{Lab, exit_of, groups_of, processes_marked, read, until};

fn plain(lab: &Lab, script: &str) -> ContainerSpec {
    ContainerSpec { isolation: Isolation::Process, ..lab.shell("c1", script) }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_runs_beside_the_agent_without_control_groups() {
    let lab = Lab::new();
    let spec = plain(&lab, "echo $$; readlink /proc/self/ns/pid; exit 3");
    let launched = lab.launch(&spec).await;
    assert!(groups_of(&lab.instance).is_empty());
    assert_eq!(exit_of(&lab.wait(&spec).await), Exit::Code(3));
    let own = std::fs::read_link("/proc/self/ns/pid").expect("/proc is mounted");
    assert_eq!(read(&spec, "stdout"), format!("{}\n{}\n", launched.pid, own.display()));
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_task_left_behind_dies_with_it_even_from_another_session() {
    let lab = Lab::new();
    let spec = plain(&lab, "(setsid sleep 1000 &) ; sleep 1000 & exit 0");
    assert_eq!(lab.run(&spec).await, Exit::Code(0));
    assert_eq!(processes_marked(&format!("LAB={}", lab.instance)), Vec::<u32>::new());
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_can_be_measured_checked_killed_and_found_again() {
    let lab = Lab::new();
    let spec = plain(&lab, "while [ ! -e stop ]; do :; done; sleep 1000; exit 0");
    let launched = lab.launch(&spec).await;
    let id = &spec.container_id;
    let check =
        Check { argv: vec!["touch".into(), "stop".into()], env: vec![], timeout: Duration::from_secs(5) };
    let end = lab.containerizer.exec(id, &check).await.expect("it can be run");
    assert_eq!(end, CheckEnd::Exited(Exit::Code(0)));
    until("the check has been in the sandbox", || spec.sandbox.join("stop").exists()).await;
    let usage = lab.containerizer.usage(id).await.expect("it is known");
    assert!(usage.pids > 0 && usage.memory_bytes > 0, "{usage:?}");

    let restarted = Lab::at(lab.root(), &lab.instance);
    let found = restarted.containerizer.recover().await.expect("it is readable");
    assert_eq!(found[0].state, RecoveredState::Running(launched));
    restarted.containerizer.kill_all(id).await.expect("it runs");
    assert_eq!(exit_of(&restarted.wait(&spec).await), Exit::Signal(libc::SIGKILL));
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn destroying_a_running_task_leaves_nothing() {
    let lab = Lab::new();
    let spec = plain(&lab, "trap '' TERM; (setsid sleep 1000 &); sleep 1000");
    lab.launch(&spec).await;
    lab.containerizer.destroy(&spec.container_id).await.expect("it can be destroyed");
    lab.assert_nothing_is_left();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_under_a_shell_is_asked_to_end_and_has_its_time_for_it() {
    let lab = Lab::new();
    let spec = ContainerSpec { isolation: Isolation::Process, ..server_under_a_shell(&lab) };
    lab.launch(&spec).await;
    until("the trap is set", || read(&spec, "stdout").contains("ready")).await;
    lab.containerizer.terminate(&spec.container_id).await.expect("the task runs");
    assert_eq!(exit_of(&lab.wait(&spec).await), Exit::Signal(libc::SIGTERM));
    assert_eq!(read(&spec, "stdout"), "ready\nsaved\n");
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_end_when_asked_is_killed_even_from_another_session_and_after_the_main_process() {
    let lab = Lab::new();
    let deaf = "trap '' TERM; echo ready; while :; do sleep 1000; done";
    let spec = plain(&lab, &format!("setsid sh -c \"{deaf}\"; exit 9"));
    let main = lab.launch(&spec).await.pid;
    until("the trap is set", || read(&spec, "stdout").contains("ready")).await;
    lab.containerizer.terminate(&spec.container_id).await.expect("the task runs");
    until("the main process is gone", || !Path::new("/proc").join(main.to_string()).exists()).await;
    assert!(!processes_marked(&format!("LAB={}", lab.instance)).is_empty(), "its child has not ended");
    lab.containerizer.kill_all(&spec.container_id).await.expect("the container is known");
    assert_eq!(exit_of(&lab.wait(&spec).await), Exit::Signal(libc::SIGTERM));
    assert_eq!(processes_marked(&format!("LAB={}", lab.instance)), Vec::<u32>::new());
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_leaves_nothing_running_not_even_in_another_session() {
    let lab = Lab::new();
    let spec = plain(&lab, "sleep 1000");
    lab.launch(&spec).await;
    let script = "sleep 1000 & setsid sleep 1000 & touch begun; exit 0";
    let argv = ["/bin/sh", "-c", script].map(str::to_owned).to_vec();
    let env = vec![("CHECK".to_owned(), lab.instance.clone())];
    let check = Check { argv, env, timeout: Duration::from_secs(5) };
    let end = lab.containerizer.exec(&spec.container_id, &check).await.expect("it can be run");
    assert_eq!(end, CheckEnd::Exited(Exit::Code(0)));
    until("what it started is gone", || processes_marked(&format!("CHECK={}", lab.instance)).is_empty())
        .await;
    lab.finish().await;
}

/// Plan: at every moment of a task that forks and forks, so that some of its processes are made, and others end and leave
/// theirs behind, while it is looked who is there.
#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_is_asked_to_end_while_it_forks_ends_as_a_whole() {
    let lab = Lab::new();
    let script = "n=0; while [ $n -lt 30 ]; do ( ( sleep 1000 & ) ); n=$((n + 1)); done; sleep 1000";
    for moment in 0..100 {
        let spec = plain(&lab, script);
        lab.launch(&spec).await;
        tokio::time::sleep(Duration::from_micros(moment * 200)).await;
        lab.containerizer.terminate(&spec.container_id).await.expect("the task runs");
        assert_eq!(exit_of(&lab.wait(&spec).await), Exit::Signal(libc::SIGTERM));
        lab.containerizer.destroy(&spec.container_id).await.expect("it can be removed");
        std::fs::remove_dir_all(&spec.sandbox).expect("nothing is mounted in it");
        std::fs::create_dir(&spec.sandbox).expect("it is writable");
    }
    lab.finish().await;
}
