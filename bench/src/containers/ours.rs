//! Our side.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use bourse_containerizer::{
    Bind, Config, ContainerSpec, Containerizer, Filters, Isolation, Limits, LinuxContainerizer, LogLimits,
    Outcome,
};
use bourse_types::{ContainerId, Exit, Milli};
use tokio::runtime::{Builder, Runtime};

/// A containerizer, as an agent has one.
pub struct Ours {
    runtime: Runtime,
    containerizer: LinuxContainerizer,
    filters: Filters,
    folder: PathBuf,
}

impl Ours {
    /// With the usual filter of system calls.
    pub fn open(folder: &Path) -> anyhow::Result<Ours> {
        Ok(Ours { filters: Filters::usual()?, ..Ours::unfiltered(folder)? })
    }

    /// With none.
    pub fn unfiltered(folder: &Path) -> anyhow::Result<Ours> {
        let instance = format!("bench-{}", std::process::id());
        let config = Config {
            runtime_dir: folder.join("run"),
            instance,
            users: Default::default(),
            last_users: folder.join("last-users"),
        };
        Ok(Ours {
            runtime: Builder::new_multi_thread().worker_threads(2).enable_all().build()?,
            containerizer: LinuxContainerizer::open(&config)?,
            filters: Filters::default(),
            folder: folder.into(),
        })
    }

    /// From nothing to nothing.
    pub fn life(&self, name: &str) -> anyhow::Result<()> {
        self.run(name, self.folder.join("ours").join(name), &["/program"])
    }

    /// What a process of such a container finds in these files.
    pub fn read_inside(&self, files: &[&str]) -> anyhow::Result<String> {
        let sandbox = self.folder.join("ours").join("inside");
        let argv = [&["cat"], files].concat();
        self.run("inside", sandbox.clone(), &argv)?;
        fs::read_to_string(sandbox.join("stdout")).context("reading what a container has written")
    }

    fn run(&self, id: &str, sandbox: PathBuf, argv: &[&str]) -> anyhow::Result<()> {
        fs::create_dir_all(&sandbox)?;
        let spec = ContainerSpec {
            container_id: ContainerId::new(id)?,
            argv: argv.iter().map(|&word| word.into()).collect(),
            env: Vec::new(),
            user: None,
            sandbox,
            cwd: None,
            hostname: Some("bench".into()),
            limits: Limits {
                cpu_quota: Some(Milli::new(500)),
                memory_bytes: Some(64 << 20),
                pids: Some(64),
                ..Limits::unlimited(Milli::new(500))
            },
            logs: LogLimits::NONE,
            root: None,
            volumes: vec![Bind {
                source: self.folder.join("true"),
                target: "/program".into(),
                writable: false,
            }],
            namespaces: Default::default(),
            hide: Vec::new(),
            filters: self.filters.clone(),
            isolation: Isolation::Linux,
        };
        self.runtime.block_on(async {
            self.containerizer.launch(&spec).await?;
            let ended = self.containerizer.wait(&spec.container_id).await?;
            self.containerizer.destroy(&spec.container_id).await?;
            match ended.outcome {
                Outcome::Exited(Exit::Code(0)) => Ok(()),
                other => bail!("the program ended otherwise: {other:?}"),
            }
        })
    }

    /// The control groups of this instance go with the last container.
    pub fn close(self) -> anyhow::Result<()> {
        let left = self.runtime.block_on(self.containerizer.recover()).context("looking for what is left")?;
        match left.is_empty() {
            true => Ok(()),
            false => bail!("{} containers are left", left.len()),
        }
    }
}
