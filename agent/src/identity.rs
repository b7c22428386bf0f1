//! What makes this agent one and the same: its work directory, held by a lock, and the machine's boot.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use bourse_containerizer::Isolation;

use crate::sandbox;

/// The file of the work directory that tells which users were given to a task last.
pub const LAST_USERS: &str = "last-users";

/// What an agent makes in its work directory, and the token that an operator puts there.
const OWN: [&str; 10] = [
    "checkpoint",
    "checkpoint.new",
    "instance",
    "instance.new",
    LAST_USERS,
    "last-users.new",
    "lock",
    "run",
    "slaves",
    "token",
];

/// A work directory that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum WorkDirError {
    /// It cannot be made or opened.
    #[error("could not use the work directory {}; name one that the agent may write with --work-dir", path.display())]
    Unusable {
        /// The file.
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
        /// The file.
        path: PathBuf,
    },
}

/// The work directory of this agent and of no other one while this value lives. The lock goes with the process, however
/// that ends.
#[derive(Debug)]
pub struct WorkDir {
    path: PathBuf,
    instance: String,
    _lock: File,
}

impl WorkDir {
    /// Makes the directory if it is missing, as closed as tasks of this isolation can bear, and locks it.
    pub fn open(path: &Path, isolation: Isolation) -> Result<WorkDir, WorkDirError> {
        let unusable = |source| WorkDirError::Unusable { path: path.to_owned(), source };
        make(path, sandbox::way(isolation)).map_err(unusable)?;
        let path = path.canonicalize().map_err(unusable)?;
        // Who can open the lock could hold it, and keep the agent from starting.
        let mut private = OpenOptions::new();
        let lock = private.create(true).truncate(false).write(true).mode(0o600).open(path.join("lock"));
        let lock = lock.map_err(unusable)?;
        lock.set_permissions(fs::Permissions::from_mode(0o600)).map_err(unusable)?;
        match lock.try_lock() {
            Ok(()) => {
                let instance = instance(&path).map_err(unusable)?;
                Ok(WorkDir { path, instance, _lock: lock })
            }
            Err(TryLockError::WouldBlock) => Err(WorkDirError::InUse { path }),
            Err(TryLockError::Error(source)) => Err(unusable(source)),
        }
    }

    /// Absolute, without symbolic links.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Closes the directory to all but its owner, as an earlier release left it open, or whoever made it. Comes back with the
    /// mode that it had, `None` where it stays as it is: it is closed, or has things of others in it, who may need the way.
    pub fn close(&self) -> io::Result<Option<u32>> {
        let mode = fs::metadata(&self.path)?.permissions().mode() & 0o7777;
        if mode & 0o077 == 0 || !self.is_own()? {
            return Ok(None);
        }
        fs::set_permissions(&self.path, fs::Permissions::from_mode(mode & !0o077))?;
        Ok(Some(mode))
    }

