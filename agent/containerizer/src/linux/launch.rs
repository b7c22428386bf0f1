//! From a spec to a running task.
//!
//! The order is what makes a crash of the agent harmless at any point: directory, control groups, plan, first
//! process (which sets up, makes the task's process and waits), who it is, and only then the word to go on.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, lchown};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use bourse_init::plan::{DEFAULT_PATH, Identity, LAYERS, Logs, Place, Plan, Root, TMP, UserRange};
use bourse_init::record::Record;
use bourse_types::{ContainerId, Network, Users};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};

use super::end::GONE_WITHIN;
use super::{Inner, Life, no_start};
use crate::cgroup::Joins;
use crate::containerizer::{LaunchError, Launched};
use crate::conversation::{Conversation, Message};
use crate::failpoint::{Failpoint, reached};
use crate::process::{self, Process};
use crate::runtime_dir::{ContainerDir, Started};
use crate::spawn::{self, Around, Child, NOT_EXECUTED, SpawnError};
use crate::spec::{ContainerSpec, Isolation, SANDBOX};
use crate::user_map::UserMap;
use crate::users::{self, UsersError};
use crate::{init_image, user};

/// How long the set-up may be silent. It takes milliseconds; a machine that swaps may need seconds.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// Open files that a task is allowed, cut to the agent's own hard limit where it may not raise that: what Docker allows. Programs that
/// close all descriptors up to the limit one by one are still fast with it.
const OPEN_FILES: u64 = 1 << 20;

/// Secrets of the machine that only its root may read, and a task of root could where the file system of the settings
/// cannot have them belong to nobody (see `strangers`). Folders, where there is one: a file that the machine replaces by
/// another is not covered any more.
const ROOTS_OWN: [&str; 16] = [
    "/etc/NetworkManager/system-connections",
    "/etc/gshadow",
    "/etc/gshadow-",
    "/etc/krb5.keytab",
    "/etc/kubernetes/pki",
    "/etc/letsencrypt",
    "/etc/pki/tls/private",
    "/etc/ppp",
    "/etc/security/opasswd",
    "/etc/shadow",
    "/etc/shadow-",
    "/etc/ssh",
    "/etc/ssl/private",
    "/etc/sudoers",
    "/etc/sudoers.d",
    "/etc/wireguard",
];

pub fn launch(inner: &Inner, spec: &ContainerSpec) -> Result<Launched, LaunchError> {
    let id = &spec.container_id;
    spec.check().map_err(|bad| LaunchError::Spec { id: id.clone(), bad })?;
    let identity = user::identity(spec.user.as_deref(), spec.isolation, inner.user_map.as_ref())
        .map_err(|error| LaunchError::User { id: id.clone(), error })?;
    let identity = match spec.namespaces.users {
        Users::Machine => identity,
        Users::Own => {
            if inner.user_map.as_ref().is_some_and(|map| !map.has_all()) {
                return Err(no_users(id)(UsersError::NotRoot));
            }
            identity.map(users::among_own).transpose().map_err(no_users(id))?
        }
    };
    let _turn = inner.turns.take(id);
    let dir = inner.runtime.create(id).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => LaunchError::Exists(id.clone()),
        _ => failed(id, "make the directory", inner.runtime.container(id).plan_path())(error),
    })?;
    reached(Failpoint::RuntimeDirMade);

    let launched = set_up(inner, spec, identity, &dir);
    if launched.is_err() {
        reached(Failpoint::LaunchFailed);
        // Whatever was there is dead by now; what cannot be removed is found by the next recovery.
        match inner.clear_groups(id) {
            Ok(()) => inner.users.give_back(id),
            Err(error) => {
                tracing::warn!(container_id = %id, %error, "control groups of a failed launch are left");
            }
        }
        reached(Failpoint::GroupsRemoved);
        if let Err(error) = dir.remove() {
            tracing::warn!(container_id = %id, %error, "runtime directory of a failed launch is left");
        }
        reached(Failpoint::RuntimeDirRemoved);
    }
    launched
}

