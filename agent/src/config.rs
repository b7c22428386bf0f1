//! The settings of an agent: flags, environment and a file, parsed once into one checked [`Config`].
//!
//! Every setting has one name. It is given as a flag (`--kill-grace 10s`), in the environment
//! (`BOURSE_AGENT_KILL_GRACE=10s`) or in the file that `--config` names (`kill-grace = "10s"`); the first of these that
//! has it wins, else the default holds. An unknown key in the file is an error with its line and column. A [`Config`]
//! that exists is valid; the files that it names are opened later.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bourse_client::{AGENT_PORT, BadTarget, MASTER_PORT, Settings, Target, TokenSource};
use bourse_containerizer::Isolation;
use bourse_types::units::{self, BadUnit};
use bourse_types::{Attributes, BadAttributes};
use serde::Deserialize;

/// A task may have so many processes and threads unless the operator says otherwise: enough for large thread pools,
/// and a fork bomb of that size does not hurt a machine.
const PIDS_MAX: u64 = 4096;

/// How often the use of each task is measured.
const USAGE_INTERVAL: Duration = Duration::from_secs(5);

/// The flags of `bourse agent`. Each is also a key of the configuration file and, as `BOURSE_AGENT_...`, a variable of
/// the environment.
#[derive(clap::Args, Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct AgentArgs {
    /// File with these settings, TOML: the flags' names without the dashes in front
    #[arg(long, value_name = "FILE")]
    #[serde(skip)]
    pub config: Option<PathBuf>,

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

    /// Directory of the checkpoint and the sandboxes; an agent keeps its id with it [default: /var/lib/bourse/agent]
    #[arg(long, value_name = "DIR")]
    pub work_dir: Option<PathBuf>,

    /// Directory of what runs now [default: run in the work directory]
    #[arg(long, value_name = "DIR")]
    pub runtime_dir: Option<PathBuf>,

    /// What the agent offers, such as "cpus:4; mem:8GiB; ports:[31000-32000]"; what is not named is found
    #[arg(long, value_name = "RESOURCES")]
    pub resources: Option<String>,

    /// Attributes that frameworks may choose by, such as "rack:a;zone:b"
    #[arg(long, value_name = "ATTRIBUTES")]
    pub attributes: Option<String>,

    /// File with the agent's token [default: token in the work directory]
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,

    /// How tasks are kept apart: `linux` (control groups and namespaces) or `process` (not at all) [default: linux]
    #[arg(long, value_name = "HOW")]
    pub isolation: Option<String>,

    /// Let tasks run as root where their framework asks for it; else they run as nobody. Gives the machine to whoever may
    /// launch: a task of root can write its files
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    pub allow_root: Option<bool>,

    /// Kill all tasks when the agent is stopped; otherwise they run on and the next agent takes them over
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    pub kill_tasks_on_exit: Option<bool>,

    /// Between SIGTERM and SIGKILL for tasks without a kill policy [default: 5s]
    #[arg(long, value_name = "DURATION")]
    pub kill_grace: Option<String>,

    /// The most processes and threads of one task [default: 4096]
    #[arg(long, value_name = "COUNT")]
    pub pids_limit: Option<u64>,

    /// Hide this file or directory from tasks too, besides the agent's own; may be repeated
    #[arg(long, value_name = "PATH")]
    #[serde(default)]
    pub hide: Vec<PathBuf>,

    /// How often the use of tasks is measured [default: 5s]
    #[arg(long, value_name = "DURATION")]
    pub usage_interval: Option<String>,

    /// The first wait before the master is tried again, at most; it doubles up to a minute [default: 1s]
    #[arg(long, value_name = "DURATION")]
    pub reconnect_wait: Option<String>,

    /// Certificate chain to serve TLS with, PEM
    #[arg(long, value_name = "FILE")]
    pub tls_cert: Option<PathBuf>,

    /// Private key of --tls-cert, PEM
    #[arg(long, value_name = "FILE")]
    pub tls_key: Option<PathBuf>,

    /// Authority that signed the master's certificate, PEM [default: those of the system]
    #[arg(long, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,

    /// Use addresses other than loopback without TLS: tokens and logs are readable on the network
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    pub insecure: Option<bool>,
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
    /// As it was written; absent: all that is found.
    pub resources: Option<String>,
    /// What frameworks may choose by.
    pub attributes: Attributes,
    /// Holds the token that the master knows, and that callers of the agent's API must show.
    pub token_file: PathBuf,
    /// How tasks are kept apart.
    pub isolation: Isolation,
    /// Tasks may run as root.
    pub allow_root: bool,
    /// Stopping the agent kills its tasks.
    pub kill_tasks_on_exit: bool,
    /// For tasks without a kill policy.
    pub kill_grace: Duration,
    /// Of each task.
    pub pids_limit: u64,
    /// What tasks must not see besides the agent's own files.
    pub hide: Vec<PathBuf>,
    /// At least 100 ms.
    pub usage_interval: Duration,
    /// The first window of the waits between attempts to reach the master.
    pub reconnect_wait: Duration,
    /// Absent: plain text.
    pub tls: Option<TlsFiles>,
}

