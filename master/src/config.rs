//! The settings of a master: flags, environment and a file, parsed once into one checked [`Config`].
//!
//! **What is this room for?** Every setting has one name. It is given as a flag (`--offer-timeout 2m`), in the
//! environment (`BOURSE_MASTER_OFFER_TIMEOUT=2m`) or in the file that `--config` names (`offer-timeout = "2m"`); the
//! first of these that has it wins, else the default holds.
//!
//! **What does it promise?** A [`Config`] that exists is valid. All that is wrong is told at once, each with where it
//! came from; an unknown key in the file is an error with line, column and the name that was probably meant. `--check`
//! prints every value with its origin.
//!
//! **What does it leave to others?** How settings are found ([`bourse_settings`]). Reading the files that they name:
//! tokens and certificates are opened by [`serve`](crate::serve).

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use bourse_client::MASTER_PORT;
use bourse_master_core as core;
use bourse_settings::parse::{address, duration, hostname, path, switch};
use bourse_settings::{InvalidSettings, Layers};
use bourse_types::units;

pub use bourse_settings::{Origin, TlsFiles};

/// The flags of `bourse master`. Each is also a key of the configuration file and, as `BOURSE_MASTER_...`, a variable
/// of the environment.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct MasterArgs {
    /// File with these settings, TOML: the flags' names without the dashes in front
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Print every setting with its origin, say what is wrong, and exit: 0 when all is well, else 2
    #[arg(long)]
    pub check: bool,

    /// Address for gRPC, HTTP, the status page and /metrics; port 0 takes a free one [default: 127.0.0.1:5050]
    #[arg(long, value_name = "IP:PORT")]
    pub listen: Option<String>,

    /// Host name or address, told to frameworks and shown to people [default: the address of --listen]
    #[arg(long, value_name = "NAME")]
    pub hostname: Option<String>,

    /// Directory of the registry, the history and the recording [default: /var/lib/bourse/master]
    #[arg(long, value_name = "DIR")]
    pub work_dir: Option<String>,

    /// File with who may call: principals, their tokens and kinds [default: tokens.toml in the work directory]
    #[arg(long, value_name = "FILE")]
    pub tokens: Option<String>,

    /// Certificate chain to serve TLS with, PEM
    #[arg(long, value_name = "FILE")]
    pub tls_cert: Option<String>,

    /// Private key of --tls-cert, PEM
    #[arg(long, value_name = "FILE")]
    pub tls_key: Option<String>,

    /// Authority that signed the certificates of the APIs of agents and frameworks on other machines, PEM; what listens
    /// on loopback is called in plain text [default: those of the system, or plain text with --insecure]
    #[arg(long, value_name = "FILE")]
    pub tls_ca: Option<String>,

    /// Serve an address other than loopback without TLS: tokens and tasks are readable on the network
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    pub insecure: Option<String>,

    /// How long an offer may go unanswered before it is rescinded; `never` lets it stand [default: 2m]
    #[arg(long, value_name = "DURATION")]
    pub offer_timeout: Option<String>,

    /// How often agents and the master tell each other that they live [default: 15s]
    #[arg(long, value_name = "DURATION")]
    pub heartbeat_interval: Option<String>,

    /// How long an agent may be silent before it counts as unreachable, and its tasks with it [default: 75s]
    #[arg(long, value_name = "DURATION")]
    pub agent_timeout: Option<String>,

    /// How long a restarted master waits for the agents that it knows [default: 10m]
    #[arg(long, value_name = "DURATION")]
    pub agent_reregister_timeout: Option<String>,

    /// Forget history older than this [default: 14d]
    #[arg(long, value_name = "DURATION")]
    pub history_max_age: Option<String>,

    /// Keep at most this much history, the newest [default: 256MiB]
    #[arg(long, value_name = "SIZE")]
    pub history_max_bytes: Option<String>,

    /// Keep at most this much of what the master was told, the newest, for `bourse replay`; 0 records nothing
    /// [default: 256MiB]
    #[arg(long, value_name = "SIZE")]
    pub recording_max_bytes: Option<String>,

    /// Frameworks that are remembered after their teardown [default: 50]
    #[arg(long, value_name = "COUNT")]
    pub max_completed_frameworks: Option<String>,

    /// Tasks of each framework that are remembered after their end [default: 1000]
    #[arg(long, value_name = "COUNT")]
    pub max_completed_tasks: Option<String>,
}

