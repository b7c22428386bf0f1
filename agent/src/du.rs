//! How much a folder that tasks write in takes on its disk.
//!
//! A task may nest folders as deep as it likes, make as many files as it likes, and move them about while they are looked
//! at. So the way leads from folder to folder by descriptors, four at a time at most, and no path grows on it; what is
//! remembered on the way has a bound, and so has the time. Where a move has cut the way back, it is gone anew from the
//! top. What is not looked at for that, or cannot be, is left out and told.

use std::collections::BTreeSet;
use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, open, openat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat};

use crate::mount::{self, Location};

/// The unit of `st_blocks`, whatever the file system's own is.
const BLOCK_BYTES: u64 = 512;

/// What a whole inode is, of which each of its names may count for a part.
const WHOLE: u64 = 1 << 32;

/// What a folder takes on its disk.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Size {
    /// Blocks allocated to what is in it and to itself; a lower bound where something was left out.
    pub bytes: u64,
    /// Inodes of what is in it and of itself; likewise.
    pub inodes: u64,
    /// So many files and folders were left out, each folder with all that is in it.
    pub left_out: usize,
}

/// Measures a folder: each file once, however many names it has there. Links are not followed, and what is mounted in it
/// is not counted, nor is a file that has no name any more and is still open. Blocks the thread, for a minute at most.
pub fn measure(folder: &Path) -> io::Result<Size> {
    measure_within(&Bounds::USUAL, folder)
}

/// How much is remembered, and for how long it is looked.
#[derive(Debug)]
struct Bounds {
    /// Folders known by name and not looked into yet.
    waiting: usize,
    /// Files with several names. Of those beyond, each name counts for its part of the file.
    linked: usize,
    /// Names on the way from the top. To folders that are deeper there is no going back once one on the way was moved.
    way: usize,
    time: Duration,
}

impl Bounds {
    /// At most 40 MB, where all names are of the longest; millions of files.
    const USUAL: Bounds =
        Bounds { waiting: 100_000, linked: 100_000, way: 10_000, time: Duration::from_secs(60) };
}

/// What tells a file from all others.
type Identity = (u64, u64);

fn identity(stat: &FileStat) -> Identity {
    (stat.st_dev, stat.st_ino)
}

/// A folder on the way.
#[derive(Debug)]
struct Place {
    folder: OwnedFd,
    /// How many folders are above it; none above the one that is measured.
    depth: usize,
}

/// A folder on the way with folders in it that wait. One without is gone through and not remembered.
#[derive(Debug)]
struct Branch {
    identity: Identity,
    depth: usize,
    waiting: usize,
}

#[derive(Debug)]
struct Walk<'a> {
    bounds: &'a Bounds,
    until: Instant,
    top: OwnedFd,
    location: Location,
    /// But for the inodes.
    size: Size,
    /// In parts of [`WHOLE`].
    inodes: u64,
    linked: BTreeSet<Identity>,
    /// From the outermost branch to the innermost.
    branches: Vec<Branch>,
    /// The names of what waits in them, in the same order.
    waiting: Vec<CString>,
    /// The names of the folders from the top to the place, as far as the bound goes.
    way: Vec<CString>,
}

fn measure_within(bounds: &Bounds, folder: &Path) -> io::Result<Size> {
    let (mut walk, mut place) = Walk::begin(bounds, folder)?;
    walk.look_around(&place);
    while walk.go_on(&mut place) {
        walk.look_around(&place);
    }
    Ok(walk.size())
}

fn of_folders() -> OFlag {
    OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC
}

impl<'a> Walk<'a> {
    /// A walk that has yet to look around at its first place, the top.
    fn begin(bounds: &'a Bounds, folder: &Path) -> io::Result<(Walk<'a>, Place)> {
        let top = open(folder, of_folders(), Mode::empty())?;
        let stat = fstat(&top)?;
        let place = Place { folder: top.try_clone()?, depth: 0 };
        let mut walk = Walk {
            bounds,
            until: Instant::now() + bounds.time,
            location: Location { mount: mount::id(&top, c"."), device: stat.st_dev },
            top,
            size: Size::default(),
            inodes: 0,
            linked: BTreeSet::new(),
            branches: Vec::new(),
            waiting: Vec::new(),
            way: Vec::new(),
        };
        walk.count(&stat, true);
        Ok((walk, place))
    }

