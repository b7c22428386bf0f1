//! Which directories and tars of the machine a task may have as its root, and what they are on this machine.

use std::path::{Path, PathBuf};

use bourse_containerizer::Isolation;
use bourse_types::{ContainerId, Rootfs};

use super::{Habits, paths};
use crate::unpacked::{self, Found};

/// The root of a task.
#[derive(Debug)]
pub enum Root {
    /// This directory. No link was on the way to it, and who mounts it follows none.
    There(PathBuf),
    /// In a tar that is being unpacked.
    Packed(Packed),
}

/// The root of a task in a tar that is being unpacked.
#[derive(Debug)]
pub struct Packed {
    rootfs: Rootfs,
    tar: unpacked::Packed,
}

impl Packed {
    /// Waits until it is unpacked, without a thread; or tells why it cannot be, in words for the framework's author.
    pub async fn unpacked(&mut self) -> Result<(), String> {
        self.tar.unpacked().await.map_err(|why| refused(&self.rootfs, &why))
    }

    /// The directory, once it is unpacked. Reads and writes the agent's disk.
    pub fn take(self) -> Result<PathBuf, String> {
        self.tar.take().map_err(|error| refused(&self.rootfs, &format!("{error:#}")))
    }
}

/// The root of a task, or why it cannot have it, in words for its framework's author. A tar that was not unpacked for an
/// earlier task is from now on, in the runtime of this thread. A repeat is harmless.
pub fn find(
    habits: &Habits,
    rootfs: &Rootfs,
    work_dir: &Path,
    container: &ContainerId,
) -> Result<Root, String> {
    let path = Path::new(rootfs.as_str());
    if habits.isolation == Isolation::Process {
        // The containerizer refuses it, whatever it is.
        return Ok(Root::There(path.into()));
    }
    let found = on_machine(habits, path).and_then(|real| at(&real, work_dir, container));
    match found.map_err(|why| refused(rootfs, &why))? {
        Found::There(directory) => Ok(Root::There(directory)),
        Found::Packed(tar) => Ok(Root::Packed(Packed { rootfs: rootfs.clone(), tar })),
    }
}

fn refused(rootfs: &Rootfs, why: &str) -> String {
    format!("the task cannot have the root {rootfs}: {why}")
}

/// What is at a real path that a task may have as its root.
fn at(real: &Path, work_dir: &Path, container: &ContainerId) -> Result<Found, String> {
    // Judged by the descriptor from here on: what is at the path may be another a moment later.
    let open = paths::open(real)?;
    let there = open
        .metadata()
        .map_err(|error| format!("looking at {} of the agent's machine: {error}", real.display()))?;
    if there.is_dir() {
        return Ok(Found::There(real.to_owned()));
    }
    if !there.is_file() {
        return Err("it is neither a directory nor a tar file; name one".into());
    }
    unpacked::find(work_dir, open, real, container).map_err(|error| format!("{error:#}"))
}

/// The real path, as what is allowed is judged by where a path leads.
fn on_machine(habits: &Habits, path: &Path) -> Result<PathBuf, String> {
    let real = paths::real(path)?;
    if !habits.roots.iter().any(|allowed| real.starts_with(allowed)) {
        let allowed = paths::listed(&habits.roots);
        return Err(format!(
            "{} is not among what this agent lets tasks have as their root ({allowed}); its operator can add it with \
             --rootfs",
            real.display()
        ));
    }
    match habits.hide.iter().find(|hidden| real.starts_with(hidden)) {
        Some(hidden) => {
            let (real, hidden) = (real.display(), hidden.display());
            Err(format!("{real} lies in {hidden}, which is hidden from tasks; name another path"))
        }
        None => Ok(real),
    }
}

#[cfg(test)]
mod tests;
