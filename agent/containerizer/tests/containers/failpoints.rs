//! An agent is killed at each step of a container's life in turn, and what it leaves has to be whole for the next one.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use bourse_containerizer::failpoint::Failpoint::{self, *};
use bourse_containerizer::failpoint::observe;
use bourse_containerizer::{ContainerSpec, Containerizer, Isolation, Outcome, RecoveredState};
use bourse_types::{Exit, Namespaces, Users};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::lab::{Lab, exit_of, read, until};
use super::recovery::{Agent, generation, played_agent, recover, until_no_agent_is_left};

/// Those that a containerizer comes to, in the order of the one life of [`live`].
const STEPS: [Failpoint; 21] = [
    StrangersRemoved,
    ContainerFound,
    RuntimeDirMade,
    GroupsMade,
    SandboxGiven,
    PlanWritten,
    CopyWaits,
    FirstProcessMade,
    ReadyHeard,
    StartedWritten,
    GoSaid,
    TaskRuns,
    TermSent,
    KillSent,
    EndSeen,
    RecordRead,
    DestroyBegun,
    ProcessesGone,
    GroupsRemoved,
    RuntimeDirRemoved,
    LaunchFailed,
];

/// Ends by SIGKILL only, and writes down that it ran.
const STAYS: &str = "trap '' TERM; echo ran >> ran; while :; do sleep 0.05; done";

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_is_killed_at_any_step_leaves_a_task_that_runs_and_is_known_or_none() {
    if let Some(lab) = played_agent() {
        let (step, isolation) = step_and_isolation(&generation());
        observe(move |reached| {
            if reached == step {
                die();
            }
        });
        return live(&lab, isolation).await;
    }
    let lab = Lab::new();
    let test = "failpoints::an_agent_that_is_killed_at_any_step_leaves_a_task_that_runs_and_is_known_or_none";
    for isolation in [Isolation::Linux, Isolation::Process] {
        for step in STEPS {
            // Without isolation there are no control groups, nor any users but the machine's.
            if isolation == Isolation::Process && matches!(step, GroupsMade | CopyWaits) {
                continue;
            }
            one(&lab, test, step, isolation).await;
        }
    }
    lab.finish().await;
}

/// Plan: an agent is killed when the copies of it that are to give two tasks users of their own wait at once. Each is a copy
/// of all that the agent has open, and one that kept the other's way to the agent open would wait for ever.
#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_is_killed_while_two_tasks_get_their_users_leaves_nobody_behind() {
    if let Some(lab) = played_agent() {
        let waiting = AtomicU32::new(0);
        observe(move |reached| {
            if reached == CopyWaits {
                if waiting.fetch_add(1, Ordering::Relaxed) == 1 {
                    die();
                }
                // For the other one to come.
                loop {
                    thread::park();
                }
            }
        });
        return launch_both(&lab, &with_own_users(&lab)).await;
    }
    let lab = Lab::new();
    let test = "failpoints::an_agent_that_is_killed_while_two_tasks_get_their_users_leaves_nobody_behind";
    let signal = Agent::start(test, &lab, "0").until_ended().await;
    assert_eq!(signal, Some(libc::SIGKILL), "the two do not wait at once");
    until_no_agent_is_left(&lab).await;

    let next = Lab::at(lab.root(), &lab.instance);
    let found = recover(&next.containerizer).await;
    assert_eq!(found.len(), 2, "{found:?}");
    for one in found {
        assert!(
            matches!(&one.state, RecoveredState::Ended(ended) if ended.outcome == Outcome::CutShort),
            "{one:?}"
        );
        next.containerizer.destroy(&one.container_id).await.expect("it can be destroyed");
    }
    next.assert_nothing_is_left();

    let specs = with_own_users(&next);
    launch_both(&next, &specs).await;
    let mut owners = Vec::new();
    for spec in &specs {
        until("it has run", || !read(spec, "ran").is_empty()).await;
        assert_eq!(read(spec, "ran"), "ran\n");
        owners.push(fs::metadata(&spec.sandbox).expect("it is there").uid());
    }
    assert!(owners[0] != owners[1] && !owners.contains(&0), "{owners:?}");
    drop(next);
    lab.finish().await;
}