/// The checked settings of a master.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Where the one listener is; port 0 takes a free one.
    pub listen: SocketAddr,
    /// What clients are told as the master's host.
    pub hostname: String,
    /// Holds registry, history and recording.
    pub work_dir: PathBuf,
    /// Who may call.
    pub tokens: PathBuf,
    /// Absent: plain text.
    pub tls: Option<TlsFiles>,
    /// Checks the APIs of agents and frameworks that are not on loopback; absent: the authorities of the system do, or
    /// with `insecure` they are called in plain text.
    pub tls_ca: Option<PathBuf>,
    /// Plain text was asked for aloud.
    pub insecure: bool,
    /// Absent: offers stand until they are answered.
    pub offer_timeout: Option<Duration>,
    /// 100 ms to 10 min.
    pub heartbeat_interval: Duration,
    /// At least two heartbeats.
    pub agent_timeout: Duration,
    /// Up to a day.
    pub agent_reregister_timeout: Duration,
    /// How much of the past is kept.
    pub history: HistoryBounds,
    /// Of all segments of the recording; 0: nothing is recorded.
    pub recording_max_bytes: u64,
    /// 0 to 100,000.
    pub max_completed_frameworks: usize,
    /// 0 to 100,000, of each framework.
    pub max_completed_tasks: usize,
}

/// How much of the past the history keeps. What exceeds either bound is dropped, the oldest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HistoryBounds {
    /// Older entries are dropped.
    pub max_age: Duration,
    /// Of all entries as they are stored.
    pub max_bytes: u64,
}

impl Default for HistoryBounds {
    /// Two weeks, as long as Mesos keeps what it knows of lost agents; 256 MiB is about a million entries.
    fn default() -> HistoryBounds {
        HistoryBounds { max_age: Duration::from_secs(14 * 86_400), max_bytes: 256 << 20 }
    }
}

/// The settings with all that is to be said about them.
pub type Resolved = bourse_settings::Resolved<Config>;

impl MasterArgs {
    /// Reads the file and the environment beside these flags.
    pub fn resolve(&self) -> Resolved {
        self.resolve_with(&|name| std::env::var(name).ok())
    }

    /// The checked settings, or all that is wrong with them.
    pub fn to_config(&self) -> Result<Config, InvalidSettings> {
        self.resolve().into_config()
    }

    /// As [`resolve`](MasterArgs::resolve), with an environment of the caller's.
    pub fn resolve_with(&self, env: &dyn Fn(&str) -> Option<String>) -> Resolved {
        bourse_settings::resolve("master", self.config.as_deref(), env, |layers| read(self, layers))
    }
}

