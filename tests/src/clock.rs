//! Wall clocks that can be set, for one process each.
//!
//! Linux has no namespace for this clock, so a process is given a library in front of the C library, `clock.c`, which is
//! told how far ahead it is by a file. A library of somebody else that does this (libfaketime 0.9.10) was tried: sleeps
//! fail under it that should not know of it, and a process that is killed leaves its shared memory behind.

use std::ffi::OsString;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

const SOURCE: &str = include_str!("clock.c");

/// The clock of one process, as right as the machine's at first.
#[derive(Debug)]
pub struct Clock {
    library: PathBuf,
    path: PathBuf,
    ahead: Mutex<i64>,
}

impl Clock {
    /// In this folder, under this name.
    ///
    /// # Panics
    /// When there is no C compiler.
    pub fn new(folder: &Path, name: &str) -> Clock {
        let library = folder.join("clock.so");
        if !library.exists() {
            let source = folder.join("clock.c");
            fs::write(&source, SOURCE).expect("a test's own folder is writable");
            let mut compiler = Command::new("cc");
            compiler.args(["-shared", "-fPIC", "-O1", "-o"]).args([&library, &source]);
            let output = compiler.output().expect("build-essential is installed");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
        let clock = Clock { library, path: folder.join(format!("{name}.clock")), ahead: Mutex::new(0) };
        fs::write(&clock.path, 0_i64.to_ne_bytes()).expect("a test's own folder is writable");
        clock
    }

    /// What a process has to be started with to go by this clock.
    pub fn variables(&self) -> [(&'static str, OsString); 2] {
        [("LD_PRELOAD", self.library.clone().into()), ("TEST_CLOCK", self.path.clone().into())]
    }

    /// Sets it forward, or back, by so many seconds from what it shows now.
    pub fn jump(&self, seconds: i64) {
        let mut ahead = self.ahead.lock().expect("nobody panics here");
        *ahead += seconds;
        self.show(*ahead);
    }

    /// Sets it to what the machine's shows.
    pub fn set_right(&self) {
        let mut ahead = self.ahead.lock().expect("nobody panics here");
        *ahead = 0;
        self.show(0);
    }

    /// In place: whoever goes by this clock looks at these bytes.
    fn show(&self, ahead: i64) {
        let file = File::options().write(true).open(&self.path).expect("it is ours");
        file.write_all_at(&ahead.to_ne_bytes(), 0).expect("it is ours");
    }
}
