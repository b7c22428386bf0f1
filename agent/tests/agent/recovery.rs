use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use bourse_proto::v1::TaskState::*;
use bourse_proto::v1::task_status::Reason;
use bourse_types::{HealthCheck, HealthKind, TaskSpec};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::lab::{DEADLINE, Lab, is_alive, parent_of, shell, start_time, wait_for};

#[tokio::test]
async fn kill_9_of_the_agent_and_a_restart_keep_the_same_process_and_the_agents_id() {
    let mut lab = Lab::new().await;
    lab.run(&shell("t1", "echo one; while [ ! -f go ]; do sleep 0.02; done; echo two"));
    let pid = lab.until_running("t1").await;
    let started = start_time(pid);
    lab.kill_agent().await;
    assert!(is_alive(pid));
    lab.start().await;
    let again = lab.master.registrations().pop().expect("registered again");
    assert_eq!((again.agent_id.as_deref(), again.epoch), (Some("m-S0"), 1));
    assert_eq!(again.tasks.len(), 1);
    let latest = again.tasks[0].latest.clone().expect("a state");
    assert_eq!(latest.state(), TaskRunning);
    assert_eq!(latest.container_status.and_then(|container| container.executor_pid), Some(pid as u32));
    assert_eq!(start_time(pid), started);
    // The log goes on, and so does the watch for the end.
    let sandbox = lab.work_dir().join("slaves/m-S0/frameworks/F/executors/t1/runs/latest");
    std::fs::write(sandbox.join("go"), "").expect("written");
    lab.until_state("t1", TaskFinished).await;
    assert_eq!(lab.stdout("t1").await, "one\ntwo\n");
    assert_eq!(lab.master.states("t1"), [TaskStarting, TaskRunning, TaskFinished]);
    lab.clean().await;
}

#[tokio::test]
async fn an_agent_with_running_tasks_comes_back_although_its_trial_of_a_container_fails() {
    let mut lab = Lab::new().await;
    lab.run(&shell("t1", "while [ ! -f go ]; do sleep 0.02; done; exit 42"));
    lab.until_running("t1").await;
    lab.kill_agent().await;
    // Where the trial's container goes stands something that cannot be removed.
    let place = lab.work_dir().join("run/probe");
    std::fs::create_dir(&place).expect("writable");
    mount(Some("none"), &place, Some("tmpfs"), MsFlags::empty(), None::<&str>).expect("as root");
    lab.start().await;
    let sandbox = lab.work_dir().join("slaves/m-S0/frameworks/F/executors/t1/runs/latest");
    std::fs::write(sandbox.join("go"), "").expect("written");
    let end = lab.until_state("t1", TaskFailed).await;
    assert_eq!(end.exit.and_then(|exit| exit.code), Some(42));
    lab.kill_agent().await;
    // Without a task that runs, the same is one clear error.
    let refused = lab.spawn().wait().await.expect("its status");
    let log = lab.agent_log();
    assert!(!refused.success() && log.contains("remove its runtime directory"), "{refused} {log}");
    umount2(&place, MntFlags::MNT_DETACH).expect("mounted");
    lab.start().await;
    lab.clean().await;
}

#[tokio::test]
async fn an_exit_while_the_agent_was_gone_is_told_with_its_code() {
    let mut lab = Lab::new().await;
    lab.run(&shell("t1", "while [ ! -f go ]; do sleep 0.02; done; exit 42"));
    lab.run(&shell("t2", "exec sleep 1000"));
    let pid = lab.until_running("t1").await;
    let killed = lab.until_running("t2").await;
    lab.kill_agent().await;
    let sandbox = lab.work_dir().join("slaves/m-S0/frameworks/F/executors/t1/runs/latest");
    std::fs::write(sandbox.join("go"), "").expect("written");
    kill(Pid::from_raw(killed), Signal::SIGUSR1).expect("there");
    wait_for("both are gone", || !is_alive(pid) && !is_alive(killed)).await;
    lab.start().await;
    let end = lab.until_state("t1", TaskFailed).await;
    assert_eq!(end.exit.and_then(|exit| exit.code), Some(42));
    let end = lab.until_state("t2", TaskFailed).await;
    assert_eq!(end.exit.and_then(|exit| exit.signal), Some(Signal::SIGUSR1 as i32));
    lab.clean().await;
}

