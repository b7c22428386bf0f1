//! What the task sees of the file system.
//!
//! There is no image yet, so a task sees the machine's own tree, and may write in it what its user may: a task of root
//! can change the machine's files, and with them the machine. Of the rest it sees less than there is:
//! - `/proc` shows its own pid namespace, with the parts that steer the machine masked or read-only;
//! - `/sys` is read-only and without what is mounted in it, which takes the control groups out of reach;
//! - `/dev` holds the harmless devices only, its own terminals and its own shared memory;
//! - the agent's directories, tokens and all other sandboxes are covered by empty read-only directories, in
//!   which only the path to the task's own sandbox exists.
//!
//! The task cannot undo any of this, because it keeps no capability to mount.

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use bourse_init::record::Failure;
use bourse_init::step::Step;

use crate::failure::At;
use crate::sys::{self, MS_BIND, MS_NODEV, MS_NOEXEC, MS_NOSUID, MS_PRIVATE, MS_RDONLY, MS_REC, MS_REMOUNT};

const QUIET: u64 = MS_NOSUID | MS_NODEV | MS_NOEXEC;

/// Files and directories of `/proc` and `/sys` that tell or steer too much; the list is the one that runc and
/// crun use.
const MASKED: [&str; 11] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/firmware",
];

/// Parts of `/proc` that may be read but would change the machine if written.
const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Devices that every program may expect: name, major, minor.
const DEVICES: [(&str, u64, u64); 6] =
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];

/// Makes the container's view; runs as pid 1 of the container, in a mount namespace of its own.
pub fn set_up(sandbox: &Path, hide: &[PathBuf]) -> Result<(), Failure> {
    // First of all: nothing of what follows may reach the machine's own mounts.
    sys::mount("", "/", "", MS_REC | MS_PRIVATE, "").at(Step::Mount, || "/ (private)".into())?;
    // Held from here on, it outlives whatever is mounted over its path.
    let own = sys::detached_tree(sandbox).at(Step::Hide, || sandbox.display().to_string())?;

    sys::mount("proc", "/proc", "proc", QUIET, "").at(Step::Mount, || "/proc".into())?;
    // The same again on top, without what is mounted below it: no control groups.
    make_read_only("/sys", 0).at(Step::Mount, || "/sys".into())?;
    devices().at(Step::Mount, || "/dev".into())?;
    for path in MASKED {
        cover(Path::new(path)).at(Step::Mount, || path.into())?;
    }
    for path in READ_ONLY {
        make_read_only(path, MS_REC).at(Step::Mount, || path.into())?;
    }

    // What lies below a hidden directory is hidden with it, and is no longer there to be covered.
    let outermost = |path: &&PathBuf| !hide.iter().any(|other| other != *path && path.starts_with(other));
    let mut covered = Vec::new();
    for path in hide.iter().filter(outermost) {
        if cover(path).at(Step::Hide, || path.display().to_string())? {
            covered.push(path);
        }
    }
    fs::create_dir_all(sandbox)
        .and_then(|()| sys::attach_tree(own.as_fd(), sandbox))
        .at(Step::Hide, || sandbox.display().to_string())?;
    for path in covered {
        sys::mount("", path, "", MS_REMOUNT | MS_RDONLY | QUIET, "")
            .at(Step::Hide, || path.display().to_string())?;
    }
    Ok(())
}

/// Covers a directory by an empty one or a file by the null device; `Ok(true)` for a directory. What does not
/// exist needs no cover.
fn cover(path: &Path) -> io::Result<bool> {
    match fs::metadata(path) {
        Ok(what) if what.is_dir() => {
            sys::mount("hidden", path, "tmpfs", QUIET, "mode=755,size=256k").map(|()| true)
        }
        Ok(_) => sys::mount("/dev/null", path, "", MS_BIND, "").map(|()| false),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// With or without (`MS_REC` or 0) the mounts below it; what does not exist cannot be written.
fn make_read_only(path: &str, below: u64) -> io::Result<()> {
    if !Path::new(path).exists() {
        return Ok(());
    }
    sys::mount(path, path, "", MS_BIND | below, "")?;
    sys::mount("", path, "", MS_REMOUNT | MS_BIND | MS_RDONLY | QUIET, "")
}

/// A `/dev` without disks: a task of root could read and write other tasks' files through them.
fn devices() -> io::Result<()> {
    // Held from before it is covered.
    let machines = fs::File::open("/dev")?;
    sys::mount("dev", "/dev", "tmpfs", MS_NOSUID | MS_NOEXEC, "mode=755,size=64k")?;
    for (name, major, minor) in DEVICES {
        let path = Path::new("/dev").join(name);
        match sys::make_device(&path, major, minor) {
            Ok(()) => fs::set_permissions(&path, fs::Permissions::from_mode(0o666))?,
            // In a user namespace nobody may, not even its root (mknod(2)): the machine's own is lent.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                fs::File::create(&path)?;
                sys::mount(
                    &format!("/proc/self/fd/{}/{name}", machines.as_raw_fd()),
                    &path,
                    "",
                    MS_BIND,
                    "",
                )?;
            }
            Err(error) => return Err(error),
        }
    }
    fs::create_dir("/dev/pts")?;
    sys::mount("devpts", "/dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620")?;
    fs::create_dir("/dev/shm")?;
    sys::mount("shm", "/dev/shm", "tmpfs", QUIET, "mode=1777")?;
    for (target, name) in [
        ("pts/ptmx", "/dev/ptmx"),
        ("/proc/self/fd", "/dev/fd"),
        ("/proc/self/fd/0", "/dev/stdin"),
        ("/proc/self/fd/1", "/dev/stdout"),
        ("/proc/self/fd/2", "/dev/stderr"),
    ] {
        symlink(target, name)?;
    }
    Ok(())
}
