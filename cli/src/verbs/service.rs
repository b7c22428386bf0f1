//! `bourse service`: services that are kept running.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use bourse_proto::services::{DeployRequest, ListServicesRequest, RemoveRequest, ScaleRequest, Service};
use bourse_types::units;
use clap::Subcommand;
use tokio::time::Instant;

use crate::exit::{Exit, failed, refused};
use crate::render::{self, Output, Table, ago, cell, json};
use crate::session::Session;

/// How often a waiting deploy looks.
const LOOK: Duration = Duration::from_millis(250);

/// Deploy, list, show, scale and remove services
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Make a service file what is wanted, and wait until it is so
    ///
    /// Interrupting it only stops the waiting: the service goes on.
    Deploy {
        /// A TOML file; - for standard input
        file: PathBuf,
        #[command(flatten)]
        master: bourse_client::ClientArgs,
        /// Do not wait
        #[arg(long)]
        detach: bool,
        /// How long to wait, for instance 2m
        #[arg(long, value_name = "DURATION", default_value = "5m")]
        timeout: String,
    },
    /// List services: wanted, running, healthy, and why not
    List {
        #[command(flatten)]
        master: bourse_client::ClientArgs,
        /// How to print
        #[arg(short, long, value_enum, default_value_t)]
        output: Output,
    },
    /// Show one service: each instance, its last attempts, the file as it was written
    Show {
        name: String,
        #[command(flatten)]
        master: bourse_client::ClientArgs,
        /// How to print
        #[arg(short, long, value_enum, default_value_t)]
        output: Output,
    },
    /// Change how many instances are wanted
    Scale {
        name: String,
        /// 0 suspends the service
        count: u32,
        #[command(flatten)]
        master: bourse_client::ClientArgs,
    },
    /// Kill a service's instances and forget it
    Remove {
        name: String,
        #[command(flatten)]
        master: bourse_client::ClientArgs,
    },
    /// Check a service file without a master
    Validate {
        /// A TOML file; - for standard input
        file: PathBuf,
    },
}

pub async fn run(args: Args) -> anyhow::Result<()> {
    match args.verb {
        Verb::Deploy { file, master, detach, timeout } => {
            let timeout = units::parse_duration(&timeout)
                .map_err(|error| failed(Exit::Usage, format!("--timeout: {error}")))?;
            deploy(&file, Session::open(&master).await?, (!detach).then_some(timeout)).await
        }
        Verb::List { master, output } => list(Session::open(&master).await?, output).await,
        Verb::Show { name, master, output } => show(&name, Session::open(&master).await?, output).await,
        Verb::Scale { name, count, master } => {
            let mut session = Session::open(&master).await?;
            session.services.scale(ScaleRequest { name: name.clone(), count }).await.map_err(refused)?;
            let instances = render::count(count, "instance");
            eprintln!("{name} shall have {instances}; see: bourse service show {name}");
            Ok(())
        }
        Verb::Remove { name, master } => {
            let mut session = Session::open(&master).await?;
            session.services.remove(RemoveRequest { name: name.clone() }).await.map_err(refused)?;
            eprintln!("{name} is removed; its instances are being killed");
            Ok(())
        }
        Verb::Validate { file } => {
            let (text, file_name) = read(&file)?;
            bourse_service_framework::spec::parse(&text, &file_name)
                .map_err(|error| failed(Exit::Usage, error.to_string()))?;
            eprintln!("{file_name} is a good service file");
            Ok(())
        }
    }
}

fn read(file: &Path) -> anyhow::Result<(String, String)> {
    if file == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).context("reading a service file from standard input")?;
        return Ok((text, "standard input".into()));
    }
    let name = file.display().to_string();
    let text = std::fs::read_to_string(file).with_context(|| format!("reading the service file {name}"))?;
    Ok((text, name))
}