#[tokio::test]
async fn an_update_that_was_not_acknowledged_is_sent_by_the_next_agent_with_the_same_uuid() {
    let mut lab = Lab::new().await;
    lab.master.acknowledges(false);
    lab.run(&shell("t1", "true"));
    let first = lab.until_state("t1", TaskStarting).await;
    let ended = lab.work_dir().join("slaves/m-S0/frameworks/F/executors/t1/runs/latest/stdout");
    wait_for("the task has run", || ended.is_file()).await;
    lab.kill_agent().await;
    let heard = lab.master.heard().len();
    lab.start().await;
    lab.until("the update comes again", |master| {
        master.heard()[heard..].iter().any(|message| match message {
            bourse_proto::agent_link::from_agent::Message::Update(update) => {
                update.status.as_ref().is_some_and(|status| status.uuid == first.uuid)
            }
            _ => false,
        })
    })
    .await;
    lab.clean().await;
}

#[tokio::test]
async fn a_half_run_kill_is_finished_by_the_next_agent() {
    let mut lab = Lab::new().await;
    lab.run(&shell("t1", "trap '' TERM; echo ready; while :; do sleep 0.05; done"));
    lab.until_running("t1").await;
    crate::logs::until_log_holds(&lab, "t1", "ready").await;
    lab.kill_task("t1", Some(Duration::from_secs(2)));
    lab.until_state("t1", TaskKilling).await;
    lab.kill_agent().await;
    lab.start().await;
    let end = lab.until_state("t1", TaskKilled).await;
    assert_eq!(end.exit.and_then(|exit| exit.signal), Some(9));
    lab.clean().await;
}

#[tokio::test]
async fn health_checks_go_on_with_the_next_agent() {
    let mut lab = Lab::new().await;
    let mut check = HealthCheck::new(HealthKind::Command(bourse_types::Command::shell("test -f ok")));
    (check.delay, check.grace_period, check.interval) =
        (Duration::ZERO, Duration::ZERO, Duration::from_millis(50));
    lab.run(&TaskSpec { health: Some(check), ..shell("t1", "touch ok; exec sleep 1000") });
    lab.until("healthy", |master| master.statuses("t1").iter().any(|status| status.healthy == Some(true)))
        .await;
    lab.kill_agent().await;
    lab.start().await;
    let sandbox = lab.work_dir().join("slaves/m-S0/frameworks/F/executors/t1/runs/latest");
    std::fs::remove_file(sandbox.join("ok")).expect("there");
    let end = lab.until_state("t1", TaskKilled).await;
    assert_eq!(end.healthy, Some(false));
    lab.clean().await;
}

#[tokio::test]
async fn failures_of_health_checks_are_counted_on_by_the_next_agent() {
    let mut lab = Lab::new().await;
    let mut check = HealthCheck::new(HealthKind::Command(bourse_types::Command::shell("false")));
    (check.delay, check.grace_period, check.interval) =
        (Duration::ZERO, Duration::ZERO, Duration::from_millis(200));
    check.consecutive_failures = 10;
    lab.run(&TaskSpec { health: Some(check), ..shell("t1", "exec sleep 1000") });
    lab.until("a failure", |master| master.statuses("t1").iter().any(|status| status.healthy == Some(false)))
        .await;
    lab.kill_agent().await;
    lab.start().await;
    let end = lab.until_state("t1", TaskKilled).await;
    assert!(end.message().starts_with("health check failed 10 times in a row"), "{}", end.message());
    let statuses = lab.master.statuses("t1");
    let number = |message: &str| -> Option<u32> {
        message.strip_prefix("health check failed (")?.split(' ').next()?.parse().ok()
    };
    let counted: Vec<u32> = statuses.iter().filter_map(|status| number(status.message())).collect();
    assert!(counted.is_sorted_by(|one, next| one < next) && counted.last() == Some(&10), "{counted:?}");
    lab.clean().await;
}

