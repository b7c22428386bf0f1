//! An agent is killed at each of its steps in turn, and the next one has to make a whole of what is there.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bourse_containerizer::Cores;
use bourse_containerizer::failpoint::Failpoint::{self, *};
use bourse_proto::agent_link as link;
use bourse_proto::v1;
use bourse_proto::v1::TaskState::{self, *};
use bourse_types::{Command, TaskSpec};

use crate::lab::{FRAMEWORK, Lab, is_alive, shell, wait_for};
use crate::logs::until_log_holds;
use crate::master::Master;
use crate::resizing::{allowed, answers_in, size, size_text};

/// Steps of an agent that starts. Most are those of the container with which it tries the machine.
const AT_START: [Failpoint; 20] = [
    CheckpointCopied,
    CheckpointReplaced,
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
    EndSeen,
    RecordRead,
    DestroyBegun,
    ProcessesGone,
    GroupsRemoved,
    RuntimeDirRemoved,
];

/// Steps of one that has tasks.
const OF_TASKS: [Failpoint; 30] = [
    TaskDecided,
    TaskWritten,
    SandboxMade,
    RuntimeDirMade,
    GroupsMade,
    SandboxGiven,
    PlanWritten,
    FirstProcessMade,
    ReadyHeard,
    StartedWritten,
    GoSaid,
    TaskRuns,
    LaunchFailed,
    StartDecided,
    StartWritten,
    KillDecided,
    KillWritten,
    TermSent,
    KillSent,
    EndSeen,
    RecordRead,
    EndDecided,
    EndWritten,
    EndSent,
    AcknowledgementDecided,
    AcknowledgementWritten,
    DestroyBegun,
    ProcessesGone,
    GroupsRemoved,
    RuntimeDirRemoved,
];

/// Steps of one that gives a task another size, or does not.
const OF_RESIZING: [Failpoint; 7] =
    [ResizeDecided, ResizeWritten, LimitsSet, ResizedDecided, ResizedWritten, RefusalDecided, RefusalWritten];

/// Steps of one that gives a task cores for itself and moves another one away.
const OF_TAKING_CORES: [Failpoint; 3] = [CoresDecided, CoresWritten, LimitsSet];

/// Steps of one whose task with cores for itself ends, and which moves the other one back.
const OF_GIVING_CORES_BACK: [Failpoint; 5] =
    [EndDecided, EndWritten, LimitsSet, EndSent, AcknowledgementWritten];

/// Steps for which a sandbox has to be days old: the test of `collect` tries them.
const OF_COLLECTING: [Failpoint; 2] = [LatestRemoved, SandboxRemoved];

/// Ends by SIGKILL only, and writes down that it ran.
const STAYS: &str = "trap '' TERM; echo ran >> ran; while :; do sleep 0.05; done";

#[test]
fn there_is_no_step_at_which_no_agent_is_killed_by_these_tests() {
    let of_limits = [&OF_RESIZING[..], &OF_TAKING_CORES[..], &OF_GIVING_CORES_BACK[..]].concat();
    let mut tried = [&AT_START[..], &OF_TASKS[..], &of_limits[..], &OF_COLLECTING[..]].concat();
    tried.sort();
    tried.dedup();
    assert_eq!(tried, Failpoint::ALL);
}

#[tokio::test]
async fn an_agent_that_is_killed_at_any_step_of_its_start_leaves_its_tasks_to_the_next_one() {
    let mut lab = Lab::new().await;
    lab.run(&shell("t1", STAYS));
    let pid = lab.until_running("t1").await;
    for step in AT_START {
        lab.kill_agent().await;
        lab.start_and_die(step).await;
        lab.start().await;
        assert_eq!(reported(&lab, "t1"), Some((TaskRunning, Some(pid as u32))), "after {step:?}");
        assert!(is_alive(pid), "after {step:?}");
    }
    lab.kill_task("t1", Some(Duration::ZERO));
    lab.until_state("t1", TaskKilled).await;
    lab.clean().await;
}

