//! The processes of a dev cluster: each part is the same binary as this, with its log in a file.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use anyhow::Context;
use nix::sys::prctl;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};
use tokio::time::{Instant, timeout_at};

/// What runs here, also when its file was replaced or removed meanwhile: the parts of a cluster are of one release.
const THIS_BINARY: &str = "/proc/self/exe";

/// The variable that tells a part whose child it is.
const PARENT: &str = "BOURSE_DEV_PARENT";

/// How long a part may take to stop before it is killed: more than the longest grace that an agent which ends gives to
/// its tasks.
pub const STOP: Duration = Duration::from_secs(15);

/// How much of a log's end is looked through for a part's last words.
const LAST_WORDS_WITHIN: u64 = 16 * 1024;

/// One part, which may run or not, and be started more than once.
pub struct Part {
    pub name: String,
    pub log: PathBuf,
    arguments: Vec<String>,
    /// Where it serves. Held here from its first start to the end of the cluster, so that no task can take the port of a
    /// part that is down, and collect the tokens of those who call it.
    listener: TcpListener,
    child: Option<Child>,
    /// How long the log was when it was started last.
    log_before: u64,
}

/// How a part ended.
#[derive(Debug)]
pub struct Ended {
    pub pid: u32,
    pub status: ExitStatus,
    /// What it said it ended for.
    pub why: Option<String>,
}

impl Part {
    /// `bourse` with these arguments, serving there, output appended to `log`. Not started yet.
    pub fn new(name: impl Into<String>, arguments: Vec<String>, listener: TcpListener, log: PathBuf) -> Part {
        Part { name: name.into(), log, arguments, listener, child: None, log_before: 0 }
    }

    /// Starts the part, and gives its process id; it must not run.
    ///
    /// The kernel ends it when this process dies, however it dies; and it is in its own process group, so that a Ctrl-C at
    /// the terminal reaches this process alone, which then stops the parts in order.
    ///
    /// Call it on the main thread only: the kernel counts the end of the thread that forked as the parent's death.
    pub fn start(&mut self) -> anyhow::Result<u32> {
        let output = OpenOptions::new().create(true).append(true).open(&self.log);
        let output =
            output.with_context(|| format!("opening {} for the log of {}", self.log.display(), self.name))?;
        self.log_before = output.metadata().map_or(0, |about| about.len());
        let listener =
            self.listener.try_clone().with_context(|| format!("sharing the port of {}", self.name))?;
        let mut command = std::process::Command::new(THIS_BINARY);
        command
            .arg0(std::env::args_os().next().unwrap_or_else(|| "bourse".into()))
            .args(&self.arguments)
            .env(PARENT, std::process::id().to_string())
            .stdin(OwnedFd::from(listener))
            .stdout(output.try_clone()?)
            .stderr(output)
            .process_group(0);
        let child = Command::from(command).spawn().with_context(|| format!("starting {}", self.name))?;
        let pid = child.id().context("a process that was just started has an id")?;
        self.child = Some(child);
        Ok(pid)
    }

    /// Resolves when the part ends; never while it does not run. A call that is given up loses nothing.
    pub async fn ended(&mut self) -> anyhow::Result<Ended> {
        let Some(child) = &mut self.child else { return std::future::pending().await };
        let pid = child.id().unwrap_or_default();
        let status = child.wait().await.with_context(|| format!("waiting for {}", self.name))?;
        self.child = None;
        Ok(Ended { pid, status, why: self.last_words() })
    }

    /// Asks the part to stop. It goes on; nothing happens when it does not run.
    pub fn request_stop(&self) {
        if let Some(pid) = self.child.as_ref().and_then(Child::id) {
            // ESRCH: it ended by itself just now.
            let _ = kill(Pid::from_raw(pid as i32), Signal::SIGTERM);
        }
    }

    /// Waits for the end of a part that was asked to stop, and kills it when that does not come in time. `Ok(false)`: it
    /// had to be killed.
    pub async fn stopped(&mut self, by: Instant) -> anyhow::Result<bool> {
        if self.child.is_none() {
            return Ok(true);
        }
        if let Ok(ended) = timeout_at(by, self.ended()).await {
            return ended.map(|_| true);
        }
        if let Some(mut child) = self.child.take() {
            child.kill().await.with_context(|| format!("killing {}", self.name))?;
        }
        Ok(false)
    }

    /// The error that the part ended with: the last line it began with the program's name.
    fn last_words(&self) -> Option<String> {
        let mut file = File::open(&self.log).ok()?;
        let length = file.metadata().ok()?.len();
        file.seek(SeekFrom::Start(self.log_before.max(length.saturating_sub(LAST_WORDS_WITHIN)))).ok()?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).ok()?;
        let text = String::from_utf8_lossy(&bytes);
        text.lines().rev().find_map(|line| line.strip_prefix("bourse: ")).map(str::to_owned)
    }
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.status.signal().map(Signal::try_from) {
            Some(Ok(signal)) => write!(f, "was killed by {signal}"),
            Some(Err(_)) | None => write!(f, "ended ({})", self.status),
        }?;
        self.why.as_ref().map_or(Ok(()), |why| write!(f, ": {why}"))
    }
}

/// In a part: asks the kernel for a SIGTERM when the dev process that started it dies, however that happens. Anywhere
/// else it does nothing.
///
/// # Errors
/// The dev process has ended already.
pub fn heed_parent() -> anyhow::Result<()> {
    let Some(parent) = std::env::var_os(PARENT) else { return Ok(()) };
    // It was started by a path that ends otherwise. A part with another name works as well.
    let _ = prctl::set_name(c"bourse");
    prctl::set_pdeathsig(Signal::SIGTERM).context("asking for a signal when the dev process dies")?;
    if nix::unistd::getppid().to_string() != parent.to_string_lossy() {
        anyhow::bail!("the dev process {} that started this part has ended", parent.to_string_lossy());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_words_are_the_newest_error_of_the_last_start_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let log = folder.path().join("part.log");
        let old = "bourse: an old error\n";
        std::fs::write(&log, format!("{old}a line of the log\n")).expect("written");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let mut part = Part::new("part", Vec::new(), listener, log.clone());
        assert_eq!(part.last_words().as_deref(), Some("an old error"));
        part.log_before = old.len() as u64;
        assert_eq!(part.last_words(), None);
        std::fs::write(&log, format!("{old}more\nbourse: the disk is full\n")).expect("written");
        assert_eq!(part.last_words().as_deref(), Some("the disk is full"));
    }

    #[test]
    fn an_end_is_told_with_its_signal_or_status_and_the_reason() {
        let ended = |raw, why: Option<&str>| {
            Ended { pid: 1, status: ExitStatus::from_raw(raw), why: why.map(str::to_owned) }.to_string()
        };
        assert_eq!(ended(9, None), "was killed by SIGKILL");
        assert_eq!(ended(1 << 8, Some("no room")), "ended (exit status: 1): no room");
    }
}
