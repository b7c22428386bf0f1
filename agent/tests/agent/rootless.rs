//! An agent that is not root, in control groups that were given to its user.

use std::fs;
use std::os::unix::fs::MetadataExt;

use bourse_proto::v1::TaskState::*;
use bourse_types::{Command, TaskSpec};

use crate::delegated::USER;
use crate::lab::{Lab, is_alive, shell, start_time};
use crate::recovery::told;

#[tokio::test]
async fn an_agent_without_root_runs_a_task_that_goes_on_over_its_kill_and_says_each_time_what_it_lacks() {
    let mut lab = Lab::rootless().await;
    assert_eq!(told(&lab).1, ["rack:a", "rootless:true"], "frameworks can tell");
    let line = "id -u; echo one; while [ ! -f go ]; do sleep 0.02; done; echo two; exit 42";
    let own = Command { user: Some(USER.to_string()), ..Command::shell(line) };
    lab.run(&TaskSpec { command: own, ..shell("t1", "") });
    let pid = lab.until_running("t1").await;
    let started = start_time(pid);
    let log = fs::metadata(lab.sandbox("t1").join("stdout")).expect("there");
    assert_eq!((log.uid(), log.gid()), (USER, USER));

    lab.kill_agent().await;
    assert!(is_alive(pid));
    lab.start().await;
    let again = lab.master.registrations().pop().expect("registered again");
    assert_eq!((again.agent_id.as_deref(), again.tasks.len()), (Some("m-S0"), 1));
    let latest = again.tasks[0].latest.clone().expect("a state");
    assert_eq!(latest.state(), TaskRunning);
    assert_eq!(latest.container_status.and_then(|container| container.executor_pid), Some(pid as u32));
    assert_eq!(start_time(pid), started);
    let lacks =
        format!("tasks run as the agent's own user, uid {USER}, which is root within their containers");
    let log = lab.agent_log();
    assert_eq!(log.matches(&lacks).count(), 2, "{log}");

    fs::write(lab.sandbox("t1").join("go"), "").expect("written");
    let end = lab.until_state("t1", TaskFailed).await;
    assert_eq!(end.exit.and_then(|exit| exit.code), Some(42));
    assert_eq!(lab.stdout("t1").await, "0\none\ntwo\n", "root of its container, and nobody else's");
    // The framework's own user is another one.
    lab.run(&shell("t2", "true"));
    let refused = lab.until_state("t2", TaskFailed).await;
    let said = refused.message();
    assert!(said.contains(&format!("uid {USER} and cannot switch to \"nobody\"")), "{said}");
    lab.clean().await;
}