/// Takes every setting once. `None` only where [`Layers`] has noted a problem.
fn read(args: &MasterArgs, layers: &mut Layers<'_>) -> Option<Config> {
    let core = core::Config::default();
    let listen = layers.take("listen", &args.listen, "127.0.0.1:5050", |text| address(text, MASTER_PORT));
    let hostname = layers.take_optional("hostname", &args.hostname, "the address of listen", hostname);
    let work_dir = layers.take("work-dir", &args.work_dir, "/var/lib/bourse/master", path);
    let tokens = layers.take_optional("tokens", &args.tokens, "tokens.toml in work-dir", path);
    let tls = layers.take_tls(&args.tls_cert, &args.tls_key, path);
    let tls_ca = layers.take_optional("tls-ca", &args.tls_ca, "none", path);
    let insecure = layers.take("insecure", &args.insecure, "false", switch);
    let offer_timeout = layers.take("offer-timeout", &args.offer_timeout, "2m", |text| match text {
        "never" => Ok(None),
        text => duration(text, SECOND..=DAY).map(Some),
    });
    let heartbeat_interval = layers.take("heartbeat-interval", &args.heartbeat_interval, "15s", |text| {
        duration(text, Duration::from_millis(100)..=10 * MINUTE)
    });
    let agent_timeout = layers.take("agent-timeout", &args.agent_timeout, "75s", |text| {
        duration(text, Duration::from_millis(200)..=DAY)
    });
    let agent_reregister_timeout =
        layers.take("agent-reregister-timeout", &args.agent_reregister_timeout, "10m", |text| {
            duration(text, Duration::ZERO..=DAY)
        });
    let max_age = layers
        .take("history-max-age", &args.history_max_age, "14d", |text| duration(text, MINUTE..=3660 * DAY));
    let max_bytes = layers.take("history-max-bytes", &args.history_max_bytes, "256MiB", bytes);
    let recording_max_bytes =
        layers.take("recording-max-bytes", &args.recording_max_bytes, "256MiB", |text| match text {
            "0" => Ok(0),
            text => bytes(text),
        });
    let max_completed_frameworks = layers.take(
        "max-completed-frameworks",
        &args.max_completed_frameworks,
        &core.completed_frameworks_max.to_string(),
        count,
    );
    let max_completed_tasks = layers.take(
        "max-completed-tasks",
        &args.max_completed_tasks,
        &core.completed_tasks_max.to_string(),
        count,
    );

    // What must agree with each other is judged when each is right by itself.
    let listen = listen?;
    let (hostname, tokens, insecure) = (hostname?, tokens?, insecure?);
    let tls = tls?;
    layers.refuse_plain(listen, tls.as_ref(), insecure, "tokens");
    let (heartbeat_interval, agent_timeout) = (heartbeat_interval?, agent_timeout?);
    if agent_timeout < 2 * heartbeat_interval {
        let why = format!(
            "{} is less than two heartbeats of {}: one lost heartbeat would make an agent unreachable; make it longer",
            units::format_duration(agent_timeout),
            units::format_duration(heartbeat_interval)
        );
        layers.refuse::<()>("agent-timeout", &why);
    }
    let work_dir = work_dir?;
    Some(Config {
        listen,
        hostname: hostname.unwrap_or_else(|| listen.ip().to_string()),
        tokens: tokens.unwrap_or_else(|| work_dir.join("tokens.toml")),
        work_dir,
        tls,
        tls_ca: tls_ca?,
        insecure,
        offer_timeout: offer_timeout?,
        heartbeat_interval,
        agent_timeout,
        agent_reregister_timeout: agent_reregister_timeout?,
        history: HistoryBounds { max_age: max_age?, max_bytes: max_bytes? },
        recording_max_bytes: recording_max_bytes?,
        max_completed_frameworks: max_completed_frameworks?,
        max_completed_tasks: max_completed_tasks?,
    })
}

impl Config {
    /// What the core is told of it.
    pub fn core(&self) -> core::Config {
        core::Config {
            heartbeat_interval: self.heartbeat_interval,
            agent_timeout: self.agent_timeout,
            offer_timeout: self.offer_timeout,
            reregister_timeout: self.agent_reregister_timeout,
            completed_frameworks_max: self.max_completed_frameworks,
            completed_tasks_max: self.max_completed_tasks,
            ..core::Config::default()
        }
    }
}

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);

fn bytes(text: &str) -> Result<u64, String> {
    let mebibytes = units::parse_size(text).map_err(|error| error.to_string())?;
    match mebibytes.thousandths() {
        ..1000 => Err(format!("{text} is too little; give at least 1MiB")),
        thousandths => Ok(thousandths.saturating_mul(1 << 20) / 1000),
    }
}

fn count(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count) if count <= 100_000 => Ok(count),
        _ => Err(format!("{text:?} is not a count; choose 0 to 100000")),
    }
}

#[cfg(test)]
mod tests;
