//! What the agent wants to have run.

mod cores;
mod limits;

use std::path::PathBuf;

pub use bourse_init::plan::{Bind, LogLimits, SANDBOX};
use bourse_types::{ContainerId, Namespaces};

use crate::seccomp::Filters;

pub use cores::{BadCores, CORE_MAX, Cores};
pub use limits::{BadLimits, HugePages, IO_WEIGHT_MAX, Limits, OOM_SCORE_MAX};

/// The longest host name that Linux takes, in bytes.
pub const HOSTNAME_MAX: usize = 64;

/// One container, as the agent wants it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerSpec {
    /// Names the container; unique on this agent for good, also after its end.
    pub container_id: ContainerId,
    /// The program and its arguments. A program without `/` is looked up in the `PATH` of `env`.
    pub argv: Vec<String>,
    /// The whole environment; nothing of the agent's is inherited. A `PATH` is added where there is none.
    pub env: Vec<(String, String)>,
    /// The user to run as, by name or number; `None` is the agent's own user.
    pub user: Option<String>,
    /// The task's own directory, absolute. It has to exist; it is given to the task's user, and gets the logs `stdout` and
    /// `stderr`, and the directory `tmp`, which is the container's `/tmp`. In the container it is at [`SANDBOX`]; with
    /// [`Isolation::Process`] at its own place.
    pub sandbox: PathBuf,
    /// Working directory, absolute; `None` is the sandbox.
    pub cwd: Option<PathBuf>,
    /// Host name inside the container, at most 64 bytes; `None` keeps the machine's. Without effect in
    /// [`Isolation::Process`].
    pub hostname: Option<String>,
    /// What the task may use. Without effect in [`Isolation::Process`].
    pub limits: Limits,
    /// How much the task may log.
    pub logs: LogLimits,
    /// A directory that is the task's root, absolute, with no link on the way, and is not changed by what the task writes;
    /// that goes into `.rootfs` in the sandbox, new for each container, which overlayfs has to be able to write to. `None`
    /// shows the machine's programs, libraries and settings, read-only. Refused in [`Isolation::Process`].
    pub root: Option<PathBuf>,
    /// What of the machine the task sees besides, in any order. Refused in [`Isolation::Process`].
    pub volumes: Vec<Bind>,
    /// Its network and its users. With users of its own, `user` is one of them, and has of the machine's files and volumes
    /// what everybody has; the files of `root` are given to them. Refused in [`Isolation::Process`] unless both are the
    /// machine's.
    pub namespaces: Namespaces,
    /// Directories and files that the task must not see, by their paths on the machine: the agent's work and runtime
    /// directories, its tokens. What does not exist is skipped. Without effect in [`Isolation::Process`].
    pub hide: Vec<PathBuf>,
    /// Which system calls the task may make. Without effect in [`Isolation::Process`].
    pub filters: Filters,
    /// How far the task is kept apart from the machine.
    pub isolation: Isolation,
}

/// How far a task is kept apart from the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    /// Control groups and namespaces.
    Linux,
    /// A session of its own and nothing more (`--isolation=process`): for machines that cannot isolate, and
    /// only when the operator says so.
    Process,
}

/// A spec that cannot be run on any machine.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadSpec {
    /// `argv` is empty.
    #[error("the command is empty; give the task a command to run")]
    NoCommand,
    /// A text with a zero byte in it.
    #[error("{what} {text:?} holds a zero byte, which no program can be given; remove it")]
    ZeroByte {
        /// Which text: an argument, a variable.
        what: &'static str,
        /// The text.
        text: String,
    },
    /// A variable's name is empty or holds `=`.
    #[error("the environment variable name {0:?} is empty or holds a '='; rename the variable")]
    VariableName(String),
    /// A path is not absolute.
    #[error("the path {} is not absolute; give an absolute path", path.display())]
    Relative {
        /// The path.
        path: PathBuf,
    },
    /// A volume is, or lies in, what is hidden from tasks.
    #[error("the volume {} lies in {}, which is hidden from tasks; name another path", volume.display(), hidden.display())]
    Hidden {
        /// The volume's path on the machine.
        volume: PathBuf,
        /// What is hidden.
        hidden: PathBuf,
    },
    /// A volume without a container.
    #[error("the volume {} cannot be mounted: this agent does not isolate tasks (--isolation=process)", .0.display())]
    NoContainer(PathBuf),
    /// A root without a container.
    #[error("the root {} cannot be had: this agent does not isolate tasks (--isolation=process)", .0.display())]
    NoRoot(PathBuf),
    /// Namespaces without a container.
    #[error(
        "a network or users of its own cannot be had: this agent does not isolate tasks (--isolation=process)"
    )]
    NoNamespaces,
    /// The host name is too long.
    #[error("the host name {0:?} is longer than {HOSTNAME_MAX} bytes; shorten it")]
    Hostname(String),
    /// Limits that no machine can set.
    #[error(transparent)]
    Limits(#[from] BadLimits),
}

