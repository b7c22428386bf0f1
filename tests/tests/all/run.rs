//! `bourse run`: one task, its output, and its exit status as one's own.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use std::time::{Duration, Instant};

use bourse_tests::{Plan, wait_until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

#[test]
fn run_shows_the_output_of_its_task_and_exits_with_its_status() {
    let cluster = Plan::agents(1).start();
    let cli = cluster.cli();
    let ran = cli.run(["run", "--", "sh", "-c", "echo to stdout; echo to stderr >&2; exit 7"]);
    assert_eq!((ran.code(), ran.stdout.as_str(), ran.stderr.as_str()), (7, "to stdout\n", "to stderr\n"));
    let ran = cli.run(["run", "--cpus", "0.5", "--mem", "64MiB", "--", "echo", "hello"]);
    assert_eq!((ran.code(), ran.stdout.as_str(), ran.stderr.as_str()), (0, "hello\n", ""));
    // All of it, though it is more than any buffer on the way.
    let ran = cli.run(["run", "--", "seq", "1", "200000"]);
    assert_eq!((ran.code(), ran.stdout.lines().count()), (0, 200_000));
    assert!(ran.stdout.lines().zip(1_u32..).all(|(line, number)| line == number.to_string()));
}

#[test]
fn a_signal_becomes_128_and_its_number() {
    let cluster = Plan::agents(1).start();
    for (name, number) in [("KILL", 9), ("TERM", 15), ("USR1", 10)] {
        let ran = cluster.cli().run(["run", "--", "sh", "-c", &format!("kill -{name} $$")]);
        assert_eq!(ran.code(), 128 + number, "{ran}");
    }
}

#[test]
fn a_task_that_its_memory_limit_ended_is_no_success_whatever_its_main_process_says() {
    let cluster = Plan::agents(1).start();
    let ran = cluster.cli().run(["run", "--mem", "32MiB", "--", "sh", "-c", "tail /dev/zero; exit 0"]);
    assert_eq!(ran.code(), 128 + 9, "{ran}");
    assert!(ran.stderr.contains("memory limit"), "{ran}");
}

#[test]
fn a_failure_of_bourse_itself_is_125_and_says_what_to_do() {
    let cluster = Plan::agents(1).resources("cpus:1; mem:256; disk:10").start();
    let mut cli = cluster.cli();
    let ran = cli.run(["run", "--", "/no/such/program"]);
    assert_eq!(ran.code(), 125, "{ran}");
    assert!(ran.stderr.contains("/no/such/program"), "{ran}");
    let ran = cli.run(["run", "--user", "nobody-of-that-name", "--", "true"]);
    assert_eq!(ran.code(), 125, "{ran}");
    assert!(ran.stderr.contains("nobody-of-that-name"), "{ran}");
    let ran = cli.run(["run", "--cpus", "0", "--mem", "0", "--", "true"]);
    assert_eq!(ran.code(), 125, "{ran}");
    assert!(ran.stderr.contains("no resources"), "{ran}");
    for (flag, value, said) in [
        ("--cpus", "0.0001", "0.001"),
        ("--cpus", "-1", "-1"),
        ("--mem", "-5", "-5"),
        ("--name", "a/b", "letters"),
        ("--name", "", "letters"),
    ] {
        let ran = cli.run(["run", flag, value, "--", "true"]);
        assert_eq!(ran.code(), 2, "{flag} {value}: {ran}");
        assert!(ran.stderr.contains(said) && !ran.stderr.contains("unexpected argument"), "{ran}");
    }
    cli.token_file = None;
    let ran = cli.run(["run", "--", "true"]);
    assert_eq!(ran.code(), 125, "{ran}");
    assert!(ran.stderr.contains("token"), "{ran}");
    cli.master = Some(format!("{}:1", cluster.ip));
    let ran = cli.run(["run", "--", "true"]);
    assert_eq!(ran.code(), 125, "{ran}");
    assert!(ran.stderr.contains("no master answers") && ran.stderr.contains("bourse dev"), "{ran}");
}

#[test]
fn the_task_gets_what_it_asked_for_and_no_more_and_its_ports_and_variables() {
    let cluster = Plan::agents(1).start();
    // It does not want to end: only SIGKILL ends it.
    let script = "trap '' TERM; echo $PORT0 $PORT1; echo $GREETING; exec sleep 1000";
    let arguments = [
        "run",
        "--name",
        "sized",
        "--cpus",
        "0.25",
        "--mem",
        "96MiB",
        "--ports",
        "2",
        "-e",
        "GREETING=hi there",
    ];
    let mut child = cluster
        .cli()
        .command(arguments)
        .args(["--", "sh", "-c", script])
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
    let mut line = || lines.next().expect("a line").expect("it is text");
    let (ports, greeting) = (line(), line());
    assert_eq!(greeting, "hi there");
    let ports: Vec<u16> = ports.split(' ').map(|port| port.parse().expect("a port")).collect();
    assert!(ports.len() == 2 && ports[0] < ports[1], "{ports:?}");
    let task = cluster
        .api
        .running()
        .expect("it answers")
        .into_iter()
        .find(|task| task.name == "sized")
        .expect("it runs");
    let allocated = task.allocated.expect("it has resources");
    assert_eq!((allocated.cpus, allocated.mem_mib), (0.25, 96.0));
    assert!(task.id.starts_with("sized"), "{}", task.id);
    interrupt(child.id());
    cluster.wait_state(&task.id, "TASK_KILLING");
    interrupt(child.id());
    assert_eq!(
        child.wait().expect("a child of ours").code(),
        Some(128 + 9),
        "a second Ctrl-C does not wait for the grace"
    );
}

#[test]
fn output_is_followed_while_the_task_runs() {
    let cluster = Plan::agents(1).start();
    let gate = cluster.shared().join("gate");
    // It goes on only when the test has seen its first line, so that the line cannot have come at the end.
    let script = format!("echo first; until [ -e {} ]; do sleep 0.02; done; echo second", gate.display());
    let mut child = cluster
        .cli()
        .command(["run", "--", "sh", "-c", &script])
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut reader = BufReader::new(child.stdout.take().expect("it is piped"));
    let mut first = String::new();
    reader.read_line(&mut first).expect("it is readable");
    assert_eq!(first, "first\n");
    std::fs::write(gate, "").expect("a test's own folder is writable");
    let mut rest = String::new();
    reader.read_to_string(&mut rest).expect("it is readable");
    assert_eq!(rest, "second\n");
    assert!(child.wait().expect("a child of ours").success());
}

#[test]
fn ctrl_c_ends_the_task_with_its_grace_and_leaves_nothing() {
    let cluster = Plan::agents(1).start();
    let said = cluster.shared().join("said");
    let script =
        format!("trap 'echo goodbye; exit 3' TERM; echo > {}; while :; do sleep 0.02; done", said.display());
    let child = cluster
        .cli()
        .command(["run", "--", "sh", "-c", &script])
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    wait_until("the task to run", || said.exists());
    interrupt(child.id());
    let output = child.wait_with_output().expect("a child of ours");
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(3), &b"goodbye\n"[..]));
    cluster.assert_no_container_is_left();
}

