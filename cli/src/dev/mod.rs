//! `bourse dev`: a whole cluster on this machine.
//!
//! The parts are processes of this same binary on loopback, so that what is tried here is what runs elsewhere: a part
//! can be killed, the others see what they would see, and it is started again as a supervisor would elsewhere. Stopping
//! leaves nothing behind but what the next start goes on from.

pub mod children;
mod cluster;
mod parts;
mod ready;
mod restarts;
mod split;
mod state;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;

use anyhow::{Context as _, anyhow};
use bourse_client::Context;
use bourse_types::Resources;
use tokio::time::Instant;

use crate::dev::cluster::{Cluster, settle};
use crate::dev::parts::Agents;
use crate::dev::ready::ready;
use crate::dev::state::State;
use crate::print::say;
use crate::shutdown;

/// The most agents of one dev cluster. Each of so many can have users of its own for its tasks.
const AGENTS_MAX: u16 = 16;

/// Start a whole cluster on this machine: a master, agents that split its resources, and the service framework
///
/// A part that ends or is killed is started again, so that you can try what the others make of it. Ctrl-C stops everything
/// and leaves nothing behind; what the master knows is kept for the next start.
#[derive(clap::Args)]
pub struct Args {
    /// Forget what earlier runs left
    #[arg(long)]
    fresh: bool,
    /// How many agents split this machine
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=i64::from(AGENTS_MAX)))]
    agents: u16,
    /// The master's port; the agents take the ports after it
    #[arg(long, default_value_t = bourse_client::MASTER_PORT, value_parser = clap::value_parser!(u16).range(1..))]
    port: u16,
    /// Where the cluster keeps what it knows [default: /var/lib/bourse/dev for root, else ~/.local/state/bourse/dev]
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// Do not start the example service
    #[arg(long)]
    no_example: bool,
    /// How tasks are isolated: linux, or process where this machine cannot isolate [default: linux, but process for who is
    /// not root where that is not possible]
    #[arg(long, value_name = "HOW")]
    isolation: Option<String>,
}

pub async fn run(args: Args) -> anyhow::Result<()> {
    let begun = Instant::now();
    let asked_to_stop = shutdown::requested()?;
    let folder = match &args.state_dir {
        Some(folder) => std::path::absolute(folder)?,
        None => default_folder()?,
    };
    let ports = ports(args.port, args.agents)?;
    let state = State::open(&folder)?;
    let mut listeners = ports.into_iter().map(bind).collect::<anyhow::Result<Vec<_>>>()?;
    let for_master = listeners.remove(0);
    let isolation = match &args.isolation {
        Some(named) => named.clone(),
        None => isolation(&state).await,
    };
    let agents = agents(&args, isolation);
    end_leftovers(&args, &agents, &state, &listeners[0]).await?;
    if args.fresh {
        state.forget()?;
    }

    let master = SocketAddr::from((Ipv4Addr::LOCALHOST, args.port));
    let machine = bourse_agent::resources::of_this_machine(&folder)?;
    let share = |index: u16| split::share(&machine, u64::from(index), u64::from(args.agents));
    let agent = |(index, listener)| agents.agent(&state, index, listener, &share(index));
    let mut cluster = Cluster {
        master: parts::master(&state, for_master)?,
        agents: (0..args.agents).zip(listeners).map(agent).collect::<anyhow::Result<_>>()?,
        services: parts::services(&state, master, bind(0)?)?,
    };
    let master = master.to_string();
    tokio::pin!(asked_to_stop);
    let first_share = share(0);
    let ended = tokio::select! {
        ended = live(&args, &state, &master, &first_share, begun, &mut cluster) => ended,
        () = &mut asked_to_stop => Ok(()),
    };
    cluster.stop().await;
    if ended.is_ok() {
        say(format_args!("stopped; the next `bourse dev` goes on from {}", folder.display()));
    }
    ended
}

