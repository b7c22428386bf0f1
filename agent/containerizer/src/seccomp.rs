//! Which system calls a task may make.
//!
//! A profile is written in Docker's format, so that those that people have go on serving, and compiled to programs for
//! the kernel once, when the agent starts. The default is `seccomp/default.json`.

mod compile;
mod profile;

use std::fs;
use std::path::{Path, PathBuf};

use bourse_types::in_short;
use profile::Profile;

/// Programs for the kernel, which a task's calls have to pass, each of them; none lets everything pass.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filters(pub(crate) Vec<Vec<u8>>);

/// A profile that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BadProfile {
    /// The file cannot be read.
    #[error("reading the seccomp profile {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        source: std::io::Error,
    },
    /// The file is not a profile.
    #[error("{} is no seccomp profile as Docker has them: {}", path.display(), in_short(source))]
    Parse {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        source: serde_json::Error,
    },
    /// It cannot be compiled for this machine.
    #[error("the seccomp profile cannot be compiled: {0}")]
    Compile(#[from] seccompiler::BackendError),
}

impl Filters {
    /// What every task gets unless the operator says otherwise.
    pub fn usual() -> Result<Filters, BadProfile> {
        Filters::parse(include_bytes!("seccomp/default.json"), Path::new("the default"))
    }

    /// Those of a profile in a file.
    pub fn of_file(path: &Path) -> Result<Filters, BadProfile> {
        let text = fs::read(path).map_err(|source| BadProfile::Read { path: path.into(), source })?;
        Filters::parse(&text, path)
    }

    /// Those of a profile's text; errors name `path`.
    pub fn parse(text: &[u8], path: &Path) -> Result<Filters, BadProfile> {
        let profile: Profile =
            serde_json::from_slice(text).map_err(|source| BadProfile::Parse { path: path.into(), source })?;
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        Ok(compile::compile(&profile, compile::version_of(&kernel))?)
    }
}
