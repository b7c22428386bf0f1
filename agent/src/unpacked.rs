//! Tars that tasks have as their root, unpacked once and kept for the tasks that come after.
//!
//! `<work_dir>/rootfs/<which file>/root` is what was in it, and a file `used/<container>` beside that says who had it. Which
//! file it is is told by device, inode, size and the times of its last changes, so that one that was written anew is
//! another. Only whole ones are there: a tar is unpacked under another name. Nobody but the agent's own user gets into
//! `rootfs`, as there are programs in it that would run as root for everybody.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, Metadata};
use std::io::{self, BufReader, ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, bail, ensure};
use bourse_types::ContainerId;
use nix::unistd::{geteuid, syncfs};
use tar::Archive;
use tracing::{info, warn};

use crate::tree;

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

/// Bytes that are read of a tar at once.
const READ: usize = 1 << 18;

/// In bytes: what an entry may have before its content, its name, attributes and holes. All of it is held in memory.
const HEAD_MAX: u64 = 1 << 20;

/// Held while it is decided whether one is used or goes.
static CHANGES: Mutex<()> = Mutex::new(());

/// Held while one is unpacked: many tasks may begin with the same one, and one after the other is as fast for a disk.
static UNPACKING: Mutex<()> = Mutex::new(());

/// The directory with what is in a tar, for a container; a repeat gives the same. The container counts as one that uses it
/// for as long as the agent has its task. This thread waits while one is unpacked.
pub fn directory(work_dir: &Path, tar: &Path, container: &ContainerId) -> anyhow::Result<PathBuf> {
    let opening = || format!("opening {} of the agent's machine", tar.display());
    let file = File::open(tar).with_context(opening)?;
    let which = which(&file.metadata().with_context(opening)?);
    let place = work_dir.join(FOLDER).join(which);
    if let Some(root) = take(&place, container)? {
        return Ok(root);
    }
    let _one = UNPACKING.lock().unwrap_or_else(PoisonError::into_inner);
    // Another task may have had it unpacked meanwhile.
    if let Some(root) = take(&place, container)? {
        return Ok(root);
    }
    unpack(file, &place).with_context(|| {
        format!(
            "unpacking {}; see whether it is a whole tar file, without compression, and the agent's disk has room, or \
             unpack it and name the directory",
            tar.display()
        )
    })?;
    info!(tar = %tar.display(), place = %place.display(), "unpacked the root of a task");
    take(&place, container)?.context("the directory of what was just unpacked is gone; launch the task again")
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

/// Unpacks under another name, and gives it its own once all of it is on the disk: a machine that stops in between leaves
/// nothing that looks whole.
fn unpack(tar: File, place: &Path) -> anyhow::Result<()> {
    let new = beside(place, NEW);
    // From an agent that ended while it was at it.
    if new.exists() {
        tree::remove(&new)?;
    }
    DirBuilder::new().recursive(true).mode(0o700).create(new.join(USED))?;
    let root = new.join(ROOT);
    let unpacked = unpack_to(tar, &root).and_then(|()| {
        syncfs(File::open(&root)?)?;
        fs::rename(&new, place)?;
        Ok(())
    });
    if unpacked.is_err()
        && let Err(error) = tree::remove(&new)
    {
        warn!(place = %new.display(), %error, "cannot remove what could not be unpacked whole; it is tried again later");
    }
    unpacked
}

/// Owners, modes, times, attributes and links are those of the tar; an agent that is not root leaves owners and attributes
/// out, as it may not give them. What would lead out of the directory is refused, and
/// devices and pipes are left out: no device works in a container but those that it has anyway.
fn unpack_to(tar: File, root: &Path) -> anyhow::Result<()> {
    if let Some(compression) = compression(&tar)? {
        bail!("it is compressed with {compression}, which is not read here");
    }
    fs::create_dir(root)?;
    fs::set_permissions(root, fs::Permissions::from_mode(0o755))?;
    let left = Rc::new(Cell::new(0));
    let mut archive =
        Archive::new(Metered { tar: BufReader::with_capacity(READ, tar), left: Rc::clone(&left) });
    archive.set_preserve_permissions(true);
    archive.set_preserve_ownerships(geteuid().is_root());
    archive.set_unpack_xattrs(geteuid().is_root());
    let mut is_empty = true;
    let mut entries = archive.entries_with_seek()?;
    loop {
        left.set(HEAD_MAX);
        let Some(entry) = entries.next() else { break };
        let mut entry = entry.context("reading the next entry")?;
        left.set(u64::MAX);
        let kind = entry.header().entry_type();
        is_empty = false;
        if kind.is_character_special() || kind.is_block_special() || kind.is_fifo() {
            continue;
        }
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let inside = entry.unpack_in(root).with_context(|| format!("its entry {name:?}"))?;
        ensure!(inside, "its entry {name:?} leads out of the directory");
    }
    ensure!(!is_empty, "nothing is in it");
    Ok(())
}

/// A tar of which so much is read and no more.
struct Metered {
    tar: BufReader<File>,
    left: Rc<Cell<u64>>,
}

impl Read for Metered {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.tar.read(into)?;
        let left = self.left.get().checked_sub(read as u64);
        let too_long =
            || io::Error::other(format!("it has a name or attributes of more than {HEAD_MAX} bytes"));
        self.left.set(left.ok_or_else(too_long)?);
        Ok(read)
    }
}

impl Seek for Metered {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        match to {
            // Keeps what was read ahead, where that holds the place.
            SeekFrom::Current(offset) => {
                self.tar.seek_relative(offset)?;
                self.tar.stream_position()
            }
            to => self.tar.seek(to),
        }
    }
}

/// How a file is compressed, as far as its beginning tells.
fn compression(file: &File) -> io::Result<Option<&'static str>> {
    const KNOWN: [(&[u8], &str); 4] =
        [(b"\x1f\x8b", "gzip"), (b"\x28\xb5\x2f\xfd", "zstd"), (b"\xfd7zXZ\0", "xz"), (b"BZh", "bzip2")];
    let mut beginning = [0; 6];
    let length = file.read_at(&mut beginning, 0)?;
    let known = KNOWN.iter().find(|(magic, _)| beginning[..length].starts_with(magic));
    Ok(known.map(|(_, name)| *name))
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
    for place in entries.filter_map(|entry| Some(entry.ok()?.path())) {
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
    let begins = |prefix: &str| {
        place.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(prefix.as_bytes()))
    };
    if begins(NEW) {
        // Somebody is at it, or it is what an agent left that ended while it was.
        let Ok(_one) = UNPACKING.try_lock() else { return Ok(false) };
        return tree::remove(place).map(|()| true);
    }
    if begins(OLD) {
        return tree::remove(place).map(|()| true);
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
mod tests;
