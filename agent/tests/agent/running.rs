use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use bourse_proto::agent_link::LogStream;
use bourse_proto::v1::TaskState::*;
use bourse_proto::v1::task_status::Reason;
use bourse_types::{Command, Controls, Milli, Name, OomScore, Pids, TaskSpec};

use crate::disk::until_used;
use crate::lab::{FRAMEWORK, Lab, shell, text};

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).expect("there").permissions().mode() & 0o7777
}

#[tokio::test]
async fn a_task_is_launched_and_its_states_output_and_exit_status_come() {
    let lab = Lab::new().await;
    lab.run(&shell("t1", "echo hello; echo oops >&2; exit 3"));
    let end = lab.until_state("t1", TaskFailed).await;
    assert_eq!(lab.master.states("t1"), [TaskStarting, TaskRunning, TaskFailed]);
    assert_eq!((end.exit.and_then(|exit| exit.code), end.message()), (Some(3), "exited with 3"));
    assert_eq!(lab.stdout("t1").await, "hello\n");
    let errors = lab.log("t1", LogStream::Stderr, 0, false).await.expect("a log");
    assert_eq!(text(&errors), "oops\n");
    lab.clean().await;
}

#[tokio::test]
async fn a_task_sees_mesos_environment_its_ports_and_nothing_of_the_agents() {
    let lab = Lab::new().await;
    let resources = "cpus:0.1; mem:32; ports:[31000-31001]".parse().expect("valid");
    let look = "env; pwd; id -un; hostname; echo $PPID";
    lab.run(&TaskSpec { resources, ..shell("t1", look) });
    lab.until_state("t1", TaskFinished).await;
    let seen = lab.stdout("t1").await;
    let sandbox = lab.work_dir().join("slaves/m-S0/frameworks/F/executors/t1/runs");
    for line in [
        "MESOS_TASK_ID=t1",
        "MESOS_FRAMEWORK_ID=F",
        "MESOS_SLAVE_ID=m-S0",
        "PORT0=31000",
        "PORT1=31001",
        "nobody",
        "lab",
    ] {
        assert!(seen.lines().any(|seen| seen == line), "{line} is not in {seen}");
    }
    assert!(seen.lines().any(|line| line == "/mnt/mesos/sandbox"), "{seen}");
    assert!(!seen.contains("SECRET_OF_THE_AGENT"), "{seen}");
    assert!(sandbox.join("latest/stdout").is_file());
    lab.clean().await;
}

#[tokio::test]
async fn a_task_sees_neither_the_checkpoint_nor_the_token_nor_other_sandboxes() {
    let lab = Lab::with(&["--allow-root"]).await;
    let work = lab.work_dir().display().to_string();
    let token = lab.folder.path().join("token").display().to_string();
    let root = Command { user: Some("root".into()), ..Command::shell("echo secret > mine; sleep 1000") };
    lab.run(&TaskSpec { command: root, ..shell("t1", "") });
    lab.until_running("t1").await;
    let look = format!(
        "id -un; cat {token} {work}/checkpoint {work}/run/*; cat {work}/slaves/*/frameworks/*/executors/t1/runs/*/mine; ls -A {work}; true"
    );
    let root = Command { user: Some("root".into()), ..Command::shell(look) };
    lab.run(&TaskSpec { command: root, ..shell("t2", "") });
    lab.until_state("t2", TaskFinished).await;
    assert_eq!(lab.stdout("t2").await, "root\n");
    lab.clean().await;
}

#[tokio::test]
async fn nobody_but_the_agent_gets_to_what_tasks_leave_and_to_the_checkpoint() {
    let folder = tempfile::tempdir().expect("a folder");
    let work = folder.path().canonicalize().expect("there").join("work");
    std::fs::create_dir(&work).expect("made");
    std::fs::set_permissions(&work, std::fs::Permissions::from_mode(0o755)).expect("ours");
    let lab = Lab::at(Some(work.clone()), &[]).await;
    // As nobody, who cannot pass the way either.
    lab.run(&shell("t1", "echo hello > file; cat file /mnt/mesos/sandbox/file"));
    lab.until_state("t1", TaskFinished).await;
    assert_eq!(lab.stdout("t1").await, "hello\nhello\n");
    assert_eq!([&work, &work.join("slaves")].map(|path| mode(path)), [0o700; 2]);
    assert_eq!(mode(&work.join("checkpoint")), 0o600);
    assert!(lab.agent_log().contains("closed the work directory to all but its owner"));
    lab.clean().await;
}

#[tokio::test]
async fn without_isolation_other_users_may_pass_on_the_way_to_sandboxes_and_not_look_around() {
    let lab = Lab::with(&["--isolation=process"]).await;
    let work = lab.work_dir();
    assert_eq!([&work, &work.join("slaves")].map(|path| mode(path)), [0o711; 2]);
    assert_eq!(mode(&work.join("checkpoint")), 0o600);
    lab.clean().await;
}

