//! Starting an agent and running it to its end.

use std::collections::BTreeSet;
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use bourse_agent_core::{Agent, Condition, Cores, Description, Found, Start, State};
use bourse_containerizer::{Bind, Config as ContainerConfig, Isolation, LinuxContainerizer};
use bourse_types::{Address, AgentInfo, AttributeValue, Attributes, Name, Resources};
use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::{info, warn};

use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::clock::Clock;
use crate::collect::{Keeping, collect};
use crate::config::Config;
use crate::disk::{self, Sizes};
use crate::driver::{Driver, Ending, INBOX_MAX};
use crate::identity::{self, WorkDir};
use crate::launcher::{Habits, Launcher, Mountable, recover};
use crate::view::View;
use crate::{cores, resources, sandbox, serve, usage};

/// How long a stopping agent waits until those who read from it were told so.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// The process ends with this status when its disk lets it not go on: input or output failed, as `sysexits.h` has it.
pub const EXIT_DISK_FAILED: u8 = 74;

/// The attribute of an agent that is not root.
const ROOTLESS: &str = "rootless";

/// Runs an agent until `shutdown` resolves, or until the master does not want it any more, which is an error.
///
/// Listens on `listener` or on one that it makes. Its tasks run on when it ends, however it ends, unless `--kill-tasks-on-exit` was
/// given and `shutdown` resolved; the next call with the same work directory takes them over.
pub async fn run(
    config: Config,
    listener: Option<std::net::TcpListener>,
    shutdown: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    info!(?config, "settings");
    raise_descriptors();
    let work_dir = WorkDir::open(&config.work_dir, config.isolation)?;
    guard(&work_dir, config.isolation);
    let token = bourse_client::Token::read(&config.token_file)?;
    let listener = match listener {
        Some(listener) => TcpListener::from_std(listener).context("taking over the listener")?,
        None => serve::bind(config.listen).await?,
    };
    let info = describe(&config, &work_dir, &listener)?;

    let runtime_dir = config.runtime_dir.clone().unwrap_or_else(|| work_dir.path().join("run"));
    let instance = work_dir.instance().to_owned();
    let containers = LinuxContainerizer::open(&ContainerConfig {
        runtime_dir: runtime_dir.clone(),
        instance,
        users: config.users,
        last_users: work_dir.path().join(identity::LAST_USERS),
    })?;
    let (checkpoint, state) = Checkpoint::open(work_dir.path())?;
    let found = recover(&containers).await?;
    for runs in sandbox::all_runs(work_dir.path()) {
        sandbox::all_in(&runs).iter().for_each(|sandbox| containers.sandbox_found(sandbox));
    }
    let cores = cores::find(config.isolation);
    let machine = info.total.clone();
    let info = settle(&state, &cores, &found, info, &config.resources)?;
    info!(tasks = state.tasks.len(), containers = found.len(), agent_id = ?state.agent, "recovered");
    match containers.try_out(config.isolation).await {
        Ok(Some(capabilities)) => {
            let (layout, oom_protection) = (capabilities.layout, capabilities.oom_protection);
            info!(%layout, oom_protection, "this machine can isolate tasks");
            for lacking in &capabilities.lacking {
                warn!(%lacking, "there is something that tasks or this agent have to do without");
            }
        }
        Ok(None) => {}
        // What runs is to be looked after, and what is wrong now may pass: a machine without room.
        Err(error) if found.iter().any(is_running) => {
            warn!(%error, "new tasks may not start: a trial of a container failed");
        }
        Err(error) => return Err(error.into()),
    }

    let (inbox, inputs) = mpsc::channel(INBOX_MAX);
    let (views, watching) = watch::channel(Arc::new(View::of(&state)));
    let (show, hide) = (shown(&config)?, hidden(&config, work_dir.path().to_owned(), runtime_dir));
    agree(&show, &hide)?;
    let habits = Habits {
        isolation: config.isolation,
        hostname: config.hostname.clone(),
        filters: config.seccomp.clone(),
        allow_root: config.allow_root,
        enforce_disk: config.enforce_disk,
        pids_limit: config.pids_limit,
        logs: config.logs,
        show,
        mountable: Mountable {
            writable: real(&config.volumes, "which tasks may mount")?,
            readable: real(&config.volumes_read_only, "which tasks may mount")?,
        },
        roots: real(&config.rootfs, "which tasks may have as their root")?,
        hide,
        endpoint: info.address.to_string(),
    };
    let work = work_dir.path().to_owned();
    let launcher = Launcher::new(containers.clone(), work.clone(), habits, inbox.clone());

    let clock = Clock::new();
    let core = bourse_agent_core::Config {
        total_without_tasks: (info.total != machine).then_some(machine),
        cores,
        kill_grace: config.kill_grace,
        enforce_disk: config.enforce_disk,
        backoff_first: config.reconnect_wait,
        ..bourse_agent_core::Config::new(info)
    };
    let boot = identity::boot_id().context("reading the boot id; mount /proc")?;
    let start = Start { config: core, boot, incarnation: identity::incarnation(), state, found };
    let mut effects = Vec::new();
    let agent = Agent::start(start, clock.now(), &mut effects);

    let driver = Driver {
        agent,
        clock,
        checkpoint,
        inbox: inputs,
        back: inbox.clone(),
        master: config.master.clone(),
        launcher,
        views,
        kill_on_stop: config.kill_tasks_on_exit.then_some(config.kill_grace),
        link: None,
        master_away: false,
        held: Vec::new(),
        disk_full: false,
    };
    // On their own, so that the driver does not wait for what they read; they end with this function.
    let mut chores = JoinSet::new();
    let keeping = Keeping { delay: config.gc_delay, headroom: config.gc_disk_headroom };
    let (sizes, measured) = watch::channel(Sizes::new());
    let (back, seen) = (inbox.clone(), watching.clone());
    let removing = containers.clone();
    let measuring = containers.clone();
    chores.spawn(usage::measure(containers, config.usage_interval, work.clone(), seen, measured, back));
    chores.spawn(disk::watch(measuring, work.clone(), config.disk_interval, watching.clone(), sizes, inbox));
    chores.spawn(collect(work.clone(), keeping, watching.clone(), removing));
    let (stop, stopped) = oneshot::channel();
    let serving = serve::serve(listener, config.tls.as_ref(), token, work, watching, stopped);
    tokio::pin!(serving);
    let ending = tokio::select! {
        ended = driver.run(effects, shutdown) => ended?,
        served = &mut serving => {
            served?;
            bail!("the agent's API stopped by itself")
        }
        _ = chores.join_next() => bail!("measuring or collecting stopped by itself"),
    };
    // The driver is gone, and with it what the followers of logs wait for: they are told, and read on later.
    let _ = stop.send(());
    let _ = timeout(LAST_WORDS, serving).await;
    match ending {
        Ending::TasksRunOn => {
            info!("stopped; tasks run on, and the next agent with this work directory takes them over")
        }
        Ending::TasksKilled => info!("stopped; all tasks were killed"),
        Ending::Refused(why) => bail!("the master does not want this agent: {why}"),
    }
    Ok(())
}

