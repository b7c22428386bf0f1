//! Removing a folder that tasks could write in.
//!
//! The standard library's way holds a stack frame and a descriptor for each level, and a task can nest folders until the
//! agent has no more of either. Here what lies deep is first brought up, so that no tree is too deep and no path too long.
//!
//! Not everything can be brought up. A task can make subvolumes on btrfs, and no folder leaves its subvolume; so a folder
//! that nothing can leave is emptied where it is, as a root of its own.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

use nix::unistd::{getegid, geteuid};
use rustix::fs::{CWD, IFlags, ioctl_getflags, ioctl_setflags};

use crate::mount;

/// Removes a folder with all that is in it. Links are removed and not followed, and what is mounted in it is an error and
/// stays whole. A repeat goes on where the last one failed; a folder that is not there is an error.
pub fn remove(folder: &Path) -> io::Result<()> {
    remove_by(folder, |from, to| fs::rename(from, to))
}

fn remove_by(folder: &Path, rename: impl Fn(&Path, &Path) -> io::Result<()>) -> io::Result<()> {
    if !fs::symlink_metadata(folder)?.is_dir() {
        return Err(ErrorKind::NotADirectory.into());
    }
    // From here on nobody else changes what is right in it, so that a folder seen there is no link a moment later.
    chown(folder, Some(geteuid().as_raw()), Some(getegid().as_raw()))?;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700))?;
    take_any_project(folder);
    let mut removal = Removal { top: folder, mount: mount::id(CWD, folder), rename, number: 0 };
    // From the top to the innermost.
    let mut roots = vec![folder.to_owned()];
    while let Some(root) = roots.last() {
        match fs::remove_dir(root) {
            Ok(()) => {
                roots.pop();
            }
            Err(error) if error.kind() == ErrorKind::DirectoryNotEmpty => {
                let inner = removal.flatten(root)?;
                roots.extend(inner);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Lets folders of every project be moved into this one. With project quotas XFS and ext4 refuse that where a folder hands
/// its own project down, and a task may give each of its folders another one. Where there are no such flags, nothing has to
/// be done.
fn take_any_project(folder: &Path) {
    let Ok(folder) = File::open(folder) else { return };
    if let Ok(flags) = ioctl_getflags(&folder)
        && flags.contains(IFlags::PROJECT_INHERIT)
    {
        // If it cannot be changed, folders that do not come up are roots of their own.
        let _ = ioctl_setflags(&folder, flags.difference(IFlags::PROJECT_INHERIT));
    }
}

struct Removal<'a, R> {
    top: &'a Path,
    /// `None`: the kernel does not tell.
    mount: Option<u64>,
    rename: R,
    /// The next name to bring something up to.
    number: u64,
}

impl<R: Fn(&Path, &Path) -> io::Result<()>> Removal<'_, R> {
    /// Removes what is in a root, or brings it up into that. Ends early with a folder that must be a root of its own first.
    fn flatten(&mut self, root: &Path) -> io::Result<Option<PathBuf>> {
        for entry in fs::read_dir(root)? {
            let entry = entry?;
            let path = entry.path();
            if !entry.file_type()?.is_dir() {
                fs::remove_file(path)?;
            } else if !self.remove_flat(root, &path)? {
                return Ok(Some(path));
            }
        }
        Ok(None)
    }

    /// Removes a folder of a root after the folders in it were moved out. `false`: they cannot be.
    fn remove_flat(&mut self, root: &Path, folder: &Path) -> io::Result<bool> {
        self.refuse_mounted(folder)?;
        open_up(folder);
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            if !entry.file_type()?.is_dir() {
                fs::remove_file(entry.path())?;
                continue;
            }
            let place = free(root, &mut self.number);
            let mut renamed = (self.rename)(&entry.path(), &place);
            if renamed.as_ref().is_err_and(|error| error.kind() == ErrorKind::PermissionDenied) {
                open_up(&entry.path());
                renamed = (self.rename)(&entry.path(), &place);
            }
            match renamed {
                // Where mounts are not known, it may be one that nothing leaves.
                Err(error) if error.kind() == ErrorKind::CrossesDevices && self.mount.is_some() => {
                    return Ok(root != self.top && self.bring_to_top(folder));
                }
                renamed => renamed?,
            }
        }
        fs::remove_dir(folder)?;
        Ok(true)
    }

    /// Moves a folder of an inner root to the top, where it can be. A subvolume can be, though nothing in it can leave it:
    /// so no number of them in each other makes the roots many and their paths long.
    fn bring_to_top(&mut self, folder: &Path) -> bool {
        let place = free(self.top, &mut self.number);
        (self.rename)(folder, &place).is_ok()
    }

    fn refuse_mounted(&self, folder: &Path) -> io::Result<()> {
        match (self.mount, mount::id(CWD, folder)) {
            (Some(own), Some(there)) if own != there => {
                let why = format!("something is mounted on {}; unmount it", folder.display());
                Err(io::Error::new(ErrorKind::ResourceBusy, why))
            }
            _ => Ok(()),
        }
    }
}

