//! An agent may be killed at any point: its tasks do not notice, and the next one finds them.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use bourse_containerizer::{Containerizer, LinuxContainerizer, Outcome, Recovered, RecoveredState};
use bourse_types::Exit;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

use super::lab::{Lab, exit_of, groups_of, parent_of, processes_marked, read, until};

/// Set for a process that plays the agent: the lab's root.
const AGENT_ROOT: &str = "CONTAINERS_TEST_AGENT_ROOT";
const AGENT_INSTANCE: &str = "CONTAINERS_TEST_AGENT_INSTANCE";
const AGENT_GENERATION: &str = "CONTAINERS_TEST_AGENT_GENERATION";

/// Runs this test program again with one test only, as an agent that can be killed.
pub struct Agent(Child);

impl Agent {
    pub fn start(test: &str, lab: &Lab, generation: &str) -> Agent {
        // By this name also where the way to the program is closed to the user who plays the agent.
        let child = Command::new("/proc/self/exe")
            .args(["--exact", test, "--nocapture"])
            .env(AGENT_ROOT, lab.root())
            .env(AGENT_INSTANCE, &lab.instance)
            .env(AGENT_GENERATION, generation)
            .stdout(Stdio::null())
            .spawn()
            .expect("it can be started again");
        Agent(child)
    }

    fn kill(mut self) {
        self.0.kill().expect("it runs");
        self.0.wait().expect("it is our child");
    }

    /// Waits until it has ended by itself, and tells the signal that ended it.
    pub async fn until_ended(self) -> Option<i32> {
        self.status().await.signal()
    }

    /// Waits until it has ended by itself, as a test that has passed.
    pub async fn until_done(self) {
        let status = self.status().await;
        assert!(status.success(), "{status}; what it says is above");
    }

    async fn status(mut self) -> ExitStatus {
        let mut status = None;
        until("the agent ends", || {
            status = self.0.try_wait().expect("it is our child");
            status.is_some()
        })
        .await;
        status.expect("it was there")
    }
}

/// Waits until nobody is left of an agent that was killed: it makes copies of itself, which see its end for themselves.
pub async fn until_no_agent_is_left(lab: &Lab) {
    let mark = format!("{AGENT_ROOT}={}", lab.root().display());
    until("neither the agent nor a copy of it is left", || processes_marked(&mark).is_empty()).await;
}

/// The lab of the agent that this process plays; `None` in the test itself.
pub fn played_agent() -> Option<Lab> {
    let root = PathBuf::from(env::var_os(AGENT_ROOT)?);
    let instance = env::var(AGENT_INSTANCE).expect("set together with the root");
    Some(Lab::at(&root, &instance))
}

/// Which one it is of those that the test starts.
pub fn generation() -> String {
    env::var(AGENT_GENERATION).expect("set together with the root")
}

pub async fn recover(containerizer: &LinuxContainerizer) -> Vec<Recovered> {
    containerizer.recover().await.expect("the runtime directory is readable")
}