/// Plan: one task runs already; a second one is launched, killed and removed, and then one is launched that cannot be. The
/// agent is killed on the way, and what the second did until then has to agree with what is told of it.
#[tokio::test]
async fn a_task_whose_agent_is_killed_at_any_step_runs_or_does_not_and_its_end_is_told_once() {
    let mut lab = Lab::new().await;
    for (round, step) in OF_TASKS.into_iter().enumerate() {
        let [beside, task, bad] = ["beside", "task", "bad"].map(|name| format!("{name}{round}"));
        let all = [&*beside, &*task, &*bad];
        let [ran_beside, ran] = [&beside, &task].map(|task| runs(&lab, task));
        lab.run(&shell(&beside, STAYS));
        let pid = lab.until_running(&beside).await;
        wait_for("it has run", || times(&ran_beside) == 1).await;

        lab.dies_at(step);
        live(&mut lab, &task, &bad).await;
        lab.until_dead(step).await;
        let untold = all.into_iter().filter(|task| !has_ended(&lab.master, task)).collect::<Vec<_>>();
        lab.master.believes_only_in(FRAMEWORK, &untold);
        lab.start().await;

        assert_eq!(reported(&lab, &beside), Some((TaskRunning, Some(pid as u32))), "after {step:?}");
        assert!(is_alive(pid), "after {step:?}");
        // One that is being killed already needs no second word.
        if let Some((TaskRunning, _)) = reported(&lab, &task) {
            wait_for("it has run", || times(&ran) == 1).await;
            lab.kill_task(&task, Some(Duration::ZERO));
        }
        lab.kill_task(&beside, Some(Duration::ZERO));
        for task in all {
            lab.until(&format!("{task} has ended, after {step:?}"), |master| has_ended(master, task)).await;
        }
        lab.until_no_container_is_left().await;
        for task in all {
            let ends: Vec<TaskState> =
                lab.master.states(task).into_iter().filter(|state| is_end(*state)).collect();
            assert_eq!(ends.len(), 1, "after {step:?} it is told that {task} is {ends:?}");
        }
        let statuses = lab.master.statuses(&task);
        let began = statuses.iter().any(|status| status.state() == TaskRunning || status.exit.is_some());
        assert_eq!(times(&ran), usize::from(began), "after {step:?}: {statuses:#?}");
    }
    lab.clean().await;
}

/// Plan: a task is given more memory, and then less than it uses, which is refused. The agent is killed on the way, and the
/// master says again what it waits for, as it does. What is told is what the task has, before that and after.
#[tokio::test]
async fn a_resize_whose_agent_is_killed_at_any_step_is_done_or_refused_and_told_as_it_is() {
    const MORE: &str = "cpus:0.1; mem:128";
    const LESS: &str = "cpus:0.1; mem:10";
    let mut lab = Lab::new().await;
    for (round, step) in OF_RESIZING.into_iter().enumerate() {
        let task = format!("resized{round}");
        let line = "head -c 20971520 /dev/zero > /dev/shm/f; echo held; exec sleep 1000";
        let resources = "cpus:0.1; mem:64".parse().expect("valid");
        lab.run(&TaskSpec { resources, ..shell(&task, line) });
        let pid = lab.until_running(&task).await;
        until_log_holds(&lab, &task, "held").await;

        lab.dies_at(step);
        let mut waits_for = None;
        for wanted in [MORE, LESS] {
            let answers = answers_in(&lab.master, &task).len();
            lab.resize_task(&task, &size(wanted));
            if !heard_before_it_dies(&mut lab, |master| answers_in(master, &task).len() > answers).await {
                waits_for = Some(wanted);
                break;
            }
        }
        lab.until_dead(step).await;
        let wanted = waits_for.unwrap_or_else(|| panic!("{step:?} is one before the answer"));
        lab.master.believes_only_in(FRAMEWORK, &[&*task]);
        lab.start().await;

        assert_eq!(reported(&lab, &task), Some((TaskRunning, Some(pid as u32))), "after {step:?}");
        let (told, under_way) = reported_size(&lab, &task);
        if !under_way {
            assert_eq!(lab.memory_limit(&task), bytes_of(&told), "after {step:?} it is told to have {told}");
        }
        let answers = answers_in(&lab.master, &task).len();
        lab.resize_task(&task, &size(wanted));
        lab.until(&format!("an answer after {step:?}"), |master| answers_in(master, &task).len() > answers)
            .await;
        let has = answers_in(&lab.master, &task).pop().expect("just heard");
        assert_eq!(has, MORE, "after {step:?} of a resize to {wanted}");
        assert_eq!(lab.memory_limit(&task), bytes_of(&has), "after {step:?} it is told to have {has}");
        lab.until(&format!("the framework hears of it after {step:?}"), |master| {
            let statuses = master.statuses(&task);
            let last = statuses.iter().rev().find_map(|status| status.size.as_ref().map(size_text));
            last.as_deref() == Some(MORE)
        })
        .await;
        assert!(is_alive(pid), "after {step:?}");
        lab.kill_task(&task, Some(Duration::ZERO));
        lab.until(&format!("{task} has ended, after {step:?}"), |master| has_ended(master, &task)).await;
        lab.until_no_container_is_left().await;
    }
    lab.clean().await;
}