/// What to serve TLS with, both PEM.
#[derive(Clone, Debug, PartialEq)]
pub struct TlsFiles {
    /// The chain, the agent's own certificate first.
    pub cert: PathBuf,
    /// The private key of the first certificate.
    pub key: PathBuf,
}

/// Settings that make no sense.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("could not read the configuration file {}; name another with --config", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The file is not right; the text has line and column.
    #[error("the configuration file {} is not right: {why}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What, where, and what is allowed there.
        why: String,
    },
    /// A value cannot be read.
    #[error("{name} {given:?} cannot be read; write {example}")]
    Value {
        /// Which setting.
        name: &'static str,
        /// As it was written.
        given: String,
        /// One that can be read.
        example: &'static str,
    },
    /// A duration cannot be read.
    #[error("{name}")]
    Duration {
        /// Which setting.
        name: &'static str,
        /// What is wrong with it.
        #[source]
        source: BadUnit,
    },
    /// The attributes cannot be read.
    #[error("attributes")]
    Attributes(#[from] BadAttributes),
    /// The master's address cannot be read.
    #[error("master")]
    Master(#[from] BadTarget),
    /// Only one half of a certificate and its key.
    #[error("tls-cert and tls-key belong together; give both or neither")]
    HalfTls,
    /// A listener that would show tokens and logs to the network.
    #[error(
        "listening on {0} without TLS would show tokens and logs to everybody on the network; give --tls-cert and \
         --tls-key, listen on 127.0.0.1, or say --insecure if you mean it"
    )]
    Plain(SocketAddr),
    /// A path that would change its meaning with the working directory of whoever reads it.
    #[error("could not make {} absolute; give an absolute path", path.display())]
    Relative {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

impl Config {
    /// Puts flags, environment and file together and checks them.
    pub fn load(args: AgentArgs, env: &dyn Fn(&str) -> Option<String>) -> Result<Config, ConfigError> {
        let file = match args.config.clone().or_else(|| env("BOURSE_AGENT_CONFIG").map(PathBuf::from)) {
            Some(path) => read_file(&path)?,
            None => AgentArgs::default(),
        };
        let from_env = read_env(env)?;
        check(args.or(from_env).or(file))
    }
}

impl AgentArgs {
    fn or(self, weaker: AgentArgs) -> AgentArgs {
        AgentArgs {
            config: self.config.or(weaker.config),
            master: self.master.or(weaker.master),
            listen: self.listen.or(weaker.listen),
            advertise: self.advertise.or(weaker.advertise),
            hostname: self.hostname.or(weaker.hostname),
            work_dir: self.work_dir.or(weaker.work_dir),
            runtime_dir: self.runtime_dir.or(weaker.runtime_dir),
            resources: self.resources.or(weaker.resources),
            attributes: self.attributes.or(weaker.attributes),
            token_file: self.token_file.or(weaker.token_file),
            isolation: self.isolation.or(weaker.isolation),
            allow_root: self.allow_root.or(weaker.allow_root),
            kill_tasks_on_exit: self.kill_tasks_on_exit.or(weaker.kill_tasks_on_exit),
            kill_grace: self.kill_grace.or(weaker.kill_grace),
            pids_limit: self.pids_limit.or(weaker.pids_limit),
            hide: if self.hide.is_empty() { weaker.hide } else { self.hide },
            usage_interval: self.usage_interval.or(weaker.usage_interval),
            reconnect_wait: self.reconnect_wait.or(weaker.reconnect_wait),
            tls_cert: self.tls_cert.or(weaker.tls_cert),
            tls_key: self.tls_key.or(weaker.tls_key),
            ca_file: self.ca_file.or(weaker.ca_file),
            insecure: self.insecure.or(weaker.insecure),
        }
    }
}

fn read_file(path: &Path) -> Result<AgentArgs, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    toml::from_str(&text).map_err(|error| ConfigError::File { path: path.to_owned(), why: error.to_string() })
}

