//! A file of checksummed payloads.
//!
//! The file begins with a line that names it and its version; each payload is a frame of [`bourse_frames`].
//!
//! Beyond its end the file holds [`ROOM`] on the disk, where the file system can do that: the task that fills the disk
//! can only be killed by an agent that can write this down.
//!
//! The file is for its owner alone: what tasks are started with is in it, and so are their secrets.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use bourse_containerizer::failpoint::{Failpoint, reached};
use bourse_frames::{self as frames, Frame};
use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, fallocate};

const MAGIC: &[u8] = b"bourse agent checkpoint 1\n";

/// How much of the disk is held for what is still to be written. A kill with all that follows from it takes less than
/// 2 KiB, and tasks, which take up to half a MiB, are not accepted once there is less: this is enough for every task of a
/// machine.
const ROOM: u64 = 4 << 20;

/// Room is taken in such steps, so that it is not asked for with every record.
const STEP: u64 = 1 << 20;

/// Where the disk has less left than this, the rest is not taken.
const LEAST: u64 = 64 << 10;

/// The mode of the file.
const PRIVATE: u32 = 0o600;

/// In place of the offset up to which the disk is held, where the file system cannot do that.
const CANNOT_HOLD: u64 = u64::MAX;

/// What is wrong with a log.
#[derive(Debug)]
pub enum LogError {
    Io(io::Error),
    Foreign(String),
    Damaged { at: u64, why: String },
}

impl LogError {
    pub fn damaged(at: u64, why: impl fmt::Display) -> LogError {
        LogError::Damaged { at, why: why.to_string() }
    }
}

impl From<io::Error> for LogError {
    fn from(error: io::Error) -> LogError {
        LogError::Io(error)
    }
}

/// Whether the disk took nothing for now, and may take it later: there was no room, be it for all or for this user, or it
/// is read-only, as ext4 and others make themselves after an error of the disk below.
pub fn is_blocked(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(nix::libc::ENOSPC | nix::libc::EDQUOT | nix::libc::EROFS))
}

/// Hands each payload with its offset to `take`, in order, and comes back with where the last whole one ends: what is
/// beyond is torn, and the caller's to remove. A file that is not there has none and ends at 0.
pub fn read(path: &Path, mut take: impl FnMut(u64, &[u8]) -> Result<(), LogError>) -> Result<u64, LogError> {
    let mut bytes = Vec::new();
    match File::open(path) {
        Ok(mut file) => file.read_to_end(&mut bytes)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(error.into()),
    };
    let Some(mut rest) = bytes.strip_prefix(MAGIC) else {
        let first: Vec<u8> = bytes.iter().copied().take(MAGIC.len()).collect();
        return Err(LogError::Foreign(format!("it begins with {:?}", String::from_utf8_lossy(&first))));
    };
    let total = bytes.len();
    while !rest.is_empty() {
        let at = (total - rest.len()) as u64;
        match frames::split(rest) {
            Frame::Whole { payload, after } => {
                take(at, payload)?;
                rest = after;
            }
            Frame::Torn => return Ok(at),
            Frame::Damaged(why) => return Err(LogError::damaged(at, why)),
        }
    }
    Ok(total as u64)
}

/// An open log.
#[derive(Debug)]
pub struct Log {
    file: File,
    size: u64,
    /// The disk is held up to this offset, or [`CANNOT_HOLD`].
    held: u64,
    /// Less than [`ROOM`] could be held when it was last tried.
    full: bool,
    /// A write failed, and what it left beyond the end could not be cut off.
    torn: bool,
}

impl Log {
    /// Replaces the file by one with these payloads, in one step: after a crash it is the old or the new one, whole. The
    /// new one has its room, or there is an error and the old one stays with its own.
    pub fn rewrite(path: &Path, payloads: &[Vec<u8>]) -> Result<Log, LogError> {
        let fresh = path.with_extension("new");
        let written = Log::write(&fresh, payloads).and_then(|log| {
            reached(Failpoint::CheckpointCopied);
            fs::rename(&fresh, path)?;
            reached(Failpoint::CheckpointReplaced);
            if let Some(folder) = path.parent() {
                File::open(folder)?.sync_all()?;
            }
            Ok(log)
        });
        if written.is_err() {
            // On a full disk half a file would be in everybody's way.
            let _ = fs::remove_file(&fresh);
        }
        Ok(written?)
    }

