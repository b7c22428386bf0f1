//! The settings of an agent: flags, environment and a file, parsed once into one checked [`Config`].
//!
//! **What is this room for?** Every setting has one name. It is given as a flag (`--kill-grace 10s`), in the environment
//! (`BOURSE_AGENT_KILL_GRACE=10s`) or in the file that `--config` names (`kill-grace = "10s"`); the first of these that
//! has it wins, else the default holds.
//!
//! **What does it promise?** A [`Config`] that exists is valid. All that is wrong is told at once, each with where it
//! came from. `--check` prints every value with its origin. Paths are absolute, so that they mean the same to everybody.
//!
//! **What does it leave to others?** How settings are found ([`bourse_settings`]); reading the files that they name.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bourse_client::{AGENT_PORT, MASTER_PORT, Settings, Target, TokenSource};
use bourse_containerizer::{Filters, Isolation, LogLimits, SANDBOX, UserBlocks};
use bourse_settings::parse::{absolute, address, duration, hostname, switch};
use bourse_settings::{InvalidSettings, Layers};
use bourse_types::units::parse_size;
use bourse_types::{Attributes, Resources};

pub use bourse_settings::TlsFiles;

/// A task may have so many processes and threads unless the operator says otherwise: enough for large thread pools,
/// and a fork bomb of that size does not hurt a machine.
const PIDS_MAX: &str = "4096";

/// Below, a log would be more files than lines, in bytes.
const LOG_SIZE_MIN: u64 = 64 << 10;

/// At least one, so that the newest lines are there also when the next file has just begun; more than these are a folder
/// that nobody can look through.
const LOG_FILES: RangeInclusive<u32> = 1..=1000;

/// A shorter interval of measuring counts as this one.
const MEASURE_INTERVAL_MIN: Duration = Duration::from_millis(100);