/// Reads on until this is said.
fn hear(said: &mut impl BufRead, what: &str) {
    let mut line = String::new();
    while !line.contains(what) {
        line.clear();
        assert!(said.read_line(&mut line).expect("it is readable") > 0, "it ended before it said {what:?}");
    }
}

#[test]
fn while_the_master_is_away_a_second_ctrl_c_leaves() {
    let mut cluster = Plan::agents(1).start();
    let began = cluster.shared().join("began");
    let script = format!("echo > {}; exec sleep 1000", began.display());
    let mut child = cluster
        .cli()
        .command(["run", "--", "sh", "-c", &script])
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    wait_until("the task to run", || began.exists());
    cluster.part("master").kill9();
    let mut said = BufReader::new(child.stderr.take().expect("it is piped"));
    hear(&mut said, "the master cannot be reached");
    interrupt(child.id());
    hear(&mut said, "again");
    interrupt(child.id());
    hear(&mut said, "left while the master is away");
    assert_eq!(child.wait().expect("a child of ours").code(), Some(125));
    cluster.part("master").start();
    cluster.wait_ready(1, false);
    let task = cluster.api.tasks().expect("it answers").remove(0).id;
    cluster.cli().ok(["kill", &task]);
    wait_until("the task to end", || cluster.traces().tasks().is_empty());
}

