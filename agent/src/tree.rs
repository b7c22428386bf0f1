//! Removing a folder that tasks could write in.
//!
//! The standard library's way holds a stack frame and a descriptor for each level, and a task can nest folders until the
//! agent has no more of either. Here what lies deep is first brought up, so that no tree is too deep and no path too long.

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

use nix::unistd::{getegid, geteuid};

/// Removes a folder with all that is in it. Links are removed and not followed. A repeat goes on where the last one
/// failed; a folder that is not there is an error.
pub fn remove(folder: &Path) -> io::Result<()> {
    if !fs::symlink_metadata(folder)?.is_dir() {
        return Err(io::ErrorKind::NotADirectory.into());
    }
    // From here on nobody else changes what is right in it, so that a folder seen there is no link a moment later.
    chown(folder, Some(geteuid().as_raw()), Some(getegid().as_raw()))?;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700))?;
    let mut number = 0;
    loop {
        match fs::remove_dir(folder) {
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {}
            removed => return removed,
        }
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            match entry.file_type()?.is_dir() {
                true => remove_flat(&entry.path(), || free(folder, &mut number))?,
                false => fs::remove_file(entry.path())?,
            }
        }
    }
}

/// Removes a folder after the folders in it were moved out.
fn remove_flat(folder: &Path, mut place: impl FnMut() -> PathBuf) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        match entry.file_type()?.is_dir() {
            true => fs::rename(entry.path(), place())?,
            false => fs::remove_file(entry.path())?,
        }
    }
    fs::remove_dir(folder)
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
    use std::os::unix::fs::symlink;

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
}
