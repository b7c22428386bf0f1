//! Tars that tasks have as their root, unpacked once and kept for the tasks that come after.
//!
//! `<work_dir>/rootfs/<which file>/root` is what was in it, and a file `used/<container>` beside that says who had it. Which
//! file it is is told by device, inode, size and the times of its last changes, so that one that was written anew is
//! another. Only whole ones are there: a tar is unpacked under another name. Nobody but the agent's own user gets into
//! `rootfs`, as there are programs in it that would run as root for everybody.

mod archive;
mod inside;
mod under_way;

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, Metadata};
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, anyhow, ensure};
use bourse_types::ContainerId;
use nix::sys::statvfs::statvfs;
use nix::unistd::syncfs;
use tracing::{info, warn};

use crate::tree;

use archive::LeftOut;
use under_way::Unpacking;

/// The folder in the work directory.
const FOLDER: &str = "rootfs";

/// What was in a tar.
const ROOT: &str = "root";

/// One file for each container that has it or had it.
const USED: &str = "used";

/// What the name of one begins with that is not whole yet.
const NEW: &str = ".new-";

/// What the name of one begins with that is to go.
const OLD: &str = ".old-";

/// In characters: a tar may have names of a mebibyte, which no status of a task could carry.
const MESSAGE_MAX: usize = 2000;

/// What is wrong where one is gone that was whole a moment ago.
const GONE: &str = "the directory of what was just unpacked is gone; launch the task again";

/// Held while it is decided whether one is used or goes.
static CHANGES: Mutex<()> = Mutex::new(());

/// What there is of a tar, for a container that counts as using it for as long as the agent has its task.
#[derive(Debug)]
pub enum Found {
    /// The directory with what is in it.
    There(PathBuf),
    /// It is being unpacked, for all who wait for it.
    Packed(Packed),
}

/// A tar that is being unpacked, and who is to have it.
#[derive(Debug)]
pub struct Packed {
    place: PathBuf,
    container: ContainerId,
    unpacking: Unpacking,
}

impl Packed {
    /// Waits until it is unpacked, without a thread; or tells why it cannot be, in words for a framework's author.
    pub async fn unpacked(&mut self) -> Result<(), String> {
        self.unpacking.end().await
    }

    /// The directory with what was in it, once it is unpacked.
    pub fn take(self) -> anyhow::Result<PathBuf> {
        take(&self.place, &self.container)?.context(GONE)
    }
}

/// What there is of a tar, which may be open for no more than to name it; `path` is for people only. Where nothing is, it is
/// unpacked from now on, in the runtime of this thread. A repeat gives the same.
pub fn find(work_dir: &Path, tar: File, path: &Path, container: &ContainerId) -> anyhow::Result<Found> {
    let about = tar.metadata().with_context(|| format!("looking at {}", path.display()))?;
    let place = work_dir.join(FOLDER).join(which(&about));
    if let Some(root) = take(&place, container)? {
        return Ok(Found::There(root));
    }
    let (path, to) = (path.to_owned(), place.clone());
    match under_way::join(&place, || place.join(ROOT).is_dir(), move || unpack(&tar, &path, &to)) {
        Some(unpacking) => Ok(Found::Packed(Packed { place, container: container.clone(), unpacking })),
        // It became whole since it was looked for.
        None => Ok(Found::There(take(&place, container)?.context(GONE)?)),
    }
}

/// Names a file and what is in it.
fn which(file: &Metadata) -> String {
    format!(
        "{:x}-{:x}-{:x}-{:x}.{:x}-{:x}.{:x}",
        file.dev(),
        file.ino(),
        file.size(),
        file.mtime(),
        file.mtime_nsec(),
        file.ctime(),
        file.ctime_nsec()
    )
}

/// What is there for a container, which uses it from now on; `None` where nothing is.
fn take(place: &Path, container: &ContainerId) -> anyhow::Result<Option<PathBuf>> {
    let _changes = CHANGES.lock().unwrap_or_else(PoisonError::into_inner);
    let root = place.join(ROOT);
    if !root.is_dir() {
        return Ok(None);
    }
    let used = place.join(USED).join(container.as_str());
    File::create(&used).map(drop).and_then(|()| mark(place)).with_context(|| {
        format!("noting in {} who uses it; see whether the agent's disk is full", used.display())
    })?;
    Ok(Some(root))
}

/// From now on its age counts.
fn mark(place: &Path) -> io::Result<()> {
    fs::set_permissions(place, fs::metadata(place)?.permissions())
}

/// Another name in the same folder.
fn beside(place: &Path, prefix: &str) -> PathBuf {
    let mut name = OsStr::new(prefix).to_owned();
    name.push(place.file_name().unwrap_or_default());
    place.with_file_name(name)
}

/// Unpacks the tar, and tells what came of it; an error is in words for a framework's author.
fn unpack(tar: &File, path: &Path, place: &Path) -> Result<(), String> {
    // By the descriptor: at the path there may be another by now.
    let unpacked = File::open(Path::new("/proc/self/fd").join(tar.as_raw_fd().to_string()))
        .context("opening it")
        .and_then(|tar| unpack_to(&tar, place));
    match unpacked {
        Ok(LeftOut { devices, attributes, owners }) => {
            info!(
                tar = %path.display(),
                place = %place.display(),
                devices_left_out = devices,
                attributes_left_out = attributes,
                owners_left_out = owners,
                "unpacked the root of a task"
            );
            Ok(())
        }
        Err(error) => {
            let path = path.display();
            let what = match has_no_room(&error) {
                true => format!(
                    "unpacking {path}: the disk of the agent's work directory has no room for it, for bytes or for \
                     inodes; make room, or unpack it elsewhere and name the directory: {error:#}"
                ),
                false => format!(
                    "unpacking {path}; see whether it is a whole tar file, without compression, or unpack it and \
                     name the directory: {error:#}"
                ),
            };
            Err(for_people(&what))
        }
    }
}

