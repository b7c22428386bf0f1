//! `bourse dev`: a whole cluster by one command, and nothing left of it after Ctrl-C.

use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::Child;
use std::time::Duration;

use bourse_tests::cluster::fresh_logs;
use bourse_tests::leaks::Traces;
use bourse_tests::process::{self, Process};
use bourse_tests::{Cli, PATIENCE, Part, binary, place, wait_for, wait_until};
use nix::sys::signal::Signal;
use tempfile::TempDir;

/// A home with a dev cluster that may be started more than once.
struct Dev {
    part: Part,
    cli: Cli,
    port: u16,
    state: PathBuf,
    traces: Traces,
    _home: TempDir,
}

impl Dev {
    fn new(arguments: &[&str]) -> Dev {
        let temporary =
            tempfile::Builder::new().prefix("bourse-test-").tempdir().expect("a folder can be made");
        let home = temporary.path().canonicalize().expect("it was just made");
        let state = home.join("state");
        let ports = place::ports(4);
        let port = *ports.start();
        let part = Part::new("dev", binary::bourse(), &fresh_logs())
            .variable("HOME", &home)
            .arguments(["dev", "--port", &port.to_string(), "--state-dir"])
            .arguments([&state])
            .arguments(arguments);
        let traces = Traces::new(
            home.clone(),
            (1..=3).map(|n| state.join(format!("agent-{n}"))).collect(),
            vec![(Ipv4Addr::LOCALHOST, Some(ports))],
        );
        // Neither address nor token: the command line finds what `bourse dev` wrote.
        let cli = Cli { home, master: None, token_file: None };
        Dev { part, cli, port, state, traces, _home: temporary }
    }

    fn start(&mut self) {
        let before = self.part.log().matches("Bourse is ready").count();
        self.part.start();
        wait_for("the cluster to be ready", PATIENCE, || {
            if let Some(status) = self.part.ended() {
                panic!("it ended with {status}; {}", self.part.tail());
            }
            let log = self.part.log();
            if log.matches("Bourse is ready").count() > before { Ok(()) } else { Err(log) }
        });
    }

    /// What Ctrl-C at its terminal does.
    fn ctrl_c(&mut self) {
        let status = self.part.stop(Signal::SIGINT);
        assert!(status.success(), "{status}; {}", self.part.tail());
        self.assert_nothing_is_left();
    }

    /// The process that is this verb of the cluster, with this word in its command line.
    fn part_of(&self, verb: &str, mark: &str) -> u32 {
        let parts = self.traces.processes().into_iter();
        let mut parts = parts.filter(|pid| {
            let line = process::command_line(*pid);
            let words: Vec<&str> = line.split(' ').collect();
            words.get(1) == Some(&verb) && words.contains(&mark)
        });
        parts.next().unwrap_or_else(|| panic!("no {verb} with {mark} runs"))
    }

    /// The same, while a `bourse run` goes on. It may not have found the master again that was started last, and then waits
    /// for the next.
    fn ctrl_c_with(&mut self, running: &mut Child) {
        let status = self.part.stop(Signal::SIGINT);
        assert!(status.success(), "{status}; {}", self.part.tail());
        let _ = running.kill(); // It may have seen its task's end.
        running.wait().expect("a child of ours");
        self.assert_nothing_is_left();
    }

    /// The process of a part by its name.
    fn pid_of(&self, part: &str) -> u32 {
        match part {
            "master" => self.part_of("master", "--listen"),
            "services" => self.part_of("services", "--master"),
            agent => self.part_of("agent", agent),
        }
    }

    fn kill9(&self, part: &str) {
        Process::of(self.pid_of(part)).expect("it was just found").kill9();
    }

    /// A task that ends only when it is ended, by a `bourse run` of its own, and its main process.
    fn long_task(&self) -> (Child, Process) {
        let running = self.cli.command(["run", "--", "sleep", "1000"]).spawn().expect("it starts");
        let task = wait_for("the task to run", PATIENCE, || {
            let tasks = self.cli.json(["ps"]);
            let pid = tasks["tasks"][0]["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok());
            pid.and_then(Process::of).ok_or(tasks.to_string())
        });
        (running, task)
    }

    fn wait_said(&self, text: &str) {
        wait_for(&format!("{text:?} to be said"), PATIENCE, || {
            let log = self.part.log();
            if log.contains(text) { Ok(()) } else { Err(log) }
        });
    }

    fn assert_nothing_is_left(&self) {
        wait_for("nothing to be left", Duration::from_secs(5), || {
            let left = self.traces.all();
            if left.is_empty() { Ok(()) } else { Err(left.join("\n")) }
        });
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- {}", self.part.tail());
            for name in ["master", "agent-1", "agent-2", "agent-3", "services"] {
                let log = std::fs::read_to_string(self.state.join("logs").join(format!("{name}.log")));
                let log = log.unwrap_or_default();
                let lines: Vec<&str> = log.lines().collect();
                eprintln!("--- {name}:\n{}", lines[lines.len().saturating_sub(30)..].join("\n"));
            }
        }
        self.traces.clean();
    }
}