/// Plan: one task runs all the time, and one after the other comes that has cores for itself. Whatever becomes of those when
/// their agent is killed, the one beside them is on none of their cores, and on all when they are gone.
#[tokio::test]
async fn cores_are_one_tasks_own_or_everybodys_at_whatever_step_their_agent_is_killed() {
    let mut lab = Lab::new().await;
    lab.run(&shell("beside", STAYS));
    let beside = lab.until_running("beside").await;
    let all = cores_of(beside);
    lab.run(&alone("first"));
    lab.until("it runs or cannot", |master| {
        has_ended(master, "first") || master.states("first").contains(&TaskRunning)
    })
    .await;
    if let Some(end) = lab.master.statuses("first").into_iter().find(|status| status.state() == TaskFailed) {
        // A machine with one core, or whose kernel gives nobody a part of them.
        let why = end.message();
        assert!(why.contains("no cpuset controller") || why.contains("1 are free"), "{why}");
        return lab.clean().await;
    }
    lab.kill_task("first", Some(Duration::ZERO));
    lab.until("first has ended", |master| has_ended(master, "first")).await;
    wait_for("beside is back on all cores", || cores_of(beside) == all).await;

    let taking = OF_TAKING_CORES.into_iter().map(|step| (step, false));
    let giving = OF_GIVING_CORES_BACK.into_iter().map(|step| (step, true));
    for (round, (step, ends)) in taking.chain(giving).enumerate() {
        let task = format!("alone{round}");
        if ends {
            lab.run(&alone(&task));
            lab.until_running(&task).await;
            wait_for("beside is moved away", || cores_of(beside) != all).await;
            lab.dies_at(step);
            lab.kill_task(&task, Some(Duration::ZERO));
        } else {
            lab.dies_at(step);
            lab.run(&alone(&task));
        }
        lab.until_dead(step).await;
        let all_tasks = ["beside", &*task];
        let untold = all_tasks.into_iter().filter(|task| !has_ended(&lab.master, task)).collect::<Vec<_>>();
        lab.master.believes_only_in(FRAMEWORK, &untold);
        lab.start().await;

        assert_eq!(reported(&lab, "beside"), Some((TaskRunning, Some(beside as u32))), "after {step:?}");
        if let Some((TaskRunning, Some(pid))) = reported(&lab, &task) {
            let own = cores_of(pid as i32);
            assert_eq!(own.len(), 1, "after {step:?}");
            wait_for("beside is moved away", || cores_of(beside).is_disjoint(&own)).await;
            lab.kill_task(&task, Some(Duration::ZERO));
        }
        lab.until(&format!("{task} has ended, after {step:?}"), |master| has_ended(master, &task)).await;
        wait_for(&format!("beside is back on all cores, after {step:?}"), || cores_of(beside) == all).await;
    }
    assert!(is_alive(beside));
    lab.clean().await;
}

