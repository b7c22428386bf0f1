//! Containers with the kernel's own means.
//!
//! Who runs is in the runtime directory and in the kernel; what is in memory here is only a table of open
//! descriptors, made again by `recover`. Each part of a container's life is a file: `launch`, `recover`,
//! `resize` (other limits), `end` (wait, kill, destroy), `check` (commands inside). `turns` keeps a launch and a
//! removal apart, `no_start` tells why a first process could not be made, `unlinked` what a task keeps on a disk where no
//! walk finds it, by its mounts (`own_mounts`). `try_out` is a whole life, for the proof.

mod check;
mod end;
mod launch;
mod no_start;
mod own_mounts;
mod recover;
mod resize;
mod try_out;
mod turns;
mod unlinked;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bourse_init::order;
use bourse_types::{BadId, ContainerId};

use crate::cgroup::{CgroupError, Hierarchy};
use crate::containerizer::{
    Check, CheckEnd, ContainerError, Containerizer, Ended, LaunchError, Launched, RecoverError, Recovered,
    Unlinked,
};
use crate::failpoint::{Failpoint, reached};
use crate::probe::{self, CannotIsolate, Capabilities, Means};
use crate::process;
use crate::runtime_dir::{ContainerDir, RuntimeDir, Started};
use crate::spec::{ContainerSpec, Isolation, Limits};
use crate::usage::Usage;
use crate::user_map::UserMap;
use crate::users::{Taken, UserBlocks};

use turns::Turns;

/// Where the containerizer keeps its things.
#[derive(Debug, Clone)]
pub struct Config {
    /// Directory for what is written down about each container; made if it is missing. It has to be the same
    /// after a restart of the agent, and need not outlive the machine (`/run` is good). Hide it from tasks.
    pub runtime_dir: PathBuf,
    /// Names this agent among the agents of the machine, the same after a restart; becomes the name of a
    /// control group.
    pub instance: String,
    /// Which of the machine's users containers get as their own. Best nobody else has any of them: containers of two
    /// agents with the same are kept apart by the rest only.
    pub users: UserBlocks,
    /// File that tells which of them were given last, made when the first are; beside it a second one with `new` behind a dot.
    /// The same after a restart of the agent or of the machine, as the files of their users are.
    pub last_users: PathBuf,
}

