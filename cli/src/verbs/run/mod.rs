//! `bourse run`: one isolated task through a framework of its own, followed to its end.

mod follower;
mod limits;
mod presence;
mod scheduler;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use bourse_client::{ClientArgs, Connection};
use bourse_sdk::{Framework, Handle, Task};
use bourse_types::{
    Controls, Milli, Network, Resources, Role, Rootfs, TaskId, TaskState, TaskStatus, Volume, units,
};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::{sleep, timeout};

use crate::exit::{Exit, RUN_FAILED, failed};
use crate::print::say;
use crate::session::Session;
use crate::shutdown;
use follower::{Follower, Heard};
use limits::LimitArgs;
use presence::{Answer, Presence};
use scheduler::{Ask, One, Told};

/// How long a task may wait in silence before the reason is shown.
const SILENCE: Duration = Duration::from_secs(3);

/// The status of what SIGKILL ended, as a shell tells it.
const KILLED: u8 = 128 + 9;

/// How long saying goodbye may take.
const LEAVE: Duration = Duration::from_secs(5);

/// How long the master keeps the task when this process vanishes without a word.
const KEPT: Duration = Duration::from_secs(60);

/// The longest beginning of a task's id, in bytes: what is added makes it one of a kind.
const NAME_MAX: usize = 40;

/// Run one isolated task, follow its output, and exit with its status
///
/// Examples:
///   bourse run -- echo hello
///   bourse run --cpus 0.5 --mem 64MiB -- sh -c 'echo hello; sleep 5'
///   bourse run --ports 1 -- sh -c 'python3 -m http.server $PORT0'
///   bourse run --cpu-limit unlimited --mem-limit 1GiB --pids 50 -- make
///
/// Ctrl-C ends the task with its grace; a second one at once. So does closing the output (`| head -1`), with status 141.
/// A task that fits nowhere now waits, and says why.
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// CPUs, in thousandths at the finest
    #[arg(long, default_value = "0.1", value_parser = parse_cpus, allow_negative_numbers = true)]
    cpus: Milli,
    /// Run it on cores where no other task of its agent runs, as many as it has CPUs
    #[arg(long)]
    exclusive_cpus: bool,
    /// Memory; a task that takes more is killed, unless --mem-limit lets it
    #[arg(long, default_value = "64MiB", value_parser = units::parse_size, allow_negative_numbers = true)]
    mem: Milli,
    /// Disk
    #[arg(long, value_parser = units::parse_size, allow_negative_numbers = true)]
    disk: Option<Milli>,
    #[command(flatten)]
    limits: LimitArgs,
    /// How many ports, told in $PORT0, $PORT1 and so on
    #[arg(long, default_value_t = 0)]
    ports: u64,
    /// A variable of the task's environment; may be repeated
    #[arg(short, long, value_name = "NAME=VALUE", value_parser = parse_env)]
    env: Vec<(String, String)>,
    /// A directory or a tar file of the agent's machine as the task's root, in which the command is looked up
    #[arg(long, value_name = "PATH")]
    rootfs: Option<Rootfs>,
    /// A path of the agent's machine, where the container has it; may be repeated
    #[arg(long = "volume", value_name = "HOST_PATH:CONTAINER_PATH[:ro]")]
    volumes: Vec<Volume>,
    /// The task's network: `host`, that of the agent's machine, or `none`, one of its own with nothing but loopback
    #[arg(long, value_name = "NETWORK", default_value_t = Network::Host)]
    network: Network,
    /// Give the task users of its own: its root is nobody on the agent's machine
    #[arg(long)]
    own_users: bool,
    /// The user that the task runs as
    #[arg(long)]
    user: Option<String>,
    /// What the task's id begins with: letters, digits, '.', '_', '-' [default: the command's name]
    #[arg(long, value_parser = parse_name)]
    name: Option<String>,
    /// The role whose share of the cluster this counts to
    #[arg(long, default_value = "*")]
    role: Role,
    /// From the request to end it until it is killed
    #[arg(long, value_name = "DURATION", value_parser = units::parse_duration)]
    grace: Option<Duration>,
    #[command(flatten)]
    master: ClientArgs,
    /// The command and its arguments
    #[arg(required = true, last = true, value_name = "COMMAND")]
    command: Vec<String>,
}