fn with_own_users(lab: &Lab) -> [ContainerSpec; 2] {
    let namespaces = Namespaces { users: Users::Own, ..Namespaces::default() };
    ["one", "other"].map(|name| ContainerSpec { namespaces, ..spec(lab, name, Isolation::Linux) })
}

async fn launch_both(lab: &Lab, [one, other]: &[ContainerSpec; 2]) {
    tokio::join!(lab.launch(one), lab.launch(other));
}

/// As by `kill -9`.
pub fn die() {
    kill(Pid::this(), Signal::SIGKILL).expect("we may");
}

async fn one(lab: &Lab, test: &str, step: Failpoint, isolation: Isolation) {
    let before = format!("{step:?} in {isolation:?}");
    // Of an agent that is gone already.
    let beside = spec(lab, "beside", isolation);
    let pid = Lab::at(lab.root(), &lab.instance).launch(&beside).await.pid;
    until("it has run", || read(&beside, "ran") == "ran\n").await;
    let signal = Agent::start(test, lab, &format!("{step:?} {isolation:?}")).until_ended().await;
    assert_eq!(signal, Some(libc::SIGKILL), "it does not die at {before}");
    until_no_agent_is_left(lab).await;

    let next = Lab::at(lab.root(), &lab.instance);
    let task = spec(lab, "task", isolation);
    let mut is_known_to_have_run = matches!(step, RuntimeDirRemoved | LaunchFailed);
    for found in recover(&next.containerizer).await {
        match (found.container_id.as_str(), &found.state) {
            ("beside", RecoveredState::Running(launched)) => assert_eq!(launched.pid, pid, "{before}"),
            ("task", RecoveredState::Running(_)) => {
                is_known_to_have_run = true;
                until("it has run", || !read(&task, "ran").is_empty()).await;
            }
            ("task", RecoveredState::Ended(ended)) if ended.outcome == Outcome::CutShort => {}
            ("task", RecoveredState::Ended(ended)) => {
                is_known_to_have_run = true;
                assert_eq!(exit_of(ended), Exit::Signal(libc::SIGKILL), "{before}");
            }
            ("bad", RecoveredState::Ended(ended)) => {
                assert!(matches!(ended.outcome, Outcome::SetUpFailed(_)), "{before}: {ended:?}");
            }
            _ => panic!("{before}: {found:?}"),
        }
        next.containerizer.destroy(&found.container_id).await.expect("it can be destroyed");
    }
    next.assert_nothing_is_left();
    assert_eq!(read(&task, "ran"), if is_known_to_have_run { "ran\n" } else { "" }, "{before}");
    assert_eq!(read(&beside, "ran"), "ran\n", "{before}");
    for spec in [&beside, &task] {
        fs::remove_dir_all(&spec.sandbox).expect("it is ours");
    }
}

/// The whole life of a container, and the short one of another that cannot be launched.
async fn live(lab: &Lab, isolation: Isolation) {
    recover(&lab.containerizer).await;
    let task = spec(lab, "task", isolation);
    lab.launch(&task).await;
    until("it has run", || !read(&task, "ran").is_empty()).await;
    lab.containerizer.terminate(&task.container_id).await.expect("it runs");
    lab.containerizer.kill_all(&task.container_id).await.expect("it runs");
    lab.wait(&task).await;
    lab.containerizer.destroy(&task.container_id).await.expect("it can be destroyed");
    let bad = ContainerSpec { isolation, ..lab.spec("bad", &["no-such-command"]) };
    lab.containerizer.launch(&bad).await.expect_err("there is no such program");
    // The test sees that the step was not reached.
    process::exit(0);
}

fn spec(lab: &Lab, name: &str, isolation: Isolation) -> ContainerSpec {
    ContainerSpec { isolation, ..lab.shell(name, STAYS) }
}

fn step_and_isolation(text: &str) -> (Failpoint, Isolation) {
    let (step, isolation) = text.split_once(' ').expect("two words");
    let step = Failpoint::ALL.iter().find(|known| format!("{known:?}") == step);
    let isolation =
        [Isolation::Linux, Isolation::Process].into_iter().find(|known| format!("{known:?}") == isolation);
    (*step.expect("a step"), isolation.expect("an isolation"))
}
