//! Files that a task keeps and that have no name any more: they take room and inodes of a disk, and no walk finds them.
//!
//! A process keeps a file by a descriptor, by a mapping, as its program, or as the directory that it is in. Each of its
//! threads may have descriptors and a directory of its own. Which of these files are the task's, their mounts tell
//! ([`OwnMounts`]). Nobody is shown what is on its way in a socket.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, StatxFlags, makedev, statx};
use rustix::io::Errno;

use super::own_mounts::OwnMounts;
use crate::containerizer::Unlinked;
use crate::process;

/// The unit of `st_blocks`, whatever the file system's own is.
const BLOCK_BYTES: u64 = 512;

/// So many descriptors, mappings and threads are looked at in all.
const LOOKS_MAX: usize = 100_000;

/// So much is read of the mappings of a process: a few times what as many as a process may have usually are.
const MAPPINGS_MAX_BYTES: u64 = 16 << 20;

/// What ends the name of a file that has been removed (proc_pid_fd(5), proc_pid_maps(5)). One that has not may end so, too.
const REMOVED: &[u8] = b" (deleted)";

/// What those take that these processes keep, of a task whose sandbox is on this device: each once, however many have it.
/// Those of its volumes are nobody's sandbox and are left out, also where they lie on that device. By the first process of
/// the container, if it is there, mounts are told apart; it is none of the task's, and maps nothing but its own program. A
/// process that ends meanwhile keeps nothing any more.
pub fn measure(first: Option<u32>, processes: impl IntoIterator<Item = u32>, device: u64) -> Unlinked {
    measure_within(LOOKS_MAX, first, processes, device)
}

fn measure_within(
    most: usize,
    first: Option<u32>,
    processes: impl IntoIterator<Item = u32>,
    device: u64,
) -> Unlinked {
    let mut search = Search { looks_left: most, ..Search::default() };
    let mut all = processes.into_iter().filter(|&pid| pid != 0);
    let enough = all.try_for_each(|pid| search.look_at(pid, first != Some(pid))).is_err();
    search.sum(first, device, enough)
}

/// No more is looked at.
struct Enough;

/// What tells a file from all others.
type Identity = (u64, u64);

#[derive(Debug, Default)]
struct Search {
    looks_left: usize,
    /// What was found without a name, whosever it is, by the file and the mount by which it is kept: its blocks.
    found: BTreeMap<(Identity, Option<u64>), u64>,
    /// The devices of what is mapped and was not to be looked at, as only root of the machine may do that.
    closed: BTreeSet<u64>,
    /// Some of the mappings of a process were left out.
    is_cut: bool,
}

