//! What a task could be given by its agent without anybody meaning it.

use std::fs::{self, File};

use bourse_containerizer::{Check, CheckEnd, ContainerSpec, Containerizer, Filters, Isolation};
use bourse_types::Exit;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::signal::{SigSet, Signal};

use super::{USERS, outside, script_as};
use crate::lab::{DEADLINE, Lab, read, until};
use crate::recovery::{Agent, played_agent};

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

/// The limits that a process of a task has, by the kernel's names: soft and hard.
const LIMITS: [(&str, u64, u64); 16] = [
    ("Max cpu time", u64::MAX, u64::MAX),
    ("Max file size", u64::MAX, u64::MAX),
    ("Max data size", u64::MAX, u64::MAX),
    ("Max stack size", 8 << 20, u64::MAX),
    ("Max core file size", 0, u64::MAX),
    ("Max resident set", u64::MAX, u64::MAX),
    ("Max processes", u64::MAX, u64::MAX),
    (OPEN_FILES, 1 << 20, 1 << 20),
    ("Max locked memory", 8 << 20, 8 << 20),
    ("Max address space", u64::MAX, u64::MAX),
    ("Max file locks", u64::MAX, u64::MAX),
    ("Max pending signals", 1 << 17, 1 << 17),
    ("Max msgqueue size", 819_200, 819_200),
    ("Max nice priority", 0, 0),
    ("Max realtime priority", 0, 0),
    ("Max realtime timeout", u64::MAX, u64::MAX),
];

const OPEN_FILES: &str = "Max open files";

/// What `/proc/PID/limits` says: a column each for the name, the soft and the hard limit (`proc_pid_limits` in the kernel's
/// fs/proc/base.c).
fn limits(text: &str) -> Vec<(&str, u64, u64)> {
    let number = |column: &str| match column.trim() {
        "unlimited" => u64::MAX,
        number => number.parse().expect("a number"),
    };
    text.lines()
        .skip(1)
        .map(|line| (line[..26].trim(), number(&line[26..47]), number(&line[47..68])))
        .collect()
}

/// Writes down how it stands: policy, nice, class and turn on disks, personality, and its limits; and waits if it is the task.
const STANDING: &str = r#"
stat = open('/proc/self/stat').read().rsplit(')', 1)[1].split()
turn = made(IOPRIO_GET, 1, 0)
into = os.environ['INTO']
with open('new', 'w') as new:
    # Fields 41 and 19 of the line, of which the list begins with the third.
    new.write(' '.join([stat[41 - 3], stat[19 - 3], str(turn >> 13), open('/proc/self/personality').read()]))
    new.write(open('/proc/self/limits').read())
os.rename('new', into)
if into == 'task':
    signal.pause()
"#;

/// Bad turns, a limit of each kind, and the personality of a machine of 32 bits whose addresses are not at random: all that
/// needs no right to be had.
fn stand_badly() {
    const IDLE: libc::c_long = 3 << 13;
    const PER_LINUX32: libc::c_int = 8;
    // SAFETY: the memory is this function's, and outlives the calls.
    unsafe {
        assert_eq!(libc::setpriority(libc::PRIO_PROCESS, 0, 5), 0);
        let none = libc::sched_param { sched_priority: 0 };
        assert_eq!(libc::sched_setscheduler(0, libc::SCHED_BATCH, &raw const none), 0);
        assert_eq!(libc::syscall(libc::SYS_ioprio_set, 1, 0, IDLE), 0);
        let personality = PER_LINUX32 | libc::ADDR_NO_RANDOMIZE;
        assert_ne!(libc::personality(personality as libc::c_ulong), -1);
        for (resource, soft, hard) in [
            (libc::RLIMIT_CPU, 1_000, u64::MAX),
            (libc::RLIMIT_FSIZE, 1 << 30, u64::MAX),
            (libc::RLIMIT_DATA, 8 << 30, 16 << 30),
            (libc::RLIMIT_STACK, 4 << 20, u64::MAX),
            (libc::RLIMIT_NOFILE, 512, u64::MAX),
            (libc::RLIMIT_MEMLOCK, 4096, u64::MAX),
            (libc::RLIMIT_MSGQUEUE, 4096, u64::MAX),
        ] {
            let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
            assert_eq!(libc::getrlimit(resource, &raw mut limit), 0);
            let hard = hard.min(limit.rlim_max);
            limit = libc::rlimit { rlim_cur: soft.min(hard), rlim_max: hard };
            assert_eq!(libc::setrlimit(resource, &raw const limit), 0);
        }
    }
}