#[tokio::test]
async fn the_longest_run_time_of_a_task_counts_from_its_start_whichever_agent_is_there() {
    let mut lab = Lab::new().await;
    let longest = Duration::from_secs(3);
    lab.run(&TaskSpec { max_completion_time: Some(longest), ..shell("t1", "exec sleep 1000") });
    let running = lab.until_state("t1", TaskRunning).await;
    lab.kill_agent().await;
    lab.start().await;
    let end = lab.until_state("t1", TaskFailed).await;
    assert_eq!(end.reason(), Reason::MaxCompletionTimeReached);
    let ran = end.timestamp() - running.timestamp();
    assert!(ran > 2.9, "{ran} seconds");
    lab.clean().await;
}

#[tokio::test]
async fn after_a_restart_of_the_machine_tasks_are_told_as_gone_and_the_agent_is_who_it_was() {
    let mut lab = Lab::new().await;
    lab.run(&shell("t1", "exec sleep 1000"));
    let pid = lab.until_running("t1").await;
    lab.kill_agent().await;
    // With the machine go all its processes: the first one of a container takes the others along.
    kill(Pid::from_raw(parent_of(pid)), Signal::SIGKILL).expect("there");
    wait_for("the task is gone", || !is_alive(pid)).await;
    lab.machine_restarts();
    lab.start().await;
    let end = lab.until_state("t1", TaskGone).await;
    assert_eq!(end.reason(), Reason::AgentRestarted);
    assert!(end.message().contains("the machine was restarted"), "{}", end.message());
    assert_eq!(lab.master.states("t1"), [TaskStarting, TaskRunning, TaskGone]);
    let again = lab.master.registrations().pop().expect("registered again");
    assert_eq!((again.agent_id.as_deref(), again.epoch), (Some("m-S0"), 1));
    assert!(again.boot_id.starts_with("00000000-"), "{}", again.boot_id);
    lab.run(&shell("t2", "true"));
    lab.until_state("t2", TaskFinished).await;
    lab.clean().await;
}

/// What an agent has told of itself when it registered last.
pub fn told(lab: &Lab) -> (Vec<String>, Vec<String>) {
    let info = lab.master.registrations().pop().and_then(|register| register.info).expect("registered");
    let resources = bourse_wire::resources::read(&info.resources).expect("valid");
    let attributes = bourse_wire::attributes::read(&info.attributes).expect("valid");
    // Of the disk the machine has what it has.
    let resources =
        resources.iter().map(ToString::to_string).filter(|resource| !resource.starts_with("disk:"));
    (resources.collect(), attributes.to_string().split(';').map(str::to_owned).collect())
}

