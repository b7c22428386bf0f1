//! The command line, as a person or a script calls it.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Output, Stdio};

use serde_json::Value;

use crate::binary;

/// How `bourse` is called: which master, whose token, at whose home.
#[derive(Clone, Debug)]
pub struct Cli {
    /// Holds the context file of `bourse dev` and nothing of the person who runs the tests.
    pub home: PathBuf,
    /// `BOURSE_MASTER`; without it, as the context file says.
    pub master: Option<String>,
    /// `BOURSE_TOKEN_FILE`.
    pub token_file: Option<PathBuf>,
}

/// What a call came to.
#[derive(Clone, Debug)]
pub struct Ran {
    /// How it ended.
    pub status: ExitStatus,
    /// What it printed.
    pub stdout: String,
    /// What it said.
    pub stderr: String,
}

impl Cli {
    /// The call, for whoever wants to do more with it than wait.
    pub fn command<T: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = T>) -> Command {
        let mut command = Command::new(binary::bourse());
        command.args(arguments).env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("HOME", &self.home).stdin(Stdio::null());
        if let Some(master) = &self.master {
            command.env("BOURSE_MASTER", master);
            // A host of a test's network is another machine to it, and the network is this test's alone.
            if !master.starts_with("127.") {
                command.env("BOURSE_INSECURE", "1");
            }
        }
        if let Some(file) = &self.token_file {
            command.env("BOURSE_TOKEN_FILE", file);
        }
        command
    }

    /// Calls and waits for the end.
    ///
    /// # Panics
    /// When the binary cannot be started.
    pub fn run<T: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = T>) -> Ran {
        self.command(arguments).output().expect("the binary can be started").into()
    }

    /// Calls with a text as standard input. It goes through a file: a pipe would have to be fed.
    ///
    /// # Panics
    /// When the binary cannot be started.
    pub fn run_with<T: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = T>, input: &str) -> Ran {
        let mut file = tempfile::tempfile_in(&self.home).expect("a test's own folder is writable");
        file.write_all(input.as_bytes()).expect("a test's own folder is writable");
        std::io::Seek::rewind(&mut file).expect("it is a file");
        let file: File = file;
        self.command(arguments).stdin(file).output().expect("the binary can be started").into()
    }

    /// Calls, and takes what it printed.
    ///
    /// # Panics
    /// When it fails.
    #[track_caller]
    pub fn ok<T: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = T>) -> Ran {
        let ran = self.run(arguments);
        assert!(ran.status.success(), "{ran}");
        ran
    }

    /// Calls with `-o json`, and reads what it printed.
    ///
    /// # Panics
    /// When it fails or prints anything but JSON.
    #[track_caller]
    pub fn json<T: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = T>) -> Value {
        let mut command = self.command(arguments);
        let ran: Ran = command.args(["-o", "json"]).output().expect("the binary can be started").into();
        assert!(ran.status.success(), "{ran}");
        serde_json::from_str(&ran.stdout)
            .unwrap_or_else(|error| panic!("{error} in what should be JSON: {ran}"))
    }
}

impl Ran {
    /// The exit code.
    ///
    /// # Panics
    /// When a signal ended it.
    #[track_caller]
    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or_else(|| panic!("{self}"))
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Ran {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ran { status: output.status, stdout: text(&output.stdout), stderr: text(&output.stderr) }
    }
}

impl std::fmt::Display for Ran {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}\nstdout: {}\nstderr: {}", self.status, self.stdout, self.stderr)
    }
}
