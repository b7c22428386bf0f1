//! What a task may use, what it may see, and that it may not command.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};
use std::{fs, thread};

use bourse_proto::operator::Task;
use bourse_tests::{Cluster, PATIENCE, Plan, process, wait_for, wait_until};

/// `bourse run` that goes on beside the test.
struct Running {
    child: Child,
    task: Task,
}

impl Running {
    /// Starts a task under this name and waits until it runs.
    fn start(cluster: &Cluster, name: &str, arguments: &[&str]) -> Running {
        let mut command = cluster.cli().command(["run", "--name", name]);
        let output = fs::File::create(cluster.logs().join(format!("{name}.log")))
            .expect("the folder of logs is there");
        command
            .args(arguments)
            .stdout(output.try_clone().expect("a file"))
            .stderr(output)
            .stdin(Stdio::null());
        let child = command.spawn().expect("it starts");
        let task = wait_for(&format!("{name} to run"), PATIENCE, || {
            let tasks = cluster.api.running().map_err(|status| status.to_string())?;
            tasks.into_iter().find(|task| task.name == name).ok_or("no such task runs".to_owned())
        });
        Running { child, task }
    }

    /// All processes of the task, as the kernel counts them.
    fn processes(&self) -> Vec<u32> {
        process::in_groups(&format!("{}/task", self.task.container_id))
    }

    /// Ends it at once, and waits for the end of its call.
    fn end(mut self, cluster: &Cluster) {
        cluster.cli().ok(["kill", &self.task.id, "--grace", "0s"]);
        self.child.wait().expect("a child of ours");
    }
}

#[test]
fn a_task_over_its_memory_is_killed_and_the_reason_says_so() {
    let cluster = Plan::agents(1).start();
    // Without a line break, `tail` has to keep all that it reads.
    let ran = cluster.cli().run(["run", "--name", "greedy", "--mem", "48MiB", "--", "tail", "/dev/zero"]);
    assert_eq!(ran.code(), 128 + 9, "{ran}");
    assert!(ran.stderr.contains("memory limit 48 MiB exceeded"), "{ran}");
    let task = wait_for("the task to be listed", PATIENCE, || {
        let tasks = cluster.api.tasks().map_err(|status| status.to_string())?;
        tasks.into_iter().find(|task| task.name == "greedy").ok_or("no such task".to_owned())
    });
    assert_eq!(
        (task.state.as_str(), task.reason.as_str()),
        ("TASK_FAILED", "REASON_CONTAINER_LIMITATION_MEMORY")
    );
}

#[test]
fn a_task_uses_more_than_it_asked_for_up_to_its_limits_and_what_it_uses_is_told_by_kind() {
    let cluster = Plan::agents(1).start();
    // Three times the memory that it asked for.
    let script = "head -c 50331648 /dev/zero > /dev/shm/f; exec sleep 1000";
    let asked = "--mem 16MiB --mem-limit 128MiB --cpu-limit unlimited --swap 16MiB --pids 20 --oom-score 500";
    let arguments: Vec<&str> = asked.split(' ').chain(["--", "sh", "-c", script]).collect();
    let running = Running::start(&cluster, "roomy", &arguments);
    let used = wait_for("its memory to be seen", PATIENCE, || {
        let task = cluster.api.task(&running.task.id).map_err(|status| status.to_string())?;
        let used = task.used.unwrap_or_default();
        // The kernel adds its figures up in batches.
        if used.mem_shared_mib.is_some_and(|shared| shared > 40.0) {
            Ok(used)
        } else {
            Err(format!("{used:?}"))
        }
    });
    assert_eq!(
        (used.mem_limit_mib, used.pids_limit, used.cpu_periods),
        (Some(128.0), Some(20), 0),
        "{used:?}"
    );
    assert!(used.mem_mib > 40.0 && used.cpu_user_seconds.is_some() && used.oom_kills == 0, "{used:?}");

    let score = |pid: &str| {
        let text = fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).expect("it runs");
        text.trim().parse::<i32>().expect("a number")
    };
    assert_eq!(score(&running.task.pid.to_string()), (score("self").max(0) + 500).min(1000));

    let told = cluster.cli().ok(["task", &running.task.id]).stdout;
    assert!(told.contains("at most 128MiB)") && told.contains(" of at most 20"), "{told}");
    running.end(&cluster);
}