/// Lets an agent that is not root look into a folder of its own and move it: a task may have closed that. Where it cannot,
/// what comes next says so.
fn open_up(folder: &Path) {
    let _ = fs::set_permissions(folder, fs::Permissions::from_mode(0o700));
}

/// A path in a folder where nothing is.
fn free(folder: &Path, number: &mut u64) -> PathBuf {
    loop {
        let place = folder.join(number.to_string());
        *number += 1;
        if fs::symlink_metadata(&place).is_err() {
            return place;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::collections::BTreeSet;
    use std::os::fd::AsRawFd;
    use std::os::unix::fs::{MetadataExt, symlink};
    use std::os::unix::process::CommandExt;
    use std::process::Command;
    use std::thread;

    use nix::mount::{MntFlags, MsFlags, mount, umount2};
    use nix::sched::CloneFlags;

    use super::*;

    #[test]
    fn a_tree_goes_whole_whatever_its_names_and_links_lead_nowhere() {
        let folder = tempfile::tempdir().expect("a folder");
        let (kept, tree) = (folder.path().join("kept"), folder.path().join("tree"));
        fs::create_dir(&kept).expect("writable");
        fs::write(kept.join("file"), "not ours").expect("writable");
        // The names that things are brought up to are taken, by folders and by files.
        for path in ["0", "1/0/0", "1/1", "2/1/2", "deep/0"] {
            fs::create_dir_all(tree.join(path)).expect("writable");
        }
        for path in ["3", "0/0", "1/2", "2/1/2/file"] {
            fs::write(tree.join(path), "text").expect("writable");
        }
        for path in ["way out", "2/1/way out"] {
            symlink(&kept, tree.join(path)).expect("writable");
        }
        remove(&tree).expect("removed");
        assert!(!tree.exists());
        assert_eq!(fs::read_to_string(kept.join("file")).expect("there"), "not ours");
        assert_eq!(remove(&tree).expect_err("nothing is there").kind(), io::ErrorKind::NotFound);
        let link = folder.path().join("link");
        symlink(&kept, &link).expect("writable");
        assert!(remove(&link).is_err(), "a link is no folder");
        assert!(kept.join("file").exists());
    }

    #[test]
    fn who_is_not_root_removes_what_a_task_closed_to_its_owner() {
        const TREE: &str = "BOURSE_TEST_TREE";
        const USER: u32 = 54_321;
        if let Some(tree) = std::env::var_os(TREE) {
            return remove(Path::new(&tree)).expect("removed");
        }
        let folder = tempfile::tempdir().expect("a folder");
        let tree = folder.path().join("tree");
        fs::create_dir_all(tree.join("closed/read only/empty")).expect("writable");
        fs::write(tree.join("closed/file"), "text").expect("writable");
        for (path, mode) in
            [("closed/read only/empty", 0), ("closed/read only", 0o555), ("closed", 0), ("", 0o755)]
        {
            chown(tree.join(path), Some(USER), Some(USER)).expect("tests run as root");
            fs::set_permissions(tree.join(path), fs::Permissions::from_mode(mode)).expect("there");
        }
        chown(folder.path(), Some(USER), Some(USER)).expect("tests run as root");
        // Opened before, as that user may not pass the way to it.
        let tests = File::open(std::env::current_exe().expect("it runs")).expect("there");
        let removed = Command::new(format!("/proc/self/fd/{}", tests.as_raw_fd()))
            .args(["--exact", "tree::tests::who_is_not_root_removes_what_a_task_closed_to_its_owner"])
            .env(TREE, &tree)
            .current_dir("/")
            .uid(USER)
            .gid(USER)
            .status();
        assert!(removed.expect("it can be started").success());
        assert!(!tree.exists());
    }

    #[test]
    fn folders_nested_deeper_than_a_stack_or_a_path_can_be_are_removed() {
        let folder = tempfile::tempdir().expect("a folder");
        let (tree, around) = (folder.path().join("tree"), folder.path().join("around"));
        fs::create_dir(&tree).expect("writable");
        for _ in 0..20_000 {
            fs::create_dir(&around).expect("writable");
            fs::rename(&tree, around.join("inner")).expect("writable");
            fs::rename(&around, &tree).expect("writable");
        }
        // A test's thread has a stack of 2 MiB, as the threads have that collect.
        remove(&tree).expect("removed");
        assert!(!tree.exists());
    }

    /// Renames as btrfs does where these are subvolumes, by inode: a folder does not leave its own, but a subvolume goes
    /// anywhere. Tried on Linux 6.18.
    fn rename_between(subvolumes: &BTreeSet<u64>, from: &Path, to: &Path) -> io::Result<()> {
        let is_one = |path: &Path| fs::symlink_metadata(path).is_ok_and(|it| subvolumes.contains(&it.ino()));
        let around = |path: &Path| path.ancestors().skip(1).find(|above| is_one(above)).map(Path::to_owned);
        match is_one(from) || around(from) == around(to) {
            true => fs::rename(from, to),
            false => Err(ErrorKind::CrossesDevices.into()),
        }
    }

    #[test]
    fn subvolumes_are_emptied_where_they_are_and_any_number_of_them_in_each_other_leaves_paths_short() {
        let folder = tempfile::tempdir().expect("a folder");
        let (tree, around) = (folder.path().join("tree"), folder.path().join("around"));
        fs::create_dir(&tree).expect("writable");
        let mut subvolumes = BTreeSet::new();
        // The way to the innermost is many times longer than a path may be.
        let long = "x".repeat(200);
        for _ in 0..200 {
            let plain = around.join(&long);
            fs::create_dir_all(plain.join("empty")).expect("writable");
            fs::write(plain.join("file"), "text").expect("writable");
            fs::write(around.join("file"), "text").expect("writable");
            fs::rename(&tree, plain.join("inner")).expect("writable");
            fs::rename(&around, &tree).expect("writable");
            subvolumes.insert(fs::metadata(&tree).expect("there").ino());
        }
        let longest = RefCell::new(0);
        let rename = |from: &Path, to: &Path| {
            let mut longest = longest.borrow_mut();
            *longest = from.as_os_str().len().max(*longest);
            rename_between(&subvolumes, from, to)
        };
        remove_by(&tree, rename).expect("removed");
        assert!(!tree.exists());
        let longest = longest.into_inner() - tree.as_os_str().len();
        assert!(longest < 3 * long.len(), "a path went {longest} bytes down");
    }

    #[test]
    fn where_nothing_can_be_moved_each_folder_is_emptied_where_it_is() {
        let folder = tempfile::tempdir().expect("a folder");
        let tree = folder.path().join("tree");
        for path in ["a/b/c/d", "a/b/e", "f/g"] {
            fs::create_dir_all(tree.join(path)).expect("writable");
            fs::write(tree.join(path).join("file"), "text").expect("writable");
        }
        remove_by(&tree, |_, _| Err(ErrorKind::CrossesDevices.into())).expect("removed");
        assert!(!tree.exists());
    }

    #[test]
    fn what_is_mounted_in_a_tree_stays_whole_and_once_it_is_unmounted_the_tree_goes() {
        let folder = tempfile::tempdir().expect("a folder");
        let tree = folder.path().join("tree");
        let mounted = tree.join("mounted");
        fs::create_dir_all(&mounted).expect("writable");
        // For this thread only.
        thread::spawn(move || {
            nix::sched::unshare(CloneFlags::CLONE_NEWNS).expect("tests run as root");
            let none = None::<&str>;
            mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).expect("ours");
            mount(Some("none"), &mounted, Some("tmpfs"), MsFlags::empty(), none).expect("ours");
            fs::create_dir_all(mounted.join("inner/deep")).expect("writable");
            fs::write(mounted.join("file"), "not ours").expect("writable");
            let error = remove(&tree).expect_err("something is mounted");
            assert!(error.to_string().contains("unmount it"), "{error}");
            assert_eq!(fs::read_to_string(mounted.join("file")).expect("there"), "not ours");
            assert!(mounted.join("inner/deep").is_dir());
            umount2(&mounted, MntFlags::empty()).expect("mounted");
            remove(&tree).expect("removed");
            assert!(!tree.exists());
        })
        .join()
        .expect("as said");
    }
}