#[tokio::test]
async fn an_agent_with_tasks_comes_back_with_more_and_with_less_only_when_they_are_gone() {
    let mut lab = Lab::new().await;
    lab.run(&shell("t1", "exec sleep 1000"));
    let pid = lab.until_running("t1").await;
    let started = start_time(pid);

    lab.kill_agent().await;
    (lab.resources, lab.attributes) = ("cpus:6; gpus:1; mem:1024".into(), "rack:a; zone:z".into());
    lab.start().await;
    let again = lab.master.registrations().pop().expect("registered again");
    assert_eq!((again.agent_id.as_deref(), again.tasks.len()), (Some("m-S0"), 1));
    let (resources, attributes) = told(&lab);
    assert_eq!(resources, ["cpus:6", "gpus:1", "mem:1024", "ports:[31000-32000]"]);
    assert_eq!(attributes, ["rack:a", "zone:z"]);
    assert_eq!(start_time(pid), started);
    // What it told holds once the master has taken it, and that it has by the time that it launches something.
    lab.run(&shell("t2", "true"));
    lab.until_state("t2", TaskFinished).await;

    lab.kill_agent().await;
    (lab.resources, lab.attributes) = ("cpus:2; mem:1024".into(), "rack:b".into());
    let ended = tokio::time::timeout(DEADLINE, lab.spawn().wait()).await.expect("in time");
    assert!(!ended.expect("its status").success() && is_alive(pid));
    let log = lab.agent_log();
    for said in [
        "on agent m-S0 1 task runs that relies on what it would not have any more: ",
        "the attribute rack:a is now rack:b, the attribute zone:z is not there, cpus:6 is now cpus:2, gpus:1 is not there",
        "bourse drain m-S0",
    ] {
        assert!(log.contains(said), "{said} is not in {log}");
    }

    (lab.resources, lab.attributes) = ("cpus:6; gpus:1; mem:1024".into(), "rack:a; zone:z".into());
    lab.start().await;
    lab.kill_task("t1", Some(Duration::ZERO));
    lab.until_state("t1", TaskKilled).await;
    lab.kill_agent().await;
    (lab.resources, lab.attributes) = ("cpus:2; mem:1024".into(), "rack:b".into());
    lab.start().await;
    let again = lab.master.registrations().pop().expect("registered again");
    assert_eq!(again.agent_id.as_deref(), Some("m-S0"), "it is the same agent");
    let (resources, attributes) = told(&lab);
    assert_eq!(resources, ["cpus:2", "mem:1024", "ports:[31000-32000]"]);
    assert_eq!(attributes, ["rack:b"]);
    lab.clean().await;
}

/// Plan: the agent is killed at random moments while tasks come and go; each task appends a line to one ledger when it
/// runs, so a second run, or a missing one, shows.
#[tokio::test]
async fn kills_of_the_agent_at_any_moment_lose_no_task_and_run_none_twice() {
    // Outside of the work directory, for every user and every run of a task.
    let shared = tempfile::tempdir().expect("a folder");
    let mut lab = Lab::with(&[&format!("--share={}", shared.path().display())]).await;
    std::fs::set_permissions(shared.path(), std::fs::Permissions::from_mode(0o755)).expect("ours");
    let ledger = shared.path().join("ledger");
    std::fs::write(&ledger, "").expect("written");
    std::fs::set_permissions(&ledger, std::fs::Permissions::from_mode(0o666)).expect("ours");
    let mut all = Vec::new();
    for round in 0..8_u64 {
        for number in 0..3 {
            let task = format!("r{round}n{number}");
            let line = format!("echo {task} >> {}; sleep 0.0{number}; exit {number}", ledger.display());
            lab.run(&shell(&task, &line));
            all.push(task);
        }
        // Not a wait for anything: the moment of the kill is what is varied.
        tokio::time::sleep(Duration::from_millis(round * 7)).await;
        // In the last round some have run, however slow the machine is today.
        if round == 7 {
            lab.until_state("r7n0", TaskFinished).await;
        }
        lab.kill_agent().await;
        lab.start().await;
    }
    let mut ran = 0;
    for task in &all {
        // What was still under way to the agent when it died was never its own; the master is told that it is unknown.
        lab.master.believes_in(crate::lab::FRAMEWORK, task);
    }
    let ended = |task: &str, master: &crate::master::Master| {
        master.states(task).iter().any(|state| matches!(state, TaskFinished | TaskFailed | TaskDropped))
    };
    lab.master.hang_up();
    for task in &all {
        lab.until(&format!("{task} has ended"), |master| ended(task, master)).await;
        let statuses = lab.master.statuses(task);
        let times =
            std::fs::read_to_string(&ledger).expect("text").lines().filter(|line| line == task).count();
        assert!(times <= 1, "{task} ran {times} times");
        // An end without an exit is that of a container whose launch was cut short.
        if statuses.iter().any(|status| status.exit.is_some()) {
            assert_eq!(times, 1, "{task} says {statuses:?}");
            ran += 1;
        }
    }
    assert!(ran > 0, "some tasks ran");
    lab.clean().await;
}
