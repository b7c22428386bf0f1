//! `kill -9` of any part, under load: no accepted task is silent, none runs twice, nothing leaks.
//!
//! The load is a framework in a process of its own. What it was told is compared with what its tasks wrote into a ledger
//! outside Bourse; see `bourse_tests::audit`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bourse_proto::operator::Agent;
use bourse_tests::process::Process;
use bourse_tests::{Cluster, Ledger, Load, PATIENCE, Part, Plan, binary, wait_for, wait_until};

const LOAD: &str = env!("CARGO_BIN_EXE_bourse-test-load");

/// Short tasks that end between two kills, so that some are in every state at each of them.
const BETWEEN: usize = 6;

fn under_load(plan: Plan) -> (Cluster, Load) {
    let cluster = plan.start();
    let load = Load::start(&cluster, Path::new(LOAD));
    load.wait_ended(BETWEEN);
    (cluster, load)
}

/// The tasks that go on until they are killed.
fn steady(cluster: &Cluster) -> BTreeMap<String, Process> {
    cluster.processes("steady")
}

#[test]
fn a_master_that_is_killed_again_and_again_loses_no_task_and_runs_none_twice() {
    let (mut cluster, load) = under_load(Plan::agents(2));
    let before = steady(&cluster);
    let mut epoch = cluster.api.cluster().expect("it answers").epoch;
    for _ in 0..3 {
        let ended = load.ended();
        load.wait_busy();
        cluster.kill9_and_start("master");
        cluster.wait_ready(2, false);
        load.wait_ended(ended + BETWEEN);
        let next = cluster.api.cluster().expect("it answers").epoch;
        assert!(next > epoch, "each master has a higher epoch than the one before");
        epoch = next;
    }
    assert_eq!(steady(&cluster), before, "tasks go on with the same processes");
    let sum = load.finish(&cluster);
    assert!(sum.ran > 3 * BETWEEN, "{sum:?}");
}

#[test]
fn agents_are_back_within_two_seconds_of_a_master_that_was_away_for_ten() {
    // Beside all other tests, on few cores, everything takes longer.
    let busy = Duration::from_secs(5);
    let mut cluster = Plan::agents(2).start();
    cluster.part("master").kill9();
    // The outage itself, not a wait for something.
    std::thread::sleep(Duration::from_secs(10));
    cluster.part("master").start();
    wait_until("the master to answer", || cluster.api.cluster().is_ok());
    let answers = Instant::now();
    wait_until("both agents to be back", || {
        let active = |agent: &Agent| agent.state == "active";
        cluster.api.agents().is_ok_and(|agents| agents.iter().filter(|agent| active(agent)).count() == 2)
    });
    let took = answers.elapsed();
    assert!(took <= Duration::from_secs(2) + busy, "they were back after {took:?}");
}

#[test]
fn an_agent_that_is_killed_keeps_its_tasks_with_the_same_processes_and_every_exit_code() {
    let (mut cluster, load) = under_load(Plan::agents(1));
    let before = steady(&cluster);
    for _ in 0..3 {
        let ended = load.ended();
        load.wait_busy();
        cluster.part("agent-1").kill9();
        // The tasks that run now end while there is no agent: they last for 0.6 s at most.
        let running = cluster.traces().tasks();
        wait_until("short tasks to end without their agent", || {
            let left = cluster.traces().tasks();
            running.iter().filter(|pid| left.contains(pid)).count() <= 2 * before.len()
        });
        cluster.part("agent-1").start();
        cluster.wait_ready(1, false);
        assert_eq!(steady(&cluster), before, "tasks go on with the same processes");
        load.wait_ended(ended + BETWEEN);
    }
    let sum = load.finish(&cluster);
    assert!(sum.ran > 3 * BETWEEN, "{sum:?}");
}

#[test]
fn tasks_that_end_while_their_agent_is_down_are_told_with_their_exit_codes_when_it_is_back() {
    let (mut cluster, load) = under_load(Plan::agents(1));
    let held = load.hold();
    cluster.part("agent-1").kill9();
    load.let_go();
    load.wait_over(&held);
    let told = |task: &String| load.journal.read().get(task).and_then(|story| story.end().cloned());
    let early: Vec<_> = held.iter().filter_map(told).collect();
    assert!(early.is_empty(), "nobody was there to tell of an end, and {early:?} was told");
    cluster.part("agent-1").start();
    wait_for("the ends to be told", PATIENCE, || {
        let silent: Vec<&String> = held.iter().filter(|task| told(task).is_none()).collect();
        if silent.is_empty() { Ok(()) } else { Err(format!("{silent:?} are silent")) }
    });
    let journal = load.journal.read();
    for task in &held {
        let state = if journal[task].code == 0 { "TASK_FINISHED" } else { "TASK_FAILED" };
        let end = (state.to_owned(), Some(journal[task].code));
        assert_eq!(journal[task].end(), Some(&end), "the end of {task}");
    }
    load.finish(&cluster);
}

#[test]
fn a_framework_that_is_killed_goes_on_with_its_tasks() {
    let (cluster, mut load) = under_load(Plan::agents(2));
    let before = steady(&cluster);
    for _ in 0..4 {
        let ended = load.ended();
        load.wait_busy();
        load.part.kill9();
        load.part.start();
        load.wait_ended(ended + BETWEEN);
        assert_eq!(steady(&cluster), before, "tasks go on with the same processes");
    }
    let frameworks = cluster.api.frameworks().expect("it answers");
    assert_eq!(frameworks.len(), 1, "each life is the same framework: {frameworks:?}");
    let sum = load.finish(&cluster);
    assert!(sum.ran > 4 * BETWEEN, "{sum:?}");
}

