//! `bourse dev`: a whole cluster on this machine.
//!
//! The parts are processes of this same binary on loopback, so that what is tried here is what runs elsewhere: a part
//! can be killed, and the others see what they would see. Stopping it leaves nothing behind but what the next start
//! goes on from.

pub mod children;
mod split;
mod state;

use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};
use bourse_client::{Connection, Context, Given, Settings};
use bourse_proto::operator::GetClusterRequest;
use bourse_proto::services::{DeployRequest, ListServicesRequest};
use tokio::time::{Instant, sleep};

use crate::dev::children::{Part, start};
use crate::dev::state::State;
use crate::exit::refused;
use crate::session::Session;
use crate::shutdown;

/// The service that a fresh dev cluster starts with.
const EXAMPLE: &str = include_str!("../../../examples/services/hello.toml");

/// How long all parts together may take until they are ready.
const READY: Duration = Duration::from_secs(30);
/// How often readiness is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// Start a whole cluster on this machine: a master, agents that split its resources, and the service framework
///
/// Ctrl-C stops it and leaves nothing behind; what the master knows is kept for the next start.
#[derive(clap::Args)]
pub struct Args {
    /// Forget what earlier runs left
    #[arg(long)]
    fresh: bool,
    /// How many agents split this machine
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=16))]
    agents: u16,
    /// The master's port; the agents take the ports after it
    #[arg(long, default_value_t = bourse_client::MASTER_PORT)]
    port: u16,
    /// Where the cluster keeps what it knows [default: /var/lib/bourse/dev for root, else ~/.local/state/bourse/dev]
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// Do not start the example service
    #[arg(long)]
    no_example: bool,
    /// How tasks are isolated: linux, or process where this machine can not isolate
    #[arg(long, default_value = "linux")]
    isolation: String,
}

pub async fn run(args: Args) -> anyhow::Result<()> {
    let begun = Instant::now();
    let asked_to_stop = shutdown::requested()?;
    let folder = match &args.state_dir {
        Some(folder) => std::path::absolute(folder)?,
        None => default_folder()?,
    };
    let state = State::open(&folder, args.fresh)?;
    let ports: Vec<u16> = (0..=args.agents).map(|n| args.port.saturating_add(n)).collect();
    ports.iter().try_for_each(|port| free(*port))?;

    let mut parts = Vec::new();
    tokio::pin!(asked_to_stop);
    let ended = tokio::select! {
        ended = live(&args, &state, &ports, begun, &mut parts) => ended,
        () = &mut asked_to_stop => Ok(()),
    };
    // In the order that lets each part finish what it does: services, then agents, then the master that hears of it.
    for part in parts.iter_mut().rev() {
        if !part.stop().await? {
            eprintln!("{} did not stop in time and was killed; see {}", part.name, part.log.display());
        }
    }
    if ended.is_ok() {
        eprintln!("stopped; the next `bourse dev` goes on from {}", folder.display());
    }
    ended
}

/// From the first part started to the first that ends by itself, which is a failure.
async fn live(
    args: &Args,
    state: &State,
    ports: &[u16],
    begun: Instant,
    parts: &mut Vec<Part>,
) -> anyhow::Result<()> {
    let master = format!("127.0.0.1:{}", args.port);
    parts.push(begin(state, "master", master_arguments(state, &master))?);
    let machine = bourse_agent::resources::of_this_machine(&state.of("agent-1"))?;
    for (index, port) in ports[1..].iter().enumerate() {
        let name = format!("agent-{}", index + 1);
        let resources = split::share(&machine, index as u64, u64::from(args.agents));
        let listen = format!("127.0.0.1:{port}");
        let arguments =
            agent_arguments(state, &master, &name, &listen, &resources.to_string(), &args.isolation);
        parts.push(begin(state, &name, arguments)?);
    }
    parts.push(begin(state, "services", services_arguments(state, &master))?);

    let context = Context::path(&|name| std::env::var(name).ok())
        .context("neither HOME nor XDG_CONFIG_HOME is set: other commands could not find this cluster")?;
    Context { master: master.clone(), token_file: Some(state.token("operator")), ca_file: None }
        .write(&context)?;
    tokio::select! {
        ready = ready(args, state, &master) => ready?,
        ended = first_end(parts) => return ended,
    }
    welcome(args, state, &master, begun)?;
    first_end(parts).await
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

/// Whether a port can be had; the part that wants it would only be able to say so in its log.
fn free(port: u16) -> anyhow::Result<()> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).map(drop).with_context(|| {
        format!("port {port} can not be had; stop what listens there, or start with another --port")
    })
}

fn begin(state: &State, name: &str, arguments: Vec<String>) -> anyhow::Result<Part> {
    start(name, arguments, state.logs().join(format!("{name}.log")))
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| word.to_string()).collect()
}