fn read_env(env: &dyn Fn(&str) -> Option<String>) -> Result<AgentArgs, ConfigError> {
    let get = |name: &str| env(&format!("BOURSE_AGENT_{name}")).filter(|value| !value.is_empty());
    let path = |name: &str| get(name).map(PathBuf::from);
    let flag = |name: &'static str| match get(name) {
        None => Ok(None),
        Some(given) => match given.as_str() {
            "true" | "1" => Ok(Some(true)),
            "false" | "0" => Ok(Some(false)),
            _ => Err(ConfigError::Value { name, given, example: "true or false" }),
        },
    };
    let number = |name: &'static str| match get(name) {
        None => Ok(None),
        Some(given) => match given.parse() {
            Ok(number) => Ok(Some(number)),
            Err(_) => Err(ConfigError::Value { name, given, example: "a number" }),
        },
    };
    Ok(AgentArgs {
        config: None,
        master: get("MASTER"),
        listen: get("LISTEN"),
        advertise: get("ADVERTISE"),
        hostname: get("HOSTNAME"),
        work_dir: path("WORK_DIR"),
        runtime_dir: path("RUNTIME_DIR"),
        resources: get("RESOURCES"),
        attributes: get("ATTRIBUTES"),
        token_file: path("TOKEN_FILE"),
        isolation: get("ISOLATION"),
        allow_root: flag("ALLOW_ROOT")?,
        kill_tasks_on_exit: flag("KILL_TASKS_ON_EXIT")?,
        kill_grace: get("KILL_GRACE"),
        pids_limit: number("PIDS_LIMIT")?,
        hide: get("HIDE").map(|paths| std::env::split_paths(&paths).collect()).unwrap_or_default(),
        usage_interval: get("USAGE_INTERVAL"),
        reconnect_wait: get("RECONNECT_WAIT"),
        tls_cert: path("TLS_CERT"),
        tls_key: path("TLS_KEY"),
        ca_file: path("CA_FILE"),
        insecure: flag("INSECURE")?,
    })
}

fn check(args: AgentArgs) -> Result<Config, ConfigError> {
    let listen = listen(args.listen)?;
    let insecure = args.insecure.unwrap_or(false);
    let tls = match (args.tls_cert, args.tls_key) {
        (Some(cert), Some(key)) => Some(TlsFiles { cert: absolute(cert)?, key: absolute(key)? }),
        (None, None) => None,
        (Some(_), None) | (None, Some(_)) => return Err(ConfigError::HalfTls),
    };
    if !listen.ip().is_loopback() && tls.is_none() && !insecure {
        return Err(ConfigError::Plain(listen));
    }
    let work_dir = absolute(args.work_dir.unwrap_or_else(|| "/var/lib/bourse/agent".into()))?;
    let token_file = absolute(args.token_file.unwrap_or_else(|| work_dir.join("token")))?;
    let master = match &args.master {
        Some(text) => Target::parse(text, MASTER_PORT)?,
        None => Target::loopback(MASTER_PORT),
    };
    let master = Settings {
        token: Some(TokenSource::File(token_file.clone())),
        ca_file: args.ca_file.map(absolute).transpose()?,
        insecure,
        ..Settings::master(master)
    };
    Ok(Config {
        master,
        listen,
        advertise: args.advertise.map(advertise).transpose()?,
        hostname: args.hostname.unwrap_or_else(machine_name),
        work_dir,
        runtime_dir: args.runtime_dir.map(absolute).transpose()?,
        resources: args.resources,
        attributes: args.attributes.as_deref().unwrap_or("").parse()?,
        token_file,
        isolation: isolation(args.isolation)?,
        allow_root: args.allow_root.unwrap_or(false),
        kill_tasks_on_exit: args.kill_tasks_on_exit.unwrap_or(false),
        kill_grace: duration("kill-grace", args.kill_grace, Duration::from_secs(5))?,
        pids_limit: args.pids_limit.unwrap_or(PIDS_MAX).max(1),
        hide: args.hide.into_iter().map(absolute).collect::<Result<_, _>>()?,
        usage_interval: duration("usage-interval", args.usage_interval, USAGE_INTERVAL)?
            .max(Duration::from_millis(100)),
        reconnect_wait: duration("reconnect-wait", args.reconnect_wait, Duration::from_secs(1))?,
        tls,
    })
}

fn listen(given: Option<String>) -> Result<SocketAddr, ConfigError> {
    let Some(given) = given else { return Ok(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), AGENT_PORT)) };
    given.parse().map_err(|_| ConfigError::Value {
        name: "listen",
        given,
        example: "an address such as 127.0.0.1:5051",
    })
}