#[test]
fn a_service_framework_that_is_killed_under_load_keeps_every_instance_and_starts_none_twice() {
    let (mut cluster, load) = under_load(Plan::agents(2).services());
    let own = Ledger::new(&cluster.folder_for_everybody("services"));
    let file = format!(
        "name = \"served\"\ncommand = '''{}'''\ncount = 3\nkill_grace = \"1s\"\n\
         [resources]\ncpus = 0.05\nmem = \"32MiB\"\n",
        own.open("sleep 1000")
    );
    cluster.api.deploy(&file).expect("it is a good file");
    wait_for("three instances", PATIENCE, || cluster.api.settled("served", 3));
    let before = cluster.processes("served");
    assert_eq!(before.len(), 3);
    for _ in 0..2 {
        load.wait_busy();
        cluster.kill9_and_start("services");
        wait_for("the service framework to be back", PATIENCE, || cluster.api.settled("served", 3));
        assert_eq!(cluster.processes("served"), before, "instances go on with the same processes");
    }
    // And it is not only back, it works.
    cluster.api.scale("served", 5).expect("it takes calls");
    wait_for("five instances", PATIENCE, || cluster.api.settled("served", 5));
    let after = cluster.processes("served");
    assert!(
        before.iter().all(|(task, process)| after.get(task) == Some(process)),
        "{before:?} became {after:?}"
    );

    let ran = own.read();
    assert!(
        ran.len() == 5 && ran.values().all(|entry| entry.starts == 1),
        "five instances, each started once: {ran:?}"
    );
    let removed = cluster.cli().ok(["service", "remove", "served"]);
    assert!(removed.stdout.is_empty(), "{removed}");
    load.finish(&cluster);
}

#[test]
fn output_that_is_followed_loses_no_line_and_doubles_none_when_master_and_agent_are_killed() {
    let mut cluster = Plan::agents(1).start();
    let gate = cluster.shared().join("gate");
    // It counts on until the test says that all is done, and then a little more.
    let script = format!(
        "i=0; until [ -e {0} ]; do echo $i; i=$((i+1)); sleep 0.01; done; echo $i; exit 5",
        gate.display()
    );
    let output = cluster.logs().join("output");
    let mut run = cluster
        .cli()
        .command(["run", "--", "sh", "-c", &script])
        .stdout(fs::File::create(&output).expect("the folder of logs is there"))
        .spawn()
        .expect("it starts");
    let lines = || fs::read_to_string(&output).expect("it is there").lines().count();
    for part in ["agent-1", "master", "agent-1"] {
        let before = lines();
        wait_until("some output", || lines() > before + 20);
        cluster.kill9_and_start(part);
        cluster.wait_ready(1, false);
    }
    let before = lines();
    wait_until("some more output", || lines() > before + 20);
    fs::write(gate, "").expect("a test's own folder is writable");
    let status = run.wait().expect("a child of ours");
    assert_eq!(status.code(), Some(5), "{status}");
    let text = fs::read_to_string(&output).expect("it is there");
    for (line, number) in text.lines().zip(0_u32..) {
        assert_eq!(line, number.to_string(), "in {}", output.display());
    }
}

#[test]
fn hello_that_is_killed_goes_on_where_it_was_and_runs_no_task_twice() {
    // Built, where it has to be, before the cluster waits for it.
    let program = binary::example("hello");
    // Room for a few of the ten tasks at a time, so that none of its lives is the last.
    let (cluster, load) = under_load(Plan::agents(2).resources("cpus:0.25; mem:1024; disk:1024"));
    let home = cluster.shared().join("home-of-hello");
    fs::create_dir(&home).expect("a test's own folder is writable");
    let mut hello = Part::new("hello", &program, cluster.logs())
        .variable("HOME", &home)
        .variable("BOURSE_MASTER", cluster.master())
        .variable("BOURSE_TOKEN_FILE", cluster.token_file("bystander"));
    // Each life is killed in the middle of something else: its first launches, the end of one, the reunion with those
    // that run on.
    for word in [" is launched on ", " is TASK_FINISHED", " is "] {
        let lives_before = hello.log().len();
        hello.start();
        wait_until(&format!("hello to say{word}"), || hello.log()[lives_before..].contains(word));
        hello.kill9();
    }
    hello.start();
    let status = hello.wait(PATIENCE);
    assert!(status.success(), "{status}; {}", hello.tail());

    // What each task wrote itself, in its own sandbox: one line, once.
    let mut said = BTreeMap::new();
    for agent in ["agent-1", "agent-2"] {
        stdouts(&cluster.secrets().join(agent).join("slaves"), &mut said);
    }
    said.retain(|path: &PathBuf, _| {
        path.components().any(|part| part.as_os_str().as_encoded_bytes().starts_with(b"hello-"))
    });
    let ran: Vec<&String> = said.values().filter(|text| !text.is_empty()).collect();
    assert_eq!(ran.len(), 10, "ten tasks, each in one sandbox: {said:?}");
    assert!(
        ran.iter().all(|text| text.lines().count() == 1 && text.starts_with("hello from agent-")),
        "{said:?}"
    );
    load.finish(&cluster);
}

/// All files named `stdout` below, with what is in them.
fn stdouts(folder: &Path, found: &mut BTreeMap<PathBuf, String>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            stdouts(&path, found);
        } else if entry.file_name() == "stdout" {
            let text = fs::read_to_string(&path).expect("it is readable");
            found.insert(path, text);
        }
    }
}
