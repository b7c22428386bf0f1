//! What a task could be given by its agent without anybody meaning it.

use std::fs::{self, File};

use bourse_containerizer::{Check, CheckEnd, ContainerSpec, Containerizer, Filters};
use bourse_types::Exit;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::signal::{SigSet, Signal};

use super::{USERS, outside, script_as};
use crate::lab::{DEADLINE, Lab, read, until};

/// A line of `/proc/PID/status`.
fn line<'a>(status: &'a str, name: &str) -> &'a str {
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(":"));
    line.unwrap_or_else(|| panic!("no {name} in {status}")).trim()
}

/// Signals and privileges are as for a program that nobody has prepared.
fn assert_fresh(status: &str) {
    for name in ["SigPnd", "ShdPnd", "SigBlk", "SigIgn", "SigCgt", "CapInh", "CapAmb"] {
        assert_eq!(line(status, name), "0000000000000000", "{name}");
    }
    assert_eq!((line(status, "Umask"), line(status, "NoNewPrivs")), ("0022", "1"));
    assert_eq!(line(status, "TracerPid"), "0");
}

/// Copies what it was started with to files of the sandbox: as they are, as no program's own doings are among them.
fn copying(status: &str, environment: &str) -> String {
    format!("cp /proc/self/status {status} && cp /proc/self/environ {environment}")
}

#[test]
fn a_task_and_its_checks_start_with_no_signal_descriptor_or_variable_of_an_agent_that_has_its_own() {
    let on_thread = || {
        let mut blocked = SigSet::empty();
        blocked.extend([Signal::SIGTERM, Signal::SIGUSR1, Signal::SIGCHLD]);
        blocked.thread_block().expect("these can be blocked");
        let own = fs::read_to_string("/proc/thread-self/status").expect("/proc is mounted");
        assert_ne!(line(&own, "SigBlk"), "0000000000000000");
        assert_ne!(line(&own, "SigIgn"), "0000000000000000", "Rust's programs ignore SIGPIPE");
        // Threads for what blocks are made by this one, and block the same.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("it can be made").block_on(starts_fresh());
    };
    let done = std::thread::spawn(on_thread).join();
    done.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
}

async fn starts_fresh() {
    let lab = Lab::new();
    // One that a careless library left open for children.
    let careless = File::open("/dev/null").expect("it is there");
    fcntl(&careless, FcntlArg::F_SETFD(FdFlag::empty())).expect("it is open");
    for user in USERS {
        let script = "exec cp /proc/self/status status";
        let spec = ContainerSpec { user: Some(user.into()), ..lab.shell(user, script) };
        lab.output(&spec).await;
        assert_fresh(&read(&spec, "status"));
    }
    let spec = lab.shell("c1", &format!("{}; ls -l /proc/self/fd; echo up; sleep 1000", copying("s", "e")));
    lab.launch(&spec).await;
    until("the task runs", || read(&spec, "stdout").contains("up\n")).await;
    let script = format!("{} && ls -l /proc/self/fd > fd", copying("check-s", "check-e"));
    let argv = ["/bin/sh", "-c", script.as_str()].map(str::to_owned).to_vec();
    let check = Check { argv, env: Vec::new(), timeout: DEADLINE };
    let end = lab.containerizer.exec(&spec.container_id, &check).await.expect("it can be run");
    assert_eq!(end, CheckEnd::Exited(Exit::Code(0)));
    for (status, environment, descriptors) in [("s", "e", "stdout"), ("check-s", "check-e", "fd")] {
        assert_fresh(&read(&spec, status));
        let environment = read(&spec, environment);
        let mut variables: Vec<&str> = environment.split_terminator('\0').collect();
        // What a shell says of itself.
        variables.retain(|variable| {
            !["PWD=", "OLDPWD=", "SHLVL=", "_="].iter().any(|own| variable.starts_with(own))
        });
        variables.sort_unstable();
        let lab_variable = format!("LAB={}", lab.instance);
        let path =
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/run/current-system/sw/bin";
        assert_eq!(variables, [lab_variable.as_str(), path], "{status}");
        // The list's own is that of the directory.
        let listed = read(&spec, descriptors);
        let open: Vec<&str> =
            listed.lines().filter_map(|line| line.split_once(" -> ")).map(|(left, _)| left).collect();
        let numbers: Vec<&str> = open.iter().filter_map(|left| left.rsplit(' ').next()).collect();
        assert_eq!(numbers, ["0", "1", "2", "3"], "{listed}");
    }
    lab.finish().await;
}

/// Its session keyring, and how many bytes of keys are in it. Who has none is given the one of its user, which is root's
/// here and outside.
const KEYRING: &str = r#"
keyring = made(KEYCTL, 0, -3, 0)
print(said(keyring), keyring, made(KEYCTL, 11, keyring, 0, 0))
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_task_has_a_keyring_of_its_own_and_no_key_of_the_agents_also_where_nothing_is_filtered() {
    let own = outside(KEYRING);
    if own.starts_with("ENOSYS") {
        // A kernel without keys.
        return;
    }
    let lab = Lab::new();
    let mut seen = vec![own.split(' ').nth(1).map(str::to_owned)];
    for user in USERS {
        let spec = ContainerSpec { filters: Filters::default(), ..script_as(&lab, user, user, KEYRING) };
        let output = lab.output(&spec).await;
        let words: Vec<&str> = output.split_whitespace().collect();
        assert_eq!((words[0], words[2]), ("done", "0"), "{output}");
        let keyring = Some(words[1].to_owned());
        assert!(!seen.contains(&keyring), "{keyring:?} of {user} is among {seen:?}");
        seen.push(keyring);
    }
    lab.finish().await;
}

/// Whoever has the terminal of the agent could read and type what its operator does.
const TERMINAL: &str = r#"
print('terminal', attempt(os.open, '/dev/tty', os.O_RDWR))
print('session', open('/proc/self/stat').read().rsplit(')', 1)[1].split()[3:5] == [str(os.getpid()), '0'])
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_task_has_a_session_of_its_own_without_a_terminal() {
    let lab = Lab::new();
    for user in USERS {
        let output = lab.output(&script_as(&lab, user, user, TERMINAL)).await;
        assert_eq!(output, "terminal ENXIO\nsession True\n", "{user}");
    }
    lab.finish().await;
}