/// Port 0 stands for the one that is bound.
fn advertise(given: String) -> Result<(String, u16), ConfigError> {
    if let Some(host) = given.strip_suffix(":0").filter(|host| !host.is_empty() && !host.contains(':')) {
        return Ok((host.to_owned(), 0));
    }
    let address = bourse_wire::agent::read_address(&given);
    let bad = |_| ConfigError::Value { name: "advertise", given, example: "host:port, such as agent-7:5051" };
    address.map(|address| (address.host, address.port)).map_err(bad)
}

fn isolation(given: Option<String>) -> Result<Isolation, ConfigError> {
    match given.as_deref() {
        None | Some("linux") => Ok(Isolation::Linux),
        Some("process") => Ok(Isolation::Process),
        Some(other) => Err(ConfigError::Value {
            name: "isolation",
            given: other.to_owned(),
            example: "linux or process",
        }),
    }
}

fn duration(name: &'static str, given: Option<String>, default: Duration) -> Result<Duration, ConfigError> {
    match given {
        None => Ok(default),
        Some(text) => units::parse_duration(&text).map_err(|source| ConfigError::Duration { name, source }),
    }
}

fn absolute(path: PathBuf) -> Result<PathBuf, ConfigError> {
    std::path::absolute(&path).map_err(|source| ConfigError::Relative { path, source })
}

fn machine_name() -> String {
    let name = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
    name.filter(|name| !name.is_empty()).unwrap_or_else(|| "localhost".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(args: AgentArgs, env: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let find =
            |name: &str| env.iter().find(|(known, _)| *known == name).map(|(_, value)| value.to_string());
        Config::load(args, &find)
    }

    fn refused(args: AgentArgs) -> String {
        load(args, &[]).expect_err("refused").to_string()
    }

    #[test]
    fn without_anything_the_agent_is_on_loopback_isolates_and_allows_no_root() {
        let config = load(AgentArgs::default(), &[]).expect("valid");
        assert_eq!(config.listen.to_string(), "127.0.0.1:5051");
        assert_eq!(config.master.target.to_string(), "127.0.0.1:5050");
        assert_eq!(
            (config.isolation, config.allow_root, config.kill_tasks_on_exit),
            (Isolation::Linux, false, false)
        );
        assert_eq!(config.token_file, Path::new("/var/lib/bourse/agent/token"));
    }

    #[test]
    fn a_flag_beats_the_environment_and_that_beats_the_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("agent.toml");
        std::fs::write(
            &path,
            "hostname = \"file\"\nkill-grace = \"1m\"\nmaster = \"file:1\"\nallow-root = true\n",
        )
        .expect("written");
        let args = AgentArgs { config: Some(path), hostname: Some("flag".into()), ..AgentArgs::default() };
        let env = [("BOURSE_AGENT_HOSTNAME", "env"), ("BOURSE_AGENT_MASTER", "env:2")];
        let config = load(args, &env).expect("valid");
        assert_eq!(config.hostname, "flag");
        assert_eq!(config.master.target.to_string(), "env:2");
        assert_eq!((config.kill_grace, config.allow_root), (Duration::from_secs(60), true));
    }

    #[test]
    fn an_unknown_key_in_the_file_is_an_error_with_its_place_and_the_known_ones() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("agent.toml");
        std::fs::write(&path, "hostname = \"a\"\nkill-grase = \"1m\"\n").expect("written");
        let text = refused(AgentArgs { config: Some(path), ..AgentArgs::default() });
        for part in ["line 2, column 1", "kill-grase", "kill-grace"] {
            assert!(text.contains(part), "{part} is not in {text}");
        }
    }

    #[test]
    fn another_address_than_loopback_needs_tls_or_a_loud_word() {
        let listen =
            |insecure| AgentArgs { listen: Some("0.0.0.0:5051".into()), insecure, ..AgentArgs::default() };
        assert!(refused(listen(None)).contains("--insecure"));
        assert!(load(listen(Some(true)), &[]).is_ok());
        let half = AgentArgs { tls_cert: Some("/c.pem".into()), ..AgentArgs::default() };
        assert!(refused(half).contains("belong together"));
    }

    #[test]
    fn values_that_mean_nothing_are_refused_with_one_that_does() {
        let args = AgentArgs { isolation: Some("none".into()), ..AgentArgs::default() };
        assert_eq!(refused(args), r#"isolation "none" cannot be read; write linux or process"#);
        let args = AgentArgs { listen: Some("here".into()), ..AgentArgs::default() };
        assert!(refused(args).contains("127.0.0.1:5051"));
        let args = AgentArgs { kill_grace: Some("soon".into()), ..AgentArgs::default() };
        assert_eq!(refused(args), "kill-grace");
    }
}