#[test]
fn dev_starts_a_cluster_that_the_command_line_finds_and_ctrl_c_leaves_nothing_of_it() {
    let mut dev = Dev::new(&[]);
    dev.start();
    let said = dev.part.log();
    for part in [&format!("http://127.0.0.1:{}/", dev.port), "bourse run ", "Ctrl-C", "3 agents"] {
        assert!(said.contains(part), "{part:?} is not in {said}");
    }
    let status = dev.cli.json(["status"]);
    assert_eq!((&status["agents_active"], &status["agents_total"]), (&3.into(), &3.into()), "{status}");
    let ran = dev.cli.run(["run", "--cpus", "0.5", "--mem", "64MiB", "--", "sh", "-c", "echo hello; exit 3"]);
    assert_eq!((ran.code(), ran.stdout.as_str()), (3, "hello\n"), "{ran}");
    // The example service runs, and is something that Ctrl-C has to end.
    wait_for("the example to run", PATIENCE, || {
        let services = dev.cli.json(["service", "list"]);
        if services["services"][0]["state"] == "running" { Ok(()) } else { Err(services.to_string()) }
    });
    assert!(!dev.traces.groups().is_empty() && !dev.traces.tasks().is_empty());
    dev.ctrl_c();
}

#[test]
fn dev_goes_on_where_it_was_and_fresh_forgets() {
    let mut dev = Dev::new(&["--no-example"]);
    let file = dev.cli.home.join("kept.toml");
    std::fs::write(
        &file,
        "name = \"kept\"\ncommand = \"exec sleep 1000\"\n[resources]\ncpus = 0.1\nmem = \"32MiB\"\n",
    )
    .expect("the test's own folder");
    let services = |dev: &Dev| -> Vec<String> {
        let listed = dev.cli.json(["service", "list"]);
        let listed = listed["services"].as_array().expect("a list");
        listed.iter().map(|service| service["name"].as_str().expect("a name").to_owned()).collect()
    };
    dev.start();
    assert!(services(&dev).is_empty());
    dev.cli.ok(["service", "deploy", file.to_str().expect("a path")]);
    dev.ctrl_c();

    dev.start();
    assert_eq!(services(&dev), ["kept"]);
    wait_for("the service to run again", PATIENCE, || {
        let shown = dev.cli.json(["service", "show", "kept"]);
        if shown["state"] == "running" { Ok(()) } else { Err(shown.to_string()) }
    });
    dev.ctrl_c();

    // It may be a folder that was named by mistake.
    let stranger = dev.state.join("thesis");
    std::fs::create_dir(&stranger)
        .and_then(|()| std::fs::write(stranger.join("text"), "long"))
        .expect("ours");
    let (arguments, part) =
        (["--fresh"], std::mem::replace(&mut dev.part, Part::new("none", binary::bourse(), &dev.state)));
    dev.part = part.arguments(arguments);
    dev.start();
    assert!(services(&dev).is_empty());
    dev.ctrl_c();
    assert!(stranger.join("text").exists(), "nothing goes that no dev cluster made");
}

#[test]
fn a_task_of_dev_though_it_is_root_sees_no_token_and_nothing_of_the_cluster() {
    let mut dev = Dev::new(&["--no-example"]);
    dev.start();
    let script = format!(
        "id -u; cat {0}/*token* {0}/tokens.toml; ls -A {0}/master {0}/services {0}/logs; true",
        dev.state.display()
    );
    let ran = dev.cli.ok(["run", "--", "sh", "-c", &script]);
    assert_eq!(ran.stdout, "0\n", "{ran}");
    dev.ctrl_c();
}

#[test]
fn dev_that_is_killed_takes_its_parts_along_and_the_next_one_cleans_up() {
    let mut dev = Dev::new(&["--no-example"]);
    dev.start();
    let mut running = dev.cli.command(["run", "--", "sleep", "1000"]).spawn().expect("it starts");
    wait_for("the task to run", PATIENCE, || {
        let tasks = dev.cli.json(["ps"]);
        if tasks["tasks"][0]["state"] == "TASK_RUNNING" { Ok(()) } else { Err(tasks.to_string()) }
    });
    dev.part.kill9();
    wait_for("the parts to end with it", PATIENCE, || {
        // The call of `bourse run` is not a part, and waits for a master.
        let mut left = dev.traces.processes();
        left.retain(|pid| *pid != running.id());
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    });
    let _ = running.kill(); // It may have given up.
    running.wait().expect("a child of ours");
    dev.start();
    dev.ctrl_c();
}