/// From the first part started, for ever.
async fn live(
    args: &Args,
    state: &State,
    master: &str,
    share: &Resources,
    begun: Instant,
    cluster: &mut Cluster,
) -> anyhow::Result<()> {
    cluster.start()?;
    let context = Context::path(&|name| std::env::var(name).ok())
        .context("neither HOME nor XDG_CONFIG_HOME is set: other commands could not find this cluster")?;
    tokio::select! {
        ready = ready(state, master, u32::from(args.agents), !args.no_example) => ready?,
        failure = cluster.first_failure() => return Err(failure),
    }
    // Only now: commands that find another cluster until then go on with that one.
    Context { master: master.into(), token_file: Some(state.token("operator")), ca_file: None }
        .write(&context)?;
    welcome(args, state, master, share, begun)?;
    cluster.supervise().await
}

/// Ends tasks of earlier runs that nobody would take over: all of them for a fresh start, else those of agents that there
/// are no more. There are some only where agents were killed together with the process that started them.
///
/// They serve at the first agent's place, which does not run yet.
async fn end_leftovers(
    args: &Args,
    agents: &Agents,
    state: &State,
    listener: &TcpListener,
) -> anyhow::Result<()> {
    // More than any call of this verb can have started.
    for index in 0..AGENTS_MAX {
        if args.fresh || index >= args.agents {
            let none = Resources::default();
            settle(&mut agents.agent(state, index, listener.try_clone()?, &none)?).await;
        }
    }
    Ok(())
}

fn agents(args: &Args, isolation: String) -> Agents {
    let master = SocketAddr::from((Ipv4Addr::LOCALHOST, args.port));
    Agents { master, isolation }
}

/// How tasks are isolated when nobody says: as well as it can be, and said where that is not as root would have it. Root is
/// told by the agents themselves what is missing.
async fn isolation(state: &State) -> String {
    if !nix::unistd::geteuid().is_root() {
        match bourse_agent::trial::isolate(&state.trial()).await {
            Ok(lacking) => lacking.iter().for_each(|lacking| say(format_args!("without root: {lacking}"))),
            Err(error) => {
                say(format_args!("tasks of this cluster are not isolated (--isolation process): {error:#}"));
                return "process".into();
            }
        }
    }
    "linux".into()
}

fn default_folder() -> anyhow::Result<PathBuf> {
    let base = match std::env::var_os("XDG_STATE_HOME").filter(|path| !path.is_empty()) {
        Some(path) => PathBuf::from(path),
        // Tasks that run as other users must be able to reach their sandboxes, and /root is closed to them.
        None if nix::unistd::geteuid().is_root() => PathBuf::from("/var/lib"),
        None => {
            let home = std::env::var_os("HOME")
                .context("neither HOME nor XDG_STATE_HOME is set; use --state-dir")?;
            PathBuf::from(home).join(".local/state")
        }
    };
    Ok(base.join("bourse/dev"))
}

/// The master's port and those of the agents.
fn ports(master: u16, agents: u16) -> anyhow::Result<Vec<u16>> {
    let last = master.checked_add(agents).ok_or_else(|| {
        anyhow!(
            "--port {master} leaves no ports for {agents} agents after it; start with {} at most",
            u16::MAX - agents
        )
    })?;
    Ok((master..=last).collect())
}

/// Takes a port, to be held until the cluster has stopped; 0 is any that is free.
fn bind(port: u16) -> anyhow::Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).with_context(|| {
        format!("port {port} cannot be had; stop what listens there, or start with another --port")
    })
}

fn welcome(
    args: &Args,
    state: &State,
    master: &str,
    share: &Resources,
    begun: Instant,
) -> anyhow::Result<()> {
    let token = state.operator_token()?;
    let agents = if args.agents == 1 { "1 agent".into() } else { format!("{} agents", args.agents) };
    say(format_args!(
        "Bourse is ready after {:.1} s: a master, {agents}, the service framework, all on this machine.

  status page    http://{master}/?token={token}
  logs           {}
  each agent has {share}

In another terminal:
  bourse run --cpus 0.5 --mem 64MiB -- sh -c 'echo hello; sleep 5'
  bourse status
  bourse ps -f
  bourse service list
  bourse why hello

Ctrl-C stops everything and leaves nothing running; the next start goes on from here (or --fresh).",
        begun.elapsed().as_secs_f64(),
        state.logs().display(),
    ));
    Ok(())
}
