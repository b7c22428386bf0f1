//! `bourse-init`: the first process of a container.
//!
//! **For what.** It turns a [`Plan`] into a running task and stays until the task has ended: sets up what the
//! task may see and use, starts it, reaps, passes signals on, and leaves an exit record. It does not need the
//! agent for any of that once the task runs, so an agent can be killed, restarted or upgraded meanwhile.
//!
//! **Promises.** Nothing of the task runs outside its control groups or before the agent has written down who
//! it is. Either the task's program runs, or a failure names the step, the error and the thing it happened
//! to; never neither. The exit record is written once, whole, by a process that the task can neither see into
//! nor kill (in a container; without one, a task of the same user can).
//!
//! **Left to others.** Everything that needs a decision: the plan is final. Control groups are made and
//! removed by the agent.
//!
//! Started as `bourse-init CONTAINER_ID PLAN_FD REPORT_FD [USERS_FD | CONTAINER_FD [TASK_FD]]`, by the agent only: the
//! numbers are open descriptors. A container is given a user namespace: its own users, or one that knows nobody (see
//! `mounts`). A command in a container is given the first process, and where there are users of its own the main one.
//! The program is small and static because it stays in memory once for each container.
#![deny(unsafe_code)]

mod errno;
mod failure;
mod logs;
mod mounts;
mod rootfs;
mod standing;
mod supervise;
mod sys;
mod task;

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::process::ExitCode;

use bourse_init::plan::{Place, Plan};
use bourse_init::record::{Failure, Record};
use bourse_init::step::Step;

use failure::At;
use logs::Logs;
use mounts::View;
use supervise::Reach;
use task::Files;

/// The exit code when a set-up failed; nobody decides by it, the report and the record say why.
const SET_UP_FAILED: u8 = 125;

/// The lowest port that takes no right, of the network of whoever looks (ip-sysctl).
const LOWEST_PORT: &str = "/proc/sys/net/ipv4/ip_unprivileged_port_start";

/// In bytes: more than a record of an end has, which is one short line.
const RECORD_ROOM: i64 = 512;

fn main() -> ExitCode {
    let numbers: Vec<RawFd> = std::env::args().skip(2).filter_map(|arg| arg.parse().ok()).collect();
    let (Some(&plan), Some(&report)) = (numbers.first(), numbers.get(1)) else {
        eprintln!(
            "bourse-init is started by the agent, to run a container; run `bourse run -- COMMAND` instead"
        );
        return ExitCode::from(SET_UP_FAILED);
    };
    // Away from the agent's terminal and output before anything else: a Ctrl-C there is not meant for the
    // task, and an open pipe would keep whoever reads the agent's output waiting for as long as the task
    // runs.
    sys::set_name();
    sys::block_signals();
    sys::keep_children();
    sys::setsid();
    sys::umask(0o022);
    let report = match detach(&numbers).and_then(|()| sys::inherited(report)) {
        Ok(report) => report,
        Err(_) => return ExitCode::from(SET_UP_FAILED),
    };
    let given = [2, 3].map(|at| numbers.get(at).and_then(|&fd| sys::inherited(fd).ok()));

    let plan = match read_plan(plan) {
        Ok(plan) => plan,
        Err(failure) => return give_up(&report, None, failure),
    };
    // Before a file is written: a limit of the agent's may be on that.
    if let Err(failure) = standing::reset(plan.open_files) {
        return give_up(&report, None, failure);
    }
    let mut record = match plan.record.as_ref().map(|path| open_record(path)).transpose() {
        Ok(record) => record,
        Err(failure) => return give_up(&report, None, failure),
    };
    let Running { main, mut signals, mut logs } = match start(&plan, &report, given) {
        Ok(running) => running,
        Err(failure) => return give_up(&report, record, failure),
    };

    let end = match plan.place {
        Place::Inside { namespaces, .. } => {
            let mut end = None;
            let wanted = supervise::wait_while_wanted(main, &report, &mut signals, &mut end);
            if let Some(end) = end.as_ref().filter(|_| wanted) {
                let _ = sys::send_message(report.as_fd(), &end.encode());
            }
            if !namespaces {
                supervise::kill_descendants(main, &mut end);
            }
            return ExitCode::SUCCESS;
        }
        Place::Container { .. } | Place::Host => {
            // The last word to the agent: with this copy closed it sees that the program runs.
            drop(report);
            sys::shrink();
            // The logs are written within the quota of the sandbox, as what the task writes is. Without that right there is
            // nothing to give up.
            let _ = sys::give_up_limits();
            let reach = if plan.place == Place::Host { Reach::Descendants } else { Reach::Namespace };
            supervise::wait_for(main, reach, &mut signals, &mut logs)
        }
    };
    let mut end = Some(end);
    if plan.place == Place::Host {
        supervise::kill_descendants(main, &mut end);
    }
    if let Some(logs) = &mut logs {
        logs.finish();
    }
    if let (Some(record), Some(end)) = (&mut record, end) {
        // One small write: whole or not there. Without room for it the container counts as failed without a
        // record.
        let _ = record.write_all(&end.encode());
    }
    // In a container the kernel now kills what is left in the pid namespace and waits until all of it is
    // gone.
    ExitCode::SUCCESS
}