/// The exit status of an agent that ended with this error: [`EXIT_DISK_FAILED`] where it can be started again as it is once
/// its disk is well, else 1.
pub fn exit_code(error: &anyhow::Error) -> u8 {
    let of_disk = |cause: &(dyn std::error::Error + 'static)| {
        let full_or_broken =
            |code| matches!(Errno::from_raw(code), Errno::ENOSPC | Errno::EDQUOT | Errno::EROFS | Errno::EIO);
        let system = cause.downcast_ref::<std::io::Error>().and_then(std::io::Error::raw_os_error);
        let checkpoint = cause.downcast_ref::<CheckpointError>();
        system.is_some_and(full_or_broken) || matches!(checkpoint, Some(CheckpointError::Io { .. }))
    };
    if error.chain().any(of_disk) { EXIT_DISK_FAILED } else { 1 }
}

/// Lets those pass the work directory who must: tasks of other users where they are not isolated, else nobody.
fn guard(work_dir: &WorkDir, isolation: Isolation) {
    let directory = work_dir.path().display();
    if let Err(error) = sandbox::guard(work_dir.path(), isolation) {
        warn!(%directory, %error, "cannot set who may pass to the sandboxes in the work directory: other users of this \
            machine may reach what tasks leave there");
    }
    match isolation {
        Isolation::Linux => match work_dir.close() {
            Ok(None) => {}
            Ok(Some(mode)) => {
                let was = format!("{mode:04o}");
                info!(%directory, was, "closed the work directory to all but its owner: no task needs that way");
            }
            Err(error) => warn!(%directory, %error, "cannot close the work directory to all but its owner"),
        },
        Isolation::Process => {
            if let Some(closed) = work_dir.closed_parent() {
                warn!(directory = %closed.display(), "only its owner may pass this directory: tasks of other users \
                    cannot reach their sandbox by its path; open it (chmod o+x), or use another --work-dir");
            }
        }
    }
}

fn is_running(found: &Found) -> bool {
    matches!(found.condition, Condition::Running { .. })
}

fn describe(config: &Config, work_dir: &WorkDir, listener: &TcpListener) -> anyhow::Result<AgentInfo> {
    let bound = listener.local_addr().context("asking for the port that was bound")?;
    let (host, port) = match &config.advertise {
        // Port 0 stands for the one that was bound.
        Some((host, 0)) => (host.clone(), bound.port()),
        Some(given) => given.clone(),
        None if bound.ip().is_unspecified() => (config.hostname.clone(), bound.port()),
        None => (bound.ip().to_string(), bound.port()),
    };
    Ok(AgentInfo {
        hostname: config.hostname.clone(),
        address: Address { host, port },
        attributes: attributes(config, nix::unistd::geteuid().is_root()),
        total: resources::find(&config.resources, work_dir.path())?,
        version: env!("CARGO_PKG_VERSION").to_owned(),
    })
}