/// The flags of `bourse agent`. Each is also a key of the configuration file and, as `BOURSE_AGENT_...`, a variable of
/// the environment.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct AgentArgs {
    /// File with these settings, TOML: the flags' names without the dashes in front
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Print every setting with its origin, say what is wrong, and exit: 0 when all is well, else 2
    #[arg(long)]
    pub check: bool,

    /// Address of the master [default: 127.0.0.1:5050]
    #[arg(long, value_name = "HOST:PORT")]
    pub master: Option<String>,

    /// Address of the agent's own API; port 0 takes a free one [default: 127.0.0.1:5051]
    #[arg(long, value_name = "IP:PORT")]
    pub listen: Option<String>,

    /// Address by which other machines reach the agent's API [default: that of --listen]
    #[arg(long, value_name = "HOST:PORT")]
    pub advertise: Option<String>,

    /// Host name, told to frameworks and to tasks [default: the machine's]
    #[arg(long, value_name = "NAME")]
    pub hostname: Option<String>,

    /// Directory of the checkpoint and the sandboxes, closed to other users unless isolation is `process`; an agent keeps
    /// its id with it [default: /var/lib/bourse/agent]
    #[arg(long, value_name = "DIR")]
    pub work_dir: Option<String>,

    /// Directory of what runs now [default: run in the work directory]
    #[arg(long, value_name = "DIR")]
    pub runtime_dir: Option<String>,

    /// What the agent offers, such as "cpus:4; mem:8GiB; ports:[31000-32000]"; what is not named is found
    #[arg(long, value_name = "RESOURCES")]
    pub resources: Option<String>,

    /// Attributes that frameworks may choose by, such as "rack:a;zone:b"
    #[arg(long, value_name = "ATTRIBUTES")]
    pub attributes: Option<String>,

    /// File with the agent's token [default: token in the work directory]
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<String>,

    /// How tasks are kept apart: `linux` (control groups and namespaces) or `process` (not at all) [default: linux]
    #[arg(long, value_name = "HOW")]
    pub isolation: Option<String>,

    /// Which system calls tasks may make: `default`, `unconfined`, or a file with a profile in Docker's format [default:
    /// default]
    #[arg(long, value_name = "PROFILE")]
    pub seccomp: Option<String>,

    /// Let tasks run as root where their framework asks for it; else they run as nobody
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    pub allow_root: Option<String>,

    /// The machine's user that is root of the first task with users of its own; 2048 blocks of 65536 users begin here, of
    /// which each such task gets one, in turn. A multiple of 65536, another for each agent of a machine [default: 524288]
    #[arg(long, value_name = "UID")]
    pub user_range_start: Option<String>,

    /// Kill all tasks when the agent is stopped; otherwise they run on and the next agent takes them over
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    pub kill_tasks_on_exit: Option<String>,

    /// Between SIGTERM and SIGKILL for tasks without a kill policy [default: 5s]
    #[arg(long, value_name = "DURATION")]
    pub kill_grace: Option<String>,

    /// The most processes and threads of one task, which may ask for fewer [default: 4096]
    #[arg(long, value_name = "COUNT")]
    pub pids_limit: Option<String>,

    /// Show this file or directory to tasks too, read-only, besides the machine's programs, libraries and settings; may
    /// be repeated
    #[arg(long, value_name = "PATH")]
    pub show: Vec<String>,

    /// Let tasks write to this file or directory, each as far as its user may; may be repeated
    #[arg(long, value_name = "PATH")]
    pub share: Vec<String>,

    /// Let tasks mount this directory of the machine, or what is below it, where they ask for it; may be repeated
    #[arg(long, value_name = "PATH")]
    pub volumes: Vec<String>,

    /// The same for reading only; may be repeated
    #[arg(long, value_name = "PATH")]
    pub volumes_read_only: Vec<String>,

    /// Let tasks have this directory of the machine, or what is below it, as their root where they ask for it, tar files
    /// too; may be repeated
    #[arg(long, value_name = "PATH")]
    pub rootfs: Vec<String>,

    /// Hide this file or directory from tasks too, besides the agent's own; may be repeated
    #[arg(long, value_name = "PATH")]
    pub hide: Vec<String>,

    /// The most that one file of a task's log holds before the next one begins; 0 is no limit [default: 10MiB]
    #[arg(long, value_name = "SIZE")]
    pub log_max_size: Option<String>,

    /// How many files of a task's log are kept besides the newest, for stdout and for stderr [default: 1]
    #[arg(long, value_name = "COUNT")]
    pub log_files: Option<String>,

    /// The most that a task may log in a second; what is more is thrown away and counted there; 0 is no limit [default: 0]
    #[arg(long, value_name = "SIZE")]
    pub log_rate: Option<String>,

    /// How long the sandbox of an ended task is kept, less as the disk fills [default: 7d]
    #[arg(long, value_name = "DURATION")]
    pub gc_delay: Option<String>,

    /// The part of the disk that is to stay free: beyond that the sandboxes of ended tasks go at once [default: 0.1]
    #[arg(long, value_name = "FRACTION")]
    pub gc_disk_headroom: Option<String>,

    /// How often each task's sandbox is measured; less often where that takes long [default: 15s]
    #[arg(long, value_name = "DURATION")]
    pub disk_interval: Option<String>,

    /// End a task whose sandbox holds more than the disk that it asked for [default: true]
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    pub enforce_disk: Option<String>,

    /// How often the use of tasks is measured [default: 5s]
    #[arg(long, value_name = "DURATION")]
    pub usage_interval: Option<String>,

    /// The first wait before the master is tried again, at most; it doubles up to a minute [default: 1s]
    #[arg(long, value_name = "DURATION")]
    pub reconnect_wait: Option<String>,

    /// Certificate chain to serve TLS with, PEM
    #[arg(long, value_name = "FILE")]
    pub tls_cert: Option<String>,

    /// Private key of --tls-cert, PEM
    #[arg(long, value_name = "FILE")]
    pub tls_key: Option<String>,

    /// Authority that signed the master's certificate, PEM [default: those of the system]
    #[arg(long, value_name = "FILE")]
    pub ca_file: Option<String>,

    /// Use addresses other than loopback without TLS: tokens and logs are readable on the network
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    pub insecure: Option<String>,
}

