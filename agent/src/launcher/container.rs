//! What a task becomes as a container: program, environment, user, limits.

use std::path::{Path, PathBuf};

use bourse_agent_core::{Cores, Launch};
use bourse_containerizer as containers;
use bourse_containerizer::{Bind, ContainerSpec, Filters, HugePages, Isolation, Limits, LogLimits, SANDBOX};
use bourse_types::units::bytes;
use bourse_types::{Argv, Controls, IoWeight, Name, TaskSpec, Users};
use nix::unistd::{Uid, User};

use super::volumes::Mountable;

/// The longest host name that Linux takes, in bytes.
const HOSTNAME_MAX: usize = 64;

/// Memory of a task that asked for none, as in Mesos.
const MEMORY_DEFAULT_BYTES: u64 = 32 << 20;

/// The least that is enforced, whatever was asked for: with less not even the container's first process starts, and
/// its end would look like somebody else's doing.
const MEMORY_MIN_BYTES: u64 = 1 << 20;

/// How many ports get a variable of their own; a task with more reads its resources elsewhere. Bounds the environment.
const PORT_VARIABLES_MAX: usize = 256;

/// What all containers of this agent have in common.
#[derive(Clone, Debug)]
pub struct Habits {
    pub isolation: Isolation,
    pub hostname: String,
    pub filters: Filters,
    pub allow_root: bool,
    /// Sandboxes have the limits of their tasks' disk.
    pub enforce_disk: bool,
    pub pids_limit: u64,
    pub logs: LogLimits,
    /// What every task sees besides what all do.
    pub show: Vec<Bind>,
    /// What of the machine a task may mount.
    pub mountable: Mountable,
    /// What of the machine a task may have as its root, by its real paths.
    pub roots: Vec<PathBuf>,
    /// What no task may see.
    pub hide: Vec<PathBuf>,
    /// The agent's own API, for `MESOS_AGENT_ENDPOINT`.
    pub endpoint: String,
}

/// The container of a task, but for its root: [`find`](super::roots::find). Refuses what cannot be run, in words for the
/// framework's author.
pub fn spec(habits: &Habits, launch: &Launch, sandbox: PathBuf) -> Result<ContainerSpec, String> {
    let spec = &launch.spec;
    let argv = spec.command.argv().map_err(|bad| bad.to_string())?;
    let volumes = volumes(habits, spec, &sandbox)?;
    Ok(ContainerSpec {
        container_id: launch.container.clone(),
        argv: flat(argv),
        env: environment(habits, launch, &sandbox),
        user: user(habits, launch),
        sandbox,
        cwd: None,
        hostname: Some(short(&habits.hostname).to_owned()),
        limits: limits(habits, spec, launch.cores.as_ref())?,
        logs: habits.logs,
        root: None,
        volumes,
        namespaces: spec.namespaces,
        hide: habits.hide.clone(),
        filters: habits.filters.clone(),
        isolation: habits.isolation,
    })
}

/// What the operator shows, and what the task mounts; the task's own wins a place.
fn volumes(habits: &Habits, spec: &TaskSpec, sandbox: &Path) -> Result<Vec<Bind>, String> {
    let mut volumes = match habits.isolation {
        Isolation::Linux => habits.show.clone(),
        // There all is seen.
        Isolation::Process => Vec::new(),
    };
    let of_task = habits.mountable.bind(&spec.volumes, sandbox)?;
    volumes.retain(|shown| of_task.iter().all(|bind| bind.target != shown.target));
    Ok([volumes, of_task].concat())
}

/// A host's name as Linux takes it: the whole, or its first label where it is too long.
fn short(hostname: &str) -> &str {
    match hostname.len() <= HOSTNAME_MAX {
        true => hostname,
        false => hostname.split('.').next().unwrap_or(hostname),
    }
}

/// The program in place of the name that it would be told as its own: containers look a program up by their first
/// argument.
pub fn flat(argv: Argv) -> Vec<String> {
    let Argv { program, arguments } = argv;
    [program].into_iter().chain(arguments.into_iter().skip(1)).collect()
}

