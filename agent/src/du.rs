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
mod tests {
    use std::fs;
    use std::os::fd::AsRawFd;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::path::PathBuf;
    use std::thread;

    use nix::mount::{MsFlags, mount};
    use nix::sched::CloneFlags;
    use nix::unistd::{Uid, setfsuid};

    use super::*;
    use crate::tree;

    const MIB: u64 = 1 << 20;

    /// What folders and the rounding of file systems may add.
    const SLACK: u64 = MIB / 4;

    fn bytes(folder: &Path) -> u64 {
        let size = measure(folder).expect("it can be measured");
        assert_eq!(size.left_out, 0);
        size.bytes
    }

    /// So much is written and on the disk.
    fn fill(path: &Path, mebibytes: u64) {
        let file = fs::File::create(path).expect("writable");
        io::copy(&mut io::Read::take(io::repeat(7), mebibytes * MIB), &mut &file).expect("there is room");
        file.sync_all().expect("there is room");
    }

    fn about(bytes: u64, mebibytes: u64) -> bool {
        (mebibytes * MIB..mebibytes * MIB + SLACK).contains(&bytes)
    }

    #[test]
    fn a_folder_takes_the_blocks_of_each_file_once_and_nothing_of_what_its_links_lead_to() {
        let (folder, other) =
            (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let path = folder.path();
        fs::create_dir_all(path.join("a/b")).expect("writable");
        fill(&path.join("a/file"), 2);
        assert!(about(bytes(path), 2), "{}", bytes(path));
        fs::hard_link(path.join("a/file"), path.join("a/b/again")).expect("writable");
        assert!(about(bytes(path), 2), "two names of a file: {}", bytes(path));
        fs::File::create(path.join("sparse")).and_then(|file| file.set_len(1 << 30)).expect("writable");
        assert!(about(bytes(path), 2), "a gap takes nothing: {}", bytes(path));
        fill(&other.path().join("file"), 4);
        symlink(other.path(), path.join("folder elsewhere")).expect("writable");
        symlink(other.path().join("file"), path.join("file elsewhere")).expect("writable");
        symlink("..", path.join("a/b/up")).expect("writable");
        assert!(about(bytes(path), 2), "links are not followed: {}", bytes(path));
        fs::remove_file(path.join("a/file")).expect("there");
        assert!(about(bytes(path), 2), "the other name is left: {}", bytes(path));
        fs::remove_file(path.join("a/b/again")).expect("there");
        assert!(about(bytes(path), 0), "{}", bytes(path));
        assert!(measure(&path.join("sparse")).is_err(), "a file is no folder");
        assert!(measure(&path.join("folder elsewhere")).is_err(), "nor is a link");
    }

    #[test]
    fn each_file_folder_and_link_is_one_inode_however_many_names_it_has_and_whatever_is_in_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path();
        let inodes = || measure(path).expect("it can be measured").inodes;
        assert_eq!(inodes(), 1, "the folder itself");
        for number in 0..100 {
            fs::File::create(path.join(number.to_string())).expect("writable");
        }
        fs::create_dir_all(path.join("a/b")).expect("writable");
        symlink("1", path.join("a/link")).expect("writable");
        assert_eq!(inodes(), 1 + 100 + 2 + 1);
        fs::hard_link(path.join("1"), path.join("a/again")).expect("writable");
        assert_eq!(inodes(), 104);
        fs::remove_file(path.join("1")).expect("there");
        assert_eq!(inodes(), 104, "the other name is left");
        fs::remove_file(path.join("a/again")).expect("there");
        assert_eq!(inodes(), 103);
    }

    #[test]
    fn folders_nested_deeper_than_a_stack_or_a_path_can_be_are_measured_to_the_last() {
        let folder = tempfile::tempdir().expect("a folder");
        let (tree, around) = (folder.path().join("tree"), folder.path().join("around"));
        fs::create_dir(&tree).expect("writable");
        // Two chains, so that the way leads up from the bottom of one of them.
        for name in ["one", "two"] {
            let chain = folder.path().join(name);
            fs::create_dir(&chain).expect("writable");
            fill(&chain.join("file"), 1);
            for _ in 0..20_000 {
                fs::create_dir(&around).expect("writable");
                fs::rename(&chain, around.join("inner")).expect("writable");
                fs::rename(&around, &chain).expect("writable");
            }
            fs::rename(&chain, tree.join(name)).expect("writable");
        }
        // A test's thread has a stack of 2 MiB, as the threads have that measure. A folder may take a block of its own.
        let size = measure(&tree).expect("it can be measured");
        assert_eq!(size.left_out, 0);
        assert!(size.bytes >= 2 * MIB && size.bytes < 2 * MIB + 40_002 * 8192 + SLACK, "{size:?}");
        tree::remove(&tree).expect("removed");
    }

    #[test]
    fn what_is_mounted_in_a_folder_is_not_its_own() {
        let (folder, other) =
            (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let path = folder.path().to_owned();
        // For this thread only.
        thread::spawn(move || {
            nix::sched::unshare(CloneFlags::CLONE_NEWNS).expect("tests run as root");
            let none = None::<&str>;
            mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).expect("ours");
            fs::create_dir(path.join("mounted")).expect("writable");
            mount(Some("none"), &path.join("mounted"), Some("tmpfs"), MsFlags::empty(), none).expect("ours");
            fill(&path.join("mounted/file"), 4);
            fill(&path.join("file"), 1);
            assert!(about(bytes(&path), 1), "{}", bytes(&path));
            // A part of the same disk: its device is that of the folder.
            fs::create_dir(path.join("bound")).expect("writable");
            mount(Some(other.path()), &path.join("bound"), none, MsFlags::MS_BIND, none).expect("ours");
            fill(&path.join("bound/file"), 4);
            assert!(about(bytes(&path), 1), "{}", bytes(&path));
            assert!(about(bytes(&path.join("mounted")), 4));
        })
        .join()
        .expect("as said");
    }

