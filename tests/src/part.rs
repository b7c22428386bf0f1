//! One process of a cluster: started, killed, started again, with its output in a file.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use std::{fs, thread};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::wait::PATIENCE;

/// A process, and how to start it again.
#[derive(Debug)]
pub struct Part {
    name: String,
    program: PathBuf,
    /// Commands that become the next one each, and the last of them the program.
    prefix: Vec<OsString>,
    arguments: Vec<OsString>,
    variables: Vec<(String, OsString)>,
    log: PathBuf,
    child: Option<Child>,
}

impl Part {
    /// Not started yet. Its output is appended to `NAME.log` in `logs`.
    pub fn new(name: &str, program: &Path, logs: &Path) -> Part {
        Part {
            name: name.to_owned(),
            program: program.to_owned(),
            prefix: Vec::new(),
            arguments: Vec::new(),
            variables: Vec::new(),
            log: logs.join(format!("{name}.log")),
            child: None,
        }
    }

    /// With these arguments too.
    pub fn arguments<T: Into<OsString>>(mut self, arguments: impl IntoIterator<Item = T>) -> Part {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Started by this command, which becomes the program with the same process id: on another host, say. What is said
    /// first comes first.
    pub fn through(mut self, prefix: impl IntoIterator<Item = OsString>) -> Part {
        self.prefix.extend(prefix);
        self
    }

    /// With limits as `prlimit` has them: `--nofile=256`.
    pub fn limited(self, limits: &str) -> Part {
        let words = ["prlimit"].into_iter().chain(limits.split_whitespace()).chain(["--"]);
        self.through(words.map(OsString::from).collect::<Vec<_>>())
    }

    /// With this variable. Beside those given, a part has a `PATH` and no other.
    pub fn variable(mut self, name: &str, value: impl Into<OsString>) -> Part {
        self.variables.push((name.to_owned(), value.into()));
        self
    }

    /// From its next start on it is this program.
    pub fn set_program(&mut self, program: &Path) {
        program.clone_into(&mut self.program);
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Starts it; it must not run.
    ///
    /// # Panics
    /// When it runs, or cannot be started.
    pub fn start(&mut self) {
        assert!(self.child.is_none(), "{} runs already", self.name);
        let log = OpenOptions::new().create(true).append(true).open(&self.log);
        let log = log.unwrap_or_else(|error| panic!("opening {}: {error}", self.log.display()));
        let mut words = self.prefix.iter().map(OsString::as_os_str).chain([self.program.as_os_str()]);
        let child = Command::new(words.next().expect("the program at least"))
            .args(words)
            .args(&self.arguments)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a descriptor can be doubled"))
            .stderr(log)
            .spawn();
        let child = child.unwrap_or_else(|error| panic!("starting {}: {error}", self.program.display()));
        self.child = Some(child);
    }

    /// Its process id, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        let status = self.child.as_mut()?.try_wait().expect("it is a child of ours")?;
        self.child = None;
        Some(status)
    }

    /// Ends it as a power cut would: it can do nothing about it.
    ///
    /// # Panics
    /// When it has ended by itself before.
    pub fn kill9(&mut self) {
        assert_eq!(
            self.ended(),
            None,
            "{} was to be killed, but had ended by itself; {}",
            self.name,
            self.tail()
        );
        if let Some(mut child) = self.child.take() {
            child.kill().expect("it is a child of ours");
            child.wait().expect("it is a child of ours");
        }
    }

    /// Ends it as a power cut would, unless it has ended by itself before: then it says how.
    pub fn kill9_or_ended(&mut self) -> Option<ExitStatus> {
        let mut child = self.child.take()?;
        // It may have ended: then there is nothing to kill.
        let _ = child.kill();
        let status = child.wait().expect("it is a child of ours");
        (status.signal() != Some(Signal::SIGKILL as i32)).then_some(status)
    }

    /// Sends a signal.
    ///
    /// # Panics
    /// When it does not run.
    pub fn signal(&self, signal: Signal) {
        let pid = self.pid().unwrap_or_else(|| panic!("{} does not run", self.name));
        kill(Pid::from_raw(pid as i32), signal).expect("it is a child of ours");
    }

    /// Sends a signal and waits for the end.
    ///
    /// # Panics
    /// When it does not end in time.
    pub fn stop(&mut self, signal: Signal) -> ExitStatus {
        self.signal(signal);
        self.wait(PATIENCE)
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it does not end in time.
    pub fn wait(&mut self, patience: Duration) -> ExitStatus {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(status) = self.ended() {
                return status;
            }
            assert!(
                Instant::now() < deadline,
                "{} did not end within {patience:?}; {}",
                self.name,
                self.tail()
            );
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// All that it wrote so far.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The end of what it wrote, for the message of a failure.
    pub fn tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        let last = lines[lines.len().saturating_sub(40)..].join("\n");
        format!("the end of {}:\n{last}", self.log.display())
    }
}

/// A part that is let go does not run on.
impl Drop for Part {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // It may have ended: then there is nothing to kill.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