/// Standard input and output go to the null device, every descriptor that was not given to us on purpose is
/// closed.
fn detach(keep: &[RawFd]) -> io::Result<()> {
    let null = File::options().read(true).write(true).open("/dev/null")?;
    for target in 0..3 {
        sys::dup_onto(null.as_fd(), target)?;
    }
    drop(null);
    sys::close_all_but(keep)
}

fn read_plan(fd: RawFd) -> Result<Plan, Failure> {
    let mut bytes = Vec::new();
    sys::inherited(fd)
        .and_then(|fd| File::from(fd).read_to_end(&mut bytes))
        .at(Step::Plan, || "read it".into())?;
    Plan::decode(&bytes).map_err(|bad| Failure { step: Step::Plan, errno: 0, detail: bad.to_string() })
}

/// With room for the record, so that a task that fills the disk does not lose its own exit status.
fn open_record(path: &std::path::Path) -> Result<File, Failure> {
    File::options()
        .append(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .and_then(|file| sys::reserve(&file, RECORD_ROOM).map(|()| file))
        .at(Step::Record, || path.display().to_string())
}

/// A task that runs, as its first process sees it.
struct Running {
    /// Its main process.
    main: i32,
    /// Readable while a signal is pending.
    signals: File,
    logs: Option<Logs>,
}

/// Sets everything up and starts the task. `given` is what comes after the report socket.
fn start(plan: &Plan, report: &OwnedFd, given: [Option<OwnedFd>; 2]) -> Result<Running, Failure> {
    let [given, of_task] = given;
    let (given, users) = match (&plan.place, plan.users) {
        (_, None) => (given, None),
        (Place::Container { .. }, Some(_)) => (None, given),
        (Place::Host | Place::Inside { .. }, Some(_)) => (given, of_task),
    };
    if plan.users.is_some() != users.is_some() {
        return Err(no_descriptor()).at(Step::Users, || "no descriptor of them".into());
    }
    let oom_score = standing::keep_from_oom_killer(plan)?;
    let init_groups = task::open_groups(&plan.init_groups)?;
    task::join(&init_groups, &plan.init_groups)?;
    drop(init_groups);
    let signals = sys::signal_descriptor().at(Step::Fork, || "hear of signals".into())?;
    let (logs, pipes) = plan.logs.as_ref().map(|logs| Logs::open(logs, plan.owner())).transpose()?.unzip();
    let files = Files::open(plan, pipes)?;
    match &plan.place {
        Place::Container { hostname, root, sandbox, shm_bytes, volumes, hide } => {
            if plan.own_network {
                sys::bring_up_loopback().at(Step::Network, || "lo".into())?;
                // Nobody else is there to keep the low ports from. Where this cannot be written, they are root's.
                let _ = fs::write(LOWEST_PORT, "0");
            }
            mounts::set_up(&View {
                root: root.as_ref(),
                sandbox,
                shm_bytes: *shm_bytes,
                volumes,
                hide,
                own_network: plan.own_network,
                users: users.as_ref().map(AsFd::as_fd),
                strangers: given.as_ref().map(AsFd::as_fd),
            })?;
            if let Some(name) = hostname {
                sys::set_hostname(name).at(Step::Hostname, || name.to_string_lossy().into_owned())?;
            }
        }
        Place::Host | Place::Inside { namespaces: false, .. } => {
            sys::adopt_orphans().at(Step::Fork, || "adopt orphans".into())?;
        }
        Place::Inside { namespaces: true, .. } => {
            let container = given
                .ok_or_else(no_descriptor)
                .at(Step::Namespaces, || "no descriptor of the container".into())?;
            sys::enter_namespaces(container.as_fd(), plan.own_network)
                .at(Step::Namespaces, || "enter".into())?;
        }
    }

    // A check has the task beside it: what it holds of the machine, and what it may before it is filtered, must not be
    // a task's that looks into it or traces it. The child is as closed until it becomes the program.
    if !matches!(plan.place, Place::Host | Place::Inside { namespaces: false, .. }) {
        sys::not_dumpable().at(Step::Fork, || "forbid tracing".into())?;
    }
    // Whatever goes wrong between fork and exec comes back through a pipe that a successful exec closes.
    let (mut failures, mut tell_failure) = io::pipe().at(Step::Fork, || "make a pipe".into())?;
    let gate = (!matches!(plan.place, Place::Inside { .. })).then_some(report);
    let (main, joins) = files.make_child().at(Step::Fork, || "make a process".into())?;
    let Some(main) = main else {
        drop(failures);
        let failure = task::become_task(plan, files, joins, users.as_ref().map(AsFd::as_fd), oom_score, gate);
        let _ = tell_failure.write_all(&Record::Failed(failure).encode());
        std::process::exit(i32::from(SET_UP_FAILED));
    };
    drop((tell_failure, files, users));
    let mut told = Vec::new();
    failures.read_to_end(&mut told).at(Step::Fork, || "wait for the start".into())?;
    match Record::decode(&told) {
        Some(Record::Failed(failure)) => Err(failure),
        _ => Ok(Running { main, signals: signals.into(), logs }),
    }
}

/// What the agent was to hand over and did not.
fn no_descriptor() -> io::Error {
    io::Error::from_raw_os_error(errno::EBADF)
}

fn give_up(report: &OwnedFd, record: Option<File>, failure: Failure) -> ExitCode {
    let line = Record::Failed(failure).encode();
    if let Some(mut record) = record {
        let _ = record.write_all(&line);
    }
    let _ = sys::send_message(report.as_fd(), &line);
    ExitCode::from(SET_UP_FAILED)
}