impl Search {
    fn look_at(&mut self, pid: u32, maps: bool) -> Result<(), Enough> {
        // Whose descriptors most threads have, and whether the memory was looked at, which all have: not those of a thread
        // that has ended, as the one may have by whose number the process is known.
        let (mut common, mut is_mapped) = (None, !maps);
        for thread in fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
            self.spend()?;
            let place = thread.path();
            let Some(thread) = number(&thread.file_name()) else { continue };
            ["cwd", "root"].iter().for_each(|link| self.look_behind(&place.join(link)));
            let is_known = common.is_some_and(|other: u32| process::share_descriptors(other, thread));
            if !is_known && self.descriptors(&place)? > 0 {
                common = common.or(Some(thread));
            }
            if !is_mapped {
                self.look_behind(&place.join("exe"));
                is_mapped = self.mappings(thread)? > 0;
            }
        }
        Ok(())
    }

    fn descriptors(&mut self, thread: &Path) -> Result<usize, Enough> {
        let mut count = 0;
        for descriptor in fs::read_dir(thread.join("fd")).into_iter().flatten().flatten() {
            self.spend()?;
            count += 1;
            self.look_behind(&descriptor.path());
        }
        Ok(count)
    }

    /// Of what is mapped the names are read in one piece.
    fn mappings(&mut self, thread: u32) -> Result<usize, Enough> {
        let Ok(file) = File::open(format!("/proc/{thread}/maps")) else { return Ok(0) };
        let mut file = BufReader::new(file.take(MAPPINGS_MAX_BYTES));
        let (mut line, mut count) = (Vec::new(), 0);
        while file.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
            self.spend()?;
            count += 1;
            if let Some(mapped) = line.strip_suffix(b"\n").and_then(Mapping::removed) {
                let link = format!("/proc/{thread}/map_files/{:x}-{:x}", mapped.from, mapped.to);
                if let Err(Errno::PERM | Errno::ACCESS) = self.note(Path::new(&link)) {
                    self.closed.insert(mapped.device);
                }
            }
            line.clear();
        }
        self.is_cut |= file.get_ref().limit() == 0;
        Ok(count)
    }

    /// Notes what is behind a link of `/proc` if that may have no name any more. Few have none, and the names of all others
    /// cost no look at a disk.
    fn look_behind(&mut self, link: &Path) {
        let may_be_removed = match fs::read_link(link) {
            Ok(name) => name.as_os_str().as_bytes().ends_with(REMOVED),
            // It is too long to be told, and so may be without an end, too.
            Err(error) => error.raw_os_error() == Some(libc::ENAMETOOLONG),
        };
        if may_be_removed {
            // What is closed meanwhile is kept no more.
            let _ = self.note(link);
        }
    }

    fn note(&mut self, link: &Path) -> Result<(), Errno> {
        // Only looked at, never opened: a device or a pipe could wait for ever, and so could a disk of another machine if it
        // were asked.
        let flags = AtFlags::STATX_DONT_SYNC | AtFlags::NO_AUTOMOUNT;
        let about = statx(CWD, link, flags, StatxFlags::BASIC_STATS | StatxFlags::MNT_ID)?;
        // It may have another name, where it is found.
        if about.stx_nlink == 0 {
            let file = (makedev(about.stx_dev_major, about.stx_dev_minor), about.stx_ino);
            // Since Linux 5.8.
            let mount = (about.stx_mask & StatxFlags::MNT_ID.bits() != 0).then_some(about.stx_mnt_id);
            self.found.insert((file, mount), about.stx_blocks);
        }
        Ok(())
    }

    fn spend(&mut self) -> Result<(), Enough> {
        self.looks_left = self.looks_left.checked_sub(1).ok_or(Enough)?;
        Ok(())
    }

    fn sum(self, first: Option<u32>, device: u64, enough: bool) -> Unlinked {
        let is_known = !self.found.is_empty() || !self.closed.is_empty();
        let mounts = first.filter(|_| is_known).map(OwnMounts::of).unwrap_or_default();
        let (mut counted, mut sum) = (BTreeSet::new(), Unlinked::NONE);
        for ((file, mount), blocks) in self.found {
            if mounts.have(mount, file.0, device) && counted.insert(file) {
                sum.bytes = sum.bytes.saturating_add(blocks.saturating_mul(BLOCK_BYTES));
                sum.inodes += 1;
            }
        }
        let is_closed = self.closed.iter().any(|on| mounts.may_be_on(*on, device));
        Unlinked { is_whole: !(enough || self.is_cut || is_closed), ..sum }
    }
}

fn number(name: &OsStr) -> Option<u32> {
    name.to_str()?.parse().ok()
}

/// A part of a process' memory that is a file.
#[derive(Debug, PartialEq, Eq)]
struct Mapping {
    from: u64,
    to: u64,
    device: u64,
}