    /// Counts what is in a folder, and lets the folders in it wait.
    fn look_around(&mut self, place: &Place) {
        // A reader keeps the descriptor to itself while it reads.
        let reader = place.folder.try_clone().and_then(|copy| Dir::from_fd(copy).map_err(io::Error::from));
        let Ok(mut reader) = reader else {
            self.size.left_out += 1;
            return;
        };
        let before = self.waiting.len();
        for entry in reader.iter() {
            let Ok(entry) = entry else {
                self.size.left_out += 1;
                break;
            };
            // A task can add files for as long as somebody reads on.
            if self.is_late() {
                self.size.left_out += 1;
                break;
            }
            let name = entry.file_name();
            if name.to_bytes() == b"." || name.to_bytes() == b".." {
                continue;
            }
            let stat = match fstatat(&place.folder, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
                Ok(stat) => stat,
                // Gone meanwhile.
                Err(Errno::ENOENT) => continue,
                Err(_) => {
                    self.size.left_out += 1;
                    continue;
                }
            };
            let is_folder = stat.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFDIR.bits();
            // Something is mounted there. Files are not asked, as those of an overlay may be of another device than their
            // folder.
            if is_folder && !self.is_of_mount(&place.folder, name, &stat) {
                continue;
            }
            self.count(&stat, is_folder);
            match is_folder {
                true if self.waiting.len() < self.bounds.waiting => self.waiting.push(name.to_owned()),
                true => self.size.left_out += 1,
                false => {}
            }
        }
        let waiting = self.waiting.len() - before;
        if waiting == 0 {
            return;
        }
        match fstat(&place.folder) {
            Ok(stat) => {
                self.branches.push(Branch { identity: identity(&stat), depth: place.depth, waiting });
            }
            Err(_) => {
                self.waiting.truncate(before);
                self.size.left_out += waiting;
            }
        }
    }

    /// Goes into the next folder that waits. `false`: none does, or there is no time left.
    fn go_on(&mut self, place: &mut Place) -> bool {
        while let Some(branch) = self.branches.last_mut() {
            if Instant::now() >= self.until {
                self.size.left_out += self.waiting.len();
                return false;
            }
            if !place.climb(branch) && !place.come_from(&self.top, &self.way, branch) {
                // The branch was moved itself. Those above it may still be where they were.
                let lost = branch.waiting;
                self.waiting.truncate(self.waiting.len() - lost);
                self.branches.pop();
                self.size.left_out += lost;
                continue;
            }
            let name = self.waiting.pop().expect("a branch is kept while something waits in it");
            branch.waiting -= 1;
            if branch.waiting == 0 {
                self.branches.pop();
            }
            match openat(&place.folder, name.as_c_str(), of_folders(), Mode::empty()) {
                Ok(folder) => {
                    self.way.truncate(place.depth);
                    if self.way.len() == place.depth && place.depth < self.bounds.way {
                        self.way.push(name);
                    }
                    *place = Place { folder, depth: place.depth + 1 };
                    return true;
                }
                // Gone meanwhile, or something else by now.
                Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => {}
                Err(_) => self.size.left_out += 1,
            }
        }
        false
    }

    fn is_of_mount(&self, folder: &OwnedFd, name: &CStr, stat: &FileStat) -> bool {
        let there = Location { mount: mount::id(folder, name), device: stat.st_dev };
        self.location.shares_mount(there)
    }

    fn count(&mut self, stat: &FileStat, is_folder: bool) {
        let bytes = u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(BLOCK_BYTES);
        let names = wide(stat.st_nlink);
        let (bytes, inode) = if is_folder || names < 2 {
            (bytes, WHOLE)
        } else if self.linked.contains(&identity(stat)) {
            (0, 0)
        } else if self.linked.len() < self.bounds.linked {
            self.linked.insert(identity(stat));
            (bytes, WHOLE)
        } else {
            (bytes / names, WHOLE / names)
        };
        self.size.bytes = self.size.bytes.saturating_add(bytes);
        self.inodes = self.inodes.saturating_add(inode);
    }

    /// What was counted so far.
    fn size(&self) -> Size {
        Size { inodes: self.inodes.div_ceil(WHOLE), ..self.size }
    }

    fn is_late(&self) -> bool {
        Instant::now() >= self.until
    }
}

impl Place {
    /// Goes up to a folder that the way led through. `false`: the way up leads elsewhere, as a folder on it was moved.
    fn climb(&mut self, to: &Branch) -> bool {
        if self.depth == to.depth {
            return true;
        }
        while self.depth > to.depth {
            let Ok(above) = openat(&self.folder, "..", of_folders(), Mode::empty()) else { return false };
            self.folder = above;
            self.depth -= 1;
        }
        is(&self.folder, to)
    }

    /// Goes there anew from the top, by the names on the way. `false`, and nowhere: another folder is there by now, or its
    /// way is longer than what is remembered of it.
    fn come_from(&mut self, top: &OwnedFd, way: &[CString], to: &Branch) -> bool {
        let (Some(way), Ok(mut folder)) = (way.get(..to.depth), top.try_clone()) else { return false };
        for name in way {
            let Ok(below) = openat(&folder, name.as_c_str(), of_folders(), Mode::empty()) else {
                return false;
            };
            folder = below;
        }
        if !is(&folder, to) {
            return false;
        }
        *self = Place { folder, depth: to.depth };
        true
    }
}

fn is(folder: &OwnedFd, branch: &Branch) -> bool {
    fstat(folder).is_ok_and(|stat| identity(&stat) == branch.identity)
}

/// A count whose width differs from machine to machine.
fn wide(count: impl Into<u64>) -> u64 {
    count.into()
}

#[cfg(test)]
mod tests;