#[tokio::test]
async fn what_is_hidden_by_way_of_a_symbolic_link_is_hidden_once_and_tasks_run() {
    let folder = tempfile::tempdir().expect("a folder");
    let real = folder.path().canonicalize().expect("there").join("real");
    let link = real.with_file_name("link");
    std::fs::create_dir_all(real.join("secrets")).expect("made");
    std::fs::write(real.join("secrets/one"), "secret").expect("written");
    std::os::unix::fs::symlink(&real, &link).expect("linked");
    let hide = format!("--hide={}", link.display());
    let run = format!("--runtime-dir={}", link.join("run").display());
    let show = format!("--show={}", folder.path().display());
    let lab = Lab::at(Some(real.join("work")), &[&hide, &run, &show]).await;
    let look =
        format!("ls {0}; cat {0}/link/secrets/one {0}/real/secrets/one; echo ran", folder.path().display());
    lab.run(&shell("t1", &look));
    lab.until_state("t1", TaskFinished).await;
    assert_eq!(lab.stdout("t1").await, "link\nreal\nran\n");
    lab.clean().await;
}

#[tokio::test]
async fn a_task_over_its_memory_fails_with_that_reason() {
    let lab = Lab::new().await;
    lab.run(&shell("t1", "x=$(head -c 200m /dev/zero | tr '\\0' x); echo survived"));
    let end = lab.until_state("t1", TaskFailed).await;
    assert_eq!(end.reason(), Reason::ContainerLimitationMemory);
    assert!(end.message().starts_with("memory limit 32 MiB exceeded"), "{}", end.message());
    lab.clean().await;
}

#[tokio::test]
async fn a_launch_that_fails_says_which_step_and_what_to_do() {
    let lab = Lab::new().await;
    let command = Command::exec(["/no/such/program"]);
    lab.run(&TaskSpec { command, ..shell("t1", "") });
    let end = lab.until_state("t1", TaskFailed).await;
    assert_eq!(end.reason(), Reason::ContainerLaunchFailed);
    assert!(end.message().contains("/no/such/program"), "{}", end.message());
    lab.clean().await;
}

#[tokio::test]
async fn a_task_that_this_release_cannot_run_is_refused_by_the_name_of_the_field() {
    let lab = Lab::new().await;
    lab.run_refused("t1", &[]);
    let end = lab.until_state("t1", TaskError).await;
    assert!(end.message().contains("executor"), "{}", end.message());
    lab.clean().await;
}

#[tokio::test]
async fn what_the_master_believes_to_run_here_and_does_not_is_answered() {
    let lab = Lab::new().await;
    lab.master.believes_in(FRAMEWORK, "t9");
    lab.master.hang_up();
    let end = lab.until_state("t9", TaskDropped).await;
    assert_eq!(end.reason(), Reason::Reconciliation);
    lab.clean().await;
}

#[tokio::test]
async fn what_tasks_use_is_measured() {
    let lab = Lab::with(&["--usage-interval=100ms"]).await;
    lab.run(&shell("t1", "while :; do :; done"));
    lab.until("a busy task is seen", |master| {
        master.heard().iter().any(|message| match message {
            bourse_proto::agent_link::from_agent::Message::Usage(usage) => {
                usage.disk_free_bytes > 0
                    && usage
                        .tasks
                        .iter()
                        .any(|task| task.cpus > 0.01 && task.memory_bytes > 0 && task.pids > 0)
            }
            _ => false,
        })
    })
    .await;
    lab.clean().await;
}

#[tokio::test]
async fn a_task_has_what_it_asked_of_the_kernel_and_is_told_what_its_machine_lacks() {
    let lab = Lab::with(&["--usage-interval=100ms"]).await;
    let asking = |task: &str, line: &str| TaskSpec {
        limits: [(Name::mem(), Some(Milli::whole(64)))].into(),
        controls: Controls {
            pids: Some(Pids::new(20).expect("valid")),
            oom_score: OomScore::new(1000).expect("valid"),
            ..Controls::default()
        },
        ..shell(task, line)
    };
    lab.run(&asking("t1", "exec sleep 1000"));
    until_used(&lab, "t1", |used| {
        (used.pids_limit, used.memory_limit_bytes) == (Some(20), Some(64 << 20))
            && used.memory_anonymous_bytes.is_some()
            && used.cpu_user_nanos.is_some()
    })
    .await;
    lab.run(&asking("t2", "cat /proc/self/oom_score_adj"));
    lab.until_state("t2", TaskFinished).await;
    assert_eq!(lab.stdout("t2").await, "1000\n");

    let huge_pages = [("32KiB".parse().expect("valid"), Milli::ZERO)].into();
    lab.run(&TaskSpec { controls: Controls { huge_pages, ..Controls::default() }, ..shell("t3", "true") });
    let end = lab.until_state("t3", TaskFailed).await;
    assert_eq!(end.reason(), Reason::ContainerLaunchFailed);
    let said = end.message();
    assert!(said.contains("no hugetlb controller") || said.contains("huge pages of 32KB"), "{said}");
    lab.clean().await;
}

#[tokio::test]
async fn without_isolation_tasks_run_too_when_the_operator_says_so() {
    let lab = Lab::with(&["--isolation=process"]).await;
    lab.run(&shell("t1", "echo hello; exec sleep 1000"));
    lab.until_running("t1").await;
    lab.kill_task("t1", None);
    let end = lab.until_state("t1", TaskKilled).await;
    assert_eq!(end.exit.and_then(|exit| exit.signal), Some(15));
    assert_eq!(lab.stdout("t1").await, "hello\n");
    lab.clean().await;
}