impl Mapping {
    /// One of a file that may have no name any more, by a line of proc_pid_maps(5).
    fn removed(line: &[u8]) -> Option<Mapping> {
        let line = line.strip_suffix(REMOVED)?;
        // Numbers, and little of a name that may be of any bytes and length.
        let fields = String::from_utf8_lossy(&line[..line.len().min(150)]);
        let mut fields = fields.split(' ');
        let (from, to) = fields.next()?.split_once('-')?;
        let (major, minor) = fields.nth(2)?.split_once(':')?;
        let number = |text| u64::from_str_radix(text, 16).ok();
        let part = |text| u32::from_str_radix(text, 16).ok();
        Some(Mapping { from: number(from)?, to: number(to)?, device: makedev(part(major)?, part(minor)?) })
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::fs::MetadataExt;
    use std::path::PathBuf;
    use std::process::{Child, Command, Stdio};
    use std::thread;
    use std::time::{Duration, Instant};

    use tempfile::TempDir;

    use super::*;
    use crate::kernel_file;

    const MIB: u64 = 1 << 20;

    /// A process with nothing open but these, as others of this one may have files without a name, too. It has loaded what
    /// it needs.
    fn sleeping(stdin: impl Into<Stdio>, stdout: impl Into<Stdio>) -> Child {
        let mut sleep = Command::new("sleep");
        sleep.arg("1000").stdin(stdin).stdout(stdout).stderr(Stdio::null());
        let child = sleep.spawn().expect("coreutils are installed");
        let since = Instant::now();
        let sleeps =
            || kernel_file::read(format!("/proc/{}/stat", child.id())).expect("it runs").contains(") S ");
        while !sleeps() {
            assert!(since.elapsed() < Duration::from_secs(60), "it does not sleep");
            thread::sleep(Duration::from_millis(1));
        }
        child
    }

    fn end(mut child: Child) {
        child.kill().expect("it is ours");
        child.wait().expect("it is ours");
    }

    /// An open file of 1 MiB with a name, and its device.
    fn file_in(folder: &Path) -> (File, u64) {
        let mut file = File::create(folder.join("gone")).expect("it is writable");
        file.write_all(&vec![7; MIB as usize]).expect("there is room");
        file.sync_all().expect("it is written");
        let device = file.metadata().expect("it is open").dev();
        (file, device)
    }

    #[test]
    fn a_file_without_a_name_counts_once_as_long_as_somebody_has_it_open() {
        let folder = TempDir::new().expect("it is writable");
        let (file, device) = file_in(folder.path());
        let child = sleeping(file.try_clone().expect("there are descriptors"), file);
        let pid = child.id();
        assert_eq!(measure(None, [pid], device), Unlinked::NONE, "it has a name");
        fs::remove_file(folder.path().join("gone")).expect("it is there");
        let taken = measure(None, [pid, 0, pid], device);
        assert!((MIB..2 * MIB).contains(&taken.bytes), "{taken:?}");
        assert!(taken.inodes == 1 && taken.is_whole, "{taken:?}");
        assert_eq!(measure(None, [pid], device + 1), Unlinked::NONE, "on no other device");
        end(child);
        assert_eq!(measure(None, [pid], device), Unlinked::NONE);
    }

    /// The kernel tells no name of more than 4 KiB, and so not whether it is gone.
    #[test]
    fn a_file_without_a_name_counts_however_deep_in_folders_it_was() {
        let folder = TempDir::new().expect("it is writable");
        let [inner, around] = ["inner", "around"].map(|name| folder.path().join(name));
        fs::create_dir(&inner).expect("it is writable");
        let (file, device) = file_in(&inner);
        fs::remove_file(inner.join("gone")).expect("it is there");
        for _ in 0..20 {
            fs::create_dir(&around).expect("it is writable");
            fs::rename(&inner, around.join("x".repeat(250))).expect("it is writable");
            fs::rename(&around, &inner).expect("it is writable");
        }
        let child = sleeping(Stdio::null(), file);
        let told = fs::read_link(format!("/proc/{}/fd/1", child.id())).map_err(|error| error.raw_os_error());
        assert_eq!(told, Err::<PathBuf, _>(Some(libc::ENAMETOOLONG)));
        let taken = measure(None, [child.id()], device);
        assert!(taken.bytes >= MIB && taken.inodes == 1 && taken.is_whole, "{taken:?}");
        end(child);
    }

    #[test]
    fn what_is_beyond_the_bound_is_not_looked_at_and_that_is_told() {
        let (one, other) = (sleeping(Stdio::null(), Stdio::null()), sleeping(Stdio::null(), Stdio::null()));
        let pids = [one.id(), other.id()];
        let is_whole =
            |most, first, pids: &[u32]| measure_within(most, first, pids.iter().copied(), 0).is_whole;
        // The thread is one, too.
        let descriptors = 1 + fs::read_dir(format!("/proc/{}/fd", pids[0])).expect("it runs").count();
        let maps = kernel_file::read(format!("/proc/{}/maps", pids[0])).expect("it runs").lines().count();
        let all = descriptors + maps;
        assert!(is_whole(all, None, &pids[..1]) && !is_whole(all - 1, None, &pids[..1]));
        assert!(!is_whole(all, None, &pids), "of all processes together");
        let first = Some(pids[0]);
        assert!(is_whole(descriptors, first, &pids[..1]), "what the first process maps is its own program");
        assert!(!is_whole(descriptors - 1, first, &pids[..1]));
        [one, other].into_iter().for_each(end);
    }

    #[test]
    fn a_mapping_is_read_by_its_numbers_whatever_its_name_is() {
        let read = |line: &str| Mapping::removed(line.as_bytes());
        let line = "00400000-0040b000 r-xp 00000000 fd:1a 1234       /a b (deleted) c (deleted)";
        let mapping = Mapping { from: 0x400000, to: 0x40b000, device: makedev(0xfd, 0x1a) };
        assert_eq!(read(line), Some(mapping));
        for kept in ["00400000-0040b000 r-xp 00000000 fd:1a 1234   /a", "7ffe-7fff rw-p 00000000 00:00 0", ""]
        {
            assert_eq!(read(kept), None, "{kept}");
        }
        let long = format!("1-2 r--p 0 08:01 7 /{} (deleted)", "\u{e9}".repeat(100_000));
        assert!(read(&long).is_some());
        assert_eq!(read("what is that (deleted)"), None);
    }
}