/// Mesos' variables, the host's name (which a plain shell does not set) and the ports; what the command itself sets comes
/// last and wins.
fn environment(habits: &Habits, launch: &Launch, sandbox: &Path) -> Vec<(String, String)> {
    let sandbox = sandbox.display().to_string();
    let inside = match habits.isolation {
        Isolation::Linux => SANDBOX.to_owned(),
        Isolation::Process => sandbox.clone(),
    };
    let mut env: Vec<(String, String)> = [
        ("HOSTNAME", short(&habits.hostname).to_owned()),
        ("MESOS_TASK_ID", launch.task.task.to_string()),
        ("MESOS_EXECUTOR_ID", launch.task.task.to_string()),
        ("MESOS_FRAMEWORK_ID", launch.task.framework.to_string()),
        ("MESOS_SLAVE_ID", launch.agent.to_string()),
        ("MESOS_AGENT_ENDPOINT", habits.endpoint.clone()),
        ("MESOS_ALLOCATION_ROLE", launch.spec.role.to_string()),
        // As Mesos does: by its path on the machine, and as the task finds it.
        ("MESOS_DIRECTORY", sandbox),
        ("MESOS_SANDBOX", inside),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    let ports = launch.spec.resources.ports();
    let ports: Vec<String> = ports
        .iter()
        .flat_map(|range| range.clone())
        .take(PORT_VARIABLES_MAX)
        .map(|port| port.to_string())
        .collect();
    if let Some(first) = ports.first() {
        env.push(("PORT".into(), first.clone()));
        env.push(("PORTS".into(), ports.join(",")));
    }
    env.extend(ports.into_iter().enumerate().map(|(index, port)| (format!("PORT{index}"), port)));
    for (name, value) in &launch.spec.command.environment {
        env.retain(|(known, _)| known != name);
        env.push((name.clone(), value.clone()));
    }
    env
}

/// The command's user, else the framework's; `nobody` in place of a root that is not allowed, and where nobody is named. A
/// root of the task's own users is nobody's, and always allowed. An agent that is not root itself can only run tasks as its
/// own user.
fn user(habits: &Habits, launch: &Launch) -> Option<String> {
    let named = launch.spec.command.user.as_deref().filter(|user| !user.is_empty());
    let named = named.or(Some(&launch.framework_user)).filter(|user| !user.is_empty());
    if !Uid::effective().is_root() {
        return named.filter(|user| !is_own(user)).map(str::to_owned);
    }
    let may_be_root = habits.allow_root || launch.spec.namespaces.users == Users::Own;
    match named {
        Some(user) if may_be_root || !is_root(user) => Some(user.to_owned()),
        Some(_) | None => Some("nobody".into()),
    }
}

/// The greatest number is root in disguise: to the kernel it means "stay who you are".
fn is_root(user: &str) -> bool {
    uid(user).is_some_and(|uid| uid.is_root() || uid.as_raw() == u32::MAX)
}

fn is_own(user: &str) -> bool {
    uid(user) == Some(Uid::effective())
}

/// A user that is unknown here is none; the containerizer says so when it is asked to run something as it.
fn uid(user: &str) -> Option<Uid> {
    match user.parse() {
        Ok(number) => Some(Uid::from_raw(number)),
        Err(_) => User::from_name(user).ok().flatten().map(|user| user.uid),
    }
}

/// What it asked for is its share of the cpus and what it keeps of the memory; what it may use at most is hard.
///
/// The same when it is launched and when it is resized. Refuses one that is to run on some cores of which there are none:
/// the kernel would take that for all, which are others' for themselves alone.
pub fn limits(habits: &Habits, spec: &TaskSpec, cores: Option<&Cores>) -> Result<Limits, String> {
    const NO_CORE: &str = "no core is left for the task, as other tasks have all of them for themselves alone; launch it \
                           on another agent";
    let Controls { cpu_burst, swap, pids, io_weight, huge_pages, oom_score } = &spec.controls;
    let request = spec.resources.mem();
    let most = spec.limit_of(&Name::mem());
    // What is kept costs a look at what all others keep, so only where the limit does not say it already.
    let is_kept = !request.is_zero() && most.is_none_or(|most| request < most);
    let cores = cores.map(|cores| containers::Cores::of(cores.clone()).ok_or(NO_CORE)).transpose()?;
    Ok(Limits {
        cpu_quota: spec.limit_of(&Name::cpus()),
        cpu_burst: Some(*cpu_burst).filter(|burst| !burst.is_zero()),
        memory_request_bytes: is_kept.then(|| bytes(request)),
        memory_bytes: most.map(|most| match bytes(most) {
            0 => MEMORY_DEFAULT_BYTES,
            some => some.max(MEMORY_MIN_BYTES),
        }),
        swap_bytes: bytes(*swap),
        pids: Some(pids.map_or(habits.pids_limit, |pids| pids.get().min(habits.pids_limit))),
        io_weight: io_weight.map(IoWeight::get),
        hugepages: huge_pages
            .iter()
            .map(|(size, amount)| HugePages { page_bytes: size.bytes(), bytes: bytes(*amount) })
            .collect(),
        oom_score: i16::try_from(oom_score.get()).expect("a score is 1000 at most"),
        cores,
        ..Limits::unlimited(spec.resources.cpus())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use bourse_agent_core::TaskKey;
    use bourse_types::{AgentId, Command, ContainerId, FrameworkId, Milli, OomScore, Pids, TaskId};

    fn habits() -> Habits {
        Habits {
            isolation: Isolation::Linux,
            hostname: "host".into(),
            filters: Filters::default(),
            allow_root: false,
            enforce_disk: true,
            pids_limit: 100,
            logs: LogLimits::NONE,
            show: vec![],
            mountable: Mountable::default(),
            roots: vec![],
            hide: vec!["/work".into()],
            endpoint: "127.0.0.1:5051".into(),
        }
    }

    fn launch(resources: &str, command: Command) -> Launch {
        let framework = FrameworkId::new("F").expect("valid");
        let id = TaskId::new("t1").expect("valid");
        let agent = AgentId::new("S1").expect("valid");
        let resources = resources.parse().expect("valid");
        let spec = TaskSpec::plain(id.clone(), framework.clone(), agent.clone(), resources, command);
        let container = ContainerId::new("c1").expect("valid");
        Launch {
            container,
            task: TaskKey { framework, task: id },
            spec,
            framework_user: "daemon".into(),
            agent,
            cores: None,
        }
    }

    fn variable(spec: &ContainerSpec, name: &str) -> Option<String> {
        spec.env.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone())
    }

    #[test]
    fn a_task_finds_its_ids_its_sandbox_and_its_ports_in_its_environment() {
        let launch = launch("cpus:0.5; mem:64; ports:[31000-31001, 31005-31005]", Command::shell("true"));
        let spec = spec(&habits(), &launch, "/box".into()).expect("a container");
        for (name, value) in [
            ("HOSTNAME", "host"),
            ("MESOS_TASK_ID", "t1"),
            ("MESOS_EXECUTOR_ID", "t1"),
            ("MESOS_FRAMEWORK_ID", "F"),
            ("MESOS_SLAVE_ID", "S1"),
            ("MESOS_SANDBOX", "/mnt/mesos/sandbox"),
            ("MESOS_DIRECTORY", "/box"),
            ("PORT", "31000"),
            ("PORT0", "31000"),
            ("PORT1", "31001"),
            ("PORT2", "31005"),
            ("PORTS", "31000,31001,31005"),
        ] {
            assert_eq!(variable(&spec, name).as_deref(), Some(value), "{name}");
        }
        assert_eq!(variable(&spec, "PORT3"), None);
    }

    #[test]
    fn what_the_command_sets_wins_and_is_there_once() {
        let environment = vec![("PORT0".into(), "80".into()), ("MINE".into(), "1".into())];
        let command = Command { environment, ..Command::shell("true") };
        let spec = spec(&habits(), &launch("cpus:1; ports:[31000-31000]", command), "/box".into())
            .expect("a container");
        assert_eq!(variable(&spec, "PORT0").as_deref(), Some("80"));
        assert_eq!(variable(&spec, "MINE").as_deref(), Some("1"));
        assert_eq!(spec.env.iter().filter(|(name, _)| name == "PORT0").count(), 1);
    }

    #[test]
    fn limits_are_the_requests_unless_given_and_a_task_without_memory_gets_a_little() {
        let mut launch = launch("cpus:0.5; mem:64", Command::shell("true"));
        let limits = |launch: &Launch| spec(&habits(), launch, "/box".into()).expect("a container").limits;
        let found = limits(&launch);
        assert_eq!((found.cpus, found.cpu_quota), (Milli::new(500), Some(Milli::new(500))));
        assert_eq!((found.memory_bytes, found.pids), (Some(64 << 20), Some(100)));
        launch.spec.limits = [(Name::cpus(), None), (Name::mem(), Some(Milli::whole(128)))].into();
        let found = limits(&launch);
        assert_eq!((found.cpu_quota, found.memory_bytes), (None, Some(128 << 20)));
        launch.spec.resources = "cpus:0.5".parse().expect("valid");
        launch.spec.limits.clear();
        assert_eq!(limits(&launch).memory_bytes, Some(MEMORY_DEFAULT_BYTES));
        launch.spec.resources = "cpus:0.5; mem:0.001".parse().expect("valid");
        assert_eq!(limits(&launch).memory_bytes, Some(MEMORY_MIN_BYTES));
        assert_eq!(limits(&launch).cores, None);
        launch.cores = Some([1, 2].into());
        assert_eq!(limits(&launch).cores.map(|cores| cores.to_string()).as_deref(), Some("1-2"));
    }

    #[test]
    fn a_task_for_which_no_core_is_left_is_refused_and_not_given_all() {
        let launch = Launch { cores: Some(Cores::new()), ..launch("cpus:1", Command::shell("true")) };
        let refused = spec(&habits(), &launch, "/box".into()).expect_err("there is no core");
        assert!(refused.contains("no core is left for the task"), "{refused}");
        let refused = super::limits(&habits(), &launch.spec, launch.cores.as_ref());
        assert!(refused.is_err_and(|why| why.contains("no core is left")));
    }

    #[test]
    fn a_task_that_may_have_more_memory_than_it_asked_for_keeps_what_it_asked_for() {
        let mut launch = launch("cpus:0.5; mem:64", Command::shell("true"));
        let kept = |launch: &Launch| {
            let limits = spec(&habits(), launch, "/box".into()).expect("a container").limits;
            (limits.memory_request_bytes, limits.memory_bytes)
        };
        assert_eq!(kept(&launch), (None, Some(64 << 20)));
        launch.spec.limits = [(Name::mem(), Some(Milli::whole(128)))].into();
        assert_eq!(kept(&launch), (Some(64 << 20), Some(128 << 20)));
        launch.spec.limits = [(Name::mem(), None)].into();
        assert_eq!(kept(&launch), (Some(64 << 20), None));
        launch.spec.resources = "cpus:0.5".parse().expect("valid");
        assert_eq!(kept(&launch), (None, None));
    }

    #[test]
    fn what_a_task_asks_of_the_kernel_is_asked_for_and_its_processes_are_no_more_than_the_agent_lets_it_have()
    {
        let mut launch = launch("cpus:0.5; mem:64", Command::shell("true"));
        let limits = |launch: &Launch| spec(&habits(), launch, "/box".into()).expect("a container").limits;
        let found = limits(&launch);
        assert_eq!(
            found,
            Limits {
                cpu_quota: Some(Milli::new(500)),
                memory_bytes: Some(64 << 20),
                pids: Some(100),
                ..Limits::unlimited(Milli::new(500))
            }
        );
        launch.spec.controls = Controls {
            cpu_burst: Milli::new(250),
            swap: Milli::whole(16),
            pids: Some(Pids::new(20).expect("valid")),
            io_weight: Some(IoWeight::new(200).expect("valid")),
            huge_pages: [("2MiB".parse().expect("valid"), Milli::whole(64))].into(),
            oom_score: OomScore::new(1000).expect("valid"),
        };
        assert_eq!(
            limits(&launch),
            Limits {
                cpu_burst: Some(Milli::new(250)),
                swap_bytes: 16 << 20,
                pids: Some(20),
                io_weight: Some(200),
                hugepages: vec![HugePages { page_bytes: 2 << 20, bytes: 64 << 20 }],
                oom_score: 1000,
                ..found
            }
        );
        launch.spec.controls.pids = Some(Pids::new(101).expect("valid"));
        assert_eq!(limits(&launch).pids, Some(100));
    }

    #[test]
    fn a_task_of_an_agent_that_is_root_is_root_only_where_that_is_allowed() {
        if !Uid::effective().is_root() {
            // Another rule holds for such an agent: tasks run as its own user.
            return;
        }
        let run_as = |habits: &Habits, user: Option<&str>, framework: &str| {
            let command = Command { user: user.map(str::to_owned), ..Command::shell("true") };
            let launch = Launch { framework_user: framework.into(), ..launch("cpus:1", command) };
            spec(habits, &launch, "/box".into()).expect("a container").user
        };
        let allowed = Habits { allow_root: true, ..habits() };
        assert_eq!(run_as(&habits(), None, "daemon").as_deref(), Some("daemon"));
        assert_eq!(run_as(&habits(), Some("www-data"), "daemon").as_deref(), Some("www-data"));
        assert_eq!(run_as(&habits(), None, "").as_deref(), Some("nobody"));
        for root in ["root", "0", "4294967295"] {
            assert_eq!(run_as(&habits(), None, root).as_deref(), Some("nobody"));
            assert_eq!(run_as(&habits(), Some(root), "daemon").as_deref(), Some("nobody"));
            assert_eq!(run_as(&allowed, None, root).as_deref(), Some(root));
        }
        let mut own = launch("cpus:1", Command { user: Some("root".into()), ..Command::shell("true") });
        own.spec.namespaces.users = Users::Own;
        let own = spec(&habits(), &own, "/box".into()).expect("a container");
        assert_eq!((own.user.as_deref(), own.namespaces.users), (Some("root"), Users::Own));
    }

    #[test]
    fn the_program_takes_the_place_of_the_name_it_is_told() {
        let command = Command {
            value: Some("/bin/busybox".into()),
            arguments: vec!["ls".into(), "-l".into()],
            ..Command::default()
        };
        let spec = spec(&habits(), &launch("cpus:1", command), "/box".into()).expect("a container");
        assert_eq!(spec.argv, ["/bin/busybox", "-l"]);
    }
}