/// Plan: an agent in a process of its own, as limits are those of a whole process, which was started by somebody who had
/// other plans with it.
#[test]
fn a_task_and_its_checks_have_the_same_limits_turns_and_personality_whatever_their_agent_has() {
    let on_thread = |lab: Lab| {
        stand_badly();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("it can be made").block_on(async {
            for (user, isolation) in
                [("root", Isolation::Linux), ("nobody", Isolation::Linux), ("root", Isolation::Process)]
            {
                assert_stands_well(&lab, user, isolation).await;
            }
        });
    };
    if let Some(lab) = played_agent() {
        let done = std::thread::spawn(move || on_thread(lab)).join();
        return done.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.expect("it can be made").block_on(async {
        let lab = Lab::new();
        let test = "escapes::inheritance::\
                    a_task_and_its_checks_have_the_same_limits_turns_and_personality_whatever_their_agent_has";
        Agent::start(test, &lab, "").until_done().await;
        lab.finish().await;
    });
}

async fn assert_stands_well(lab: &Lab, user: &str, isolation: Isolation) {
    const CAP_SYS_NICE: u32 = 23;
    const CAP_SYS_RESOURCE: u32 = 24;
    let own = fs::read_to_string("/proc/thread-self/status").expect("/proc is mounted");
    let effective = u64::from_str_radix(line(&own, "CapEff"), 16).expect("a set");
    let may = |capability: u32| effective & (1 << capability) != 0;
    let of_agent = fs::read_to_string("/proc/self/limits").expect("/proc is mounted");
    let files_max = fs::read_to_string("/proc/sys/fs/nr_open").expect("/proc is mounted");
    let files_max: u64 = files_max.trim().parse().expect("a number");
    // What may not be raised is as high as it may be.
    let expected: Vec<(&str, u64, u64)> = limits(&of_agent)
        .into_iter()
        .zip(LIMITS)
        .map(|((of_agent, _, most), (name, soft, hard))| {
            assert_eq!(of_agent, name);
            let may_raise = may(CAP_SYS_RESOURCE) && (name != OPEN_FILES || hard <= files_max);
            let hard = if may_raise { hard } else { hard.min(most) };
            (name, soft.min(hard), hard)
        })
        .collect();

    let name = format!("{user}-{isolation:?}").to_lowercase();
    let script = format!("IOPRIO_GET = {}\n{STANDING}", libc::SYS_ioprio_get);
    let mut spec = ContainerSpec { isolation, ..script_as(lab, &name, user, &script) };
    spec.env.push(("INTO".into(), "task".into()));
    lab.launch(&spec).await;
    until("the task has written", || !read(&spec, "task").is_empty()).await;
    let (argv, env) = (spec.argv.clone(), vec![("INTO".into(), "check".into())]);
    let check = Check { argv, env, timeout: DEADLINE };
    let end = lab.containerizer.exec(&spec.container_id, &check).await.expect("it can be run");
    assert_eq!(end, CheckEnd::Exited(Exit::Code(0)));
    for who in ["task", "check"] {
        let written = read(&spec, who);
        let (standing, of_task) = written.split_once('\n').expect("a line and the limits");
        let [policy, nice, class, personality] = standing.split(' ').collect::<Vec<_>>()[..] else {
            panic!("four words: {standing}")
        };
        let nice_expected = if may(CAP_SYS_NICE) { "0" } else { "5" };
        assert_eq!((policy, nice, personality), ("0", nice_expected, "00000000"), "{who} of {name}");
        // Some kernels call none the best-effort class, of which it is in the middle.
        assert!(["0", "2"].contains(&class), "{who} of {name}: {standing}");
        assert_eq!(limits(of_task), expected, "{who} of {name}");
    }
    lab.containerizer.destroy(&spec.container_id).await.expect("it can be destroyed");
    lab.assert_nothing_is_left();
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