/// The checked settings of an agent.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// How the master is called: its address, the token, TLS.
    pub master: Settings,
    /// Where the one listener is; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Absent: the address of the listener.
    pub advertise: Option<(String, u16)>,
    /// What tasks and frameworks see as the host's name.
    pub hostname: String,
    /// Holds checkpoint and sandboxes.
    pub work_dir: PathBuf,
    /// Absent: `run` in the work directory.
    pub runtime_dir: Option<PathBuf>,
    /// What the operator named; what is not among it is found.
    pub resources: Resources,
    /// What frameworks may choose by.
    pub attributes: Attributes,
    /// Holds the token that the master knows, and that callers of the agent's API must show.
    pub token_file: PathBuf,
    /// How tasks are kept apart.
    pub isolation: Isolation,
    /// Which system calls tasks may make.
    pub seccomp: Filters,
    /// Tasks may run as root.
    pub allow_root: bool,
    /// Which of the machine's users are given to tasks as their own.
    pub users: UserBlocks,
    /// Stopping the agent kills its tasks.
    pub kill_tasks_on_exit: bool,
    /// For tasks without a kill policy.
    pub kill_grace: Duration,
    /// Of each task.
    pub pids_limit: u64,
    /// What tasks see besides what all do.
    pub show: Vec<PathBuf>,
    /// What tasks see and may write.
    pub share: Vec<PathBuf>,
    /// What tasks may mount.
    pub volumes: Vec<PathBuf>,
    /// What tasks may mount for reading only.
    pub volumes_read_only: Vec<PathBuf>,
    /// What tasks may have as their root.
    pub rootfs: Vec<PathBuf>,
    /// What tasks must not see besides the agent's own files.
    pub hide: Vec<PathBuf>,
    /// How much tasks may log.
    pub logs: LogLimits,
    /// How long the sandbox of an ended task is kept on an empty disk.
    pub gc_delay: Duration,
    /// The part of the disk that is to stay free, 0 to 1.
    pub gc_disk_headroom: f64,
    /// Between two measurements of one sandbox. At least 100 ms.
    pub disk_interval: Duration,
    /// A task whose sandbox holds more than it asked for is ended.
    pub enforce_disk: bool,
    /// At least 100 ms.
    pub usage_interval: Duration,
    /// The first window of the waits between attempts to reach the master.
    pub reconnect_wait: Duration,
    /// Absent: plain text.
    pub tls: Option<TlsFiles>,
}

/// The settings with all that is to be said about them.
pub type Resolved = bourse_settings::Resolved<Config>;

impl AgentArgs {
    /// Reads the file and the environment beside these flags.
    pub fn resolve(&self) -> Resolved {
        self.resolve_with(&|name| std::env::var(name).ok())
    }

    /// The checked settings, or all that is wrong with them.
    pub fn to_config(&self) -> Result<Config, InvalidSettings> {
        self.resolve().into_config()
    }

    /// As [`resolve`](AgentArgs::resolve), with an environment of the caller's. A variable that is empty counts as absent.
    pub fn resolve_with(&self, env: &dyn Fn(&str) -> Option<String>) -> Resolved {
        let said = |name: &str| env(name).filter(|text| !text.is_empty());
        bourse_settings::resolve("agent", self.config.as_deref(), &said, |layers| load(self, layers))
    }
}

