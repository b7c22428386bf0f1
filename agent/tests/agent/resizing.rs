use std::fs;

use bourse_proto::agent_link::from_agent::Message;
use bourse_proto::v1;
use bourse_proto::v1::TaskState::*;
use bourse_proto::v1::task_status::Reason;
use bourse_types::{Size, TaskSpec};

use crate::lab::{Lab, is_alive, shell, wait_for};
use crate::master::Master;

pub fn size(text: &str) -> Size {
    Size::of(text.parse().expect("valid"))
}

pub fn size_text(form: &v1::TaskSize) -> String {
    bourse_wire::size::read(form).expect("what an agent tells").to_string()
}

/// Waits for the answer to a resize, which is an update with a size.
pub async fn until_answered(lab: &Lab, task: &str) -> v1::TaskStatus {
    let answered = |status: &v1::TaskStatus| status.size.is_some();
    lab.until("the resize is answered", |master| master.statuses(task).iter().any(answered)).await;
    lab.master.statuses(task).into_iter().find(answered).expect("just seen")
}

/// What the master was told that a task has after a resize, each time.
pub fn answers_in(master: &Master, task: &str) -> Vec<String> {
    let answer = |message| match message {
        Message::TaskResized(resized) if resized.task_id == task => resized.size.as_ref().map(size_text),
        _ => None,
    };
    master.heard().into_iter().filter_map(answer).collect()
}

/// Waits for what the master counts by.
async fn until_told(lab: &Lab, task: &str, wanted: &str) {
    let told = |master: &Master| answers_in(master, task).iter().any(|size| size == wanted);
    lab.until(&format!("{task} has {wanted}"), told).await;
}

/// The cores that a process may run on.
pub fn allowed(pid: i32) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).expect("it is told");
    line.trim().to_owned()
}

#[tokio::test]
async fn a_running_task_gets_more_memory_and_can_use_it() {
    let lab = Lab::new().await;
    // The last one keeps all of it in memory, twice what the task may use at first.
    let line =
        "while [ ! -f go ]; do sleep 0.02; done; head -c 67108864 /dev/zero | tail -c 67108864 | wc -c";
    lab.run(&shell("t1", line));
    lab.until_running("t1").await;
    lab.resize_task("t1", &size("cpus:1; mem:256"));
    let told = until_answered(&lab, "t1").await;
    assert_eq!((told.state(), told.reason), (TaskRunning, None), "{told:?}");
    assert_eq!(told.size.as_ref().map(size_text).as_deref(), Some("cpus:1; mem:256"));
    until_told(&lab, "t1", "cpus:1; mem:256").await;
    fs::write(lab.sandbox("t1").join("go"), "").expect("written");
    lab.until_state("t1", TaskFinished).await;
    assert_eq!(lab.stdout("t1").await, "67108864\n");
    lab.clean().await;
}

#[tokio::test]
async fn a_task_keeps_its_size_where_its_memory_is_in_use_and_its_framework_hears_why() {
    let lab = Lab::new().await;
    let line = "head -c 20971520 /dev/zero > /dev/shm/f; echo held; exec sleep 1000";
    let resources = "cpus:0.1; mem:64".parse().expect("valid");
    lab.run(&TaskSpec { resources, ..shell("t1", line) });
    let pid = lab.until_running("t1").await;
    crate::logs::until_log_holds(&lab, "t1", "held").await;
    lab.resize_task("t1", &size("cpus:0.1; mem:10"));
    let told = until_answered(&lab, "t1").await;
    assert_eq!((told.state(), told.reason()), (TaskRunning, Reason::ContainerUpdateFailed), "{told:?}");
    assert_eq!(told.size.as_ref().map(size_text).as_deref(), Some("cpus:0.1; mem:64"));
    assert!(told.message().contains("stay as they are"), "{}", told.message());
    until_told(&lab, "t1", "cpus:0.1; mem:64").await;
    assert!(is_alive(pid));
    lab.clean().await;
}

#[tokio::test]
async fn a_new_size_outlives_the_agent() {
    let mut lab = Lab::new().await;
    lab.run(&shell("t1", "exec sleep 1000"));
    let pid = lab.until_running("t1").await;
    lab.resize_task("t1", &size("cpus:0.2; mem:48"));
    until_told(&lab, "t1", "cpus:0.2; mem:48").await;
    lab.kill_agent().await;
    lab.start().await;
    let again = lab.master.registrations().pop().expect("registered again");
    let task = &again.tasks[0];
    assert_eq!(task.size.as_ref().map(size_text).as_deref(), Some("cpus:0.2; mem:48"));
    assert_eq!((&task.resizing, is_alive(pid)), (&None, true));
    let held = v1::TaskSize { resources: task.resources.clone(), ..Default::default() };
    assert_eq!(size_text(&held), "cpus:0.2; mem:48");
    lab.clean().await;
}

#[tokio::test]
async fn a_task_with_cores_for_itself_runs_where_no_other_does_until_its_end() {
    let lab = Lab::new().await;
    lab.run(&shell("t1", "exec sleep 1000"));
    let beside = lab.until_running("t1").await;
    let before = allowed(beside);
    let resources = "cpus:1; mem:32".parse().expect("valid");
    lab.run(&TaskSpec { resources, exclusive_cpus: true, ..shell("t2", "exec sleep 1000") });
    let over = |state: &v1::TaskState| matches!(state, TaskRunning | TaskFailed);
    lab.until("t2 runs or cannot", |master| master.states("t2").iter().any(over)).await;
    if let Some(end) = lab.master.statuses("t2").into_iter().find(|status| status.state() == TaskFailed) {
        // A machine with one core, or whose kernel gives nobody a part of them.
        let why = end.message();
        assert!(why.contains("no cpuset controller") || why.contains("1 are free"), "{why}");
        return lab.clean().await;
    }
    let alone = allowed(lab.until_running("t2").await);
    assert!(alone.parse::<u32>().is_ok(), "one core: {alone}");
    wait_for("t1 is moved away", || allowed(beside) != before).await;
    let rest = allowed(beside);
    let cores = |list: &str| -> Vec<u32> {
        let list: bourse_containerizer::Cores = list.parse().expect("a list of cores");
        list.iter().collect()
    };
    assert!(!cores(&rest).contains(&cores(&alone)[0]), "{alone} and {rest}");
    lab.kill_task("t2", Some(std::time::Duration::ZERO));
    lab.until_state("t2", TaskKilled).await;
    wait_for("t1 is moved back", || allowed(beside) == before).await;
    lab.clean().await;
}
