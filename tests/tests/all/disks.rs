//! Disks that are full, or become read-only, under each part that keeps something: it ends with a status that says so, or
//! goes on without; and nothing that it said is lost.

use std::collections::BTreeMap;
use std::fs::File;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Stdio};
use std::{fs, io};

use bourse_proto::operator::{ListEventsRequest, Task};
use bourse_tests::process::Process;
use bourse_tests::{Cluster, Ledger, Load, PATIENCE, Plan, wait_for, wait_until};

const LOAD: &str = env!("CARGO_BIN_EXE_bourse-test-load");

/// The status of who ends as his disk does not let him go on: `EX_IOERR` of `sysexits.h`.
const DISK: i32 = 74;

/// Less than RocksDB takes for a log ahead of need, in MiB: so it takes none, and finds at once that there is no room.
const TIGHT: u32 = 3;

/// Writes that still fit into the last page of a full disk are no more than so many.
const LAST_WRITES: usize = 1_000;

/// A call of `bourse run` that does not outlive its test.
struct Running(Child);

impl Running {
    fn start(cluster: &Cluster, name: &str, arguments: &[&str]) -> Running {
        let output = File::create(cluster.logs().join(format!("{name}.log"))).expect("the folder is there");
        let mut command = cluster.cli().command(["run", "--name", name]);
        command.args(arguments).stdin(Stdio::null());
        command.stdout(output.try_clone().expect("a file")).stderr(output);
        Running(command.spawn().expect("it starts"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Waits for a task of this name in this state.
#[track_caller]
fn wait_task(cluster: &Cluster, name: &str, state: &str) -> Task {
    wait_for(&format!("{name} to be {state}"), PATIENCE, || {
        let tasks = cluster.api.tasks().map_err(|status| status.message().to_owned())?;
        let found = tasks.iter().find(|task| task.name == name && task.state == state);
        found.cloned().ok_or_else(|| format!("{tasks:?}"))
    })
}

/// Sets weights until the master does not take one. Those that it took.
fn write_until_refused(cluster: &Cluster) -> Vec<String> {
    let mut taken = Vec::new();
    for n in 0..LAST_WRITES {
        let role = format!("role-{n}");
        if cluster.api.set_weight(&role, 2.0).is_err() {
            return taken;
        }
        taken.push(role);
    }
    panic!("{LAST_WRITES} weights were taken, and there is no disk for them");
}

#[track_caller]
fn assert_ends(cluster: &mut Cluster, part: &str, words: &str) {
    let part = cluster.part(part);
    let status = part.wait(PATIENCE);
    assert_eq!(status.code(), Some(DISK), "{status}; {}", part.tail());
    assert!(part.log().contains(words), "it does not say {words:?}; {}", part.tail());
}

#[track_caller]
fn assert_weights(cluster: &Cluster, roles: &[String]) {
    let known: BTreeMap<String, f64> =
        cluster.api.roles().expect("it answers").into_iter().map(|role| (role.name, role.weight)).collect();
    let lost: Vec<&String> = roles.iter().filter(|role| known.get(*role) != Some(&2.0)).collect();
    assert!(lost.is_empty(), "the master has said that these have a weight of 2: {lost:?}");
}

#[test]
fn a_master_whose_registry_has_no_room_ends_with_74_says_so_and_goes_on_when_there_is_room_with_nothing_lost()
{
    const REGISTRY: &str = "master/registry";
    let mut cluster = Plan::agents(1).small_disk(REGISTRY, TIGHT).start();
    let load = Load::start(&cluster, Path::new(LOAD));
    load.wait_ended(6);
    let steady = cluster.processes("steady");
    cluster.small_disk(REGISTRY).fill();
    let taken = write_until_refused(&cluster);
    assert_ends(&mut cluster, "master", "No space left on device");
    // Nothing has changed for the next one.
    cluster.part("master").start();
    assert_ends(&mut cluster, "master", "has no room on its disk");

    cluster.small_disk(REGISTRY).make_room();
    cluster.part("master").start();
    cluster.wait_ready(1, false);
    assert_weights(&cluster, &taken);
    assert_eq!(cluster.processes("steady"), steady, "tasks go on with the same processes");
    load.wait_ended(load.ended() + 6);
    load.finish(&cluster);
}

#[test]
fn a_master_whose_registry_became_read_only_ends_with_74_and_goes_on_when_it_is_mended() {
    const REGISTRY: &str = "master/registry";
    let mut cluster = Plan::agents(1).fragile_disk(REGISTRY, 64).start();
    let _running = Running::start(&cluster, "kept", &["--", "sleep", "1000"]);
    wait_task(&cluster, "kept", "TASK_RUNNING");
    let before = cluster.processes("");
    cluster.api.set_weight("role", 2.0).expect("the disk is good");
    cluster.fragile_disk(REGISTRY).break_it();
    assert_eq!(write_until_refused(&cluster), [""; 0], "nothing can be written");
    assert_ends(&mut cluster, "master", "Read-only file system");
    cluster.part("master").start();
    assert_ends(&mut cluster, "master", "is on a disk that is read-only");

    cluster.fragile_disk(REGISTRY).renew();
    cluster.part("master").start();
    cluster.wait_ready(1, false);
    assert_weights(&cluster, &["role".to_owned()]);
    wait_task(&cluster, "kept", "TASK_RUNNING");
    assert_eq!(cluster.processes(""), before, "tasks go on with the same processes");
}

#[test]
fn a_master_whose_history_has_no_room_goes_on_and_tells_of_what_happens_after() {
    const HISTORY: &str = "master/history";
    let mut cluster = Plan::agents(1).crowded_disk(HISTORY, 16, 1024).start();
    let epoch = cluster.api.cluster().expect("it answers").epoch;
    let newest = |cluster: &Cluster| {
        let request = ListEventsRequest { limit: 1, ..Default::default() };
        let answer = cluster.api.wait(cluster.api.operator().list_events(request)).expect("it answers");
        answer.into_inner().events.first().map(|event| event.sequence).expect("something has happened")
    };
    cluster.small_disk(HISTORY).fill();
    wait_until("the history to be full", || {
        cluster.cli().ok(["run", "--", "true"]);
        cluster.part("master").log().contains("the history was not written")
    });
    let full = newest(&cluster);
    assert_eq!(cluster.cli().ok(["run", "--", "echo", "hello"]).stdout, "hello\n");
    assert_eq!(newest(&cluster), full, "what happens meanwhile is missing");

    cluster.small_disk(HISTORY).make_room();
    // RocksDB looks every five seconds, and wants as much as its buffer is large.
    wait_until("the history to go on", || {
        cluster.cli().ok(["run", "--", "true"]);
        newest(&cluster) > full
    });
    assert_eq!(cluster.api.cluster().expect("it answers").epoch, epoch, "it is the same master");
}

#[test]
fn an_agent_whose_disk_is_full_refuses_new_tasks_keeps_the_old_and_takes_new_ones_when_there_is_room() {
    let mut cluster = Plan::agents(1).small_disk("agent-1", 64).start();
    let gate = cluster.shared().join("gate");
    let wait = format!("while [ ! -e {} ]; do sleep 0.05; done; exit 7", gate.display());
    let mut kept = Running::start(&cluster, "kept", &["--", "sh", "-c", &wait]);
    wait_task(&cluster, "kept", "TASK_RUNNING");
    let before = cluster.processes("");
    cluster.small_disk("agent-1").fill();
    let mut late = Running::start(&cluster, "late", &["--", "true"]);
    let dropped = wait_task(&cluster, "late", "TASK_DROPPED");
    assert!(dropped.message.contains("disk"), "{dropped:?}");
    assert!(before.values().all(|process| process.is_alive()), "the old one goes on");
    fs::write(gate, "").expect("a test's own folder is writable");
    let status = kept.0.wait().expect("a child of ours");
    assert_eq!(status.code(), Some(7), "{status}");

    cluster.small_disk("agent-1").make_room();
    let status = late.0.wait().expect("a child of ours");
    assert!(status.success(), "it is launched when there is room: {status}");
    assert_eq!(cluster.part("agent-1").ended(), None, "the agent was there all the time");
}

#[test]
fn an_agent_whose_disk_became_read_only_refuses_new_tasks_keeps_the_old_and_kills_what_it_is_asked_to() {
    let mut cluster = Plan::agents(1).fragile_disk("agent-1", 64).start();
    let kept = Running::start(&cluster, "kept", &["--", "sleep", "1000"]);
    let other = Running::start(&cluster, "other", &["--", "sleep", "1000"]);
    let (kept_task, other_task) =
        (wait_task(&cluster, "kept", "TASK_RUNNING"), wait_task(&cluster, "other", "TASK_RUNNING"));
    let process = |task: &Task| Process::of(task.pid).expect("it runs");
    let (kept_process, other_process) = (process(&kept_task), process(&other_task));

    cluster.fragile_disk("agent-1").break_it();
    let late = Running::start(&cluster, "late", &["--", "true"]);
    let refuses = |log: &str| log.contains("full or read-only: no task is launched");
    wait_until("the next one to be refused", || refuses(&cluster.part("agent-1").log()));
    cluster.cli().ok(["kill", &other_task.id, "--grace", "0s"]);
    wait_until("the other task to be killed", || !other_process.is_alive());
    assert!(kept_process.is_alive(), "the old one goes on");
    assert_eq!(cluster.part("agent-1").ended(), None, "and so does the agent");

    // To mend it nobody may use it.
    cluster.cli().ok(["kill", &kept_task.id, "--grace", "0s"]);
    wait_until("the task to be killed", || !kept_process.is_alive());
    drop((kept, other, late));
    cluster.part("agent-1").kill9();
    wait_until("nobody to be in the containers", || cluster.traces().tasks().is_empty());
    cluster.fragile_disk("agent-1").renew();
    cluster.part("agent-1").start();
    cluster.wait_ready(1, false);
    wait_for("both ends to be told", PATIENCE, || {
        let running = cluster.api.running().map_err(|status| status.message().to_owned())?;
        if running.is_empty() { Ok(()) } else { Err(format!("{running:?}")) }
    });
    cluster.assert_no_container_is_left();
    assert_eq!(cluster.cli().ok(["run", "--", "echo", "hello"]).stdout, "hello\n");
}

#[test]
fn a_service_framework_without_room_ends_with_74_and_goes_on_when_there_is_room() {
    let mut cluster = Plan::agents(1).services().small_disk("services", 2).start();
    let ledger = Ledger::new(&cluster.folder_for_everybody("services"));
    let file = |name: &str| {
        format!(
            "name = \"{name}\"\ncommand = '''{}'''\nkill_grace = \"1s\"\n\
             [resources]\ncpus = 0.05\nmem = \"32MiB\"\n",
            ledger.open("sleep 1000")
        )
    };
    cluster.api.deploy(&file("first")).expect("it is a good file");
    wait_for("an instance", PATIENCE, || cluster.api.settled("first", 1));
    let before = cluster.processes("first");
    cluster.small_disk("services").fill();
    cluster.api.deploy(&file("second")).expect_err("it cannot be written down");
    assert_ends(&mut cluster, "services", "check its owner and the room on its disk");
    assert_eq!(cluster.processes("first"), before, "its services go on");

    cluster.small_disk("services").make_room();
    cluster.part("services").start();
    cluster.wait_ready(1, true);
    wait_for("the instance to be known", PATIENCE, || cluster.api.settled("first", 1));
    cluster.api.deploy(&file("second")).expect("there is room");
    wait_for("an instance", PATIENCE, || cluster.api.settled("second", 1));
    assert_eq!(cluster.processes("first"), before, "with the same process");
    let ran = ledger.read();
    assert!(ran.len() == 2 && ran.values().all(|entry| entry.starts == 1), "each was started once: {ran:?}");
    for name in ["first", "second"] {
        cluster.cli().ok(["service", "remove", name]);
    }
    cluster.assert_no_container_is_left();
}

#[test]
fn a_master_with_256_descriptors_keeps_its_agents_beside_more_silent_connections_than_it_has() {
    const SILENT: usize = 400;
    let cluster = Plan::agents(2).limited("master", "--nofile=256").start();
    let epoch = cluster.api.cluster().expect("it answers").epoch;
    let connect = |_| TcpStream::connect((cluster.ip, 5050));
    let silent: io::Result<Vec<TcpStream>> = (0..SILENT).map(connect).collect();
    let silent = silent.expect("the kernel takes them, whoever listens");
    // Those who were there go on, and new ones come in, though they may have to wait until the silent ones are thrown out.
    wait_until("a task to run", || cluster.cli().run(["run", "--", "true"]).status.success());
    let agents = cluster.api.agents().expect("it answers");
    assert!(agents.iter().all(|agent| agent.state == "active") && agents.len() == 2, "{agents:?}");
    let events = cluster.cli().ok(["events", "-o", "json"]).stdout;
    assert!(!events.to_lowercase().contains("unreachable"), "{events}");
    assert_eq!(cluster.api.cluster().expect("it answers").epoch, epoch, "it is the same master");
    drop(silent);
}
