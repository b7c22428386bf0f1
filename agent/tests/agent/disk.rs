use bourse_proto::agent_link::TaskUsage;
use bourse_proto::agent_link::from_agent::Message;
use bourse_proto::v1::TaskState::*;
use bourse_proto::v1::task_status::Reason;
use bourse_types::TaskSpec;

use crate::lab::{Lab, is_alive, shell};

/// A task with 4 MiB of disk that has so much in its sandbox, and then waits.
fn holding(task: &str, mebibytes: u64) -> TaskSpec {
    let line = format!("head -c {} /dev/zero > big; exec sleep 1000", mebibytes << 20);
    TaskSpec { resources: "cpus:0.1; mem:64; disk:4".parse().expect("valid"), ..shell(task, &line) }
}

/// Waits until the use of a task was told as this.
pub async fn until_used(lab: &Lab, task: &str, is: impl Fn(&TaskUsage) -> bool) {
    lab.until(&format!("what {task} uses"), |master| {
        master.heard().iter().any(|message| match message {
            Message::Usage(usage) => usage.tasks.iter().any(|used| used.task_id == task && is(used)),
            _ => false,
        })
    })
    .await;
}

async fn one_over_its_disk_and_two_beside_it(isolation: &str) {
    let isolation = format!("--isolation={isolation}");
    let lab = Lab::with(&["--disk-interval=100ms", "--usage-interval=100ms", &isolation]).await;
    lab.run(&holding("beside", 2));
    lab.run(&shell("free", "head -c 8388608 /dev/zero > big; exec sleep 1000"));
    let pids = [lab.until_running("beside").await, lab.until_running("free").await];
    lab.run(&holding("over", 8));
    let end = lab.until_state("over", TaskFailed).await;
    assert_eq!(lab.master.states("over"), [TaskStarting, TaskRunning, TaskKilling, TaskFailed]);
    assert_eq!(end.reason(), Reason::ContainerLimitationDisk);
    let said = end.message();
    assert!(
        said.starts_with("disk limit 4 MiB exceeded: ") && said.ends_with(" MiB in its sandbox"),
        "{said}"
    );
    let limitation = end.limitation.expect("the limit").resources;
    let limit = limitation.first().and_then(|disk| disk.scalar.as_ref()?.value);
    assert_eq!((limitation.len(), limitation[0].name(), limit), (1, "disk", Some(4.0)));

    until_used(&lab, "beside", |used| {
        used.disk_limit_bytes == Some(4 << 20) && used.disk_used_bytes.is_some_and(|bytes| bytes >= 2 << 20)
    })
    .await;
    until_used(&lab, "free", |used| {
        used.disk_limit_bytes.is_none() && used.disk_used_bytes.is_some_and(|bytes| bytes >= 8 << 20)
    })
    .await;
    assert!(pids.into_iter().all(is_alive), "the others go on");
    lab.clean().await;
}

#[tokio::test]
async fn a_task_over_its_disk_fails_with_that_reason_and_the_ones_beside_it_go_on() {
    one_over_its_disk_and_two_beside_it("linux").await;
}

#[tokio::test]
async fn without_isolation_the_disk_of_tasks_is_limited_too() {
    one_over_its_disk_and_two_beside_it("process").await;
}

#[tokio::test]
async fn where_the_disk_is_not_enforced_it_is_measured_and_nobody_is_ended() {
    let lab = Lab::with(&["--disk-interval=100ms", "--usage-interval=100ms", "--enforce-disk=false"]).await;
    lab.run(&holding("over", 8));
    let pid = lab.until_running("over").await;
    until_used(&lab, "over", |used| used.disk_used_bytes.is_some_and(|bytes| bytes >= 8 << 20)).await;
    assert!(is_alive(pid));
    assert_eq!(lab.master.states("over"), [TaskStarting, TaskRunning]);
    lab.clean().await;
}