#[test]
fn a_master_that_takes_calls_and_does_not_answer_is_named_as_what_is_waited_for() {
    let mut cluster = Plan::agents(1).start();
    cluster.part("master").signal(Signal::SIGSTOP);
    let begun = Instant::now();
    let mut child = cluster
        .cli()
        .command(["run", "--", "echo", "hello"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut said = BufReader::new(child.stderr.take().expect("it is piped"));
    let mut first = String::new();
    said.read_line(&mut first).expect("it is readable");
    let took = begun.elapsed();
    cluster.part("master").signal(Signal::SIGCONT);
    assert_eq!(first, "bourse run: the master does not answer; waiting for it\n");
    assert!(took < Duration::from_secs(15), "it was said after {took:?} only");
    hear(&mut said, "the master is back");
    assert!(child.wait().expect("a child of ours").success());
}

#[test]
fn while_the_agent_is_away_ctrl_c_leaves_and_the_task_is_ended_when_it_is_back() {
    let mut cluster = Plan::agents(1).start();
    let began = cluster.shared().join("began");
    let script = format!("echo > {}; exec sleep 1000", began.display());
    let mut child = cluster
        .cli()
        .command(["run", "--", "sh", "-c", &script])
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    wait_until("the task to run", || began.exists());
    cluster.part("agent-1").kill9();
    let mut said = BufReader::new(child.stderr.take().expect("it is piped"));
    hear(&mut said, "the task's agent cannot be reached");
    interrupt(child.id());
    hear(&mut said, "left while the task's agent is away");
    assert_eq!(child.wait().expect("a child of ours").code(), Some(125));
    assert!(!cluster.traces().tasks().is_empty(), "nobody was there to end it");
    cluster.part("agent-1").start();
    wait_until("the task to end", || cluster.traces().tasks().is_empty());
}

#[test]
fn a_master_that_comes_back_with_other_tokens_is_named_as_what_is_waited_for() {
    let mut cluster = Plan::agents(1).start();
    let began = cluster.shared().join("began");
    let script = format!("echo > {}; exec sleep 1000", began.display());
    let mut child = cluster
        .cli()
        .command(["run", "--", "sh", "-c", &script])
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    wait_until("the task to run", || began.exists());
    cluster.part("master").kill9();
    let old = std::fs::read_to_string(cluster.token_file("operator")).expect("it is ours");
    let tokens = cluster.token_file("operator").with_file_name("tokens.toml");
    let table = std::fs::read_to_string(&tokens).expect("it is ours");
    std::fs::write(&tokens, table.replace(old.trim(), "another-token-of-the-operator")).expect("it is ours");
    cluster.part("master").start();
    let mut said = BufReader::new(child.stderr.take().expect("it is piped"));
    hear(&mut said, "waiting: this master does not know the token of this call");
    // Who terminates instead of interrupting does not ask twice.
    kill(Pid::from_raw(child.id() as i32), Signal::SIGTERM).expect("it is a child of ours");
    hear(&mut said, "left while the master is away");
    assert_eq!(child.wait().expect("a child of ours").code(), Some(125));
}

#[test]
fn output_that_nobody_takes_ends_the_task() {
    let cluster = Plan::agents(1).start();
    let mut child =
        cluster.cli().command(["run", "--", "yes"]).stdout(Stdio::piped()).spawn().expect("it starts");
    let mut first = String::new();
    BufReader::new(child.stdout.take().expect("it is piped")).read_line(&mut first).expect("it is readable");
    assert_eq!(first, "y\n");
    assert_eq!(child.wait().expect("a child of ours").code(), Some(141), "as a shell says it of SIGPIPE");
    cluster.assert_no_container_is_left();
}

#[test]
fn a_task_that_fits_nowhere_waits_and_says_why() {
    let cluster = Plan::agents(1).resources("cpus:1; mem:256; disk:10").start();
    for (flag, amount, word) in [("--cpus", "4", "cpus"), ("--ports", "99999", "99999 free ports")] {
        let mut child = cluster
            .cli()
            .command(["run", flag, amount, "--", "true"])
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        let mut line = String::new();
        let mut said = BufReader::new(child.stderr.take().expect("it is piped"));
        said.read_line(&mut line).expect("it is readable");
        assert!(line.contains("waiting") && line.contains(word), "{line}");
        interrupt(child.id());
        assert_eq!(child.wait().expect("a child of ours").code(), Some(125), "it never ran");
    }
}

#[test]
fn a_hello_takes_well_under_a_second_once_the_cluster_is_there() {
    let cluster = Plan::agents(1).start();
    // The best of some: what is promised is that nothing in it waits for a timer.
    let best = (0..5).map(|_| {
        let begun = Instant::now();
        cluster.cli().ok(["run", "--", "echo", "hello"]);
        begun.elapsed()
    });
    let best = best.min().expect("there were five");
    assert!(best < Duration::from_millis(900), "{best:?}");
}

#[test]
fn a_master_that_is_killed_is_waited_for_with_one_line_and_nothing_of_the_task_is_lost() {
    let mut cluster = Plan::agents(1).start();
    let gate = cluster.shared().join("gate");
    let script =
        format!("echo first; until [ -e {} ]; do sleep 0.02; done; echo second; exit 4", gate.display());
    let mut child = cluster
        .cli()
        .command(["run", "--", "sh", "-c", &script])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut stdout = BufReader::new(child.stdout.take().expect("it is piped"));
    let mut stderr = BufReader::new(child.stderr.take().expect("it is piped"));
    let line = |reader: &mut dyn BufRead| {
        let mut line = String::new();
        reader.read_line(&mut line).expect("it is readable");
        line
    };
    assert_eq!(line(&mut stdout), "first\n");
    cluster.part("master").kill9();
    let waits = line(&mut stderr);
    assert!(waits.contains("the master cannot be reached; waiting for it"), "{waits}");
    cluster.part("master").start();
    assert_eq!(line(&mut stderr), "bourse run: the master is back\n");
    cluster.kill9_and_start("agent-1");
    std::fs::write(gate, "").expect("a test's own folder is writable");
    assert_eq!(line(&mut stdout), "second\n");
    assert_eq!(child.wait().expect("a child of ours").code(), Some(4));
    let mut rest = String::new();
    stderr.read_to_string(&mut rest).expect("it is readable");
    assert_eq!(rest, "", "nothing else was said");
}

#[test]
fn many_bytes_of_any_kind_come_whole_and_each_stream_for_itself() {
    let cluster = Plan::agents(1).start();
    let place = cluster.folder_for_everybody("bytes");
    let file = |name: &str| std::fs::File::create(place.join(name)).expect("a test's own folder is writable");
    let script = format!(
        "head -c 30000000 /dev/urandom > {0}/made; cat {0}/made; head -c 1000000 {0}/made >&2",
        place.display()
    );
    let ran = cluster
        .cli()
        .command(["run", "--", "sh", "-c", &script])
        .stdout(file("stdout"))
        .stderr(file("stderr"))
        .status()
        .expect("it starts");
    assert!(ran.success(), "{ran}");
    let bytes = |name: &str| std::fs::read(place.join(name)).expect("it is readable");
    let made = bytes("made");
    assert!(made.len() == 30_000_000 && bytes("stdout") == made, "standard output is another");
    assert!(bytes("stderr") == made[..1_000_000], "standard error is another");
}

/// What Ctrl-C at a terminal sends.
fn interrupt(pid: u32) {
    kill(Pid::from_raw(pid as i32), Signal::SIGINT).expect("it is a child of ours");
}

#[test]
fn a_task_mounts_what_its_agent_allows_and_is_told_what_it_does_not() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let data = folder.path().canonicalize().expect("it was just made");
    fs::set_permissions(&data, fs::Permissions::from_mode(0o777)).expect("it is ours");
    let cluster = Plan::agents(1).agent(&format!("--volumes {}", data.display())).start();
    let mount = |volume: &str, script: &str| {
        cluster.cli().run(["run", "--user", "nobody", "--volume", volume, "--", "sh", "-c", script])
    };
    let host = data.display();
    let ran = mount(&format!("{host}:/data"), "echo written > /data/file");
    assert_eq!(ran.code(), 0, "{ran}");
    assert_eq!(fs::read_to_string(data.join("file")).expect("the task wrote it"), "written\n");
    let ran = mount(&format!("{host}:/data:ro"), "cat /data/file; touch /data/other");
    assert_eq!((ran.code(), ran.stdout.as_str()), (1, "written\n"), "{ran}");
    let ran = mount("cache:/var/cache", "echo own > /var/cache/file && cat cache/file");
    assert_eq!((ran.code(), ran.stdout.as_str()), (0, "own\n"), "{ran}");
    std::os::unix::fs::symlink("/var", data.join("out")).expect("it is ours");
    for volume in ["/var:/data:ro", &format!("{host}/out:/data:ro")] {
        let ran = mount(volume, "true");
        assert_eq!(ran.code(), 125, "{ran}");
        assert!(ran.stderr.contains("/var is not among what this agent lets tasks mount"), "{ran}");
    }
    let ran = mount("/a", "true");
    assert_eq!(ran.code(), 2, "{ran}");
}

#[test]
fn a_task_has_a_directory_or_a_tar_of_the_machine_as_its_root_where_its_agent_allows_it() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let images = folder.path().canonicalize().expect("it was just made");
    let image = images.join("image");
    fs::create_dir_all(image.join("bin")).expect("it is ours");
    fs::copy("/bin/busybox", image.join("bin/busybox")).expect("busybox-static is installed");
    std::os::unix::fs::symlink("busybox", image.join("bin/cat")).expect("it is ours");
    fs::write(image.join("release"), "an image\n").expect("it is ours");
    let (directory, tar) = (image.display().to_string(), images.join("image.tar").display().to_string());
    let packed = std::process::Command::new("tar").args(["-C", &directory, "-cf", &tar, "."]).status();
    assert!(packed.expect("it starts").success());
    let cluster = Plan::agents(1).agent(&format!("--rootfs {}", images.display())).start();
    let run = |rootfs: &str| cluster.cli().run(["run", "--rootfs", rootfs, "--", "cat", "/release"]);
    for rootfs in [&directory, &tar] {
        let ran = run(rootfs);
        assert_eq!((ran.code(), ran.stdout.as_str()), (0, "an image\n"), "{ran}");
    }
    let ran = run("/usr");
    assert_eq!(ran.code(), 125, "{ran}");
    assert!(ran.stderr.contains("/usr is not among what this agent lets tasks have as their root"), "{ran}");
    let ran = run("image");
    assert_eq!(ran.code(), 2, "{ran}");
}

#[test]
fn a_task_has_a_network_and_users_of_its_own_where_that_is_asked_for() {
    let cluster = Plan::agents(1).start();
    let cli = cluster.cli();
    // No task is root of the machine here.
    let ran = cli.run(["run", "--user", "root", "--", "id", "-un"]);
    assert_eq!((ran.code(), ran.stdout.as_str()), (0, "nobody\n"), "{ran}");
    // Of routes there is no more than the line that says what they would be.
    let script = "id -un; wc -l < /proc/net/route";
    let own = ["run", "--network", "none", "--own-users", "--user", "root", "--", "sh", "-c", script];
    let ran = cli.run(own);
    assert_eq!((ran.code(), ran.stdout.as_str()), (0, "root\n1\n"), "{ran}");
    let ran = cli.run(["run", "--network", "bridge", "--", "true"]);
    assert_eq!(ran.code(), 2, "{ran}");
    assert!(ran.stderr.contains("write host for that of the agent's machine, or none"), "{ran}");
}