/// Why the containerizer could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The runtime directory cannot be used.
    #[error(
        "could not use the runtime directory {}: {source}; name one that the agent may write",
        path.display()
    )]
    RuntimeDir {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The instance cannot name a control group.
    #[error("the agent's instance name cannot name a control group")]
    Instance(#[source] BadId),
    /// Processes cannot be told apart without `/proc`.
    #[error("could not read the boot id: {0}; mount /proc")]
    BootId(#[source] io::Error),
}

/// Containers with the kernel's own means. Clones share everything.
#[derive(Debug, Clone)]
pub struct LinuxContainerizer(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    runtime: RuntimeDir,
    /// Without them only process isolation is to be had.
    groups: Result<Box<dyn Hierarchy>, CannotIsolate>,
    /// The users of each container of an agent that is not root; `None` has containers among those of the machine.
    user_map: Option<UserMap>,
    /// What tasks have to do without, in sentences.
    lacking: Vec<String>,
    boot_id: String,
    /// Users that containers have as their own, of an agent that is root.
    users: Taken,
    table: Mutex<BTreeMap<ContainerId, Arc<Container>>>,
    turns: Turns,
}

/// A container that this agent process knows.
#[derive(Debug)]
struct Container {
    id: ContainerId,
    dir: ContainerDir,
    life: Life,
}

#[derive(Debug)]
enum Life {
    /// It ran when we came to know it. The descriptor is that of its first process.
    Known { started: Started, init: OwnedFd },
    /// It was over when we came to know it; the text says what that means if there is no record.
    Over(String),
    /// Nobody has written down who it is, and before that nothing of a task runs.
    CutShort,
}

impl LinuxContainerizer {
    /// Opens the runtime directory and looks at what this machine can do. A machine that cannot isolate is
    /// found out at the first launch that wants isolation; [`try_out`](Self::try_out) finds out before.
    pub fn open(config: &Config) -> Result<LinuxContainerizer, OpenError> {
        // The rules for a container's id are those for a directory name.
        ContainerId::new(&config.instance).map_err(OpenError::Instance)?;
        let runtime = RuntimeDir::open(&config.runtime_dir)
            .map_err(|source| OpenError::RuntimeDir { path: config.runtime_dir.clone(), source })?;
        let (groups, user_map, lacking) = match probe::find(&config.instance) {
            Ok(Means { groups, user_map, lacking }) => (Ok(groups), user_map, lacking),
            Err(missing) => (Err(missing), None, Vec::new()),
        };
        Ok(LinuxContainerizer(Arc::new(Inner {
            runtime,
            groups,
            user_map,
            lacking,
            boot_id: process::boot_id().map_err(OpenError::BootId)?,
            users: Taken::none_of(config.users, config.last_users.clone()),
            table: Mutex::default(),
            turns: Turns::default(),
        })))
    }

    /// Launches a container that ends at once, and removes it: the proof that tasks can be run with this isolation. Takes
    /// some 15 ms of cpu time (its test prints how long it took). What is left of one that was killed meanwhile goes
    /// first. Tells what the machine can do, where it isolates.
    pub async fn try_out(&self, isolation: Isolation) -> Result<Option<Capabilities>, LaunchError> {
        try_out::try_out(self, isolation).await
    }

    /// Lets the agent look into and remove all that tasks have left in a sandbox, also where it is not root and its tasks had
    /// other users than its own. Waits as long as that takes; a repeat does nothing more. Not for the sandbox of a task that
    /// runs: its files would change hands.
    pub fn take_back(&self, sandbox: &Path) -> io::Result<()> {
        self.0.user_map.as_ref().map_or(Ok(()), |map| map.take_back(sandbox))
    }

    /// There is a sandbox of a task that an earlier agent has launched. Whoever has users of the machine as its own gets
    /// others than the owner of that, as long as there are some: tell it before the first launch. A repeat does nothing, and
    /// what cannot be looked at is in the log.
    pub fn sandbox_found(&self, sandbox: &Path) {
        match fs::symlink_metadata(sandbox) {
            Ok(about) => self.0.users.left(sandbox, about.uid()),
            Err(error) => tracing::warn!(
                sandbox = %sandbox.display(), %error,
                "cannot see whose a sandbox is: a task may get the users to whom files in it belong"
            ),
        }
    }

    /// A sandbox was removed with all that was in it: the users of its task are as good as new. By the path that it was
    /// launched with or found at; a repeat does nothing.
    pub fn sandbox_removed(&self, sandbox: &Path) {
        self.0.users.removed(sandbox);
    }

    /// Runs something that waits for the kernel where it holds up nobody.
    async fn blocking<T: Send + 'static>(&self, work: impl FnOnce(&Inner) -> T + Send + 'static) -> T {
        let inner = self.0.clone();
        match tokio::task::spawn_blocking(move || work(&inner)).await {
            Ok(result) => result,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }
}

impl Inner {
    fn table(&self) -> std::sync::MutexGuard<'_, BTreeMap<ContainerId, Arc<Container>>> {
        // Only inserts and removals happen under the lock: a panic elsewhere leaves it whole.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, id: &ContainerId) -> Result<Arc<Container>, ContainerError> {
        self.table().get(id).cloned().ok_or_else(|| ContainerError::Unknown(id.clone()))
    }

    fn add(&self, id: &ContainerId, life: Life) -> Arc<Container> {
        let container = Arc::new(Container { id: id.clone(), dir: self.runtime.container(id), life });
        self.table().insert(id.clone(), container.clone());
        container
    }

    /// Kills what is in the container's control groups and removes them.
    fn clear_groups(&self, id: &ContainerId) -> Result<(), CgroupError> {
        match &self.groups {
            // Mostly all of it has ended, and whoever is to be killed need not be looked for.
            Ok(groups) if groups.remove_empty(id.as_str()) => Ok(()),
            Ok(groups) => groups.kill(id.as_str()).and_then(|()| groups.remove(id.as_str())),
            Err(_) => Ok(()),
        }
    }
}

impl Container {
    fn started(&self) -> Option<&Started> {
        match &self.life {
            Life::Known { started, .. } => Some(started),
            Life::Over(_) | Life::CutShort => None,
        }
    }

    fn io(&self, what: &'static str) -> impl FnOnce(io::Error) -> ContainerError + '_ {
        move |source| ContainerError::Io { id: self.id.clone(), what, source }
    }
}

impl Containerizer for LinuxContainerizer {
    async fn launch(&self, spec: &ContainerSpec) -> Result<Launched, LaunchError> {
        let spec = spec.clone();
        self.blocking(move |inner| launch::launch(inner, &spec)).await
    }

    async fn recover(&self) -> Result<Vec<Recovered>, RecoverError> {
        self.blocking(recover::recover).await
    }

    async fn wait(&self, id: &ContainerId) -> Result<Ended, ContainerError> {
        let container = self.0.find(id)?;
        end::wait(&self.0, &container).await
    }

    async fn terminate(&self, id: &ContainerId) -> Result<(), ContainerError> {
        let container = self.0.find(id)?;
        let asked = end::order(&container, order::END);
        reached(Failpoint::TermSent);
        asked
    }

    async fn kill_all(&self, id: &ContainerId) -> Result<(), ContainerError> {
        let container = self.0.find(id)?;
        let killed = end::kill_all(&container);
        reached(Failpoint::KillSent);
        killed
    }

    async fn destroy(&self, id: &ContainerId) -> Result<(), ContainerError> {
        end::destroy(self, id).await
    }

    async fn usage(&self, id: &ContainerId) -> Result<Usage, ContainerError> {
        let container = self.0.find(id)?;
        let usage = self.blocking(move |inner| end::usage(inner, &container)).await;
        usage.ok_or_else(|| ContainerError::Ended(id.clone()))
    }

    async fn unlinked(&self, id: &ContainerId, device: u64) -> Unlinked {
        let id = id.clone();
        self.blocking(move |inner| {
            let Ok(groups) = &inner.groups else { return Unlinked::NONE };
            let container = inner.find(&id).ok();
            let first = container.and_then(|container| Some(container.started()?.init.pid));
            unlinked::measure(first, groups.processes(id.as_str()), device)
        })
        .await
    }

    async fn resize(&self, id: &ContainerId, limits: &Limits) -> Result<(), ContainerError> {
        let (container, limits) = (self.0.find(id)?, limits.clone());
        self.blocking(move |inner| resize::resize(inner, &container, &limits)).await
    }

    async fn exec(&self, id: &ContainerId, check: &Check) -> Result<CheckEnd, ContainerError> {
        let container = self.0.find(id)?;
        check::run(self, container, check).await
    }
}