/// Takes every setting once. `None` only where [`Layers`] has noted a problem.
fn load(args: &AgentArgs, layers: &mut Layers<'_>) -> Option<Config> {
    let loopback = |port: u16| format!("127.0.0.1:{port}");
    let master = layers.take("master", &args.master, &loopback(MASTER_PORT), |text| {
        Target::parse(text, MASTER_PORT).map_err(|error| error.to_string())
    });
    let listen = layers.take("listen", &args.listen, &loopback(AGENT_PORT), |text| address(text, AGENT_PORT));
    let advertise = layers.take_optional("advertise", &args.advertise, "the address of listen", advertise);
    let hostname = layers.take("hostname", &args.hostname, &machine_name(), hostname);
    let work_dir = layers.take("work-dir", &args.work_dir, "/var/lib/bourse/agent", absolute);
    let runtime_dir = layers.take_optional("runtime-dir", &args.runtime_dir, "run in work-dir", absolute);
    let resources = layers.take_optional("resources", &args.resources, "all that is found", resources);
    let attributes = layers.take_optional("attributes", &args.attributes, "none", attributes);
    let token_file = layers.take_optional("token-file", &args.token_file, "token in work-dir", absolute);
    let isolation = layers.take("isolation", &args.isolation, "linux", isolation);
    let seccomp = layers.take("seccomp", &args.seccomp, "default", filters);
    let allow_root = layers.take("allow-root", &args.allow_root, "false", switch);
    let users = layers.take("user-range-start", &args.user_range_start, "524288", users);
    let kill_tasks_on_exit = layers.take("kill-tasks-on-exit", &args.kill_tasks_on_exit, "false", switch);
    let kill_grace = layers.take("kill-grace", &args.kill_grace, "5s", any);
    let pids_limit = layers.take("pids-limit", &args.pids_limit, PIDS_MAX, count);
    let show = layers.take_list("show", &args.show, "programs, libraries and settings", seen);
    let share = layers.take_list("share", &args.share, "none", seen);
    let volumes = layers.take_list("volumes", &args.volumes, "none", absolute);
    let volumes_read_only = layers.take_list("volumes-read-only", &args.volumes_read_only, "none", absolute);
    let rootfs = layers.take_list("rootfs", &args.rootfs, "none", absolute);
    let hide = layers.take_list("hide", &args.hide, "none", absolute);
    let log_max_size = layers.take("log-max-size", &args.log_max_size, "10MiB", log_size);
    let log_files = layers.take("log-files", &args.log_files, "1", log_files);
    let log_rate = layers.take("log-rate", &args.log_rate, "0", bytes);
    let gc_delay = layers.take("gc-delay", &args.gc_delay, "7d", any);
    let gc_disk_headroom = layers.take("gc-disk-headroom", &args.gc_disk_headroom, "0.1", fraction);
    let disk_interval = layers.take("disk-interval", &args.disk_interval, "15s", interval);
    let enforce_disk = layers.take("enforce-disk", &args.enforce_disk, "true", switch);
    let usage_interval = layers.take("usage-interval", &args.usage_interval, "5s", any);
    let reconnect_wait = layers.take("reconnect-wait", &args.reconnect_wait, "1s", any);
    let tls = layers.take_tls(&args.tls_cert, &args.tls_key, absolute);
    let ca_file = layers.take_optional("ca-file", &args.ca_file, "those of the system", absolute);
    let insecure = layers.take("insecure", &args.insecure, "false", switch);

    // What must agree with each other is judged when each is right by itself.
    let (listen, tls, insecure) = (listen?, tls?, insecure?);
    layers.refuse_plain(listen, tls.as_ref(), insecure, "tokens and logs");
    let work_dir = work_dir?;
    let token_file = token_file?.unwrap_or_else(|| work_dir.join("token"));
    let master = Settings {
        token: Some(TokenSource::File(token_file.clone())),
        ca_file: ca_file?,
        insecure,
        ..Settings::master(master?)
    };
    Some(Config {
        master,
        listen,
        advertise: advertise?,
        hostname: hostname?,
        work_dir,
        runtime_dir: runtime_dir?,
        resources: resources?.unwrap_or_default(),
        attributes: attributes?.unwrap_or_default(),
        token_file,
        isolation: isolation?,
        seccomp: seccomp?,
        allow_root: allow_root?,
        users: users?,
        kill_tasks_on_exit: kill_tasks_on_exit?,
        kill_grace: kill_grace?,
        pids_limit: pids_limit?.max(1),
        show: show?,
        share: share?,
        volumes: volumes?,
        volumes_read_only: volumes_read_only?,
        rootfs: rootfs?,
        hide: hide?,
        logs: LogLimits { file_bytes: log_max_size?, files: log_files?, bytes_per_second: log_rate? },
        gc_delay: gc_delay?,
        gc_disk_headroom: gc_disk_headroom?,
        disk_interval: disk_interval?.max(MEASURE_INTERVAL_MIN),
        enforce_disk: enforce_disk?,
        usage_interval: usage_interval?.max(MEASURE_INTERVAL_MIN),
        reconnect_wait: reconnect_wait?,
        tls,
    })
}