    fn is_own(&self) -> io::Result<bool> {
        for entry in fs::read_dir(&self.path)? {
            let name = entry?.file_name();
            if !OWN.iter().any(|own| name == *own) {
                return Ok(false);
            }
        }
        Ok(true)
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
    pub fn instance(&self) -> &str {
        &self.instance
    }
}

/// Makes a directory with this mode, and those above it as they usually are. One that is there stays as it is.
fn make(path: &Path, mode: u32) -> io::Result<()> {
    if let Some(above) = path.parent() {
        fs::create_dir_all(above)?;
    }
    match DirBuilder::new().mode(0o700).create(path) {
        // Whatever the umask is.
        Ok(()) => fs::set_permissions(path, fs::Permissions::from_mode(mode)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(error) => Err(error),
    }
}

/// The name in the file `instance`, which is written once. Random, as the path is not enough: agents in containers or
/// other roots of one machine share its control groups, and may all call their directory the same. An agent from before
/// there was this file keeps the name that its running tasks have, which came from the path.
fn instance(work_dir: &Path) -> io::Result<String> {
    let file = work_dir.join("instance");
    match fs::read_to_string(&file) {
        Ok(text) if is_instance(text.trim()) => return Ok(text.trim().to_owned()),
        // Torn by a crash of the machine, and no task outlives that.
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let older = !file.exists() && work_dir.join("checkpoint").exists();
    let bits = if older { hash(work_dir) } else { incarnation() };
    let name = format!("agent-{bits:016x}");
    let fresh = work_dir.join("instance.new");
    let mut private = OpenOptions::new();
    let opened = private.create(true).truncate(true).write(true).mode(0o600).open(&fresh);
    let written = opened.and_then(|mut file| file.write_all(format!("{name}\n").as_bytes()));
    match written.and_then(|()| fs::rename(&fresh, &file)) {
        // On a full disk, say: the next start comes to the same name.
        Err(_) if older => Ok(name),
        written => written.map(|()| name),
    }
}

fn is_instance(text: &str) -> bool {
    let bits = text.strip_prefix("agent-").unwrap_or_default();
    bits.len() == 16 && bits.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// FNV-1a of the path.
fn hash(work_dir: &Path) -> u64 {
    work_dir.as_os_str().as_bytes().iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
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

    fn open(path: &Path) -> WorkDir {
        WorkDir::open(path, Isolation::Linux).expect("free")
    }

    #[test]
    fn a_directory_that_keeps_tasks_of_others_out_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().canonicalize().expect("there");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).expect("ours");
        let work = WorkDir::open(&path.join("work"), Isolation::Process).expect("free");
        assert_eq!(work.closed_parent(), Some(&*path));
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).expect("there").permissions().mode() & 0o7777
    }

    fn open_up(path: &Path) {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("ours");
    }

    #[test]
    fn a_new_directory_and_what_is_in_it_are_closed_and_those_above_it_as_they_usually_are() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("above/work");
        let work = WorkDir::open(&path, Isolation::Linux).expect("free");
        assert_eq!((mode(&path), work.close().expect("ours")), (0o700, None));
        assert_eq!((mode(&path.join("lock")), mode(&path.join("instance"))), (0o600, 0o600));
        let usual = folder.path().join("usual");
        fs::create_dir(&usual).expect("writable");
        assert_eq!(mode(&folder.path().join("above")), mode(&usual), "others may have things in there");
        WorkDir::open(&folder.path().join("for all"), Isolation::Process).expect("free");
        assert_eq!(mode(&folder.path().join("for all")), 0o711);
    }

    #[test]
    fn a_directory_that_was_open_is_closed_unless_others_have_things_in_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("work");
        fs::create_dir(&path).expect("writable");
        open_up(&path);
        fs::write(path.join("lock"), "").expect("writable");
        open_up(&path.join("lock"));
        let work = WorkDir::open(&path, Isolation::Linux).expect("free");
        assert_eq!((mode(&path), mode(&path.join("lock"))), (0o755, 0o600));
        assert_eq!((work.close().expect("ours"), mode(&path)), (Some(0o755), 0o700));
        assert_eq!(work.close().expect("ours"), None, "it is closed");
        open_up(&path);
        fs::write(path.join("of somebody else"), "").expect("writable");
        assert_eq!((work.close().expect("ours"), mode(&path)), (None, 0o755));
    }

    #[test]
    fn two_agents_never_share_a_work_directory_and_the_lock_goes_with_its_holder() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("work");
        let first = open(&path);
        let refused = WorkDir::open(&path, Isolation::Linux).expect_err("held").to_string();
        assert!(refused.contains("another agent uses the work directory"), "{refused}");
        let instance = first.instance().to_owned();
        drop(first);
        assert_eq!(open(&path).instance(), instance);
    }

    #[test]
    fn agents_that_call_their_directory_the_same_have_names_of_their_own() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("work");
        let first = open(&path).instance().to_owned();
        fs::remove_dir_all(&path).expect("ours");
        let second = open(&path).instance().to_owned();
        assert!(is_instance(&first) && is_instance(&second));
        assert_ne!(first, second);
    }

    #[test]
    fn a_directory_from_before_there_were_names_keeps_the_one_of_its_path_wherever_it_is_moved() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().canonicalize().expect("there").join("work");
        fs::create_dir(&path).expect("made");
        fs::write(path.join("checkpoint"), "").expect("written");
        let name = format!("agent-{:016x}", hash(&path));
        assert_eq!(open(&path).instance(), name);
        let moved = path.with_file_name("moved");
        fs::rename(&path, &moved).expect("moved");
        assert_eq!(open(&moved).instance(), name);
    }
}
