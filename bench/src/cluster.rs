//! A master and one agent, in a folder that goes with them.
//!
//! Not `bourse dev`, which splits the machine among three agents: what is measured here is one. The agent says that it
//! has more than any machine does, so that nothing waits for resources; its tasks share what there really is. All other
//! settings are the defaults, but for the first wait for the master.

use std::fs::{self, File};
use std::future::Future;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use bourse_client::{Connection, Settings, Target, Token, TokenSource};
use bourse_sdk::Framework;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;
use tempfile::TempDir;
use tokio::time::sleep;

use crate::ports;

/// How long anything may take that takes seconds on an idle machine.
pub const PATIENCE: Duration = Duration::from_secs(300);

/// How long the master may take until it answers.
const START: Duration = Duration::from_secs(30);

/// How often is looked whether a part has ended that should not.
const LOOK: Duration = Duration::from_millis(200);

/// Lines of each log that are told when something goes wrong.
const LAST_LINES: usize = 20;

/// Of this cluster alone, which is on loopback and lives for a minute.
const TOKEN: &str = "framework-of-the-bench-and-of-no-real-cluster";
const AGENT_TOKEN: &str = "agent-of-the-bench-and-of-no-real-cluster";

/// More than any machine has.
pub const RESOURCES: &str = "cpus:4000; mem:4000000; disk:4000000";

/// A running master and agent.
pub struct Cluster {
    folder: PathBuf,
    port: u16,
    /// The master first.
    parts: Vec<(&'static str, Child)>,
    /// Held so that it is removed last.
    _temporary: TempDir,
}

impl Cluster {
    /// Starts both. They find each other by themselves.
    pub fn start(binary: &Path) -> anyhow::Result<Cluster> {
        let mut cluster = Cluster::master_alone(binary, &[])?;
        let path = |name: &str| cluster.folder.join(name).display().to_string();
        let (master, agent) = (cluster.address(), format!("127.0.0.1:{}", cluster.port + 1));
        let (agent_dir, agent_token) = (path("agent"), path("agent.token"));
        let arguments = [
            ["--master", &*master],
            ["--listen", &*agent],
            ["--hostname", "bench"],
            ["--work-dir", &*agent_dir],
            ["--token-file", &*agent_token],
            ["--resources", RESOURCES],
            ["--reconnect-wait", "100ms"],
            ["--kill-tasks-on-exit", "true"],
        ];
        cluster.start_part(binary, "agent", arguments.as_flattened())?;
        Ok(cluster)
    }

    /// Starts a master with these arguments besides its own, for agents that are played. It stops when it is let go.
    pub fn master_alone(binary: &Path, more: &[&str]) -> anyhow::Result<Cluster> {
        let temporary =
            tempfile::Builder::new().prefix("bourse-bench-").tempdir().context("making a folder")?;
        let folder = temporary.path().canonicalize().context("looking at the folder that was just made")?;
        // As work directories are: tasks are another user, and come by here on their way to their sandboxes.
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).context("opening the folder")?;
        let port = ports::free(2)?;
        let mut cluster = Cluster { folder, port, parts: Vec::new(), _temporary: temporary };
        cluster.write_tokens()?;
        let path = |name: &str| cluster.folder.join(name).display().to_string();
        let (master, master_dir, tokens) = (cluster.address(), path("master"), path("tokens.toml"));
        let own = [["--listen", &*master], ["--work-dir", &*master_dir], ["--tokens", &*tokens]];
        cluster.start_part(binary, "master", &[own.as_flattened(), more].concat())?;
        Ok(cluster)
    }

    fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    fn write_tokens(&self) -> anyhow::Result<()> {
        let row = |kind: &str, token: &str| {
            format!("[[token]]\nprincipal = \"{kind}\"\nkind = \"{kind}\"\ntoken = \"{token}\"\n\n")
        };
        let table = row("framework", TOKEN) + &row("agent", AGENT_TOKEN);
        for (name, text) in [("tokens.toml", table.as_str()), ("agent.token", AGENT_TOKEN)] {
            let path = self.folder.join(name);
            fs::write(&path, text)
                .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(0o600)))
                .with_context(|| format!("writing {}", path.display()))?;
        }
        Ok(())
    }

    fn start_part(&mut self, binary: &Path, part: &'static str, arguments: &[&str]) -> anyhow::Result<()> {
        let path = self.log(part);
        let log = File::create(&path).with_context(|| format!("making {}", path.display()))?;
        let child = Command::new(binary)
            .arg(part)
            .args(arguments)
            // Whoever measures may have settings for a cluster of their own.
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", &self.folder)
            .stdin(Stdio::null())
            .stdout(log.try_clone().context("doubling a descriptor")?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("starting {}", binary.display()))?;
        self.parts.push((part, child));
        Ok(())
    }

    fn log(&self, part: &str) -> PathBuf {
        self.folder.join(format!("{part}.log"))
    }

    /// A framework of this cluster, whose tasks run as nobody.
    pub fn framework(&self, name: &str) -> anyhow::Result<Framework> {
        let token = TokenSource::Text(Token::new(TOKEN)?);
        let settings = Settings::master(Target::loopback(self.port)).with_token(token);
        Ok(Framework::new(name).settings(settings).user("nobody").patience(Some(START)))
    }

    /// A connection for an agent that is played, once the master answers.
    pub async fn agent_connection(&self) -> anyhow::Result<Connection> {
        let token = TokenSource::Text(Token::new(AGENT_TOKEN)?);
        let settings = Settings::master(Target::loopback(self.port)).with_token(token);
        let begun = Instant::now();
        loop {
            match Connection::open(&settings).await {
                Ok(connection) => return Ok(connection),
                Err(error) if begun.elapsed() > START => {
                    return Err(error).context("waiting for the master to answer");
                }
                Err(_) => sleep(LOOK).await,
            }
        }
    }

    /// Where all of it is.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The agent's work directory.
    pub fn agent_dir(&self) -> PathBuf {
        self.folder.join("agent")
    }

    /// The master's process.
    pub fn master(&self) -> u32 {
        self.parts[0].1.id()
    }

    /// The agent's process.
    pub fn agent(&self) -> u32 {
        self.parts[1].1.id()
    }

    /// Does it. What goes wrong is told with the end of the logs.
    pub fn wait<T>(&self, work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let watched = async {
            tokio::select! {
                done = work => done,
                ended = self.first_end() => ended.and_then(|part| Err(anyhow!("the {part} ended by itself"))),
            }
        };
        runtime.context("preparing to wait")?.block_on(watched).with_context(|| self.ends_of_logs())
    }

    /// Waits for a part that ends by itself.
    async fn first_end(&self) -> anyhow::Result<&'static str> {
        // Only looks: it is reaped when the cluster is stopped.
        let look = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        loop {
            for (name, part) in &self.parts {
                let status = waitid(Id::Pid(Pid::from_raw(part.id() as i32)), look)
                    .with_context(|| format!("looking at the {name}"))?;
                if status != WaitStatus::StillAlive {
                    return Ok(*name);
                }
            }
            sleep(LOOK).await;
        }
    }

    fn ends_of_logs(&self) -> String {
        let end = |part: &str| {
            let log = fs::read_to_string(self.log(part)).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            let last = lines[lines.len().saturating_sub(LAST_LINES)..].join("\n");
            format!("the end of the {part}'s log:\n{last}")
        };
        [end("master"), end("agent")].join("\n")
    }

    /// Stops both, and says so if anything of a task is left.
    pub fn stop(mut self) -> anyhow::Result<()> {
        self.end();
        // One entry a container, as long as there is anything of it.
        let run = self.agent_dir().join("run");
        let left = fs::read_dir(&run).with_context(|| format!("listing {}", run.display()))?.count();
        match left {
            0 => Ok(()),
            _ => bail!("{left} containers are left when the agent has stopped\n{}", self.ends_of_logs()),
        }
    }

    fn end(&mut self) {
        // The agent first: it ends its tasks, and tells so.
        for (_, mut part) in self.parts.drain(..).rev() {
            // Our own child: it cannot be another process that has taken the number.
            let _ = kill(Pid::from_raw(part.id() as i32), Signal::SIGTERM);
            let _ = part.wait();
        }
    }
}

/// A cluster that is let go does not run on.
impl Drop for Cluster {
    fn drop(&mut self) {
        self.end();
    }
}
