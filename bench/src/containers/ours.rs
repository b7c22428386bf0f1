//! Our side.

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
    pub fn open(folder: &Path) -> anyhow::Result<Ours> {
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
            filters: Filters::usual()?,
            folder: folder.into(),
        })
    }

    /// From nothing to nothing.
    pub fn life(&self, number: usize) -> anyhow::Result<()> {
        let sandbox = self.folder.join("ours").join(number.to_string());
        std::fs::create_dir_all(&sandbox)?;
        let spec = ContainerSpec {
            container_id: ContainerId::new(format!("c{number}"))?,
            argv: vec!["/program".into()],
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