/// Waits until the first process of a container is gone: the agent is down, so nobody else can tell.
async fn until_ended(init: u32) {
    until("the container ended", || !Path::new("/proc").join(init.to_string()).exists()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_kill_of_the_agent_tasks_run_on_with_the_same_pid_and_ends_in_the_gap_are_known() {
    const SCRIPT: &str = "echo up; while [ ! -e stop ]; do sleep 0.01; done; echo down; exit 7";
    if let Some(lab) = played_agent() {
        for name in ["stays", "ends"] {
            let launched = lab.launch(&lab.shell(name, SCRIPT)).await;
            fs::write(lab.root().join(name), launched.pid.to_string()).expect("it is writable");
        }
        return std::future::pending().await;
    }
    let lab = Lab::new();
    let test =
        "recovery::after_a_kill_of_the_agent_tasks_run_on_with_the_same_pid_and_ends_in_the_gap_are_known";
    let agent = Agent::start(test, &lab, "0");
    let (stays, ends) = (lab.shell("stays", SCRIPT), lab.shell("ends", SCRIPT));
    until("both run", || read(&stays, "stdout") == "up\n" && read(&ends, "stdout") == "up\n").await;
    let pid = pid_file(&lab.root().join("stays")).await;
    let gap = parent_of(pid_file(&lab.root().join("ends")).await);
    agent.kill();

    fs::write(ends.sandbox.join("stop"), "").expect("it is writable");
    until_ended(gap).await;
    let found = recover(&lab.containerizer).await;
    let [of_ends, of_stays] = &found[..] else { panic!("two containers: {found:?}") };
    let RecoveredState::Ended(ended) = &of_ends.state else { panic!("it ended: {of_ends:?}") };
    assert_eq!(exit_of(ended), Exit::Code(7));
    assert!(ended.at.is_some(), "{ended:?}");
    lab.containerizer.usage(&of_ends.container_id).await.expect("it is known until it is destroyed");
    let RecoveredState::Running(launched) = of_stays.state else { panic!("it runs: {of_stays:?}") };
    assert_eq!(launched.pid, pid);
    let again = recover(&lab.containerizer).await;
    assert_eq!(again[1], found[1], "a repeat tells the same");
    assert!(
        matches!(&again[0].state, RecoveredState::Ended(again) if again.outcome == ended.outcome),
        "{again:?}"
    );

    fs::write(stays.sandbox.join("stop"), "").expect("it is writable");
    assert_eq!(exit_of(&lab.wait(&stays).await), Exit::Code(7));
    assert_eq!(read(&stays, "stdout"), "up\ndown\n");
    lab.finish().await;
}

async fn pid_file(path: &Path) -> u32 {
    let read = || fs::read_to_string(path).ok()?.parse().ok();
    until("the pid is written down", || read().is_some()).await;
    read().expect("it was there")
}

#[tokio::test(flavor = "multi_thread")]
async fn whenever_the_agent_is_killed_no_task_runs_that_the_next_agent_does_not_know() {
    if let Some(lab) = played_agent() {
        let generation = generation();
        for n in 0..1000 {
            // That it ran it says itself, outside of what we manage.
            lab.launch(&lab.shell(&format!("g{generation}n{n}"), "echo ran > ran; sleep 1000")).await;
        }
        return;
    }
    let lab = Lab::new();
    let test = "recovery::whenever_the_agent_is_killed_no_task_runs_that_the_next_agent_does_not_know";
    // Both sides of the moment in which it is written down who runs have to be met; later each time, they
    // are.
    let (mut met_running, mut met_not_begun, mut met_ran) = (false, false, false);
    let mut generation = 0;
    while generation < 12 || !(met_running && met_not_begun && met_ran) {
        assert!(generation < 100, "running: {met_running}, not begun: {met_not_begun}, has run: {met_ran}");
        let prefix = format!("g{generation}n");
        let agent = Agent::start(test, &lab, &generation.to_string());
        let begun = lab.work.join("run").join(format!("{prefix}0"));
        until("the first launch has begun", || begun.exists()).await;
        tokio::time::sleep(Duration::from_micros(500) * generation * generation).await;
        agent.kill();

        let next = Lab::at(lab.root(), &lab.instance);
        let found = recover(&next.containerizer).await;
        let mut running = BTreeSet::new();
        for one in &found {
            match &one.state {
                RecoveredState::Running(_) => drop(running.insert(one.container_id.to_string())),
                RecoveredState::Ended(ended) => assert!(
                    matches!(ended.outcome, Outcome::CutShort),
                    "nothing that sleeps can have ended, nor was anything wrong with it: {one:?}"
                ),
            }
        }
        met_running |= !running.is_empty();
        met_not_begun |= running.len() < found.len();
        for one in found {
            next.containerizer.destroy(&one.container_id).await.expect("it can be destroyed");
        }
        // All are dead, so what they have said is final.
        let sandboxes = fs::read_dir(lab.work.join("sandboxes")).expect("it is there").flatten();
        let ran = sandboxes.filter(|sandbox| sandbox.path().join("ran").exists());
        for ran in ran.filter_map(|sandbox| sandbox.file_name().into_string().ok()) {
            if ran.starts_with(&prefix) {
                met_ran = true;
                assert!(running.contains(&ran), "{ran} ran and nobody knew; known: {running:?}");
            }
        }
        lab.assert_nothing_is_left();
        generation += 1;
    }
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_was_started_without_a_wish_to_hear_of_its_children_hears_of_its_tasks() {
    if let Some(lab) = played_agent() {
        let ignore = SigAction::new(SigHandler::SigIgn, SaFlags::empty(), SigSet::empty());
        // SAFETY: no handler is installed, and nobody else in this process sets this signal's.
        unsafe { sigaction(Signal::SIGCHLD, &ignore) }.expect("it can be ignored");
        let exit = lab.run(&lab.shell("c1", "exit 3")).await;
        fs::write(lab.root().join("seen"), exit.to_string()).expect("it is writable");
        return;
    }
    let lab = Lab::new();
    let test =
        "recovery::an_agent_that_was_started_without_a_wish_to_hear_of_its_children_hears_of_its_tasks";
    let agent = Agent::start(test, &lab, "0");
    let seen = || fs::read_to_string(lab.root().join("seen")).unwrap_or_default();
    until("it has seen the end", || seen() == Exit::Code(3).to_string()).await;
    agent.kill();
    recover(&lab.containerizer).await;
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_cannot_be_looked_at_is_not_over_and_runs_on() {
    let lab = Lab::new();
    let spec = lab.shell("c1", "echo up; while [ ! -e stop ]; do sleep 0.01; done; exit 7");
    lab.launch(&spec).await;
    until("it runs", || read(&spec, "stdout") == "up\n").await;
    let dir = lab.work.join("run/c1");
    // What is no file cannot be read: for a moment, as the agent may have no descriptor left for a moment.
    let unreadable = |name: &str| {
        fs::rename(dir.join(name), dir.join("aside")).expect("it is ours");
        fs::create_dir(dir.join(name)).expect("it is ours");
    };
    let readable = |name: &str| {
        fs::remove_dir(dir.join(name)).expect("it is ours");
        fs::rename(dir.join("aside"), dir.join(name)).expect("it is ours");
    };

    unreadable("started");
    let next = Lab::at(lab.root(), &lab.instance);
    let error = next.containerizer.recover().await.expect_err("it cannot be known who runs");
    assert!(error.to_string().contains("run/c1"), "{error}");
    readable("started");
    assert!(matches!(recover(&next.containerizer).await[0].state, RecoveredState::Running(_)));

    unreadable("exit");
    fs::write(spec.sandbox.join("stop"), "").expect("it is writable");
    let error =
        next.containerizer.wait(&spec.container_id).await.expect_err("it cannot be known how it ended");
    assert!(error.to_string().contains("exit record"), "{error}");
    readable("exit");
    assert_eq!(exit_of(&next.wait(&spec).await), Exit::Code(7));
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn control_groups_that_belong_to_no_container_are_destroyed_with_what_runs_in_them() {
    let lab = Lab::new();
    let spec = lab.shell("lost", "sleep 1000");
    lab.launch(&spec).await;
    fs::remove_dir_all(lab.work.join("run/lost")).expect("it is ours");
    let next = Lab::at(lab.root(), &lab.instance);
    assert!(recover(&next.containerizer).await.is_empty());
    assert!(groups_of(&lab.instance).is_empty());
    next.assert_nothing_is_left();
    lab.wait(&spec).await;
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_of_an_earlier_boot_is_told_as_vanished_and_a_stranger_with_its_pid_is_left_alone() {
    let lab = Lab::new();
    let mut stranger = Command::new("sleep").arg("1000").spawn().expect("it can be started");
    let dir = lab.work.join("run/old");
    fs::create_dir_all(&dir).expect("it is writable");
    let pid = stranger.id();
    let another_boot = format!("1 00000000-0000-0000-0000-000000000000 {pid} 1 {pid} 1\n");
    fs::write(dir.join("started"), another_boot).expect("it is writable");
    let found = recover(&lab.containerizer).await;
    let RecoveredState::Ended(ended) = &found[0].state else { panic!("it is over: {found:?}") };
    assert!(matches!(&ended.outcome, Outcome::Vanished(why) if why.contains("restarted")), "{ended:?}");
    lab.finish().await;
    assert!(stranger.try_wait().expect("it is our child").is_none(), "the stranger was hit");
    stranger.kill().expect("it runs");
    stranger.wait().expect("it is our child");
}
