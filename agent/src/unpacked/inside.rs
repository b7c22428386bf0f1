//! A directory that is filled by the word of a stranger, who gets nothing put outside of it.
//!
//! Every path is looked up from the open directory on, and the kernel refuses what would leave it (openat2(2),
//! `RESOLVE_BENEATH`): a name that leads up as well as a link that an earlier entry left.
//!
//! All directories can be filled until the end: one that is closed to its owner gets its mode last, as an agent that is
//! not root could put nothing into it.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Permissions};
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, fchown};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags, linkat, mkdirat, openat, openat2, statat, unlinkat};
use rustix::io::Errno;

/// What is wrong with a name or a link, for a sentence.
pub const LEADS_OUT: &str = "it leads out of the directory";

/// What the owner of a directory needs to fill it.
const FILLED_BY_OWNER: u32 = 0o700;

/// In bytes: the paths of directories that get their mode at the end. They are held in memory; images of Nix have some
/// hundred thousand.
const CLOSED_MAX: usize = 64 << 20;

/// A name in an archive as a path from the directory on, empty for the directory itself; `None`: it leads up. Absolute
/// ones begin at the directory.
pub fn path(name: &[u8]) -> Option<PathBuf> {
    let mut path = PathBuf::new();
    for part in Path::new(OsStr::from_bytes(name)).components() {
        match part {
            Component::Normal(part) => path.push(part),
            Component::ParentDir => return None,
            Component::Prefix(_) | Component::RootDir | Component::CurDir => {}
        }
    }
    Some(path)
}

/// Whom a file belongs to.
#[derive(Clone, Copy, Debug)]
pub struct Owner {
    pub user: u32,
    pub group: u32,
}

/// Where something is to be put.
#[derive(Debug)]
pub struct Place {
    folder: File,
    name: OsString,
}

impl Place {
    /// A path to it that leads through no link but its last part, for as long as this lives.
    pub fn path(&self) -> PathBuf {
        Path::new("/proc/self/fd").join(self.folder.as_raw_fd().to_string()).join(&self.name)
    }
}

/// The directory. Paths are those of [`path`], and not empty.
#[derive(Debug)]
pub struct Inside {
    root: File,
    /// Modes that directories get at the end, by the real paths.
    closed: BTreeMap<PathBuf, u32>,
    /// Of the paths.
    closed_bytes: usize,
}

impl Inside {
    /// Makes it, for everybody to read whatever the umask is.
    pub fn make(root: &Path) -> io::Result<Inside> {
        fs::create_dir(root)?;
        let root = File::open(root)?;
        root.set_permissions(Permissions::from_mode(0o755))?;
        Ok(Inside { root, closed: BTreeMap::new(), closed_bytes: 0 })
    }

    /// The place at a path. Directories that are missing on the way are made, as an archive need not name all.
    pub fn place(&self, path: &Path) -> io::Result<Place> {
        let name = name(path)?.to_owned();
        let mut missing: Vec<&OsStr> = Vec::new();
        let mut above = parent(path);
        let mut folder = loop {
            match (self.folder(above), above.file_name()) {
                (Err(error), Some(name)) if error.kind() == ErrorKind::NotFound => {
                    missing.push(name);
                    above = parent(above);
                }
                (found, _) => break found?,
            }
        };
        for name in missing.into_iter().rev() {
            folder = made(&folder, name)?;
            folder.set_permissions(Permissions::from_mode(0o755))?;
        }
        Ok(Place { folder, name })
    }

    /// Makes a directory, or gives one that is there this owner and mode.
    pub fn directory(&mut self, path: &Path, mode: u32, owner: Option<Owner>) -> io::Result<File> {
        let place = self.place(path)?;
        let folder = made(&place.folder, &place.name)?;
        if let Some(Owner { user, group }) = owner {
            fchown(&folder, Some(user), Some(group))?;
        }
        folder.set_permissions(Permissions::from_mode(mode | FILLED_BY_OWNER))?;
        // One directory may be named more than once, by way of links too; the last word counts.
        let real = fs::read_link(Path::new("/proc/self/fd").join(folder.as_raw_fd().to_string()))?;
        if self.closed.remove(&real).is_some() {
            self.closed_bytes -= real.as_os_str().len();
        }
        if mode & FILLED_BY_OWNER != FILLED_BY_OWNER {
            self.closed_bytes += real.as_os_str().len();
            if self.closed_bytes > CLOSED_MAX {
                return Err(io::Error::other(format!(
                    "the names of directories that are closed to their owner have more than {CLOSED_MAX} bytes"
                )));
            }
            self.closed.insert(real, mode);
        }
        Ok(folder)
    }

    /// Gives a file one more name, in place of what has that name. Neither may be a directory, and a link is a file.
    pub fn hard_link(&self, path: &Path, target: &Path) -> io::Result<()> {
        let (from, from_name) = (self.folder(parent(target))?, name(target)?);
        let Place { folder: to, name: to_name } = self.place(path)?;
        match linkat(&from, from_name, &to, &to_name, AtFlags::empty()) {
            Err(Errno::EXIST) => {}
            linked => return Ok(linked?),
        }
        let [one, other] = [(&from, from_name), (&to, to_name.as_os_str())]
            .map(|(folder, name)| statat(folder, name, AtFlags::SYMLINK_NOFOLLOW));
        let (one, other) = (one?, other?);
        if (one.st_dev, one.st_ino) != (other.st_dev, other.st_ino) {
            unlinkat(&to, &to_name, AtFlags::empty())?;
            linkat(&from, from_name, &to, &to_name, AtFlags::empty())?;
        }
        Ok(())
    }

    /// Gives the directories their modes that were still to be filled.
    pub fn finish(self) -> io::Result<()> {
        // Those within a directory come after it, and have to be reached.
        for (path, mode) in self.closed.into_iter().rev() {
            fs::set_permissions(path, Permissions::from_mode(mode))?;
        }
        Ok(())
    }

    /// A directory in here that is there, or the directory itself for an empty path.
    fn folder(&self, path: &Path) -> io::Result<File> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        loop {
            match openat2(&self.root, path, flags, Mode::empty(), resolve) {
                // Something was moved, somewhere on the machine, while a link with `..` was looked at.
                Err(Errno::AGAIN) => {}
                Err(Errno::XDEV) => return Err(io::Error::other(LEADS_OUT)),
                found => return Ok(found?.into()),
            }
        }
    }
}

fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new(""))
}

fn name(path: &Path) -> io::Result<&OsStr> {
    path.file_name().ok_or_else(|| io::Error::other("it is the directory itself"))
}

/// A directory of a folder, new or there already; a link in its place is refused.
fn made(folder: &File, name: &OsStr) -> io::Result<File> {
    match mkdirat(folder, name, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(error) => return Err(error.into()),
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(openat(folder, name, flags, Mode::empty())?.into())
}