/// A task with one core for itself.
fn alone(task: &str) -> TaskSpec {
    let resources = "cpus:1; mem:32".parse().expect("valid");
    TaskSpec { resources, exclusive_cpus: true, ..shell(task, STAYS) }
}

/// The cores that a process may run on.
fn cores_of(pid: i32) -> BTreeSet<u32> {
    let list: Cores = allowed(pid).parse().expect("a list of cores");
    list.iter().collect()
}

/// The memory of a size, in bytes.
fn bytes_of(told: &str) -> u64 {
    (size(told).resources.mem().thousandths() << 20) / 1000
}

/// What the agent told of a task when it registered last: what it has, and whether it is being given something else.
fn reported_size(lab: &Lab, task: &str) -> (String, bool) {
    let registered = lab.master.registrations().pop().expect("it has registered");
    let is_it = |report: &link::TaskReport| {
        let latest = report.latest.as_ref().and_then(|latest| latest.task_id.as_ref()?.value.as_deref());
        latest == Some(task)
    };
    let report = registered.tasks.into_iter().find(is_it).expect("it is reported");
    let held = v1::TaskSize { resources: report.resources, ..Default::default() };
    (size_text(&held), report.resizing.is_some())
}

/// The life of a task, and of one that cannot be launched, as far as the agent lives.
async fn live(lab: &mut Lab, task: &str, bad: &str) {
    let ran = runs(lab, task);
    lab.run(&shell(task, STAYS));
    let runs = |master: &Master| master.states(task).contains(&TaskRunning) && times(&ran) == 1;
    if !heard_before_it_dies(lab, runs).await {
        return;
    }
    lab.kill_task(task, Some(Duration::from_millis(50)));
    if !heard_before_it_dies(lab, |master| has_ended(master, task)).await {
        return;
    }
    lab.run(&TaskSpec { command: Command::exec(["/no/such/program"]), ..shell(bad, "") });
    heard_before_it_dies(lab, |master| has_ended(master, bad)).await;
}

async fn heard_before_it_dies(lab: &mut Lab, enough: impl Fn(&Master) -> bool) -> bool {
    let mut heard = false;
    wait_for("enough is heard, or the agent dies", || {
        heard = enough(&lab.master);
        heard || lab.is_dead()
    })
    .await;
    heard
}

fn has_ended(master: &Master, task: &str) -> bool {
    master.states(task).into_iter().any(is_end)
}

fn is_end(state: TaskState) -> bool {
    !matches!(state, TaskStaging | TaskStarting | TaskRunning | TaskKilling)
}

/// What the agent told of a task when it registered last: its state, and its process.
fn reported(lab: &Lab, task: &str) -> Option<(TaskState, Option<u32>)> {
    let registered = lab.master.registrations().pop().expect("it has registered");
    registered.tasks.into_iter().filter_map(|report| report.latest).find_map(|latest| {
        let is_it = latest.task_id.as_ref()?.value.as_deref() == Some(task);
        let pid = latest.container_status.as_ref().and_then(|container| container.executor_pid);
        is_it.then(|| (latest.state(), pid))
    })
}

/// The folder with a sandbox for each container that a task ever had.
fn runs(lab: &Lab, task: &str) -> PathBuf {
    lab.sandbox(task).parent().expect("a sandbox is in the folder of the runs").to_owned()
}

/// How often a task ran, by what it wrote down itself, in whatever container.
fn times(runs: &Path) -> usize {
    let sandboxes = fs::read_dir(runs).into_iter().flatten().flatten();
    // `latest` is a link to one of them.
    let sandboxes = sandboxes.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    let lines =
        |sandbox: PathBuf| fs::read_to_string(sandbox.join("ran")).unwrap_or_default().lines().count();
    sandboxes.map(|sandbox| lines(sandbox.path())).sum()
}
