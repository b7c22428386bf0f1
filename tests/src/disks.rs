//! Disks of a test's own: one that is soon full, and one that breaks.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::wait::wait_until;

/// A disk in memory, of a size that can be filled. Unmounted when it is let go.
#[derive(Debug)]
pub struct SmallDisk {
    path: PathBuf,
}

impl SmallDisk {
    /// Mounts one of so many MiB on this folder, which is made where it is missing.
    ///
    /// # Panics
    /// When this process is not root.
    pub fn new(path: &Path, mib: u32) -> SmallDisk {
        fs::create_dir_all(path).expect("a test's own folder is writable");
        let options = format!("size={mib}m,mode=755");
        run(Command::new("mount").args(["-t", "tmpfs", "-o", &options, "none"]).arg(path));
        SmallDisk { path: path.to_owned() }
    }

    /// Takes all that is free. What others free or give back meanwhile is taken by a repeat.
    pub fn fill(&self) {
        let mut ballast = File::options().create(true).append(true).open(self.ballast()).expect("it is ours");
        let page = [0; 4096];
        while ballast.write_all(&page).is_ok() {}
    }

    /// Takes all but so many KiB.
    pub fn leave(&self, kib: u64) {
        self.fill();
        let ballast = File::options().write(true).open(self.ballast()).expect("it is ours");
        let length = ballast.metadata().expect("it is open").len();
        ballast.set_len(length.saturating_sub(kib << 10)).expect("it is ours");
    }

    /// Gives back what [`fill`](SmallDisk::fill) took. A repeat does nothing.
    pub fn make_room(&self) {
        // It is not there when nothing was taken.
        let _ = fs::remove_file(self.ballast());
    }

    fn ballast(&self) -> PathBuf {
        self.path.join("ballast")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        unmount(&self.path);
    }
}

/// A disk in a file, with ext4 on it, which becomes read-only under whoever has files open, as a file system does after an
/// error of the disk below it. Unmounted when it is let go.
#[derive(Debug)]
pub struct FragileDisk {
    path: PathBuf,
    image: PathBuf,
}

impl FragileDisk {
    /// Mounts one of so many MiB on this folder, which is made where it is missing. Its file lies beside it.
    ///
    /// # Panics
    /// When this process is not root, or has no loop devices.
    pub fn new(path: &Path, mib: u32) -> FragileDisk {
        fs::create_dir_all(path).expect("a test's own folder is writable");
        let image = path.with_extension("image");
        let made = File::create_new(&image).and_then(|file| file.set_len(u64::from(mib) << 20));
        made.expect("a test's own folder is writable");
        run(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&image));
        let disk = FragileDisk { path: path.to_owned(), image };
        disk.mount();
        disk
    }

    /// From now on every write fails. What is open stays open, and what was written before is on the disk.
    pub fn break_it(&self) {
        run(Command::new("sync").arg("--file-system").arg(&self.path));
        run(Command::new("mount").args(["-o", "remount,abort"]).arg(&self.path));
    }

    /// As after a repair. Nobody may have a file of it open.
    ///
    /// # Panics
    /// When somebody has.
    pub fn renew(&self) {
        run(Command::new("umount").arg(&self.path));
        // A container that is just being made has copies of all mounts for a moment: what is mounted again before they are
        // gone is still the broken one.
        wait_until("the loop device to be free", || {
            let devices = Command::new("losetup").arg("--associated").arg(&self.image).output();
            devices.expect("util-linux is installed").stdout.is_empty()
        });
        self.mount();
    }

    fn mount(&self) {
        run(Command::new("mount").args(["-o", "loop"]).args([&self.image, &self.path]));
    }
}

impl Drop for FragileDisk {
    fn drop(&mut self) {
        unmount(&self.path);
    }
}

/// Lazily, as after a failure somebody may still look for something there. The loop device goes with the mount.
fn unmount(path: &Path) {
    let _ = Command::new("umount").arg("--lazy").arg(path).status();
}

fn run(command: &mut Command) {
    let output = command.output().expect("util-linux and e2fsprogs are installed");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
}
