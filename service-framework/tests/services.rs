//! The framework behind the SDK's own session, without a network: stories as text, and crashes at every point; and in
//! `live` the whole process over real gRPC.

mod live;
mod stage;

use bourse_service_framework::scheduler::{Answer, Request};
use bourse_types::{Exit, TaskState};
use expect_test::{Expect, expect};
use stage::{Master, Stage, deploy};

fn check(actual: String, expected: Expect) {
    expected.assert_eq(&actual);
}

const WEB: &str = r#"
name = "web"
command = "python3 -m http.server $PORT0"
count = 2
ports = ["http"]
[env]
MODE = "fast"
[health]
http = "/"
"#;

#[test]
fn a_service_is_deployed_written_down_launched_and_only_then_answered() {
    let mut stage = Stage::new();
    stage.subscribe();
    check(
        stage.told(),
        expect![[r#"
        subscribe
        persist f1
        call SUPPRESS *
        call RECONCILE"#]],
    );
    stage.ask(deploy(WEB));
    check(stage.told(), expect!["write service/web"]);
    assert!(stage.answer().is_none(), "the write may not be durable yet");
    stage.pass(30);
    assert!(matches!(stage.answer(), Some(Ok(Answer::Deployed(..)))));
    stage.offer("a1", "cpus:2; mem:1024; ports:[31000-31009]");
    stage.offer("a2", "cpus:2; mem:1024; ports:[31000-31009]");
    stage.pass(120);
    check(
        stage.told(),
        expect![[r#"
            call REVIVE *
            write next-task
            write slots/web.0
            call ACCEPT o1: web.0.0 on a1
            call ACCEPT o2: web.1.1 on a2
            call SUPPRESS *"#]],
    );
}

#[test]
fn a_task_knows_its_ports_its_slot_and_how_it_is_checked() {
    let mut stage = Stage::new();
    stage.subscribe();
    stage.ask(deploy(WEB));
    stage.offer("a1", "cpus:2; mem:1024; ports:[31000-31000, 31005-31009]");
    stage.pass(120);
    let task = stage.launched().into_iter().nth(1).expect("both fit there");
    assert_eq!(task.name, "web.1");
    check(
        format!("{:#?}", (task.resources, task.command, task.health, task.kill_policy)),
        expect![[r#"
        (
            cpus:0.1; mem:128; ports:[31005-31005],
            Command {
                shell: true,
                value: Some(
                    "python3 -m http.server $PORT0",
                ),
                arguments: [],
                environment: [
                    (
                        "MODE",
                        "fast",
                    ),
                    (
                        "PORT0",
                        "31005",
                    ),
                    (
                        "PORT_HTTP",
                        "31005",
                    ),
                    (
                        "BOURSE_SERVICE",
                        "web",
                    ),
                    (
                        "BOURSE_SLOT",
                        "1",
                    ),
                    (
                        "BOURSE_INSTANCE",
                        "web.1",
                    ),
                ],
                user: None,
            },
            Some(
                HealthCheck {
                    kind: Http {
                        port: 31005,
                        path: "/",
                        scheme: Http,
                        statuses: [],
                    },
                    delay: 0ns,
                    interval: 5s,
                    timeout: 5s,
                    consecutive_failures: 3,
                    grace_period: 30s,
                },
            ),
            KillPolicy {
                grace: Some(
                    5s,
                ),
            },
        )"#]],
    );
}

#[test]
fn an_instance_that_ends_is_started_again_after_its_backoff_and_the_list_says_so() {
    let mut stage = Stage::new();
    let mut master = Master::new();
    stage.subscribe();
    stage.ask(deploy("name = \"job\"\ncommand = \"false\""));
    stage.run(&mut master, 2_000);
    stage.end(&mut master, "job.0.0", TaskState::Failed, Some(Exit::Code(3)));
    stage.pass(30);
    check(
        stage.list(),
        expect![[r#"
        job 0/1 waiting v1 restarts 0: job.0: backing off under 1s after 1 failed attempt; the last: exited with 3
          job.0 BACKING_OFF : backing off under 1s after 1 failed attempt; the last: exited with 3
            job.0.0 TASK_FAILED: exited with 3"#]],
    );
    stage.run(&mut master, 5_000);
    check(
        stage.list(),
        expect![[r#"
        job 1/1 running v1 restarts 1: 
          job.0 TASK_RUNNING job.0.1 on host-a1: 
            job.0.0 TASK_FAILED: exited with 3"#]],
    );
    stage.pass(3_600_000);
    let list = stage.list();
    assert!(list.starts_with("job 1/1 running v1 restarts 0"), "of the last hour: {list}");
}

#[test]
fn an_end_is_written_down_before_it_is_acknowledged() {
    let mut stage = Stage::new();
    let mut master = Master::new();
    stage.subscribe();
    stage.ask(deploy("name = \"job\"\ncommand = \"false\"\ncount = 2"));
    stage.run(&mut master, 2_000);
    stage.told();
    // The second comes too soon after the first for a look of its own.
    stage.end(&mut master, "job.0.0", TaskState::Failed, Some(Exit::Code(3)));
    stage.end(&mut master, "job.1.1", TaskState::Failed, Some(Exit::Code(3)));
    check(
        stage.told(),
        expect![[r#"
            write slots/job.0
            call ACKNOWLEDGE job.0.0
            write slots/job.0
            call ACKNOWLEDGE job.1.1"#]],
    );
}

#[test]
fn a_file_that_is_wrong_is_refused_and_nothing_is_written() {
    let mut stage = Stage::new();
    stage.subscribe();
    stage.told();
    stage.ask(deploy("name = \"web\"\ncomand = \"x\""));
    stage.pass(30);
    check(stage.told(), expect![""]);
    let refused = stage.answer().expect("answered").expect_err("refused");
    check(
        refused.to_string(),
        expect![[r#"
        web.toml:2:1: unknown key `comand`; did you mean `command`?
          |
        2 | comand = "x"
          | ^^^^^^"#]],
    );
}

#[test]
fn definitions_are_taken_while_the_master_is_away() {
    let mut stage = Stage::new();
    stage.ask(deploy(WEB));
    stage.pass(30);
    assert!(matches!(stage.answer(), Some(Ok(Answer::Deployed(..)))));
    stage.subscribe();
    check(
        stage.told(),
        expect![[r#"
        subscribe
        write service/web
        persist f1
        call REVIVE *
        call RECONCILE"#]],
    );
}

#[test]
fn a_scale_down_and_a_removal_kill_and_then_forget() {
    let mut stage = Stage::new();
    let mut master = Master::new();
    stage.subscribe();
    stage.ask(deploy("name = \"web\"\ncommand = \"x\"\ncount = 3"));
    stage.run(&mut master, 2_000);
    assert_eq!(master.running(), ["web.0.0", "web.1.1", "web.2.2"]);
    stage.ask(Request::Scale { name: "web".into(), count: 1 });
    stage.run(&mut master, 2_000);
    assert_eq!(master.running(), ["web.0.0"]);
    assert_eq!(stage.keys(), ["next-task", "service/web", "slots/web.0"]);
    stage.ask(Request::Remove { name: "web".into() });
    stage.run(&mut master, 2_000);
    assert!(master.running().is_empty());
    assert_eq!(stage.keys(), ["next-task"]);
    check(stage.list(), expect![""]);
}

#[test]
fn after_a_kill_9_the_next_process_finds_its_tasks_and_launches_nothing_twice() {
    let mut stage = Stage::new();
    let mut master = Master::new();
    stage.subscribe();
    stage.ask(deploy(WEB));
    stage.run(&mut master, 2_000);
    let before = master.running();
    stage.crash();
    stage.subscribe();
    check(
        stage.told(),
        expect![[r#"
        subscribe
        call SUPPRESS *
        call RECONCILE web.0.0, web.1.1
        call RECONCILE"#]],
    );
    stage.run(&mut master, 30_000);
    assert_eq!(master.running(), before);
    check(
        stage.list(),
        expect![[r#"
        web 2/2 running v1 restarts 0: 
          web.0 TASK_RUNNING web.0.0 on host-a1: 
          web.1 TASK_RUNNING web.1.1 on host-a2: "#]],
    );
}

#[test]
fn a_kill_9_during_an_update_that_does_not_come_up_takes_nothing_more_down() {
    let mut stage = Stage::new();
    let mut master = Master::new();
    stage.subscribe();
    stage.ask(deploy("name = \"web\"\ncommand = \"old\"\ncount = 3"));
    stage.run(&mut master, 10_000);
    assert_eq!(master.running(), ["web.0.0", "web.1.1", "web.2.2"]);
    master.fail_new_tasks();
    stage.ask(deploy("name = \"web\"\ncommand = \"new\"\ncount = 3"));
    stage.run(&mut master, 10_000);
    assert_eq!(master.running(), ["web.1.1", "web.2.2"]);
    for _ in 0..3 {
        stage.crash();
        stage.subscribe();
        stage.run(&mut master, 60_000);
        assert_eq!(master.running(), ["web.1.1", "web.2.2"]);
    }
}

#[test]
fn a_framework_that_was_torn_down_begins_anew_with_its_definitions() {
    let mut stage = Stage::new();
    let mut master = Master::new();
    stage.subscribe();
    stage.ask(deploy(WEB));
    stage.run(&mut master, 2_000);
    stage.crash();
    master.tear_down();
    stage.was_torn_down();
    stage.subscribe();
    check(
        stage.told(),
        expect![[r#"
            subscribe
            unsubscribe
            subscribe
            write slots/web.0
            write slots/web.0
            persist f2
            call REVIVE *
            call RECONCILE"#]],
    );
    stage.run(&mut master, 2_000);
    assert_eq!(master.running(), ["web.0.2", "web.1.3"]);
    check(
        stage.list(),
        expect![[r#"
        web 2/2 running v1 restarts 0: 
          web.0 TASK_RUNNING web.0.2 on host-a1: 
            web.0.0 TASK_GONE: its framework was torn down
          web.1 TASK_RUNNING web.1.3 on host-a2: 
            web.1.1 TASK_GONE: its framework was torn down"#]],
    );
}

#[test]
fn what_ended_while_the_framework_was_away_is_replaced() {
    let mut stage = Stage::new();
    let mut master = Master::new();
    stage.subscribe();
    stage.ask(deploy(WEB));
    stage.run(&mut master, 2_000);
    stage.crash();
    master.lose("web.0.0");
    stage.subscribe();
    stage.run(&mut master, 30_000);
    assert_eq!(master.running(), ["web.0.2", "web.1.1"]);
}

#[test]
fn a_stranger_is_killed() {
    let mut stage = Stage::new();
    let mut master = Master::new();
    master.adopt("web.0.99", "a1");
    stage.subscribe();
    stage.run(&mut master, 5_000);
    assert!(master.running().is_empty());
    // Its id is taken, as long as anybody may remember it.
    stage.ask(deploy("name = \"web\"\ncommand = \"x\""));
    stage.run(&mut master, 5_000);
    assert_eq!(master.running(), ["web.0.100"]);
}

#[test]
fn the_example_files_are_right() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/services");
    let mut files = 0;
    for entry in std::fs::read_dir(folder).expect("the examples are there") {
        let path = entry.expect("readable").path();
        let text = std::fs::read_to_string(&path).expect("readable");
        let name = path.display().to_string();
        bourse_service_framework::spec::parse(&text, &name).unwrap_or_else(|bad| panic!("{bad}"));
        assert!(text.starts_with("# "), "{name} does not say on its first line how it is started");
        let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        assert!(!name.ends_with("hello.toml") || lines.count() == 2, "hello is two lines");
        files += 1;
    }
    assert!(files >= 2);
}

#[test]
fn a_crash_between_any_two_outputs_neither_loses_a_definition_nor_runs_an_instance_twice() {
    // The same life, cut off after its first output, its second, and so on; then a second life that must get there.
    for outputs in 0..60 {
        let mut stage = Stage::new();
        let mut master = Master::new();
        stage.crash_after(outputs);
        stage.subscribe();
        stage.ask(deploy("name = \"web\"\ncommand = \"x\"\ncount = 2"));
        stage.run(&mut master, 3_000);
        stage.end(&mut master, "web.0.0", TaskState::Failed, Some(Exit::Code(1)));
        stage.run(&mut master, 5_000);
        stage.ask(Request::Scale { name: "web".into(), count: 3 });
        stage.run(&mut master, 5_000);
        let answers = stage.answers();
        stage.crash();
        stage.subscribe();
        stage.run(&mut master, 200_000);
        let count = match answers {
            0 => master.running().len(), // Nothing was promised.
            1 => master.running().len().max(2),
            _ => 3,
        };
        assert_eq!(master.running().len(), count, "cut after {outputs}: {:?}", master.running());
        let slots: Vec<String> =
            master.running().iter().map(|task| task.rsplit_once('.').expect("an id").0.to_owned()).collect();
        let expected: Vec<String> = (0..count).map(|index| format!("web.{index}")).collect();
        assert_eq!(slots, expected, "cut after {outputs}");
        assert_eq!(master.most_in_one_slot(), usize::from(count > 0), "cut after {outputs}");
    }
}