fn set_up(
    inner: &Inner,
    spec: &ContainerSpec,
    identity: Option<Identity>,
    dir: &ContainerDir,
) -> Result<Launched, LaunchError> {
    let id = &spec.container_id;
    let joins = match spec.isolation {
        Isolation::Process => Joins::default(),
        Isolation::Linux => {
            let groups = inner.groups.as_ref().map_err(|missing| missing.clone())?;
            let joins = groups
                .create(id.as_str(), &spec.limits)
                .map_err(|error| LaunchError::Limits { id: id.clone(), error })?;
            reached(Failpoint::GroupsMade);
            joins
        }
    };
    let own = match spec.namespaces.users {
        // Where there is a map, its users are in the container anyway, and the agent may map no others.
        Users::Own if inner.user_map.is_none() => Some(own_users(inner, spec).map_err(no_users(id))?),
        Users::Own | Users::Machine => None,
    };
    let users = own.as_ref().map(|own| own.range);
    // First, as long as nobody else may put anything there.
    if spec.isolation == Isolation::Linux {
        let tmp = spec.sandbox.join(TMP);
        make_tmp(&tmp, users).map_err(failed(id, "make the task's /tmp", tmp))?;
    }
    let layers = |lower: &PathBuf| {
        let what = "make the layers of the task's root";
        make_layers(&spec.sandbox, lower, users).map_err(failed(id, what, spec.sandbox.join(LAYERS)))
    };
    let root = spec.root.as_ref().map(layers).transpose()?;
    let isolated = spec.isolation == Isolation::Linux;
    let map = inner.user_map.as_ref().filter(|_| isolated);
    let is_root =
        map.is_none() && own.is_none() && identity.as_ref().is_some_and(|identity| identity.uid == 0);
    let init_in = joins.init_in.clone();
    let plan = plan(spec, identity, users, is_root, root, joins, dir);
    // Without root it belongs to the only user to whom it can.
    if let Some(owner) = plan.owner().filter(|_| map.is_none()) {
        lchown(&spec.sandbox, Some(owner.uid), Some(owner.gid)).map_err(failed(
            id,
            "give the task its sandbox",
            spec.sandbox.clone(),
        ))?;
    }
    reached(Failpoint::SandboxGiven);
    let plan = dir.write_plan(&plan).map_err(failed(id, "write the plan", dir.plan_path()))?;
    reached(Failpoint::PlanWritten);

    let network = spec.namespaces.network;
    let no_start = |error: SpawnError| LaunchError::Start {
        id: id.clone(),
        what: no_start::explain(&error, network, init_in.as_deref()),
    };
    let (conversation, theirs) = Conversation::begin().map_err(SpawnError::Process).map_err(no_start)?;
    let mut pass = vec![plan.as_fd(), theirs.as_fd()];
    match &own {
        Some(own) => pass.push(own.namespace.as_fd()),
        None if isolated && is_root => pass.extend(strangers()),
        None => {}
    }
    let around = match (isolated, map) {
        (false, _) => Around::Nothing,
        (true, None) => Around::Namespaces(network),
        (true, Some(map)) => Around::Users(map, network),
    };
    let group = init_in.as_ref().map(File::open).transpose().map_err(SpawnError::Group).map_err(no_start)?;
    let child = init_image::image()
        .map_err(SpawnError::Process)
        .and_then(|program| {
            spawn::spawn(program, id.as_str(), &pass, around, group.as_ref().map(AsFd::as_fd))
        })
        .map_err(no_start)?;
    reached(Failpoint::FirstProcessMade);
    // The container has its own copies; with ours open, we would never see it hang up.
    drop((plan, theirs, own));

    match converse(inner, id, dir, &conversation, &child) {
        Ok(started) => {
            reached(Failpoint::TaskRuns);
            let launched = Launched { pid: started.task.pid, start_time: started.task.start_time };
            inner.add(id, Life::Known { started, init: child.fd });
            Ok(launched)
        }
        Err(error) => {
            // It may be stuck in its set-up; a container that has not begun is nobody's loss.
            let _ = process::send_signal(child.fd.as_fd(), libc::SIGKILL);
            // One that waits for a disk that does not answer stays behind until that does, and holds up nobody.
            if process::ends_within(child.fd.as_fd(), GONE_WITHIN) {
                process::reap(child.fd.as_fd());
            }
            Err(error)
        }
    }
}

