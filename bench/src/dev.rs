//! A dev cluster of the bench's own, in a folder that goes with it.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::ports;

/// A running `bourse dev`.
pub struct Dev {
    binary: PathBuf,
    folder: TempDir,
    process: Child,
}

impl Dev {
    /// Starts one and waits until it says that it is ready.
    pub fn start(binary: &Path) -> anyhow::Result<Dev> {
        let folder = tempfile::tempdir().context("making a folder")?;
        let mut process = Command::new(binary)
            .args(["dev", "--state-dir"])
            .arg(folder.path().join("state"))
            .args(["--port", &ports::free(4)?.to_string()])
            .env("XDG_CONFIG_HOME", folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting {}", binary.display()))?;
        let lines = BufReader::new(process.stderr.take().context("its standard error is a pipe")?).lines();
        let mut said = String::new();
        for line in lines {
            let line = line?;
            if line.starts_with("Bourse is ready") {
                return Ok(Dev { binary: binary.to_owned(), folder, process });
            }
            said += &line;
        }
        bail!("bourse dev did not get ready: {said}")
    }

    /// A command of its user.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.binary);
        command.env("XDG_CONFIG_HOME", self.folder.path());
        command
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        // Its own child: it cannot be another process that has taken the number.
        let _ = kill(Pid::from_raw(self.process.id() as i32), Signal::SIGINT);
        let _ = self.process.wait();
    }
}