/// As much of what is wrong with a tar as a status takes, with names in it that anybody may have given.
fn for_people(what: &str) -> String {
    what.chars().take(MESSAGE_MAX).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn has_no_room(error: &anyhow::Error) -> bool {
    let mut causes = error.chain().filter_map(|cause| cause.downcast_ref::<io::Error>());
    causes.any(|cause| matches!(cause.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded))
}

/// Unpacks under another name, and gives it its own once all of it is on the disk: a machine that stops in between leaves
/// nothing that looks whole.
fn unpack_to(tar: &File, place: &Path) -> anyhow::Result<LeftOut> {
    let new = beside(place, NEW);
    // From an agent that ended while it was at it.
    if new.exists() {
        tree::remove(&new)?;
    }
    DirBuilder::new().recursive(true).mode(0o700).create(new.join(USED))?;
    let unpacked = fill(tar, &new).and_then(|left_out| {
        let is_same = place.file_name() == Some(OsStr::new(&which(&tar.metadata()?)));
        // It would be kept for what it was when it was looked at.
        ensure!(is_same, "it was changed while it was read; launch the task again once it is whole");
        fs::rename(&new, place)?;
        Ok(left_out)
    });
    if unpacked.is_err()
        && let Err(error) = tree::remove(&new)
    {
        warn!(place = %new.display(), %error, "cannot remove what could not be unpacked whole; it is tried again later");
    }
    unpacked
}

/// Puts what is in a tar into a new place, until it is on the disk.
fn fill(tar: &File, new: &Path) -> anyhow::Result<LeftOut> {
    // Not compressed, it takes about as much room as it has; tasks that run need theirs while it is found out.
    let (wanted, disk) = (tar.metadata()?.len(), statvfs(new).map_err(io::Error::from)?);
    let free = disk.blocks_available().saturating_mul(disk.fragment_size());
    if wanted > free {
        let why = format!("it has {} MiB, and {} MiB are free", wanted.div_ceil(1 << 20), free >> 20);
        return Err(io::Error::new(ErrorKind::StorageFull, why).into());
    }
    let root = new.join(ROOT);
    // The crate that reads it adds up what an archive says of itself, and does not expect sizes that no file has.
    let unpacked = catch_unwind(AssertUnwindSafe(|| archive::unpack(tar, &root)));
    let left_out = unpacked.unwrap_or_else(|_| Err(anyhow!("what it says of its sizes does not add up")))?;
    syncfs(File::open(new)?).map_err(io::Error::from)?;
    Ok(left_out)
}

/// Removes what no container in use has and what was not used for long, by the word of `is_old` on a path that was last
/// marked then; marks the rest. Tells how many are gone. What cannot be removed does not hold up the others.
pub fn collect(
    work_dir: &Path,
    in_use: &BTreeSet<&str>,
    is_old: impl Fn(&Path) -> io::Result<bool>,
) -> usize {
    let folder = work_dir.join(FOLDER);
    let entries = match fs::read_dir(&folder) {
        Ok(entries) => entries,
        // No task has asked for one yet.
        Err(error) if error.kind() == ErrorKind::NotFound => return 0,
        Err(error) => {
            warn!(folder = %folder.display(), %error, "cannot see whether there are unpacked roots in here");
            return 0;
        }
    };
    let mut removed = 0;
    // Names change on the way.
    let places: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    for place in places {
        match collect_one(&place, in_use, &is_old) {
            Ok(gone) => removed += usize::from(gone),
            Err(error) => {
                warn!(place = %place.display(), %error, "cannot remove an unpacked root; it is tried again later");
            }
        }
    }
    removed
}

fn collect_one(
    place: &Path,
    in_use: &BTreeSet<&str>,
    is_old: &impl Fn(&Path) -> io::Result<bool>,
) -> io::Result<bool> {
    let name = place.file_name().and_then(OsStr::to_str).unwrap_or_default();
    if name.starts_with(OLD) {
        return tree::remove(place).map(|()| true);
    }
    if let Some(name) = name.strip_prefix(NEW) {
        let whole = place.with_file_name(name);
        let old = beside(&whole, OLD);
        // Somebody is at it, or it is what an agent left that ended while it was.
        return match under_way::while_idle(&whole, || fs::rename(place, &old)) {
            None => Ok(false),
            Some(renamed) => renamed.and_then(|()| tree::remove(&old)).map(|()| true),
        };
    }
    let old = beside(place, OLD);
    {
        let _changes = CHANGES.lock().unwrap_or_else(PoisonError::into_inner);
        if is_used(place, in_use, is_old)? {
            return mark(place).map(|()| false);
        }
        // One that was just taken, for a task that is not known here yet, is not old.
        if !is_old(place)? {
            return Ok(false);
        }
        fs::rename(place, &old)?;
    }
    tree::remove(&old).map(|()| true)
}

/// Whether a container in use has it. Forgets those that had it long ago.
fn is_used(
    place: &Path,
    in_use: &BTreeSet<&str>,
    is_old: &impl Fn(&Path) -> io::Result<bool>,
) -> io::Result<bool> {
    let mut used = false;
    for entry in fs::read_dir(place.join(USED))? {
        let entry = entry?;
        match entry.file_name().to_str().is_some_and(|container| in_use.contains(container)) {
            true => used = true,
            false if is_old(&entry.path())? => fs::remove_file(entry.path())?,
            false => {}
        }
    }
    Ok(used)
}

#[cfg(test)]
pub use under_way::hold;

#[cfg(test)]
mod damaged;
#[cfg(test)]
mod tests;