/// What the operator named, and that an agent is not root, so that frameworks can tell: tasks of other users are refused by
/// it. What the operator says of that himself stays.
fn attributes(config: &Config, is_root: bool) -> Attributes {
    let mut attributes = config.attributes.clone();
    if !is_root && attributes.get(ROOTLESS).is_none() {
        attributes.insert(ROOTLESS, AttributeValue::text("true"));
    }
    attributes
}

/// What the agent says of itself from now on: what the tasks that run were given has to be there.
fn settle(
    state: &State,
    cores: &Cores,
    found: &[Found],
    info: AgentInfo,
    named: &Resources,
) -> anyhow::Result<AgentInfo> {
    let now = Description::of(&info);
    let is_named = |name: &Name| named.iter().any(|resource| resource.key.name == *name);
    let settled = state.settle(now.clone(), cores, found, is_named)?;
    if settled != now {
        let (has, told) = (&now.total, &settled.total);
        warn!(%has, %told, "this machine has less than before: until the tasks that run here have ended, it is told as it was");
    }
    let Description { total, attributes } = settled;
    Ok(AgentInfo { total, attributes, ..info })
}

/// What every task sees by the operator's wish, at its own place.
fn shown(config: &Config) -> anyhow::Result<Vec<Bind>> {
    let binds = |paths: &[PathBuf], writable| {
        let bind = |(source, target)| Bind { source, target, writable };
        let real = real(paths, "which tasks are to see")?;
        anyhow::Ok(real.into_iter().zip(paths.to_vec()).map(bind).collect::<Vec<_>>())
    };
    Ok([binds(&config.show, false)?, binds(&config.share, true)?].concat())
}

/// Refuses to show what is hidden: no task could be launched with both.
fn agree(show: &[Bind], hide: &[PathBuf]) -> anyhow::Result<()> {
    for bind in show {
        if let Some(hidden) = hide.iter().find(|hidden| bind.source.starts_with(hidden)) {
            bail!(
                "{} cannot be shown to tasks: it lies in {}, which is hidden from them; take one of the two out of \
                 --show, --share and --hide, or move the agent's own directories and files away",
                bind.source.display(),
                hidden.display()
            );
        }
    }
    Ok(())
}

/// Where paths of the settings lead.
fn real(paths: &[PathBuf], what: &str) -> anyhow::Result<Vec<PathBuf>> {
    let real = |path: &PathBuf| {
        let looking = || format!("looking at {}, {what}; make it, or do not name it", path.display());
        path.canonicalize().with_context(looking)
    };
    paths.iter().map(real).collect()
}

/// What no task may see: other tasks' sandboxes and the checkpoint, what the containerizer writes down, secrets. Each
/// place once and by its real path, so that what is given through a symbolic link is not covered twice.
fn hidden(config: &Config, work_dir: PathBuf, runtime_dir: PathBuf) -> Vec<PathBuf> {
    let mut hide = vec![work_dir, runtime_dir, config.token_file.clone()];
    hide.extend(config.tls.iter().map(|files| files.key.clone()));
    hide.extend(config.hide.iter().cloned());
    // What is not there has no other path, and needs no cover.
    let real = hide.into_iter().map(|path| path.canonicalize().unwrap_or(path));
    real.collect::<BTreeSet<PathBuf>>().into_iter().collect()
}

/// As many descriptors as the machine lets this process have: each container takes some, and services start programs with
/// a soft limit of 1024 for the sake of old ones that cannot count further. Tasks get a limit of their own.
fn raise_descriptors() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    if let Err(error) = raised {
        warn!(%error, "could not raise the limit of open files; with many tasks the agent may run out of them");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::AgentArgs;

    #[test]
    fn an_agent_whose_disk_lets_it_not_go_on_ends_with_a_status_of_its_own() {
        let io = |code: Errno| std::io::Error::from(code);
        let checkpoint = |source| CheckpointError::Io { what: "sync", path: "checkpoint".into(), source };
        let failed = anyhow::Error::from(checkpoint(io(Errno::EBADF)));
        assert_eq!(exit_code(&failed), EXIT_DISK_FAILED);
        let read_only = anyhow::Error::from(io(Errno::EROFS)).context("making the work directory");
        assert_eq!(exit_code(&read_only), EXIT_DISK_FAILED);
        assert_eq!(exit_code(&anyhow::Error::from(io(Errno::EACCES))), 1);
        assert_eq!(exit_code(&anyhow::anyhow!("the master does not want this agent")), 1);
    }

    #[test]
    fn an_agent_that_is_not_root_says_so_as_an_attribute_unless_its_operator_does() {
        let config = |attributes: &str| {
            let args = AgentArgs { attributes: Some(attributes.into()), ..AgentArgs::default() };
            args.resolve_with(&|_| None).into_config().expect("valid")
        };
        let told = |text: &str, is_root| attributes(&config(text), is_root).to_string();
        assert_eq!(told("rack:a", true), "rack:a");
        assert_eq!(told("rack:a", false), "rack:a;rootless:true");
        assert_eq!(told("rootless:no", false), "rootless:no");
    }
}
