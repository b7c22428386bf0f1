//! Groups that are killed while they stand still: what cannot run makes no others meanwhile.
//!
//! Files: kernel documentation, `admin-guide/cgroup-v1/freezer-subsystem.rst`, and `admin-guide/cgroup-v2.rst`, "Core
//! Interface Files".

use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use super::CgroupError;
use super::files::{below, kill_each, processes, read, write, write_if_there};

/// How long the processes of a group may take to stand still. One that waits for a disk that does not answer does not, and
/// is none that makes others; it keeps nobody from being killed for longer than this.
const STANDS_WITHIN: Duration = Duration::from_secs(1);

/// How often it is looked whether they do.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// What stops the processes of a group.
struct Freezer {
    /// The file, and what stops them and lets them go.
    file: &'static str,
    stop: &'static str,
    go: &'static str,
    /// The file with a line that says that all of them stand still, and the line.
    events: &'static str,
    stands: &'static str,
}

/// Those who stand still take a signal when they are let go.
const V1: Freezer = Freezer {
    file: "freezer.state",
    stop: "FROZEN",
    go: "THAWED",
    // Until then it says FREEZING.
    events: "freezer.state",
    stands: "FROZEN",
};

/// From Linux 5.2 on. Those who stand still take SIGKILL at once.
const V2: Freezer =
    Freezer { file: "cgroup.freeze", stop: "1", go: "0", events: "cgroup.events", stands: "frozen 1" };

/// Version 1: kills what is in `dirs`, which is in the group of the freezer. Without that group it does nothing.
pub fn kill_v1(group: &Path, dirs: &[PathBuf]) -> Result<(), CgroupError> {
    V1.kill(group, dirs, STANDS_WITHIN)
}

/// Version 2: kills what is in a group and below it, as well as the kernel can: at once from Linux 5.14 on, before while it
/// stands still. `dirs` are the groups where its processes are. Without that group it does nothing.
pub fn kill_v2(group: &Path, dirs: &[PathBuf]) -> Result<(), CgroupError> {
    match write_if_there(group, "cgroup.kill", 1)? {
        true => Ok(()),
        false => V2.kill(group, dirs, STANDS_WITHIN),
    }
}

impl Freezer {
    fn kill(&self, group: &Path, dirs: &[PathBuf], stands_within: Duration) -> Result<(), CgroupError> {
        if !write_if_there(group, self.file, self.stop)? {
            return Ok(());
        }
        let deadline = Instant::now() + stands_within;
        while !self.stands_still(group) && Instant::now() < deadline {
            thread::sleep(LOOK_AGAIN);
        }
        kill_each(processes(dirs).into_iter().chain(processes(&below(dirs))));
        write(group, self.file, self.go)
    }

    fn stands_still(&self, group: &Path) -> bool {
        read(group, self.events).is_some_and(|text| text.lines().any(|line| line == self.stands))
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::io::Read;
    use std::os::unix::process::ExitStatusExt;
    use std::process::Command;

    use nix::sys::stat::Mode;
    use nix::unistd::mkfifo;
    use tempfile::TempDir;

    use super::*;

    /// Long enough for any machine.
    const PATIENCE: Duration = Duration::from_secs(60);

    /// Plan: what is written to the group's file comes here one by one, and it is we who say that the group stands still.
    #[test]
    fn processes_are_killed_when_all_of_their_group_stand_still_and_let_go_then() {
        let root = TempDir::new().expect("a temporary directory");
        let [group, task] = ["c1", "c1/task"].map(|name| root.path().join(name));
        fs::create_dir_all(&task).expect("it is writable");
        let file = group.join("cgroup.freeze");
        mkfifo(&file, Mode::S_IRWXU).expect("it is writable");
        // Open for both, it never ends.
        let mut told = File::options().read(true).write(true).open(&file).expect("it was made");
        let mut next = || {
            let mut byte = [0];
            told.read_exact(&mut byte).expect("it is written to");
            byte
        };
        let say = |events: &str| fs::write(group.join("cgroup.events"), events).expect("it is writable");
        say("populated 1\nfrozen 0\n");
        let mut child = Command::new("sleep").arg("1000").spawn().expect("it can be started");
        fs::write(task.join("cgroup.procs"), format!("0\n{}\n", child.id())).expect("it is writable");
        let dirs = [task];
        thread::scope(|scope| {
            let killing = scope.spawn(|| V2.kill(&group, &dirs, PATIENCE));
            assert_eq!(next(), *b"1");
            assert_eq!(child.try_wait().expect("it is our child"), None, "they do not stand still yet");
            say("populated 1\nfrozen 1\n");
            assert_eq!(next(), *b"0");
            killing.join().expect("it does not panic").expect("all files are there");
        });
        assert_eq!(child.wait().expect("it is our child").signal(), Some(libc::SIGKILL));
    }

    #[test]
    fn a_group_of_version_2_is_stopped_only_where_the_kernel_cannot_kill_it_at_once() {
        let root = TempDir::new().expect("a temporary directory");
        let group = root.path();
        let read = |file: &str| fs::read_to_string(group.join(file)).expect("it is there");
        kill_v2(&group.join("gone"), &[]).expect("there is nothing to do");
        fs::write(group.join("cgroup.freeze"), "untouched").expect("it is writable");
        fs::write(group.join("cgroup.events"), "frozen 1\n").expect("it is writable");
        fs::write(group.join("cgroup.kill"), "").expect("it is writable");
        kill_v2(group, &[]).expect("all files are there");
        assert_eq!((read("cgroup.kill"), read("cgroup.freeze")), ("1".into(), "untouched".into()));
        fs::remove_file(group.join("cgroup.kill")).expect("it is there");
        kill_v2(group, &[]).expect("all files are there");
        assert_eq!(read("cgroup.freeze"), "0", "it was stopped, and let go");

        fs::write(group.join("freezer.state"), "untouched").expect("it is writable");
        kill_v1(group, &[]).expect("all files are there");
        assert_eq!(read("freezer.state"), "THAWED");
        kill_v1(&group.join("gone"), &[]).expect("there is nothing to do");
    }
}