#[test]
fn a_task_that_asks_for_what_its_machine_lacks_or_for_a_limit_below_its_request_fails_with_what_is_wrong() {
    let cluster = Plan::agents(1).start();
    let failed = |arguments: &[&str]| {
        let ran = cluster.cli().run(["run"].iter().chain(arguments).chain(&["--", "true"]));
        assert_eq!(ran.code(), 125, "{ran}");
        ran.stderr
    };
    // No machine has pages of this size.
    let said = failed(&["--huge-pages", "32KiB=0"]);
    assert!(said.contains("no hugetlb controller") || said.contains("huge pages of 32KB"), "{said}");
    let said = failed(&["--cpus", "0.5", "--cpu-limit", "0.1"]);
    assert!(said.contains("limit of cpus is 0.1, below the 0.5 that it requests"), "{said}");
}

#[test]
fn a_busy_loop_with_half_a_cpu_never_gets_more_than_its_share_and_is_seen_throttled() {
    let cluster = Plan::agents(1).start();
    // Two loops, which would take two cpus.
    let busy = "while :; do :; done & while :; do :; done";
    let running = Running::start(&cluster, "busy", &["--cpus", "0.5", "--", "sh", "-c", busy]);
    wait_until("both loops to run", || running.processes().len() >= 2);

    // By the processes' own cpu time over the time that passed: however busy the machine is, it can only be less.
    let pids = running.processes();
    let (begun, before) = (Instant::now(), process::cpu_time(&pids));
    let mut most: f64 = 0.0;
    while begun.elapsed() < Duration::from_secs(4) {
        thread::sleep(Duration::from_millis(100)); // What is measured is a time.
        let share = (process::cpu_time(&pids) - before).as_secs_f64() / begun.elapsed().as_secs_f64();
        // In less time one period of the quota more or less is more than what is allowed for.
        if begun.elapsed() >= Duration::from_secs(2) {
            most = most.max(share);
        }
    }
    assert!(most <= 0.55, "it had {most:.3} cpus");

    let task = wait_for("it to be seen throttled", PATIENCE, || {
        let task = cluster.api.task(&running.task.id).map_err(|status| status.to_string())?;
        let used = task.used.unwrap_or_default();
        if used.throttled_seconds > 0.0 { Ok(task) } else { Err(format!("{used:?}")) }
    });
    let used = task.used.unwrap_or_default();
    // One sample of a fifth of a second, which holds two periods of the kernel's quota or one: what it may have was
    // measured above.
    assert!(used.cpus > 0.0 && used.cpus < 1.0, "it is said to use {} cpus", used.cpus);
    running.end(&cluster);
}

#[test]
fn a_fork_bomb_stops_at_its_limit_and_others_do_not_notice() {
    let cluster = Plan::agents(1).agent("--pids-limit 60").start();
    let other = Running::start(&cluster, "other", &["--", "sleep", "1000"]);
    // Each process forks for ever; where it is refused it tries again. A shell would give up.
    let bomb = "import os, time\nwhile True:\n  try: os.fork()\n  except OSError: time.sleep(0.05)";
    let sized = ["--cpus", "0.3", "--mem", "512MiB", "--", "/usr/bin/python3", "-c", bomb];
    let running = Running::start(&cluster, "bomb", &sized);
    wait_until("the bomb to reach its limit", || running.processes().len() >= 58);
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(1) {
        let processes = running.processes().len();
        assert!(processes <= 60, "{processes} processes");
        // Other tasks of the same agent are launched and run as ever.
        assert_eq!(cluster.cli().ok(["run", "--", "echo", "hello"]).stdout, "hello\n");
    }
    assert!(process::Process::of(other.task.pid).is_some(), "the other task runs on");
    running.end(&cluster);
    other.end(&cluster);
}