#[test]
fn a_part_that_is_killed_is_told_and_started_again_and_its_task_goes_on() {
    let mut dev = Dev::new(&["--no-example"]);
    dev.start();
    let (mut running, task) = dev.long_task();
    for (verb, mark, part) in
        [("agent", "agent-1", "agent-1"), ("agent", "agent-2", "agent-2"), ("master", "--listen", "master")]
    {
        let pid = dev.part_of(verb, mark);
        Process::of(pid).expect("it runs").kill9();
        wait_for("it to be started again", PATIENCE, || {
            let said = dev.part.log();
            let wanted = format!("{part} is started again");
            if said.contains(&wanted) && said.contains(&format!("{part} (pid {pid})")) {
                Ok(())
            } else {
                Err(said)
            }
        });
    }
    wait_for("all agents to be there", PATIENCE, || {
        let ran = dev.cli.run(["status", "-o", "json"]);
        if ran.stdout.contains("\"agents_active\": 3") { Ok(()) } else { Err(ran.to_string()) }
    });
    assert!(task.is_alive(), "the task went on, whoever of the two agents had it");
    assert!(running.try_wait().expect("a child of ours").is_none(), "and so did who follows it");
    dev.ctrl_c_with(&mut running);
}

#[test]
fn a_part_is_started_again_though_the_binary_was_replaced() {
    let mut dev = Dev::new(&["--no-example"]);
    // A name of its own, which can be taken away.
    let installed = dev.cli.home.join("bourse");
    binary::install(&installed);
    dev.part.set_program(&installed);
    dev.start();
    let (mut running, task) = dev.long_task();
    std::fs::remove_file(&installed).expect("the test's own folder");
    for part in ["agent-1", "agent-2", "agent-3", "master", "services"] {
        dev.kill9(part);
        dev.wait_said(&format!("{part} is started again"));
        // For who looks at the machine's processes.
        let name = || std::fs::read_to_string(format!("/proc/{}/comm", dev.pid_of(part)));
        wait_until("it to have its name", || name().is_ok_and(|name| name == "bourse\n"));
    }
    wait_for("all agents to be there", PATIENCE, || {
        let ran = dev.cli.run(["status", "-o", "json"]);
        if ran.stdout.contains("\"agents_active\": 3") { Ok(()) } else { Err(ran.to_string()) }
    });
    assert!(task.is_alive());
    assert_eq!(dev.cli.ok(["run", "--", "echo", "hello"]).stdout, "hello\n");
    dev.ctrl_c_with(&mut running);
}

#[test]
fn each_agent_of_dev_has_users_of_its_own_for_its_tasks() {
    let mut dev = Dev::new(&["--no-example"]);
    dev.start();
    let mut starts: Vec<u32> = ["agent-1", "agent-2", "agent-3"]
        .iter()
        .map(|agent| {
            let line = process::command_line(dev.pid_of(agent));
            let (_, after) = line.split_once("--user-range-start ").expect("it is told to the agent");
            after.split(' ').next().and_then(|text| text.parse().ok()).expect("a number")
        })
        .collect();
    starts.sort_unstable();
    // 2048 blocks of 65536.
    assert!(starts.windows(2).all(|two| two[1] - two[0] >= 2048 * 65_536), "{starts:?}");
    // And the agents take them for that.
    let ran = dev.cli.ok(["run", "--own-users", "--", "sh", "-c", "cat /proc/self/uid_map"]);
    let first: u32 = ran.stdout.split_whitespace().nth(1).and_then(|text| text.parse().ok()).expect("a map");
    assert!(starts.iter().any(|start| (*start..*start + 2048 * 65_536).contains(&first)), "{ran}");
    dev.ctrl_c();
}

#[test]
fn nobody_can_take_the_port_of_a_part_that_is_down() {
    let mut dev = Dev::new(&["--no-example"]);
    dev.start();
    for (verb, mark, part, port) in
        [("master", "--listen", "master", dev.port), ("agent", "agent-1", "agent-1", dev.port + 1)]
    {
        Process::of(dev.part_of(verb, mark)).expect("it runs").kill9();
        wait_for("it to be started again", PATIENCE, || {
            let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, port));
            assert!(taken.is_err(), "the port of {part} was free");
            let said = dev.part.log();
            if said.contains(&format!("{part} is started again")) { Ok(()) } else { Err(said) }
        });
    }
    // Who calls meanwhile waits, and is answered by the next.
    assert_eq!(dev.cli.ok(["run", "--", "echo", "hello"]).stdout, "hello\n");
    dev.ctrl_c();
}

