//! A disk of a test's own that is soon full. One that breaks is of [`bourse_hostile`].

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

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

/// Lazily, as after a failure somebody may still look for something there. The loop device goes with the mount.
fn unmount(path: &Path) {
    let _ = Command::new("umount").arg("--lazy").arg(path).status();
}

fn run(command: &mut Command) {
    let output = command.output().expect("util-linux and e2fsprogs are installed");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
}
