//! What makes this agent one and the same: its work directory, held by a lock, and the machine's boot.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// A work directory that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum WorkDirError {
    /// It cannot be made or opened.
    #[error("could not use the work directory {}; name one that the agent may write with --work-dir", path.display())]
    Unusable {
        /// Which.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Another agent has it.
    #[error(
        "another agent uses the work directory {}; stop it, or give this one a --work-dir of its own",
        path.display()
    )]
    InUse {
        /// Which.
        path: PathBuf,
    },
}

/// The work directory of this agent and of no other one while this value lives. The lock goes with the process, however
/// that ends.
#[derive(Debug)]
pub struct WorkDir {
    path: PathBuf,
    _lock: File,
}

impl WorkDir {
    /// Makes the directory if it is missing, and locks it.
    pub fn open(path: &Path) -> Result<WorkDir, WorkDirError> {
        let unusable = |source| WorkDirError::Unusable { path: path.to_owned(), source };
        fs::create_dir_all(path).map_err(unusable)?;
        let path = path.canonicalize().map_err(unusable)?;
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(path.join("lock"));
        let lock = lock.map_err(unusable)?;
        match lock.try_lock() {
            Ok(()) => Ok(WorkDir { path, _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(WorkDirError::InUse { path }),
            Err(TryLockError::Error(source)) => Err(unusable(source)),
        }
    }

    /// Absolute, without symbolic links.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The outermost directory on the way that only its owner may pass: tasks of other users reach their sandbox as their
    /// working directory, but not by its path.
    pub fn closed_parent(&self) -> Option<&Path> {
        let closed = |path: &&Path| {
            fs::metadata(path).is_ok_and(|about| about.is_dir() && about.permissions().mode() & 0o001 == 0)
        };
        self.path.ancestors().filter(closed).last()
    }

    /// A name for this agent among those of the machine, the same after a restart: control groups are named by it.
    pub fn instance(&self) -> String {
        // FNV-1a. Not a hash for adversaries: the operator chooses the directories.
        let hash = self.path.as_os_str().as_bytes().iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        format!("agent-{hash:016x}")
    }
}

/// The kernel's name for the time since the machine was started.
pub fn boot_id() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

/// Random bits that no other start of an agent has.
pub fn incarnation() -> u64 {
    uuid::Uuid::new_v4().as_u64_pair().0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_keeps_tasks_of_others_out_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().canonicalize().expect("there");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).expect("ours");
        let work = WorkDir::open(&path.join("work")).expect("free");
        assert_eq!(work.closed_parent(), Some(&*path));
    }

    #[test]
    fn two_agents_never_share_a_work_directory_and_the_lock_goes_with_its_holder() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("work");
        let first = WorkDir::open(&path).expect("free");
        let refused = WorkDir::open(&path).expect_err("held").to_string();
        assert!(refused.contains("another agent uses the work directory"), "{refused}");
        let instance = first.instance();
        drop(first);
        assert_eq!(WorkDir::open(&path).expect("free again").instance(), instance);
    }
}