#[test]
fn a_port_that_is_taken_is_a_clear_error_and_nothing_is_started() {
    let mut dev = Dev::new(&[]);
    for taken in [dev.port, dev.port + 2] {
        let holder = TcpListener::bind((Ipv4Addr::LOCALHOST, taken)).expect("it was free");
        dev.part.start();
        let status = dev.part.wait(PATIENCE);
        assert_eq!((status.code(), status.signal()), (Some(1), None), "{}", dev.part.tail());
        let said = dev.part.log();
        let wanted = format!("port {taken} cannot be had");
        assert!(said.contains(&wanted) && said.contains("--port"), "{said}");
        drop(holder);
    }
    dev.assert_nothing_is_left();
}

#[test]
fn a_second_dev_of_the_same_state_is_refused_and_the_first_goes_on() {
    let mut dev = Dev::new(&["--no-example"]);
    dev.start();
    let state = dev.state.display().to_string();
    let port = (dev.port + 100).to_string();
    let ran = dev.cli.run(["dev", "--state-dir", &state, "--port", &port]);
    assert_eq!(ran.code(), 1, "{ran}");
    assert!(ran.stderr.contains("another `bourse dev` uses") && ran.stderr.contains("--state-dir"), "{ran}");
    assert_eq!(dev.cli.ok(["run", "--", "echo", "hello"]).stdout, "hello\n");
    dev.ctrl_c();
}

#[test]
fn ctrl_c_while_killed_agents_wait_for_their_restart_ends_their_tasks_too() {
    let mut dev = Dev::new(&["--no-example"]);
    dev.start();
    let (mut running, task) = dev.long_task();
    for agent in ["agent-1", "agent-2", "agent-3"] {
        dev.kill9(agent);
        dev.wait_said(&format!("{agent} (pid "));
    }
    dev.ctrl_c_with(&mut running);
    assert!(!task.is_alive());
}

#[test]
fn tasks_of_agents_that_were_killed_together_with_dev_are_taken_over_and_fresh_ends_them() {
    let mut dev = Dev::new(&["--no-example"]);
    dev.start();
    let (mut running, task) = dev.long_task();
    let kill_all = |dev: &mut Dev| {
        // Stopped first, so that it starts none of them again, and its end does not ask them to stop.
        dev.part.signal(Signal::SIGSTOP);
        for part in ["agent-1", "agent-2", "agent-3", "services", "master"] {
            dev.kill9(part);
        }
        dev.part.kill9();
        assert!(task.is_alive());
    };
    kill_all(&mut dev);
    dev.start();
    assert!(task.is_alive(), "it was taken over");
    wait_for("the task to be known", PATIENCE, || {
        let tasks = dev.cli.json(["ps"]);
        if tasks["tasks"][0]["pid"] == task.pid { Ok(()) } else { Err(tasks.to_string()) }
    });
    kill_all(&mut dev);
    let part = std::mem::replace(&mut dev.part, Part::new("none", binary::bourse(), &dev.state));
    dev.part = part.arguments(["--fresh"]);
    dev.start();
    wait_until("the task to be ended", || !task.is_alive());
    dev.ctrl_c_with(&mut running);
}

#[test]
fn what_dev_can_not_work_with_is_one_clear_error_that_says_what_to_do() {
    let dev = Dev::new(&[]);
    let file = dev.cli.home.join("file");
    std::fs::write(&file, "").expect("the test's own folder");
    let below = file.join("state").display().to_string();
    let port = dev.port.to_string();
    for (arguments, wanted) in [
        (["dev", "--port", "65534"], ["leaves no ports for 3 agents", "start with 65532 at most"]),
        (["dev", "--state-dir", &below], ["making the folder", "name another with --state-dir"]),
    ] {
        let ran = dev.cli.command(arguments).args(["--isolation", "linux"]).output().expect("it starts");
        let said = String::from_utf8_lossy(&ran.stderr);
        assert_eq!((ran.status.code(), said.lines().count()), (Some(1), 1), "{said}");
        assert!(wanted.iter().all(|wanted| said.contains(wanted)), "{said}");
    }
    // The words of the part that could not start are dev's own.
    let state = dev.state.display().to_string();
    let ran = dev.cli.run(["dev", "--port", &port, "--state-dir", &state, "--isolation", "magic"]);
    assert_eq!(ran.code(), 1, "{ran}");
    assert!(ran.stderr.contains("ended (exit status: ") && ran.stderr.contains("\"magic\""), "{ran}");
    dev.assert_nothing_is_left();
}