/// Port 0 stands for the one that is bound.
fn advertise(text: &str) -> Result<(String, u16), String> {
    if let Some(host) = text.strip_suffix(":0").filter(|host| !host.is_empty() && !host.contains(':')) {
        return Ok((host.to_owned(), 0));
    }
    let address = bourse_wire::agent::read_address(text);
    address
        .map(|address| (address.host, address.port))
        .map_err(|_| format!("{text:?} cannot be read; write host:port, such as agent-7:{AGENT_PORT}"))
}

fn resources(text: &str) -> Result<Resources, String> {
    text.parse::<Resources>().map_err(|error| error.to_string())
}

fn attributes(text: &str) -> Result<Attributes, String> {
    // With what is wrong in a range, which is a cause of its own.
    text.parse::<Attributes>().map_err(|error| format!("{:#}", anyhow::Error::new(error)))
}

fn isolation(text: &str) -> Result<Isolation, String> {
    match text {
        "linux" => Ok(Isolation::Linux),
        "process" => Ok(Isolation::Process),
        _ => Err(format!("{text:?} cannot be read; write linux or process")),
    }
}

/// Compiled once, so that a profile that cannot be used is told at the start.
fn filters(text: &str) -> Result<Filters, String> {
    let found = match text {
        "default" => Filters::usual(),
        "unconfined" => Ok(Filters::default()),
        file => Filters::of_file(&absolute(file)?),
    };
    found.map_err(|bad| format!("{bad}; write default, unconfined, or the path of a profile"))
}

/// A `--user-range-start` for each agent of one machine, counted from 0, with which none has users of another's; that of the
/// first is the default. `None` where the machine has no numbers left: there are some for 31 agents.
pub fn user_range_start(number: u16) -> Option<u32> {
    UserBlocks::default().of_agent(number.into()).map(UserBlocks::first).ok()
}

fn users(text: &str) -> Result<UserBlocks, String> {
    let first = text.parse::<u32>();
    let first = first.map_err(|_| format!("{text:?} cannot be read; write a number, such as 524288"))?;
    UserBlocks::new(first).map_err(|bad| bad.to_string())
}

/// A path of the machine that can be put into a container.
fn seen(text: &str) -> Result<PathBuf, String> {
    let path = absolute(text)?;
    let of_containers = ["/proc", "/sys", "/dev"].iter().any(|own| path.starts_with(own));
    match of_containers || Path::new(SANDBOX).starts_with(&path) {
        true => Err(format!("{text:?} is each container's own; name what tasks need of it")),
        false => Ok(path),
    }
}

fn any(text: &str) -> Result<Duration, String> {
    duration(text, Duration::ZERO..=Duration::MAX)
}

fn interval(text: &str) -> Result<Duration, String> {
    let interval = any(text)?;
    match interval.is_zero() {
        true => Err(format!("{text:?} is no interval; write a time above 0, such as 15s")),
        false => Ok(interval),
    }
}

/// In bytes; a number without a unit is MiB, as everywhere.
fn bytes(text: &str) -> Result<u64, String> {
    let size = parse_size(text).map_err(|bad| bad.to_string())?;
    Ok(size.thousandths().saturating_mul(1 << 20) / 1000)
}

fn log_size(text: &str) -> Result<u64, String> {
    match bytes(text)? {
        1..LOG_SIZE_MIN => {
            Err(format!("{text:?} is less than 64KiB; write a larger size, or 0 for no limit"))
        }
        size => Ok(size),
    }
}

fn log_files(text: &str) -> Result<u32, String> {
    let number = text.parse().ok().filter(|number| LOG_FILES.contains(number));
    number.ok_or_else(|| {
        format!("{text:?} is not among {} to {}; write such a number", LOG_FILES.start(), LOG_FILES.end())
    })
}

fn count(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("{text:?} cannot be read; write a number, such as {PIDS_MAX}"))
}

fn fraction(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|number| (0.0..=1.0).contains(number));
    number.ok_or_else(|| format!("{text:?} is not a fraction; write a number from 0 to 1, such as 0.1"))
}

fn machine_name() -> String {
    let name = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
    name.filter(|name| !name.is_empty()).unwrap_or_else(|| "localhost".to_owned())
}

#[cfg(test)]
mod tests;
