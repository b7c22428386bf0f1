//! `bourse service`: services that are kept running.

use std::fmt::Display;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use bourse_proto::services::{
    DeployRequest, ListServicesRequest, ListServicesResponse, RemoveRequest, ScaleRequest, Service,
};
use bourse_service_framework::plan::SETTLE;
use bourse_service_framework::spec;
use bourse_types::units;
use clap::Subcommand;
use tokio::time::{Instant, timeout_at};

use super::patience::Patience;
use crate::exit::{Exit, failed, refused};
use crate::print::{document, done, lines, out, say};
use crate::render::{self, Output, Table, ago, cell};
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
    /// Deploy a service file and wait until it runs well: it is healthy, or without a health check has run for 5 seconds
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
        /// How long to wait, for instance 2m; without a health check more than the 5 seconds of running well
        #[arg(long, value_name = "DURATION", default_value = "5m")]
        timeout: String,
        /// How to print
        #[arg(short, long, value_enum, default_value_t)]
        output: Output,
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
        /// Its name, or a beginning that no other has
        name: String,
        #[command(flatten)]
        master: bourse_client::ClientArgs,
        /// How to print
        #[arg(short, long, value_enum, default_value_t)]
        output: Output,
    },
    /// Change how many instances are wanted
    Scale {
        /// Its name, or a beginning that no other has
        name: String,
        /// 0 suspends the service
        count: u32,
        #[command(flatten)]
        master: bourse_client::ClientArgs,
        /// How to print
        #[arg(short, long, value_enum, default_value_t)]
        output: Output,
    },
    /// Kill a service's instances and forget it
    Remove {
        /// The whole name
        name: String,
        #[command(flatten)]
        master: bourse_client::ClientArgs,
        /// How to print
        #[arg(short, long, value_enum, default_value_t)]
        output: Output,
    },
    /// Check a service file without a master
    Validate {
        /// A TOML file; - for standard input
        file: PathBuf,
        /// How to print
        #[arg(short, long, value_enum, default_value_t)]
        output: Output,
    },
}