/// Follows the set-up to its end.
fn converse(
    inner: &Inner,
    id: &ContainerId,
    dir: &ContainerDir,
    conversation: &Conversation,
    child: &Child,
) -> Result<Started, LaunchError> {
    let start = |what: String| LaunchError::Start { id: id.clone(), what };
    let mut started = None;
    loop {
        let message = conversation.next(SILENCE_MAX).map_err(|error| {
            start(format!("its set-up went silent ({error}); the machine may be overloaded"))
        })?;
        match message {
            Message::Ready(pid) => {
                reached(Failpoint::ReadyHeard);
                let who = identify(inner, child, pid)
                    .map_err(|error| {
                        start(format!("its processes could not be looked at ({error}); mount /proc"))
                    })?
                    .ok_or_else(|| start("its process was killed from outside before it began".into()))?;
                dir.write_started(&who).map_err(failed(id, "write down who runs", dir.record_path()))?;
                reached(Failpoint::StartedWritten);
                started = Some(who);
                conversation
                    .go()
                    .map_err(|error| start(format!("its process was gone before it began ({error})")))?;
                reached(Failpoint::GoSaid);
            }
            Message::Record(Record::Failed(failure)) => {
                return Err(LaunchError::SetUp { id: id.clone(), failure });
            }
            Message::Record(Record::Exited { .. } | Record::Signaled { .. }) => {
                return Err(start("its first process told an end before a start".into()));
            }
            Message::Closed => return started.ok_or_else(|| start(died(child))),
        }
    }
}

fn identify(inner: &Inner, child: &Child, task: u32) -> io::Result<Option<Started>> {
    let both = Process::with_pid(child.pid)?.zip(Process::with_pid(task)?);
    Ok(both.map(|(init, task)| Started { boot_id: inner.boot_id.clone(), init, task }))
}

/// Why a first process hung up without a word.
fn died(child: &Child) -> String {
    match waitid(Id::PIDFd(child.fd.as_fd()), WaitPidFlag::WEXITED) {
        Ok(WaitStatus::Exited(_, NOT_EXECUTED)) => {
            "its first process could not be executed from memory; see whether a security module forbids it"
                .into()
        }
        Ok(status) => format!("its first process ended during the set-up ({status:?}); someone killed it"),
        Err(error) => format!("its first process ended during the set-up ({error})"),
    }
}

fn failed(id: &ContainerId, what: &'static str, path: PathBuf) -> impl FnOnce(io::Error) -> LaunchError {
    let id = id.clone();
    move |source| LaunchError::Io { id, what, path, source }
}

/// `is_root`: the task is root of the machine, as far as it gets to anything of that.
fn plan(
    spec: &ContainerSpec,
    identity: Option<Identity>,
    users: Option<UserRange>,
    is_root: bool,
    root: Option<Root>,
    joins: Joins,
    dir: &ContainerDir,
) -> Plan {
    let (place, home) = match spec.isolation {
        Isolation::Process => (Place::Host, spec.sandbox.clone()),
        Isolation::Linux => (container(spec, is_root, root), SANDBOX.into()),
    };
    let filters = match spec.isolation {
        Isolation::Process => Vec::new(),
        Isolation::Linux => spec.filters.0.clone(),
    };
    Plan {
        place,
        argv: spec.argv.iter().map(OsString::from).collect(),
        env: environment(&spec.env),
        cwd: spec.cwd.clone().unwrap_or(home),
        identity,
        open_files: OPEN_FILES,
        filters,
        logs: Some(Logs { directory: spec.sandbox.clone(), limits: spec.logs }),
        record: Some(dir.record_path()),
        init_groups: joins.init,
        task_groups: joins.task,
        task_group: joins.task_in,
        oom_score: spec.limits.oom_score.into(),
        own_network: spec.namespaces.network == Network::Loopback,
        users,
    }
}

