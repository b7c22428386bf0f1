//! A disk that breaks, for tests: ext4 in a file, which becomes read-only under whoever has files open, as a file system
//! does after an error of the disk below it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

const SIZE: u64 = 32 << 20;

pub struct FragileDisk(TempDir);

impl FragileDisk {
    /// A good one.
    pub fn new() -> FragileDisk {
        let disk = FragileDisk(TempDir::new().expect("a folder"));
        File::create(disk.image()).and_then(|file| file.set_len(SIZE)).expect("a file");
        fs::create_dir(disk.path()).expect("a folder");
        run(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(disk.image()));
        disk.mount();
        disk
    }

    pub fn path(&self) -> PathBuf {
        self.0.path().join("disk")
    }

    /// What is open stays open, and nothing can be written any more.
    pub fn break_it(&self) {
        run(Command::new("mount").args(["-o", "remount,abort"]).arg(self.path()));
    }

    /// As after a repair. Nobody may have a file of it open.
    pub fn renew(&self) {
        run(Command::new("umount").arg(self.path()));
        self.mount();
    }

    fn image(&self) -> PathBuf {
        self.0.path().join("image")
    }

    fn mount(&self) {
        let (image, path): (&Path, &Path) = (&self.image(), &self.path());
        run(Command::new("mount").args(["-o", "loop"]).args([image, path]));
    }
}

impl Drop for FragileDisk {
    fn drop(&mut self) {
        // Lazily: a test that failed may have files open.
        let _ = Command::new("umount").arg("--lazy").arg(self.path()).status();
    }
}

fn run(command: &mut Command) {
    let status = command.status().expect("util-linux and e2fsprogs are installed");
    assert!(status.success(), "{command:?}: {status}");
}
