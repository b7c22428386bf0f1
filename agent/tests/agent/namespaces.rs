use std::os::unix::fs::MetadataExt;

use bourse_proto::v1::TaskState::*;
use bourse_types::{Command, HealthCheck, HealthKind, Namespaces, Network, TaskSpec, Users};

use crate::lab::{Lab, shell};

#[tokio::test]
async fn a_task_is_root_of_its_own_users_where_no_task_may_be_root_of_the_machines() {
    // A start of the operator's.
    let lab = Lab::with(&["--user-range-start=1048576"]).await;
    let root = Command { user: Some("root".into()), ..Command::shell("id -u; touch mine") };
    let spec = TaskSpec { command: root, ..shell("t1", "") };
    lab.run(&spec);
    lab.until_state("t1", TaskFinished).await;
    assert_ne!(lab.stdout("t1").await, "0\n");
    let namespaces = Namespaces { users: Users::Own, ..Namespaces::default() };
    lab.run(&TaskSpec { namespaces, command: spec.command, ..shell("t2", "") });
    lab.until_state("t2", TaskFinished).await;
    assert_eq!(lab.stdout("t2").await, "0\n");
    let mine = std::fs::metadata(lab.sandbox("t2").join("mine")).expect("there");
    assert_eq!((mine.uid(), mine.gid()), (1_048_576, 1_048_576));
    lab.clean().await;
}

#[tokio::test]
async fn a_task_with_a_network_of_its_own_is_checked_by_a_command_and_refused_with_another_check() {
    let lab = Lab::new().await;
    let checked = |task: &str, kind: HealthKind| TaskSpec {
        namespaces: Namespaces { network: Network::Loopback, ..Namespaces::default() },
        health: Some(HealthCheck::new(kind)),
        ..shell(task, "wc -l < /proc/net/route")
    };
    // The routes are those of its network: a line that says what they would be.
    lab.run(&checked("t1", HealthKind::Command(Command::shell("true"))));
    lab.until_state("t1", TaskFinished).await;
    assert_eq!(lab.stdout("t1").await.trim(), "1");
    lab.run(&checked("t2", HealthKind::Tcp { port: 80 }));
    let end = lab.until_state("t2", TaskError).await;
    assert!(end.message().contains("use a command check"), "{}", end.message());
    lab.clean().await;
}
