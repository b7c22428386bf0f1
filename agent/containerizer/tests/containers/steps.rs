//! Each step of a set-up fails once for real, and is told with its name, the error and what to do.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Mutex;
use std::thread;

use bourse_containerizer::failpoint::{Failpoint, observe};
use bourse_containerizer::{Bind, Check, ContainerError, ContainerSpec, Containerizer, LaunchError};
use bourse_init::plan::Plan;
use bourse_init::record::{Failure, Record};
use bourse_init::step::{self, Step};
use bourse_types::{ContainerId, Namespaces, Network, Users};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch, apply_filter,
};

use super::failpoints::die;
use super::lab::{DEADLINE, Lab, until};
use super::launches::without;
use super::recovery::{Agent, generation, played_agent, until_no_agent_is_left};

/// The one container of all of this.
const NAME: &str = "c1";

/// From the plan to what is written in its place.
type Change = fn(Plan) -> Vec<u8>;

/// In what a launch is made to fail at one step.
struct Broken {
    /// What the kernel says; 0 where it is not asked.
    errno: i32,
    /// A part of what it happened to.
    on: &'static str,
    /// What is asked for.
    spec: fn(&mut ContainerSpec),
    /// What is written in the place of the plan, before the first process reads it.
    plan: Option<Change>,
    around: Around,
}

/// What is around the agent, and so around the first process.
enum Around {
    Nothing,
    /// Its programs have no such capability, whoever they run as.
    Without(libc::c_int),
    /// A filter answers this call with this error; given an argument, only if that has this value.
    Denied(libc::c_long, Option<(u8, u64)>, i32),
}

/// How a step is made to fail.
enum How {
    Launch(Broken),
    /// A check of a container that runs, without a capability.
    Check {
        without: libc::c_int,
        errno: i32,
        on: &'static str,
    },
    /// The agent is killed when the task's process is ready: who is to be told is gone, and the record tells.
    AgentDies {
        on: &'static str,
    },
}

fn broken(errno: i32, on: &'static str) -> Broken {
    Broken { errno, on, spec: |_| {}, plan: None, around: Around::Nothing }
}

fn spec(errno: i32, on: &'static str, spec: fn(&mut ContainerSpec)) -> How {
    How::Launch(Broken { spec, ..broken(errno, on) })
}

fn plan(errno: i32, on: &'static str, plan: Change) -> How {
    How::Launch(Broken { plan: Some(plan), ..broken(errno, on) })
}

fn around(errno: i32, on: &'static str, around: Around) -> How {
    How::Launch(Broken { around, ..broken(errno, on) })
}

/// One with a network and users as they are asked for.
fn namespaces(broken: Broken, spec: fn(&mut ContainerSpec)) -> How {
    How::Launch(Broken { spec, ..broken })
}

/// Capabilities by the kernel's numbers.
const CAP_SETPCAP: libc::c_int = 8;
const CAP_NET_ADMIN: libc::c_int = 12;
const CAP_SYS_PTRACE: libc::c_int = 19;
const CAP_SYS_ADMIN: libc::c_int = 21;