impl ContainerSpec {
    /// Refuses what could not be run anywhere.
    pub fn check(&self) -> Result<(), BadSpec> {
        if self.argv.is_empty() || self.argv[0].is_empty() {
            return Err(BadSpec::NoCommand);
        }
        check_command(&self.argv, &self.env)?;
        self.limits.check()?;
        let of_volumes = self.volumes.iter().flat_map(|bind| [&bind.source, &bind.target]);
        for path in
            self.cwd.iter().chain([&self.sandbox]).chain(&self.root).chain(&self.hide).chain(of_volumes)
        {
            if !path.is_absolute() {
                return Err(BadSpec::Relative { path: path.clone() });
            }
        }
        if let Some(root) = self.root.as_ref().filter(|_| self.isolation == Isolation::Process) {
            return Err(BadSpec::NoRoot(root.clone()));
        }
        if self.isolation == Isolation::Process && self.namespaces != Namespaces::default() {
            return Err(BadSpec::NoNamespaces);
        }
        for volume in self.volumes.iter().map(|bind| &bind.source) {
            if self.isolation == Isolation::Process {
                return Err(BadSpec::NoContainer(volume.clone()));
            }
            // The task's own is hidden from the others only.
            let hidden = self.hide.iter().find(|hidden| volume.starts_with(hidden));
            if let Some(hidden) = hidden.filter(|_| !volume.starts_with(&self.sandbox)) {
                return Err(BadSpec::Hidden { volume: volume.clone(), hidden: hidden.clone() });
            }
        }
        match &self.hostname {
            Some(name) if name.len() > HOSTNAME_MAX => Err(BadSpec::Hostname(name.clone())),
            _ => Ok(()),
        }
    }
}

/// Refuses arguments and variables that no program can be given.
pub(crate) fn check_command(argv: &[String], env: &[(String, String)]) -> Result<(), BadSpec> {
    let no_zero = |what, text: &String| match text.contains('\0') {
        true => Err(BadSpec::ZeroByte { what, text: text.clone() }),
        false => Ok(()),
    };
    argv.iter().try_for_each(|arg| no_zero("the argument", arg))?;
    for (name, value) in env {
        if name.is_empty() || name.contains('=') {
            return Err(BadSpec::VariableName(name.clone()));
        }
        no_zero("the environment variable", name)?;
        no_zero("the environment variable", value)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use bourse_types::{Milli, Network, Users};

    use super::*;

    fn spec() -> ContainerSpec {
        ContainerSpec {
            container_id: ContainerId::new("c").expect("a good id"),
            argv: vec!["true".into()],
            env: vec![],
            user: None,
            sandbox: "/s".into(),
            cwd: None,
            hostname: None,
            limits: Limits::unlimited(Milli::new(100)),
            logs: LogLimits::NONE,
            root: None,
            volumes: vec![],
            namespaces: Namespaces::default(),
            hide: vec![],
            filters: Filters::default(),
            isolation: Isolation::Linux,
        }
    }

    #[test]
    fn what_no_program_can_be_given_is_refused_with_the_thing_named() {
        let refused = |change: fn(&mut ContainerSpec)| {
            let mut spec = spec();
            change(&mut spec);
            spec.check().expect_err("this spec is bad").to_string()
        };
        assert_eq!(spec().check(), Ok(()));
        assert!(refused(|s| s.argv.clear()).contains("empty"));
        assert!(refused(|s| s.argv.push("a\0b".into())).contains("zero byte"));
        assert!(refused(|s| s.env.push(("A=B".into(), String::new()))).contains("\"A=B\""));
        assert!(refused(|s| s.sandbox = "s".into()).contains("not absolute"));
        assert!(refused(|s| s.hostname = Some("h".repeat(65))).contains("64 bytes"));
        assert!(refused(|s| s.limits.oom_score = -5).contains("from 0 to 1000"));
        let volume = |source: &str| Bind { source: source.into(), target: "/v".into(), writable: false };
        let mut hiding = ContainerSpec { volumes: vec![volume("/v/secret/of")], ..spec() };
        hiding.hide = vec!["/v/secret".into()];
        assert!(hiding.check().is_err_and(|bad| bad.to_string().contains("hidden from tasks")));
        hiding.volumes = vec![volume("/v"), volume("/v/secretary")];
        assert_eq!(hiding.check(), Ok(()));
        hiding.isolation = Isolation::Process;
        assert!(hiding.check().is_err_and(|bad| bad.to_string().contains("--isolation=process")));
        assert!(refused(|s| s.root = Some("image".into())).contains("not absolute"));
        let own = ContainerSpec { root: Some("/srv/image".into()), ..spec() };
        assert_eq!(own.check(), Ok(()));
        let bad = ContainerSpec { isolation: Isolation::Process, ..own }.check();
        assert_eq!(bad, Err(BadSpec::NoRoot("/srv/image".into())));
        for namespaces in [
            Namespaces { network: Network::Loopback, ..Namespaces::default() },
            Namespaces { users: Users::Own, ..Namespaces::default() },
        ] {
            let own = ContainerSpec { namespaces, ..spec() };
            assert_eq!(own.check(), Ok(()));
            let bad = ContainerSpec { isolation: Isolation::Process, ..own }.check();
            assert_eq!(bad, Err(BadSpec::NoNamespaces));
        }
    }
}
