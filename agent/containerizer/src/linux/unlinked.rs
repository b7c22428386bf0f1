//! Files that a task has open and that have no name any more: they take room on a disk, and no walk finds them.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;

/// The unit of `st_blocks`, whatever the file system's own is.
const BLOCK_BYTES: u64 = 512;

/// So many descriptors are looked at in all.
const DESCRIPTORS_MAX: usize = 100_000;

/// What those on one device take that these processes have open, in bytes: each once, however many have it. A process that
/// ends meanwhile has none any more. What a process has mapped only, or sent to itself through a socket, is not seen.
pub fn bytes(processes: impl IntoIterator<Item = u32>, device: u64) -> u64 {
    let all = processes.into_iter().filter(|&pid| pid != 0);
    let descriptors =
        all.flat_map(|pid| fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten());
    let mut seen = BTreeSet::new();
    // Only looked at, never opened: that of a device or a pipe could wait for ever.
    let files = descriptors.take(DESCRIPTORS_MAX).filter_map(|entry| fs::metadata(entry.path()).ok());
    let unlinked = files.filter(|file| file.is_file() && file.nlink() == 0 && file.dev() == device);
    unlinked.filter(|file| seen.insert(file.ino())).map(|file| file.blocks() * BLOCK_BYTES).sum()
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::process;

    use super::*;

    #[test]
    fn a_file_without_a_name_counts_once_as_long_as_somebody_has_it_open() {
        let folder = tempfile::tempdir().expect("it is writable");
        // Others of this process have none on a device of their own; the test's own is told by what it adds.
        let device = fs::metadata(folder.path()).expect("it is there").dev();
        let before = bytes([process::id()], device);
        let mut file = fs::File::create(folder.path().join("gone")).expect("it is writable");
        file.write_all(&vec![7; 1 << 20]).expect("there is room");
        file.sync_all().expect("it is written");
        let copy = file.try_clone().expect("there are descriptors");
        assert_eq!(bytes([process::id()], device), before, "it has a name");
        fs::remove_file(folder.path().join("gone")).expect("it is there");
        let taken = bytes([process::id(), 0, process::id()], device) - before;
        assert!((1 << 20..2 << 20).contains(&taken), "{taken}");
        assert_eq!(bytes([process::id()], device + 1), 0, "on no other device");
        drop((file, copy));
        assert_eq!(bytes([process::id()], device), before);
    }
}
