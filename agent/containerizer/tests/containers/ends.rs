//! How containers end, and what is left of them.

use std::path::Path;

use bourse_containerizer::{ContainerError, ContainerSpec, Containerizer, Outcome, RecoveredState};
use bourse_types::Exit;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::lab::{Lab, exit_of, groups_of, parent_of, processes_marked, read, until, within};

#[tokio::test(flavor = "multi_thread")]
async fn output_and_exit_status_of_a_command_come() {
    let lab = Lab::new();
    let spec = lab.shell("c1", "echo hello; echo trouble >&2; exit 3");
    assert_eq!(lab.run(&spec).await, Exit::Code(3));
    assert_eq!((read(&spec, "stdout"), read(&spec, "stderr")), ("hello\n".into(), "trouble\n".into()));
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_a_signal_ended_says_which() {
    let lab = Lab::new();
    let spec = lab.shell("c1", "kill -SEGV $$");
    assert_eq!(lab.run(&spec).await, Exit::Signal(libc::SIGSEGV));
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hangup_of_its_first_process_reaches_the_main_process_of_a_task_and_no_other() {
    let lab = Lab::new();
    let idle = "until [ -e stop ]; do sleep 0.02; done";
    let child = format!("trap 'echo child hears' HUP; echo ready; {idle}; echo child ends");
    let spec = lab.shell("c1", &format!("trap 'echo main hears' HUP; sh -c \"{child}\" & {idle}; wait"));
    let launched = lab.launch(&spec).await;
    until("both have their trap", || read(&spec, "stdout").contains("ready")).await;
    kill(Pid::from_raw(parent_of(launched.pid) as i32), Signal::SIGHUP).expect("it is there");
    until("the main process hears it", || read(&spec, "stdout").contains("main hears")).await;
    // What the child has heard until then it says before it ends.
    std::fs::write(spec.sandbox.join("stop"), "").expect("the sandbox is writable");
    lab.wait(&spec).await;
    assert_eq!(read(&spec, "stdout"), "ready\nmain hears\nchild ends\n");
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_fills_the_disk_keeps_its_exit_status() {
    let disk = SmallDisk::mount();
    let lab = Lab::at(disk.folder.path(), &format!("test-{}-full", std::process::id()));
    let script =
        "head -c 1000000 /dev/zero > fill; until ! echo more >> fill; do :; done 2> /dev/null; exit 7";
    let spec = lab.shell("c1", script);
    assert_eq!(lab.run(&spec).await, Exit::Code(7));
    assert!(std::fs::write(spec.sandbox.join("more"), [0; 8192]).is_err(), "the disk is full");
    lab.containerizer.destroy(&spec.container_id).await.expect("it can be destroyed");
    assert!(groups_of(&lab.instance).is_empty());
}

/// A disk of a quarter of a MiB.
pub struct SmallDisk {
    pub folder: tempfile::TempDir,
}

impl SmallDisk {
    pub fn mount() -> SmallDisk {
        let folder = tempfile::tempdir().expect("a temporary directory");
        mount(Some("none"), folder.path(), Some("tmpfs"), MsFlags::empty(), Some("size=256k"))
            .expect("a tmpfs can be mounted");
        SmallDisk { folder }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = umount2(self.folder.path(), MntFlags::MNT_DETACH);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn everyone_who_waits_hears_of_the_end_and_who_asks_later_too() {
    let lab = Lab::new();
    let spec = lab.shell("c1", "read line < fifo; exit 4");
    nix::unistd::mkfifo(&spec.sandbox.join("fifo"), nix::sys::stat::Mode::S_IRWXU)
        .expect("a fifo can be made");
    lab.launch(&spec).await;
    let both = async { tokio::join!(lab.wait(&spec), lab.wait(&spec)) };
    let open = tokio::task::spawn_blocking({
        let fifo = spec.sandbox.join("fifo");
        move || std::fs::write(fifo, "go\n")
    });
    let (first, second) = within(both).await;
    open.await.expect("it does not panic").expect("the task reads");
    assert_eq!(exit_of(&first), Exit::Code(4));
    assert_eq!(first.outcome, second.outcome);
    assert_eq!(lab.wait(&spec).await.outcome, first.outcome);
    assert!(first.at.is_some_and(|at| at.0 > 1_600_000_000_000), "the end has a time: {:?}", first.at);
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_is_asked_to_end_hears_it_and_after_the_end_there_is_nobody_to_ask() {
    let lab = Lab::new();
    let spec = lab.shell("c1", "trap 'echo caught; exit 5' TERM; echo ready; while :; do sleep 0.01; done");
    lab.launch(&spec).await;
    until("the trap is set", || read(&spec, "stdout").contains("ready")).await;
    lab.containerizer.terminate(&spec.container_id).await.expect("the task runs");
    assert_eq!(exit_of(&lab.wait(&spec).await), Exit::Code(5));
    assert_eq!(read(&spec, "stdout"), "ready\ncaught\n");
    let late = lab.containerizer.terminate(&spec.container_id).await;
    assert!(matches!(late, Err(ContainerError::Ended(_))), "{late:?}");
    lab.containerizer.kill_all(&spec.container_id).await.expect("a kill after the end does nothing");
    lab.finish().await;
}

/// A server under a shell that waits for it and neither passes signals on nor outlives one: what `sh -c 'server'`
/// is with dash. The server is told to end, and needs its time for it.
pub fn server_under_a_shell(lab: &Lab) -> ContainerSpec {
    let server = "trap 'sleep 0.3; echo saved; exit 0' TERM; echo ready; while :; do sleep 0.01; done";
    lab.shell("c1", &format!("sh -c \"{server}\"; exit 9"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_under_a_shell_is_asked_to_end_and_has_its_time_for_it() {
    let lab = Lab::new();
    let spec = server_under_a_shell(&lab);
    lab.launch(&spec).await;
    until("the trap is set", || read(&spec, "stdout").contains("ready")).await;
    lab.containerizer.terminate(&spec.container_id).await.expect("the task runs");
    let ended = lab.wait(&spec).await;
    assert_eq!(exit_of(&ended), Exit::Signal(libc::SIGTERM), "the status is that of the main process");
    assert_eq!(read(&spec, "stdout"), "ready\nsaved\n");
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_end_when_asked_is_killed_even_after_the_main_process_has_ended() {
    let lab = Lab::new();
    let spec = lab.shell("c1", "sh -c \"trap '' TERM; echo ready; while :; do sleep 1000; done\"; exit 9");
    let main = lab.launch(&spec).await.pid;
    until("the trap is set", || read(&spec, "stdout").contains("ready")).await;
    lab.containerizer.terminate(&spec.container_id).await.expect("the task runs");
    until("the main process is gone", || !Path::new("/proc").join(main.to_string()).exists()).await;
    assert!(!processes_marked(&format!("LAB={}", lab.instance)).is_empty(), "its child has not ended");

    // An agent that comes in between finds a container that is not over.
    let next = Lab::at(lab.root(), &lab.instance);
    let found = next.containerizer.recover().await.expect("it is readable");
    assert!(matches!(found[0].state, RecoveredState::Running(_)), "{found:?}");
    next.containerizer.kill_all(&spec.container_id).await.expect("the container is known");
    assert_eq!(exit_of(&next.wait(&spec).await), Exit::Signal(libc::SIGTERM));
    assert_eq!(processes_marked(&format!("LAB={}", lab.instance)), Vec::<u32>::new());
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_to_the_first_process_is_passed_on_to_the_task() {
    let lab = Lab::new();
    let spec = lab.shell("c1", "trap 'exit 6' TERM; echo ready; while :; do sleep 0.01; done");
    let launched = lab.launch(&spec).await;
    until("the trap is set", || read(&spec, "stdout").contains("ready")).await;
    let init = nix::unistd::Pid::from_raw(parent_of(launched.pid) as i32);
    nix::sys::signal::kill(init, nix::sys::signal::Signal::SIGTERM).expect("it runs");
    assert_eq!(exit_of(&lab.wait(&spec).await), Exit::Code(6));
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_task_left_behind_dies_with_it() {
    let lab = Lab::new();
    let spec = lab.shell("c1", "(setsid sleep 1000 &) ; sleep 1000 & exit 0");
    assert_eq!(lab.run(&spec).await, Exit::Code(0));
    assert_eq!(processes_marked(&format!("LAB={}", lab.instance)), Vec::<u32>::new());
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killing_takes_everyone_and_the_end_says_so() {
    let lab = Lab::new();
    let spec = lab.shell("c1", "trap '' TERM; (setsid sleep 1000 &); sleep 1000 & wait");
    lab.launch(&spec).await;
    lab.containerizer.kill_all(&spec.container_id).await.expect("the task runs");
    assert_eq!(exit_of(&lab.wait(&spec).await), Exit::Signal(libc::SIGKILL));
    assert_eq!(processes_marked(&format!("LAB={}", lab.instance)), Vec::<u32>::new());
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_whose_first_process_was_killed_from_outside_is_told_as_vanished() {
    let lab = Lab::new();
    let spec = lab.shell("c1", "sleep 1000");
    let launched = lab.launch(&spec).await;
    let init = nix::unistd::Pid::from_raw(parent_of(launched.pid) as i32);
    nix::sys::signal::kill(init, nix::sys::signal::Signal::SIGKILL).expect("it runs");
    let ended = lab.wait(&spec).await;
    assert!(
        matches!(&ended.outcome, Outcome::Vanished(why) if why.contains("killed from outside")),
        "{ended:?}"
    );
    assert_eq!(processes_marked(&format!("LAB={}", lab.instance)), Vec::<u32>::new());
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn destroying_a_running_container_leaves_nothing_and_a_repeat_does_nothing() {
    let lab = Lab::new();
    let spec = lab.shell("c1", "trap '' TERM; sleep 1000 & sleep 1000");
    lab.launch(&spec).await;
    assert!(!super::lab::groups_of(&lab.instance).is_empty());
    lab.containerizer.destroy(&spec.container_id).await.expect("it can be destroyed");
    lab.assert_nothing_is_left();
    lab.containerizer.destroy(&spec.container_id).await.expect("a repeat does nothing");
    let gone = lab.containerizer.wait(&spec.container_id).await;
    assert!(matches!(gone, Err(ContainerError::Unknown(_))), "{gone:?}");
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn containers_come_and_go_in_parallel_without_leaving_anything() {
    let lab = Lab::new();
    let specs: Vec<_> = (0..20).map(|n| lab.shell(&format!("c{n}"), &format!("exit {n}"))).collect();
    let runs = specs.iter().enumerate().map(|(n, spec)| {
        let (containerizer, spec) = (lab.containerizer.clone(), spec.clone());
        tokio::spawn(async move {
            containerizer.launch(&spec).await.expect("it can be launched");
            let ended = containerizer.wait(&spec.container_id).await.expect("it is known");
            assert_eq!(exit_of(&ended), Exit::Code(n as i32));
            containerizer.destroy(&spec.container_id).await.expect("it can be destroyed");
        })
    });
    for run in runs.collect::<Vec<_>>() {
        within(run).await.expect("it does not panic");
    }
    lab.assert_nothing_is_left();
}