pub async fn run(args: Args) -> anyhow::Result<()> {
    match args.verb {
        Verb::Deploy { file, master, detach, timeout, output } => {
            let timeout = units::parse_duration(&timeout)
                .map_err(|error| failed(Exit::Usage, format!("--timeout: {error}")))?;
            deploy(&file, &master, (!detach).then_some(timeout), output).await
        }
        Verb::List { master, output } => list(Session::open(&master).await?, output).await,
        Verb::Show { name, master, output } => show(&name, Session::open(&master).await?, output).await,
        Verb::Scale { name, count, master, output } => {
            let mut session = Session::open(&master).await?;
            let scaled = session.services.scale(ScaleRequest { name: name.clone(), count }).await;
            let scaled = scaled.map_err(refused)?.into_inner();
            // As it is called, where only the beginning of its name was given.
            let name = scaled.service.as_ref().map_or(name, |service| service.name.clone());
            let instances = render::count(count, "instance");
            let sentence = format!("{name} now wants {instances}; see: bourse service show {name}");
            done(output, &scaled, &name, sentence)
        }
        Verb::Remove { name, master, output } => {
            let mut session = Session::open(&master).await?;
            let removed = session.services.remove(RemoveRequest { name: name.clone() }).await;
            let removed = removed.map_err(refused)?.into_inner();
            done(output, &removed, &name, format_args!("{name} is removed; its instances are being killed"))
        }
        Verb::Validate { file, output } => {
            let (toml, file_name) = read(&file)?;
            let spec =
                spec::parse(&toml, &file_name).map_err(|error| failed(Exit::Usage, error.to_string()))?;
            let sentence = format!("{file_name} is a valid service file");
            // No master was asked: the answer is the call that deploying it makes.
            done(output, &DeployRequest { toml, file_name }, spec.name.as_str(), sentence)
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

async fn deploy(
    file: &Path,
    master: &bourse_client::ClientArgs,
    wait: Option<Duration>,
    output: Output,
) -> anyhow::Result<()> {
    let (toml, file_name) = read(file)?;
    let give_up = wait.map(|timeout| GiveUp { timeout, at: Instant::now() + timeout });
    let started = async {
        let mut session = Session::open(master).await?;
        let answer = session.services.deploy(DeployRequest { toml, file_name }).await.map_err(refused)?;
        anyhow::Ok((session, answer.into_inner()))
    };
    let (mut session, mut answer) = match give_up {
        Some(give_up) => timeout_at(give_up.at, started).await.map_err(|_| {
            give_up
                .after("the master has not answered; see whether the service is known: bourse service list")
        })??,
        None => started.await?,
    };
    let name = answer.service.as_ref().map(|service| service.name.clone()).unwrap_or_default();
    say(format_args!("{name}: {}", answer.outcome));
    if let Some(give_up) = give_up {
        answer.service = Some(until_running(&name, &mut session, give_up).await?);
    }
    match output {
        // What it came to was said as it went.
        Output::Table => Ok(()),
        Output::Json => document(&answer),
        Output::Name => out(name),
    }
}

/// When it is enough.
#[derive(Clone, Copy)]
struct GiveUp {
    timeout: Duration,
    at: Instant,
}

impl GiveUp {
    fn after(self, what: impl Display) -> anyhow::Error {
        failed(Exit::TimedOut, format!("gave up after {:?}: {what}", self.timeout))
    }
}

/// Waits until a service runs, over restarts of the master and of the service framework, and says how far it is.
async fn until_running(name: &str, session: &mut Session, give_up: GiveUp) -> anyhow::Result<Service> {
    let mut told = None;
    let mut patience = Patience::default();
    let mut reason = "nobody answered".to_owned();
    let mut runs: Option<Runs> = None;
    loop {
        let too_late = |reason: &str| give_up.after(format_args!("{name} is not running: {reason}"));
        let asked = session.services.list(ListServicesRequest { name: name.into() });
        let answer = timeout_at(give_up.at, asked).await.map_err(|_| too_late(&reason))?;
        if let Some(answer) = patience.with(answer).await? {
            let service = the_one(name, answer.into_inner())?;
            let step = Some(Step::of(&service));
            if step != told {
                say(progress(&service));
                told = step;
            }
            runs = (service.state == "running").then(|| Runs::on(runs.take(), &service));
            if service.state == "suspended" || runs.as_ref().is_some_and(|runs| runs.well(&service)) {
                return Ok(service);
            }
            reason = match runs {
                Some(_) => format!("it has not run for {SETTLE:?} in a row"),
                None => service.reason,
            };
        }
        if Instant::now() >= give_up.at {
            return Err(too_late(&reason));
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Since when all wanted instances run, and which they are.
struct Runs {
    tasks: Vec<String>,
    since: Instant,
}

impl Runs {
    fn on(before: Option<Runs>, service: &Service) -> Runs {
        let tasks = service.instances.iter().map(|instance| instance.task_id.clone()).collect();
        let same = before.filter(|before| before.tasks == tasks);
        same.unwrap_or_else(|| Runs { tasks, since: Instant::now() })
    }

    /// As the service framework sees it: with a health check at once, else when nothing has ended for a while.
    fn well(&self, service: &Service) -> bool {
        let spec = spec::parse(&service.toml, &service.name);
        spec.is_ok_and(|spec| spec.template.health.is_some()) || self.since.elapsed() >= SETTLE
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

fn the_one(name: &str, found: ListServicesResponse) -> anyhow::Result<Service> {
    found.services.into_iter().next().ok_or_else(|| {
        failed(Exit::NotFound, format!("no service is called {name:?}; see: bourse service list"))
    })
}

async fn list(mut session: Session, output: Output) -> anyhow::Result<()> {
    let answer = session.services.list(ListServicesRequest::default()).await.map_err(refused)?.into_inner();
    match output {
        Output::Json => document(&answer)?,
        Output::Name => lines(answer.services.iter().map(|service| &service.name))?,
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
    let found = session.services.list(ListServicesRequest { name: name.into() }).await.map_err(refused)?;
    let service = the_one(name, found.into_inner())?;
    match output {
        Output::Json => document(&service)?,
        Output::Name => lines(service.instances.iter().map(|instance| &instance.name))?,
        Output::Table => {
            out(format_args!("{}  {}\n", cell(&service.state), progress(&service)))?;
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
            out(format_args!("\n{}", service.toml.trim_end()))?;
        }
    }
    Ok(())
}