#[test]
fn a_task_sees_neither_the_processes_nor_the_sandboxes_of_others() {
    let cluster = Plan::agents(2).agent("--allow-root").start();
    let other =
        Running::start(&cluster, "other", &["--", "sh", "-c", "echo s3cret > mine; exec sleep 12345"]);
    let secret = wait_for("the other's file", PATIENCE, || {
        find(&cluster.secrets(), "mine").ok_or("there is none yet")
    });
    // As root, which on the machine may see everything.
    let look = format!(
        "echo $HOSTNAME; id -u; grep -c . /proc/[0-9]*/comm | wc -l; grep -l '1234[5]' /proc/[0-9]*/cmdline; \
         cat {0}; find {1} -name mine; ls {1}; kill -9 {2} && echo killed; true",
        secret.display(),
        cluster.secrets().display(),
        other.task.pid,
    );
    let looks = |cpus: &str| {
        let ran = cluster.cli().ok(["run", "--user", "root", "--cpus", cpus, "--", "sh", "-c", &look]);
        let lines: Vec<&str> = ran.stdout.lines().collect();
        assert_eq!(lines[1], "0", "{ran}");
        let processes: u32 = lines[2].parse().expect("wc counts");
        assert!(processes <= 4, "{processes} processes are seen; {ran}");
        // Nothing is there of the agents' folder.
        assert_eq!(lines[3..], [""; 0], "{ran}");
        lines[0].to_owned()
    };
    // A whole agent is free only where the other task is not; and once it is taken, there is room only beside that one.
    let beside = looks("8");
    let filler = Running::start(&cluster, "filler", &["--cpus", "8", "--", "sleep", "1000"]);
    let same = looks("0.1");
    filler.end(&cluster);
    assert_eq!(BTreeSet::from([&*beside, &*same]), BTreeSet::from(["agent-1", "agent-2"]));
    assert!(process::Process::of(other.task.pid).is_some(), "the other task runs on");
    other.end(&cluster);
}

#[test]
fn a_task_can_drive_neither_master_nor_agent() {
    let bourse = bourse_tests::binary::bourse().display().to_string();
    let cluster = Plan::agents(1).agent(&format!("--allow-root --show {bourse}")).start();
    let ip = cluster.ip;
    let tokens =
        ["operator", "agent", "framework"].map(|name| cluster.token_file(name).display().to_string());
    let script = format!(
        "env | grep -ci token; cat {tokens} 2>/dev/null | wc -c; \
         for port in 5050 5051; do curl --silent --output /dev/null --write-out '%{{http_code}}\\n' http://{ip}:$port/; done; \
         {bourse} --version > /dev/null && {bourse} ps --master {ip}:5050; echo $?; \
         {bourse} kill --master {ip}:5050 anything; echo $?",
        tokens = tokens.join(" "),
    );
    let ran = cluster.cli().ok(["run", "--user", "root", "--mem", "256MiB", "--", "sh", "-c", &script]);
    let lines: Vec<&str> = ran.stdout.lines().collect();
    // No variable, no byte of a token; the master refuses, the agent has nothing there; both verbs end as denied.
    assert_eq!(lines[..3], ["0", "0", "401"], "{ran}");
    assert!(["401", "404"].contains(&lines[3]), "{ran}");
    assert_eq!(lines[4..], ["4", "4"], "{ran}");
    assert!(ran.stderr.contains("no token"), "{ran}");
}

/// A file of this name below a folder.
fn find(folder: &Path, name: &str) -> Option<std::path::PathBuf> {
    for entry in fs::read_dir(folder).ok()?.flatten() {
        let path = entry.path();
        if entry.file_type().ok()?.is_dir() {
            if let Some(found) = find(&path, name) {
                return Some(found);
            }
        } else if entry.file_name() == name {
            return Some(path);
        }
    }
    None
}
