//! The leak check of all other tests, itself checked: what it does not see would never be missed.

use std::fs::File;
use std::path::Path;
use std::process::Command;

use bourse_tests::leaks::Traces;
use bourse_tests::net::in_a_network;
use bourse_tests::{Plan, process, wait_until};

#[test]
fn the_leak_check_sees_a_running_task_and_every_kind_of_thing_that_can_be_left() {
    let cluster = Plan::agents(1).start();
    let mut running = cluster.cli().command(["run", "--", "sleep", "1000"]).spawn().expect("it starts");
    wait_until("the task to run", || cluster.api.running().is_ok_and(|tasks| tasks.len() == 1));
    let task = cluster.processes("").into_values().next().expect("it runs");

    let traces = cluster.traces();
    let groups = traces.groups();
    assert!(groups.iter().any(|path| path.ends_with("task")), "no control group is seen: {groups:?}");
    assert!(traces.tasks().contains(&task.pid), "the task is not seen among {:?}", traces.tasks());
    assert!(
        traces.processes().contains(&running.id()),
        "what was called with the cluster's files is not seen"
    );
    let seen = traces.all();
    let listens = |part: &str| seen.iter().any(|trace| trace == &format!("listener {}:{part}", cluster.ip));
    assert!(listens("5050") && listens("5051"), "{seen:?}");

    let place = cluster.shared();
    assert!(
        Command::new("mount").args(["-t", "tmpfs", "none"]).arg(&place).status().expect("mount").success()
    );
    let mounts = cluster.traces().all().into_iter().filter(|trace| trace.starts_with("mount ")).count();
    assert!(Command::new("umount").arg(&place).status().expect("umount").success());
    assert_eq!(mounts, 1);

    nix::sys::signal::kill(nix::unistd::Pid::from_raw(running.id() as i32), nix::sys::signal::Signal::SIGINT)
        .expect("it runs");
    running.wait().expect("a child of ours");
    cluster.assert_no_container_is_left();
}

#[test]
fn the_leak_check_sees_a_link_that_was_not_there_and_namespaces_that_are_held() {
    in_a_network(|switch| {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let first = switch.host(2);
        let traces = Traces::new(folder.path().to_owned(), Vec::new(), Vec::new());
        assert_eq!(traces.all(), Vec::<String>::new());
        let second = switch.host(3);
        assert_eq!(traces.all(), ["link v3"]);
        drop(second);
        wait_until("its network to go, and its link with that", || traces.all().is_empty());
        drop(first);
    });

    for kind in ["cgroup", "ipc", "mnt", "net", "pid", "user", "uts"] {
        let place = Path::new("/proc/self/ns").join(kind);
        let _open = File::open(&place).expect("every kernel has it that can isolate");
        let number = place.read_link().expect("it is there").display().to_string();
        let held = process::namespaces(std::process::id());
        assert!(held.contains(&number), "{number} is not among {held:?}");
    }
}