    #[test]
    fn what_may_not_be_looked_into_is_left_out_and_the_rest_is_counted() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().to_owned();
        for name in ["closed", "open"] {
            fs::create_dir(path.join(name)).expect("writable");
            fill(&path.join(name).join("file"), 1);
        }
        for (folder, mode) in
            [(path.clone(), 0o755), (path.join("open"), 0o755), (path.join("closed"), 0o700)]
        {
            fs::set_permissions(folder, fs::Permissions::from_mode(mode)).expect("ours");
        }
        // For this thread only: as somebody else, without the rights of root.
        thread::spawn(move || {
            setfsuid(Uid::from_raw(65_534));
            let size = measure(&path).expect("it can be measured");
            assert_eq!(size.left_out, 1);
            assert!(about(size.bytes, 1), "{size:?}");
        })
        .join()
        .expect("as said");
    }

    #[test]
    fn beyond_its_bounds_a_measurement_leaves_folders_out_and_counts_a_file_by_the_share_of_each_name() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path();
        for name in ["a", "b", "c"] {
            fs::create_dir(path.join(name)).expect("writable");
            fill(&path.join(name).join("file"), 1);
        }
        let narrow = Bounds { waiting: 1, ..Bounds::USUAL };
        let size = measure_within(&narrow, path).expect("it can be measured");
        assert_eq!(size.left_out, 2);
        assert!(about(size.bytes, 1), "{size:?}");
        let hasty = Bounds { time: Duration::ZERO, ..Bounds::USUAL };
        assert!(measure_within(&hasty, path).expect("it can be measured").left_out > 0);

        fs::hard_link(path.join("a/file"), path.join("b/again")).expect("writable");
        let forgetful = Bounds { linked: 0, ..Bounds::USUAL };
        let size = measure_within(&forgetful, path).expect("it can be measured");
        assert!(size.left_out == 0 && about(size.bytes, 3), "{size:?}");
        assert_eq!(size.inodes, 7, "four folders and three files, one of them by two halves");
    }

    /// Two folders with three in each, all with a file of 1 MiB, and a walk that is in the first of the six.
    fn in_the_midst(path: &Path) -> (Walk<'static>, Place) {
        for name in ["a/1", "a/2", "a/3", "b/1", "b/2", "b/3"] {
            fs::create_dir_all(path.join(name)).expect("writable");
            fill(&path.join(name).join("file"), 1);
        }
        let (mut walk, mut place) = Walk::begin(&Bounds::USUAL, path).expect("it can be measured");
        walk.look_around(&place);
        while place.depth < 2 {
            assert!(walk.go_on(&mut place));
            walk.look_around(&place);
        }
        (walk, place)
    }

    fn path_of(place: &Place) -> PathBuf {
        fs::read_link(format!("/proc/self/fd/{}", place.folder.as_raw_fd())).expect("it is open")
    }

    fn to_the_end(mut walk: Walk<'_>, mut place: Place) -> Size {
        while walk.go_on(&mut place) {
            walk.look_around(&place);
        }
        walk.size()
    }

    #[test]
    fn a_walk_whose_way_back_was_cut_by_a_move_goes_on_from_the_top_and_leaves_nothing_out() {
        let (folder, other) =
            (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let path = folder.path().join("measured");
        let (walk, place) = in_the_midst(&path);
        fs::rename(path_of(&place), folder.path().join("elsewhere")).expect("writable");
        let size = to_the_end(walk, place);
        assert!(size.left_out == 0 && about(size.bytes, 6), "{size:?}");

        // What is deeper than the way that is remembered is lost, and nothing else.
        let path = other.path().join("measured");
        let (mut walk, place) = in_the_midst(&path);
        walk.way.clear();
        fs::rename(path_of(&place), other.path().join("elsewhere")).expect("writable");
        let size = to_the_end(walk, place);
        assert!(size.left_out == 2 && about(size.bytes, 4), "{size:?}");
    }

    #[test]
    fn a_folder_that_was_moved_itself_while_it_was_looked_at_costs_what_waits_in_it_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("measured");
        let (walk, place) = in_the_midst(&path);
        let inner = path_of(&place);
        let around = inner.parent().expect("it is in a folder").to_owned();
        fs::rename(&inner, folder.path().join("elsewhere")).expect("writable");
        fs::rename(&around, path.join("moved")).expect("writable");
        let size = to_the_end(walk, place);
        assert!(size.left_out == 2 && about(size.bytes, 4), "{size:?}");
    }

    #[test]
    fn a_way_up_that_leads_elsewhere_is_not_taken() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path();
        fs::create_dir_all(path.join("measured/inner")).expect("writable");
        fs::create_dir(path.join("elsewhere")).expect("writable");
        let opened = |path: &Path| open(path, of_folders(), Mode::empty()).expect("there");
        let top = fstat(opened(&path.join("measured"))).expect("open");
        let branch = Branch { identity: identity(&top), depth: 0, waiting: 1 };
        let mut place = Place { folder: opened(&path.join("measured/inner")), depth: 1 };
        assert!(place.climb(&branch));
        let mut place = Place { folder: opened(&path.join("measured/inner")), depth: 1 };
        fs::rename(path.join("measured/inner"), path.join("elsewhere/inner")).expect("writable");
        assert!(!place.climb(&branch));
        assert!(place.come_from(&opened(&path.join("measured")), &[], &branch));
        assert!(!place.come_from(&opened(&path.join("elsewhere")), &[], &branch), "it is another folder");
    }
}