/// All of them can be made to fail: one for which that is not so would stand here with the reason.
fn how(step: Step) -> How {
    match step {
        Step::Plan => plan(0, "not a plan of a container", |_| b"something else".to_vec()),
        Step::Rlimit => {
            around(libc::EINVAL, "personality", Around::Denied(libc::SYS_personality, None, libc::EINVAL))
        }
        Step::Record => plan(libc::ENOENT, "/no/such/folder/exit", |plan| {
            Plan { record: Some("/no/such/folder/exit".into()), ..plan }.encode()
        }),
        Step::Cgroup => plan(libc::ENOENT, "/no/such/group/tasks", |plan| {
            Plan { init_groups: vec!["/no/such/group/tasks".into()], ..plan }.encode()
        }),
        Step::Output => plan(libc::ENOENT, "/no/such/sandbox", |mut plan| {
            plan.logs.as_mut().expect("tasks have logs").directory = "/no/such/sandbox".into();
            plan.encode()
        }),
        // To look at the root of a process that nobody may look into takes it.
        Step::Namespaces => How::Check { without: CAP_SYS_PTRACE, errno: libc::EACCES, on: "enter" },
        Step::Network => {
            let lacks = Broken { around: Around::Without(CAP_NET_ADMIN), ..broken(libc::EPERM, "lo") };
            namespaces(lacks, |spec| {
                spec.namespaces = Namespaces { network: Network::Loopback, ..Namespaces::default() };
            })
        }
        Step::Mount => around(libc::EPERM, "/ (private)", Around::Without(CAP_SYS_ADMIN)),
        Step::Rootfs => spec(libc::ENOENT, "/no/such/root", |spec| spec.root = Some("/no/such/root".into())),
        // As AppArmor does by Docker's profile.
        Step::Root => around(libc::EACCES, "/", Around::Denied(libc::SYS_pivot_root, None, libc::EACCES)),
        Step::Volume => spec(libc::ENOENT, "/no/such/volume", |spec| {
            let (source, target) = ("/no/such/volume".into(), "/volume".into());
            spec.volumes.push(Bind { source, target, writable: false });
        }),
        Step::Hide => spec(libc::ENAMETOOLONG, "/usr/hidden-hidden", |spec| {
            spec.hide.push(format!("/usr/{}hidden", "hidden-".repeat(40)).into());
        }),
        Step::Hostname => plan(libc::EINVAL, "hhhhh", |mut plan| {
            let bourse_init::plan::Place::Container { hostname, .. } = &mut plan.place else {
                panic!("it is isolated: {plan:?}")
            };
            *hostname = Some("h".repeat(65).into());
            plan.encode()
        }),
        Step::Fork => {
            // What the C library asks for in fork(2), and no one else.
            let fork = (libc::CLONE_CHILD_SETTID | libc::CLONE_CHILD_CLEARTID | libc::SIGCHLD) as u64;
            let denied = Around::Denied(libc::SYS_clone, Some((0, fork)), libc::EAGAIN);
            let denied = Broken { around: denied, ..broken(libc::EAGAIN, "make a process") };
            // Into a group of version 2 it would be made by another call.
            let plan: Change = |plan| Plan { task_group: None, ..plan }.encode();
            How::Launch(Broken { plan: Some(plan), ..denied })
        }
        Step::Users => {
            let users = Some((1, libc::CLONE_NEWUSER as u64));
            let denied = Around::Denied(libc::SYS_setns, users, libc::EPERM);
            let denied = Broken { around: denied, ..broken(libc::EPERM, "") };
            namespaces(denied, |spec| {
                spec.namespaces = Namespaces { users: Users::Own, ..Namespaces::default() };
            })
        }
        // To the kernel it means "leave it as it is".
        Step::User => plan(libc::EINVAL, "uid 4294967295", |mut plan| {
            plan.identity.as_mut().expect("a task is somebody").uid = u32::MAX;
            plan.encode()
        }),
        Step::Capabilities => around(libc::EPERM, "bounding set", Around::Without(CAP_SETPCAP)),
        Step::Cwd => {
            spec(libc::ENOENT, "/no/such/directory", |spec| spec.cwd = Some("/no/such/directory".into()))
        }
        Step::Gate => How::AgentDies { on: "the agent went away" },
        Step::Seccomp => {
            plan(libc::EINVAL, "program 0", |plan| Plan { filters: vec![vec![0xff; 8]], ..plan }.encode())
        }
        Step::Exec => {
            spec(libc::ENOENT, "no-such-command", |spec| spec.argv = vec!["no-such-command".into()])
        }
    }
}

/// What is written in the place of the next plan.
static CHANGE: Mutex<Option<Change>> = Mutex::new(None);

