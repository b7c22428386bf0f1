//! A disk that goes bad, or that is made for few files, or has quotas.

use std::env;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

/// How long the kernel may take to let go of what was unmounted, on a machine that is busy with other tests.
const LETS_GO: Duration = Duration::from_secs(30);

/// How often it is looked at meanwhile.
const LOOK: Duration = Duration::from_millis(20);

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
    ///
    /// When this process is not root, or has no loop devices.
    pub fn new(path: &Path, mib: u32) -> FragileDisk {
        FragileDisk::made(path, mib, &[])
    }

    /// The same, for about so many files and folders, its own among them.
    ///
    /// # Panics
    ///
    /// As [`new`](FragileDisk::new).
    pub fn with_inodes(path: &Path, mib: u32, inodes: u32) -> FragileDisk {
        FragileDisk::made(path, mib, &["-N", &inodes.to_string()])
    }

    fn made(path: &Path, mib: u32, options: &[&str]) -> FragileDisk {
        fs::create_dir_all(path).expect("a test's own folder is writable");
        let image = path.with_extension("image");
        let made = File::create_new(&image).and_then(|file| file.set_len(u64::from(mib) << 20));
        made.expect("a test's own folder is writable");
        run(Command::new("mkfs.ext4").args(["-q", "-F"]).args(options).arg(&image));
        let disk = FragileDisk { path: path.to_owned(), image };
        disk.mount();
        disk
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// From now on every write fails. What is open stays open, and what was written before is on the disk.
    pub fn break_it(&self) {
        run(Command::new("sync").arg("--file-system").arg(&self.path));
        run(Command::new("mount").args(["-o", "remount,abort"]).arg(&self.path));
    }

    /// As after a repair. Nobody may have a file of it open.
    ///
    /// # Panics
    ///
    /// When somebody has.
    pub fn renew(&self) {
        run(Command::new("umount").arg(&self.path));
        // A container that is just being made has copies of all mounts for a moment: what is mounted again before they are
        // gone is still the broken one.
        let give_up = Instant::now() + LETS_GO;
        while self.is_attached() {
            assert!(Instant::now() < give_up, "after {LETS_GO:?} a loop device still has {:?}", self.image);
            sleep(LOOK);
        }
        self.mount();
    }

    fn is_attached(&self) -> bool {
        let devices = Command::new("losetup").arg("--associated").arg(&self.image).output();
        !devices.expect("util-linux is installed").stdout.is_empty()
    }

    fn mount(&self) {
        run(Command::new("mount").args(["-o", "loop"]).args([&self.image, &self.path]));
    }
}

impl Drop for FragileDisk {
    /// Lazily, as after a failure somebody may still look for something there. The loop device goes with the mount.
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.path).status();
    }
}

/// Names the folder of [`quota_folder`].
const QUOTA_FOLDER: &str = "QUOTA_TEST_DIR";

/// A folder on a file system with quotas of projects, as the guest of `make test-cgroup2` has one. The kernel of the machine
/// that runs the tests need not know them: `None`, and the test that asks is to be left out, which is said.
pub fn quota_folder() -> Option<PathBuf> {
    let folder = env::var_os(QUOTA_FOLDER).map(PathBuf::from);
    if folder.is_none() {
        let test = thread::current().name().unwrap_or("a test").to_owned();
        let why = "QUOTA_TEST_DIR names no folder on a file system with quotas; make test-cgroup2 runs it";
        // Not by `eprintln`, of which nothing is shown where a test passes. Who cannot be told needs not.
        let _ = writeln!(io::stderr(), "left out: {test}: {why}");
    }
    folder
}

fn run(command: &mut Command) {
    let output = command.output().expect("util-linux and e2fsprogs are installed");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
}