async fn deploy(file: &Path, mut session: Session, wait: Option<Duration>) -> anyhow::Result<()> {
    let (toml, file_name) = read(file)?;
    let answer =
        session.services.deploy(DeployRequest { toml, file_name }).await.map_err(refused)?.into_inner();
    let name = answer.service.map(|service| service.name).unwrap_or_default();
    eprintln!("{name}: {}", answer.outcome);
    let Some(timeout) = wait else { return Ok(()) };
    let give_up = Instant::now() + timeout;
    let mut told = None;
    loop {
        let service = get(&name, &mut session).await?;
        let step = Some(Step::of(&service));
        if step != told {
            eprintln!("{}", progress(&service));
            told = step;
        }
        if service.state == "running" || service.state == "suspended" {
            return Ok(());
        }
        if Instant::now() >= give_up {
            let message = format!("{name} is not there after {timeout:?}: {}", service.reason);
            return Err(failed(Exit::TimedOut, message));
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// What of a deployment is worth a line of its own when it changes. The seconds that a wait has left are not.
#[derive(PartialEq)]
struct Step {
    running: u32,
    healthy: u32,
    /// Of each instance that does not run: the last attempt that ended, or else why there was none.
    missing: Vec<String>,
}

impl Step {
    fn of(service: &Service) -> Step {
        let missing = service.instances.iter().filter(|instance| instance.task_id.is_empty());
        let why = missing.map(|instance| match instance.attempts.first() {
            Some(attempt) => attempt.task_id.clone(),
            None => instance.reason.clone(),
        });
        Step { running: service.running, healthy: service.healthy, missing: why.collect() }
    }
}

/// How far a service is, in a line.
pub fn progress(service: &Service) -> String {
    let mut line = format!("{}: {} of {} running", service.name, service.running, service.wanted);
    if service.healthy != service.running {
        line += &format!(", {} healthy", service.healthy);
    }
    if !service.reason.is_empty() {
        line += &format!(" ({})", service.reason);
    }
    line
}

async fn get(name: &str, session: &mut Session) -> anyhow::Result<Service> {
    let request = ListServicesRequest { name: name.into() };
    let found = session.services.list(request).await.map_err(refused)?.into_inner().services;
    found.into_iter().next().ok_or_else(|| {
        failed(Exit::NotFound, format!("no service is called {name:?}; see: bourse service list"))
    })
}

async fn list(mut session: Session, output: Output) -> anyhow::Result<()> {
    let answer = session.services.list(ListServicesRequest::default()).await.map_err(refused)?.into_inner();
    match output {
        Output::Json => anstream::println!("{:#}", json(&answer)?),
        Output::Name => answer.services.iter().for_each(|service| anstream::println!("{}", service.name)),
        Output::Table => {
            let columns = ["service", "state", "wanted", "running", "healthy", "restarts", "why"];
            let mut table = Table::new(&columns, "no services yet; try: bourse service deploy web.toml");
            for service in &answer.services {
                table.row([
                    service.name.clone(),
                    cell(&service.state),
                    service.wanted.to_string(),
                    service.running.to_string(),
                    service.healthy.to_string(),
                    service.restarts.to_string(),
                    service.reason.clone(),
                ]);
            }
            table.print()?;
        }
    }
    Ok(())
}

async fn show(name: &str, mut session: Session, output: Output) -> anyhow::Result<()> {
    let service = get(name, &mut session).await?;
    match output {
        Output::Json => anstream::println!("{:#}", json(&service)?),
        Output::Name => service.instances.iter().for_each(|instance| anstream::println!("{}", instance.name)),
        Output::Table => {
            anstream::println!("{}  {}\n", cell(&service.state), progress(&service));
            let columns = ["instance", "state", "agent", "ports", "task", "since", "why"];
            let mut table = Table::new(&columns, "no instances");
            for instance in &service.instances {
                let ports = instance.ports.iter().map(u32::to_string).collect::<Vec<_>>().join(" ");
                table.row([
                    instance.name.clone(),
                    cell(&instance.state),
                    instance.hostname.clone(),
                    ports,
                    instance.task_id.clone(),
                    ago(instance.since_ms),
                    instance.reason.clone(),
                ]);
                for attempt in &instance.attempts {
                    let why = if attempt.message.is_empty() { &attempt.reason } else { &attempt.message };
                    table.row([
                        "  before".to_string(),
                        cell(&attempt.state),
                        attempt.hostname.clone(),
                        String::new(),
                        attempt.task_id.clone(),
                        ago(attempt.ended_ms),
                        why.clone(),
                    ]);
                }
            }
            table.print()?;
            anstream::println!("\n{}", service.toml.trim_end());
        }
    }
    Ok(())
}