    fn write(path: &Path, payloads: &[Vec<u8>]) -> io::Result<Log> {
        let mut bytes = MAGIC.to_vec();
        payloads.iter().for_each(|payload| frames::write(payload, &mut bytes));
        // What a crash left may be of an earlier release, and open to others.
        match fs::remove_file(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            removed => removed?,
        }
        let mut file = OpenOptions::new().create_new(true).write(true).mode(PRIVATE).open(path)?;
        file.write_all(&bytes)?;
        let size = bytes.len() as u64;
        let mut log = Log { file, size, held: size, full: false, torn: false };
        if !log.make_room() {
            return Err(Errno::ENOSPC.into());
        }
        log.file.sync_all()?;
        Ok(log)
    }

    /// Goes on with the file as it is, cut to its last whole record, which ends there.
    pub fn resume(path: &Path, end: u64) -> Result<Log, LogError> {
        let file = OpenOptions::new().write(true).open(path)?;
        // An earlier release left it open to others.
        file.set_permissions(fs::Permissions::from_mode(PRIVATE))?;
        if file.metadata()?.len() > end {
            // Gives back what was held beyond the end too, so only where it must be.
            file.set_len(end)?;
        }
        let mut log = Log { file, size: end, held: end, full: false, torn: false };
        log.make_room();
        Ok(log)
    }

    /// Adds a payload in one write. After an error the log is as before, and the same may be tried again.
    pub fn append(&mut self, payload: &[u8]) -> Result<(), LogError> {
        let mut bytes = Vec::new();
        frames::write(payload, &mut bytes);
        if let Err(error) = self.put(&bytes) {
            self.full |= is_blocked(&error);
            return Err(error.into());
        }
        self.size += bytes.len() as u64;
        match self.held {
            // There was room, and nothing else tells.
            CANNOT_HOLD => self.full = false,
            _ if self.full => {}
            _ => drop(self.make_room()),
        }
        Ok(())
    }

    /// Writes beyond the end.
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.torn {
            self.cut()?;
        }
        let end = self.size + bytes.len() as u64;
        if end > self.held {
            let held = self.hold(end - self.size + ROOM);
            if end > self.held {
                return Err(held.err().unwrap_or(Errno::ENOSPC).into());
            }
        }
        let written = self.file.write_all_at(bytes, self.size);
        if written.is_err() {
            // Nothing half written may stand before what is written next. A disk that takes not even this is asked again
            // then; why it did not take the bytes says more.
            self.torn = true;
            let _ = self.cut();
        }
        written
    }

    /// Cuts off what a failed write left beyond the end. This gives back what was held.
    fn cut(&mut self) -> io::Result<()> {
        self.file.set_len(self.size)?;
        if self.held != CANNOT_HOLD {
            self.held = self.size;
        }
        self.torn = false;
        Ok(())
    }

    /// Whether there is less room than there should be. Does not ask the disk: [`Log::make_room`] does.
    pub fn is_full(&self) -> bool {
        self.full
    }

    /// Takes more of the disk if there is not enough room. `false`: there is no more to take.
    pub fn make_room(&mut self) -> bool {
        if self.held - self.size < ROOM {
            // How much it came to is what counts.
            let _ = self.hold(ROOM + STEP);
        }
        if self.held != CANNOT_HOLD {
            self.full = self.held - self.size < ROOM;
        }
        !self.full
    }

    /// Whether the disk takes no writes at all. It is asked for a byte that is held already, as a file system that has made
    /// itself read-only after an error need not say so: `statvfs` of ext4 does not since Linux 6.15. Where nothing can be
    /// held, only a write tells.
    pub fn is_read_only(&self) -> bool {
        let at = self.size as nix::libc::off_t;
        (self.size + 1..CANNOT_HOLD).contains(&self.held)
            && fallocate(&self.file, FallocateFlags::FALLOC_FL_KEEP_SIZE, at, 1) == Err(Errno::EROFS)
    }

    /// Holds so much of the disk beyond the end, or as much of it as there is; then the error says why it is not all.
    fn hold(&mut self, most: u64) -> Result<(), Errno> {
        let mut more = most;
        while self.held != CANNOT_HOLD && self.size + more > self.held {
            let (from, length) = (self.size as nix::libc::off_t, more as nix::libc::off_t);
            match fallocate(&self.file, FallocateFlags::FALLOC_FL_KEEP_SIZE, from, length) {
                Ok(()) => self.held = self.size + more,
                Err(Errno::EINTR) => {}
                Err(Errno::ENOSPC | Errno::EDQUOT) if more > LEAST => more /= 2,
                Err(blocked @ (Errno::ENOSPC | Errno::EDQUOT | Errno::EROFS)) => return Err(blocked),
                // Not on this file system: whether there is room shows when something is written.
                Err(_) => self.held = CANNOT_HOLD,
            }
        }
        Ok(())
    }

    pub fn sync(&mut self) -> Result<(), LogError> {
        Ok(self.file.sync_data()?)
    }

    pub fn size(&self) -> u64 {
        self.size
    }
}

