//! What an agent makes of the disk of its tasks where its work directory is on a file system with quotas of projects: in the
//! guest of `make test-cgroup2`.

use std::fs;
use std::path::{Path, PathBuf};

use bourse_containerizer::quota;
use bourse_hostile::quota_folder;
use bourse_proto::agent_link::LogStream;
use bourse_proto::v1::TaskState::*;
use bourse_types::TaskSpec;

use crate::lab::{Lab, is_alive, shell, text};
use crate::logs::until_log_holds;
use crate::resizing::{size, until_answered};

const MIB: u64 = 1 << 20;

/// A work directory that goes with its test.
struct WorkDir(PathBuf);

impl WorkDir {
    /// `None`: there are no quotas, and the test is left out.
    fn make(name: &str) -> Option<WorkDir> {
        let folder = quota_folder()?.canonicalize().expect("there");
        Some(WorkDir(folder.join(name)))
    }

    async fn lab(&self, extra: &[&str]) -> Lab {
        // What is measured as well is to end nobody who is kept within his limit.
        Lab::at(Some(self.0.clone()), &[&["--disk-interval=100ms"][..], extra].concat()).await
    }
}

impl Drop for WorkDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn with_4_mib(task: &str, line: &str) -> TaskSpec {
    TaskSpec { resources: "cpus:0.1; mem:64; disk:4".parse().expect("valid"), ..shell(task, line) }
}

/// Commands that write 8 MiB, remove them and log what came of that: of a full sandbox nothing is logged.
const FILL: &str =
    "head -c 8388608 /dev/zero > big 2> /dev/shm/said; code=$?; rm big; echo $code $(cat /dev/shm/said)";

fn make(path: &Path) {
    fs::write(path, "").expect("root is not kept to a quota");
}

#[tokio::test]
async fn a_task_is_told_by_its_quota_that_its_disk_is_full_a_resize_raises_that_and_its_neighbour_goes_on() {
    let Some(work_dir) = WorkDir::make("agent-full") else { return };
    let mut lab = work_dir.lab(&[]).await;
    let beside = "while [ ! -f go ]; do sleep 0.02; done; head -c 2097152 /dev/zero > big && echo whole; exec sleep 1000";
    lab.run(&with_4_mib("beside", beside));
    let beside = lab.until_running("beside").await;
    let waiting = "echo ready; while [ ! -f go ]; do sleep 0.02; done";
    lab.run(&with_4_mib("over", &format!("{FILL}; {waiting}; {FILL}; exec sleep 1000")));
    let over = lab.until_running("over").await;
    until_log_holds(&lab, "over", "ready").await;
    let said = text(&lab.log("over", LogStream::Stdout, 0, false).await.expect("a log"));
    assert!(said.starts_with("1 ") && said.contains("quota exceeded"), "EDQUOT: {said}");
    make(&lab.sandbox("beside").join("go"));
    until_log_holds(&lab, "beside", "whole").await;
    let used = quota::used(&lab.sandbox("beside").canonicalize().expect("there")).expect("it has one");
    assert!((2 * MIB..=4 * MIB).contains(&used.bytes), "{used:?}");

    // It outlives the agent, and what the next one is asked for counts at once.
    lab.kill_agent().await;
    lab.start().await;
    lab.resize_task("over", &size("cpus:0.1; mem:64; disk:12"));
    let told = until_answered(&lab, "over").await;
    assert_eq!((told.state(), told.reason), (TaskRunning, None), "{told:?}");
    make(&lab.sandbox("over").join("go"));
    until_log_holds(&lab, "over", "ready\n0").await;
    assert!(is_alive(over) && is_alive(beside));
    for task in ["over", "beside"] {
        let states = lab.master.states(task);
        assert!(!states.iter().any(|state| matches!(state, TaskKilling | TaskFailed)), "{task}: {states:?}");
    }
    lab.clean().await;
}

#[tokio::test]
async fn where_the_disk_is_not_enforced_a_sandbox_has_no_quota() {
    let Some(work_dir) = WorkDir::make("agent-free") else { return };
    let lab = work_dir.lab(&["--enforce-disk=false"]).await;
    lab.run(&with_4_mib("t1", &format!("{FILL}; exec sleep 1000")));
    let pid = lab.until_running("t1").await;
    until_log_holds(&lab, "t1", "0").await;
    assert_eq!(quota::used(&lab.sandbox("t1").canonicalize().expect("there")), None);
    assert!(is_alive(pid));
    lab.clean().await;
}