/// A user namespace in which nobody of the machine is known, the same for all containers; `None` where none can be made, as
/// in another user namespace. Asked for again at the next launch.
fn strangers() -> Option<BorrowedFd<'static>> {
    static STRANGERS: OnceLock<OwnedFd> = OnceLock::new();
    if STRANGERS.get().is_none()
        && let Ok(made) = spawn::user_namespace(&UserMap::only(user::NOBODY))
    {
        let _ = STRANGERS.set(made);
    }
    STRANGERS.get().map(AsFd::as_fd)
}

/// The users of one container.
struct OwnUsers {
    range: UserRange,
    /// The user namespace that they are 0 and so on in.
    namespace: OwnedFd,
}

fn own_users(inner: &Inner, spec: &ContainerSpec) -> Result<OwnUsers, UsersError> {
    let range = inner.users.take(&spec.container_id, &spec.sandbox)?;
    let namespace = spawn::user_namespace(&UserMap::block(range)).map_err(UsersError::Namespace)?;
    Ok(OwnUsers { range, namespace })
}

fn no_users(id: &ContainerId) -> impl FnOnce(UsersError) -> LaunchError + '_ {
    move |error| LaunchError::Users { id: id.clone(), error }
}

/// Gives what the container's root is to own to it, where the container has users of its own.
fn give_to_root(path: &Path, users: Option<UserRange>) -> io::Result<()> {
    match users {
        Some(users) => lchown(path, Some(users.first), Some(users.first)),
        None => Ok(()),
    }
}

/// New for each container: nothing of an earlier one gets into a root. Nobody but root reaches them from outside, where
/// programs that a task has marked to run as their owner would do so.
fn make_layers(sandbox: &Path, lower: &Path, users: Option<UserRange>) -> io::Result<Root> {
    let layers = sandbox.canonicalize()?.join(LAYERS);
    DirBuilder::new().mode(0o700).create(&layers)?;
    let [upper, work] = ["upper", "work"].map(|name| layers.join(name));
    for layer in [&upper, &work] {
        fs::create_dir(layer)?;
        // The upper one's is that of the root, where every user has to get in.
        fs::set_permissions(layer, fs::Permissions::from_mode(0o755))?;
    }
    give_to_root(&upper, users)?;
    Ok(Root { lower: lower.into(), upper, work })
}

/// For every user that the task may have. A link in its place would be followed to whatever it leads to.
fn make_tmp(path: &Path, users: Option<UserRange>) -> io::Result<()> {
    match fs::create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            if !fs::symlink_metadata(path)?.is_dir() {
                return Err(error);
            }
        }
        made => made.and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(0o1777)))?,
    }
    give_to_root(path, users)
}

fn container(spec: &ContainerSpec, is_root: bool, root: Option<Root>) -> Place {
    let mut volumes = spec.volumes.clone();
    // One that lies in another comes after it.
    volumes.sort_by(|one, other| one.target.cmp(&other.target));
    let mut hide = spec.hide.clone();
    // To the root of users of its own they are closed, as everything is that only some may read.
    if is_root {
        hide.extend(ROOTS_OWN.map(PathBuf::from));
    }
    Place::Container {
        hostname: spec.hostname.as_ref().map(OsString::from),
        root,
        sandbox: spec.sandbox.clone(),
        // What the kernel gives by itself: half of the memory.
        shm_bytes: spec.limits.memory_bytes.map_or(0, |bytes| bytes / 2),
        volumes,
        hide,
    }
}

fn environment(env: &[(String, String)]) -> Vec<OsString> {
    let mut all: Vec<OsString> = env.iter().map(|(name, value)| format!("{name}={value}").into()).collect();
    if env.iter().all(|(name, _)| name != "PATH") {
        all.push(format!("PATH={DEFAULT_PATH}").into());
    }
    all
}