#[cfg(test)]
mod tests {
    use bourse_frames::HEAD;
    use bourse_hostile::{FragileDisk, damaged, soon};
    use nix::mount::{MntFlags, MsFlags, mount, umount2};
    use proptest::prelude::*;

    use super::*;

    fn payloads() -> Vec<Vec<u8>> {
        vec![b"first".to_vec(), Vec::new(), vec![0; 300], b"last".to_vec()]
    }

    fn read_all(path: &Path) -> Result<Vec<Vec<u8>>, LogError> {
        let mut found = Vec::new();
        read(path, |_, payload| {
            found.push(payload.to_vec());
            Ok(())
        })?;
        Ok(found)
    }

    fn written() -> (tempfile::TempDir, std::path::PathBuf, Vec<u8>) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("checkpoint");
        let mut log = Log::rewrite(&path, &payloads()[..1]).expect("written");
        payloads()[1..].iter().for_each(|payload| log.append(payload).expect("written"));
        let bytes = fs::read(&path).expect("readable");
        assert_eq!(log.size(), bytes.len() as u64);
        (folder, path, bytes)
    }

    #[test]
    fn what_was_written_is_read() {
        let (_folder, path, _) = written();
        assert_eq!(read_all(&path).expect("readable"), payloads());
        assert_eq!(
            read_all(&path.with_extension("none")).expect("no file, no records"),
            Vec::<Vec<u8>>::new()
        );
    }

    proptest! {
        /// What is read has its own checksum, and is whole.
        #[test]
        fn a_damaged_log_is_refused_or_has_nothing_that_was_never_written(bytes in damaged(Just(written().2))) {
            let folder = tempfile::tempdir().expect("a folder");
            let path = folder.path().join("checkpoint");
            fs::write(&path, &bytes).expect("writable");
            if let Ok(found) = soon(|| read_all(&path)) {
                prop_assert!(found.iter().all(|payload| payloads().contains(payload)), "{:?}", found);
            }
        }
    }

    #[test]
    fn a_log_is_for_its_owner_alone_also_where_an_earlier_release_left_one_open_to_others() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("checkpoint");
        let mode = || fs::metadata(&path).expect("there").permissions().mode() & 0o7777;
        let open_up =
            |path: &Path| fs::set_permissions(path, fs::Permissions::from_mode(0o644)).expect("ours");
        // Left by a crash in the midst of a rewrite.
        let fresh = path.with_extension("new");
        fs::write(&fresh, "half a file").expect("writable");
        open_up(&fresh);
        let log = Log::rewrite(&path, &payloads()).expect("written");
        assert_eq!(mode(), 0o600);
        open_up(&path);
        Log::resume(&path, log.size()).expect("there");
        assert_eq!(mode(), 0o600);
        assert_eq!(read_all(&path).expect("readable"), payloads());
    }

    #[test]
    fn a_log_cut_anywhere_in_its_last_record_has_all_the_others() {
        let (_folder, path, bytes) = written();
        let last = bytes.len() - HEAD - 4;
        for length in last..bytes.len() {
            fs::write(&path, &bytes[..length]).expect("written");
            assert_eq!(read_all(&path).expect("readable"), payloads()[..3], "cut to {length}");
        }
        let mut zeros = bytes[..last].to_vec();
        zeros.extend([0; 100]);
        fs::write(&path, &zeros).expect("written");
        assert_eq!(read_all(&path).expect("readable"), payloads()[..3]);
    }

    #[test]
    fn the_disk_is_held_ahead_of_need_and_a_log_whose_end_is_torn_goes_on_after_its_last_whole_record() {
        use std::os::unix::fs::MetadataExt;
        let (_folder, path, bytes) = written();
        let held = |path| fs::metadata(path).expect("there").blocks() * 512;
        assert!(held(&path) >= ROOM, "{} bytes are held", held(&path));
        let last = bytes.len() - HEAD - 4;
        fs::write(&path, &bytes[..bytes.len() - 1]).expect("written");
        let end = read(&path, |_, _| Ok(())).expect("readable");
        assert_eq!(end, last as u64);
        let mut log = Log::resume(&path, end).expect("there");
        assert!(!log.is_full() && held(&path) >= ROOM, "{} bytes are held", held(&path));
        log.append(b"a longer one").expect("written");
        let mut expected = payloads();
        expected[3] = b"a longer one".to_vec();
        assert_eq!(read_all(&path).expect("readable"), expected);
    }

    #[test]
    fn where_the_disk_cannot_be_held_it_is_full_from_the_write_that_fails_to_the_one_that_does_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let disk = folder.path();
        mount(Some("none"), disk, Some("tmpfs"), MsFlags::empty(), Some("size=64k")).expect("as root");
        let (path, ballast) = (disk.join("checkpoint"), disk.join("ballast"));
        fs::write(&path, MAGIC).expect("there is room");
        let file = OpenOptions::new().write(true).open(&path).expect("there");
        let mut log = Log { file, size: MAGIC.len() as u64, held: CANNOT_HOLD, full: false, torn: false };
        fs::write(&ballast, [0; 40 << 10]).expect("there is room");
        log.append(&[0; 40 << 10]).expect_err("there is no room");
        assert!(log.is_full() && !log.make_room() && !log.make_room(), "nothing has changed");
        fs::remove_file(&ballast).expect("there");
        log.append(&[0; 40 << 10]).expect("there is room");
        assert!(!log.is_full() && log.make_room());
        umount2(disk, MntFlags::MNT_DETACH).expect("mounted");
    }

    #[test]
    fn a_log_whose_disk_became_read_only_is_blocked_and_has_all_that_was_written() {
        let folder = tempfile::tempdir().expect("a folder");
        let disk = FragileDisk::new(&folder.path().join("disk"), 32);
        let path = disk.path().join("checkpoint");
        let mut log = Log::rewrite(&path, &payloads()[..1]).expect("written");
        assert!(!log.is_read_only());
        disk.break_it();
        assert!(log.is_read_only(), "there is room, and it is of no use");
        for _ in 0..2 {
            let refused = log.append(b"refused").expect_err("the disk is read-only");
            assert!(matches!(&refused, LogError::Io(error) if is_blocked(error)), "{refused:?}");
            assert!(log.is_full());
        }
        let size = log.size();
        drop(log);
        disk.renew();
        assert_eq!(read_all(&path).expect("readable"), payloads()[..1]);
        let mut log = Log::resume(&path, size).expect("there");
        payloads()[1..].iter().for_each(|payload| log.append(payload).expect("the disk is well again"));
        assert!(!log.is_full() && !log.is_read_only());
        assert_eq!(read_all(&path).expect("readable"), payloads());
    }

    #[test]
    fn what_a_failed_write_left_is_cut_off_before_the_next_one() {
        let (_folder, path, bytes) = written();
        let mut log = Log::resume(&path, bytes.len() as u64).expect("there");
        // A write that failed half way, on a disk that did not let it be undone.
        log.file.write_all_at(&[7; 100], log.size).expect("written");
        log.torn = true;
        log.append(b"short").expect("written");
        let mut expected = payloads();
        expected.push(b"short".to_vec());
        assert_eq!(read_all(&path).expect("readable"), expected);
    }

    #[test]
    fn every_flipped_bit_before_the_last_record_is_refused_and_none_is_read_as_something_else() {
        let (_folder, path, bytes) = written();
        let last = bytes.len() - HEAD - 4;
        for at in 0..last {
            for bit in 0..8 {
                let mut damaged = bytes.clone();
                damaged[at] ^= 1 << bit;
                fs::write(&path, &damaged).expect("written");
                match read_all(&path) {
                    Err(LogError::Foreign(_)) => assert!(at < MAGIC.len(), "byte {at}"),
                    Err(LogError::Damaged { at: record, .. }) => assert!(record <= at as u64, "byte {at}"),
                    other => panic!("byte {at} bit {bit} was not noticed: {other:?}"),
                }
            }
        }
    }
}