/// Plan: an agent in a process of its own, as what it does to plans would be done to those of other tests, comes to each step
/// in turn. Its own end by the one that it does not survive comes in another process.
#[tokio::test(flavor = "multi_thread")]
async fn a_failure_at_any_step_is_told_with_the_step_the_error_and_what_to_do() {
    if let Some(lab) = played_agent() {
        let is_gate = generation() == Step::Gate.word();
        let path = lab.work.join("run").join(NAME).join("plan");
        observe(move |reached| match reached {
            Failpoint::PlanWritten => {
                let change = CHANGE.lock().expect("nobody panics with it").take();
                if let Some(change) = change {
                    let plan = Plan::decode(&fs::read(&path).expect("it is written")).expect("it is a plan");
                    fs::write(&path, change(plan)).expect("it is ours");
                }
            }
            Failpoint::ReadyHeard if is_gate => die(),
            _ => {}
        });
        if is_gate {
            lab.launch(&lab.spec(NAME, &["true"])).await;
            return;
        }
        // On threads of their own, as what is around one of them stays.
        for step in step::ALL {
            let (root, instance) = (lab.root().to_owned(), lab.instance.clone());
            let on_thread = move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                runtime.expect("it can be made").block_on(fail_at(step, || Lab::at(&root, &instance)));
            };
            let done = thread::spawn(on_thread).join();
            done.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        }
        return;
    }
    let lab = Lab::new();
    let test = "steps::a_failure_at_any_step_is_told_with_the_step_the_error_and_what_to_do";
    Agent::start(test, &lab, "all").until_done().await;

    let How::AgentDies { on } = how(Step::Gate) else { panic!("nobody is left to be told") };
    let signal = Agent::start(test, &lab, Step::Gate.word()).until_ended().await;
    assert_eq!(signal, Some(libc::SIGKILL));
    until_no_agent_is_left(&lab).await;
    let record = lab.work.join("run").join(NAME).join("exit");
    let recorded = || fs::read(&record).ok().and_then(|line| Record::decode(&line));
    until("it is written down", || recorded().is_some()).await;
    let Some(Record::Failed(failure)) = recorded() else { panic!("it failed: {:?}", recorded()) };
    assert_eq!(failure, Failure { step: Step::Gate, errno: 0, detail: on.into() });
    assert!(Step::Gate.advice().contains("nothing of the task has run"));
    lab.finish().await;
}

async fn fail_at(step: Step, lab: impl FnOnce() -> Lab) {
    let (failure, text, errno, on) = match how(step) {
        How::Launch(broken) => {
            // Before anything else: threads that this one has made already have nothing around them.
            match broken.around {
                Around::Nothing => {}
                Around::Without(capability) => without(capability),
                Around::Denied(call, argument, errno) => deny(call, argument, errno),
            }
            let lab = lab();
            let mut spec = named(lab.spec(step.word(), &["true"]));
            (broken.spec)(&mut spec);
            *CHANGE.lock().expect("nobody panics with it") = broken.plan;
            let launched = lab.containerizer.launch(&spec).await;
            let error = launched.expect_err(step.word());
            lab.assert_nothing_is_left();
            let LaunchError::SetUp { failure, .. } = &error else { panic!("{step}: {error}") };
            (failure.clone(), error.to_string(), broken.errno, broken.on)
        }
        How::Check { without: capability, errno, on } => {
            // The launch has no need of it.
            without(capability);
            let lab = lab();
            let spec = named(lab.spec(step.word(), &["sleep", "1000"]));
            lab.launch(&spec).await;
            let check = Check { argv: vec!["true".into()], env: Vec::new(), timeout: DEADLINE };
            let error = lab.containerizer.exec(&spec.container_id, &check).await.expect_err(step.word());
            lab.containerizer.destroy(&spec.container_id).await.expect("it can be destroyed");
            lab.assert_nothing_is_left();
            let ContainerError::Check { failure, .. } = &error else { panic!("{step}: {error}") };
            (failure.clone(), error.to_string(), errno, on)
        }
        How::AgentDies { .. } => return,
    };
    assert_eq!((failure.step, failure.errno), (step, errno), "{text}");
    assert!(failure.detail.contains(on), "{on:?} is not in {text:?}");
    let kernel = match errno {
        0 => String::new(),
        errno => std::io::Error::from_raw_os_error(errno).to_string(),
    };
    for part in [format!("`{step}`"), step.what().into(), kernel, step.advice().into()] {
        assert!(text.contains(&part), "{part:?} is not in {text:?}");
    }
}

/// With a sandbox of its own, so that it finds nothing of the steps before.
fn named(spec: ContainerSpec) -> ContainerSpec {
    ContainerSpec { container_id: ContainerId::new(NAME).expect("a good id"), ..spec }
}

/// This thread, and what it starts from now on, has this call answered with this error.
fn deny(call: libc::c_long, argument: Option<(u8, u64)>, errno: i32) {
    let arch = TargetArch::try_from(std::env::consts::ARCH).expect("one that filters are made for");
    let (others, this) = (SeccompAction::Allow, SeccompAction::Errno(errno as u32));
    let rule = |(index, value)| {
        let condition = SeccompCondition::new(index, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, value)
            .expect("it has so many");
        SeccompRule::new(vec![condition]).expect("it has a condition")
    };
    let rules = BTreeMap::from([(call, argument.map(rule).into_iter().collect())]);
    let filter = SeccompFilter::new(rules, others, this, arch).expect("it is one");
    let program: BpfProgram = filter.try_into().expect("it can be compiled");
    apply_filter(&program).expect("it can be installed");
}