fn path(path: PathBuf) -> String {
    path.display().to_string()
}

fn master_arguments(state: &State, listen: &str) -> Vec<String> {
    let (work, tokens) = (path(state.of("master")), path(state.tokens()));
    let mut arguments = words(&["master", "--listen", listen, "--work-dir", &work, "--tokens", &tokens]);
    // Who kills an agent to see what happens does not want to wait for the minutes that suit a data centre.
    arguments.extend(words(&["--heartbeat-interval", "2s", "--agent-timeout", "10s"]));
    arguments
}

fn agent_arguments(
    state: &State,
    master: &str,
    name: &str,
    listen: &str,
    resources: &str,
    isolation: &str,
) -> Vec<String> {
    let hide = &path(state.of(""));
    let work = path(state.of(name));
    let token = path(state.token("agent"));
    let mut arguments = words(&["agent", "--master", master, "--listen", listen, "--hostname", name]);
    arguments.extend(words(&["--work-dir", &work, "--token-file", &token, "--resources", resources]));
    arguments.extend(words(&["--isolation", isolation, "--allow-root", "--kill-tasks-on-exit"]));
    arguments.extend(words(&["--hide", hide, "--usage-interval", "1s", "--reconnect-wait", "50ms"]));
    arguments
}

fn services_arguments(state: &State, master: &str) -> Vec<String> {
    let token = path(state.token("framework"));
    words(&[
        "services",
        "--master",
        master,
        "--token-file",
        &token,
        "--state-dir",
        &path(state.of("services")),
    ])
}

/// Waits until the master answers, every agent is active and the service framework is reached through the master; then
/// a fresh cluster gets its example.
async fn ready(args: &Args, state: &State, master: &str) -> anyhow::Result<()> {
    let give_up = Instant::now() + READY;
    let given =
        Given { master: Some(master.into()), token_file: Some(state.token("operator")), ..Given::default() };
    let connection = Connection::lazy(&Settings::find(given, &|_| None)?)?;
    let mut session = Session::over(&connection);
    let mut missing = "the master".to_string();
    while Instant::now() < give_up {
        sleep(LOOK).await;
        let Ok(cluster) = session.operator.get_cluster(GetClusterRequest {}).await else { continue };
        let active = cluster.into_inner().agents_active;
        missing = format!("{} agents of {}", u32::from(args.agents).saturating_sub(active), args.agents);
        if active < u32::from(args.agents) {
            continue;
        }
        missing = "the service framework".into();
        let Ok(list) = session.services.list(ListServicesRequest::default()).await else { continue };
        let example = state.of("example-was-deployed");
        if !args.no_example && !example.exists() {
            if list.into_inner().services.is_empty() {
                let request = DeployRequest { toml: EXAMPLE.into(), file_name: "hello.toml".into() };
                session.services.deploy(request).await.map_err(refused)?;
            }
            // Once: who removes the example does not want it back.
            std::fs::write(&example, "").with_context(|| format!("writing {}", example.display()))?;
        }
        return Ok(());
    }
    bail!("waited {READY:?} for {missing}; see the logs in {}", state.logs().display())
}

/// The first part that ends by itself.
async fn first_end(parts: &mut [Part]) -> anyhow::Result<()> {
    let ends = parts.iter_mut().map(|part| {
        Box::pin(async move {
            let status = part.ended().await?;
            bail!("{} ended by itself ({status}); see {}", part.name, part.log.display())
        })
    });
    select_first(ends.collect()).await
}

/// Resolves with the first of several futures.
async fn select_first<F: Future + Unpin>(mut futures: Vec<F>) -> F::Output {
    std::future::poll_fn(|context| {
        for future in &mut futures {
            if let std::task::Poll::Ready(output) = std::pin::Pin::new(future).poll(context) {
                return std::task::Poll::Ready(output);
            }
        }
        std::task::Poll::Pending
    })
    .await
}

fn welcome(args: &Args, state: &State, master: &str, begun: Instant) -> anyhow::Result<()> {
    let token = state.operator_token()?;
    let agents = args.agents;
    eprintln!(
        "Bourse is ready after {:.1} s: a master, {agents} agents, the service framework, all on this machine.

  status page    http://{master}/?token={token}
  logs           {}

In another terminal:
  bourse run --cpus 0.5 --mem 64MiB -- sh -c 'echo hello; sleep 5'
  bourse status
  bourse ps -f
  bourse service list
  bourse why hello

Ctrl-C stops everything and leaves nothing running; the next start goes on from here (or --fresh).",
        begun.elapsed().as_secs_f64(),
        state.logs().display(),
    );
    Ok(())
}
