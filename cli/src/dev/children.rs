//! The processes of a dev cluster: each part is the same binary as this, with its log in a file.

use std::fs::OpenOptions;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::Context;
use nix::sys::prctl;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// The variable that tells a part whose child it is.
const PARENT: &str = "BOURSE_DEV_PARENT";

/// How long a part may take to stop before it is killed: more than the longest default grace of a task.
const STOP: Duration = Duration::from_secs(15);

/// One running part.
pub struct Part {
    pub name: String,
    pub log: PathBuf,
    child: Child,
}

/// Starts a part: `bourse` with these arguments, output appended to `log`.
///
/// The kernel ends it when this process dies, however it dies; and it is in its own process group, so that a Ctrl-C at
/// the terminal reaches this process alone, which then stops the parts in order.
pub fn start(name: &str, arguments: Vec<String>, log: PathBuf) -> anyhow::Result<Part> {
    let output = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&log)
        .with_context(|| format!("opening {} for the log of {name}", log.display()))?;
    let mut command = std::process::Command::new(std::env::current_exe().context("finding this binary")?);
    command
        .args(&arguments)
        .env(PARENT, std::process::id().to_string())
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output)
        .process_group(0);
    let child = Command::from(command).spawn().with_context(|| format!("starting {name}"))?;
    Ok(Part { name: name.into(), log, child })
}

impl Part {
    /// Resolves when the part ends.
    pub async fn ended(&mut self) -> anyhow::Result<ExitStatus> {
        self.child.wait().await.with_context(|| format!("waiting for {}", self.name))
    }

    /// Asks the part to stop, waits, and kills it when it does not. `Ok(false)`: it had to be killed.
    pub async fn stop(&mut self) -> anyhow::Result<bool> {
        let Some(pid) = self.child.id() else { return Ok(true) };
        // ESRCH: it ended by itself just now, which the wait below sees.
        let _ = kill(Pid::from_raw(pid as i32), Signal::SIGTERM);
        match timeout(STOP, self.ended()).await {
            Ok(ended) => ended.map(|_| true),
            Err(_) => {
                self.child.kill().await.with_context(|| format!("killing {}", self.name))?;
                Ok(false)
            }
        }
    }
}

/// In a part: asks the kernel for a SIGTERM when the dev process that started it dies, however that happens. Anywhere
/// else it does nothing.
///
/// # Errors
/// The dev process has ended already.
pub fn heed_parent() -> anyhow::Result<()> {
    let Some(parent) = std::env::var_os(PARENT) else { return Ok(()) };
    prctl::set_pdeathsig(Signal::SIGTERM).context("asking for a signal when the dev process dies")?;
    if nix::unistd::getppid().to_string() != parent.to_string_lossy() {
        anyhow::bail!("the dev process {} that started this part has ended", parent.to_string_lossy());
    }
    Ok(())
}