fn parse_cpus(text: &str) -> Result<Milli, String> {
    let cpus = text.parse().map_err(|_| format!("{text:?} is not a number"))?;
    match Milli::from_units(cpus) {
        Ok(Milli::ZERO) if cpus > 0.0 => {
            Err(format!("{text} is less than the smallest amount; give at least 0.001"))
        }
        read => read.map_err(|error| error.to_string()),
    }
}

/// What an id may hold without quoting it in shells and paths.
fn in_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || "._-".contains(c)
}

fn parse_name(text: &str) -> Result<String, String> {
    if text.is_empty() || text.len() > NAME_MAX || !text.chars().all(in_name) || text.starts_with('.') {
        return Err(format!(
            "{text:?} cannot begin a task's id; take up to {NAME_MAX} letters, digits, '.', '_' or '-', with no '.' first"
        ));
    }
    Ok(text.into())
}

fn parse_env(text: &str) -> Result<(String, String), String> {
    let (name, value) =
        text.split_once('=').ok_or_else(|| format!("{text:?} has no '='; write NAME=VALUE"))?;
    if name.is_empty() {
        return Err(format!("{text:?} names no variable; write NAME=VALUE"));
    }
    Ok((name.into(), value.into()))
}

impl Args {
    /// What the task's id begins with: its name, or the file name of the command as far as an id may hold it.
    fn prefix(&self) -> String {
        if let Some(name) = &self.name {
            return name.clone();
        }
        let command = &self.command[0];
        let name = command.rsplit('/').next().unwrap_or(command);
        let kept: String = name.chars().filter(|c| in_name(*c)).take(NAME_MAX).collect();
        if kept.trim_matches('.').is_empty() { "run".into() } else { kept }
    }

    /// The task, under an id of its scheduler's choice.
    fn task(&self, id: TaskId, wanted: Resources, controls: Controls) -> Task {
        let task =
            Task::new(id).name(self.prefix()).resources(wanted).ports(self.ports).exec(self.command.clone());
        let mut task = self.limits.limit(task).controls(controls);
        for (name, value) in &self.env {
            task = task.env(name, value);
        }
        task = self.volumes.iter().cloned().fold(task, Task::volume);
        if let Some(rootfs) = &self.rootfs {
            task = task.rootfs(rootfs.clone());
        }
        if self.network == Network::Loopback {
            task = task.own_network();
        }
        if self.own_users {
            task = task.own_users();
        }
        if self.exclusive_cpus {
            task = task.exclusive_cpus();
        }
        if let Some(user) = &self.user {
            task = task.user(user);
        }
        if let Some(grace) = self.grace {
            task = task.grace(grace);
        }
        task
    }

    /// Refuses a part of a core for the task alone, which no agent has.
    fn check_cores(&self) -> anyhow::Result<()> {
        if self.exclusive_cpus && (self.cpus.is_zero() || !self.cpus.thousandths().is_multiple_of(1000)) {
            let why = format!(
                "--exclusive-cpus: {} CPUs are no whole cores; give --cpus a whole number",
                self.cpus
            );
            return Err(failed(Exit::Usage, why));
        }
        Ok(())
    }

    /// What the task wants, in the usual text form.
    fn wanted(&self) -> String {
        let disk = self.disk.map_or(String::new(), |disk| format!("; disk:{disk}"));
        format!("cpus:{}; mem:{}{disk}", self.cpus, self.mem)
    }
}

pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let controls = args.limits.controls()?;
    args.check_cores()?;
    let connection = Connection::open(&args.master.settings()?).await?;
    let prefix = args.prefix();
    let (told, mut hears) = unbounded_channel();
    let wanted: Resources = args.wanted().parse()?;
    let follower = Follower::new(Session::over(&connection), args.wanted(), args.ports);
    let role = args.role.clone();
    let task = move |id| args.task(id, wanted.clone(), controls.clone());
    let one = One::new(task, prefix.clone(), told);
    let framework = Framework::new(format!("run {prefix}"))
        .role(role.as_str())
        .failover_timeout(KEPT)
        // A master that is not there was told already; one that is overloaded is waited for, as is said meanwhile.
        .patience(None)
        // What does not fit now may fit soon, and nobody else is kept from it by a framework that wants one task.
        .decline_for(Duration::from_secs(5))
        .connection(connection.clone());
    let (handle, driving) = framework.start(one);
    tokio::pin!(driving);
    let ended = {
        let following = follow(&mut hears, handle, follower);
        tokio::pin!(following);
        tokio::select! {
            ended = &mut following => ended,
            driven = &mut driving => {
                driven.context("the task's framework")?;
                // The framework has ended, so that nothing more is told: this ends too.
                return status_of(following.await?);
            }
        }
    };
    // The teardown that the scheduler asked for at the end. Should it not come through, the failover timeout does it.
    tokio::select! {
        _ = timeout(LEAVE, driving) => {}
        () = master_lost(&mut hears) => {}
    }
    status_of(ended?)
}

/// Ends when the master went away: then nobody is there to say goodbye to.
async fn master_lost(hears: &mut UnboundedReceiver<Told>) {
    while let Some(told) = hears.recv().await {
        if matches!(told, Told::Disconnected) {
            return;
        }
    }
}

/// From the first word about the task to its end, or to the end of its framework.
async fn follow(
    hears: &mut UnboundedReceiver<Told>,
    handle: Handle<Ask>,
    mut follower: Follower,
) -> anyhow::Result<Option<TaskStatus>> {
    let mut interrupts = shutdown::Requests::open()?;
    let mut waits = true;
    let mut said_again = String::new();
    let mut presence = Presence::default();
    loop {
        tokio::select! {
            told = hears.recv() => match told {
                Some(Told::Subscribed { framework, again }) => {
                    follower.framework = Some(framework);
                    presence.master_came(again);
                }
                Some(Told::Disconnected) => presence.master_left(),
                Some(Told::Error(error)) => return Err(failed(Exit::Failed, error)),
                Some(Told::Again(status)) => {
                    waits = true;
                    let why = why(&status);
                    if why != said_again {
                        say(format_args!("bourse run: not started, trying again: {why}"));
                        said_again = why;
                    }
                }
                Some(Told::Update(status)) => {
                    waits = false;
                    presence.task_is(status.state);
                    follower.follow(&status);
                    if status.state.is_terminal() {
                        tokio::select! {
                            finished = follower.finish() => finished?,
                            // Who asks twice, or after the end, does not want the rest of the output.
                            _ = interrupts.next() => {}
                        }
                        return Ok(Some(status));
                    }
                }
                None => return Ok(None),
            },
            () = sleep(SILENCE), if waits || presence.misses_master() => {
                match follower.say_why().await {
                    Heard::Answer => presence.master_answers(),
                    Heard::Silence => presence.master_silent(),
                    Heard::Refusal => {}
                }
            }
            request = interrupts.next() => match presence.on_request(request) {
                Answer::Go(ask) => {
                    handle.send(ask).await;
                }
                Answer::Leave(ask, left) => {
                    handle.send(ask).await;
                    return Err(failed(Exit::Failed, left));
                }
            },
            // Nobody takes the output: the task is ended as by Ctrl-C, and its end is waited for.
            () = follower.broken() => {
                handle.send(Ask::Kill).await;
            }
        }
    }
}

/// The verb's own exit status: that of the task.
fn status_of(ended: Option<TaskStatus>) -> anyhow::Result<ExitCode> {
    let Some(status) = ended else {
        return Err(failed(Exit::Failed, "interrupted before the task was launched"));
    };
    let code = match (&status.exit, status.state) {
        // A limit took one of its processes, and the main one did not mind: the task has failed all the same.
        (Some(exit), TaskState::Failed) if exit.is_success() => KILLED,
        (Some(exit), _) => exit.status(),
        (None, TaskState::Finished) => 0,
        (None, _) => RUN_FAILED,
    };
    if status.exit.is_none() || status.reason.is_some() {
        say(format_args!("bourse run: {}", why(&status)));
    }
    Ok(ExitCode::from(code))
}

/// A status in words.
fn why(status: &TaskStatus) -> String {
    let reason = status.reason.map_or(status.state.as_str(), |reason| reason.as_str());
    match &status.message {
        Some(message) if !message.is_empty() => format!("{message} ({reason})"),
        _ => reason.into(),
    }
}
